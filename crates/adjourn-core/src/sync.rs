//! The locks and atomics of what threads share: std's, or loom's, which tries every interleaving.
//!
//! Statics are always std's: loom's objects belong to one execution. Nothing that the models of
//! `tests/interleavings/` prove hangs on those.

#[cfg(not(loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};

pub(crate) use std::sync::atomic::{
    AtomicBool as StaticBool, AtomicU64 as StaticU64, AtomicUsize as StaticUsize,
};

/// Reads a count in the one order of all SeqCst operations. Loom takes those for acquire and
/// release only, except where they also write.
pub(crate) fn read_in_order(count: &atomic::AtomicU32) -> u32 {
    let order = atomic::Ordering::SeqCst;
    if cfg!(loom) { count.fetch_add(0, order) } else { count.load(order) }
}

/// The same for a word of flags.
#[inline]
pub(crate) fn read_word_in_order(word: &atomic::AtomicU64) -> u64 {
    let order = atomic::Ordering::SeqCst;
    if cfg!(loom) { word.fetch_or(0, order) } else { word.load(order) }
}
