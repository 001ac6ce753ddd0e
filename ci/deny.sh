#!/usr/bin/env bash
# Licences, duplicates and origins of what a user compiles: deny.toml. cargo-deny takes minutes to install,
# so the gate looks where it is installed; `ci/deny.sh install` installs it first.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/tools.sh
if [ "${1:-}" != install ] && ! command -v cargo-deny >/dev/null; then
    echo "cargo-deny is not installed: licences, duplicates and origins skipped (ci/deny.sh install)"
    exit 0
fi
need deny
cargo deny --log-level error check bans licenses sources
