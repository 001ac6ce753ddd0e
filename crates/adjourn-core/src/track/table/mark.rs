//! The mark of a task: one atomic word, read at each poll without a lock.
//!
//! Its invariants are 1 to 3 of the [side table](super).

use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Release, SeqCst};

/// The state that a task shares with those who stop it: serial (32), flags (10), holds (22).
pub(crate) struct Mark(pub(super) AtomicU64);

pub(crate) mod flag {
    /// To be dropped at the next yield that nothing holds.
    pub(crate) const CANCEL: u64 = 1 << 22;
    /// To be dropped at the next yield, held or not: the cut-off has come.
    pub(crate) const FORCE: u64 = 1 << 23;
    /// The stored waker was taken: store it again.
    pub(crate) const RETAKE: u64 = 1 << 24;
    /// Waits for the stop of its own scope with its own waker.
    pub(crate) const WATCH: u64 = 1 << 25;
    /// Its end is to be told to the report.
    pub(crate) const LISTED: u64 = 1 << 26;
    /// An error of it has been recorded.
    pub(crate) const FAILED: u64 = 1 << 27;
    /// Already counted as abandoned.
    pub(crate) const ABANDONED: u64 = 1 << 28;
    /// A shielded task or a job: it is not cancelled, and may spawn shielded work meanwhile.
    pub(crate) const SHIELDED: u64 = 1 << 29;
    /// It returned an error that a stop request caused: it counts as cancelled.
    pub(crate) const STOPPED: u64 = 1 << 30;

    /// Its end is not a plain one.
    pub(crate) const MARKED: u64 = FORCE | LISTED | FAILED | ABANDONED | STOPPED;
}

const HOLDS: u64 = flag::CANCEL - 1;

/// What a mark said at one instant.
#[derive(Clone, Copy)]
pub(crate) struct Word(pub(super) u64);

impl Word {
    #[inline]
    pub(crate) fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    #[inline]
    pub(crate) fn is_held(self) -> bool {
        self.0 & HOLDS != 0
    }

    #[inline]
    pub(super) fn serial(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether the task is to be dropped at this yield.
    #[inline]
    pub(crate) fn is_doomed(self) -> bool {
        self.has(flag::CANCEL | flag::FORCE) && (self.has(flag::FORCE) || !self.is_held())
    }
}

impl Mark {
    #[inline]
    pub(super) fn load(&self) -> Word {
        Word(self.0.load(SeqCst))
    }

    /// Sets a flag, from the task's own poll.
    #[inline]
    pub(crate) fn note(&self, flag: u64) {
        if !self.load().has(flag) {
            self.0.fetch_or(flag, SeqCst);
        }
    }

    /// Begins the life of a task, or ends it by the next serial.
    pub(super) fn begin(&self, serial: u32, flags: u64) {
        let word = u64::from(serial) << 32 | flags;
        if cfg!(loom) {
            // A late release that succeeds directly follows, in the mark's modification order, the
            // value that it read, so this store comes after it. Loom does not know that of stores.
            self.0.swap(word, SeqCst);
        } else {
            self.0.store(word, Release);
        }
    }
}
