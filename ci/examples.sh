#!/usr/bin/env bash
# The README's main command, on each backend alone: Ctrl-C ends it, with the exit code 0. Then the plain files to
# copy, in crates/adjourn/examples/, and the template of a library: each is run, so each needs a line here.
set -euo pipefail
cd "$(dirname "$0")/.."
for backend in tokio smol async-std; do
    cargo build -p adjourn-examples --no-default-features --features "$backend" \
        --example quickstart
    log=$(mktemp)
    env --default-signal=INT "${CARGO_TARGET_DIR:-target}/debug/examples/quickstart" >"$log" &
    program=$!
    until grep -q "tick 1" "$log"; do
        kill -0 "$program" 2>/dev/null || { cat "$log" >&2; exit 1; }
        sleep 0.1
    done
    kill -INT "$program"
    wait "$program"
    grep -q "long: cancelled, cleaned up" "$log"
    rm -f "$log"
    echo "quickstart on $backend: ended in order"
done

cargo build -p adjourn --examples
cargo build -p adjourn-library-example --examples
untried=$(basename -a -s .rs crates/adjourn/examples/*.rs)
plain() { # example, a line to wait for, a signal, the exit code, a line that has to come
    local log program code=0
    log=$(mktemp)
    env --default-signal=INT,TERM "${CARGO_TARGET_DIR:-target}/debug/examples/$1" >"$log" 2>&1 &
    program=$!
    until grep -q "$2" "$log"; do
        kill -0 "$program" 2>/dev/null || break
        sleep 0.1
    done
    kill -"$3" "$program" 2>/dev/null || true # one that is over already is seen by its code
    wait "$program" || code=$?
    if [ "$code" != "$4" ] || ! grep -q "$5" "$log"; then
        cat "$log" >&2
        echo "$1: exit code $code, and the last lines are above" >&2
        return 1
    fi
    rm -f "$log"
    untried=$(grep -vx "$1" <<<"$untried" || true)
    echo "$1: ended in order"
}
plain hello "tick 1" INT 0 "cleaned up"
plain consumer "begins job 3" TERM 0 "left in the queue"
plain cli "wrote line 2" INT 130 "removed what was half written: true"
plain axum_server "listening on" TERM 0 "all requests are answered"
plain test_your_shutdown "4 and 1" INT 0 "3 and 2"
plain library "wrote 1" INT 0 "all lines are written"
[ -z "$untried" ] || { echo "nobody has run: $untried" >&2; exit 1; }
