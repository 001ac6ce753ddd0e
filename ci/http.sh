#!/usr/bin/env bash
# Restarts under load: in each way in which a listener outlives a program, on Tokio and smol, nothing may
# be lost (of a shared port 0.5 % at most). `ci/http.sh` restarts twice a row and takes half a minute.
#
# `ci/http.sh 20 field` is the table of docs/http.md, optimised, beside what others do; `--write` after it
# renews the page. Go's and nginx's rows need their packages (golang-go, nginx-light); without them
# they are left out, and the page says so.
set -euo pipefail
cd "$(dirname "$0")/.."
restarts=${1:-2}
target=${CARGO_TARGET_DIR:-target}
if [ "${2:-}" = field ]; then
    shift 2
    cargo build --release --quiet -p adjourn-http-tests --features field --bins
    # trillium is no dependency of anything here: it is built by itself, for this alone.
    cargo build --release --quiet --locked --manifest-path tests/http/peers/trillium/Cargo.toml \
        --target-dir "$target/peers"
    rm -f "$target/release/served-go"
    if command -v go >/dev/null; then
        go build -o "$target/release/served-go" tests/http/peers/served.go
    fi
    "$target/release/restarts" --restarts "$restarts" --field "$@"
else
    . ci/tools.sh
    others
    cargo test --quiet --no-run "${others[@]}" --test restart # and so the programs that it starts
    "$target/debug/restarts" --restarts "$restarts"
fi
