//! The process: its signals, its service manager, standard error, and its end.

pub(crate) mod last;
pub(crate) mod notify;
pub mod signal;
pub(crate) mod terminal;
