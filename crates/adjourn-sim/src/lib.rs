//! Adjourn's simulated backend, for tests: a deterministic executor on one thread, a virtual clock,
//! and stops at every poll.
//!
//! A program's shutdown has many paths that hardly ever run: the stop that comes between two lines,
//! the task that does not listen, the second Ctrl-C. Here they are run, each in microseconds
//! whatever the timeouts, and each again at will.
//!
//! - [`Sim`] runs a program with a seed. The order in which tasks are polled follows from it; when
//!   nothing is ready the clock jumps to the next timer. Same seed, same report.
//! - [`stop_everywhere`] runs a program again and again, asked to stop before each of its polls, and
//!   checks Adjourn's invariants and your own assertion after each.
//! - [`fault_point`] and [`Fault`] make a task panic, a hook fail, a task ignore the stop, the clock
//!   jump.
//! - Module `tokio` (feature `tokio`) is the same check for programs that need Tokio, on its paused
//!   clock.
//!
//! The guide is
//! [docs/simulation.md](https://github.com/adjourn-rs/adjourn/blob/main/docs/simulation.md).
//!
//! Programs need no change: `adjourn::spawn` and the other free functions use the backend of the
//! running program, whichever it is.
//!
//! ```
//! use adjourn_core::{FutureExt, Scope, spawn};
//! use adjourn_sim::{Runner, stop_everywhere};
//! use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
//! use std::time::Duration;
//!
//! async fn work() {
//!     Scope::current().sleep(Duration::from_secs(60)).await;
//! }
//!
//! stop_everywhere(|sim| {
//!     static CLEANED: AtomicUsize = AtomicUsize::new(0);
//!     CLEANED.store(0, SeqCst);
//!     let exit = sim.run(Runner::new(), async {
//!         let cleanup = async { _ = CLEANED.fetch_add(1, SeqCst) };
//!         spawn(work().on_cancel(cleanup));
//!     });
//!     assert!(CLEANED.load(SeqCst) <= 1);
//!     assert_eq!(exit.exit_code(), 0);
//! });
//! ```
//!
//! # What it is not
//!
//! It runs one interleaving of whole polls at a time. Races between threads, inside a poll, are not
//! simulated; loom is for those. Sockets, files and threads of your own are outside of it, and the
//! clock does not wait for them. A blocking job is run in one poll, on the same thread.

#![deny(unsafe_code)] // `spy` alone is allowed it, with a proof at each site
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod everywhere;
mod executor;
mod fault;
mod inside;
mod invariants;
mod observe;
mod point;
mod quiet;
mod settings;
mod sim;
mod sleep;
mod spy;
#[cfg(feature = "tokio")]
pub mod tokio;
mod world;

pub use everywhere::{Coverage, Everywhere, StopEverywhere, stop_everywhere};
pub use executor::{SimBackend, SimExecutor, SimHandle};
pub use fault::{Fault, Injected};
pub use inside::{elapse, fault_point};
pub use invariants::violations;
pub use observe::{Injection, Step};
pub use point::Point;
pub use sim::{Runner, Sim};
pub use sleep::SimSleep;

// Its program compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
