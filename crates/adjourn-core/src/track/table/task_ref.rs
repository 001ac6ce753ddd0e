//! A reference to a task's slot, and what is done to its mark and its entry through it.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::mark::{Mark, Word, flag};
use super::{Chunk, Slots};
use crate::contract::report::TaskKind;
use crate::sync::atomic::Ordering::SeqCst;
use crate::track::node::Node;

/// Names one task of the process. What it names may be over: the serial tells.
#[derive(Clone, Copy)]
pub(crate) struct TaskRef {
    pub(super) mark: &'static Mark,
    pub(super) chunk: &'static Chunk,
    pub(super) serial: u32,
}

/// Tells a task from all others, those that are over too, and has an order that means nothing.
pub(crate) type TaskKey = (usize, u32);

impl PartialEq for TaskRef {
    fn eq(&self, other: &TaskRef) -> bool {
        self.serial == other.serial && std::ptr::eq(self.mark, other.mark)
    }
}

impl TaskRef {
    /// Names a task that is known to be alive, since it is being polled.
    #[inline]
    pub(crate) fn running(mark: &'static Mark, chunk: &'static Chunk) -> TaskRef {
        TaskRef { mark, chunk, serial: mark.load().serial() }
    }

    #[inline]
    pub(crate) fn chunk(&self) -> &'static Chunk {
        self.chunk
    }

    #[inline]
    pub(super) fn serial(&self) -> u32 {
        self.serial
    }

    /// Tells the task from all others that are alive, for a thread's seat: never zero.
    #[inline]
    pub(crate) fn seat(&self) -> usize {
        std::ptr::from_ref(self.mark).addr()
    }

    pub(crate) fn key(&self) -> TaskKey {
        (self.seat(), self.serial())
    }

    #[inline]
    pub(crate) fn mark(&self) -> &'static Mark {
        self.mark
    }

    /// Reads the mark; only for a task that is known to be alive (its own poll, or the lock).
    #[inline]
    pub(crate) fn word(&self) -> Word {
        self.mark.load()
    }

    /// Reads the mark, unless the task is over.
    #[inline]
    pub(crate) fn live_word(&self) -> Option<Word> {
        Some(self.word()).filter(|word| word.serial() == self.serial())
    }

    /// Sets flags; from the task's own poll or under the chunk's lock.
    #[inline]
    pub(crate) fn set(&self, flags: u64) {
        self.mark.set(flags);
    }

    /// Clears flags, from the task's own poll or under the chunk's lock.
    pub(crate) fn clear(&self, flags: u64) {
        self.mark.word.fetch_and(!flags, SeqCst);
    }

    /// Notes that the waker is stored again, under the chunk's lock; returns what the mark was.
    fn clear_retake(&self) -> Word {
        let word = self.word();
        if word.has(flag::RETAKE) {
            self.clear(flag::RETAKE);
        }
        word
    }

    /// Adds a hold from the task's own poll and returns what the mark was before. Where that
    /// [is full](Word::is_full) nothing is added.
    #[inline]
    pub(crate) fn hold(&self) -> Word {
        // Others only take holds away: there is room for one more if there was.
        let word = self.word();
        if word.is_full() { word } else { Word(self.mark.word.fetch_add(1, SeqCst)) }
    }

    /// Releases a hold, from anywhere; returns what is left if the task is still alive.
    pub(crate) fn release(&self) -> Option<Word> {
        let mark = &self.mark.word;
        let mut word = mark.load(SeqCst);
        loop {
            if Word(word).serial() != self.serial() || !Word(word).is_held() {
                return None;
            }
            match mark.compare_exchange_weak(word, word - 1, SeqCst, SeqCst) {
                Ok(_) => return Some(Word(word - 1)),
                Err(now) => word = now,
            }
        }
    }

    /// Returns the scope that tracks it, unless it is over.
    pub(crate) fn node(&self) -> Option<Arc<Node>> {
        let mut slots = self.chunk.lock();
        slots.entry(self)?;
        slots.node.clone()
    }

    /// Takes the waker and sets `flags`, so that whoever wakes it has the task look at them.
    pub(crate) fn take_waker(&self, slots: &mut Slots, flags: u64) -> Option<Waker> {
        self.mark.take_waker(slots.at(self), flags)
    }

    /// Stores the task's waker after a poll that was pending. Returns whether its scope has been told
    /// meanwhile and it waits for that, and the waker to drop.
    pub(crate) fn store_waker(
        &self,
        waker: Waker,
        born: Option<Duration>,
    ) -> Option<(bool, Option<Waker>)> {
        let mut slots = self.chunk.lock();
        let (_, entry) = slots.entry(self)?;
        let old = entry.waker.replace(waker);
        if let Some(born) = born {
            entry.set_born(born);
        }
        let told = self.clear_retake().has(flag::WATCH) && self.chunk.is_fired();
        if told {
            self.clear(flag::WATCH);
        }
        Some((told, old))
    }

    /// Stores the waker of the handle, for the case that the executor never resolves it. False if
    /// the task is abandoned.
    pub(crate) fn store_join_waker(&self, waker: Waker) -> bool {
        let mut slots = self.chunk.lock();
        let Some((word, entry)) = slots.entry(self) else { return true };
        let old = entry.join.replace(waker);
        let abandoned = word.has(flag::ABANDONED);
        drop(slots);
        drop(old);
        !abandoned
    }

    pub(crate) fn forget_join_waker(&self) {
        let mut slots = self.chunk.lock();
        let old = slots.entry(self).and_then(|(_, entry)| entry.join.take());
        drop(slots);
        drop(old);
    }

    /// Notes when a blocking job begins to run. False if it was cancelled before.
    pub(crate) fn begin_job(&self, now: Duration) -> bool {
        let mut slots = self.chunk.lock();
        let Some((word, entry)) = slots.entry(self) else { return false };
        let begins = !word.has(flag::CANCEL);
        if begins {
            entry.set_born(now);
        }
        begins
    }

    /// Makes a plain task, which is counted as such, a graceful one. The chunk's lock is held.
    pub(crate) fn make_graceful(&self, slots: &mut Slots) {
        slots.at(self).kind = TaskKind::Graceful;
        self.set(flag::ASKED);
    }
}
