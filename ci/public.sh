#!/usr/bin/env bash
# How many items each crate shows, and that they are meant to be shown: other projects' types are
# those that are listed, what can grow may, futures must be used, auto traits are tested.
# The lists go to target/public/*.txt: `diff` them before and after a change.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --quiet -p adjourn-processes --test public -- --ignored --nocapture
