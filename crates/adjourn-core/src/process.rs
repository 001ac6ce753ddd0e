//! The process: its signals, standard error, and its end.

pub(crate) mod last;
pub mod signal;
