//! What is known of one scope: its token, its tasks, who waits for it.
//!
//! Invariants:
//! 1. Each task that was accepted is alive, or counted by its end, in exactly one way, whenever the
//!    locks are free: how many were spawned follows from that.
//! 2. A task is registered before its future is given to the executor, and deregistered after its
//!    future is dropped.
//! 3. The token fires before its waiters are collected, and a waiter looks at the token after it
//!    is registered: one of the two sees the other.
//! 4. Wakers leave the table and the waiters under the lock and are woken or dropped outside it.
//! 5. Tasks come and go under the lock of their chunk alone. What a scope has to know of that it
//!    reads from two counts that they change there: of chunks with a live task, of graceful tasks.
//!    "Nobody is left" is told to the machine before those are read, and a spawn that makes the
//!    first of them takes it back after: one of the two sees the other.

mod extra;
mod listing;
mod live;
mod names;
mod tasks;
mod tracking;
mod waiters;

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, PoisonError};

use crate::contract::hook::Hook;
use crate::contract::report::TaskKind;
use crate::contract::rt::AnyBackend;
use crate::phase::{Phase, ScopeId};
use crate::sync::atomic::{AtomicU32, Ordering::SeqCst};
use crate::sync::{Mutex, MutexGuard, StaticU64};
use crate::track::above::Above;
use crate::track::context;
use crate::track::table::{Chunk, Slots, flag};
use crate::track::wakes::Wakes;

use self::live::Live;

pub(crate) use self::listing::{Alive, Late, Picker, Which};
pub(crate) use self::names::{Named, Names};
pub(crate) use self::tasks::{Counts, Tasks};
pub(crate) use self::tracking::Spawn;
pub(crate) use self::waiters::{Awaited, CleanupId, Ticket};

/// What all scopes of a program share.
pub(crate) struct Owner {
    above: Arc<dyn Above>,
    /// What tasks are spawned on, unless a handle names another.
    backend: AnyBackend,
    hosted: bool,
    /// No other program of the process has it.
    program: u32,
}

/// What all handles and tasks of a scope share. There may be a hundred thousand: what few of them need lies
/// in boxes.
pub(crate) struct Node {
    named: Arc<Named>,
    pub(crate) id: ScopeId,
    /// Never the same for two scopes of a process: by it a chunk is told to be the scope's.
    pub(crate) uid: u64,
    pub(crate) parent: Option<Arc<Node>>,
    live: Live,
    /// Live graceful tasks.
    pub(crate) graceful: AtomicU32,
    tasks: Mutex<Tasks>,
}

/// What became of a small scope that was to be fired or cancelled.
pub(crate) enum Small {
    /// It was; what is alive in it is to be told.
    Done,
    /// It was fired, and the machine knows that it has a graceful task.
    Drains,
    /// It was fired and cancelled, as the machine has said.
    Cancelled,
    /// It is not so small: nothing was done.
    TooLarge,
}

/// Which spawns a scope takes, from all to none: it only ever narrows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gate {
    /// All.
    Open,
    /// Shielded tasks and jobs, from shielded work, cleanups and hooks.
    Shielded,
    /// None.
    Closed,
}

impl Gate {
    /// Whether the running code may spawn a task of this kind.
    pub(crate) fn takes(self, kind: TaskKind) -> bool {
        match self {
            Gate::Open => true,
            Gate::Shielded => kind.is_shielded() && context::is_privileged(),
            Gate::Closed => false,
        }
    }
}

impl Owner {
    pub(crate) fn new(above: Arc<dyn Above>, backend: AnyBackend) -> Arc<Owner> {
        let hosted = above.is_hosted();
        Arc::new(Owner { above, backend, hosted, program: next_program() })
    }
}

impl Node {
    /// With so many handles: nobody may see a scope before its first one is counted.
    pub(crate) fn new(
        named: Arc<Named>,
        id: ScopeId,
        parent: Option<Arc<Node>>,
        handles: u32,
    ) -> Arc<Node> {
        Arc::new(Node {
            named,
            id,
            uid: next_uid(),
            parent,
            live: Live::new(),
            graceful: AtomicU32::new(0),
            tasks: Mutex::new(Tasks::new(handles)),
        })
    }

    pub(crate) fn owner(&self) -> &Arc<Owner> {
        &self.named.owner
    }

    pub(crate) fn name(&self) -> &str {
        &self.named.name
    }

    /// The name for another scope.
    pub(crate) fn own_name(&self) -> Cow<'static, str> {
        self.named.name.clone()
    }

    pub(crate) fn above(&self) -> &dyn Above {
        &*self.named.owner.above
    }

    /// What its tasks are spawned on, unless a handle names another.
    pub(crate) fn backend(&self) -> &AnyBackend {
        &self.named.owner.backend
    }

    /// The same for all scopes of a program, and for no other program's.
    pub(crate) fn program(&self) -> u32 {
        self.named.owner.program
    }

    /// Whether a host keeps the time.
    pub(crate) fn is_hosted(&self) -> bool {
        self.named.owner.hosted
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, Tasks>> {
        self.tasks.try_lock().ok()
    }

    pub(crate) fn is_fired(&self) -> bool {
        self.live.is_fired()
    }

    pub(crate) fn set_fired(&self) {
        self.live.set_fired();
    }

    pub(crate) fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    /// Whether a task of it is alive.
    pub(crate) fn is_alive(&self) -> bool {
        self.live.is_alive()
    }

    /// Whether `self` is `other` or a scope below it.
    pub(crate) fn is_within(self: &Arc<Node>, other: &Arc<Node>) -> bool {
        let mut node = Some(self);
        while let Some(here) = node {
            if Arc::ptr_eq(here, other) {
                return true;
            }
            node = here.parent.as_ref();
        }
        false
    }

    /// The names from the root to this scope.
    pub(crate) fn path(&self) -> String {
        let mut names = vec![self.name()];
        let mut node = self.parent.as_ref();
        while let Some(here) = node {
            if names.len() == 16 {
                names.push("…");
                break;
            }
            names.push(here.name());
            node = here.parent.as_ref();
        }
        names.reverse();
        names.join("/")
    }

    /// Has a scope that nobody has seen yet begin in this phase.
    pub(crate) fn begin(&self, phase: Phase) {
        // One below a scope that has ended has been told if that was.
        let above = || self.parent.as_ref().is_some_and(|parent| parent.is_fired());
        if phase >= Phase::Draining && (phase < Phase::Stopped || above()) {
            self.set_fired();
        }
        match phase {
            Phase::Running | Phase::LameDuck | Phase::Draining => {}
            Phase::Cancelling | Phase::Closing => self.lock().narrow(Gate::Shielded),
            Phase::Stopped | Phase::Forced => self.lock().narrow(Gate::Closed),
        }
    }

    // What the driver does.

    /// Fires the token: wakes who waits for it.
    pub(crate) fn fire(&self) {
        self.set_fired();
        let mut wakes = Wakes::default();
        let mut tasks = self.lock();
        for chunk in tasks.chunks() {
            chunk.set_fired(&mut chunk.lock());
        }
        tasks.take_stop(&mut wakes);
        let chunks: Vec<_> = tasks.chunks().collect();
        drop(tasks);
        self.sweep(chunks, wakes, |chunk, slots, wakes| slots.take_watchers(chunk, wakes));
    }

    /// The same under the program's lock, for a small scope; whoever calls wakes. Where a task is alive
    /// `decides` is told whether a graceful one is. If it says so, the scope drains, or all are cancelled too.
    pub(crate) fn fire_small(
        &self,
        wakes: &mut Wakes,
        decides: impl FnOnce(bool) -> bool,
    ) -> Small {
        let mut tasks = self.lock();
        if !tasks.is_small() {
            return Small::TooLarge;
        }
        self.set_fired();
        tasks.take_stop(wakes);
        let mut locked = tasks.lock_small();
        for (chunk, slots) in locked.iter_mut().flatten() {
            chunk.set_fired(slots);
            slots.take_watchers(chunk, wakes);
        }
        // From here on no task comes to be graceful but by the program's lock.
        let graceful = self.graceful.load(SeqCst) > 0;
        if !self.is_alive() || !decides(graceful) {
            return Small::Done;
        }
        if graceful {
            return Small::Drains;
        }
        tasks.cancel_small(&mut locked, wakes);
        Small::Cancelled
    }

    /// Cancels plain and graceful tasks: each is dropped at its next yield that nothing holds.
    pub(crate) fn cancel(&self) {
        let mut wakes = Wakes::default();
        let mut tasks = self.lock();
        tasks.narrow(Gate::Shielded);
        for chunk in tasks.chunks() {
            chunk.lock().cancel(chunk);
        }
        tasks.take_cancel(&mut wakes);
        let chunks: Vec<_> = tasks.chunks().collect();
        drop(tasks);
        self.sweep(chunks, wakes, |chunk, slots, wakes| {
            slots.take_wakers(chunk, wakes, flag::CANCEL);
        });
    }

    /// The same under the program's lock, for a small scope in which no graceful task is
    /// alive: none comes to be so while that lock is held. Whoever calls wakes.
    pub(crate) fn cancel_small(&self, wakes: &mut Wakes) -> Small {
        let mut tasks = self.lock();
        if !tasks.is_small() || self.graceful.load(SeqCst) > 0 {
            return Small::TooLarge;
        }
        let mut locked = tasks.lock_small();
        tasks.cancel_small(&mut locked, wakes);
        Small::Done
    }

    /// The same for one that has been fired and in which a plain task is alive, if `agrees` says so.
    pub(crate) fn cancel_drained(&self, wakes: &mut Wakes, agrees: impl FnOnce() -> bool) -> Small {
        let mut tasks = self.lock();
        if !tasks.is_small() || !self.is_fired() || self.graceful.load(SeqCst) > 0 {
            return Small::TooLarge;
        }
        let mut locked = tasks.lock_small();
        if !self.is_alive() || !agrees() {
            return Small::TooLarge;
        }
        tasks.cancel_small(&mut locked, wakes);
        Small::Cancelled
    }

    /// The cut-off has come: returns what is alive, and has all of that dropped at its next yield, held
    /// or not.
    pub(crate) fn cut_off(self: &Arc<Node>) -> Alive {
        let mut wakes = Wakes::default();
        let now = self.above().now();
        let mut tasks = self.lock();
        let alive = tasks.survey(self, now, |_| true);
        tasks.narrow(Gate::Shielded); // hooks that run after this may spawn what they wait for
        for chunk in tasks.chunks() {
            let mut slots = chunk.lock();
            slots.narrow(Gate::Shielded);
            slots.force(chunk, self.above());
        }
        tasks.take_cancel(&mut wakes);
        let chunks: Vec<_> = tasks.chunks().collect();
        drop(tasks);
        self.sweep(chunks, wakes, |chunk, slots, wakes| {
            slots.take_wakers(chunk, wakes, flag::FORCE);
        });
        alive
    }

    /// Has `take` take the wakers of each chunk and wakes them before it goes on to the next: what it
    /// has just touched is at hand, and other threads begin with it meanwhile. What is to be seen by
    /// whoever is woken was done to all chunks before.
    fn sweep(
        &self,
        chunks: Vec<&'static Chunk>,
        mut wakes: Wakes,
        take: impl Fn(&'static Chunk, &mut Slots, &mut Wakes),
    ) {
        wakes.wake();
        for chunk in chunks {
            let mut slots = chunk.lock();
            // At the program's end another scope may have it by now.
            if chunk.belongs_to(self.uid) {
                take(chunk, &mut slots, &mut wakes);
            }
            drop(slots);
            wakes.wake();
        }
    }

    pub(crate) fn take_hooks(&self) -> Vec<Hook> {
        self.lock().take_hooks()
    }

    /// Lets the scope end with its tasks, whatever handles there are.
    pub(crate) fn seal(self: &Arc<Node>) {
        let mut tasks = self.lock();
        tasks.seal();
        let left = tasks.is_left(self);
        drop(tasks);
        if left {
            self.above().sync(self);
        }
    }

    pub(crate) fn add_hook(&self, hook: Hook) {
        let mut tasks = self.lock();
        if tasks.takes_hooks() {
            tasks.extra.make().hooks.push(hook);
            return;
        }
        drop(tasks);
        drop(hook);
    }

    pub(crate) fn open_handle(&self) {
        self.lock().handles += 1;
    }

    pub(crate) fn close_handle(self: &Arc<Node>) {
        let mut tasks = self.lock();
        tasks.handles -= 1;
        let left = tasks.is_left(self);
        drop(tasks);
        if left {
            self.above().sync(self);
        }
    }
}

/// Returns a number that no other scope of the process has; never 0.
fn next_uid() -> u64 {
    static NEXT: StaticU64 = StaticU64::new(1);
    NEXT.fetch_add(1, SeqCst)
}

/// Returns a number that no other program of the process has, if there are fewer than 2^32.
fn next_program() -> u32 {
    static NEXT: StaticU64 = StaticU64::new(0);
    NEXT.fetch_add(1, SeqCst) as u32
}

impl Drop for Node {
    fn drop(&mut self) {
        // One after the other: a chain of a hundred thousand would overflow the stack.
        let mut above = self.parent.take();
        while let Some(node) = above {
            above = Arc::into_inner(node).and_then(|mut node| node.parent.take());
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.path()).finish()
    }
}

// The budget of a scope, beside its chunks, its name and what the machine knows of it. A lock is larger elsewhere.
const _: () = assert!(size_of::<Node>() <= 80 || cfg!(loom) || cfg!(not(target_os = "linux")));

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::tests::nowhere::program;

    #[test]
    fn the_last_of_a_hundred_thousand_nested_scopes_takes_the_others_along() {
        let program = program(false);
        let mut deepest = program.root();
        for _ in 0..100_000 {
            deepest = program.open(&deepest, "deep".into(), &[]);
        }
        _ = program.conclude(); // nobody else holds them any more
        let left = Arc::downgrade(&program);
        drop((program, deepest));
        assert_eq!(left.strong_count(), 0);
    }
}
