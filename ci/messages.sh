#!/usr/bin/env bash
# What a beginner's mistakes are answered with, by the compiler and by us: the programs in
# tests/processes/messages/.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/tools.sh
others
cargo test --quiet "${others[@]}" --test messages -- --ignored --nocapture
