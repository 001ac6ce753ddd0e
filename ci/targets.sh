#!/usr/bin/env bash
# Systems on which nothing is run here: every library crate is checked for them, with all features and without
# a warning, and its docs are built. Skipped, in one line, where the compiler cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
name=targets
. ci/cross.sh
start=$SECONDS
install
crates=()
for manifest in crates/*/Cargo.toml; do
    crates+=(-p "$(basename "$(dirname "$manifest")")")
done
for target in aarch64-apple-darwin x86_64-unknown-freebsd x86_64-unknown-linux-musl; do
    build check "${crates[@]}" --lib --all-features
    say "$target: $((${#crates[@]} / 2)) crates are checked"
done
# The docs of the systems that docs.rs shows beside Linux; for Windows the target that needs nothing of
# Microsoft's.
for target in aarch64-apple-darwin x86_64-pc-windows-gnu; do
    RUSTDOCFLAGS="-D warnings --cfg docsrs" build doc "${crates[@]}" --no-deps --all-features
    say "$target: the docs are built"
done
say "$((SECONDS - start)) s"
