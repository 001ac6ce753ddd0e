//! The report as people read it. What is in it of the user's, names and messages, is in one line each: none
//! looks like a line of the report's own, and none moves the terminal's cursor.

use std::fmt;

use super::{
    At, Failure, FailureKind, Outcome, OverdueTask, PhaseSpan, Reason, Report, Site, Straggler,
    StragglerState, TaskKind, TaskLabel, TaskReport, Totals,
};
use crate::contract::columns::Line;
use crate::phase::Phase;

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Signal(signal) => signal.fmt(f),
            Reason::Requested(None) => f.write_str("a request"),
            Reason::Requested(Some(why)) => write!(f, "a request: {}", Line(why)),
            Reason::Idle => f.write_str("nothing left to do"),
            Reason::MainReturned => f.write_str("main returned"),
            Reason::MainFailed(why) => write!(f, "main failed: {}", Line(why)),
            Reason::TaskFailed(why) => write!(f, "a task failed: {}", Line(why)),
            Reason::Dropped => f.write_str("its future was dropped"),
        }
    }
}

impl<T: fmt::Display> fmt::Display for At<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.3} s", self.what, self.at.as_secs_f64())
    }
}

impl fmt::Display for PhaseSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {:.3}", self.phase, self.entered.as_secs_f64())?;
        if let Some(left) = self.left {
            write!(f, " to {:.3}", left.as_secs_f64())?;
        }
        f.write_str(" s")?;
        if let Some(limit) = self.limit {
            write!(f, " (limit {:.3} s)", limit.as_secs_f64())?;
        }
        Ok(())
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TaskKind::Plain => "task",
            TaskKind::Graceful => "graceful task",
            TaskKind::Shielded => "shielded task",
            TaskKind::Blocking => "blocking job",
        })
    }
}

impl fmt::Display for TaskLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        write!(f, " of {}, spawned at {}", Line(&self.scope), self.spawned_at)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Outcome::Finished => "finished",
            Outcome::Failed => "failed",
            Outcome::Panicked => "panicked",
            Outcome::Cancelled => "cancelled",
            Outcome::Abandoned => "abandoned",
        })
    }
}

impl fmt::Display for TaskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} at {:.3} s", self.task, self.outcome, self.ended.as_secs_f64())
    }
}

impl fmt::Display for StragglerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            StragglerState::Polling => "inside a poll, blocking its thread",
            StragglerState::Pending => "pending",
            StragglerState::NeverPolled => "never polled",
            StragglerState::Shielded => "pending inside a shield",
            StragglerState::Blocking => "running on a blocking thread",
            StragglerState::Queued => "queued for a blocking thread",
        })
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            FailureKind::MainError => "error",
            FailureKind::MainPanic | FailureKind::TaskPanic => "panic",
            FailureKind::TaskError => "error",
            FailureKind::DestructorPanic => "panic in a destructor",
            FailureKind::HookPanic => "panic in a hook",
            FailureKind::HookError => "error in a hook",
            FailureKind::HookOverdue => "hook cut off",
            FailureKind::CutOff => "cut off",
            FailureKind::ShieldDropped => "dropped half-way",
            FailureKind::Executor => "executor",
            FailureKind::Observer => "observer",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, Line(&self.origin))?;
        for message in &self.messages {
            write!(f, ": {}", Line(message))?;
        }
        Ok(())
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} spawned", self.spawned)?;
        for (count, what) in [
            (self.live, "alive"),
            (self.finished, "finished"),
            (self.failed, "failed"),
            (self.panicked, "panicked"),
            (self.cancelled, "cancelled"),
            (self.abandoned, "abandoned"),
            (self.refused, "refused"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Straggler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.task, self.state)?;
        if let Some(age) = self.age {
            write!(f, ", {:.1} s old", age.as_secs_f64())?;
        }
        Ok(())
    }
}

impl fmt::Display for OverdueTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.task.fmt(f)?;
        if let Some(other) = &self.waiting_for {
            write!(f, "; waiting for {other}")?;
            if other.kind == TaskKind::Plain {
                f.write_str(", which never asks about the stop")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Site { kind, scope, spawned_at, count, oldest } = self;
        let scope = Line(scope);
        write!(f, "{count} x {kind} of {scope}, spawned at {spawned_at}")?;
        if let Some(oldest) = oldest {
            write!(f, ", oldest {:.1} s", oldest.as_secs_f64())?;
        }
        Ok(())
    }
}

/// So many of one line are told by their number, and then the slowest of them one by one.
const CROWD: u64 = 5;
/// How many of a crowd are told one by one.
const SLOWEST: usize = 3;

/// Writes what was alive at a limit: crowds by their line, the rest one by one.
fn crowd<'a>(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    sites: &[Site],
    tasks: impl Iterator<Item = (&'a Straggler, String)>,
    omitted: u64,
) -> fmt::Result {
    let is_of = |site: &Site, task: &TaskLabel| {
        (site.kind, &site.scope, &site.spawned_at) == (task.kind, &task.scope, &task.spawned_at)
    };
    let mut tasks: Vec<_> = tasks.collect();
    let total = tasks.len() as u64 + omitted;
    let mut told = 0;
    for site in sites.iter().filter(|site| site.count >= CROWD) {
        write!(f, "\n  {what:<8} {site}")?;
        told += site.count;
        let (mut of_it, rest) =
            tasks.into_iter().partition::<Vec<_>, _>(|(task, _)| is_of(site, &task.task));
        tasks = rest;
        of_it.sort_by_key(|(task, _)| std::cmp::Reverse(task.age));
        for (_, text) in of_it.iter().take(SLOWEST) {
            write!(f, "\n  {:<8}   {text}", "")?;
        }
    }
    for (_, text) in &tasks {
        write!(f, "\n  {what:<8} {text}")?;
    }
    let more = total.saturating_sub(told + tasks.len() as u64);
    if more > 0 {
        write!(f, "\n  {what:<8} and {more} more")?;
    }
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "the thread that called `run`, past the deadline")
    }
}

/// A report that knows better what is stuck.
pub(crate) struct StuckIn<'a>(pub(crate) &'static str, pub(crate) &'a Report);

impl fmt::Display for StuckIn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StuckIn(what, report) = self;
        report.write(f, what)
    }
}

impl Report {
    /// Writes it, with `what` for the thread that is stuck, should one be.
    fn write(&self, f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        let code = self.exit_code();
        let stuck = |f: &mut fmt::Formatter<'_>| match self.stuck {
            true => write!(f, "\n  stuck    {what}"),
            false => Ok(()),
        };
        if let Some(error) = &self.start_error {
            write!(f, "adjourn: not started: {} (exit code {code})", Line(error))?;
            return stuck(f);
        }
        let end = self.phases.last().map(|span| span.entered).unwrap_or_default();
        write!(f, "adjourn: exit code {code}, ")?;
        match self.forced {
            Some(signal) => write!(f, "forced by {signal}")?,
            None => f.write_str("stopped")?,
        }
        if let Some(first) = self.reasons.first() {
            let took = end.saturating_sub(first.at).as_secs_f64();
            write!(f, " in {took:.3} s; first cause: {}", first.what)?;
        }
        for later in self.reasons.iter().skip(1) {
            write!(f, "\n  later    {}", later.what)?;
        }
        let start = self.reasons.first().map(|first| first.at).unwrap_or_default();
        for span in self.phases.iter().filter(|span| span.left.is_some()) {
            if span.phase == Phase::Running {
                continue;
            }
            let (from, to) = (span.entered, span.left.unwrap_or_default());
            write!(
                f,
                "\n  phase    {} {:.3} to {:.3} s",
                span.phase,
                from.saturating_sub(start).as_secs_f64(),
                to.saturating_sub(start).as_secs_f64(),
            )?;
            if let Some(limit) = span.limit {
                write!(f, " (limit {:.3} s)", limit.saturating_sub(start).as_secs_f64())?;
            }
        }
        if !self.paused.is_zero() {
            let paused = self.paused.as_secs_f64();
            write!(
                f,
                "\n  paused   the process did not run for at least {paused:.1} s of its stop"
            )?;
        }
        stuck(f)?;
        let stragglers = self.stragglers.iter().map(|task| (task, task.to_string()));
        crowd(f, "stuck", &self.straggler_sites, stragglers, self.stragglers_omitted)?;
        let overdue = self.overdue.iter().map(|work| {
            let limit = work.limit.saturating_sub(start).as_secs_f64();
            (&work.task, format!("{work}; past its limit, {limit:.3} s"))
        });
        crowd(f, "overdue", &self.overdue_sites, overdue, self.overdue_omitted)?;
        let beside = self.beside_overdue.iter().map(|task| (task, task.to_string()));
        crowd(f, "beside", &self.beside_overdue_sites, beside, self.beside_overdue_omitted)?;
        for failure in &self.failures {
            write!(f, "\n  failure  {failure}")?;
        }
        if self.failures_omitted > 0 {
            write!(f, "\n  failure  and {} more", self.failures_omitted)?;
        }
        for (name, totals) in &self.totals {
            write!(f, "\n  scope    {}: {totals}", Line(name))?;
        }
        match self.untracked {
            None | Some(0) => {}
            Some(1) => {
                f.write_str("\n  others   1 task spawned past Adjourn was alive at the end")?
            }
            Some(count) => {
                write!(f, "\n  others   {count} tasks spawned past Adjourn were alive at the end")?;
            }
        }
        Ok(())
    }
}
