#!/usr/bin/env bash
# Instruction counts of the core paths, under valgrind's callgrind, beside the stored baseline
# (benches/instructions.toml): more than 5 % off either way fails, where the compiler is the
# baseline's. `ci/instructions.sh --renew` writes a new baseline; `--print` compares nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v valgrind >/dev/null; then
    echo "valgrind is not installed: instruction counts skipped"
    exit 0
fi
cargo run --quiet --profile bench -p adjourn-instructions -- "$@"
