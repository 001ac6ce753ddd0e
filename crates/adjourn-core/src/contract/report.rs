//! What happened: the report of a program, and its exit code.

pub(crate) mod bound;
mod course;
mod exit;
mod text;
mod timeline;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::contract::options::Overdue;
use crate::phase::Phase;
use crate::process::signal::Signal;

pub(crate) use self::course::keep_greatest;
pub use self::course::{HookReport, ScopeReport};
pub use self::exit::Exit;
pub(crate) use self::text::StuckIn;
pub use self::timeline::Timeline;

/// The most entries that any list of a report holds; what is left out is counted.
pub(crate) const MOST_LISTED: usize = 100;

/// Why a program or scope was asked to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Reason {
    /// A signal came.
    Signal(Signal),
    /// Somebody asked, through a [`Stopper`](crate::Stopper) or a scope; the text, if one was
    /// given.
    Requested(Option<String>),
    /// `main` had returned, and nothing that keeps the program alive was left.
    Idle,
    /// `main` had returned.
    MainReturned,
    /// `main` failed or panicked.
    MainFailed(String),
    /// A task failed in a way that stops the program; its name or place, and what it said.
    TaskFailed(String),
    /// The future of an attached program was dropped.
    Dropped,
}

/// Something and when it happened, measured from the start of `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct At<T> {
    /// Since the start of `run`.
    pub at: Duration,
    /// What happened.
    pub what: T,
}

/// One phase of the program, with its times since the start of `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PhaseSpan {
    /// The phase.
    pub phase: Phase,
    /// When it began.
    pub entered: Duration,
    /// When it ended; `None` for the last.
    pub left: Option<Duration>,
    /// When it would have been cut short; `None` where nothing limits it.
    pub limit: Option<Duration>,
}

/// The four kinds of work that a scope tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum TaskKind {
    /// Dropped at its next yield once its scope is cancelling.
    Plain,
    /// Spawned graceful, or it has asked about the stop. Told at draining; has until the drain limit.
    Graceful,
    /// Never cancelled; waited for until the cut-off.
    Shielded,
    /// A closure on the blocking pool.
    Blocking,
}

impl TaskKind {
    /// Whether it is dropped once its scope is cancelling.
    pub(crate) fn is_cancelled(self) -> bool {
        matches!(self, TaskKind::Plain | TaskKind::Graceful)
    }

    /// Whether it is waited for then.
    pub(crate) fn is_shielded(self) -> bool {
        !self.is_cancelled()
    }
}

/// How a task or job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Outcome {
    /// It returned.
    Finished,
    /// It returned, and [`or_stop`](crate::ResultFutureExt::or_stop) or
    /// [`or_report`](crate::ResultFutureExt::or_report) had recorded an error in it.
    Failed,
    /// It panicked, or its destructor did while it was cancelled.
    Panicked,
    /// It was dropped before it was ready.
    Cancelled,
    /// It was still alive when the program ended.
    Abandoned,
}

/// A task that was alive when the stop was requested, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TaskReport {
    /// Which task it was.
    pub task: TaskLabel,
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended, since the start of `run`.
    pub ended: Duration,
    /// When the stop cancelled it: what is between this and its end is the time of its cleanups and
    /// shields, or of a poll that took so long. `None` where the stop did not: it ended before, it is
    /// shielded, or a job.
    pub cancelled: Option<Duration>,
}

/// Which task: what a report knows it by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TaskLabel {
    /// The name given with [`task`](crate::task).
    pub name: Option<String>,
    /// The path of its scope: `root/http/connection`.
    pub scope: String,
    /// Plain, graceful, shielded or blocking.
    pub kind: TaskKind,
    /// The line that spawned it: `src/main.rs:12:5`.
    pub spawned_at: String,
}

/// A failure: a panic or an error, of a task, a hook or a destructor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Failure {
    /// When, since the start of `run`.
    pub at: Duration,
    /// What failed.
    pub kind: FailureKind,
    /// Who it was: a task's label as text, or the line of a hook or shield.
    pub origin: String,
    /// What it said: the panic's text, or the error and its causes, outermost first. Of an error 32 texts,
    /// and how many causes more there are; no more than 1,000 are looked at.
    pub messages: Vec<String>,
    /// Whether it counts for the exit code: not when it was isolated before the stop, nor in a hook of a
    /// scope that was asked to stop before the program was.
    pub fatal: bool,
}

/// The kinds of [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum FailureKind {
    /// `main` returned an error.
    MainError,
    /// `main` panicked.
    MainPanic,
    /// A task's error was recorded.
    TaskError,
    /// A task or job panicked.
    TaskPanic,
    /// A destructor panicked.
    DestructorPanic,
    /// A hook panicked, or a signal source, `on_signal`, `on_report` or `on_failure`.
    HookPanic,
    /// A hook returned an error.
    HookError,
    /// A shield or cleanup was dropped half-way by the future around it (`select!`, a timeout).
    ShieldDropped,
    /// A hook was cut off at the deadline, or by a forced end; or a scope that was stopped alone ended
    /// without its hook, which does not count for the exit code.
    HookOverdue,
    /// Work of a scope that was stopped alone was cut off: told to finish and still alive at its drain
    /// limit, or alive at the cut-off.
    CutOff,
    /// The executor did not end in its time.
    Executor,
    /// An observer panicked, or was not done with the program's end in its time. Changes no exit code.
    Observer,
}

impl FailureKind {
    pub(crate) fn is_panic(self) -> bool {
        matches!(
            self,
            FailureKind::MainPanic
                | FailureKind::TaskPanic
                | FailureKind::DestructorPanic
                | FailureKind::HookPanic
        )
    }

    fn is_error(self) -> bool {
        matches!(
            self,
            FailureKind::MainError
                | FailureKind::TaskError
                | FailureKind::HookError
                | FailureKind::Executor
        )
    }
}

/// What became of all tasks of one scope name.
///
/// Always `spawned = live + finished + failed + panicked + cancelled + abandoned`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Totals {
    /// Accepted, of all kinds.
    pub spawned: u64,
    /// Not over yet; 0 in a report, where what was alive is abandoned.
    pub live: u64,
    /// Returned.
    pub finished: u64,
    /// Returned with an error recorded.
    pub failed: u64,
    /// Panicked.
    pub panicked: u64,
    /// Dropped before they were ready.
    pub cancelled: u64,
    /// Still alive when the program ended.
    pub abandoned: u64,
    /// Not accepted, since the scope was ending; not among the spawned.
    pub refused: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Totals) {
        self.spawned += other.spawned;
        self.live += other.live;
        self.finished += other.finished;
        self.failed += other.failed;
        self.panicked += other.panicked;
        self.cancelled += other.cancelled;
        self.abandoned += other.abandoned;
        self.refused += other.refused;
    }
}

/// Tasks of one kind and one line in a scope, counted: a hundred lines of a hundred thousand say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Site {
    /// Plain, graceful, shielded or blocking.
    pub kind: TaskKind,
    /// The path of the scope.
    pub scope: String,
    /// The line that spawned them.
    pub spawned_at: String,
    /// How many were alive.
    pub count: u64,
    /// How long the oldest had lived then, as in [`Straggler::age`].
    pub oldest: Option<Duration>,
}

/// Graceful work that was still alive at its drain limit. It is cancelled there: dropped at its next
/// yield, or, where it is inside a shield, after that.
///
/// Work that was inside a shield or a poll at the limit, and then returned before it was dropped, was
/// not cut off: it is no more in the report once it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct OverdueTask {
    /// Which task, age and what it was doing then.
    pub task: Straggler,
    /// The limit that it did not keep, since the start of `run`.
    pub limit: Duration,
    /// The task whose handle it was awaiting, where that is known.
    pub waiting_for: Option<TaskLabel>,
}

/// A task or job that was alive at a limit: at the cut-off, or at a drain limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Straggler {
    /// Which task.
    pub task: TaskLabel,
    /// How long it had lived then, from its first poll that was pending; `None` for one
    /// that never was.
    pub age: Option<Duration>,
    /// What it was doing.
    pub state: StragglerState,
}

impl Straggler {
    /// Whether a stop waits for it: it may finish, or something holds it. A plain task that only waits is
    /// cancelled once the others are gone.
    pub fn is_waited_for(&self) -> bool {
        let held = matches!(self.state, StragglerState::Shielded | StragglerState::Polling);
        held || self.task.kind != TaskKind::Plain
    }
}

/// What a task was doing at a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum StragglerState {
    /// Inside a poll: synchronous code held the thread.
    Polling,
    /// Waiting, for something that did not come.
    Pending,
    /// Never polled: no thread had come to it.
    NeverPolled,
    /// Waiting inside a shield or cleanup.
    Shielded,
    /// A blocking job that ran.
    Blocking,
    /// A blocking job that was still queued.
    Queued,
}

/// What happened, structured and bounded.
///
/// Lists have at most 100 entries, totals 256 names. A name has at most 256 bytes, a path 1 KiB, what
/// says who failed 2 KiB, a message 4 KiB. What is left out is counted: `… (120 bytes more)`.
///
/// [`Display`](std::fmt::Display) is made for a terminal; feature `serde` serialises it.
///
/// # Examples
///
/// ```
/// use adjourn_core::Report;
///
/// /// A line for a log, from [`on_report`](adjourn_core::Runner::on_report) say.
/// fn line(report: &Report) -> String {
///     let (total, stuck) = (report.total(), report.stragglers.len());
///     format!("{} finished, {stuck} stuck, exit code {}", total.finished, report.exit_code())
/// }
///
/// assert_eq!(line(&Report::default()), "0 finished, 0 stuck, exit code 0");
/// ```
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Report {
    /// The backend's name.
    pub backend: &'static str,
    /// Why `main` was never polled, if it was not.
    pub start_error: Option<String>,
    /// Why the program stopped: the first cause first; at most 100.
    pub reasons: Vec<At<Reason>>,
    /// How many later causes more there were.
    pub reasons_omitted: u64,
    /// The signals that came, in order; at most 100.
    pub signals: Vec<At<Signal>>,
    /// How many signals more came.
    pub signals_omitted: u64,
    /// The phases that the program went through.
    pub phases: Vec<PhaseSpan>,
    /// The signal that forced the end.
    pub forced: Option<Signal>,
    /// How `main` ended; `None` when it was never polled.
    pub main: Option<Outcome>,
    /// The exit code that `main` asked for by returning an [`Exit`].
    pub main_code: Option<u8>,
    /// The tasks that were alive when the stop was requested: of more than 100 the slowest, which ended
    /// last. Scope by scope, as far as they were listed at once.
    pub tasks: Vec<TaskReport>,
    /// How many were alive when the stop was requested, listed or not.
    pub alive_at_stop: u64,
    /// The scopes that the stop came to: of more than 100 the slowest, which ended last.
    pub scopes: Vec<ScopeReport>,
    /// How many scopes more there were.
    pub scopes_omitted: u64,
    /// The hooks that ran: of more than 100 those that took longest.
    pub hooks: Vec<HookReport>,
    /// How many hooks more ran.
    pub hooks_omitted: u64,
    /// Failures, in order; at most 100.
    pub failures: Vec<Failure>,
    /// How many failures more there were.
    pub failures_omitted: u64,
    /// Whether a failure that counts for the exit code is among those left out: `(error, panic)`.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) omitted_fatal: (bool, bool),
    /// Whether a hook that was cut off is among those left out.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) omitted_hook: bool,
    /// What became of the tasks of each scope name.
    pub totals: BTreeMap<String, Totals>,
    /// How many tasks were spawned past Adjourn on the program's executor (`tokio::spawn`) and were alive
    /// at its end, which drops them. They count for nothing else.
    ///
    /// `None` where the executor does not count its tasks (Tokio does), and for an attached program, whose
    /// executor goes on. It is counted in a moment: a task that is ending just then may be among them.
    pub untracked: Option<u64>,
    /// What was alive at the cut-off; the oldest 100.
    pub stragglers: Vec<Straggler>,
    /// All of it by the line that spawned it; at most 100 lines, the first of each scope.
    pub straggler_sites: Vec<Site>,
    /// How many stragglers more there were.
    pub stragglers_omitted: u64,
    /// Graceful work that was cut off at its drain limit; the oldest 100.
    pub overdue: Vec<OverdueTask>,
    /// All of it by the line that spawned it; at most 100 lines, the first of each scope.
    pub overdue_sites: Vec<Site>,
    /// How much more of it there was.
    pub overdue_omitted: u64,
    /// The plain tasks that were alive at such a limit: the work may have waited
    /// for what they held. The oldest 100.
    pub beside_overdue: Vec<Straggler>,
    /// All of them by the line that spawned them; at most 100 lines, the first of each scope.
    pub beside_overdue_sites: Vec<Site>,
    /// How many more of those there were.
    pub beside_overdue_omitted: u64,
    /// What overdue work means for the exit code.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) overdue_policy: Overdue,
    /// The calling thread was stuck past the deadline, so the process was ended.
    pub stuck: bool,
    /// How long the process did not run at all in its stop, where that kept it from its limits:
    /// stopped (SIGSTOP), frozen, or starved for a second or more. Zero else.
    ///
    /// It counts from the limit that passed meanwhile, so it was at least as long.
    pub paused: Duration,
}

impl Report {
    /// Returns the exit code, a function of the report alone.
    ///
    /// The most severe that applies: 128 + the signal's number when forced, 124 with stragglers or
    /// overdue work (as timeout(1)), 101 after a panic (as Rust's own), the code that `main` asked for, 1 after
    /// an error or a failed start, else 0. A stop by a signal that went in order is a success.
    pub fn exit_code(&self) -> u8 {
        if let Some(signal) = self.forced {
            return (128 + signal.as_raw()).clamp(0, 255) as u8;
        }
        let overdue = self.is_overdue() && self.overdue_policy == Overdue::Fails;
        if self.stuck || !self.stragglers.is_empty() || self.stragglers_omitted > 0 || overdue {
            return 124;
        }
        let fatal = |is: fn(FailureKind) -> bool| {
            self.failures.iter().any(|failure| failure.fatal && is(failure.kind))
        };
        if self.omitted_fatal.1 || fatal(FailureKind::is_panic) {
            return 101;
        }
        if let Some(code) = self.main_code.filter(|code| *code != 0) {
            return code;
        }
        let error = self.omitted_fatal.0 || fatal(FailureKind::is_error);
        if error || self.start_error.is_some() {
            return 1;
        }
        0
    }

    /// Counts a failure that is not listed.
    pub(crate) fn omit(&mut self, failure: &Failure) {
        self.failures_omitted += 1;
        self.omitted_fatal.0 |= failure.fatal && failure.kind.is_error();
        self.omitted_fatal.1 |= failure.fatal && failure.kind.is_panic();
        self.omitted_hook |= failure.fatal && failure.kind == FailureKind::HookOverdue;
    }

    /// Returns whether nothing went wrong: the exit code is 0, nothing failed, and no work was overdue.
    pub fn is_clean(&self) -> bool {
        self.exit_code() == 0 && self.failures.is_empty() && !self.is_overdue()
    }

    /// Whether graceful work was cut off at its drain limit, or a hook at its own.
    fn is_overdue(&self) -> bool {
        !self.overdue.is_empty()
            || self.overdue_omitted > 0
            || self.omitted_hook
            || self
                .failures
                .iter()
                .any(|failure| failure.fatal && failure.kind == FailureKind::HookOverdue)
    }

    /// Returns the first cause of the stop.
    pub fn reason(&self) -> Option<&Reason> {
        self.reasons.first().map(|first| &first.what)
    }

    /// Returns the totals of all scopes together.
    pub fn total(&self) -> Totals {
        let mut sum = Totals::default();
        for totals in self.totals.values() {
            sum.add(totals);
        }
        sum
    }
}

#[cfg(test)]
mod tests;
