//! One program: its scopes, its machine and its report, shared by all who take part.
//!
//! Invariants:
//! 1. Lock order: the program's state, then one scope's tasks. Neither is held while a waker is
//!    woken or dropped, a future or a value of the user is dropped, or any code of theirs runs.
//! 2. The machine is told of a scope's tasks under the state lock, from counts read there: what it
//!    is told last is the newest.
//! 3. Actions are performed one at a time, in the machine's order, by whoever set `acting`.

mod above;
mod actions;
mod course;
pub(crate) mod driver;
mod dump;
mod host;
mod log;
pub(crate) mod narrate;
pub(crate) mod observe;
mod overdue;
mod report;
pub(crate) mod run;
mod signals;
mod state;
pub(crate) mod stopper;
pub(crate) mod supervise;
mod untracked;

use std::borrow::Cow;
use std::mem;
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::contract::error::Place;
use crate::contract::hook::Hook;
use crate::contract::inspect::{Inspected, Inspector};
use crate::contract::options::{Options, Until};
use crate::contract::report::{At, Failure, MOST_LISTED, Outcome, PhaseSpan, Reason, Report};
use crate::contract::rt::{AnyBackend, Timer};
use crate::phase::{Event, Limits, Machine, Phase, ScopeId};
use crate::process::notify::{self, Manager};
use crate::process::signal::Signal;
use crate::program::signals::Reactions;
use crate::program::supervise::{Watch, near_deadline};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use crate::sync::{Mutex, MutexGuard, StaticBool};
use crate::track::above::Above;
use crate::track::context::{self, Aside};
use crate::track::node::{Named, Node, Owner};
use crate::track::table::TaskRef;
use crate::track::wakes::Wakes;

pub(crate) use self::actions::Answer;
use self::course::RunningHook;
use self::state::State;

/// What came of events, to be done once the program's lock is free.
#[derive(Default)]
pub(crate) struct Rest {
    wakes: Wakes,
    /// Mostly nothing.
    more: Option<Box<More>>,
}

#[derive(Default)]
struct More {
    /// A signal that came so many times, of which somebody may want to know.
    signal: Option<(Signal, u64)>,
    /// With how many tasks were alive then, where somebody may want to know.
    entered: Vec<(Phase, Option<u64>)>,
    /// To be dropped.
    nodes: Vec<Arc<Node>>,
    hooks: Vec<Hook>,
    untold: Untold,
}

/// Failures that are in the report already, and of which others are to be told.
#[derive(Default)]
pub(crate) struct Untold {
    failures: Vec<Failure>,
    sink: Option<FailureSink>,
}

impl Untold {
    pub(crate) fn is_empty(&self) -> bool {
        self.failures.is_empty()
    }
}

impl Rest {
    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    pub(crate) fn finish(&mut self, program: &Program) {
        // A subscriber may block: whoever has to go on is woken first.
        self.wakes.wake();
        if let Some(more) = self.more.take() {
            more.signal.iter().for_each(|(signal, count)| log::signal(*signal, *count));
            more.entered.iter().for_each(|(phase, alive)| log::phase(*phase, *alive));
            drop((more.nodes, more.hooks));
            program.tell_failures(more.untold);
        }
    }
}

pub(crate) struct Program {
    pub(crate) backend: AnyBackend,
    pub(crate) options: Options,
    epoch: Instant,
    /// The same instant by the host's clock, for the thread that asks no backend. `None` where a
    /// host of the backend's keeps all time by the backend's clock.
    host_epoch: Option<Instant>,
    /// Groups of tasks (the chunks of scopes' tables) with one that keeps the program alive.
    busy: AtomicUsize,
    /// Time means something to the machine: a stop has begun.
    timed: StaticBool,
    /// There are actions that wait for the driver.
    waiting: AtomicBool,
    finished: AtomicBool,
    /// Tasks that were cut off and are not dropped yet.
    undropped: AtomicUsize,
    /// There is no time left to wait for them.
    expired: AtomicBool,
    ready: AtomicBool,
    manager: Manager,
    /// The thread that called `run` is asked to perform actions: the driver does not come to it.
    summoned: AtomicBool,
    main: OnceLock<TaskRef>,
    /// Where code of the user's finds the program, which is past its end too where somebody keeps it.
    root: OnceLock<Weak<Node>>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) inspector: Inspector,
    reactions: Reactions,
    state: Mutex<State>,
}

pub(crate) type FailureSink = Arc<dyn Fn(&Failure) + Send + Sync>;

impl Program {
    pub(crate) fn new(
        backend: AnyBackend,
        options: Options,
        limits: Limits,
        on_failure: Option<FailureSink>,
        watch: Arc<Watch>,
        inspector: Inspector,
    ) -> Arc<Program> {
        let machine = Machine::new(limits);
        let root = machine.root();
        let epoch = backend.now();
        let host_epoch = backend.host().is_none().then(Instant::now);
        let running =
            PhaseSpan { phase: Phase::Running, entered: Duration::ZERO, left: None, limit: None };
        let report = Report {
            backend: backend.name(),
            phases: vec![running],
            overdue_policy: options.overdue,
            ..Report::default()
        };
        let program = Arc::new(Program {
            backend,
            options,
            epoch,
            host_epoch,
            busy: AtomicUsize::new(0),
            timed: StaticBool::new(false),
            waiting: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            undropped: AtomicUsize::new(0),
            expired: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            manager: Manager::default(),
            summoned: AtomicBool::new(false),
            main: OnceLock::new(),
            root: OnceLock::new(),
            watch,
            inspector,
            reactions: Reactions::default(),
            state: Mutex::new(State::new(machine, report, on_failure)),
        });
        let above: Arc<dyn Above> = program.clone();
        let owner = Owner::new(above, program.backend.clone());
        let node = Node::new(Named::new(owner, Cow::Borrowed("root")), root, None, 0);
        _ = program.root.set(Arc::downgrade(&node));
        program.lock().put(node);
        let inspected: Arc<dyn Inspected> = program.clone();
        program.inspector.tie(Arc::downgrade(&inspected));
        program
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the start of `run`, by the backend's clock.
    pub(crate) fn now(&self) -> Duration {
        self.backend.now().saturating_duration_since(self.epoch)
    }

    /// The time of an event that asks for no stop. Where none has begun it means nothing, and no clock is
    /// read: the machine takes zero for the latest time that it was told. A stop that comes just now has
    /// told it one.
    fn event_time(&self) -> Duration {
        if self.timed.load(SeqCst) { self.now() } else { Duration::ZERO }
    }

    /// The time since the start of `run`, by the clock that keeps the deadline.
    fn host_now(&self) -> Duration {
        self.host_epoch.map_or_else(|| self.now(), |epoch| epoch.elapsed())
    }

    /// Whether the backend brings a host: its clock is the only one.
    pub(crate) fn is_hosted(&self) -> bool {
        self.host_epoch.is_none()
    }

    pub(crate) fn root(&self) -> Arc<Node> {
        let state = self.lock();
        state.node(state.machine.root()).expect("the root is there until the program is dropped")
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(SeqCst)
    }

    pub(crate) fn set_main(&self, task: &TaskRef) {
        _ = self.main.set(*task);
    }

    pub(crate) fn is_main(&self, task: &TaskRef) -> bool {
        self.main.get() == Some(task)
    }

    /// Runs code of the user's where it finds the program: in the scope that it is in already, if
    /// that is one of this program's, else in the root: one that refuses everything, once the report is
    /// made. `work` must not unwind.
    pub(crate) fn as_part<R>(&self, work: impl FnOnce() -> R) -> R {
        let inside = context::scope().is_some_and(|node| std::ptr::addr_eq(node.above(), self));
        match self.root.get().and_then(Weak::upgrade).filter(|_| !inside) {
            Some(root) => Program::within(root, work),
            None => work(),
        }
    }

    /// Runs `work` in this scope and in no task.
    pub(crate) fn within<R>(node: Arc<Node>, work: impl FnOnce() -> R) -> R {
        let _aside = Aside::new();
        let _inside = context::inside_scope(node);
        work()
    }

    // Readiness.

    pub(crate) fn ready(&self) {
        let state = self.lock(); // held: a stop that comes next turns it false again
        let begins = !state.machine.is_stopping() && !self.ready.swap(true, SeqCst);
        if begins {
            state.feed.tell(|| observe::Event::Ready);
        }
        drop(state);
        if begins {
            self.notify(notify::READY);
            if let Some(signal) = self.watch.look_for_others() {
                log::taken_over(signal, &self.watch);
            }
        }
    }

    /// Tells the service manager; again and again where it cannot take it yet.
    fn notify(&self, state: &'static str) {
        self.try_notify(state, || self.watch.tell_manager(state));
    }

    /// Tells the service manager once, if it is still so; `later` is called where it cannot take it yet.
    pub(crate) fn try_notify(&self, state: &'static str, later: impl FnOnce()) {
        let still = || state != notify::READY || self.is_ready();
        self.manager.tell(state, still, later);
    }

    pub(crate) fn unready(&self) {
        if self.ready.swap(false, SeqCst) {
            self.notify(notify::STOPPING);
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(SeqCst)
    }

    // Scopes.

    /// Opens a scope, with its first handle counted; one below an ended scope is born ended and refuses
    /// everything.
    pub(crate) fn open(
        &self,
        parent: &Arc<Node>,
        name: Cow<'static, str>,
        depends_on: &[ScopeId],
    ) -> Arc<Node> {
        let now = self.event_time();
        let mut state = self.lock();
        let now = now.max(state.machine.now()); // a stop may have begun just before the lock
        let node = state.open(now, parent, name, depends_on, &mut Vec::new());
        if state.machine.has_actions() {
            self.settle(state, now);
        }
        node
    }

    /// Has a scope stop before another one. Returns it opened anew, with its hooks, where it is too old
    /// for that or a stop has begun.
    pub(crate) fn depend(&self, node: &Arc<Node>, on: ScopeId) -> Option<Arc<Node>> {
        let parent = node.parent.as_ref()?; // the root ends last as it is
        let now = self.now();
        let mut state = self.lock();
        if state.machine.depend(node.id, on) {
            return None;
        }
        let mut needs = state.machine.dependencies(node.id);
        needs.push(on);
        let mut hooks = node.take_hooks();
        let node = state.open(now, parent, node.own_name(), &needs, &mut hooks);
        self.settle(state, now);
        Some(node)
    }

    /// Nothing keeps the program alive any more, as of just now, or so it may be. Returns whether it is so,
    /// and the program ends for it.
    pub(crate) fn idle(&self) -> bool {
        let over = self.options.until == Until::Idle && self.busy.load(SeqCst) == 0;
        let idle = over && self.lock().report.main.is_some();
        if idle {
            self.stop(Reason::Idle);
        }
        idle
    }

    // Wakers.

    pub(crate) fn set_driver(&self, waker: &Waker) {
        let new = Some(waker.clone());
        let old = mem::replace(&mut self.lock().driver, new);
        drop(old);
    }

    pub(crate) fn set_root_waker(&self, waker: &Waker) {
        let mut state = self.lock();
        if state.root_waker.as_ref().is_some_and(|stored| stored.will_wake(waker)) {
            return;
        }
        drop(state);
        let new = Some(waker.clone());
        state = self.lock();
        let old = mem::replace(&mut state.root_waker, new);
        drop(state);
        drop(old);
    }

    /// Asks the thread that called `run` to perform what there is to do.
    pub(crate) fn summon(&self) {
        self.summoned.store(true, SeqCst);
        let waker = self.lock().root_waker.take();
        let mut wakes = Wakes::default();
        wakes.add(waker);
        wakes.wake();
    }

    /// How much of the time until the deadline is left, where a host keeps it.
    pub(crate) fn left(&self) -> Option<Duration> {
        let now = self.now();
        let state = self.lock();
        if state.report.forced.is_some() {
            return Some(Duration::ZERO);
        }
        let deadline = state.machine.deadline().filter(|deadline| *deadline < Duration::MAX)?;
        Some(deadline.saturating_sub(now))
    }

    /// Until when tasks that were cut off may still be waited for, where a host keeps the time.
    pub(crate) fn near_deadline(&self) -> Duration {
        let state = self.lock();
        let stop = state.machine.stop_time().unwrap_or_default();
        stop.saturating_add(near_deadline(&state.machine.spans()))
    }

    /// The deadline is so near that `run` has to return.
    pub(crate) fn expire(&self) {
        self.expired.store(true, SeqCst);
        self.summon();
    }

    /// Whether tasks that were cut off may still be dropped in time.
    pub(crate) fn awaits_drops(&self) -> bool {
        let in_time = self.undropped.load(SeqCst) > 0 && !self.expired.load(SeqCst);
        let state = self.lock();
        in_time && state.report.forced.is_none() && !state.hurried
    }

    pub(crate) fn is_summoned(&self) -> bool {
        self.summoned.swap(false, SeqCst)
    }

    // Events.

    /// Asks the whole program to stop.
    pub(crate) fn stop(&self, reason: Reason) {
        self.stop_with(reason, Rest::default());
    }

    /// The same for a signal that came so many times. Subscribers are told of it before they are told of
    /// what follows from it, and once that is under way: they may block.
    pub(crate) fn stop_for(&self, signal: Signal, count: u64) {
        let mut rest = Rest::default();
        rest.more().signal = Some((signal, count));
        // Once for all: the signals are in the report one by one.
        self.stop_with(Reason::Signal(signal), rest);
    }

    fn stop_with(&self, reason: Reason, rest: Rest) {
        let now = self.now();
        let mut state = self.lock();
        let root = state.machine.root();
        let idle = reason == Reason::Idle;
        if (idle || reason == Reason::MainReturned) && state.machine.is_stopping() {
            // No cause of its own: the end of what was asked for.
            if idle && state.machine.phase(root) == Phase::LameDuck {
                state.machine.handle(now, Event::Idle);
                self.settle(state, now);
            }
            return;
        }
        if state.report.reasons.len() < MOST_LISTED {
            state.report.reasons.push(At { at: now, what: reason.bounded() });
        } else {
            state.report.reasons_omitted += 1;
        }
        state.machine.handle(now, if idle { Event::Idle } else { Event::Stop(root) });
        let first = state.machine.is_stopping() && !mem::replace(&mut state.armed, true);
        if first {
            // Before anything else, and before any code of the user's. What follows is to be performed: to
            // have said so by then wakes the warden once for both.
            self.watch.arm_pending();
            if let Some(reason) = state.report.reason() {
                state.feed.tell(|| observe::Event::Stopping(reason.clone()));
            }
            // Before any action: what is alive now is what the report tells of.
            state.list_alive();
        }
        self.settle_with(state, now, rest);
    }

    /// The process is ended after this span: what is left to do has that much.
    pub(crate) fn ends_within(&self, span: Duration) {
        self.watch.ends_within(span); // first: whatever comes next may be held up
        let now = self.now();
        let mut state = self.lock();
        state.machine.handle(now, Event::EndsWithin(span));
        state.renew_limit(now);
        // They sleep until a limit that was later.
        let mut wakes = Wakes::default();
        wakes.add(state.driver.take());
        wakes.add(state.root_waker.take());
        self.settle(state, now);
        wakes.wake();
    }

    pub(crate) fn event(&self, event: Event) {
        let now = self.now();
        let mut state = self.lock();
        state.machine.handle(now, event);
        self.settle(state, now);
    }

    /// The hooks of a scope have run. Returns false where one has come since.
    pub(crate) fn hooks_ran(&self, node: &Node) -> bool {
        let now = self.now();
        let mut state = self.lock();
        let closes = state.answer_close(now, node);
        self.settle(state, now);
        closes
    }

    /// Tells the machine what is alive in a scope, or that it is over.
    pub(crate) fn sync(&self, node: &Arc<Node>) {
        let mut rest = Rest::default();
        let mut state = self.lock();
        let mut now = state.machine.now();
        // Where time means nothing yet, or nothing follows from the end of the scope, no clock is read.
        let timed = state.machine.is_timed();
        let mut done = !(timed && state.ends_in_time(node)) && state.retire(now, node, &mut rest);
        if timed && !done {
            drop(state);
            let read = self.now();
            state = self.lock();
            now = read.max(state.machine.now());
            done = state.retire(now, node, &mut rest) || state.cancel_drained(now, node, &mut rest);
        }
        if !done {
            state.tell_tasks(now, node);
        } else if !state.machine.has_actions() {
            self.set_timed(&state);
            drop(state);
            return rest.finish(self);
        }
        self.settle_with(state, now, rest);
    }

    /// Folds a scope that had ended with stragglers, the last of which is gone now.
    pub(crate) fn fold(&self, node: &Node) {
        let mut rest = Rest::default();
        let mut state = self.lock();
        let Some(node) = state.lingering.remove(&node.uid) else { return };
        let totals = node.lock().totals();
        state.close(node, &totals, &mut rest);
        drop(state);
        rest.finish(self);
    }

    /// Performs [`Action::Finish`](crate::phase::Action::Finish).
    pub(crate) fn finish(&self) {
        let mut wakes = Wakes::default();
        let mut state = self.lock();
        self.finished.store(true, SeqCst);
        wakes.add(state.root_waker.take());
        wakes.add(state.driver.take());
        drop(state);
        wakes.wake();
    }

    // Hooks.

    pub(crate) fn take_on_stop(&self) -> Vec<Hook> {
        mem::take(&mut self.lock().on_stop)
    }

    /// A hook begins, `before` it one that is over: wherever the program's end comes, it finds one of them.
    pub(crate) fn hook_begins(
        &self,
        hook: &'static str,
        place: Place,
        node: &Node,
        before: Option<(usize, Outcome)>,
    ) -> usize {
        let (path, began, scope) = (node.path(), self.now(), node.id);
        let mut state = self.lock();
        if let Some((key, outcome)) = before {
            state.note_hook(key, began, outcome);
        }
        state.hooks.insert(RunningHook { hook, path, place, began, scope, told: false })
    }

    pub(crate) fn is_forced(&self) -> bool {
        self.lock().report.forced.is_some()
    }

    pub(crate) fn hook_ends(&self, key: usize, outcome: Outcome) {
        let ended = self.now();
        self.lock().note_hook(key, ended, outcome);
    }

    /// Returns the hooks that run and are no tasks.
    pub(crate) fn running_hooks(&self) -> Vec<String> {
        let state = self.lock();
        let hooks =
            state.hooks.iter().map(|(_, hook)| hook).filter(|hook| hook.hook == "on_stopped");
        hooks.map(|hook| format!("{} of {}", hook.hook, hook.path)).collect()
    }

    /// Returns the scopes that have not ended.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.lock().nodes.iter().flatten().cloned().collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
