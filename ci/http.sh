#!/usr/bin/env bash
# Restarts under load: in each way in which a listener outlives a program, on Tokio and smol, nothing may
# be lost (of a shared port 0.5 % at most). `ci/http.sh` restarts twice a row and takes half a minute;
# `ci/http.sh 20 field` is the table of docs/http.md, optimised, beside what others do.
set -euo pipefail
cd "$(dirname "$0")/.."
restarts=${1:-2}
target=${CARGO_TARGET_DIR:-target}
if [ "${2:-}" = field ]; then
    cargo build --release --quiet -p adjourn-http-tests --features field --bins
    "$target/release/restarts" --restarts "$restarts" --field
else
    cargo build --quiet -p adjourn-http-tests --bins
    "$target/debug/restarts" --restarts "$restarts"
fi
