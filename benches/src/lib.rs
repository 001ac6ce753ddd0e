//! Nothing: the benchmarks are in `benches/`, run with `cargo bench -p adjourn-benches`.
