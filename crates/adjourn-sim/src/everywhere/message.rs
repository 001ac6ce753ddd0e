//! What is said of failures: what failed, where the stop came, the report, how to see it again.

use std::fmt::Write;

use super::attempt::Attempt;
use super::environment::written;
use super::failures::{Failed, Kind};

/// How many points, or ranges of them, are listed.
const MOST_LISTED: usize = 20;

/// What a check is called, and with which options, in source.
pub(crate) struct Call<'a> {
    pub(crate) path: &'a str,
    pub(crate) options: String,
}

/// Tells of all failures, the first with the names that its second run has found.
pub(crate) fn tell(
    call: &Call<'_>,
    kinds: &[Kind],
    omitted: u64,
    runs: u64,
    again: &Attempt,
) -> String {
    let failures = kinds.iter().map(|kind| kind.points.len() as u64).sum::<u64>() + omitted;
    let first = &kinds[0];
    let seed = first.points[0].seed;
    let mut text = String::new();
    // Writing to a string does not fail.
    let free = first.attempt.injected.is_empty();
    let when = if free { "with nothing injected" } else { "when it is stopped" };
    _ = write!(text, "the program fails {when}: {failures} of {runs} ");
    _ = writeln!(text, "{} failed\n", if runs == 1 { "run" } else { "runs" });
    one(&mut text, call, seed, &first.points, &first.attempt, again);
    for kind in &kinds[1..] {
        let Failed { seed, point } = kind.points[0];
        _ = writeln!(text, "\n  also      {}", indent(&kind.said));
        list(&mut text, &kind.points);
        _ = writeln!(text, "  replay    {}.replay({seed}, {point}).check(..)", call.source());
    }
    if omitted > 0 {
        _ = writeln!(text, "\n  also      {omitted} of other kinds");
    }
    text
}

impl Call<'_> {
    fn source(&self) -> String {
        format!("{}::new(){}", self.path, self.options)
    }
}

fn one(
    text: &mut String,
    call: &Call<'_>,
    seed: u64,
    points: &[Failed],
    attempt: &Attempt,
    again: &Attempt,
) {
    let point = points[0].point;
    // The second run has the names, if it went the same way.
    let same = again.fingerprint == attempt.fingerprint;
    let injected = if same { &again.injected } else { &attempt.injected };
    _ = writeln!(text, "  seed      {seed}");
    if injected.is_empty() {
        _ = writeln!(text, "  point     none: it ran to its end, {} polls", attempt.polls);
    }
    for injection in injected {
        let what = match (injection.forces, injection.poll) {
            (true, _) => "forced",
            _ if injected.first() == Some(injection) => "stopped",
            _ => "asked again",
        };
        _ = write!(text, "  {what:<10}");
        match &injection.before {
            Some(step) => {
                let (poll, of, at) = (step.poll, attempt.polls, step.at);
                _ = writeln!(text, "before poll {poll} of {of}, at {at:?}:");
                _ = writeln!(text, "            poll {} of {}", step.nth, step.task);
                if let Some(place) = &injection.stood {
                    _ = writeln!(text, "            which stood at {place}");
                }
            }
            None => {
                let (poll, at) = (injection.poll, injection.at);
                _ = writeln!(text, "before poll {poll} of {}, at {at:?}", attempt.polls);
            }
        }
    }
    for broken in &attempt.broken {
        _ = writeln!(text, "  broken    {}", indent(broken));
    }
    if let Some((panic, place)) = &attempt.panic {
        _ = writeln!(text, "  asserted  {}", indent(panic));
        if let Some(place) = place {
            _ = writeln!(text, "            at {place}");
        }
    }
    for report in &attempt.reports {
        let code = report.exit_code();
        let report = report.to_string();
        _ = writeln!(text, "  report    exit code {code}\n            {}", indent(&report));
    }
    list(text, points);
    _ = writeln!(text, "\n  replay    {}.replay({seed}, {point}).check(..)", call.source());
    let test = std::thread::current().name().filter(|name| *name != "main").map(str::to_owned);
    let test = test.unwrap_or_else(|| "<the test>".to_owned());
    _ = writeln!(text, "         or ADJOURN_SIM_REPLAY={} cargo test {test}", written(seed, point));
    if !again.is_failure() || !same {
        text.push_str(
            "            run again it went another way: the program depends on something beside the\n\
             \x20           simulation, such as the order of a HashMap, a select! that draws its branch,\n\
             \x20           the system's clock or another thread\n",
        );
    }
}

/// Lists points: `0:3..=7` are the stops before polls 3 to 7 with the seed 0.
fn list(text: &mut String, points: &[Failed]) {
    if points.len() < 2 {
        return;
    }
    let mut ranges: Vec<(u64, Vec<u64>, u64)> = Vec::new();
    let mut by_seed = points.to_vec();
    by_seed.sort_by_key(|failed| (failed.point.polls().len(), failed.seed)); // stable
    for failed in by_seed {
        let polls = failed.point.polls();
        if let ([poll], Some((seed, first, last))) = (&polls[..], ranges.last_mut()) {
            if *seed == failed.seed && first.len() == 1 && *last + 1 == *poll {
                *last = *poll;
                continue;
            }
        }
        let last = polls.first().copied().unwrap_or_default();
        ranges.push((failed.seed, polls, last));
    }
    let mut listed: Vec<String> = ranges.iter().take(MOST_LISTED).map(named).collect();
    if ranges.len() > MOST_LISTED {
        listed.push(format!("and {} more", ranges.len() - MOST_LISTED));
    }
    _ = writeln!(text, "  fails at  {} points: {}", points.len(), listed.join(" "));
}

fn named((seed, polls, last): &(u64, Vec<u64>, u64)) -> String {
    match &polls[..] {
        [] => format!("{seed}:none"),
        [first] if first < last => format!("{seed}:{first}..={last}"),
        polls => {
            let polls: Vec<String> = polls.iter().map(u64::to_string).collect();
            format!("{seed}:{}", polls.join(","))
        }
    }
}

/// The lines of a text, below each other. What it has of the user's does not move the terminal's cursor.
fn indent(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| line.replace(char::is_control, " "));
    lines.collect::<Vec<_>>().join("\n            ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_below_each_other_whatever_is_in_them() {
        assert_eq!(indent("left: 1\n right:\x1b[2J\t2\r\n"), "left: 1\n             right: [2J 2");
    }
}
