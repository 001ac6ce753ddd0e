//! What the benchmarks are made of; `cargo bench -p adjourn-benches` runs them.
//!
//! A [`host`](mod@host) is an executor. A [`way`] is how tasks are run on it and ended: bare, with
//! Adjourn, with a peer. A row measures one thing in every way, turn by turn in one process, and
//! gives the median and quartiles of the ratio to bare.

#![deny(unsafe_code)] // the counting allocator and two calls of libc have a proof each
#![allow(clippy::print_stdout)] // programs: their figures are what they are for

pub mod alloc;
pub mod body;
pub mod host;
pub mod page;
pub mod plot;
pub mod rows;
pub mod stats;
pub mod table;
pub mod way;
