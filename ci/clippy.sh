#!/usr/bin/env bash
# Lints, where clippy is installed; a warning is an error.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo clippy --version >/dev/null 2>&1; then
    echo "clippy is not installed: skipped"
    exit 0
fi
cargo clippy --workspace --all-targets --all-features -- -D warnings
