#!/usr/bin/env bash
# Each backend alone, and each optional feature, compiles without warnings.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="-D warnings"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/features"
cargo check -p adjourn-core
cargo check -p adjourn-core --features serde
cargo check -p adjourn-core --features tracing
cargo check -p adjourn-core --features stream
cargo check -p adjourn-sim
cargo check -p adjourn-sim --features tokio
cargo check -p adjourn --no-default-features
for backend in tokio smol async-std; do
    cargo check -p adjourn --no-default-features --features "$backend"
    cargo check -p adjourn-examples --no-default-features --features "$backend" --examples
done
for backend in tokio smol async-std; do
    cargo check -p adjourn --no-default-features --features "$backend,hyper"
done
cargo check -p adjourn-hyper
cargo check -p adjourn --no-default-features --features smol,signal-sources
cargo check -p adjourn-health
cargo check -p adjourn-systemd
cargo check -p adjourn-triggers
cargo check -p adjourn-process
cargo check -p adjourn-supervise
cargo check -p adjourn --no-default-features --features smol,triggers,health,systemd
cargo check -p adjourn --no-default-features --features smol,process,supervise
cargo check -p adjourn --all-features
