#!/usr/bin/env bash
# What threads share, in every interleaving with up to three preemptions.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-3}"
# One at a time: a model has to do the same again and again, and looks at statics of the process, as at how many programs
# have a stop to carry out.
cargo test -p adjourn-core --lib --release tests::interleavings -- --test-threads=1
