//! A stop as a picture: who took how long, the slowest first.

mod svg;
mod text;

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use super::{HookReport, Outcome, Report, ScopeReport, TaskKind, TaskLabel, TaskReport};
use crate::contract::columns;
use crate::phase::Phase;

/// So many scopes, hooks and tasks have a row each, at the most.
const MOST: [usize; 3] = [10, 10, 12];
/// A task that was over in a smaller part of the stop than a tenth is not slow.
const SLOW: u32 = 10;

/// The stop of a program as a picture. From [`Report::timeline`].
///
/// [`Display`](fmt::Display) is text for a terminal of 80 columns, [`to_svg`](Timeline::to_svg) the same
/// for a page.
#[derive(Clone, Debug)]
pub struct Timeline {
    title: String,
    span: Duration,
    phases: Vec<(Phase, Duration, Duration)>,
    /// The slowest first.
    rows: Vec<Row>,
    /// What has no row.
    more: Vec<String>,
}

/// A scope, hook or task. All times count from the stop request.
#[derive(Clone, Debug)]
struct Row {
    what: What,
    name: String,
    /// Of what kind it is.
    about: String,
    /// The line that it comes from.
    place: Option<String>,
    /// What it is until it is cancelled.
    from: Duration,
    /// From here on it is being cancelled, or closed.
    cancelled: Option<Duration>,
    to: Duration,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Scope,
    Hook,
    Task(TaskKind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Ended,
    Cancelled,
    Failed,
    /// It was still there at the program's end.
    NotOver,
}

impl Report {
    /// Returns a picture of the stop, from the request to the end: phases, and a row for each scope, hook
    /// and slow task, the slowest first. Who is to blame for a slow stop is on top.
    ///
    /// At most 10 scopes, 10 hooks and 12 tasks have a row, and no task that took less than a tenth of the
    /// stop. The others are counted and the slowest of them is named. Without a stop there is nothing to see, and it says so.
    pub fn timeline(&self) -> Timeline {
        let start = self.reasons.first().map(|first| first.at);
        let end = self.phases.last().map(|last| last.entered).filter(|end| Some(*end) >= start);
        let (Some(start), Some(end)) = (start, end) else {
            let title = "There was no stop.".to_owned();
            let (phases, rows, more) = Default::default();
            return Timeline { title, span: Duration::ZERO, phases, rows, more };
        };
        let span = end - start;
        let since = Since { start, end };
        let mut timeline = Timeline {
            title: self.title(span),
            span,
            phases: Vec::new(),
            rows: Vec::new(),
            more: Vec::new(),
        };
        for phase in self.phases.iter().filter(|phase| phase.phase > Phase::Running) {
            if let Some(left) = phase.left {
                timeline.phases.push((phase.phase, since.at(phase.entered), since.at(left)));
            }
        }
        let scopes = self.scopes.iter().map(|scope| since.scope(scope)).collect();
        let hooks = self.hooks.iter().map(|hook| since.hook(hook)).collect();
        let tasks = self.tasks.iter().map(|task| since.task(task)).collect();
        let unlisted = self.alive_at_stop.saturating_sub(self.tasks.len() as u64);
        timeline.add(MOST[0], "scope", scopes, self.scopes_omitted);
        timeline.add(MOST[1], "hook", hooks, self.hooks_omitted);
        timeline.add(MOST[2], "task", tasks, unlisted);
        timeline.rows.sort_by_key(Row::slowness);
        timeline
    }

    fn title(&self, span: Duration) -> String {
        let cause = self.reason().map(ToString::to_string).unwrap_or_default();
        let cause = columns::cut(&columns::line(&cause), 40);
        let forced = self.forced.map(|signal| format!(", forced by {signal}")).unwrap_or_default();
        let code = self.exit_code();
        format!("Stopped in {} ({cause}){forced}, exit code {code}", seconds(span))
    }
}

impl Timeline {
    /// Adds the slowest, and counts the others.
    fn add(&mut self, most: usize, what: &str, mut rows: Vec<Row>, omitted: u64) {
        rows.sort_by_key(Row::slowness);
        let is_slow = |row: &Row| !matches!(row.what, What::Task(_)) || row.to >= self.span / SLOW;
        let slow = rows.iter().take(most).take_while(|row| is_slow(row)).count();
        let rest = rows.split_off(slow);
        self.rows.extend(rows);
        let count = rest.len() as u64 + omitted;
        if count > 0 {
            let s = if count == 1 { "" } else { "s" };
            let slowest = rest.first().map(|row| {
                let verb = if row.end == End::NotOver { "not over after" } else { "over after" };
                format!(", the slowest of them {}, {verb} {}", row.name, seconds(row.to))
            });
            self.more.push(format!("and {count} more {what}{s}{}", slowest.unwrap_or_default()));
        }
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(self, f)
    }
}

impl Row {
    fn slowness(&self) -> (Reverse<Duration>, Reverse<End>) {
        let to = if self.end == End::NotOver { Duration::MAX } else { self.to };
        (Reverse(to), Reverse(self.end))
    }
}

/// The stop that times are counted from.
struct Since {
    start: Duration,
    end: Duration,
}

impl Since {
    fn at(&self, at: Duration) -> Duration {
        at.min(self.end).saturating_sub(self.start)
    }

    fn scope(&self, scope: &ScopeReport) -> Row {
        let late = scope.cancelled.zip(scope.drain_limit).is_some_and(|(at, limit)| at >= limit);
        Row {
            what: What::Scope,
            name: columns::line(&scope.scope),
            about: if late { "scope, cancelled at its drain limit" } else { "scope" }.to_owned(),
            place: None,
            from: self.at(scope.told.or(scope.ended).unwrap_or(self.end)),
            cancelled: scope.cancelled.map(|at| self.at(at)),
            to: self.at(scope.ended.unwrap_or(self.end)),
            end: if scope.ended.is_some() { End::Ended } else { End::NotOver },
        }
    }

    fn hook(&self, hook: &HookReport) -> Row {
        Row {
            what: What::Hook,
            name: format!("{} of {}", hook.hook, columns::line(&hook.scope)),
            about: "hook".to_owned(),
            place: Some(columns::line(&hook.registered_at)),
            from: self.at(hook.began),
            cancelled: None,
            to: self.at(hook.ended.unwrap_or(self.end)),
            end: end(&hook.outcome),
        }
    }

    fn task(&self, task: &TaskReport) -> Row {
        let TaskLabel { name, scope, kind, spawned_at } = &task.task;
        let file = || spawned_at.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
        let name = format!("{scope}/{}", name.clone().unwrap_or_else(file));
        Row {
            what: What::Task(*kind),
            name: columns::line(&name),
            about: kind.to_string(),
            place: Some(columns::line(spawned_at)),
            from: Duration::ZERO,
            cancelled: task.cancelled.map(|at| self.at(at)),
            to: self.at(task.ended),
            end: end(&task.outcome),
        }
    }
}

fn end(outcome: &Outcome) -> End {
    match outcome {
        Outcome::Finished => End::Ended,
        Outcome::Failed | Outcome::Panicked => End::Failed,
        Outcome::Cancelled => End::Cancelled,
        Outcome::Abandoned => End::NotOver,
    }
}

fn seconds(span: Duration) -> String {
    format!("{:.3} s", span.as_secs_f64())
}

/// The times that the axis names: multiples of 1, 2 or 5 times a power of ten, at most so many.
fn ticks(span: Duration, most: u128) -> Vec<Duration> {
    let span = span.as_nanos();
    let mut step = 1_000; // a microsecond
    for factor in [2, 5, 10].into_iter().cycle() {
        if span / step < most {
            break;
        }
        let power = 10_u128.pow(step.ilog10());
        step = power * factor;
    }
    let count = span / step;
    (0..=count).map(|tick| Duration::from_nanos((tick * step) as u64)).collect()
}

/// A time of the axis: `0`, `200 ms`, `4 s`.
fn tick(at: Duration) -> String {
    match at.as_nanos() {
        0 => "0".to_owned(),
        nanos if nanos % 1_000_000_000 == 0 => format!("{} s", at.as_secs()),
        nanos if nanos % 100_000_000 == 0 => format!("{:.1} s", at.as_secs_f64()),
        nanos if nanos % 1_000_000 == 0 => format!("{} ms", at.as_millis()),
        _ => format!("{} us", at.as_micros()),
    }
}

#[cfg(test)]
mod tests;
