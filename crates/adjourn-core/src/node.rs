//! What is known of one scope: its token, its tasks, who waits for it.
//!
//! Invariants:
//! 1. `spawned = live + finished + failed + panicked + cancelled + abandoned` whenever the lock is
//!    free.
//! 2. A task is registered before its future is given to the executor, and deregistered after its
//!    future is dropped.
//! 3. The token fires before its waiters are collected, and a waiter looks at the token after it
//!    is registered: one of the two sees the other.
//! 4. Wakers leave the table and the waiters under the lock and are woken or dropped outside it.
//! 5. Tasks come and go under the lock of their chunk alone. What a scope has to know of that it
//!    reads from two counts that they change there: of chunks with a live task, of graceful tasks.
//!    "Nobody is left" is told to the machine before those are read, and a spawn that makes the
//!    first of them takes it back after: one of the two sees the other.

use std::borrow::Cow;
use std::fmt;
use std::mem;
use std::sync::{Arc, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::context;
use crate::error::Place;
use crate::hook::Hook;
use crate::phase::ScopeId;
use crate::program::{Program, Wakes};
use crate::report::{MOST_LISTED, Outcome, Straggler, StragglerState, TaskKind, TaskLabel, Totals};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use crate::sync::{Condvar, Mutex, MutexGuard, read_in_order};
use crate::table::{self, Chunk, Entry, Insert, Mark, Name, Removed, Slots, TaskRef, Word, flag};

/// What all handles and tasks of a scope share.
pub(crate) struct Node {
    pub(crate) program: Arc<Program>,
    pub(crate) id: ScopeId,
    /// Never the same for two scopes of a process: by it a chunk is told to be the scope's.
    pub(crate) uid: u64,
    pub(crate) name: Cow<'static, str>,
    pub(crate) parent: Option<Arc<Node>>,
    pub(crate) depends_on: Box<[ScopeId]>,
    /// The stop token.
    fired: AtomicBool,
    /// Chunks with a live task.
    pub(crate) live_chunks: AtomicUsize,
    /// Live graceful tasks.
    pub(crate) graceful: AtomicUsize,
    /// The machine was told that nobody can spawn here any more.
    told_left: AtomicBool,
    tasks: Mutex<Tasks>,
    /// Woken when the token fires, for blocking code.
    stopped: Condvar,
    /// Threads that wait for that: to wake none is a system call as well.
    blocked: AtomicUsize,
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

/// What a [`Node`]'s lock guards.
pub(crate) struct Tasks {
    gate: Gate,
    chunks: Vec<&'static Chunk>,
    /// Those of them in which a slot is free, and some that are full by now.
    roomy: Vec<&'static Chunk>,
    /// What was counted outside of the chunks.
    totals: Totals,
    handles: u32,
    /// It ends with its tasks, whatever handles there are: a nursery whose future is over.
    sealed: bool,
    waiters: Slab<(u64, Waiter)>,
    /// How many of the waiters are for a cancellation: none, nearly always.
    cancel_waiters: usize,
    next_ticket: u64,
    hooks: Vec<Hook>,
    /// Tasks whose end the report wants, and where it wants it.
    listed: Vec<(TaskRef, usize)>,
}

/// Who waits for something of a scope other than with its task's own waker.
pub(crate) enum Waiter {
    /// For the token.
    Stop(Waker),
    /// For the end of the scope.
    End(Waker),
    /// For the cancellation of this task.
    Cancel(TaskRef, Waker),
}

/// Names a waiter; the ticket tells it from a later one in the same slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitKey {
    slot: usize,
    ticket: u64,
}

/// What is left of a scope that has ended, to be dropped outside the lock.
pub(crate) struct Ended {
    pub(crate) wakes: Wakes,
    _nodes: Vec<Arc<Node>>,
    _hooks: Vec<Hook>,
}

pub(crate) struct Counts {
    pub(crate) graceful: bool,
    pub(crate) live: bool,
    /// Nobody can spawn into it any more.
    pub(crate) left: bool,
}

/// What a spawn asks for.
pub(crate) struct Spawn {
    pub(crate) kind: TaskKind,
    pub(crate) name: Option<Name>,
    pub(crate) place: Place,
    pub(crate) background: bool,
}

impl Node {
    pub(crate) fn new(
        program: &Arc<Program>,
        id: ScopeId,
        name: Cow<'static, str>,
        parent: Option<Arc<Node>>,
        depends_on: &[ScopeId],
    ) -> Arc<Node> {
        Arc::new(Node {
            program: program.clone(),
            id,
            uid: Program::next_uid(),
            name,
            parent,
            depends_on: depends_on.into(),
            fired: AtomicBool::new(false),
            live_chunks: AtomicUsize::new(0),
            graceful: AtomicUsize::new(0),
            told_left: AtomicBool::new(false),
            tasks: Mutex::new(Tasks {
                gate: Gate::Open,
                chunks: Vec::new(),
                roomy: Vec::new(),
                totals: Totals::default(),
                handles: 0,
                sealed: false,
                waiters: Slab::new(),
                cancel_waiters: 0,
                next_ticket: 0,
                hooks: Vec::new(),
                listed: Vec::new(),
            }),
            stopped: Condvar::new(),
            blocked: AtomicUsize::new(0),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, Tasks>> {
        self.tasks.try_lock().ok()
    }

    pub(crate) fn is_fired(&self) -> bool {
        self.fired.load(SeqCst)
    }

    pub(crate) fn set_fired(&self) {
        self.fired.store(true, SeqCst);
    }

    /// Wakes blocking code that waits for the token. The lock has been held since that fired: who
    /// is not counted by now saw it.
    pub(crate) fn notify_blocked(&self) {
        if self.blocked.load(SeqCst) > 0 {
            self.stopped.notify_all();
        }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    /// Whether a task of it is alive.
    pub(crate) fn is_alive(&self) -> bool {
        read_in_order(&self.live_chunks) > 0
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
        let mut names = vec![&*self.name];
        let mut node = self.parent.as_ref();
        while let Some(here) = node {
            if names.len() == 16 {
                names.push("…");
                break;
            }
            names.push(&here.name);
            node = here.parent.as_ref();
        }
        names.reverse();
        names.join("/")
    }

    fn label(&self, entry: &Entry) -> TaskLabel {
        TaskLabel {
            name: entry.name.as_ref().map(|name| name.to_string()),
            scope: self.path(),
            kind: entry.kind,
            spawned_at: Program::place_text(entry.place()),
        }
    }

    /// Registers a task, or refuses it.
    #[inline]
    pub(crate) fn register(self: &Arc<Node>, spawn: Spawn) -> Option<TaskRef> {
        let (mark, chunk) = self.register_at(spawn)?;
        Some(TaskRef::running(mark, chunk))
    }

    /// The same; what it returns fits into registers.
    fn register_at(self: &Arc<Node>, mut spawn: Spawn) -> Option<(&'static Mark, &'static Chunk)> {
        let last = context::chunk_of(self.uid);
        let task = match last.and_then(|chunk| chunk.insert_unnoted(self.uid, &mut spawn)) {
            Some(task) => task,
            None => self.register_noted(last, spawn)?,
        };
        Some((task.mark(), task.chunk()))
    }

    /// The same where others may have to hear of it, or another chunk is needed.
    #[cold]
    fn register_noted(
        self: &Arc<Node>,
        chunk: Option<&'static Chunk>,
        mut spawn: Spawn,
    ) -> Option<TaskRef> {
        let mut insert = Insert::Full;
        if let Some((chunk, mut slots)) = chunk.and_then(|chunk| Some((chunk, chunk.try_lock()?))) {
            insert = chunk.insert(&mut slots, self.uid, &mut spawn);
        }
        if matches!(insert, Insert::Full) {
            insert = self.lock().insert(self, &mut spawn);
        }
        let Insert::Done { task, tell } = insert else { return None };
        context::set_chunk(self.uid, task.chunk());
        if tell {
            self.program.sync(self);
        }
        Some(task)
    }

    /// Whether "nobody is left" was told and is taken back by the first task since.
    pub(crate) fn takes_back_left(&self) -> bool {
        (cfg!(loom) || self.told_left.load(SeqCst)) && self.told_left.swap(false, SeqCst)
    }

    /// Ends a task's tracking, on its executor.
    pub(crate) fn deregister(task: TaskRef, outcome: Outcome) {
        let chunk = task.chunk();
        if task.word().has(flag::LISTED) {
            Node::tell_end(&task, outcome.clone());
        }
        let mut guard = chunk.lock();
        let slots = &mut *guard;
        let Some((word, entry)) = slots.entry(&task) else { return };
        let (kind, background) = (entry.kind, entry.background);
        let removed = slots.remove(&task);
        let alone = chunk.is_empty(slots) || slots.was_full();
        let last = !background && slots.foreground == 1;
        if alone || last || kind == TaskKind::Graceful || word.has(flag::MARKED) {
            return Node::deregister_noted(task, guard, removed, (kind, background, word, outcome));
        }
        slots.totals.count(&outcome);
        slots.foreground -= u32::from(!background);
        drop(guard);
        drop(removed);
    }

    /// Tells the report how a task ends that it lists, before it can be found to have ended.
    #[cold]
    fn tell_end(task: &TaskRef, outcome: Outcome) {
        let Some(node) = task.node() else { return };
        let listed = node.lock().unlist(task);
        if let Some(index) = listed {
            node.program.listed(index, noted(outcome, task.word()));
        }
    }

    /// The same where others may have to hear of it.
    #[cold]
    fn deregister_noted(
        task: TaskRef,
        mut guard: MutexGuard<'_, Slots>,
        removed: Option<Removed>,
        (kind, background, word, outcome): (TaskKind, bool, Word, Outcome),
    ) {
        let chunk = task.chunk();
        let slots = &mut *guard;
        if word.has(flag::ABANDONED) {
            // Counted already; the program is over.
            let rest = table::give_back(chunk, guard);
            drop((rest, removed));
            return;
        }
        let outcome = noted(outcome, word);
        slots.totals.count(&outcome);
        let Some(node) = &slots.node else {
            drop(guard); // before what is dropped outside it
            return;
        };
        let graceful = kind == TaskKind::Graceful;
        let what = Departure {
            listed: word.has(flag::LISTED),
            unlisted: slots.was_full() && !slots.listed,
            cut_off: word.has(flag::FORCE) && kind != TaskKind::Blocking,
            drained: graceful && node.graceful.fetch_sub(1, SeqCst) == 1 && chunk.is_fired(),
            emptied: chunk.is_empty(slots) && node.live_chunks.fetch_sub(1, SeqCst) == 1,
            idle: !background && slots.foreground == 1 && node.program.let_go(),
        };
        slots.foreground -= u32::from(!background);
        slots.listed |= what.unlisted;
        let node = if what.matters() { Some(node.clone()) } else { None };
        drop(guard);
        drop(removed);
        if let Some(node) = node {
            node.departed(&task, outcome, what);
        }
    }

    /// The rest of a task's end, where it matters to others.
    #[cold]
    fn departed(self: &Arc<Node>, task: &TaskRef, outcome: Outcome, what: Departure) {
        let mut tasks = self.lock();
        if what.unlisted && task.chunk().belongs_to(self.uid) {
            tasks.roomy.push(task.chunk());
        }
        let listed = if what.listed { tasks.unlist(task) } else { None };
        let over = what.emptied && !self.is_alive();
        let tell = what.drained || what.emptied && self.is_fired() || over && tasks.is_left(self);
        let folds = over && tasks.gate == Gate::Closed;
        drop(tasks);
        if let Some(index) = listed {
            self.program.listed(index, outcome);
        }
        if tell {
            self.program.sync(self);
        }
        if folds {
            self.program.fold(self);
        }
        if what.cut_off {
            self.program.cut_off_ended();
        }
        if what.idle {
            self.program.idle();
        }
    }

    /// Stores a task's waker after a poll that was pending. Returns whether to wake it at once:
    /// what it waits for came before there was a waker to wake.
    pub(crate) fn store_waker(task: &TaskRef, waker: Waker, first: bool) -> bool {
        let born = first.then(|| age_now(task));
        let Some((word, old)) = task.store_waker(waker, born) else { return false };
        drop(old);
        word.has(flag::WATCH) && task.chunk().is_fired()
    }

    /// Notes that a blocking job runs.
    pub(crate) fn started(task: &TaskRef) {
        task.set_born(age_now(task));
    }

    /// Asks one task to end at its next yield, unless it is shielded.
    pub(crate) fn abort(task: &TaskRef) {
        Node::wake_to_look(task, flag::CANCEL, |kind| kind != TaskKind::Shielded);
    }

    /// Wakes a task whose last hold was released from outside its poll.
    pub(crate) fn wake_released(task: &TaskRef) {
        Node::wake_to_look(task, 0, |_| true);
    }

    /// Sets flags of a live task and wakes it, and who waits for its cancellation.
    fn wake_to_look(task: &TaskRef, flags: u64, which: impl Fn(TaskKind) -> bool) {
        let mut slots = task.chunk().lock();
        let Some((_, entry)) = slots.entry(task) else { return };
        if !which(entry.kind) {
            return;
        }
        let mut wakes = Wakes::default();
        wakes.add(task.take_waker(&mut slots, flags));
        let node = slots.node.clone();
        drop(slots);
        if let Some(node) = node {
            node.lock().take_cancel_waiters(&mut wakes, Some(task));
        }
        wakes.wake();
    }

    /// Returns what a report calls this task.
    pub(crate) fn describe(&self, task: &TaskRef) -> String {
        match task.chunk().lock().entry(task) {
            Some((_, entry)) => self.label(entry).to_string(),
            None => format!("a task of {}", self.path()),
        }
    }

    /// Registers a waiter, or changes its waker. Returns false when what it waits for is there.
    pub(crate) fn wait(
        &self,
        key: &mut Option<WaitKey>,
        waiter: Waiter,
        is_there: impl FnOnce(&mut Tasks) -> bool,
    ) -> bool {
        let mut tasks = self.lock();
        if is_there(&mut tasks) {
            drop(tasks);
            return false;
        }
        let stored = key.and_then(|key| tasks.waiter(key));
        let old = match stored {
            Some(stored) => Some(mem::replace(stored, waiter)),
            None => {
                let ticket = tasks.next_ticket;
                tasks.next_ticket += 1;
                if matches!(waiter, Waiter::Cancel(..)) {
                    tasks.cancel_waiters += 1;
                }
                let slot = tasks.waiters.insert((ticket, waiter));
                *key = Some(WaitKey { slot, ticket });
                None
            }
        };
        drop(tasks);
        drop(old);
        true
    }

    /// Removes a waiter, unless it was woken and so removed already.
    pub(crate) fn forget(&self, key: Option<WaitKey>) {
        let Some(key) = key else { return };
        let mut tasks = self.lock();
        let old = tasks.waiter(key).is_some().then(|| tasks.remove_waiter(key.slot));
        drop(tasks);
        drop(old);
    }

    /// Blocks until the token has fired, or `span` is over.
    pub(crate) fn wait_fired(&self, span: Duration) -> bool {
        let start = Instant::now();
        let mut tasks = self.lock();
        self.blocked.fetch_add(1, SeqCst);
        while !self.is_fired() {
            let left = span.saturating_sub(start.elapsed());
            if left.is_zero() {
                break;
            }
            // A wait of years would overflow some clocks.
            let left = left.min(Duration::from_secs(3600));
            tasks = match self.stopped.wait_timeout(tasks, left) {
                Ok((tasks, _)) => tasks,
                Err(poison) => poison.into_inner().0,
            };
        }
        self.blocked.fetch_sub(1, SeqCst);
        self.is_fired()
    }

    // What the driver does.

    /// Fires the token: wakes who waits for it.
    pub(crate) fn fire(&self) {
        self.fired.store(true, SeqCst);
        let mut wakes = Wakes::default();
        let mut tasks = self.lock();
        tasks.take_waiters(&mut wakes, |waiter| matches!(waiter, Waiter::Stop(_)));
        let chunks = tasks.chunks.clone();
        drop(tasks);
        self.notify_blocked();
        self.sweep(chunks, wakes, |chunk, slots, wakes| {
            chunk.set_fired(slots);
            slots.take_watchers(chunk, wakes);
        });
    }

    /// Cancels plain and graceful tasks: each is dropped at its next yield that nothing holds.
    pub(crate) fn cancel(&self) {
        let mut tasks = self.lock();
        tasks.narrow(Gate::Shielded);
        let chunks = tasks.chunks.clone();
        drop(tasks);
        self.sweep(chunks, Wakes::default(), |chunk, slots, wakes| {
            slots.narrow(Gate::Shielded);
            slots.take_wakers(chunk, wakes, TaskKind::is_cancelled, flag::CANCEL);
        });
        self.tell_cancel_waiters();
    }

    /// The cut-off has come: returns the first tasks that are alive and how many more there are,
    /// and has all of them dropped at their next yield, held or not.
    pub(crate) fn cut_off(self: &Arc<Node>) -> (Vec<Straggler>, u64) {
        let now = self.program.now();
        let mut tasks = self.lock();
        let (stragglers, omitted) = tasks.stragglers(self, now);
        tasks.narrow(Gate::Shielded); // hooks that run after this may spawn what they wait for
        let chunks = tasks.chunks.clone();
        drop(tasks);
        self.sweep(chunks, Wakes::default(), |chunk, slots, wakes| {
            slots.narrow(Gate::Shielded);
            slots.force(chunk, &self.program, wakes);
        });
        self.tell_cancel_waiters();
        (stragglers, omitted)
    }

    /// Does `each` with every chunk, under its lock, and wakes what that took before it goes on to
    /// the next: what it has just touched is at hand, and other threads begin with it meanwhile.
    fn sweep(
        &self,
        chunks: Vec<&'static Chunk>,
        mut wakes: Wakes,
        each: impl Fn(&'static Chunk, &mut Slots, &mut Wakes),
    ) {
        wakes.wake();
        for chunk in chunks {
            let mut slots = chunk.lock();
            // At the program's end another scope may have it by now.
            if chunk.belongs_to(self.uid) {
                each(chunk, &mut slots, &mut wakes);
            }
            drop(slots);
            wakes.wake();
        }
    }

    /// Wakes those who wait for a task's cancellation, now that every task is marked: who comes
    /// later sees the mark.
    fn tell_cancel_waiters(&self) {
        let mut wakes = Wakes::default();
        self.lock().take_cancel_waiters(&mut wakes, None);
        wakes.wake();
    }

    pub(crate) fn take_hooks(&self) -> Vec<Hook> {
        mem::take(&mut self.lock().hooks)
    }

    /// Lets the scope end with its tasks, whatever handles there are.
    pub(crate) fn seal(self: &Arc<Node>) {
        self.lock().sealed = true;
        self.program.sync(self);
    }

    pub(crate) fn add_hook(&self, hook: Hook) {
        let mut tasks = self.lock();
        if !tasks.is_closed() {
            tasks.hooks.push(hook);
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
            self.program.sync(self);
        }
    }
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

/// How a task ended, by what was noted on its mark.
fn noted(outcome: Outcome, word: Word) -> Outcome {
    match outcome {
        Outcome::Finished if word.has(flag::FAILED) => Outcome::Failed,
        Outcome::Finished if word.has(flag::STOPPED) => Outcome::Cancelled,
        outcome => outcome,
    }
}

/// What a task's end means to others.
struct Departure {
    /// The report wants to know, since just now perhaps.
    listed: bool,
    /// Its chunk has room again and is in no list of such.
    unlisted: bool,
    /// It was cut off before.
    cut_off: bool,
    /// It was the last graceful one of a scope that drains.
    drained: bool,
    /// It was the last one of its scope.
    emptied: bool,
    /// It was the last one that kept the program alive.
    idle: bool,
}

impl Departure {
    fn matters(&self) -> bool {
        self.listed | self.unlisted | self.cut_off | self.drained | self.emptied | self.idle
    }
}

impl Tasks {
    /// Registers a task in a chunk with room, or in a new one.
    fn insert(&mut self, node: &Arc<Node>, spawn: &mut Spawn) -> Insert {
        if self.gate == Gate::Closed {
            self.totals.refused += 1;
            return Insert::Refused;
        }
        // A chunk whose lock is taken is passed over for another, so that threads that spawn at
        // the same time come to have chunks of their own; within bounds, and not in small scopes.
        for index in (0..self.roomy.len()).rev() {
            let chunk = self.roomy[index];
            let wait = chunk.is_small() || (index == 0 && self.roomy.len() >= MOST_ROOMY);
            let slots = if wait { Some(chunk.lock()) } else { chunk.try_lock() };
            let Some(mut slots) = slots else { continue };
            match chunk.insert(&mut slots, node.uid, spawn) {
                Insert::Full => {
                    slots.listed = false; // whoever frees one of its slots lists it again
                    self.roomy.swap_remove(index);
                }
                done => return done,
            }
        }
        let chunk = table::new_chunk(node, self.gate, self.chunks.is_empty());
        self.chunks.push(chunk);
        self.roomy.push(chunk);
        let mut slots = chunk.lock();
        slots.listed = true;
        chunk.insert(&mut slots, node.uid, spawn)
    }

    /// Takes no more than `gate` lets in; the chunks have yet to be told.
    fn narrow(&mut self, gate: Gate) {
        self.gate = self.gate.max(gate);
    }

    /// Calls `each` with every live task, until it returns false.
    fn each(&self, mut each: impl FnMut(TaskRef, &mut Slots) -> bool) {
        for chunk in &self.chunks {
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

    /// Returns the first tasks that are alive, and how many more there are.
    pub(crate) fn stragglers(&mut self, node: &Node, now: Duration) -> (Vec<Straggler>, u64) {
        let mut listing = Listing::new(node, now);
        self.each(|task, slots| listing.add(node, task, slots));
        listing.end(self.totals().live)
    }

    /// The same, and the totals, without waiting for a lock: what is locked is left out.
    pub(crate) fn peek(&self, node: &Node, now: Duration) -> (Vec<Straggler>, u64, Totals) {
        let mut listing = Listing::new(node, now);
        let mut totals = self.totals;
        for chunk in &self.chunks {
            let Some(mut slots) = chunk.try_lock() else { continue };
            totals.add(&slots.totals);
            slots.each(chunk, |task, slots| listing.add(node, task, slots));
        }
        let (stragglers, omitted) = listing.end(totals.live);
        (stragglers, omitted, totals)
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = self.totals;
        for chunk in &self.chunks {
            totals.add(&chunk.lock().totals);
        }
        totals
    }

    pub(crate) fn has_hooks(&self) -> bool {
        !self.hooks.is_empty()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.gate == Gate::Open
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.gate == Gate::Closed
    }

    fn is_left(&self, node: &Node) -> bool {
        (self.handles == 0 || self.sealed)
            && !node.is_alive()
            && self.gate != Gate::Closed
            && !node.is_root()
    }

    /// Takes the waiters that `which` names.
    fn take_waiters(&mut self, wakes: &mut Wakes, which: impl Fn(&Waiter) -> bool) {
        if self.waiters.is_empty() {
            return;
        }
        let keys: Vec<_> =
            self.waiters.iter().filter(|(_, (_, w))| which(w)).map(|(key, _)| key).collect();
        for key in keys {
            let waiter = self.remove_waiter(key);
            let (Waiter::Stop(waker) | Waiter::End(waker) | Waiter::Cancel(_, waker)) = waiter;
            wakes.add(Some(waker));
        }
    }

    /// Takes those who wait for the cancellation of one task, or of any.
    fn take_cancel_waiters(&mut self, wakes: &mut Wakes, task: Option<&TaskRef>) {
        if self.cancel_waiters > 0 {
            self.take_waiters(wakes, |waiter| match waiter {
                Waiter::Cancel(its, _) => task.is_none_or(|task| task == its),
                _ => false,
            });
        }
    }

    fn remove_waiter(&mut self, slot: usize) -> Waiter {
        let (_, waiter) = self.waiters.remove(slot);
        if matches!(waiter, Waiter::Cancel(..)) {
            self.cancel_waiters -= 1;
        }
        waiter
    }

    fn waiter(&mut self, key: WaitKey) -> Option<&mut Waiter> {
        let (ticket, waiter) = self.waiters.get_mut(key.slot)?;
        (*ticket == key.ticket).then_some(waiter)
    }

    /// Marks the first tasks as ones whose end the report wants. Returns how many are alive.
    pub(crate) fn list(
        &mut self,
        node: &Node,
        left: &mut usize,
        mut tell: impl FnMut(TaskLabel) -> usize,
    ) -> u64 {
        let mut listed = mem::take(&mut self.listed);
        self.each(|task, slots| {
            if *left == 0 {
                return false;
            }
            *left -= 1;
            task.set(flag::LISTED);
            listed.push((task, tell(node.label(slots.at(&task)))));
            true
        });
        self.listed = listed;
        self.totals().live
    }

    fn unlist(&mut self, task: &TaskRef) -> Option<usize> {
        let at = self.listed.iter().position(|(listed, _)| listed == task)?;
        Some(self.listed.swap_remove(at).1)
    }

    /// Takes no more tasks: what is alive once this returns is all that will be. Returns the totals.
    pub(crate) fn shut(&mut self) -> Totals {
        self.narrow(Gate::Closed);
        let mut totals = self.totals;
        for chunk in &self.chunks {
            let mut slots = chunk.lock();
            slots.narrow(Gate::Closed);
            chunk.set_fired(&mut slots);
            totals.add(&slots.totals);
        }
        totals
    }

    /// Counts all that is alive as abandoned: it is not tracked any more. Who waits for it is told.
    pub(crate) fn abandon(&mut self, wakes: &mut Wakes) {
        let mut abandoned = 0;
        self.each(|task, slots| {
            if task.word().has(flag::ABANDONED) {
                return true;
            }
            let flags = flag::ABANDONED | flag::CANCEL | flag::FORCE;
            wakes.add(task.take_waker(slots, flags));
            wakes.add(slots.at(&task).take_join_waker());
            slots.totals.live -= 1;
            abandoned += 1;
            true
        });
        self.totals.abandoned += abandoned;
    }

    /// Ends the scope, which was shut, though some tasks are alive: they are dropped at their next
    /// yield, and who waits for the scope is told.
    pub(crate) fn end_with_stragglers(&mut self, program: &Program, wakes: &mut Wakes) {
        self.take_waiters(wakes, |_| true);
        for chunk in &self.chunks {
            chunk.lock().force(chunk, program, wakes);
        }
    }

    /// Ends the scope, which was shut: nothing of it is alive, or all of that is abandoned.
    pub(crate) fn close(&mut self) -> Ended {
        self.narrow(Gate::Closed); // one that was never open was not shut
        let mut wakes = Wakes::default();
        self.take_waiters(&mut wakes, |_| true);
        let mut nodes = Vec::new();
        for chunk in mem::take(&mut self.chunks) {
            let (totals, node) = chunk.detach();
            self.totals.add(&totals);
            nodes.extend(node);
        }
        self.roomy = Vec::new();
        Ended { wakes, _nodes: nodes, _hooks: mem::take(&mut self.hooks) }
    }
}

/// The most chunks of a scope that are kept apart for threads that spawn at the same time.
const MOST_ROOMY: usize = 64;

/// The time by the clock that tasks' ages are counted with: the system's monotonic one, without a
/// look at the program, unless a host keeps the time.
fn age_now(task: &TaskRef) -> Duration {
    if !task.chunk().is_hosted() {
        return process_time();
    }
    task.node().map_or(Duration::ZERO, |node| node.program.now())
}

/// The time since this was first asked in the process.
fn process_time() -> Duration {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    EPOCH.get_or_init(Instant::now).elapsed()
}

/// The first tasks that are alive, as the report tells of them.
struct Listing {
    now: Duration,
    polling: Vec<usize>,
    stragglers: Vec<Straggler>,
}

impl Listing {
    fn new(node: &Node, now: Duration) -> Listing {
        // By the clock that ages are counted with: `age_now`.
        let now = if node.program.is_hosted() { now } else { process_time() };
        Listing { now, polling: context::polling(), stragglers: Vec::new() }
    }

    /// Adds a task; false once no more are wanted.
    fn add(&mut self, node: &Node, task: TaskRef, slots: &mut Slots) -> bool {
        if self.stragglers.len() == MOST_LISTED {
            return false;
        }
        let entry = slots.at(&task);
        let state = match (entry.kind, entry.born()) {
            (TaskKind::Blocking, Some(_)) => StragglerState::Blocking,
            (TaskKind::Blocking, None) => StragglerState::Queued,
            _ if self.polling.contains(&task.seat()) => StragglerState::Polling,
            (_, None) => StragglerState::NeverPolled,
            _ if task.word().is_held() => StragglerState::Shielded,
            _ => StragglerState::Pending,
        };
        let age = entry.born().map(|born| self.now.saturating_sub(born));
        self.stragglers.push(Straggler { task: node.label(entry), age, state });
        true
    }

    fn end(self, live: u64) -> (Vec<Straggler>, u64) {
        let omitted = live.saturating_sub(self.stragglers.len() as u64);
        (self.stragglers, omitted)
    }
}

impl Spawn {
    pub(crate) fn new(kind: TaskKind, place: Place) -> Spawn {
        Spawn { kind, name: None, place, background: false }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.path()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::Location;

    use super::*;
    use crate::nowhere::program;

    fn spawn(node: &Arc<Node>) -> TaskRef {
        node.register(Spawn::new(TaskKind::Plain, Location::caller())).unwrap()
    }

    #[test]
    fn a_chunk_that_fills_and_empties_is_listed_once() {
        let program = program(false);
        let root = program.root();
        let other = program.open(&root, "other".into(), &[]);
        other.open_handle();
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
