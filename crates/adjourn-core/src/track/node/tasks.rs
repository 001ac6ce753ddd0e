//! What a [`Node`]'s lock guards: its chunks, its gate, who waits, and what was counted.

use std::mem;
use std::ptr;
use std::sync::Arc;

use super::extra::{Extra, Rest};
use super::{Gate, Node, Spawn};
use crate::contract::hook::Hook;
use crate::contract::report::Totals;
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering::SeqCst;
use crate::track::above::Above;
use crate::track::table::{self, Chunk, Counted, Ended, Insert, Slots, Tally, TaskRef, flag};
use crate::track::wakes::Wakes;

/// The most chunks of a scope that are kept apart for threads that spawn at the same time.
const MOST_ROOMY: usize = 64;

/// The scope ends with its tasks, whatever handles there are: a nursery whose future is over.
const SEALED: u8 = 1;
/// Its hooks have run, and it takes no more of them.
const UNHOOKED: u8 = 2;

/// What a [`Node`]'s lock guards.
pub(crate) struct Tasks {
    pub(super) handles: u32,
    gate: Gate,
    bits: u8,
    /// What was counted outside of the chunks.
    ended: Ended,
    /// The first chunk, which is all that a leaf has.
    first: Option<&'static Chunk>,
    pub(super) extra: Extra,
}

/// The chunks of a small scope with their locks.
pub(super) type Locked = [Option<(&'static Chunk, MutexGuard<'static, Slots>)>; 2];

pub(crate) struct Counts {
    pub(crate) graceful: bool,
    pub(crate) live: bool,
    /// Nobody can spawn into it any more.
    pub(crate) left: bool,
}

impl Tasks {
    pub(super) fn new(handles: u32) -> Tasks {
        Tasks {
            handles,
            gate: Gate::Open,
            bits: 0,
            ended: Ended::default(),
            first: None,
            extra: Extra::NONE,
        }
    }

    /// Counts a spawn that was refused.
    pub(super) fn refuse(&mut self) {
        self.extra.make().tally.refuse();
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = &'static Chunk> {
        self.first.iter().chain(self.others()).copied()
    }

    /// The chunks beside the first.
    fn others(&self) -> &[&'static Chunk] {
        self.extra.get().map_or(&[], |rest| &rest.chunks)
    }

    /// Registers a task in a chunk with room, or in a new one. `full` has none, as of just now.
    pub(super) fn insert(
        &mut self,
        node: &Arc<Node>,
        spawn: &mut Spawn,
        admitted: bool,
        full: Option<&'static Chunk>,
    ) -> Insert {
        if self.gate == Gate::Closed {
            self.refuse();
            return Insert::Refused;
        }
        let Some(first) = self.first else {
            let (chunk, mut slots) = table::new_chunk(node, self.gate, 0);
            self.first = Some(chunk);
            slots.listed = true;
            return chunk.insert(&mut slots, node.uid, spawn, admitted);
        };
        let others = self.others().len();
        let inserted = if others > 0 {
            self.insert_roomy(node, spawn, admitted)
        } else if full.is_some_and(|full| ptr::eq(full, first)) {
            Insert::Full
        } else {
            first.insert(&mut first.lock(), node.uid, spawn, admitted)
        };
        if !matches!(inserted, Insert::Full) {
            return inserted;
        }
        let (chunk, mut slots) = table::new_chunk(node, self.gate, 1 + others);
        slots.listed = true;
        self.add_chunk(chunk, first);
        chunk.insert(&mut slots, node.uid, spawn, admitted)
    }

    /// Registers a task in a chunk with room. One whose lock is taken is passed over for another, so that
    /// threads that spawn at the same time come to have chunks of their own; within bounds.
    fn insert_roomy(&mut self, node: &Arc<Node>, spawn: &mut Spawn, admitted: bool) -> Insert {
        let first = self.first;
        let Rest { chunks, roomy, .. } = self.extra.make();
        let small = [first, chunks.first().copied()];
        for index in (0..roomy.len()).rev() {
            let chunk = roomy[index];
            let small = small.iter().flatten().any(|small| ptr::eq(*small, chunk));
            let wait = small || (index == 0 && roomy.len() >= MOST_ROOMY);
            let slots = if wait { Some(chunk.lock()) } else { chunk.try_lock() };
            let Some(mut slots) = slots else { continue };
            match chunk.insert(&mut slots, node.uid, spawn, admitted) {
                Insert::Full => {
                    slots.listed = false; // whoever frees one of its slots lists it again
                    roomy.swap_remove(index);
                }
                done => return done,
            }
        }
        Insert::Full
    }

    /// Adds a chunk, which has room, beside the first one.
    #[cold]
    fn add_chunk(&mut self, chunk: &'static Chunk, first: &'static Chunk) {
        let rest = self.extra.make();
        if rest.chunks.is_empty() {
            // From here on there is a list of those that have room.
            let mut slots = first.lock();
            slots.listed = !slots.is_full(); // whoever frees one of its slots lists it then
            rest.roomy.extend(slots.listed.then_some(first));
        }
        rest.chunks.push(chunk);
        rest.roomy.push(chunk);
    }

    /// A chunk of the scope has room again, and is to be in the list of those if there is one.
    pub(super) fn list_roomy(&mut self, chunk: &'static Chunk) {
        if let Some(rest) = self.extra.get_mut().filter(|rest| !rest.chunks.is_empty()) {
            rest.roomy.push(chunk);
        }
    }

    /// Takes no more than `gate` lets in; each chunk has yet to be told.
    pub(super) fn narrow(&mut self, gate: Gate) {
        self.gate = self.gate.max(gate);
    }

    /// Cancels plain and graceful tasks and takes their wakers, of a small scope.
    pub(super) fn cancel_small(&mut self, locked: &mut Locked, wakes: &mut Wakes) {
        self.narrow(Gate::Shielded);
        self.take_cancel(wakes);
        for (chunk, slots) in locked.iter_mut().flatten() {
            slots.cancel(chunk);
            slots.take_wakers(chunk, wakes, flag::CANCEL);
        }
    }

    /// Calls `each` with every live task, until it returns false.
    pub(super) fn each(&self, mut each: impl FnMut(TaskRef, &mut Slots) -> bool) {
        for chunk in self.chunks() {
            if !chunk.lock().each(chunk, &mut each) {
                return;
            }
        }
    }

    pub(crate) fn counts(&self, node: &Node) -> Counts {
        // Told first and then looked at: a spawn counts itself first and looks at this then.
        let untaken = self.is_untaken();
        node.live.tell_left(untaken);
        let live = node.is_alive();
        let left = untaken && !live;
        if !left {
            node.live.tell_left(false);
        }
        Counts { graceful: node.graceful.load(SeqCst) > 0, live, left }
    }

    pub(crate) fn totals(&self) -> Totals {
        let (mut tally, mut live) = (self.tally(), 0);
        for chunk in self.chunks() {
            let slots = chunk.lock();
            slots.add_to(&mut tally);
            live += slots.live();
        }
        tally.totals(live)
    }

    /// What was counted outside of the chunks.
    pub(super) fn tally(&self) -> Tally {
        let mut tally = self.extra.get().map(|rest| rest.tally).unwrap_or_default();
        tally.add_ended(self.ended);
        tally
    }

    /// Adds what a chunk has counted.
    #[inline]
    fn add(&mut self, Counted { ended, tally }: Counted) {
        self.ended.add(ended, || &mut self.extra.make().tally);
        if let Some(tally) = tally {
            self.extra.make().tally.add(&tally);
        }
    }

    pub(crate) fn has_hooks(&self) -> bool {
        self.extra.get().is_some_and(|rest| !rest.hooks.is_empty())
    }

    /// Takes no more hooks, if there are none. Returns whether that is so.
    pub(crate) fn end_hooks(&mut self) -> bool {
        if !self.has_hooks() {
            self.bits |= UNHOOKED;
        }
        self.bits & UNHOOKED != 0
    }

    pub(super) fn takes_hooks(&self) -> bool {
        !self.is_closed() && self.bits & UNHOOKED == 0
    }

    pub(super) fn take_hooks(&mut self) -> Vec<Hook> {
        self.extra.get_mut().map(|rest| mem::take(&mut rest.hooks)).unwrap_or_default()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.gate == Gate::Open
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.gate == Gate::Closed
    }

    /// Whether it has so few chunks that they are told, cancelled and given back in one step.
    pub(super) fn is_small(&self) -> bool {
        self.others().len() <= 1
    }

    /// Locks the chunks of a small scope.
    pub(super) fn lock_small(&self) -> Locked {
        let lock = |chunk: Option<&'static Chunk>| chunk.map(|chunk| (chunk, chunk.lock()));
        [lock(self.first), lock(self.others().first().copied())]
    }

    pub(super) fn seal(&mut self) {
        self.bits |= SEALED;
    }

    /// Nobody can spawn into it but its own tasks.
    fn is_untaken(&self) -> bool {
        self.handles == 0 || self.bits & SEALED != 0
    }

    pub(super) fn is_left(&self, node: &Node) -> bool {
        self.is_untaken() && !node.is_alive() && self.gate != Gate::Closed && !node.is_root()
    }

    /// Takes no more tasks: what is alive once this returns is all that will be. Returns the totals.
    pub(crate) fn shut(&mut self) -> Totals {
        self.narrow(Gate::Closed);
        for chunk in self.chunks() {
            let mut slots = chunk.lock();
            slots.narrow(Gate::Closed);
            chunk.set_fired(&mut slots);
        }
        self.totals()
    }

    /// Counts all that is alive as abandoned: it is not tracked any more. Who waits for it is told.
    pub(crate) fn abandon(&mut self, wakes: &mut Wakes) {
        self.each(|task, slots| {
            if task.word().has(flag::ABANDONED) {
                return true;
            }
            let flags = flag::ABANDONED | flag::CANCEL | flag::FORCE;
            wakes.add(task.take_waker(slots, flags));
            wakes.add(slots.at(&task).take_join_waker());
            slots.abandon();
            true
        });
    }

    /// Ends the scope, which was shut, though some tasks are alive: they are dropped at their next
    /// yield, and who waits for the scope is told.
    pub(crate) fn end_with_stragglers(&mut self, above: &dyn Above, wakes: &mut Wakes) {
        self.take_waiters(wakes);
        for chunk in self.chunks() {
            let mut slots = chunk.lock();
            slots.force(chunk, above);
            slots.take_wakers(chunk, wakes, flag::FORCE);
        }
    }

    /// Ends the scope, if nothing is alive in it, it has no hooks, and `agrees` says so then, which is told
    /// whether nobody can spawn into it any more. Returns what it counted.
    pub(crate) fn retire(
        &mut self,
        node: &Node,
        wakes: &mut Wakes,
        agrees: impl FnOnce(bool) -> bool,
    ) -> Option<Totals> {
        if self.has_hooks() || !self.is_small() || self.is_closed() || node.is_root() {
            return None;
        }
        // Under the locks of all chunks, so that nothing comes any more.
        let locked = self.lock_small();
        let empty = locked.iter().flatten().all(|(_, slots)| slots.is_empty());
        if !empty || !agrees(self.is_untaken()) {
            return None;
        }
        let [first, second] = locked;
        if let Some((chunk, slots)) = first {
            self.add(chunk.leave(slots));
        }
        if let Some((chunk, slots)) = second {
            self.add(chunk.leave(slots));
        }
        self.drop_chunks();
        self.narrow(Gate::Closed);
        self.take_waiters(wakes);
        Some(self.tally().totals(0))
    }

    /// Ends the scope, which was shut: nothing of it is alive, or all of that is abandoned. Returns
    /// hooks that have not run, to be dropped outside the lock.
    pub(crate) fn close(&mut self, wakes: &mut Wakes) -> Vec<Hook> {
        self.narrow(Gate::Closed); // one that was never open was not shut
        self.take_waiters(wakes);
        let (first, others) = self.drop_chunks();
        for chunk in first.into_iter().chain(others) {
            self.add(chunk.detach());
        }
        self.take_hooks()
    }

    fn drop_chunks(&mut self) -> (Option<&'static Chunk>, Vec<&'static Chunk>) {
        let others = self.extra.get_mut().map(|rest| {
            rest.roomy = Vec::new();
            mem::take(&mut rest.chunks)
        });
        (self.first.take(), others.unwrap_or_default())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::Location;

    use super::*;
    use crate::contract::report::{Outcome, TaskKind};
    use crate::tests::nowhere::program;

    fn spawn(node: &Arc<Node>) -> TaskRef {
        node.register(Spawn::new(TaskKind::Plain, Location::caller())).unwrap()
    }

    #[test]
    fn a_chunk_that_fills_and_empties_is_listed_once() {
        let program = program(false);
        let root = program.root();
        let other = program.open(&root, "other".into(), &[]);
        let mut live: Vec<_> = (0..300).map(|_| spawn(&root)).collect();
        for round in 0..10_000 {
            let at = round * 7 % live.len();
            Node::deregister(live.swap_remove(at), Outcome::Finished);
            if round % 3 == 0 {
                // Another scope's chunk is this thread's last one now.
                Node::deregister(spawn(&other), Outcome::Finished);
            }
            live.push(spawn(&root));
        }
        let tasks = root.lock();
        assert_eq!(tasks.totals().live, 300);
        let (chunks, roomy) = (tasks.chunks().count(), tasks.extra.get().unwrap().roomy.len());
        assert!(chunks <= 7, "{chunks} chunks for 300 tasks");
        assert!(roomy <= chunks, "{roomy} listed");
        drop(tasks);
        _ = program.conclude(); // its scopes refer to it
        live.into_iter().for_each(|task| Node::deregister(task, Outcome::Cancelled));
    }

    #[test]
    fn a_hook_that_comes_after_the_last_one_has_run_is_dropped() {
        let program = program(false);
        let node = program.open(&program.root(), "scope".into(), &[]);
        let kept = Arc::new(());
        let add = || {
            let kept = kept.clone();
            node.add_hook(Hook::new(move || drop(kept), Location::caller()));
        };
        add();
        assert!(!node.lock().end_hooks() && Arc::strong_count(&kept) == 2, "one is to run");
        drop(node.take_hooks());
        assert!(node.lock().end_hooks());
        add();
        assert_eq!(Arc::strong_count(&kept), 1, "nobody would run it");
        program.conclude();
    }

    #[test]
    fn a_task_that_is_abandoned_is_counted_once_whenever_it_ends() {
        let program = program(false);
        let node = program.open(&program.root(), "scope".into(), &[]);
        let tasks: Vec<_> = (0..12).map(|_| spawn(&node)).collect();
        let mut wakes = Wakes::default();
        node.lock().abandon(&mut wakes);
        let counted = || {
            let totals = node.lock().totals();
            (totals.spawned, totals.live, totals.abandoned, totals.cancelled)
        };
        assert_eq!(counted(), (12, 0, 12, 0));
        Node::deregister(tasks[0], Outcome::Cancelled); // before its scope is closed
        node.lock().abandon(&mut wakes);
        assert_eq!(counted(), (12, 0, 12, 0));
        program.conclude();
        assert_eq!(counted(), (12, 0, 12, 0));
        tasks[1..].iter().for_each(|task| Node::deregister(*task, Outcome::Cancelled));
        assert_eq!(counted(), (12, 0, 12, 0));
    }

    #[test]
    fn a_chunk_that_has_room_again_is_listed_once() {
        let program = program(false);
        let root = program.root();
        for _ in 0..1_000 {
            Node::deregister(spawn(&root), Outcome::Finished);
        }
        assert_eq!(root.lock().chunks().count(), 1);
        // Three chunks that are full, and one more.
        let mut live: Vec<_> = (0..2 + 8 + 64 + 1).map(|_| spawn(&root)).collect();
        let chunk = live[10].chunk();
        for _ in 0..100 {
            crate::track::context::set_chunk(root.uid, chunk);
            Node::deregister(live.remove(10), Outcome::Finished);
            live.insert(10, spawn(&root));
            assert!(ptr::eq(live[10].chunk(), chunk), "it is the one that has room");
        }
        let tasks = root.lock();
        let roomy = tasks.extra.get().unwrap().roomy.len();
        assert_eq!((tasks.chunks().count(), roomy), (4, 2));
        drop(tasks);
        live.into_iter().for_each(|task| Node::deregister(task, Outcome::Finished));
        program.conclude();
    }
}
