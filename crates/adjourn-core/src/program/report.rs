//! What the report is told while the program runs, and the report at its end.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use slab::Slab;

use super::course::RunningHook;
use super::state::State;
use super::{Program, Rest, Untold, observe};
use crate::contract::error::{drop_quietly, take_message};
use crate::contract::report::{
    Failure, FailureKind, MOST_LISTED, Outcome, Reason, Report, Totals, bound,
};
use crate::sync::MutexGuard;
use crate::track::node::{Node, Tasks};

/// The most scope names that a report tells apart.
pub(super) const MOST_NAMES: usize = 256;
/// Where the totals of all further scope names go.
pub(super) const OTHER: &str = "(other names)";

impl Program {
    /// Records a failure that counts for the exit code once the program's stop has begun.
    pub(crate) fn fail(&self, kind: FailureKind, origin: String, messages: Vec<String>) {
        let untold = self.record(kind, origin, messages, None);
        self.tell_failures(untold);
    }

    /// Records a failure of a hook. It counts for the exit code unless the hook belongs to a scope whose
    /// end is none of the program's. That was decided when the scope came to close: else it would be
    /// chance what counts where the program's stop follows at once.
    pub(crate) fn fail_in_hook(
        &self,
        kind: FailureKind,
        origin: String,
        messages: Vec<String>,
        apart: bool,
    ) {
        let untold = self.record(kind, origin, messages, Some(!apart));
        self.tell_failures(untold);
    }

    /// Records a failure that counts for the exit code.
    pub(crate) fn fail_fatally(&self, kind: FailureKind, origin: String, messages: Vec<String>) {
        let untold = self.record(kind, origin, messages, Some(true));
        self.tell_failures(untold);
    }

    /// Records a failure that counts for the exit code and stops the program. Others are told of it
    /// last: what they do may block, and the deadline has to count by then.
    pub(crate) fn fail_and_stop(
        &self,
        kind: FailureKind,
        origin: String,
        messages: Vec<String>,
        reason: Reason,
    ) {
        let untold = self.record(kind, origin, messages, Some(true));
        self.stop(reason);
        self.tell_failures(untold);
    }

    fn record(
        &self,
        kind: FailureKind,
        origin: String,
        messages: Vec<String>,
        fatal: Option<bool>,
    ) -> Untold {
        let at = self.now();
        let mut state = self.lock();
        let failure = state.record(at, kind, origin, messages, fatal);
        state.untold(vec![failure])
    }

    /// Tells of failures that are in the report already, once: `on_failure`, else `tracing` where somebody
    /// listens to it, else standard error. What is called may block.
    pub(crate) fn tell_failures(&self, Untold { failures, sink }: Untold) {
        if failures.is_empty() {
            return;
        }
        self.as_part(|| {
            for failure in &failures {
                let Some(sink) = &sink else {
                    super::log::failure(failure, self.is_hosted(), &self.watch);
                    continue;
                };
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| sink(failure))) {
                    self.sink_panicked(take_message(payload));
                }
            }
            drop_quietly(sink); // the last one, where the program has let go of it meanwhile
        });
    }

    /// Records a panic of `on_failure`. That one is not told of it: it would panic again.
    fn sink_panicked(&self, message: String) {
        let (kind, origin) = (FailureKind::HookPanic, "on_failure".to_owned());
        let at = self.now();
        let mut state = self.lock();
        let failure = state.record(at, kind, origin, vec![message], None);
        if state.concluded {
            state.belated.push(failure.clone());
        }
        drop(state);
        super::log::failure(&failure, self.is_hosted(), &self.watch);
    }

    /// Adds to the report what was recorded after it was made.
    pub(crate) fn add_belated(&self, report: &mut Report) {
        let belated = mem::take(&mut self.lock().belated);
        belated.into_iter().for_each(|failure| report.add_failure(failure));
    }

    /// Adds a failure of the end to the report; it is told by [`tell_late`](Program::tell_late).
    pub(crate) fn fail_late(&self, report: &mut Report, failure: Failure) {
        let failure = failure.bounded();
        report.add_failure(failure.clone());
        self.lock().late.push(failure);
    }

    /// Tells of the failures of the end, on a thread of its own: what is called may block, and there may be
    /// no time left. It is waited for, for a while, and tells all the same if it is later; without a thread to
    /// be had the report alone has them.
    pub(crate) fn tell_late(self: &Arc<Program>, within: Option<Duration>) {
        let mut state = self.lock();
        let late = mem::take(&mut state.late);
        if late.is_empty() {
            return;
        }
        let untold = state.untold(late);
        drop(state);
        let program = self.clone();
        let tells = move || {
            program.tell_failures(untold);
            drop(program); // before whoever waits goes on
        };
        if self.is_hosted() {
            return tells();
        }
        let (done, is_done) = channel();
        let tells = move || {
            tells();
            _ = done.send(());
        };
        let started = thread::Builder::new().name("adjourn-failures".to_owned()).spawn(tells);
        if started.is_ok() {
            _ = is_done.recv_timeout(observe::patience(within));
        }
    }

    /// Whether the user's code is called for a failure.
    pub(crate) fn has_failure_sink(&self) -> bool {
        self.lock().sink.is_some()
    }

    /// There is nothing more to read of the program and to tell. What the user gave it is dropped here:
    /// whoever else still holds the program, a scope's handle or a thread on its way out, has no say in when.
    pub(crate) fn let_go(&self) {
        self.inspector.untie();
        let sink = self.lock().sink.take();
        drop_quietly(sink);
    }

    pub(crate) fn main_ended(&self, outcome: Outcome, code: Option<u8>) {
        let mut state = self.lock();
        state.report.main = Some(outcome);
        state.report.main_code = code;
    }

    /// Tells how a task that was alive at the stop ended.
    pub(crate) fn listed(&self, index: usize, outcome: Outcome) {
        let ended = self.now();
        self.lock().note_end(index, ended, outcome);
    }

    /// After a forced end: tells of what is alive, and has it dropped where the executor can.
    pub(crate) fn cut_off_forced(&self) {
        let state = self.lock();
        let untold = state.report.forced.is_some() && state.report.stragglers.is_empty();
        drop(state);
        if untold {
            for node in self.nodes() {
                self.add_stragglers(node.cut_off());
            }
        }
    }

    /// The executor was not over by the deadline; with stragglers or hooks in the report, that is why.
    pub(crate) fn executor_overdue(&self, name: &str) {
        let state = self.lock();
        let excused = state.report.forced.is_some()
            || state.hurried
            || !state.report.stragglers.is_empty()
            || state.report.failures.iter().any(|failure| match failure.kind {
                FailureKind::CutOff => true,
                FailureKind::HookOverdue => failure.fatal,
                _ => false,
            })
            || !state.hooks.is_empty();
        if !excused {
            drop(state);
            let what = format!("the {name} executor had not ended at the deadline");
            self.fail_fatally(FailureKind::Executor, what, Vec::new());
        }
    }

    /// Abandons what is still alive and returns the report. Nothing is tracked after this.
    pub(crate) fn conclude(&self) -> Report {
        let now = self.now();
        let mut rest = Rest::default();
        let mut state = self.lock();
        let mut nodes: Vec<_> = mem::take(&mut state.lingering).into_values().collect();
        let open: Vec<_> = mem::take(&mut state.nodes).into_iter().flatten().collect();
        let mut report = state.report.clone();
        state.finish_course(&mut report, now, &open);
        nodes.extend(open);
        for node in nodes {
            // Whoever reads a token from here on is told.
            node.set_fired();
            let mut tasks = node.lock();
            _ = tasks.shut();
            tasks.abandon(&mut rest.wakes);
            let totals = tasks.totals();
            drop(tasks);
            state.close(node, &totals, &mut rest);
        }
        state.concluded = true;
        rest.more().hooks.append(&mut state.on_stop);
        state.actions.clear();
        self.set_waiting(false);
        report.totals.clone_from(&state.report.totals);
        for failure in cut_off(&mem::take(&mut state.hooks), now) {
            report.add_failure(failure.clone());
            state.feed.tell(|| observe::Event::Failure(failure.clone()));
            state.report.add_failure(failure.clone()); // for the warden
            state.late.push(failure);
        }
        report.paused = self.watch.paused();
        drop(state);
        self.forget_reactions();
        rest.finish(self);
        report
    }

    /// The report as it would be if everything ended now, without ending it: for the thread that
    /// ends a stuck process. Waits for no lock of the program and asks the backend nothing.
    ///
    /// Not called stuck where a signal asked for no more than the executor's end.
    pub(crate) fn peek(&self) -> Option<Report> {
        let state = self.state.try_lock().ok()?;
        let mut report = self.draft(&state, Node::try_lock);
        report.stuck = !state.hurried;
        Some(report)
    }

    /// The same for who may wait.
    pub(crate) fn look(&self) -> Report {
        self.draft(&self.lock(), |node| Some(node.lock()))
    }

    fn draft(&self, state: &State, lock: fn(&Node) -> Option<MutexGuard<'_, Tasks>>) -> Report {
        let mut report = state.report.clone();
        report.paused = self.watch.paused();
        let now = self.host_now();
        let open: Vec<_> = state.nodes.iter().flatten().cloned().collect();
        state.finish_course(&mut report, now, &open);
        cut_off(&state.hooks, now).for_each(|failure| report.add_failure(failure));
        let listed = !report.stragglers.is_empty();
        for node in state.nodes.iter().flatten().chain(state.lingering.values()) {
            let Some(tasks) = lock(node) else { continue };
            let (stragglers, omitted, mut totals) = tasks.peek(node, self.host_now());
            if !listed {
                report.add_stragglers(stragglers, omitted, Vec::new());
            }
            totals.abandoned += mem::take(&mut totals.live);
            drop(tasks);
            report.add_totals(node.name(), &totals);
        }
        report
    }

    /// Adds the signals that came after the report was made.
    pub(crate) fn add_late_signals(&self, report: &mut Report) {
        let state = self.lock();
        report.signals.clone_from(&state.report.signals);
        report.signals_omitted = state.report.signals_omitted;
    }

    /// How many tasks are alive, as far as it can be said without waiting for a lock or memory.
    pub(crate) fn count_alive(&self) -> Option<u64> {
        let state = self.state.try_lock().ok()?;
        let nodes = state.nodes.iter().flatten().chain(state.lingering.values());
        Some(nodes.filter_map(|node| Some(node.try_lock()?.totals().live)).sum())
    }
}

/// The hooks that are not over at the program's end, and that the report has not yet.
fn cut_off(hooks: &Slab<RunningHook>, at: Duration) -> impl Iterator<Item = Failure> {
    hooks.iter().filter(|(_, hook)| !hook.told).map(move |(_, hook)| hook.cut_off(at, true))
}

impl Report {
    pub(super) fn add_failure(&mut self, failure: Failure) {
        if self.failures.len() < MOST_LISTED {
            self.failures.push(failure);
            return;
        }
        self.omit(&failure);
    }

    pub(super) fn add_totals(&mut self, name: &str, totals: &Totals) {
        let name = bound::cut(name, bound::NAME);
        let known = self.totals.len() < MOST_NAMES || self.totals.contains_key(&*name);
        let name = if known { &*name } else { OTHER };
        match self.totals.get_mut(name) {
            Some(sum) => sum.add(totals),
            None => {
                self.totals.insert(name.to_owned(), *totals);
            }
        }
    }
}
