//! Stops at every poll of a program.

use std::any::Any;
use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use adjourn_core::Report;

use crate::invariants::violations;
use crate::observe::{Injection, Observer, Plan};
use crate::point::Point;
use crate::sim::Sim;

/// Stops a program at every poll; see [`stop_everywhere`].
///
/// # Examples
///
/// ```
/// use adjourn_core::spawn;
/// use adjourn_sim::{Runner, StopEverywhere};
///
/// let coverage = StopEverywhere::new().seeds(0..4).pairs(200).check(|sim| {
///     let exit = sim.run(Runner::new(), async { spawn(async {}); });
///     assert!(exit.report().failures.is_empty());
/// });
/// assert_eq!(coverage.seeds, 4);
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing runs until check is called"]
pub struct StopEverywhere {
    seeds: Vec<u64>,
    most_polls: u64,
    most_pairs: u64,
    ends: Option<Duration>,
    only: Option<Point>,
    sim: Sim,
}

/// What was covered: from [`StopEverywhere::check`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coverage {
    /// Seeds, each with runs of its own.
    pub seeds: u64,
    /// Runs of the program, all together.
    pub runs: u64,
    /// Points at which one stop was injected: every poll, of all seeds together.
    pub stops: u64,
    /// Pairs at which a stop and a second signal were injected.
    pub pairs: u64,
    /// How many pairs there are; more than were run when they were sampled.
    pub pairs_of: u64,
    /// Seeds with which the program did not end by itself within the limit of polls: later polls
    /// were not stopped at.
    pub cut: u64,
    /// Seeds with which two runs without a stop differed: the program depends on something other
    /// than the simulation, and a failure may not come again when it is replayed.
    pub unsteady: u64,
}

impl Coverage {
    /// Returns whether every poll and every pair was covered.
    pub fn is_complete(&self) -> bool {
        self.pairs == self.pairs_of && self.cut == 0
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} runs: stopped at {} polls and {}", self.runs, self.stops, self.pairs)?;
        if self.pairs < self.pairs_of {
            write!(f, " of {}", self.pairs_of)?;
        }
        f.write_str(" pairs")?;
        if self.pairs < self.pairs_of {
            f.write_str(" (sampled)")?;
        }
        if self.seeds > 1 {
            write!(f, ", with {} seeds", self.seeds)?;
        }
        if self.cut > 0 {
            write!(f, "; {} not to their end, for the limit of polls", self.cut)?;
        }
        if self.unsteady > 0 {
            write!(f, "; {} not the same when run again", self.unsteady)?;
        }
        Ok(())
    }
}

/// Where programs run and are watched.
pub(crate) trait Lab: Clone {
    fn observer(&self) -> Arc<Observer>;

    /// The reports so far, with the exit codes that came out.
    fn exits(&self) -> Vec<(Report, u8)> {
        self.observer().exits()
    }
}

impl Lab for Sim {
    fn observer(&self) -> Arc<Observer> {
        Sim::observer(self)
    }
}

/// One run and what came of it.
struct Attempt {
    /// What the user's assertion said.
    panic: Option<String>,
    /// Which of our own promises were broken.
    broken: Vec<String>,
    polls: u64,
    fingerprint: u64,
    cut: bool,
    injected: Vec<Injection>,
    reports: Vec<Report>,
}

impl StopEverywhere {
    /// One seed (0), at most 2,000 polls a run and 1,000 pairs.
    pub fn new() -> StopEverywhere {
        StopEverywhere {
            seeds: vec![0],
            most_polls: 2_000,
            most_pairs: 1_000,
            ends: None,
            only: None,
            sim: Sim::new(),
        }
    }

    /// The seeds, each of which is a schedule of its own. Default: 0 alone.
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = u64>) -> StopEverywhere {
        self.seeds = seeds.into_iter().collect();
        self
    }

    /// How many polls a run may have before it is asked to stop, for a program that does not end by
    /// itself. Default: 2,000.
    pub fn polls(mut self, most: u64) -> StopEverywhere {
        self.most_polls = most;
        self
    }

    /// How many pairs of polls are run for each seed; where there are more, as many are sampled,
    /// evenly. Default: 1,000. 0 injects no second signal.
    pub fn pairs(mut self, most: u64) -> StopEverywhere {
        self.most_pairs = most;
        self
    }

    /// The second of a pair is no SIGINT that forces the end, but says that the process is ended after
    /// `span`, as where a console is closed: [`Stopper::stop_within`](adjourn_core::Stopper::stop_within).
    pub fn ends_within(mut self, span: Duration) -> StopEverywhere {
        self.ends = Some(span);
        self
    }

    /// The simulation that runs start from: its order of polls, faults and jumps. Its seed is not
    /// used.
    pub fn on(mut self, sim: Sim) -> StopEverywhere {
        self.sim = sim;
        self
    }

    /// Runs one point of one seed alone, as a failure's message says: for a debugger, or until it
    /// passes.
    pub fn replay(mut self, seed: u64, point: impl Into<Point>) -> StopEverywhere {
        self.seeds = vec![seed];
        self.only = Some(point.into());
        self
    }

    /// Runs `test` again and again; see [`stop_everywhere`].
    ///
    /// # Panics
    ///
    /// When a run fails, with the message that says which.
    #[track_caller]
    pub fn check(&self, test: impl Fn(Sim)) -> Coverage {
        self.explore("", |seed, plan| self.sim.clone().exploring(seed, plan), test)
    }

    #[track_caller]
    pub(crate) fn explore<L: Lab>(
        &self,
        module: &str,
        lab: impl Fn(u64, Plan) -> L,
        test: impl Fn(L),
    ) -> Coverage {
        let mut coverage = Coverage::default();
        for &seed in &self.seeds {
            coverage.seeds += 1;
            let attempt = |point: Point| {
                let plan = Plan {
                    inject: point.polls(),
                    ends: self.ends,
                    explore: Some(self.most_polls),
                    trace: false,
                };
                let attempt = run(&lab, &test, seed, plan.clone());
                if attempt.is_failure() {
                    let again = run(&lab, &test, seed, Plan { trace: true, ..plan });
                    let how = Replay { module, seed, point, ends: self.ends };
                    panic!("{}", tell(&how, &attempt, &again));
                }
                attempt
            };
            if let Some(point) = self.only {
                _ = attempt(point);
                coverage.runs += 1;
                continue;
            }
            let free = attempt(Point::NONE);
            let again = attempt(Point::NONE);
            coverage.runs += 2;
            coverage.cut += u64::from(free.cut);
            coverage.unsteady += u64::from(free.fingerprint != again.fingerprint);
            // Where nothing could go on, a stop was injected already: there is no point after it.
            let last = free.injected.first().map_or(free.polls, |first| first.poll);
            // For each point the polls that come after it.
            let mut after = Vec::new();
            for stop in 1..=last {
                let stopped = attempt(Point::from(stop));
                after.push(stopped.polls.saturating_sub(stop));
                coverage.runs += 1;
                coverage.stops += 1;
            }
            if self.most_pairs == 0 {
                continue;
            }
            let all: u64 = after.iter().sum();
            coverage.pairs_of += all;
            let count = all.min(self.most_pairs);
            let (mut stop, mut before) = (0, 0);
            for sample in 0..count {
                let index = (u128::from(sample) * u128::from(all) / u128::from(count)) as u64;
                while index >= before + after[stop] {
                    before += after[stop];
                    stop += 1;
                }
                let first = stop as u64 + 1;
                _ = attempt(Point::from((first, first + 1 + (index - before))));
                coverage.runs += 1;
                coverage.pairs += 1;
            }
        }
        coverage
    }
}

impl Default for StopEverywhere {
    fn default() -> StopEverywhere {
        StopEverywhere::new()
    }
}

impl Attempt {
    fn is_failure(&self) -> bool {
        self.panic.is_some() || !self.broken.is_empty()
    }
}

fn run<L: Lab>(lab: &impl Fn(u64, Plan) -> L, test: &impl Fn(L), seed: u64, plan: Plan) -> Attempt {
    let planned = plan.inject.clone();
    let lab = lab(seed, plan);
    let outcome = catch_unwind(AssertUnwindSafe(|| test(lab.clone())));
    let observer = lab.observer();
    let mut broken = observer.problems();
    let exits = lab.exits();
    let injected = observer.injected();
    for (report, code) in &exits {
        broken.extend(violations(report));
        if report.exit_code() != *code {
            let from = report.exit_code();
            broken.push(format!("the exit code is {code}, from a report that says {from}"));
        }
    }
    if outcome.is_ok() && exits.is_empty() {
        broken.push("the test ran no program: it has to call run on what it is given".to_owned());
    }
    let stopped = |(report, _): &(Report, u8)| !report.reasons.is_empty();
    let started = exits.iter().all(|(report, _)| report.start_error.is_none());
    if started && !planned.is_empty() && !injected.is_empty() && !exits.iter().any(stopped) {
        broken.push("it was asked to stop, and its report has no cause".to_owned());
    }
    Attempt {
        panic: outcome.err().map(|payload| panic_text(&*payload)),
        broken,
        polls: observer.polls(),
        fingerprint: observer.fingerprint(),
        cut: observer.was_cut(),
        injected,
        reports: exits.into_iter().map(|(report, _)| report).collect(),
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a text".to_owned())
}

/// How a run is made again.
struct Replay<'a> {
    module: &'a str,
    seed: u64,
    point: Point,
    ends: Option<Duration>,
}

/// What is said of a failure: what failed, where the stop came, the report, how to see it again.
fn tell(how: &Replay<'_>, attempt: &Attempt, again: &Attempt) -> String {
    let Replay { module, seed, point, ends } = *how;
    let mut text = String::new();
    // Writing to a string does not fail.
    _ = writeln!(text, "the program fails when it is stopped like this:\n");
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
                _ = writeln!(
                    text,
                    "before poll {} of {}, at {:?}:",
                    step.poll, attempt.polls, step.at
                );
                _ = writeln!(text, "            poll {} of {}", step.nth, step.task);
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
    if let Some(panic) = &attempt.panic {
        _ = writeln!(text, "  asserted  {}", indent(panic));
    }
    for report in &attempt.reports {
        let code = report.exit_code();
        _ = writeln!(
            text,
            "  report    exit code {code}\n            {}",
            indent(&report.to_string())
        );
    }
    let name = if module.is_empty() { "check" } else { module };
    let ends = ends
        .map(|span| format!(".ends_within(Duration::from_nanos({}))", span.as_nanos()))
        .unwrap_or_default();
    _ = writeln!(
        text,
        "\n  replay    StopEverywhere::new(){ends}.replay({seed}, {point}).{name}(..)"
    );
    if !again.is_failure() || !same {
        text.push_str(
            "            run again it went another way: the program depends on something beside the\n\
             \x20           simulation, such as the order of a HashMap, a select! that draws its branch,\n\
             \x20           the system's clock or another thread\n",
        );
    }
    text
}

fn indent(text: &str) -> String {
    text.trim_end().replace('\n', "\n            ")
}

/// Runs `test` once to count its polls, then again with a stop injected before each of them, then
/// with a second, forcing signal at pairs of them.
///
/// `test` is given a simulation. It sets up its state, runs a program on it with
/// [`Sim::run`], and asserts what has to hold whenever the program is stopped. After each run
/// Adjourn's own promises are checked too: the report's [invariants](violations), the deadline, the
/// immediate end after the second signal, no deadlock.
///
/// The stop is SIGINT, or a request where the program does not listen to that. The second signal is
/// a SIGINT later than the debounce: by default it forces the end, at which shields and hooks are
/// cut off too. An assertion that does not hold then asks `exit.report().forced`.
///
/// A program that does not end by itself is asked to stop once nothing in it can go on, or after a
/// number of polls ([`StopEverywhere::polls`]). Pairs are sampled beyond a number
/// ([`StopEverywhere::pairs`]). The [`Coverage`] that is returned says so; [`StopEverywhere`] has
/// these limits, and more schedules by seed.
///
/// # Panics
///
/// When an assertion or an invariant fails. The message has the seed, the injection point with its
/// poll and task, the report, and the call that replays it.
///
/// # Examples
///
/// ```
/// use adjourn_core::Scope;
/// use adjourn_sim::{Runner, stop_everywhere};
/// use std::time::Duration;
///
/// let coverage = stop_everywhere(|sim| {
///     let exit = sim.run(Runner::new(), async {
///         Scope::current().sleep(Duration::from_secs(3600)).await;
///     });
///     assert!(exit.report().stragglers.is_empty());
/// });
/// assert!(coverage.is_complete());
/// ```
#[track_caller]
pub fn stop_everywhere(test: impl Fn(Sim)) -> Coverage {
    StopEverywhere::new().check(test)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Runner;

    /// A simulation whose reports were tampered with.
    #[derive(Clone)]
    struct Tampered(Sim, fn(&mut (Report, u8)));

    impl Lab for Tampered {
        fn observer(&self) -> Arc<Observer> {
            self.0.observer()
        }

        fn exits(&self) -> Vec<(Report, u8)> {
            let mut exits = self.0.exits();
            exits.iter_mut().for_each(self.1);
            exits
        }
    }

    fn check(change: fn(&mut (Report, u8))) -> Result<Coverage, String> {
        let lab = |seed, plan| Tampered(Sim::new().exploring(seed, plan), change);
        let test = |lab: Tampered| _ = lab.0.run(Runner::new(), async {});
        let check = || StopEverywhere::new().explore("", lab, test);
        catch_unwind(AssertUnwindSafe(check)).map_err(|payload| panic_text(&*payload))
    }

    #[test]
    fn a_report_that_breaks_a_promise_fails_the_check() {
        assert!(check(|_| {}).is_ok());
        let broken = check(|(report, _)| report.phases[0].left = None).unwrap_err();
        assert!(broken.contains("broken    Running did not end when"), "{broken}");
        let broken = check(|(_, code)| *code = 7).unwrap_err();
        assert!(broken.contains("broken    the exit code is 7"), "{broken}");
        let broken = check(|(report, _)| report.reasons.clear()).unwrap_err();
        assert!(broken.contains("broken"), "{broken}");
    }
}
