//! A reference to a task's slot, and what is done to its mark and its entry through it.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::mark::{Mark, Word, flag};
use super::{Chunk, Slots};
use crate::sync::atomic::Ordering::SeqCst;
use crate::track::node::Node;

/// Names one task of the process. What it names may be over: the serial tells.
#[derive(Clone, Copy)]
pub(crate) struct TaskRef {
    pub(super) mark: &'static Mark,
    pub(super) chunk: &'static Chunk,
    /// Serial (32) and slot (32).
    pub(super) id: u64,
}

impl PartialEq for TaskRef {
    fn eq(&self, other: &TaskRef) -> bool {
        self.id == other.id && std::ptr::eq(self.mark, other.mark)
    }
}

impl TaskRef {
    /// Names a task that is known to be alive, since it is being polled.
    #[inline]
    pub(crate) fn running(mark: &'static Mark, chunk: &'static Chunk) -> TaskRef {
        let offset = std::ptr::from_ref(mark).addr() - chunk.marks.as_ptr().addr();
        let slot = (offset / size_of::<Mark>()) as u64;
        TaskRef { mark, chunk, id: u64::from(mark.load().serial()) << 32 | slot }
    }

    #[inline]
    pub(crate) fn chunk(&self) -> &'static Chunk {
        self.chunk
    }

    #[inline]
    pub(super) fn slot(&self) -> usize {
        self.id as u32 as usize
    }

    #[inline]
    pub(super) fn serial(&self) -> u32 {
        (self.id >> 32) as u32
    }

    /// Tells the task from all others that are alive, for a thread's seat: never zero.
    #[inline]
    pub(crate) fn seat(&self) -> usize {
        std::ptr::from_ref(self.mark).addr()
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
        self.mark.0.fetch_or(flags, SeqCst);
    }

    /// Clears flags, under the chunk's lock.
    pub(crate) fn clear(&self, flags: u64) {
        self.mark.0.fetch_and(!flags, SeqCst);
    }

    /// Notes that the waker is stored again, under the chunk's lock; returns what the mark was.
    fn clear_retake(&self) -> Word {
        let word = self.word();
        if word.has(flag::RETAKE) {
            self.clear(flag::RETAKE);
        }
        word
    }

    /// Adds a hold from the task's own poll and returns what the mark was before.
    #[inline]
    pub(crate) fn hold(&self) -> Word {
        Word(self.mark.0.fetch_add(1, SeqCst))
    }

    /// Releases a hold, from anywhere; returns what is left if the task is still alive.
    pub(crate) fn release(&self) -> Option<Word> {
        let mark = &self.mark.0;
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
        let waker = slots.entries[self.slot()].waker.take();
        let retake = if waker.is_some() { flag::RETAKE } else { 0 };
        if flags | retake != 0 {
            self.set(flags | retake);
        }
        waker
    }

    /// Stores the task's waker after a poll that was pending. Returns what the mark was, and the
    /// waker to drop.
    pub(crate) fn store_waker(
        &self,
        waker: Waker,
        born: Option<Duration>,
    ) -> Option<(Word, Option<Waker>)> {
        let mut slots = self.chunk.lock();
        let (_, entry) = slots.entry(self)?;
        let old = entry.waker.replace(waker);
        if let Some(born) = born {
            entry.set_born(born);
        }
        Some((self.clear_retake(), old))
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

    /// Notes when a blocking job began to run.
    pub(crate) fn set_born(&self, now: Duration) {
        if let Some((_, entry)) = self.chunk.lock().entry(self) {
            entry.set_born(now);
        }
    }
}
