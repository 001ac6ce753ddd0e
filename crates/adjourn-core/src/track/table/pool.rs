//! The chunks that no scope has.
//!
//! They are made several at a time, so that most scopes need no allocation for their table. A process
//! that has needed one so far has made one.

use super::{Chunk, Entry, Mark, SIZES};
use crate::sync::atomic::AtomicU64;

#[cfg(not(loom))]
pub(super) use self::shared::{put, take};

/// Makes so many chunks with so many slots each.
fn make(count: usize, slots: usize) -> &'static [Chunk] {
    let marks: Box<[_]> = (0..count * slots).map(|_| Mark(AtomicU64::new(0))).collect();
    let entries: Box<[_]> = (0..count * slots).map(|_| Entry::VACANT).collect();
    let parts = Box::leak(marks).chunks(slots).zip(Box::leak(entries).chunks_mut(slots));
    let chunks: Box<[_]> = parts.map(|(marks, entries)| Chunk::new(marks, entries)).collect();
    Box::leak(chunks)
}

#[cfg(not(loom))]
mod shared {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::{Chunk, SIZES, make};

    struct Pool {
        idle: Vec<&'static Chunk>,
        /// How many were made so far.
        made: usize,
    }

    /// The most slots that are made at a time, but for one large chunk: about a page of memory.
    const AT_ONCE: usize = 32;

    /// One for each size.
    static POOLS: [Mutex<Pool>; SIZES.len()] =
        [const { Mutex::new(Pool { idle: Vec::new(), made: 0 }) }; SIZES.len()];

    fn lock(size: usize) -> MutexGuard<'static, Pool> {
        POOLS[size].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a chunk of this one of the sizes.
    pub(in super::super) fn take(size: usize) -> &'static Chunk {
        let mut pool = lock(size);
        loop {
            if let Some(chunk) = pool.idle.pop() {
                return chunk;
            }
            // As many again as there are, but only one that is large.
            let count = pool.made.clamp(1, (AT_ONCE / SIZES[size]).max(1));
            pool.made += count;
            pool.idle.extend(make(count, SIZES[size]).iter().rev());
        }
    }

    pub(in super::super) fn put(chunk: &'static Chunk) {
        lock(SIZES.partition_point(|slots| *slots < chunk.marks.len())).idle.push(chunk);
    }
}

/// Loom's objects belong to one execution: none is used again.
#[cfg(loom)]
pub(super) fn take(size: usize) -> &'static Chunk {
    &make(1, SIZES[size])[0]
}

#[cfg(loom)]
pub(super) fn put(_: &'static Chunk) {}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;
    use std::panic::Location;
    use std::sync::Mutex;

    use super::*;
    use crate::contract::report::TaskKind;
    use crate::track::node::Spawn;
    use crate::track::table::TaskRef;

    #[test]
    fn chunks_that_were_made_together_share_no_slot() {
        let mut seats = BTreeSet::new();
        let chunks = make(5, 3);
        for chunk in chunks {
            let mut slots = chunk.lock();
            for _ in 0..3 {
                let mut spawn = Spawn::new(TaskKind::Plain, Location::caller());
                spawn.name = Some(Box::new("named".into()));
                let task = slots.put(chunk, &mut spawn);
                assert!(seats.insert(task.seat()));
                assert_eq!(task.key(), TaskRef::running(task.mark(), chunk).key());
            }
            assert!(slots.is_full());
        }
        assert_eq!((chunks.len(), seats.len()), (5, 15));
        for chunk in chunks {
            let mut slots = chunk.lock();
            let mut named = 0;
            slots.each(chunk, |task, slots| {
                named += usize::from(slots.at(&task).name.take().is_some());
                true
            });
            assert_eq!(named, 3, "none has the entry of another");
        }
        // Never freed, and so not to be lost.
        static KEPT: Mutex<Vec<&[Chunk]>> = Mutex::new(Vec::new());
        KEPT.lock().unwrap().push(chunks);
    }
}
