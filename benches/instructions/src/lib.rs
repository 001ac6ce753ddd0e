//! Instruction counts of the core paths, beside bare Tokio and tokio-util, and the guard over them.
//!
//! Every path runs in a process of its own under callgrind. Counts repeat to the instruction or
//! nearly, where times on a shared machine do not.

#![forbid(unsafe_code)]

pub mod callgrind;
pub mod counts;
pub mod paths;
