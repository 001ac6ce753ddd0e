//! What a [`Node`]'s lock guards: its chunks, its gate, who waits, and what was counted.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use super::waiters::Waiters;
use super::{Gate, Node, Spawn};
use crate::contract::hook::Hook;
use crate::contract::report::Totals;
use crate::few::Few;
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering::SeqCst;
use crate::track::above::Above;
use crate::track::table::{self, Chunk, Insert, Slots, Tally, TaskRef, flag};
use crate::track::wakes::Wakes;

/// The most chunks of a scope that are kept apart for threads that spawn at the same time.
const MOST_ROOMY: usize = 64;

/// What a [`Node`]'s lock guards.
pub(crate) struct Tasks {
    gate: Gate,
    pub(super) chunks: Few<&'static Chunk>,
    /// Those of them in which a slot is free, and some that are full by now.
    pub(super) roomy: Few<&'static Chunk>,
    /// What was counted outside of the chunks.
    pub(super) tally: Tally,
    pub(super) handles: u32,
    /// It ends with its tasks, whatever handles there are: a nursery whose future is over.
    pub(super) sealed: bool,
    /// Its hooks have run, and it takes no more of them.
    pub(super) unhooked: bool,
    pub(super) waiters: Waiters,
    /// What most scopes have nothing of.
    pub(super) rest: Option<Box<Rest>>,
}

#[derive(Default)]
pub(super) struct Rest {
    pub(super) hooks: Vec<Hook>,
    /// Tasks whose end the report wants, and where it wants it. In the order of their keys.
    pub(super) listed: VecDeque<(TaskRef, usize)>,
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
            gate: Gate::Open,
            chunks: Few::new(),
            roomy: Few::new(),
            tally: Tally::default(),
            handles,
            sealed: false,
            unhooked: false,
            waiters: Waiters::new(),
            rest: None,
        }
    }

    /// Registers a task in a chunk with room, or in a new one.
    pub(super) fn insert(&mut self, node: &Arc<Node>, spawn: &mut Spawn, admitted: bool) -> Insert {
        if self.gate == Gate::Closed {
            self.tally.refuse();
            return Insert::Refused;
        }
        // A chunk whose lock is taken is passed over for another, so that threads that spawn at
        // the same time come to have chunks of their own; within bounds, and not in small scopes.
        for index in (0..self.roomy.len()).rev() {
            let chunk = self.roomy[index];
            let wait = chunk.is_small() || (index == 0 && self.roomy.len() >= MOST_ROOMY);
            let slots = if wait { Some(chunk.lock()) } else { chunk.try_lock() };
            let Some(mut slots) = slots else { continue };
            match chunk.insert(&mut slots, node.uid, spawn, admitted) {
                Insert::Full => {
                    slots.listed = false; // whoever frees one of its slots lists it again
                    self.roomy.swap_remove(index);
                }
                done => return done,
            }
        }
        let (chunk, mut slots) = table::new_chunk(node, self.gate, self.chunks.len());
        self.chunks.push(chunk);
        self.roomy.push(chunk);
        slots.listed = true;
        chunk.insert(&mut slots, node.uid, spawn, admitted)
    }

    /// Takes no more than `gate` lets in; each chunk has yet to be told.
    pub(super) fn narrow(&mut self, gate: Gate) {
        self.gate = self.gate.max(gate);
    }

    /// Cancels plain and graceful tasks and takes their wakers, of a small scope.
    pub(super) fn cancel_small(&mut self, locked: &mut Locked, wakes: &mut Wakes) {
        self.narrow(Gate::Shielded);
        self.waiters.take_cancel(wakes);
        for (chunk, slots) in locked.iter_mut().flatten() {
            slots.cancel(chunk);
            slots.take_wakers(chunk, wakes, flag::CANCEL);
        }
    }

    /// Calls `each` with every live task, until it returns false.
    pub(super) fn each(&self, mut each: impl FnMut(TaskRef, &mut Slots) -> bool) {
        for chunk in self.chunks.iter() {
            if !chunk.lock().each(chunk, &mut each) {
                return;
            }
        }
    }

    pub(crate) fn counts(&self, node: &Node) -> Counts {
        // Told first and then looked at: a spawn counts itself first and looks at this then.
        let untaken = self.handles == 0 || self.sealed;
        node.told_left.store(untaken, SeqCst);
        let live = node.is_alive();
        let left = untaken && !live;
        if !left {
            node.told_left.store(false, SeqCst);
        }
        Counts { graceful: node.graceful.load(SeqCst) > 0, live, left }
    }

    pub(crate) fn totals(&self) -> Totals {
        let (mut tally, mut live) = (self.tally, 0);
        for chunk in self.chunks.iter() {
            let slots = chunk.lock();
            tally.add(&slots.tally);
            live += slots.live();
        }
        tally.totals(live)
    }

    pub(crate) fn has_hooks(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| !rest.hooks.is_empty())
    }

    /// Takes no more hooks, if there are none. Returns whether that is so.
    pub(crate) fn end_hooks(&mut self) -> bool {
        self.unhooked |= !self.has_hooks();
        self.unhooked
    }

    pub(super) fn take_hooks(&mut self) -> Vec<Hook> {
        self.rest.as_mut().map(|rest| mem::take(&mut rest.hooks)).unwrap_or_default()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.gate == Gate::Open
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.gate == Gate::Closed
    }

    /// Whether it has so few chunks that they are told, cancelled and given back in one step.
    pub(super) fn is_small(&self) -> bool {
        self.chunks.len() <= 2
    }

    /// Locks the chunks of a small scope.
    pub(super) fn lock_small(&self) -> Locked {
        let mut chunks = self.chunks.iter().map(|&chunk| (chunk, chunk.lock()));
        [chunks.next(), chunks.next()]
    }

    pub(super) fn is_left(&self, node: &Node) -> bool {
        (self.handles == 0 || self.sealed)
            && !node.is_alive()
            && self.gate != Gate::Closed
            && !node.is_root()
    }

    /// Takes no more tasks: what is alive once this returns is all that will be. Returns the totals.
    pub(crate) fn shut(&mut self) -> Totals {
        self.narrow(Gate::Closed);
        for chunk in self.chunks.iter() {
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
        self.waiters.take_all(wakes);
        for chunk in self.chunks.iter() {
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
        if !empty || !agrees(self.handles == 0 || self.sealed) {
            return None;
        }
        let [first, second] = locked;
        if let Some((chunk, slots)) = first {
            self.tally.add(&chunk.leave(slots));
        }
        if let Some((chunk, slots)) = second {
            self.tally.add(&chunk.leave(slots));
        }
        (self.chunks, self.roomy) = (Few::new(), Few::new());
        self.narrow(Gate::Closed);
        self.waiters.take_all(wakes);
        Some(self.tally.totals(0))
    }

    /// Ends the scope, which was shut: nothing of it is alive, or all of that is abandoned. Returns
    /// hooks that have not run, to be dropped outside the lock.
    pub(crate) fn close(&mut self, wakes: &mut Wakes) -> Vec<Hook> {
        self.narrow(Gate::Closed); // one that was never open was not shut
        self.waiters.take_all(wakes);
        for chunk in mem::take(&mut self.chunks) {
            self.tally.add(&chunk.detach());
        }
        self.roomy = Few::new();
        self.take_hooks()
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
        assert!(tasks.chunks.len() <= 7, "{} chunks for 300 tasks", tasks.chunks.len());
        assert!(tasks.roomy.len() <= tasks.chunks.len(), "{} listed", tasks.roomy.len());
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
        assert_eq!(root.lock().roomy.len(), 1);
        // Three chunks that are full, and one more.
        let mut live: Vec<_> = (0..2 + 8 + 64 + 1).map(|_| spawn(&root)).collect();
        let chunk = live[10].chunk();
        for _ in 0..100 {
            crate::track::context::set_chunk(root.uid, chunk);
            Node::deregister(live.remove(10), Outcome::Finished);
            live.insert(10, spawn(&root));
            assert!(std::ptr::eq(live[10].chunk(), chunk), "it is the one that has room");
        }
        let tasks = root.lock();
        assert_eq!((tasks.chunks.len(), tasks.roomy.len()), (4, 2));
        drop(tasks);
        live.into_iter().for_each(|task| Node::deregister(task, Outcome::Finished));
        program.conclude();
    }
}
