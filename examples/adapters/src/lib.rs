//! Adapters for executors that Adjourn does not ship, as a third party writes them.
//!
//! [`pool`] has worker threads: the `ThreadPool` of the futures crate. [`core`] is one thread with
//! futures that need not be `Send`: compio, on io_uring. `examples/examples/stranger.rs` is the
//! shortest. Each one's conformance test is in `tests/`.

#[cfg(target_os = "linux")]
pub mod core;
pub mod pool;
