//! The process: its signals, standard error, and its end.

pub mod signal;
