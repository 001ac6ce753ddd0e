//! The narrator's sentences.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::contract::columns;
use crate::contract::inspect::Status;
use crate::contract::report::{Report, Straggler, TaskLabel};

/// What the line begins with, which has a color.
pub(super) const STOPPING: &str = "Stopping";
pub(super) const ENDED: &str = "Ended by Ctrl-C";
/// The most that is named.
const MOST: usize = 3;
/// The least that is left of a name.
const LEAST: usize = 8;

/// What a stop waits for, in one moment.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    since: Duration,
    left: Option<Duration>,
    reason: String,
    /// The oldest first, many of one name as one.
    names: Vec<String>,
    /// How many there are, named or not.
    count: u64,
    /// What the next Ctrl-C does.
    hint: Option<&'static str>,
}

impl Waiting {
    pub(super) fn new(
        status: &Status,
        mut alive: Vec<Straggler>,
        hooks: Vec<String>,
        since: Duration,
        left: Option<Duration>,
        hint: Option<&'static str>,
    ) -> Waiting {
        let listed = alive.len() as u64;
        let mut count = status.totals.live.max(listed);
        if alive.iter().any(Straggler::is_waited_for) {
            alive.retain(Straggler::is_waited_for);
            if listed == count {
                count = alive.len() as u64;
            }
        }
        // A hook at the stop is a task too.
        let mut names = counted(alive.iter().map(|task| (name(&task.task), task.age)));
        let hooks: Vec<_> = hooks.iter().map(|hook| columns::line(hook)).collect();
        count += hooks.len() as u64;
        names.extend(hooks);
        let reason = status.reason.as_ref().map(ToString::to_string).unwrap_or_default();
        let reason = columns::cut(&columns::line(&reason), 40);
        Waiting { since, left, reason, names, count, hint }
    }

    /// The line on a terminal. It is no wider than the terminal: names are shortened first, and then left
    /// out, never the time or the last sentence.
    pub(super) fn line(&self, width: usize) -> String {
        let room = width.saturating_sub(1); // a full line wraps on some
        let mut head = STOPPING.to_owned();
        if let Some(left) = self.left {
            head += &format!(", at most {} s", left.as_millis().div_ceil(1_000));
        }
        let tail = self.hint.map(|hint| format!(" {hint}")).unwrap_or_default();
        let fits = |line: &String| columns::width(line) <= room;
        let mut lines = Vec::new();
        if self.count > 0 {
            let head = format!("{head}: waiting for ");
            lines.extend(fitted(&head, &self.names, self.count, &format!(".{tail}"), room));
            lines.push(format!("{head}{}.{tail}", self.count));
        }
        lines.push(format!("{head}.{tail}"));
        lines.push(match self.left {
            Some(left) => format!("{} s.{tail}", left.as_millis().div_ceil(1_000)),
            None => tail.trim_start().to_owned(),
        });
        lines.into_iter().find(fits).unwrap_or_default()
    }

    /// The line where there is no terminal.
    pub(super) fn log_line(&self) -> String {
        let mut line =
            format!("adjourn: stopping for {:.1} s ({})", self.since.as_secs_f64(), self.reason);
        if let Some(left) = self.left {
            line += &format!(", at most {:.1} s more", left.as_secs_f64());
        }
        if self.count > 0 {
            line += &format!("; waiting for {}: {}", self.count, self.names());
        }
        line + "\n"
    }

    /// The first of them: `http/GET /export, mailer/flush and 2 more`.
    pub(super) fn names(&self) -> String {
        joined(&self.names, self.count, MOST, 100)
    }
}

/// What a person is told who has ended the program: what had not finished.
pub(super) fn of_the_end(report: &Report, width: usize) -> String {
    let room = width.saturating_sub(1);
    let start = report.reasons.first().map(|first| first.at).unwrap_or_default();
    let end = report.phases.last().map(|last| last.entered).unwrap_or_default();
    let head = format!("{ENDED} after {:.1} s.", end.saturating_sub(start).as_secs_f64());
    let tail = format!(" Exit code {}.", report.exit_code());
    let names = counted(report.stragglers.iter().map(|task| (name(&task.task), task.age)));
    let count = report.stragglers.len() as u64 + report.stragglers_omitted;
    if count > 0 {
        let named = format!("{head} Not finished: ");
        if let Some(line) = fitted(&named, &names, count, &format!(".{tail}"), room) {
            return line;
        }
    }
    head + &tail
}

/// A task as people call it: `http/GET /export`, or the line that spawned it: `http/main.rs:12`.
fn name(task: &TaskLabel) -> String {
    let scope = task.scope.strip_prefix("root/").unwrap_or(&task.scope);
    let scope = if scope == "root" { String::new() } else { format!("{scope}/") };
    let file = || {
        let file = task.spawned_at.rsplit(['/', '\\']).next().unwrap_or_default();
        file.rsplit_once(':').map_or(file, |(line, _)| line).to_owned()
    };
    columns::line(&format!("{scope}{}", task.name.clone().unwrap_or_else(file)))
}

/// Many of one name as one, the oldest first.
fn counted(tasks: impl Iterator<Item = (String, Option<Duration>)>) -> Vec<String> {
    let mut names: BTreeMap<String, (u64, Option<Duration>)> = BTreeMap::new();
    for (name, age) in tasks {
        let (count, oldest) = names.entry(name).or_default();
        *count += 1;
        *oldest = (*oldest).max(age);
    }
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_key(|(_, (_, oldest))| std::cmp::Reverse(*oldest));
    let told = |(name, (count, _))| if count == 1 { name } else { format!("{count} of {name}") };
    names.into_iter().map(told).collect()
}

/// The first so many, each in so many columns, and how many more there are.
fn joined(names: &[String], count: u64, most: usize, each: usize) -> String {
    let shown: Vec<_> = names.iter().take(most).map(|name| columns::cut(name, each)).collect();
    let told: u64 = names.iter().take(most).map(|name| many(name)).sum();
    let more = match count.saturating_sub(told) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", shown.join(", "))
}

/// As many names between `head` and `tail` as there is room for, each with as much of it as fits.
fn fitted(head: &str, names: &[String], count: u64, tail: &str, room: usize) -> Option<String> {
    (1..=names.len().min(MOST)).rev().find_map(|most| {
        let whole = |each| format!("{head}{}{tail}", joined(names, count, most, each));
        let widest = names.iter().take(most).map(|name| columns::width(name)).max()?;
        (LEAST.min(widest)..=widest).rev().map(whole).find(|line| columns::width(line) <= room)
    })
}

/// How many a name stands for.
fn many(name: &str) -> u64 {
    name.split_once(" of ").and_then(|(count, _)| count.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::report::{Outcome, Reason, StragglerState, TaskKind, Totals};
    use crate::phase::Phase;
    use crate::process::signal::Signal;

    const AGAIN: Option<&str> = Some("Ctrl-C again ends it now.");

    fn task(kind: TaskKind, scope: &str, name: &str, age: u64) -> Straggler {
        let task = TaskLabel {
            name: (!name.is_empty()).then(|| name.to_owned()),
            scope: scope.to_owned(),
            kind,
            spawned_at: "src/http.rs:88:14".to_owned(),
        };
        Straggler { task, age: Some(Duration::from_secs(age)), state: StragglerState::Pending }
    }

    fn waiting(alive: Vec<Straggler>, left: Option<u64>, hint: Option<&'static str>) -> Waiting {
        let live = alive.len() as u64;
        let status = Status {
            backend: "nowhere",
            phase: Phase::Draining,
            ready: false,
            uptime: Duration::from_secs(60),
            reason: Some(Reason::Signal(Signal::TERMINATE)),
            time_left: None,
            totals: Totals { live, ..Totals::default() },
            failures: 0,
        };
        let left = left.map(Duration::from_millis);
        Waiting::new(&status, alive, Vec::new(), Duration::from_secs(10), left, hint)
    }

    fn four() -> Vec<Straggler> {
        vec![
            task(TaskKind::Graceful, "root/http", "GET /export", 40),
            task(TaskKind::Shielded, "root/mailer", "flush", 30),
            task(TaskKind::Graceful, "root/http", "GET /", 2),
            task(TaskKind::Blocking, "root", "", 1),
            task(TaskKind::Plain, "root", "main", 60),
        ]
    }

    #[test]
    fn the_line_names_who_is_waited_for() {
        let line = |width| waiting(four(), Some(17_001), AGAIN).line(width);
        assert_eq!(
            line(200),
            "Stopping, at most 18 s: waiting for http/GET /export, mailer/flush, http/GET / and 1 more. \
             Ctrl-C again ends it now."
        );
        // Who is cancelled as soon as the others are gone is not waited for.
        assert!(!line(200).contains("main"));
        let plain = waiting(four().split_off(4), None, None);
        assert_eq!(plain.line(80), "Stopping: waiting for main.");
        let nobody = waiting(Vec::new(), Some(1), None);
        assert_eq!(nobody.line(80), "Stopping, at most 1 s.");
    }

    #[test]
    fn names_are_shortened_first_and_never_the_time_or_the_last_sentence() {
        let waits = waiting(four(), Some(18_000), AGAIN);
        for width in 35..200 {
            let line = waits.line(width);
            assert!(columns::width(&line) < width, "{width}: {line}");
            assert!(line.contains("18 s") && line.ends_with("Ctrl-C again ends it now."), "{line}");
        }
        assert_eq!(
            waits.line(105),
            "Stopping, at most 18 s: waiting for http/G…, mailer…, http/G… and 1 more. Ctrl-C \
             again ends it now."
        );
        assert_eq!(
            waits.line(90),
            "Stopping, at most 18 s: waiting for http/GET /exp… and 3 more. Ctrl-C again ends it now."
        );
        assert_eq!(
            waits.line(80),
            "Stopping, at most 18 s: waiting for 4. Ctrl-C again ends it now."
        );
        assert_eq!(waits.line(60), "Stopping, at most 18 s. Ctrl-C again ends it now.");
        assert_eq!(waits.line(40), "18 s. Ctrl-C again ends it now.");
        assert_eq!(waits.line(0), "");
    }

    #[test]
    fn many_of_one_name_are_one() {
        let mut many: Vec<_> =
            (0..500).map(|_| task(TaskKind::Graceful, "root/http", "", 1)).collect();
        many.push(task(TaskKind::Graceful, "root/http", "slow\x1b[2J", 9));
        let waits = waiting(many, Some(5_500), None);
        assert_eq!(waits.names(), "http/slow [2J, 500 of http/http.rs:88");
        assert_eq!(
            waits.log_line(),
            "adjourn: stopping for 10.0 s (SIGTERM), at most 5.5 s more; waiting for 501: \
             http/slow [2J, 500 of http/http.rs:88\n"
        );
    }

    #[test]
    fn the_last_line_says_what_had_not_finished() {
        use crate::contract::report::{At, PhaseSpan};
        let at = Duration::from_millis(7_600);
        let forced = PhaseSpan {
            phase: Phase::Forced,
            entered: at + Duration::from_millis(2_400),
            left: None,
            limit: None,
        };
        let mut report = Report {
            reasons: vec![At { at, what: Reason::Signal(Signal::INTERRUPT) }],
            phases: vec![forced],
            forced: Some(Signal::INTERRUPT),
            main: Some(Outcome::Cancelled),
            ..Report::default()
        };
        assert_eq!(of_the_end(&report, 80), "Ended by Ctrl-C after 2.4 s. Exit code 130.");
        report.stragglers = four();
        assert_eq!(
            of_the_end(&report, 120),
            "Ended by Ctrl-C after 2.4 s. Not finished: main, http/GET /export, mailer/flush and 2 more. \
             Exit code 130."
        );
        for width in 40..150 {
            let line = of_the_end(&report, width);
            assert!(columns::width(&line) < width.max(44), "{line}");
            assert!(line.ends_with("Exit code 130."), "{line}");
        }
    }
}
