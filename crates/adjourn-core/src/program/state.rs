//! What the program's lock guards: the machine, the scopes, the report, and what is to be done.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use slab::Slab;

use super::course::{Course, RunningHook};
use super::log;
use super::observe::{self, Feed};
use super::{FailureSink, Rest, Untold};
use crate::contract::hook::Hook;
use crate::contract::report::{Failure, FailureKind, PhaseSpan, Report, Totals};
use crate::few::{Few, room};
use crate::phase::{Action, Alive, Event, Machine, Phase, ScopeId};
use crate::process::signal::Signal;
use crate::track::node::{Counts, Named, Names, Node, Small};
use crate::track::table::TaskKey;

/// What a [`Program`](super::Program)'s lock guards.
pub(crate) struct State {
    pub(crate) machine: Machine,
    pub(super) nodes: Vec<Option<Arc<Node>>>,
    names: Names,
    /// Ended scopes with tasks that are alive all the same: stragglers. In the order of their age.
    pub(super) lingering: BTreeMap<u64, Arc<Node>>,
    pub(super) actions: VecDeque<Action>,
    pub(super) acting: bool,
    /// Futures of the program's own that are not over: its driver, and those that run hooks.
    pub(super) helpers: usize,
    /// Wakes the task of the driver, and the thread that called `run`.
    pub(super) driver: Option<Waker>,
    pub(super) root_waker: Option<Waker>,
    pub(crate) on_stop: Vec<Hook>,
    /// Hooks that run now, for the report should they not end.
    pub(super) hooks: Slab<RunningHook>,
    pub(crate) report: Report,
    /// What of the stop's course is noted beside it.
    pub(super) course: Course,
    /// Who is told of what happens.
    pub(super) feed: Feed,
    /// Which tasks the report's overdue work is, in its order.
    pub(super) overdue: Vec<TaskKey>,
    /// Which failures of the report are overdue work of a scope that was stopped alone, and what they
    /// say.
    pub(super) isolated: Vec<(TaskKey, String)>,
    /// Failures of the end, which nobody was told of yet.
    pub(super) late: Vec<Failure>,
    /// The report is made; and failures that came after that.
    pub(super) concluded: bool,
    pub(super) belated: Vec<Failure>,
    /// Who is told of failures, until the program lets go of that.
    pub(super) sink: Option<FailureSink>,
    /// Signals for the user's own handler, and how often each came in a row.
    pub(super) handed_over: VecDeque<(Signal, u64)>,
    pub(super) armed: bool,
    /// A signal forced the executor's end, after the program's own.
    pub(super) hurried: bool,
}

impl State {
    pub(super) fn new(machine: Machine, report: Report, sink: Option<FailureSink>) -> State {
        State {
            machine,
            nodes: Vec::new(),
            names: Names::default(),
            lingering: BTreeMap::new(),
            actions: VecDeque::new(),
            acting: false,
            helpers: 0,
            driver: None,
            root_waker: None,
            on_stop: Vec::new(),
            hooks: Slab::new(),
            report,
            course: Course::default(),
            feed: Feed::default(),
            overdue: Vec::new(),
            isolated: Vec::new(),
            late: Vec::new(),
            concluded: false,
            belated: Vec::new(),
            sink,
            handed_over: VecDeque::new(),
            armed: false,
            hurried: false,
        }
    }

    pub(super) fn put(&mut self, node: Arc<Node>) {
        let index = node.id.index();
        if self.nodes.len() <= index {
            if self.nodes.capacity() <= index {
                self.nodes.reserve_exact(room(index));
            }
            self.nodes.resize_with(index + 1, || None);
        }
        self.nodes[index] = Some(node);
        self.course.opened();
    }

    /// Opens a scope, with its first handle and these hooks; they are left where it is born ended.
    pub(super) fn open(
        &mut self,
        now: Duration,
        parent: &Arc<Node>,
        name: Cow<'static, str>,
        depends_on: &[ScopeId],
        hooks: &mut Vec<Hook>,
    ) -> Arc<Node> {
        let opened = self.machine.open(now, parent.id, depends_on);
        let id = opened.unwrap_or(parent.id);
        // Nothing is kept for who still has a scope of a program that is over.
        let named = match opened {
            Some(_) => self.names.share(parent.owner(), name),
            None => Named::new(parent.owner().clone(), name),
        };
        let node = Node::new(named, id, Some(parent.clone()), 1);
        // Nobody has had it yet. What it says is what the machine has decided of it, not what somebody
        // comes to perform later: else it would be chance what it takes, and what its token says.
        let phase = if opened.is_some() { self.machine.phase(id) } else { Phase::Stopped };
        node.begin(phase);
        if opened.is_some() {
            hooks.drain(..).for_each(|hook| node.add_hook(hook));
            self.put(node.clone());
        }
        node
    }

    pub(crate) fn node(&self, id: ScopeId) -> Option<Arc<Node>> {
        self.nodes.get(id.index())?.clone().filter(|node| node.id == id)
    }

    /// Takes the next action from the machine.
    pub(super) fn next_action(&mut self, now: Duration, rest: &mut Rest) -> Option<Action> {
        let action = self.machine.next_action()?;
        if is_of_program(&action) {
            rest.more().entered.extend(self.note_phase(now, &action));
        }
        Some(action)
    }

    /// Takes all actions from the machine, to be performed after those that were taken before.
    pub(super) fn take_actions(&mut self, now: Duration, rest: &mut Rest) {
        if !self.machine.has_actions() {
            return;
        }
        let of_program = self.machine.actions().iter().copied().filter(is_of_program);
        for action in of_program.collect::<Few<_>>() {
            rest.more().entered.extend(self.note_phase(now, &action));
        }
        if self.actions.is_empty() {
            mem::swap(&mut self.actions, self.machine.actions());
        } else {
            self.actions.append(self.machine.actions());
        }
    }

    /// Performs an action that is trivial; returns whether it was.
    pub(super) fn perform(&mut self, now: Duration, action: Action, rest: &mut Rest) -> bool {
        match action {
            Action::Close(id) => {
                let Some(node) = self.node(id) else { return true };
                return self.answer_close(now, &node);
            }
            Action::End(id) => self.end(now, id, rest),
            _ => return false,
        }
        true
    }

    /// Tells the machine what comes of a scope that is to close: it has closed where no hook is left to run,
    /// and is occupied where a task has come since there was none. Returns false, and does nothing, where
    /// there is a hook to run.
    pub(super) fn answer_close(&mut self, now: Duration, node: &Node) -> bool {
        let event = if node.is_alive() && !self.machine.is_cut_off(node.id) {
            Event::Occupied(node.id)
        } else if node.lock().end_hooks() {
            Event::Closed(node.id)
        } else {
            return false;
        };
        self.machine.handle(now, event);
        true
    }

    /// Fires or cancels a scope that has few tasks; returns whether it has. Only for who wakes where that
    /// is cheapest: the driver, or whoever takes its place.
    pub(super) fn perform_small(&mut self, now: Duration, action: Action, rest: &mut Rest) -> bool {
        let (Action::Fire(id) | Action::Cancel(id)) = action else { return false };
        let node = self.nodes.get(id.index()).and_then(Option::as_ref);
        let Some(node) = node.filter(|node| node.id == id && !node.is_root()) else { return false };
        let machine = &mut self.machine;
        let done = match action {
            Action::Fire(_) => node.fire_small(&mut rest.wakes, |graceful| match graceful {
                true => machine.drains(now, id),
                false => machine.cancel_at_once(now, id),
            }),
            _ => node.cancel_small(&mut rest.wakes),
        };
        if let Small::TooLarge = done {
            return false;
        }
        let cancelled = matches!(done, Small::Cancelled);
        if let Small::Done = done {
            tell_tasks(machine, now, node);
        }
        // The machine has those of a cancelled one until it is told of it again, or that ends.
        let limits = if cancelled { None } else { machine.own_limits(id) };
        self.course.note_small(now, &action, cancelled, limits);
        true
    }

    /// Cancels a small scope at once whose last graceful task has ended, if there is nothing else to be thought
    /// of. Returns whether it has. For who wakes where that is cheap: that task's own thread.
    pub(super) fn cancel_drained(&mut self, now: Duration, node: &Node, rest: &mut Rest) -> bool {
        if self.acting || !self.actions.is_empty() || node.is_root() {
            return false;
        }
        let machine = &mut self.machine;
        let agrees = || machine.cancel_drained(now, node.id);
        let cancelled = matches!(node.cancel_drained(&mut rest.wakes, agrees), Small::Cancelled);
        if cancelled {
            // Its limits were noted when it was told.
            self.course.note(now, &Action::Cancel(node.id));
        }
        cancelled
    }

    /// Tells the machine what is alive in a scope.
    pub(super) fn tell_tasks(&mut self, now: Duration, node: &Node) {
        self.note_limits(node.id);
        tell_tasks(&mut self.machine, now, node);
        self.note_limits(node.id);
    }

    /// Whether the time of the scope's end means something: it is listed, or others go on by it.
    pub(super) fn ends_in_time(&self, node: &Node) -> bool {
        self.lists_next_end() || self.machine.is_awaited(node.id)
    }

    /// Ends a scope at once, if it is to end and there is nothing to be thought of: nothing is alive in it
    /// or below it, and it has no hooks. Returns whether it has.
    pub(super) fn retire(&mut self, now: Duration, node: &Arc<Node>, rest: &mut Rest) -> bool {
        // What ended before it is told of before it.
        if !self.actions.is_empty() || node.is_alive() {
            return false;
        }
        if self.lists_next_end() {
            self.note_limits(node.id); // which the machine forgets
        }
        let agrees = |left| self.machine.retire(now, node.id, left);
        let Some(totals) = node.lock().retire(node, &mut rest.wakes, agrees) else { return false };
        _ = self.nodes.get_mut(node.id.index()).and_then(Option::take);
        self.note_scope_end(now, node.id, node);
        self.report.add_totals(node.name(), &totals);
        true
    }

    /// Folds an ended scope into the totals.
    pub(crate) fn end(&mut self, now: Duration, id: ScopeId, rest: &mut Rest) {
        let node = self.nodes.get_mut(id.index()).and_then(|at| at.take_if(|node| node.id == id));
        if let Some(node) = &node {
            self.note_scope_end(now, id, node);
        }
        self.machine.ended(id);
        let Some(node) = node else { return };
        self.leave_hooks(now, id, rest);
        let mut tasks = node.lock();
        let totals = tasks.shut();
        if totals.live > 0 {
            if self.machine.is_stopping() {
                self.course.leave(id); // no task of an earlier one is in the report
            }
            tasks.end_with_stragglers(node.above(), &mut rest.wakes);
            drop(tasks);
            self.lingering.insert(node.uid, node);
            return;
        }
        drop(tasks);
        self.close(node, &totals, rest);
    }

    /// Whether what is cut off now belongs to the stop of a scope alone.
    pub(super) fn is_isolated(&self) -> bool {
        let running = self.machine.phase(self.machine.root()) == Phase::Running;
        running && !self.machine.is_stopping()
    }

    /// Puts a failure into the report. `fatal`: whether it counts for the exit code, else it does in a stop.
    pub(super) fn record(
        &mut self,
        at: Duration,
        kind: FailureKind,
        origin: String,
        messages: Vec<String>,
        fatal: Option<bool>,
    ) -> Failure {
        let fatal = fatal.unwrap_or_else(|| self.machine.is_stopping());
        let failure = Failure { at, kind, origin, messages, fatal }.bounded();
        self.report.add_failure(failure.clone());
        self.feed.tell(|| observe::Event::Failure(failure.clone()));
        failure
    }

    /// Failures that are in the report, with who is to be told of them: as of this lock, since the program
    /// may let go of that before they are told.
    pub(super) fn untold(&self, failures: Vec<Failure>) -> Untold {
        let sink = if failures.is_empty() { None } else { self.sink.clone() };
        Untold { failures, sink }
    }

    /// Tells of the hooks without which a scope ends, at its deadline. They may go on beside it, and are told of
    /// no more, whatever becomes of them.
    fn leave_hooks(&mut self, at: Duration, id: ScopeId, rest: &mut Rest) {
        let fatal = !self.is_isolated();
        for (_, hook) in self.hooks.iter_mut().filter(|(_, hook)| hook.scope == id) {
            hook.told = true;
            let failure = hook.cut_off(at, fatal);
            self.report.add_failure(failure.clone());
            self.feed.tell(|| observe::Event::Failure(failure.clone()));
            let untold = &mut rest.more().untold;
            untold.failures.push(failure);
            untold.sink.clone_from(&self.sink);
        }
    }

    /// Closes a scope that was shut and adds its totals to the report.
    pub(super) fn close(&mut self, node: Arc<Node>, totals: &Totals, rest: &mut Rest) {
        let hooks = node.lock().close(&mut rest.wakes);
        self.report.add_totals(node.name(), totals);
        if node.is_root() {
            self.names = Names::default(); // they keep the program, and no scope is opened any more
        }
        let more = rest.more();
        more.hooks.extend(hooks);
        more.nodes.push(node);
    }

    /// When a phase of the program is over at the latest.
    fn limit(&self, phase: Phase) -> Option<Duration> {
        let limits = self.machine.spans();
        let span = match phase {
            Phase::LameDuck => limits.lame_duck,
            Phase::Draining => limits.drain,
            Phase::Cancelling => limits.cut_off,
            Phase::Closing => limits.deadline,
            _ => return None,
        };
        let limit = self.machine.stop_time()?.saturating_add(span);
        (limit < Duration::MAX).then_some(limit)
    }

    /// The limits have come nearer, that of the present phase too.
    pub(super) fn renew_limit(&mut self, now: Duration) {
        let present = self.report.phases.last().filter(|last| last.left.is_none());
        let limit = present.and_then(|present| self.limit(present.phase));
        if let Some(last) = self.report.phases.last_mut().filter(|_| limit.is_some()) {
            // A lame duck is over with this.
            last.limit = limit.map(|limit| limit.max(now));
        }
    }

    /// Keeps the report's list of the program's phases; returns the one that is entered.
    fn note_phase(&mut self, now: Duration, action: &Action) -> Option<(Phase, Option<u64>)> {
        let root = self.machine.root();
        let entered = match action {
            Action::LameDuck => Phase::LameDuck,
            Action::Fire(id) if *id == root => Phase::Draining,
            Action::Cancel(id) if *id == root => Phase::Cancelling,
            Action::Close(id) if *id == root => Phase::Closing,
            Action::Finish => self.machine.phase(root),
            _ => return None,
        };
        let limit = self.limit(entered);
        if let Some(last) = self.report.phases.last_mut() {
            last.left = Some(now);
        }
        let span = PhaseSpan { phase: entered, entered: now, left: None, limit };
        self.feed.tell(|| observe::Event::Phase(span.clone()));
        self.report.phases.push(span);
        let nodes = self.nodes.iter().flatten();
        let alive = log::may_be_heard().then(|| nodes.map(|node| node.lock().totals().live).sum());
        Some((entered, alive))
    }
}

/// Whether it changes the phase of the program, or may.
fn is_of_program(action: &Action) -> bool {
    action.scope().is_none_or(|scope| scope == ScopeId::ROOT)
}

fn tell_tasks(machine: &mut Machine, now: Duration, node: &Node) {
    let Counts { graceful, live, left } = node.lock().counts(node);
    let tasks = Alive { graceful: Some(graceful), live: Some(live), left };
    machine.handle(now, Event::Tasks(node.id, tasks));
}
