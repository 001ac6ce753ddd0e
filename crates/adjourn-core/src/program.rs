//! One program: its scopes, its machine and its report, shared by all who take part.
//!
//! Invariants:
//! 1. Lock order: the program's state, then one scope's tasks. Neither is held while a waker is
//!    woken or dropped, a future or a value of the user is dropped, or any code of theirs runs.
//! 2. The machine is told of a scope's tasks under the state lock, from counts read there: what it
//!    is told last is the newest.
//! 3. Actions are performed one at a time, in the machine's order, by whoever set `acting`.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::error::Place;
use crate::hook::Hook;
use crate::node::{Ended, Node};
use crate::options::{Options, Reraise, SecondInterrupt, Until};
use crate::phase::{Action, Event, Limits, Machine, Phase, ScopeId};
use crate::report::{At, Failure, FailureKind, Outcome, Reason, Report, TaskReport};
use crate::report::{MOST_LISTED, PhaseSpan, Straggler, Totals};
use crate::rt::{AnyBackend, Timer};
use crate::signal::Signal;
use crate::supervise::near_deadline;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use crate::sync::{Mutex, MutexGuard, StaticU64, StaticUsize};
use crate::table::TaskRef;

/// The most scope names that a report tells apart.
const MOST_NAMES: usize = 256;
/// Where the totals of all further scope names go.
const OTHER: &str = "(other names)";

/// Programs with actions that wait for their driver.
static WAITING: StaticUsize = StaticUsize::new(0);

/// Wakers that were collected under a lock, to be woken outside it.
#[derive(Default)]
pub(crate) struct Wakes(pub(crate) Vec<Waker>);

impl Wakes {
    pub(crate) fn add(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }

    pub(crate) fn wake(&mut self) {
        for waker in self.0.drain(..) {
            // A waker that panics must not keep the others from being woken.
            _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

/// What came of events, to be done once the program's lock is free.
#[derive(Default)]
pub(crate) struct Rest {
    wakes: Wakes,
    entered: Vec<Phase>,
    dropped: Vec<(Arc<Node>, Ended)>,
}

impl Rest {
    pub(crate) fn finish(&mut self) {
        self.entered.drain(..).for_each(crate::log::phase);
        self.wakes.wake();
        self.dropped.clear();
    }
}

/// What the machine is to be told of an action that was performed.
pub(crate) enum Answer {
    Nothing,
    This(Event),
    /// What is alive in this scope.
    Tasks(Arc<Node>),
}

/// Performs an action that needs more than the program's state, with the scope that it is about.
pub(crate) type Act = fn(&Arc<Program>, Action, Option<Arc<Node>>) -> Answer;

/// Tells the threads that supervise a program what they have to know.
pub(crate) trait Supervisor: Send + Sync {
    /// A stop has begun: its cut-off and deadline are counted from now, whatever else happens.
    fn armed(&self, limits: Limits);
    /// The end has been forced: `run` has to return at once.
    fn forced(&self);
    /// There are actions to perform: see to it that they are, should the executor not.
    fn pending(&self);
}

pub(crate) struct Program {
    pub(crate) backend: AnyBackend,
    pub(crate) options: Options,
    pub(crate) limits: Limits,
    epoch: Instant,
    /// The same instant by the host's clock, for the thread that asks no backend. `None` where a
    /// host of the backend's keeps all time by the backend's clock.
    host_epoch: Option<Instant>,
    /// Groups of tasks (the chunks of scopes' tables) with one that keeps the program alive.
    busy: AtomicUsize,
    /// There are actions that wait for the driver.
    waiting: AtomicBool,
    finished: AtomicBool,
    /// Tasks that were cut off and are not dropped yet.
    undropped: AtomicUsize,
    /// There is no time left to wait for them.
    expired: AtomicBool,
    ready: AtomicBool,
    /// The thread that called `run` is asked to perform actions: the driver does not come to it.
    summoned: AtomicBool,
    hands_over: bool,
    on_failure: Option<FailureSink>,
    main: OnceLock<TaskRef>,
    pub(crate) supervisor: OnceLock<Arc<dyn Supervisor>>,
    state: Mutex<State>,
}

pub(crate) type FailureSink = Box<dyn Fn(&Failure) + Send + Sync>;

pub(crate) struct State {
    pub(crate) machine: Machine,
    limits: Limits,
    nodes: Vec<Option<Arc<Node>>>,
    /// Ended scopes with tasks that are alive all the same: stragglers. In the order of their age.
    lingering: BTreeMap<u64, Arc<Node>>,
    actions: VecDeque<Action>,
    acting: bool,
    /// Wakes the task of the driver, and the thread that called `run`.
    driver: Option<Waker>,
    root_waker: Option<Waker>,
    pub(crate) on_stop: Vec<Hook>,
    /// Hooks that run now, as text for the report should they not end.
    hooks: Slab<String>,
    pub(crate) report: Report,
    /// Signals for the user's own handler, and how often each came in a row.
    handed_over: VecDeque<(Signal, u64)>,
    first_interrupt: Option<Duration>,
    armed: bool,
    /// A signal forced the executor's end, after the program's own.
    hurried: bool,
}

impl Program {
    pub(crate) fn new(
        backend: AnyBackend,
        options: Options,
        limits: Limits,
        on_failure: Option<FailureSink>,
        hands_over: bool,
    ) -> Arc<Program> {
        let machine = Machine::new(limits);
        let root = machine.root();
        let epoch = backend.now();
        let host_epoch = backend.host().is_none().then(Instant::now);
        let running =
            PhaseSpan { phase: Phase::Running, entered: Duration::ZERO, left: None, limit: None };
        let report = Report { backend: backend.name(), phases: vec![running], ..Report::default() };
        let program = Arc::new(Program {
            backend,
            options,
            limits,
            epoch,
            host_epoch,
            busy: AtomicUsize::new(0),
            waiting: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            undropped: AtomicUsize::new(0),
            expired: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            summoned: AtomicBool::new(false),
            hands_over,
            on_failure,
            main: OnceLock::new(),
            supervisor: OnceLock::new(),
            state: Mutex::new(State {
                machine,
                limits,
                nodes: Vec::new(),
                lingering: BTreeMap::new(),
                actions: VecDeque::new(),
                acting: false,
                driver: None,
                root_waker: None,
                on_stop: Vec::new(),
                hooks: Slab::new(),
                report,
                handed_over: VecDeque::new(),
                first_interrupt: None,
                armed: false,
                hurried: false,
            }),
        });
        let node = Node::new(&program, root, Cow::Borrowed("root"), None, &[]);
        program.lock().put(node);
        program
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the start of `run`, by the backend's clock.
    pub(crate) fn now(&self) -> Duration {
        self.backend.now().saturating_duration_since(self.epoch)
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

    // Readiness.

    pub(crate) fn ready(&self) {
        let state = self.lock(); // held: a stop that comes next turns it false again
        let begins = !state.machine.is_stopping() && !self.ready.swap(true, SeqCst);
        drop(state);
        if begins {
            crate::ready::notify("READY=1");
        }
    }

    pub(crate) fn unready(&self) {
        if self.ready.swap(false, SeqCst) {
            crate::ready::notify("STOPPING=1");
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(SeqCst)
    }

    // Scopes.

    /// Returns a number that no other scope of the process has; never 0.
    pub(crate) fn next_uid() -> u64 {
        static NEXT: StaticU64 = StaticU64::new(1);
        NEXT.fetch_add(1, SeqCst)
    }

    /// Opens a scope; one below an ended scope is born ended and refuses everything.
    pub(crate) fn open(
        self: &Arc<Program>,
        parent: &Arc<Node>,
        name: Cow<'static, str>,
        depends_on: &[ScopeId],
    ) -> Arc<Node> {
        let now = self.now();
        let mut state = self.lock();
        let opened = state.machine.open(now, parent.id, depends_on);
        let id = opened.unwrap_or(parent.id);
        let node = Node::new(self, id, name, Some(parent.clone()), depends_on);
        match opened {
            Some(_) => state.put(node.clone()),
            None => drop(node.lock().close()),
        }
        self.settle(state, now);
        node
    }

    /// Counts a group of tasks that began to keep the program alive.
    pub(crate) fn keep_alive(&self) {
        self.busy.fetch_add(1, SeqCst);
    }

    /// Counts one that ceased to; returns whether it was the last.
    pub(crate) fn let_go(&self) -> bool {
        self.busy.fetch_sub(1, SeqCst) == 1
    }

    /// Nothing keeps the program alive any more, as of just now.
    pub(crate) fn idle(self: &Arc<Program>) {
        let over = self.options.until == Until::Idle && self.busy.load(SeqCst) == 0;
        let main_over = || self.lock().report.main.is_some();
        if over && main_over() {
            self.stop(Reason::Idle);
        }
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

    pub(crate) fn cut_off(&self, count: usize) {
        self.undropped.fetch_add(count, SeqCst);
    }

    /// A task that was cut off has been dropped.
    pub(crate) fn cut_off_ended(&self) {
        if self.undropped.fetch_sub(1, SeqCst) == 1 {
            self.summon();
        }
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

    /// How long tasks that were cut off may still be waited for, where a host keeps the time.
    pub(crate) fn patience(&self) -> Duration {
        let stop = self.lock().machine.stop_time().unwrap_or_default();
        stop.saturating_add(near_deadline(&self.limits)).saturating_sub(self.now())
    }

    /// The deadline is so near that `run` has to return.
    pub(crate) fn expire(&self) {
        self.expired.store(true, SeqCst);
        self.summon();
    }

    /// Whether tasks that were cut off may still be dropped in time.
    pub(crate) fn awaits_drops(&self) -> bool {
        self.undropped.load(SeqCst) > 0
            && !self.expired.load(SeqCst)
            && self.lock().report.forced.is_none()
    }

    pub(crate) fn is_summoned(&self) -> bool {
        self.summoned.swap(false, SeqCst)
    }

    // Events.

    /// Asks the whole program to stop.
    pub(crate) fn stop(self: &Arc<Program>, reason: Reason) {
        let now = self.now();
        let mut state = self.lock();
        if matches!(reason, Reason::Idle | Reason::MainReturned) && state.machine.is_stopping() {
            return; // no cause of its own: the end of what was asked for
        }
        if state.report.reasons.len() < MOST_LISTED {
            state.report.reasons.push(At { at: now, what: reason });
        } else {
            state.report.reasons_omitted += 1;
        }
        let root = state.machine.root();
        state.machine.handle(now, Event::Stop(root));
        let first = state.machine.is_stopping() && !mem::replace(&mut state.armed, true);
        if first {
            // Before any action: what is alive now is what the report tells of.
            let nodes: Vec<_> = state.nodes.iter().flatten().cloned().collect();
            let report = &mut state.report;
            for node in &nodes {
                let mut left = MOST_LISTED.saturating_sub(report.tasks.len());
                report.alive_at_stop += node.lock().list(node, &mut left, |label| {
                    report.tasks.push(TaskReport {
                        task: label,
                        outcome: Outcome::Abandoned,
                        ended: now,
                    });
                    report.tasks.len() - 1
                });
            }
        }
        self.settle(state, now);
        if first {
            if let Some(supervisor) = self.supervisor.get() {
                supervisor.armed(self.limits);
            }
        }
    }

    pub(crate) fn event(self: &Arc<Program>, event: Event) {
        let now = self.now();
        let mut state = self.lock();
        state.machine.handle(now, event);
        self.settle(state, now);
    }

    /// Ends everything now: `signal` forced it.
    pub(crate) fn force(self: &Arc<Program>, signal: Signal) {
        let mut state = self.lock();
        // After its end in order there is nothing to force but the executor's.
        let over = state.machine.phase(state.machine.root()) >= Phase::Stopped;
        if !over {
            state.report.forced = Some(signal);
        }
        state.hurried |= over;
        drop(state);
        if let Some(supervisor) = self.supervisor.get() {
            supervisor.forced();
        }
        self.event(Event::Force);
        self.summon();
    }

    /// Tells the machine what is alive in a scope.
    pub(crate) fn sync(self: &Arc<Program>, node: &Arc<Node>) {
        let now = self.now();
        let mut state = self.lock();
        state.tell_tasks(now, node);
        self.settle(state, now);
    }

    /// Takes over what the machine wants done. What is trivial is done at once, where it keeps the
    /// order; for the rest the driver is woken.
    fn settle(self: &Arc<Program>, mut state: MutexGuard<'_, State>, now: Duration) {
        let mut rest = Rest::default();
        while let Some(action) = state.next_action(now, &mut rest) {
            let idle = state.actions.is_empty() && !state.acting;
            if !idle || !state.perform(now, action, &mut rest) {
                state.actions.push_back(action);
            }
        }
        let pending = !state.actions.is_empty() && !state.acting;
        if pending {
            self.set_waiting(true);
            rest.wakes.add(state.driver.take());
        }
        drop(state);
        if pending {
            if let Some(supervisor) = self.supervisor.get() {
                supervisor.pending();
            }
        }
        rest.finish();
    }

    /// Whether any program's driver has to come to run; for most it is the answer.
    pub(crate) fn is_any_waiting() -> bool {
        WAITING.load(SeqCst) > 0
    }

    fn set_waiting(&self, waiting: bool) {
        // Under the state's lock: the count is right.
        if self.waiting.swap(waiting, SeqCst) != waiting {
            if waiting {
                WAITING.fetch_add(1, SeqCst);
            } else {
                WAITING.fetch_sub(1, SeqCst);
            }
        }
    }

    /// Whether the driver has to come to run: a task that never yields would keep it from that
    /// where they share one thread.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(SeqCst)
    }

    /// Whether there are actions that nobody performs.
    pub(crate) fn is_stalled(&self) -> bool {
        let state = self.lock();
        !state.actions.is_empty() && !state.acting
    }

    /// Performs what there is to do, with `act` what is not trivial, unless somebody else is at it.
    /// Returns the next soft limit.
    pub(crate) fn drive(self: &Arc<Program>, act: Act) -> Option<Duration> {
        let mut now = self.now();
        let mut state = self.lock();
        if state.acting {
            return state.machine.next_limit();
        }
        state.machine.handle(now, Event::Tick);
        state.acting = true;
        self.set_waiting(false);
        let mut rest = Rest::default();
        loop {
            while let Some(action) = state.next_action(now, &mut rest) {
                state.actions.push_back(action);
            }
            let Some(action) = state.actions.pop_front() else { break };
            if state.perform(now, action, &mut rest) {
                continue;
            }
            let node = action.scope().and_then(|scope| state.node(scope));
            drop(state);
            rest.finish();
            // What the user gave us is caught where it runs; should anything unwind all the same,
            // the actions that follow are performed.
            let acted = catch_unwind(AssertUnwindSafe(|| act(self, action, node)));
            now = self.now();
            state = self.lock();
            match acted {
                Ok(Answer::This(event)) => state.machine.handle(now, event),
                Ok(Answer::Tasks(node)) => state.tell_tasks(now, &node),
                Ok(Answer::Nothing) | Err(_) => {}
            }
        }
        state.acting = false;
        let next = state.machine.next_limit();
        drop(state);
        rest.finish();
        next
    }

    /// Folds a scope that had ended with stragglers, the last of which is gone now.
    pub(crate) fn fold(&self, node: &Node) {
        let mut state = self.lock();
        let Some(node) = state.lingering.remove(&node.uid) else { return };
        let mut tasks = node.lock();
        let totals = tasks.totals();
        let ended = tasks.close();
        drop(tasks);
        state.report.add_totals(&node.name, &totals);
        drop(state);
        drop((ended, node));
    }

    /// Performs [`Action::Finish`].
    pub(crate) fn finish(&self) {
        let mut wakes = Wakes::default();
        let mut state = self.lock();
        self.finished.store(true, SeqCst);
        wakes.add(state.root_waker.take());
        wakes.add(state.driver.take());
        drop(state);
        wakes.wake();
    }

    // The report.

    /// Takes note of a signal that came `count` times and does what the options say.
    pub(crate) fn hear(self: &Arc<Program>, signal: Signal, count: u64) {
        self.note_signal(signal, count);
        let now = self.host_now();
        let mut state = self.lock();
        let mut fresh = count;
        if signal == Signal::INTERRUPT {
            fresh = 0;
            for times in [1, count].into_iter().take(count.min(2) as usize) {
                match state.first_interrupt {
                    None => state.first_interrupt = Some(now),
                    // The same keystroke, forwarded by a parent.
                    Some(first) if now.saturating_sub(first) < self.options.debounce => break,
                    Some(_) => {
                        let forces = self.options.second_interrupt == SecondInterrupt::Force;
                        // The one before it, of the same wait, has yet to ask for the stop.
                        let asks = fresh > 0 && !self.hands_over;
                        if forces && (asks || state.machine.is_stopping()) {
                            drop(state);
                            if asks {
                                self.stop(Reason::Signal(signal));
                            }
                            return self.force(signal);
                        }
                    }
                }
                fresh = times;
            }
        }
        if fresh == 0 {
            return;
        }
        if !self.hands_over {
            drop(state);
            // Once for all: the signals are in the report one by one.
            return self.stop(Reason::Signal(signal));
        }
        // A handler that nobody runs costs no memory without end: past so many turns from one kind
        // to another their order goes, not their number.
        let turns = state.handed_over.len();
        let reach = if turns < 1024 { 1 } else { turns };
        let mut latest = state.handed_over.iter_mut().rev().take(reach);
        match latest.find(|(kind, _)| *kind == signal) {
            Some((_, times)) => *times += fresh,
            None => state.handed_over.push_back((signal, fresh)),
        }
        let mut wakes = Wakes::default();
        wakes.add(state.driver.take());
        drop(state);
        wakes.wake();
    }

    /// Takes note of a signal that came `count` times.
    pub(crate) fn note_signal(&self, signal: Signal, count: u64) {
        crate::log::signal(signal, count);
        let at = self.now();
        let mut state = self.lock();
        let report = &mut state.report;
        let room = MOST_LISTED.saturating_sub(report.signals.len()) as u64;
        for _ in 0..count.min(room) {
            report.signals.push(At { at, what: signal });
        }
        report.signals_omitted += count.saturating_sub(room);
    }

    /// Whether the options ask for this signal.
    pub(crate) fn listens_to(&self, signal: Signal) -> bool {
        self.options.signals.contains(&signal)
    }

    pub(crate) fn next_signal(&self) -> Option<Signal> {
        let mut state = self.lock();
        let (signal, times) = state.handed_over.front_mut()?;
        let signal = *signal;
        *times -= 1;
        if *times == 0 {
            state.handed_over.pop_front();
        }
        Some(signal)
    }

    // Hooks.

    pub(crate) fn take_on_stop(&self) -> Vec<Hook> {
        mem::take(&mut self.lock().on_stop)
    }

    pub(crate) fn hook_begins(&self, what: &str, place: Place, node: &Node) -> usize {
        let place = Program::place_text(place);
        let text = format!("{what} of {}, registered at {place}", node.path());
        self.lock().hooks.insert(text)
    }

    pub(crate) fn hook_ends(&self, key: usize) {
        _ = self.lock().hooks.try_remove(key);
    }

    /// Records a failure; `isolated` ones count for the exit code only once a stop has begun.
    pub(crate) fn fail(&self, kind: FailureKind, origin: String, messages: Vec<String>) {
        self.record(kind, origin, messages, false);
    }

    /// Records a failure that counts for the exit code.
    pub(crate) fn fail_fatally(&self, kind: FailureKind, origin: String, messages: Vec<String>) {
        self.record(kind, origin, messages, true);
    }

    fn record(&self, kind: FailureKind, origin: String, messages: Vec<String>, fatal: bool) {
        let at = self.now();
        let fatal = fatal || self.lock().machine.is_stopping();
        let failure = Failure { at, kind, origin, messages, fatal };
        crate::log::failure(&failure);
        if let Some(told) = &self.on_failure {
            // A sink that panics is the user's; what it was told of is in the report all the same.
            _ = catch_unwind(AssertUnwindSafe(|| told(&failure)));
        }
        self.lock().report.add_failure(failure);
    }

    pub(crate) fn main_ended(&self, outcome: Outcome, code: Option<u8>) {
        let mut state = self.lock();
        state.report.main = Some(outcome);
        state.report.main_code = code;
    }

    /// Tells how a task that was alive at the stop ended.
    pub(crate) fn listed(&self, index: usize, outcome: Outcome) {
        let ended = self.now();
        if let Some(task) = self.lock().report.tasks.get_mut(index) {
            (task.outcome, task.ended) = (outcome, ended);
        }
    }

    pub(crate) fn add_stragglers(&self, stragglers: Vec<Straggler>, omitted: u64) {
        stragglers.iter().for_each(crate::log::straggler);
        self.lock().report.add_stragglers(stragglers, omitted);
    }

    /// After a forced end: tells of what is alive, and has it dropped where the executor can.
    pub(crate) fn cut_off_forced(&self) {
        let state = self.lock();
        let untold = state.report.forced.is_some() && state.report.stragglers.is_empty();
        drop(state);
        if untold {
            for node in self.nodes() {
                let (stragglers, omitted) = node.cut_off();
                self.add_stragglers(stragglers, omitted);
            }
        }
    }

    /// The executor was not over by the deadline; with stragglers in the report, that is why.
    pub(crate) fn executor_overdue(&self, name: &str) {
        let state = self.lock();
        let excused = state.report.forced.is_some()
            || state.hurried
            || !state.report.stragglers.is_empty()
            || !state.hooks.is_empty();
        if !excused {
            drop(state);
            let what = format!("the {name} executor had not ended at the deadline");
            self.fail_fatally(FailureKind::Executor, what, Vec::new());
        }
    }

    /// Which signal is raised again once the report is printed.
    pub(crate) fn raises(&self, report: &Report) -> Option<Signal> {
        let signal = report.forced.or(match report.reason() {
            Some(Reason::Signal(signal)) => Some(*signal),
            _ => None,
        })?;
        match self.options.reraise {
            Reraise::Never => None,
            Reraise::Interrupt => Some(signal).filter(|signal| *signal == Signal::INTERRUPT),
            Reraise::Always => Some(signal),
        }
    }

    /// Abandons what is still alive and returns the report. Nothing is tracked after this.
    pub(crate) fn conclude(self: &Arc<Program>) -> Report {
        let now = self.now();
        let mut wakes = Wakes::default();
        let mut dropped: Vec<Ended> = Vec::new();
        let mut state = self.lock();
        let mut nodes: Vec<_> = mem::take(&mut state.lingering).into_values().collect();
        nodes.extend(mem::take(&mut state.nodes).into_iter().flatten());
        for node in nodes {
            // Whoever reads a token from here on is told.
            node.set_fired();
            let mut tasks = node.lock();
            _ = tasks.shut();
            tasks.abandon(&mut wakes);
            let totals = tasks.totals();
            dropped.push(tasks.close());
            drop(tasks);
            node.notify_blocked();
            if let Some(ended) = dropped.last_mut() {
                wakes.0.append(&mut ended.wakes.0);
            }
            state.report.add_totals(&node.name, &totals);
        }
        let hooks = mem::take(&mut state.on_stop);
        state.actions.clear();
        self.set_waiting(false);
        for origin in mem::take(&mut state.hooks).into_iter().map(|(_, origin)| origin) {
            let messages = vec!["it was cut off before it was over".to_owned()];
            let kind = FailureKind::HookOverdue;
            state.report.add_failure(Failure { at: now, kind, origin, messages, fatal: true });
        }
        let mut report = state.report.clone();
        drop(state);
        wakes.wake();
        drop((dropped, hooks));
        for task in &mut report.tasks {
            if task.outcome == Outcome::Abandoned {
                task.ended = now;
            }
        }
        report
    }

    /// The report as it would be if everything ended now, without ending it: for the thread that
    /// ends a stuck process. Waits for no lock of the program and asks the backend nothing.
    pub(crate) fn peek(&self) -> Option<Report> {
        let state = self.state.try_lock().ok()?;
        let mut report = state.report.clone();
        let listed = !report.stragglers.is_empty();
        for node in state.nodes.iter().flatten().chain(state.lingering.values()) {
            let Some(tasks) = node.try_lock() else { continue };
            let (stragglers, omitted, mut totals) = tasks.peek(node, self.host_now());
            if !listed {
                report.add_stragglers(stragglers, omitted);
            }
            totals.abandoned += mem::take(&mut totals.live);
            drop(tasks);
            report.add_totals(&node.name, &totals);
        }
        Some(report)
    }

    /// Returns the scopes that have not ended.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.lock().nodes.iter().flatten().cloned().collect()
    }

    pub(crate) fn place_text(place: Place) -> String {
        format!("{}:{}:{}", place.file(), place.line(), place.column())
    }
}

impl State {
    fn put(&mut self, node: Arc<Node>) {
        let index = node.id.index();
        if self.nodes.len() <= index {
            self.nodes.resize_with(index + 1, || None);
        }
        self.nodes[index] = Some(node);
    }

    pub(crate) fn node(&self, id: ScopeId) -> Option<Arc<Node>> {
        self.nodes.get(id.index())?.clone().filter(|node| node.id == id)
    }

    /// Takes the next action from the machine.
    fn next_action(&mut self, now: Duration, rest: &mut Rest) -> Option<Action> {
        let action = self.machine.next_action()?;
        rest.entered.extend(self.note_phase(now, &action));
        Some(action)
    }

    /// Performs an action that is trivial; returns whether it was.
    fn perform(&mut self, now: Duration, action: Action, rest: &mut Rest) -> bool {
        match action {
            Action::Close(id) => {
                let Some(node) = self.node(id) else { return true };
                let event = if node.is_alive() && !self.machine.is_cut_off(id) {
                    Event::Occupied(id) // by a task that was spawned since there was none
                } else if node.lock().has_hooks() {
                    return false;
                } else {
                    Event::Closed(id)
                };
                self.machine.handle(now, event);
            }
            Action::End(id) => self.end(id, rest),
            _ => return false,
        }
        true
    }

    /// Tells the machine what is alive in a scope.
    fn tell_tasks(&mut self, now: Duration, node: &Node) {
        let counts = node.lock().counts(node);
        let tasks = [Event::Graceful(node.id, counts.graceful), Event::Live(node.id, counts.live)];
        let left = counts.left.then_some(Event::Left(node.id));
        self.machine.handle_all(now, tasks.into_iter().chain(left));
    }

    /// Folds an ended scope into the totals.
    pub(crate) fn end(&mut self, id: ScopeId, rest: &mut Rest) {
        self.machine.ended(id);
        let node = self.nodes.get_mut(id.index()).and_then(|at| at.take_if(|node| node.id == id));
        let Some(node) = node else { return };
        let mut tasks = node.lock();
        let totals = tasks.shut();
        if totals.live > 0 {
            tasks.end_with_stragglers(&node.program, &mut rest.wakes);
            drop(tasks);
            self.lingering.insert(node.uid, node);
            return;
        }
        let mut ended = tasks.close();
        drop(tasks);
        rest.wakes.0.append(&mut ended.wakes.0);
        self.report.add_totals(&node.name, &totals);
        rest.dropped.push((node, ended));
    }

    /// Keeps the report's list of the program's phases; returns the one that is entered.
    fn note_phase(&mut self, now: Duration, action: &Action) -> Option<Phase> {
        let root = self.machine.root();
        let entered = match action {
            Action::LameDuck => Phase::LameDuck,
            Action::Fire(id) if *id == root => Phase::Draining,
            Action::Cancel(id) if *id == root => Phase::Cancelling,
            Action::Close(id) if *id == root => Phase::Closing,
            Action::Finish => self.machine.phase(root),
            _ => return None,
        };
        let stop = self.machine.stop_time().unwrap_or(now);
        let limits = self.limits;
        let limit = match entered {
            Phase::LameDuck => Some(stop.saturating_add(limits.lame_duck)),
            Phase::Draining => Some(stop.saturating_add(limits.drain)),
            Phase::Cancelling => Some(stop.saturating_add(limits.cut_off)),
            Phase::Closing => Some(stop.saturating_add(limits.deadline)),
            _ => None,
        };
        let limit = limit.filter(|limit| *limit < Duration::MAX);
        if let Some(last) = self.report.phases.last_mut() {
            last.left = Some(now);
        }
        self.report.phases.push(PhaseSpan { phase: entered, entered: now, left: None, limit });
        Some(entered)
    }
}

impl Report {
    fn add_stragglers(&mut self, stragglers: Vec<Straggler>, omitted: u64) {
        self.stragglers_omitted += omitted;
        for straggler in stragglers {
            if self.stragglers.len() < MOST_LISTED {
                self.stragglers.push(straggler);
            } else {
                self.stragglers_omitted += 1;
            }
        }
    }

    fn add_failure(&mut self, failure: Failure) {
        if self.failures.len() < MOST_LISTED {
            self.failures.push(failure);
            return;
        }
        self.omit(&failure);
    }

    fn add_totals(&mut self, name: &str, totals: &Totals) {
        let known = self.totals.len() < MOST_NAMES || self.totals.contains_key(name);
        let name = if known { name } else { OTHER };
        match self.totals.get_mut(name) {
            Some(sum) => sum.add(totals),
            None => {
                self.totals.insert(name.to_owned(), *totals);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::nowhere;

    #[test]
    fn each_signal_that_came_together_reaches_the_handler_in_order() {
        let program = nowhere::program(true);
        program.hear(Signal::HANGUP, 2_000);
        program.hear(Signal::TERMINATE, 1);
        program.hear(Signal::INTERRUPT, 3); // within the debounce: the same keystroke
        let heard: Vec<_> = std::iter::from_fn(|| program.next_signal()).collect();
        assert_eq!(heard[..2_000], [Signal::HANGUP; 2_000]);
        assert_eq!(heard[2_000..], [Signal::TERMINATE, Signal::INTERRUPT]);
        let report = program.conclude();
        assert_eq!(report.signals.len() as u64 + report.signals_omitted, 2_004);
    }
}
