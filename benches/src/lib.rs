//! What the benchmarks are made of; `cargo bench -p adjourn-benches` runs them.
//!
//! A [`host`](mod@host) is an executor. A [`way`] is how tasks are run on it and ended: bare, with
//! Adjourn, with a peer; a [`nest`] is the same for groups of tasks. A row measures one thing in every
//! way, turn by turn, and gives the median and quartiles of the ratio to the first way.

#![deny(unsafe_code)] // the counting allocator and two calls of libc have a proof each
#![allow(clippy::print_stdout)] // programs: their figures are what they are for

pub mod alloc;
pub mod body;
pub mod host;
pub mod nest;
pub mod page;
pub mod plot;
pub mod rows;
pub mod stats;
pub mod table;
pub mod way;
