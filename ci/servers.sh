#!/usr/bin/env bash
# The servers to copy: each is started, asked, stopped by SIGTERM and looked at. Apart from the other tests,
# since SQLite and tonic take a while to build (about 50 s of processor time).
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test -p adjourn-servers --all-features
