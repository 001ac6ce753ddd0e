//! The locks and atomics of what threads share: std's, or loom's, which tries every interleaving.
//!
//! Statics are always std's: loom's objects belong to one execution. Nothing that the models of
//! `interleavings.rs` prove hangs on those.

#[cfg(not(loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};

pub(crate) use std::sync::atomic::AtomicUsize as StaticUsize;
