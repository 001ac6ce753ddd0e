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

use std::borrow::Cow;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use slab::Slab;

use crate::context;
use crate::error::Place;
use crate::hook::Hook;
use crate::phase::ScopeId;
use crate::program::{Program, Wakes};
use crate::report::{MOST_LISTED, Outcome, Straggler, StragglerState, TaskKind, TaskLabel, Totals};
use crate::table::{Entry, Name, Table, TaskRef, Word, flag};

/// What all handles and tasks of a scope share.
pub(crate) struct Node {
    pub(crate) program: Arc<Program>,
    pub(crate) id: ScopeId,
    /// Never the same for two scopes of a process (until it wraps), for reports.
    pub(crate) uid: u32,
    pub(crate) name: Cow<'static, str>,
    pub(crate) parent: Option<Arc<Node>>,
    pub(crate) depends_on: Box<[ScopeId]>,
    /// The stop token.
    fired: AtomicBool,
    tasks: Mutex<Tasks>,
    /// Woken when the token fires, for blocking code.
    stopped: Condvar,
}

/// Which spawns a scope takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// All.
    Open,
    /// Shielded tasks and jobs, from shielded work, cleanups and hooks.
    Shielded,
    /// None.
    Closed,
}

/// What a [`Node`]'s lock guards.
pub(crate) struct Tasks {
    gate: Gate,
    table: Table,
    totals: Totals,
    graceful: u32,
    /// Live tasks that keep the program alive.
    foreground: u32,
    handles: u32,
    /// It ends with its tasks, whatever handles there are: a nursery whose future is over.
    sealed: bool,
    /// The machine was told that nobody can spawn here any more.
    told_left: bool,
    /// A stop is under way: the machine is told of changes.
    watched: bool,
    waiters: Slab<(u64, Waiter)>,
    /// How many of the waiters are for a cancellation: none, nearly always.
    cancel_waiters: usize,
    next_ticket: u64,
    hooks: Vec<Hook>,
    /// Slots of tasks whose end the report wants, and where it wants it.
    listed: Vec<(u32, usize)>,
}

/// Who waits for something of a scope other than with its task's own waker.
pub(crate) enum Waiter {
    /// For the token.
    Stop(Waker),
    /// For the end of the scope.
    End(Waker),
    /// For a task that may be abandoned.
    Join(Waker),
    /// For the cancellation of the task in this slot.
    Cancel(u32, Waker),
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
    _table: Table,
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
    /// Shielded work is accepted to the last, since shielded work spawns it.
    pub(crate) privileged: bool,
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
            tasks: Mutex::new(Tasks {
                gate: Gate::Open,
                table: Table::default(),
                totals: Totals::default(),
                graceful: 0,
                foreground: 0,
                handles: 0,
                sealed: false,
                told_left: false,
                watched: false,
                waiters: Slab::new(),
                cancel_waiters: 0,
                next_ticket: 0,
                hooks: Vec::new(),
                listed: Vec::new(),
            }),
            stopped: Condvar::new(),
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

    /// Wakes blocking code that waits for the token.
    pub(crate) fn notify_blocked(&self) {
        self.stopped.notify_all();
    }

    pub(crate) fn is_root(&self) -> bool {
        self.parent.is_none()
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
            spawned_at: Program::place_text(entry.place),
        }
    }

    /// Registers a task, or refuses it.
    pub(crate) fn register(self: &Arc<Node>, spawn: Spawn) -> Option<TaskRef> {
        let Spawn { kind, name, place, background, privileged } = spawn;
        let shielded = matches!(kind, TaskKind::Shielded | TaskKind::Blocking);
        let mut tasks = self.lock();
        let accepted = match tasks.gate {
            Gate::Open => true,
            Gate::Shielded => shielded && privileged,
            Gate::Closed => false,
        };
        if !accepted {
            tasks.totals.refused += 1;
            drop(tasks);
            drop(name);
            return None;
        }
        let flags = if shielded { flag::PRIVILEGED } else { 0 };
        let task = tasks.table.insert(self, kind, name, place, background, flags);
        tasks.totals.spawned += 1;
        tasks.totals.live += 1;
        let mut changed = tasks.totals.live == 1;
        if kind == TaskKind::Graceful {
            tasks.graceful += 1;
            changed |= tasks.graceful == 1;
        }
        if !background {
            tasks.foreground += 1;
            if tasks.foreground == 1 {
                self.program.keep_alive(true);
            }
        }
        let told_left = mem::take(&mut tasks.told_left);
        let tell = changed && (tasks.watched || told_left);
        drop(tasks);
        if tell {
            self.program.sync(self);
        }
        Some(task)
    }

    /// Ends a task's tracking.
    pub(crate) fn deregister(self: &Arc<Node>, task: TaskRef, outcome: Outcome) {
        let mut tasks = self.lock();
        let word = task.word();
        if word.has(flag::ABANDONED) {
            return; // counted already; the program is over
        }
        let Some(entry) = tasks.table.entry(&task) else { return };
        let (kind, background) = (entry.kind, entry.background);
        let outcome = match outcome {
            Outcome::Finished if word.has(flag::FAILED) => Outcome::Failed,
            Outcome::Finished if word.has(flag::STOPPED) => Outcome::Cancelled,
            outcome => outcome,
        };
        let rest = tasks.table.remove(&task);
        tasks.totals.count(&outcome);
        let mut changed = tasks.totals.live == 0;
        if kind == TaskKind::Graceful {
            tasks.graceful -= 1;
            changed |= tasks.graceful == 0;
        }
        let mut idle = false;
        if !background {
            tasks.foreground -= 1;
            idle = tasks.foreground == 0 && self.program.keep_alive(false);
        }
        let listed = tasks.unlist(word, &task);
        let tell = tasks.watched && changed || tasks.is_left(self);
        let folds = tasks.gate == Gate::Closed && tasks.totals.live == 0;
        drop(tasks);
        drop(rest);
        drop(task);
        if let Some(index) = listed {
            self.program.listed(index, outcome);
        }
        if tell {
            self.program.sync(self);
        }
        if folds {
            self.program.fold(self);
        }
        if word.has(flag::FORCE) && kind != TaskKind::Blocking {
            self.program.cut_off_ended();
        }
        if idle {
            self.program.idle();
        }
    }

    /// Stores a task's waker after a poll that was pending. Returns whether to wake it at once:
    /// what it waits for came before there was a waker to wake.
    pub(crate) fn store_waker(&self, task: &TaskRef, waker: Waker, first: bool) -> bool {
        let now = first.then(|| self.program.now());
        let mut tasks = self.lock();
        let Some(entry) = tasks.table.entry(task) else { return false };
        let old = entry.waker.replace(waker);
        if let Some(now) = now {
            entry.set_born(now);
        }
        let word = task.clear_retake();
        drop(tasks);
        drop(old);
        word.has(flag::WATCH) && self.is_fired()
    }

    /// Notes that a blocking job runs.
    pub(crate) fn started(&self, task: &TaskRef) {
        let now = self.program.now();
        if let Some(entry) = self.lock().table.entry(task) {
            entry.set_born(now);
        }
    }

    /// Asks one task to end at its next yield, unless it is shielded.
    pub(crate) fn abort(&self, task: &TaskRef) {
        let mut wakes = Wakes::default();
        let mut tasks = self.lock();
        let Some(entry) = tasks.table.entry(task) else { return };
        if entry.kind == TaskKind::Shielded {
            return;
        }
        let waker = entry.waker.take();
        task.set(flag::CANCEL | if waker.is_some() { flag::RETAKE } else { 0 });
        wakes.add(waker);
        tasks.take_cancel_waiters(&mut wakes, Some(task.index()));
        drop(tasks);
        wakes.wake();
    }

    /// Wakes a task whose last hold was released from outside its poll.
    pub(crate) fn wake_released(&self, task: &TaskRef) {
        let mut wakes = Wakes::default();
        let mut tasks = self.lock();
        let Some(entry) = tasks.table.entry(task) else { return };
        let waker = entry.waker.take();
        if waker.is_some() {
            task.set(flag::RETAKE);
        }
        wakes.add(waker);
        tasks.take_cancel_waiters(&mut wakes, Some(task.index()));
        drop(tasks);
        wakes.wake();
    }

    /// Returns what a report calls this task.
    pub(crate) fn describe(&self, task: &TaskRef) -> String {
        let mut tasks = self.lock();
        match tasks.table.entry(task) {
            Some(entry) => self.label(entry).to_string(),
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
        let start = std::time::Instant::now();
        let mut tasks = self.lock();
        while !self.is_fired() {
            let left = span.saturating_sub(start.elapsed());
            if left.is_zero() {
                return false;
            }
            // A wait of years would overflow some clocks.
            let left = left.min(Duration::from_secs(3600));
            tasks = match self.stopped.wait_timeout(tasks, left) {
                Ok((tasks, _)) => tasks,
                Err(poison) => poison.into_inner().0,
            };
        }
        true
    }

    // What the driver does.

    /// Fires the token: wakes who waits for it.
    pub(crate) fn fire(&self) {
        self.fired.store(true, SeqCst);
        let mut wakes = Wakes::default();
        let mut tasks = self.lock();
        tasks.watched = true;
        tasks.take_waiters(&mut wakes, |waiter| matches!(waiter, Waiter::Stop(_)));
        tasks.take_wakers(&mut wakes, |_, word| word.has(flag::WATCH), 0);
        drop(tasks);
        self.stopped.notify_all();
        wakes.wake();
    }

    /// Cancels plain and graceful tasks: each is dropped at its next yield that nothing holds.
    pub(crate) fn cancel(&self) {
        let mut wakes = Wakes::default();
        let mut tasks = self.lock();
        if tasks.gate == Gate::Open {
            tasks.gate = Gate::Shielded;
        }
        tasks.take_cancel_waiters(&mut wakes, None);
        let cancelled = |kind| matches!(kind, TaskKind::Plain | TaskKind::Graceful);
        tasks.take_wakers(&mut wakes, |kind, _| cancelled(kind), flag::CANCEL);
        drop(tasks);
        wakes.wake();
    }

    /// The cut-off has come: returns the first tasks that are alive and how many more there are,
    /// and has all of them dropped at their next yield, held or not.
    pub(crate) fn cut_off(self: &Arc<Node>) -> (Vec<Straggler>, u64) {
        let mut wakes = Wakes::default();
        let now = self.program.now();
        let mut tasks = self.lock();
        let (stragglers, omitted) = tasks.stragglers(self, now);
        tasks.count_cut_off(&self.program);
        if tasks.gate == Gate::Open {
            tasks.gate = Gate::Shielded; // hooks that run after this may spawn what they wait for
        }
        tasks.take_cancel_waiters(&mut wakes, None);
        tasks.take_wakers(&mut wakes, |_, _| true, flag::CANCEL | flag::FORCE);
        drop(tasks);
        wakes.wake();
        (stragglers, omitted)
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

impl Tasks {
    pub(crate) fn counts(&mut self) -> Counts {
        let left = (self.handles == 0 || self.sealed) && self.totals.live == 0;
        self.told_left |= left;
        Counts { graceful: self.graceful > 0, live: self.totals.live > 0, left }
    }

    /// Returns the first tasks that are alive, and how many more there are.
    pub(crate) fn stragglers(&mut self, node: &Node, now: Duration) -> (Vec<Straggler>, u64) {
        let polling = context::polling();
        let mut stragglers = Vec::new();
        for index in 0..self.table.slots() {
            if stragglers.len() == MOST_LISTED {
                break;
            }
            let Some((entry, live)) = self.table.at(index) else { continue };
            let state = match (entry.kind, entry.born()) {
                (TaskKind::Blocking, Some(_)) => StragglerState::Blocking,
                (TaskKind::Blocking, None) => StragglerState::Queued,
                _ if polling.contains(&(node.uid, index as u32)) => StragglerState::Polling,
                (_, None) => StragglerState::NeverPolled,
                _ if live.word().is_held() => StragglerState::Shielded,
                _ => StragglerState::Pending,
            };
            let age = entry.born().map(|born| now.saturating_sub(born));
            stragglers.push(Straggler { task: node.label(entry), age, state });
        }
        let omitted = self.totals.live - stragglers.len() as u64;
        (stragglers, omitted)
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
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
            && self.totals.live == 0
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
            let (Waiter::Stop(waker)
            | Waiter::End(waker)
            | Waiter::Join(waker)
            | Waiter::Cancel(_, waker)) = waiter;
            wakes.add(Some(waker));
        }
    }

    /// Takes those who wait for the cancellation of one task, or of any.
    fn take_cancel_waiters(&mut self, wakes: &mut Wakes, task: Option<u32>) {
        if self.cancel_waiters > 0 {
            self.take_waiters(wakes, |waiter| match waiter {
                Waiter::Cancel(index, _) => task.is_none_or(|task| task == *index),
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

    /// Sets `flags` on the tasks that `which` names and takes their wakers.
    fn take_wakers(
        &mut self,
        wakes: &mut Wakes,
        which: impl Fn(TaskKind, Word) -> bool,
        flags: u64,
    ) {
        for index in 0..self.table.slots() {
            let Some((entry, live)) = self.table.at(index) else { continue };
            if !which(entry.kind, live.word()) {
                continue;
            }
            let waker = entry.waker.take();
            let retake = if waker.is_some() { flag::RETAKE } else { 0 };
            if flags | retake != 0 {
                live.set(flags | retake);
            }
            wakes.add(waker);
        }
    }

    /// Marks the first tasks as ones whose end the report wants. Returns how many are alive.
    pub(crate) fn list(
        &mut self,
        node: &Node,
        left: &mut usize,
        mut tell: impl FnMut(TaskLabel) -> usize,
    ) -> u64 {
        let alive = self.totals.live;
        for index in 0..self.table.slots() {
            if *left == 0 {
                break;
            }
            let Some((entry, live)) = self.table.at(index) else { continue };
            *left -= 1;
            live.set(flag::LISTED);
            let label = node.label(entry);
            self.listed.push((index as u32, tell(label)));
        }
        alive
    }

    fn unlist(&mut self, word: Word, task: &TaskRef) -> Option<usize> {
        if !word.has(flag::LISTED) {
            return None;
        }
        let at = self.listed.iter().position(|(index, _)| *index == task.index())?;
        Some(self.listed.swap_remove(at).1)
    }

    /// Counts what is about to be cut off and was not before. Jobs are not: nothing drops those.
    fn count_cut_off(&mut self, program: &Program) {
        let mut count = 0;
        for index in 0..self.table.slots() {
            let Some((entry, live)) = self.table.at(index) else { continue };
            let new = entry.kind != TaskKind::Blocking && !live.word().has(flag::FORCE);
            count += usize::from(new);
        }
        program.cut_off(count);
    }

    /// Counts all that is alive as abandoned: it is not tracked any more.
    pub(crate) fn abandon(&mut self) {
        for index in 0..self.table.slots() {
            if let Some((_, live)) = self.table.at(index) {
                live.set(flag::ABANDONED | flag::CANCEL | flag::FORCE);
            }
        }
        self.totals.abandoned += mem::take(&mut self.totals.live);
    }

    /// Ends the scope though some tasks are alive: they are dropped at their next yield, and who
    /// waits for the scope is told.
    pub(crate) fn end_with_stragglers(&mut self, program: &Program, wakes: &mut Wakes) {
        self.gate = Gate::Closed;
        self.count_cut_off(program);
        self.take_waiters(wakes, |waiter| !matches!(waiter, Waiter::Join(_)));
        self.take_wakers(wakes, |_, _| true, flag::CANCEL | flag::FORCE);
    }

    /// Ends the scope.
    pub(crate) fn close(&mut self) -> Ended {
        self.gate = Gate::Closed;
        let mut wakes = Wakes::default();
        self.take_waiters(&mut wakes, |_| true);
        self.take_wakers(&mut wakes, |_, _| true, 0);
        Ended { wakes, _table: self.table.take(), _hooks: mem::take(&mut self.hooks) }
    }
}

impl Spawn {
    pub(crate) fn new(kind: TaskKind, place: Place) -> Spawn {
        Spawn { kind, name: None, place, background: false, privileged: context::is_privileged() }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.path()).finish()
    }
}
