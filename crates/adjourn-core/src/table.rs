//! The side table of a scope: what is known of each task, beside the future itself.
//!
//! A task's future holds a [`TaskRef`]; the table holds an [`Entry`], under the scope's lock, and a
//! [`Mark`], one atomic word that the task reads at each poll without a lock.
//!
//! Invariants of a mark:
//! 1. Its serial changes only under the scope's lock, when its slot is freed: who holds the lock
//!    and has compared serials may set flags without looking again.
//! 2. Holds are added only by the task's own poll; they are released from anywhere, by a
//!    compare-exchange that includes the serial, so that a late release never reaches the slot's
//!    next task.
//! 3. All operations on a mark are SeqCst: a flag set by a stop and a hold added by a poll are
//!    seen in one order by both.

use std::borrow::Cow;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::Waker;
use std::time::Duration;

use crate::error::Place;
use crate::node::Node;
use crate::report::TaskKind;

/// A task's name, in one word and without an allocation for those that have none.
pub(crate) type Name = Box<Cow<'static, str>>;

/// The state that a task shares with those who stop it: serial (32), flags (10), holds (22).
#[derive(Default)]
pub(crate) struct Mark(AtomicU64);

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
    /// May spawn shielded work while its scope is cancelling.
    pub(crate) const PRIVILEGED: u64 = 1 << 29;
    /// It returned an error that a stop request caused: it counts as cancelled.
    pub(crate) const STOPPED: u64 = 1 << 30;
}

const HOLDS: u64 = flag::CANCEL - 1;

/// What a mark said at one instant.
#[derive(Clone, Copy)]
pub(crate) struct Word(u64);

impl Word {
    pub(crate) fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    pub(crate) fn is_held(self) -> bool {
        self.0 & HOLDS != 0
    }

    fn serial(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether the task is to be dropped at this yield.
    pub(crate) fn is_doomed(self) -> bool {
        self.has(flag::FORCE) || (self.has(flag::CANCEL) && !self.is_held())
    }
}

impl Mark {
    fn load(&self) -> Word {
        Word(self.0.load(SeqCst))
    }
}

/// Some slots' marks, at an address that a task keeps.
pub(crate) struct Chunk<M: ?Sized = [Mark]> {
    pub(crate) node: Arc<Node>,
    base: u32,
    marks: M,
}

/// Names one task of one scope. What it names may be over: the serial tells.
#[derive(Clone)]
pub(crate) struct TaskRef {
    chunk: Arc<Chunk>,
    index: u32,
    serial: u32,
}

/// Names one task of one process, for comparing: scope, slot and serial.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskId(u32, u32, u32);

impl TaskRef {
    pub(crate) fn id(&self) -> TaskId {
        TaskId(self.chunk.node.uid, self.index, self.serial)
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.chunk.node
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    fn mark(&self) -> &Mark {
        &self.chunk.marks[(self.index - self.chunk.base) as usize]
    }

    /// Reads the mark; only for a task that is known to be alive (its own poll, or the lock).
    pub(crate) fn word(&self) -> Word {
        self.mark().load()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.word().serial() != self.serial
    }

    pub(crate) fn is_same(&self, other: &TaskRef) -> bool {
        self.index == other.index
            && self.serial == other.serial
            && Arc::ptr_eq(&self.chunk, &other.chunk)
    }

    /// Sets flags; from the task's own poll or under the scope's lock.
    pub(crate) fn set(&self, flags: u64) {
        self.mark().0.fetch_or(flags, SeqCst);
    }

    /// Notes that the waker is stored again, under the scope's lock; returns what the mark was.
    pub(crate) fn clear_retake(&self) -> Word {
        Word(self.mark().0.fetch_and(!flag::RETAKE, SeqCst))
    }

    /// Adds a hold from the task's own poll and returns what the mark was before.
    pub(crate) fn hold(&self) -> Word {
        Word(self.mark().0.fetch_add(1, SeqCst))
    }

    /// Releases a hold, from anywhere; returns what is left if the task is still alive.
    pub(crate) fn release(&self) -> Option<Word> {
        let mark = &self.mark().0;
        let mut word = mark.load(SeqCst);
        loop {
            if Word(word).serial() != self.serial || !Word(word).is_held() {
                return None;
            }
            match mark.compare_exchange_weak(word, word - 1, SeqCst, SeqCst) {
                Ok(_) => return Some(Word(word - 1)),
                Err(now) => word = now,
            }
        }
    }
}

/// What is known of a task. `None` wakers: never pending yet, or taken to be woken.
pub(crate) struct Entry {
    pub(crate) waker: Option<Waker>,
    pub(crate) name: Option<Name>,
    pub(crate) place: Place,
    /// Nanoseconds from the program's epoch to the first poll that was pending (for a job: to its
    /// start), plus one; 0 before that. A trivial task never reads the clock.
    born: u64,
    pub(crate) kind: TaskKind,
    pub(crate) background: bool,
    live: bool,
}

impl Entry {
    pub(crate) fn set_born(&mut self, now: Duration) {
        if self.born == 0 {
            self.born = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        }
    }

    pub(crate) fn born(&self) -> Option<Duration> {
        self.born.checked_sub(1).map(Duration::from_nanos)
    }
}

/// The slots of one scope.
#[derive(Default)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    chunks: Vec<Arc<Chunk>>,
    free: Vec<u32>,
}

// The budget of the side table for a task: its entry, its mark and its place in the free list.
const _: () = assert!(size_of::<Entry>() + size_of::<Mark>() + size_of::<u32>() <= 64);

const FIRST: usize = 4;
const NEXT: usize = 60;
const REST: usize = 64;

/// Which chunk a slot is in: 4 slots, then 60, then 64 each, so that a scope of one task is small.
fn chunk_of(index: usize) -> usize {
    if index < FIRST { 0 } else { index / REST + 1 }
}

impl Table {
    /// Takes a slot; `flags` are the mark's first.
    pub(crate) fn insert(
        &mut self,
        node: &Arc<Node>,
        kind: TaskKind,
        name: Option<Name>,
        place: Place,
        background: bool,
        flags: u64,
    ) -> TaskRef {
        let entry = Entry { waker: None, name, place, born: 0, kind, background, live: true };
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                let index = self.entries.len();
                if chunk_of(index) == self.chunks.len() {
                    self.chunks.push(new_chunk(node.clone(), index));
                }
                self.entries.push(entry);
                index as u32
            }
        };
        let chunk = self.chunks[chunk_of(index as usize)].clone();
        let mark = &chunk.marks[(index - chunk.base) as usize];
        let serial = mark.load().serial();
        mark.0.store(u64::from(serial) << 32 | flags, SeqCst);
        TaskRef { chunk, index, serial }
    }

    /// Returns the task's entry, unless it is over.
    pub(crate) fn entry(&mut self, task: &TaskRef) -> Option<&mut Entry> {
        if task.is_over() {
            return None;
        }
        self.entries.get_mut(task.index as usize).filter(|entry| entry.live)
    }

    /// Frees a task's slot. Returns its last word and what is to be dropped outside the lock.
    pub(crate) fn remove(&mut self, task: &TaskRef) -> (Word, Option<Waker>, Option<Name>) {
        let word = task.word();
        debug_assert_eq!(word.serial(), task.serial);
        let entry = &mut self.entries[task.index as usize];
        entry.live = false;
        let (waker, name) = (entry.waker.take(), entry.name.take());
        task.mark().0.store(u64::from(task.serial.wrapping_add(1)) << 32, SeqCst);
        self.free.push(task.index);
        (word, waker, name)
    }

    /// How many slots there are, live or free.
    pub(crate) fn slots(&self) -> usize {
        self.entries.len()
    }

    /// Returns the live task in a slot.
    pub(crate) fn at(&mut self, index: usize) -> Option<(&mut Entry, Live<'_>)> {
        let entry = self.entries.get_mut(index).filter(|entry| entry.live)?;
        let chunk = &self.chunks[chunk_of(index)];
        Some((entry, Live { mark: &chunk.marks[index - chunk.base as usize] }))
    }

    /// Returns all storage, to be dropped outside the lock; what is alive keeps its own chunk.
    pub(crate) fn take(&mut self) -> Table {
        mem::take(self)
    }
}

/// The mark of a task that is alive while the scope's lock is held.
pub(crate) struct Live<'a> {
    mark: &'a Mark,
}

impl Live<'_> {
    /// Sets flags and returns what the mark was before.
    pub(crate) fn set(&self, flags: u64) -> Word {
        Word(self.mark.0.fetch_or(flags, SeqCst))
    }

    pub(crate) fn word(&self) -> Word {
        self.mark.load()
    }
}

fn new_chunk(node: Arc<Node>, base: usize) -> Arc<Chunk> {
    fn sized<const N: usize>(node: Arc<Node>, base: usize) -> Arc<Chunk> {
        let marks: [Mark; N] = std::array::from_fn(|_| Mark::default());
        Arc::new(Chunk { node, base: base as u32, marks })
    }
    match chunk_of(base) {
        0 => sized::<FIRST>(node, base),
        1 => sized::<NEXT>(node, base),
        _ => sized::<REST>(node, base),
    }
}
