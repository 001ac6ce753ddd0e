#!/usr/bin/env bash
# The tests that `cargo test` leaves out: whole processes, HTTP, servers to copy, other adapters, the
# benchmarks' and the fuzzer's own.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/tools.sh
others
cargo test "${others[@]}"
