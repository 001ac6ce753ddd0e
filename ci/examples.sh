#!/usr/bin/env bash
# The README's main command, on each backend alone: Ctrl-C ends it, with the exit code 0.
set -euo pipefail
cd "$(dirname "$0")/.."
for backend in tokio smol async-std; do
    cargo build -p adjourn-examples --no-default-features --features "$backend" \
        --example quickstart
    log=$(mktemp)
    env --default-signal=INT "${CARGO_TARGET_DIR:-target}/debug/examples/quickstart" >"$log" &
    program=$!
    until grep -q "tick 1" "$log"; do sleep 0.1; done
    kill -INT "$program"
    wait "$program"
    grep -q "long: cancelled, cleaned up" "$log"
    rm -f "$log"
    echo "quickstart on $backend: ended in order"
done
