#!/usr/bin/env bash
# Each crate that has features compiles with each two of them, without a warning: a feature brings all that
# it needs, and no two are against each other.
#
# `ci/powerset.sh 3` tries each three; `ci/powerset.sh 99` all sets.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/tools.sh
need hack
published with-features
export RUSTFLAGS="-D warnings"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/features"
mkdir -p "$CARGO_TARGET_DIR"
log=$CARGO_TARGET_DIR/powerset.log
# `default` is a set of the others.
if ! cargo hack check --lib --feature-powerset --depth "${1:-2}" --exclude-features default "${packages[@]}" \
    >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    exit 1
fi
echo "features: $(grep -c 'info: running' "$log") sets compile"
