//! The chunks that no scope has.
//!
//! They are made several at a time, so that most scopes need no allocation for their table. A process
//! that has needed one so far has made one.

use super::{Chunk, Entry, Mark, More, SIZES};

#[cfg(not(loom))]
pub(super) use self::shared::{put, take, take_more};

/// Makes so many chunks with so many slots each.
fn make(count: usize, slots: usize) -> &'static [Chunk] {
    let chunks: Box<[_]> = match slots {
        1 => (0..count).map(|_| Chunk::new(None)).collect(),
        _ => make_more(count, slots - 1).iter_mut().map(|more| Chunk::new(Some(more))).collect(),
    };
    Box::leak(chunks)
}

/// Makes what so many chunks have of so many slots beside the first.
fn make_more(count: usize, slots: usize) -> &'static mut [More] {
    let marks: Box<[_]> = (0..count * slots).map(|_| Mark::new()).collect();
    let entries: Box<[_]> = (0..count * slots).map(|_| Entry::VACANT).collect();
    let parts = Box::leak(marks).chunks(slots).zip(Box::leak(entries).chunks_mut(slots));
    let more: Box<[_]> =
        parts.map(|(marks, entries)| More { marks, entries, tally: None }).collect();
    Box::leak(more)
}

#[cfg(not(loom))]
mod shared {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::{Chunk, More, SIZES, make, make_more};

    struct Pool<T> {
        idle: Vec<T>,
        /// How many were made so far.
        made: usize,
    }

    /// The most slots that are made at a time, but for one large chunk: about a page of memory.
    const AT_ONCE: usize = 32;

    /// One for each size.
    static POOLS: [Mutex<Pool<&Chunk>>; SIZES.len()] =
        [const { Mutex::new(Pool::new()) }; SIZES.len()];
    /// What chunks of one slot get that come to have two.
    static MORE: Mutex<Pool<&mut More>> = Mutex::new(Pool::new());

    impl<T> Pool<T> {
        const fn new() -> Pool<T> {
            Pool { idle: Vec::new(), made: 0 }
        }

        /// How many to make, of so many slots each: as many again as there are, but only one that is large.
        fn grow(&mut self, slots: usize) -> usize {
            let count = self.made.clamp(1, (AT_ONCE / slots).max(1));
            self.made += count;
            count
        }
    }

    fn lock(size: usize) -> MutexGuard<'static, Pool<&'static Chunk>> {
        POOLS[size].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a chunk for a scope that has so many.
    pub(in super::super) fn take(others: usize) -> &'static Chunk {
        // The first one has one slot, or two of a scope before.
        let size = match others {
            0 => 0,
            others => (others + 1).min(SIZES.len() - 1),
        };
        let mut pool = lock(size);
        loop {
            if let Some(chunk) = pool.idle.pop() {
                return chunk;
            }
            if size == 0 {
                if let Some(chunk) = lock(1).idle.pop() {
                    return chunk;
                }
            }
            let count = pool.grow(SIZES[size]);
            pool.idle.extend(make(count, SIZES[size]).iter().rev());
        }
    }

    /// Takes one more slot for a chunk that has one.
    pub(in super::super) fn take_more() -> &'static mut More {
        let mut pool = MORE.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(more) = pool.idle.pop() {
                return more;
            }
            let count = pool.grow(1);
            pool.idle.extend(make_more(count, 1).iter_mut().rev());
        }
    }

    pub(in super::super) fn put(chunk: &'static Chunk, slots: u8) {
        lock(SIZES.partition_point(|size| *size < slots.into())).idle.push(chunk);
    }
}

/// Loom's objects belong to one execution: none is used again.
#[cfg(loom)]
pub(super) fn take(others: usize) -> &'static Chunk {
    &make(1, SIZES[others.min(1)])[0]
}

#[cfg(loom)]
pub(super) fn take_more() -> &'static mut More {
    &mut make_more(1, 1)[0]
}

#[cfg(loom)]
pub(super) fn put(_: &'static Chunk, _: u8) {}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;
    use std::panic::Location;
    use std::sync::Mutex;

    use super::*;
    use crate::contract::report::{Outcome, TaskKind};
    use crate::tests::nowhere::program;
    use crate::track::node::{Node, Spawn};
    use crate::track::table::TaskRef;

    #[test]
    fn chunks_that_were_made_together_share_no_slot() {
        share_no_slot(make(5, 3), 3);
        share_no_slot(make(5, 1), 1);
        share_no_slot(make(5, 2), 2);
    }

    #[test]
    fn a_chunk_that_has_come_to_have_two_slots_keeps_them() {
        let program = program(false);
        let node = program.open(&program.root(), "leaf".into(), &[]);
        let spawn = || node.register(Spawn::new(TaskKind::Plain, Location::caller())).unwrap();
        let (one, two) = (spawn(), spawn());
        assert!(std::ptr::eq(one.chunk(), two.chunk()), "a pair has one chunk");
        assert!(one.key() != two.key() && one.chunk().lock().size == 2);
        let entry = |task| std::ptr::from_ref(one.chunk().lock().at(task)).addr();
        assert!(entry(&one) != entry(&two));
        Node::deregister(two, Outcome::Cancelled);
        assert!(one.live_word().is_some() && two.live_word().is_none());
        let two = spawn();
        assert!(std::ptr::eq(one.chunk(), two.chunk()), "its place is free again");
        let three = spawn();
        assert!(!std::ptr::eq(two.chunk(), three.chunk()));
        assert_eq!(node.lock().totals().live, 3);
        for task in [one, two, three] {
            Node::deregister(task, Outcome::Finished);
        }
        node.close_handle();
        assert!(one.chunk().owner() != node.uid && one.chunk().lock().size == 2, "given back");
        program.conclude();
    }

    fn share_no_slot(chunks: &'static [Chunk], slots_of_each: usize) {
        let mut seats = BTreeSet::new();
        for chunk in chunks {
            let mut slots = chunk.lock();
            for _ in 0..slots_of_each {
                let mut spawn = Spawn::new(TaskKind::Plain, Location::caller());
                spawn.name = Some(Box::new("named".into()));
                let task = slots.put(chunk, &mut spawn);
                assert!(seats.insert(task.seat()));
                assert_eq!(task.key(), TaskRef::running(task.mark(), chunk).key());
            }
            assert!(slots.is_full());
        }
        assert_eq!((chunks.len(), seats.len()), (5, 5 * slots_of_each));
        for chunk in chunks {
            let mut slots = chunk.lock();
            let mut named = 0;
            slots.each(chunk, |task, slots| {
                named += usize::from(slots.at(&task).name.take().is_some());
                true
            });
            assert_eq!(named, slots_of_each, "none has the entry of another");
        }
        // Never freed, and so not to be lost.
        static KEPT: Mutex<Vec<&[Chunk]>> = Mutex::new(Vec::new());
        KEPT.lock().unwrap().push(chunks);
    }
}
