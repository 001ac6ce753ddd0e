//! What of a scope changes without its lock: the token, and how many of its chunks have a live task.

use crate::sync::atomic::{AtomicU32, Ordering::SeqCst};
use crate::sync::read_in_order;

/// The stop token, whether the machine was told that nobody is left, and above those two flags the chunks with
/// a live task: one word, so that all of that happens in one order.
pub(super) struct Live(AtomicU32);

const FIRED: u32 = 1;
const LEFT: u32 = 2;
const CHUNK: u32 = 4;

impl Live {
    pub(super) fn new() -> Live {
        Live(AtomicU32::new(0))
    }

    #[inline]
    pub(super) fn is_fired(&self) -> bool {
        self.0.load(SeqCst) & FIRED != 0
    }

    pub(super) fn set_fired(&self) {
        self.0.fetch_or(FIRED, SeqCst);
    }

    /// Whether a chunk has a live task.
    pub(super) fn is_alive(&self) -> bool {
        read_in_order(&self.0) >= CHUNK
    }

    /// Counts a chunk that comes to have one; returns whether none had.
    #[inline]
    pub(super) fn add(&self) -> bool {
        self.0.fetch_add(CHUNK, SeqCst) < CHUNK
    }

    /// Counts a chunk that comes to have one, if another has; returns whether it has.
    pub(super) fn add_to_others(&self) -> bool {
        let one_more = |word| (word >= CHUNK).then_some(word + CHUNK);
        self.0.fetch_update(SeqCst, SeqCst, one_more).is_ok()
    }

    /// A chunk has none any more; returns whether it was the last.
    #[inline]
    pub(super) fn remove(&self) -> bool {
        self.0.fetch_sub(CHUNK, SeqCst) < 2 * CHUNK
    }

    /// Says that the machine is told that nobody can spawn here any more, or that it is not.
    pub(super) fn tell_left(&self, left: bool) {
        if left {
            self.0.fetch_or(LEFT, SeqCst);
        } else {
            self.0.fetch_and(!LEFT, SeqCst);
        }
    }

    /// Whether that was told, and is taken back.
    #[inline]
    pub(super) fn take_back_left(&self) -> bool {
        let told = |word: u32| word & LEFT != 0;
        (cfg!(loom) || told(self.0.load(SeqCst))) && told(self.0.fetch_and(!LEFT, SeqCst))
    }
}
