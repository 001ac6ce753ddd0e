//! Programs that serve, on each backend, and clients that see every byte.

pub mod client;
pub mod program;

pub use client::{Answer, Client};
pub use program::{Config, Options, Running, start, start_with};
