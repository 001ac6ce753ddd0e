//! Programs that serve, on each backend, and clients that see every byte.

pub mod client;
pub mod load;
#[cfg(target_os = "linux")]
pub mod network;
#[cfg(unix)]
pub mod nginx;
pub mod page;
pub mod program;
#[cfg(unix)]
pub mod restart;

pub use client::{Answer, Client};
pub use program::{Config, Options, Running, start, start_with};
