#!/usr/bin/env bash
# The docs build without a broken link, as docs.rs builds them: each item says which feature brings it.
set -euo pipefail
cd "$(dirname "$0")/.."
# That is an unstable feature of rustdoc, so a stable one is told to take it for our crates.
ours=$(basename -a crates/*/ | tr - _ | paste -sd,)
RUSTC_BOOTSTRAP=$ours RUSTDOCFLAGS="-D warnings --cfg docsrs" cargo doc --workspace --no-deps --all-features
