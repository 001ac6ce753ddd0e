#!/usr/bin/env bash
# Formatting, where rustfmt is installed.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo fmt --version >/dev/null 2>&1; then
    echo "rustfmt is not installed: skipped"
    exit 0
fi
cargo fmt --all -- --check
