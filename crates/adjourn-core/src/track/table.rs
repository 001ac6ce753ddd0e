//! The side table of a scope: what is known of each task, beside the future itself.
//!
//! It consists of [`Chunk`]s of up to 64 slots. A task's future holds a [`TaskRef`]; its slot has a
//! [`Mark`], one atomic word that the task reads at each poll without a lock, and an [`Entry`],
//! under the lock of its chunk. A thread spawns into a chunk that it used before, so that threads
//! that spawn into one scope do not wait for each other, and a spawn takes one lock that nobody
//! else wants.
//!
//! Chunks are never freed: a scope takes them from a [pool] and gives them back at its end. So a
//! `TaskRef` is a plain reference, free to copy, and what it names may be over: the serial tells.
//! The process keeps as many chunks as it once needed together.
//!
//! A leaf of the tree has one task, most often, or a pair. So a scope's first chunk has one slot, inside of itself:
//! two lines of cache in all. Where a second task comes it gets one slot more, and keeps that.
//!
//! Invariants of a mark:
//! 1. Its serial changes only under its chunk's lock, when its slot is freed: who holds the lock
//!    and has compared serials may set flags without looking again.
//! 2. Holds are added only by the task's own poll; they are released from anywhere, by a
//!    compare-exchange that includes the serial, so that a late release never reaches the slot's
//!    next task.
//! 3. What is done to the mark of a live task is SeqCst: a flag that a stop sets and a hold that a
//!    poll adds are seen in one order by both. The two stores that begin and end a serial are
//!    Release: the one is published by the executor that gets the future and by the chunk's lock,
//!    and after the other nobody may do anything.
//!
//! Invariants of a chunk:
//! 4. `owner` and `gate` repeat what its scope says. They change under the chunk's lock, by
//!    who holds the scope's, for all chunks before anybody is woken: a spawn that comes before the
//!    change is seen by whoever makes it, one that comes after it sees the change.
//! 5. A chunk in the pool has no owner and no live slot.
//! 6. Locks are taken in the order program, scope, chunk, pool; those of two chunks of one scope in the
//!    order of its list, under its own; those of two pools in the order of their sizes.

mod entry;
mod mark;
mod pool;
mod tally;
mod task_ref;

use std::ptr;
use std::sync::{Arc, PoisonError, TryLockError};

use crate::contract::report::{Outcome, TaskKind};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Relaxed, SeqCst};
use crate::sync::{Mutex, MutexGuard};
use crate::track::above::Above;
use crate::track::node::{Gate, Node, Spawn};
use crate::track::wakes::{WakerId, Wakes};

pub(crate) use self::entry::{Entry, Name, Removed};
pub(crate) use self::mark::{Mark, Word, flag};
pub(crate) use self::tally::{Ended, Tally};
pub(crate) use self::task_ref::{TaskKey, TaskRef};

/// How many slots a chunk can have, each with a pool of its own. A scope's first one begins with one slot
/// and comes to have two, its second one has eight, and each further one 64: most scopes have a task or two.
/// At the most the bits of `Slots::free`. (Under loom, models of two tasks have two chunks.)
const SIZES: [usize; 4] = if cfg!(loom) { [1, 2, 3, 4] } else { [1, 2, 8, 64] };

/// Up to 64 tasks of one scope. Aligned, so that no two share a cache line; what they have of more than one slot may
/// share theirs with others.
#[repr(align(64))]
pub(crate) struct Chunk {
    /// The scope's number, 0 in the pool and once the scope has ended, times four; in the bits below [`FIRED`]
    /// and [`HOSTED`].
    owner: AtomicU64,
    /// The mark of its first slot.
    mark: Mark,
    slots: Mutex<Slots>,
}

/// What the scope's stop token says.
const FIRED: u64 = 1;
/// A host keeps the time of the scope's program.
const HOSTED: u64 = 2;
/// What the scope's number is multiplied with.
const NUMBER: u64 = 4;

/// The slots of a chunk beside its first. It keeps them: each is only ever one chunk's.
struct More {
    marks: &'static [Mark],
    entries: &'static mut [Entry],
    /// What few chunks count. One of a single slot that does gets another slot with this.
    tally: Option<Box<Tally>>,
}

/// What a [`Chunk`]'s lock guards.
pub(crate) struct Slots {
    /// None in the pool. After the scope's end still there, until the last straggler is gone.
    pub(crate) node: Option<Arc<Node>>,
    /// A bit for each slot that has no task.
    free: u64,
    gate: Gate,
    /// The scope has it in its list of chunks with room, or needs none; it may be full all the same.
    pub(crate) listed: bool,
    /// How many of the tasks are not counted as alive any more, but as abandoned.
    abandoned: u8,
    /// Live tasks that keep the program alive.
    pub(crate) foreground: u8,
    ended: Ended,
    /// How many slots there are.
    size: u8,
    /// The entry of the first slot.
    entry: Entry,
    more: Option<&'static mut More>,
}

/// What a chunk has counted.
#[derive(Default)]
pub(crate) struct Counted {
    pub(crate) ended: Ended,
    pub(crate) tally: Option<Box<Tally>>,
}

/// What became of a spawn at one chunk.
pub(crate) enum Insert {
    /// It is registered; `tell` if the machine has to know.
    Done { task: TaskRef, tell: bool },
    /// The scope takes no more of its kind.
    Refused,
    /// It would be the first task, or the first graceful one, of a scope that has been told: whether
    /// that still takes one is the program's to say.
    Ask,
    /// No room, or another scope's by now.
    Full,
}

impl Chunk {
    /// One that nobody has, of slots that nobody has used.
    fn new(more: Option<&'static mut More>) -> Chunk {
        let size = 1 + more.as_ref().map_or(0, |more| more.marks.len());
        Chunk {
            owner: AtomicU64::new(0),
            mark: Mark::new(),
            slots: Mutex::new(Slots {
                node: None,
                free: Slots::all(size),
                gate: Gate::Closed,
                listed: false,
                abandoned: 0,
                foreground: 0,
                size: size as u8,
                ended: Ended::default(),
                entry: Entry::VACANT,
                more,
            }),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, Slots>> {
        match self.slots.try_lock() {
            Ok(slots) => Some(slots),
            Err(TryLockError::Poisoned(poison)) => Some(poison.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether it belongs to the scope of this number. Relaxed: a hint to others, certain for a
    /// live task of the scope itself, as nothing changes it while that is alive.
    #[inline]
    pub(crate) fn belongs_to(&self, uid: u64) -> bool {
        self.owner() == uid
    }

    /// The number of its scope. Certain for a live task in it.
    #[inline]
    pub(crate) fn owner(&self) -> u64 {
        self.owner.load(Relaxed) / NUMBER
    }

    /// Certain for a live task of the scope, as [`belongs_to`](Chunk::belongs_to).
    pub(crate) fn is_hosted(&self) -> bool {
        self.owner.load(Relaxed) & HOSTED != 0
    }

    #[inline]
    pub(crate) fn is_fired(&self) -> bool {
        self.owner.load(SeqCst) & FIRED != 0
    }

    /// Repeats what the scope's token says, under the chunk's lock.
    pub(crate) fn set_fired(&self, _: &mut Slots) {
        self.owner.fetch_or(FIRED, SeqCst);
    }

    /// Gives it to a scope, whose lock is held; returns its own, held.
    fn attach(&self, node: &Arc<Node>, gate: Gate) -> MutexGuard<'_, Slots> {
        let mut slots = self.lock();
        debug_assert!(slots.is_empty() && slots.foreground == 0 && slots.abandoned == 0);
        slots.node = Some(node.clone());
        slots.gate = gate;
        let fired = if node.is_fired() { FIRED } else { 0 };
        let hosted = if node.is_hosted() { HOSTED } else { 0 };
        self.owner.store(node.uid * NUMBER + hosted + fired, SeqCst);
        slots
    }

    /// Takes it from a scope that has ended, whose lock is held and which is kept by who holds it, and
    /// returns what it counted. It goes to the pool, at once or with the last straggler.
    pub(crate) fn detach(&'static self) -> Counted {
        self.leave(self.lock())
    }

    /// The same with its lock, which is held.
    pub(crate) fn leave(&'static self, mut slots: MutexGuard<'_, Slots>) -> Counted {
        slots.gate = Gate::Closed;
        self.owner.store(self.owner.load(Relaxed) & HOSTED | FIRED, SeqCst);
        (slots.listed, slots.foreground) = (false, 0);
        let ended = std::mem::take(&mut slots.ended);
        let counted =
            Counted { ended, tally: slots.more.as_mut().and_then(|more| more.tally.take()) };
        let empty = slots.is_empty();
        if empty {
            slots.node = None;
        }
        let size = slots.size;
        drop(slots);
        if empty {
            pool::put(self, size);
        }
        counted
    }

    /// Registers a task of the scope `uid`, if nobody else has the lock, there is room, and nobody
    /// has to hear of it: neither the first task of the chunk nor a graceful one.
    #[inline]
    pub(crate) fn insert_unnoted(&'static self, uid: u64, spawn: &mut Spawn) -> Option<TaskRef> {
        Some(self.lock_unnoted(uid, spawn)?.put(self, spawn))
    }

    /// The same for whoever has not got the scope. Returns that too.
    #[inline]
    pub(crate) fn insert_beside(
        &'static self,
        uid: u64,
        spawn: &mut Spawn,
    ) -> Option<(TaskRef, Arc<Node>)> {
        let mut slots = self.lock_unnoted(uid, spawn)?;
        let node = slots.node.clone()?;
        Some((slots.put(self, spawn), node))
    }

    #[inline]
    fn lock_unnoted(&'static self, uid: u64, spawn: &Spawn) -> Option<MutexGuard<'static, Slots>> {
        let slots = self.slots.try_lock().ok()?;
        let open = self.belongs_to(uid) && slots.gate == Gate::Open;
        let noted = spawn.kind == TaskKind::Graceful || slots.foreground == 0;
        (open && !noted && !slots.is_full()).then_some(slots)
    }

    /// Registers a task of the scope `uid`, if there is room; the lock is held. `admitted`: the
    /// program has said that the scope still takes its first graceful task.
    pub(crate) fn insert(
        &'static self,
        slots: &mut Slots,
        uid: u64,
        spawn: &mut Spawn,
        admitted: bool,
    ) -> Insert {
        if !self.belongs_to(uid) {
            return Insert::Full;
        }
        if !slots.gate.takes(spawn.kind) {
            slots.refuse();
            return Insert::Refused;
        }
        if slots.is_full() && !slots.extend() {
            return Insert::Full;
        }
        let Some(node) = &slots.node else { return Insert::Full };
        // Others hear of a chunk's first task and of the first graceful one.
        let graceful = spawn.kind == TaskKind::Graceful;
        let Some(changed) = node.count(self, slots.is_empty(), graceful, admitted) else {
            return Insert::Ask;
        };
        if !spawn.background && slots.foreground == 0 {
            node.above().keep_alive();
        }
        let tell = changed && (self.is_fired() || node.takes_back_left());
        Insert::Done { task: slots.put(self, spawn), tell }
    }
}

impl Slots {
    /// What `free` is when so many slots are.
    #[inline]
    fn all(slots: usize) -> u64 {
        u64::MAX >> (64 - slots)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.free == Slots::all(self.size.into())
    }

    /// Has a chunk of one slot have one more; returns whether it was one.
    fn extend(&mut self) -> bool {
        if cfg!(loom) || self.more.is_some() {
            return false;
        }
        more(&mut self.more, &mut self.free, &mut self.size);
        true
    }

    /// Counts a spawn that was refused.
    fn refuse(&mut self) {
        tally(&mut self.more, &mut self.free, &mut self.size).refuse();
    }

    /// The mark and the entry of a slot.
    #[inline]
    fn part(&mut self, chunk: &'static Chunk, slot: usize) -> (&'static Mark, &mut Entry) {
        match &mut self.more {
            Some(more) if slot > 0 => (&more.marks[slot - 1], &mut more.entries[slot - 1]),
            _ => (&chunk.mark, &mut self.entry),
        }
    }

    /// The slot of a task and its entry.
    #[inline]
    fn find(&mut self, task: &TaskRef) -> (usize, &mut Entry) {
        match &mut self.more {
            Some(more) if !ptr::eq(task.mark, &task.chunk.mark) => {
                let offset = ptr::from_ref(task.mark).addr() - more.marks.as_ptr().addr();
                let index = offset / size_of::<Mark>();
                (1 + index, &mut more.entries[index])
            }
            _ => (0, &mut self.entry),
        }
    }

    /// Counts how a task has ended.
    #[inline]
    pub(crate) fn count(&mut self, outcome: &Outcome) {
        let Slots { ended, more, free, size, .. } = self;
        ended.count(outcome, || tally(more, free, size));
    }

    /// Adds what was counted to this.
    pub(crate) fn add_to(&self, tally: &mut Tally) {
        tally.add_ended(self.ended);
        if let Some(rest) = self.more.as_ref().and_then(|more| more.tally.as_ref()) {
            tally.add(rest);
        }
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.free == 0
    }

    /// Whether one slot is free, which was not before.
    pub(crate) fn was_full(&self) -> bool {
        self.free.is_power_of_two()
    }

    /// How many tasks are alive that are not counted as abandoned.
    pub(crate) fn live(&self) -> u64 {
        let taken = u64::from(self.size) - u64::from(self.free.count_ones());
        taken - u64::from(self.abandoned)
    }

    /// Counts a live task as abandoned.
    pub(crate) fn abandon(&mut self) {
        self.abandoned += 1;
        self.count(&Outcome::Abandoned);
    }

    /// Such a task is gone.
    pub(crate) fn forget_abandoned(&mut self) {
        self.abandoned -= 1;
    }

    /// Takes a free slot for a task: there is one.
    #[inline]
    fn put(&mut self, chunk: &'static Chunk, spawn: &mut Spawn) -> TaskRef {
        let slot = self.free.trailing_zeros() as usize;
        self.free &= self.free - 1;
        self.foreground += u8::from(!spawn.background);
        let (mark, entry) = self.part(chunk, slot);
        if spawn.name.is_some() {
            entry.name = spawn.name.take();
        }
        entry.begin(spawn.kind, spawn.place, spawn.background);
        let serial = mark.serial();
        let flags = match spawn.kind {
            TaskKind::Graceful => flag::ASKED | flag::UNTOLD,
            kind if kind.is_shielded() => flag::SHIELDED,
            _ => 0,
        };
        mark.set_waker(WakerId::NONE);
        mark.begin(serial, flags);
        TaskRef { mark, chunk, serial }
    }

    /// Returns the task's mark and entry, unless it is over.
    pub(crate) fn entry(&mut self, task: &TaskRef) -> Option<(Word, &mut Entry)> {
        let (word, _, entry) = self.place(task)?;
        Some((word, entry))
    }

    /// The same with its slot.
    #[inline]
    pub(crate) fn place(&mut self, task: &TaskRef) -> Option<(Word, usize, &mut Entry)> {
        let word = task.live_word()?;
        let (slot, entry) = self.find(task);
        Some((word, slot, entry))
    }

    /// Frees the slot of a live task, whose entry has nothing any more.
    #[inline]
    pub(crate) fn free(&mut self, task: &TaskRef, slot: usize) {
        task.mark.begin(task.serial().wrapping_add(1), 0);
        self.free |= 1 << slot;
    }

    /// Calls `each` with every live task.
    pub(crate) fn each(
        &mut self,
        chunk: &'static Chunk,
        mut each: impl FnMut(TaskRef, &mut Slots) -> bool,
    ) -> bool {
        let mut live = !self.free & Slots::all(self.size.into());
        while live != 0 {
            let slot = live.trailing_zeros() as usize;
            live &= live - 1;
            let task = TaskRef::running(self.part(chunk, slot).0, chunk);
            if !each(task, self) {
                return false;
            }
        }
        true
    }

    /// Calls `each` with the mark and the entry of every live task.
    #[inline]
    fn walk(&mut self, chunk: &'static Chunk, mut each: impl FnMut(&'static Mark, &mut Entry)) {
        let mut live = !self.free & Slots::all(self.size.into());
        if live & 1 != 0 {
            each(&chunk.mark, &mut self.entry);
        }
        let Some(More { marks, entries, .. }) = self.more.as_deref_mut() else { return };
        live >>= 1;
        while live != 0 {
            let index = live.trailing_zeros() as usize;
            live &= live - 1;
            each(&marks[index], &mut entries[index]);
        }
    }

    /// Takes no more than `gate` lets in.
    pub(crate) fn narrow(&mut self, gate: Gate) {
        self.gate = self.gate.max(gate);
    }

    /// Cancels plain and graceful tasks, and takes no more of them. Nobody is woken yet.
    pub(crate) fn cancel(&mut self, chunk: &'static Chunk) {
        self.narrow(Gate::Shielded);
        self.walk(chunk, |mark, _| {
            if !mark.load().has(flag::SHIELDED) {
                mark.set(flag::CANCEL);
            }
        });
    }

    /// Has all tasks dropped at their next yield, held or not, and counts what was not cut off
    /// before. Jobs are not counted: nothing drops those. Nobody is woken yet.
    pub(crate) fn force(&mut self, chunk: &'static Chunk, above: &dyn Above) {
        let mut count = 0;
        self.walk(chunk, |mark, entry| {
            let job = entry.kind == TaskKind::Blocking;
            count += usize::from(!job && !mark.load().has(flag::FORCE));
            mark.set(flag::CANCEL | flag::FORCE);
        });
        above.cut_off(count); // before the lock is free and one of them can end
    }

    /// Takes the wakers of the tasks that have the flag.
    pub(crate) fn take_wakers(&mut self, chunk: &'static Chunk, wakes: &mut Wakes, flag: u64) {
        self.walk(chunk, |mark, entry| {
            if mark.load().has(flag) {
                wakes.add(mark.take_waker(entry, 0));
            }
        });
    }

    /// Takes the wakers of those that wait for the token with them, and has each graceful task polled
    /// before it can be cancelled. Who has no waker stored yet, or a new one, looks at the token when
    /// it stores that.
    pub(crate) fn take_watchers(&mut self, chunk: &'static Chunk, wakes: &mut Wakes) {
        self.walk(chunk, |mark, entry| {
            let word = mark.load();
            if word.has(flag::ASKED) {
                mark.set(flag::UNTOLD);
            }
            if word.has(flag::WATCH) {
                wakes.add(mark.take_waker(entry, 0));
            }
        });
    }

    /// The entry of a live task.
    #[inline]
    pub(crate) fn at(&mut self, task: &TaskRef) -> &mut Entry {
        self.find(task).1
    }
}

/// What a chunk has beside its first slot; where that is nothing yet it gets one more slot.
fn more<'a>(
    more: &'a mut Option<&'static mut More>,
    free: &mut u64,
    size: &mut u8,
) -> &'a mut More {
    more.get_or_insert_with(|| {
        let more = pool::take_more();
        let slots = more.marks.len();
        *free |= Slots::all(slots) << *size;
        *size += slots as u8;
        more
    })
}

/// What few chunks count.
#[cold]
fn tally<'a>(
    beside: &'a mut Option<&'static mut More>,
    free: &mut u64,
    size: &mut u8,
) -> &'a mut Tally {
    more(beside, free, size).tally.get_or_insert_default()
}

/// Takes a chunk for a scope that has so many, whose lock is held; returns it with its lock held.
pub(crate) fn new_chunk(
    node: &Arc<Node>,
    gate: Gate,
    others: usize,
) -> (&'static Chunk, MutexGuard<'static, Slots>) {
    let chunk = pool::take(others);
    (chunk, chunk.attach(node, gate))
}

/// Gives back the chunk of a scope that has ended if this was its last straggler. What it returns is
/// to be dropped outside the lock.
pub(crate) fn give_back(
    chunk: &'static Chunk,
    mut slots: MutexGuard<'_, Slots>,
) -> Option<Arc<Node>> {
    if !slots.is_empty() || !chunk.belongs_to(0) {
        return None;
    }
    let (node, size) = (slots.node.take(), slots.size);
    drop(slots);
    pool::put(chunk, size);
    node
}

// The budget of the side table for a scope: of a chunk with one slot, which is part of it.
const _: () = assert!(size_of::<Chunk>() <= 128 || cfg!(loom) || cfg!(not(target_os = "linux")));
