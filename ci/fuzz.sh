#!/usr/bin/env bash
# The phase machine against a fuzzer that runs on stable Rust, for so many seconds: 60 unless told.
set -euo pipefail
cd "$(dirname "$0")/.."
# Optimised, with debug assertions: the machine's own and the overflow checks count as promises.
export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/fuzz"
cargo run --release --quiet -p adjourn-fuzz -- "${1:-60}" "${2:-0}"
