//! The mark of a task: one atomic word, and which waker its entry has; read at each poll without a lock.
//!
//! Its invariants are 1 to 3 of the [side table](super).
//!
//! # Graceful tasks
//!
//! `ASKED` says that the task is graceful: it was spawned so, or has asked about the stop. Such a task
//! is told before it is cancelled and is polled in between, whatever the executor's schedule: it has
//! `UNTOLD` from its spawn, and again from the instant its scope is told, until its next poll. While
//! it has that, a cancellation by the stop waits for the poll. `abort` and the cut-off do not.

use std::task::Waker;

use super::entry::Entry;
use crate::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use crate::sync::atomic::{AtomicU64, AtomicUsize};
use crate::sync::read_word_in_order;
use crate::track::wakes::WakerId;

/// The state that a task shares with those who stop it, and which waker they have.
pub(crate) struct Mark {
    /// Serial (32), flags (12), holds (20).
    pub(super) word: AtomicU64,
    /// The parts of the task's waker that its entry has, by which its poll tells whether it has another one by
    /// now. The entry's clone keeps them from being another waker's; where that is taken, [`flag::RETAKE`] says so.
    /// Changed by the task's own poll, and by a spawn before it has one.
    waker: [AtomicUsize; 2],
}

pub(crate) mod flag {
    /// Told, or spawned, and not polled since: a cancellation by the stop waits for that.
    pub(crate) const UNTOLD: u64 = 1 << 20;
    /// `abort` asked for its end.
    pub(crate) const ABORTED: u64 = 1 << 21;
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
    /// It is graceful: spawned so, or it has asked about the stop.
    pub(crate) const ASKED: u64 = 1 << 31;

    /// Its end is not a plain one.
    pub(crate) const MARKED: u64 = FORCE | LISTED | FAILED | ABANDONED | STOPPED | ASKED;
    /// Asking about the stop changes nothing for such a task.
    pub(crate) const PAST_ASKING: u64 = ASKED | SHIELDED | CANCEL;
}

const HOLDS: u64 = flag::UNTOLD - 1;

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

    /// How many sections hold the task.
    pub(crate) fn holds(self) -> u32 {
        (self.0 & HOLDS) as u32
    }

    /// Whether no further hold can be counted.
    #[inline]
    pub(crate) fn is_full(self) -> bool {
        self.0 & HOLDS == HOLDS
    }

    /// Whether the task is to be dropped at this yield.
    #[inline]
    pub(crate) fn is_doomed(self) -> bool {
        self.has(flag::CANCEL | flag::FORCE) && self.is_ripe()
    }

    /// Whether nothing puts off the end of a task that is cancelled.
    fn is_ripe(self) -> bool {
        let to_be_told = self.has(flag::UNTOLD) && !self.has(flag::ABORTED);
        self.has(flag::FORCE) || !self.is_held() && !to_be_told
    }
}

impl Mark {
    pub(super) fn new() -> Mark {
        Mark { word: AtomicU64::new(0), waker: [AtomicUsize::new(0), AtomicUsize::new(0)] }
    }

    /// The serial of its slot, whose lock is held.
    #[inline]
    pub(super) fn serial(&self) -> u32 {
        Word(self.word.load(Relaxed)).serial()
    }

    /// The parts of the waker that the entry has or had; from the task's own poll.
    #[inline]
    pub(crate) fn waker(&self) -> WakerId {
        let [data, vtable] = &self.waker;
        WakerId { data: data.load(Relaxed), vtable: vtable.load(Relaxed) }
    }

    /// Says which waker the entry has; from the task's own poll.
    #[inline]
    pub(crate) fn set_waker(&self, waker: WakerId) {
        let [data, vtable] = &self.waker;
        data.store(waker.data, Relaxed);
        vtable.store(waker.vtable, Relaxed);
    }

    #[inline]
    pub(crate) fn load(&self) -> Word {
        Word(read_word_in_order(&self.word))
    }

    /// Sets flags; from the task's own poll or under the chunk's lock.
    #[inline]
    pub(super) fn set(&self, flags: u64) {
        self.word.fetch_or(flags, SeqCst);
    }

    /// Takes the waker and sets `flags`, so that whoever wakes it has the task look at them. The chunk's lock is held.
    #[inline]
    pub(crate) fn take_waker(&self, entry: &mut Entry, flags: u64) -> Option<Waker> {
        let waker = entry.waker.take();
        let retake = if waker.is_some() { flag::RETAKE } else { 0 };
        if flags | retake != 0 {
            self.set(flags | retake);
        }
        waker
    }

    /// Sets a flag, from the task's own poll.
    #[inline]
    pub(crate) fn note(&self, flag: u64) {
        if !self.load().has(flag) {
            self.word.fetch_or(flag, SeqCst);
        }
    }

    /// Begins the life of a task, or ends it by the next serial.
    #[inline]
    pub(super) fn begin(&self, serial: u32, flags: u64) {
        let word = u64::from(serial) << 32 | flags;
        if cfg!(loom) {
            // A late release that succeeds directly follows, in the mark's modification order, the
            // value that it read, so this store comes after it. Loom does not know that of stores.
            self.word.swap(word, SeqCst);
        } else {
            self.word.store(word, Release);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_puts_off_the_end_of_a_cancelled_task() {
        const HELD: u64 = 1;
        for (bits, doomed) in [
            (0, false),
            (flag::UNTOLD | flag::ABORTED, false),
            (flag::CANCEL, true),
            (flag::CANCEL | HELD, false),
            (flag::CANCEL | flag::UNTOLD, false),
            (flag::CANCEL | flag::UNTOLD | flag::ABORTED, true),
            (flag::CANCEL | flag::ABORTED | HELD, false),
            (flag::FORCE | flag::UNTOLD | HELD, true),
        ] {
            assert_eq!(Word(bits).is_doomed(), doomed, "{bits:#x}");
        }
    }

    #[test]
    fn holds_and_flags_share_the_word_without_touching() {
        let flags = [
            flag::UNTOLD,
            flag::ABORTED,
            flag::CANCEL,
            flag::FORCE,
            flag::RETAKE,
            flag::WATCH,
            flag::LISTED,
            flag::FAILED,
            flag::ABANDONED,
            flag::SHIELDED,
            flag::STOPPED,
            flag::ASKED,
        ];
        assert_eq!(flags.iter().fold(0, |all, flag| all ^ flag), u64::from(u32::MAX) & !HOLDS);
        assert!(Word(HOLDS).is_full() && !Word(HOLDS - 1).is_full());
    }
}
