#!/usr/bin/env bash
# The simulated backend with its optional part: stops at every poll, on Tokio's paused clock too.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test -p adjourn-sim --all-features
