//! Stops at every poll of a program.

mod attempt;
mod coverage;
mod environment;
mod explore;
mod failures;
mod message;

use std::sync::Arc;
use std::time::Duration;

use adjourn_core::Report;

pub use self::coverage::Coverage;

use self::attempt::Rules;
use self::environment::Environment;
use self::explore::Exploration;
use self::message::{Call, tell};
use crate::observe::{Observer, Plan};
use crate::point::Point;
use crate::sim::Sim;

/// The limit of time of a check.
const TIME: Duration = Duration::from_secs(30);

/// Stops a program at every poll, on the simulated executor; see [`stop_everywhere`].
pub type StopEverywhere = Everywhere<Sim>;

/// Stops a program at every poll; see [`stop_everywhere`]. Made as [`StopEverywhere`], or as
/// `tokio::StopEverywhere` on Tokio's paused clock.
///
/// # Environment
///
/// | variable | for all checks in the process |
/// |---|---|
/// | `ADJOURN_SIM_SEED` | these [seeds](Everywhere::seeds): `7`, or `0..100` |
/// | `ADJOURN_SIM_REPLAY` | this [point](Everywhere::replay) alone: `0:3`, `0:3,5` or `0:none`, the seed first |
/// | `ADJOURN_SIM_BUDGET` | this [limit of time](Everywhere::time), in seconds |
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
pub struct Everywhere<L> {
    seeds: Vec<u64>,
    most_polls: u64,
    most_pairs: u64,
    time: Duration,
    ends: Option<Duration>,
    only: Option<(u64, Point)>,
    complete: bool,
    rules: Rules,
    lab: L,
}

/// Where programs run and are watched.
pub trait Lab: Clone {
    /// What the check on it is called in source.
    const CALL: &'static str;

    /// One run of an exploration.
    fn exploring(&self, seed: u64, plan: Plan) -> Self;

    fn observer(&self) -> Arc<Observer>;

    /// The reports so far, with the exit codes that came out.
    fn exits(&self) -> Vec<(Report, u8)> {
        self.observer().exits()
    }
}

impl Lab for Sim {
    const CALL: &'static str = "StopEverywhere";

    fn exploring(&self, seed: u64, plan: Plan) -> Sim {
        self.clone().explored(seed, plan)
    }

    fn observer(&self) -> Arc<Observer> {
        Sim::observer(self)
    }
}

impl Everywhere<Sim> {
    /// One seed (0), at most 2,000 stops, 1,000 pairs and 30 s.
    pub fn new() -> StopEverywhere {
        Everywhere::with(Sim::new())
    }

    /// The seeds, each of which is a schedule of its own. Default: 0 alone.
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = u64>) -> StopEverywhere {
        self.seeds = seeds.into_iter().collect();
        self
    }

    /// The simulation that runs start from: its order of polls, faults and jumps. Its seed is not
    /// used.
    pub fn on(mut self, sim: Sim) -> StopEverywhere {
        self.lab = sim;
        self
    }
}

impl<L: Lab> Everywhere<L> {
    pub(crate) fn with(lab: L) -> Everywhere<L> {
        Everywhere {
            seeds: vec![0],
            most_polls: 2_000,
            most_pairs: 1_000,
            time: TIME,
            ends: None,
            only: None,
            complete: false,
            rules: Rules::default(),
            lab,
        }
    }

    /// How many polls of a run are stopped at, for each seed. Default: 2,000.
    ///
    /// Of a longer program as many are sampled, evenly over all of it. One that does not end by
    /// itself, within 50 times as many polls, is stopped at its first ones.
    pub fn polls(mut self, most: u64) -> Everywhere<L> {
        self.most_polls = most;
        self
    }

    /// How many pairs of polls are run for each seed; where there are more, as many are sampled,
    /// evenly. Default: 1,000. 0 injects no second signal.
    pub fn pairs(mut self, most: u64) -> Everywhere<L> {
        self.most_pairs = most;
        self
    }

    /// How long the check may take, in real time; a run that has begun is ended. Default: 30 s.
    ///
    /// Points are run in an order of which each beginning is spread over the program: the first
    /// half of them is every second one. What was covered when the time was over is in the
    /// [`Coverage`], and a line on standard error says it.
    pub fn time(mut self, most: Duration) -> Everywhere<L> {
        self.time = most;
        self
    }

    /// The second of a pair is no SIGINT that forces the end, but says that the process is ended after
    /// `span`, as where a console is closed: [`Stopper::stop_within`](adjourn_core::Stopper::stop_within).
    pub fn ends_within(mut self, span: Duration) -> Everywhere<L> {
        self.ends = Some(span);
        self
    }

    /// Fails the check where a limit, of polls, pairs or time, kept it from a point. Default: that
    /// is only said.
    pub fn complete(mut self) -> Everywhere<L> {
        self.complete = true;
        self
    }

    /// Lets the test's assertions count where a second Ctrl-C forced the end, and only there: for
    /// what has to hold then too. Default: they count in the orderly runs alone.
    ///
    /// A check in which nothing was forced fails.
    pub fn forced(mut self) -> Everywhere<L> {
        self.rules.forced = true;
        self
    }

    /// Says that main may fail or panic, though no [fault](crate::Fault) makes it: default is that
    /// the check fails where main fails with nothing injected, or panics before the end is forced.
    pub fn main_may_fail(mut self) -> Everywhere<L> {
        self.rules.main_may_fail = true;
        self
    }

    /// Says that the program may not start: default is that the check fails then, since there is
    /// nothing to stop.
    pub fn may_not_start(mut self) -> Everywhere<L> {
        self.rules.may_not_start = true;
        self
    }

    /// Runs one point of one seed alone, as a failure's message says: for a debugger, or until it
    /// passes. Its panics are printed as they come.
    pub fn replay(mut self, seed: u64, point: impl Into<Point>) -> Everywhere<L> {
        self.only = Some((seed, point.into()));
        self
    }

    /// Runs `test` again and again; see [`stop_everywhere`].
    ///
    /// # Panics
    ///
    /// When a run fails, with the message that says which. When nothing was tested: no stop was
    /// injected, or the point to replay is not there. When a variable of the
    /// [environment](Everywhere#environment) cannot be understood.
    #[track_caller]
    pub fn check(&self, test: impl Fn(L)) -> Coverage {
        self.check_in(Environment::read(), test)
    }

    #[track_caller]
    fn check_in(&self, environment: Environment, test: impl Fn(L)) -> Coverage {
        let only = environment.replay.or(self.only);
        let rules = Rules { loud: only.is_some(), ..self.rules };
        let mut exploration = Exploration::new(self, rules, &test);
        match only {
            Some((seed, point)) => {
                exploration.replay(seed, point).unwrap_or_else(|error| panic!("{error}"));
            }
            None => {
                let seeds = environment.seeds.as_ref().unwrap_or(&self.seeds);
                exploration.everywhere(seeds, environment.time.unwrap_or(self.time));
            }
        }
        let coverage = exploration.coverage;
        if !exploration.failures.is_empty() {
            let failures = std::mem::take(&mut exploration.failures);
            let omitted = failures.omitted;
            let kinds = failures.sorted();
            let smallest = kinds[0].points[0];
            // Once more, with the names, as far as any run may have gone.
            exploration.rules.loud = false;
            let most = self.most_polls.max(kinds[0].attempt.polls);
            let most = if smallest.point == Point::NONE { self.most_polls } else { most };
            let again = exploration.attempt(smallest.seed, smallest.point, most, true);
            let mut options = if self.rules.forced { ".forced()" } else { "" }.to_owned();
            if let Some(span) = self.ends {
                options += &format!(".ends_within(Duration::from_nanos({}))", span.as_nanos());
            }
            let call = Call { path: L::CALL, options };
            panic!("{}", tell(&call, &kinds, omitted, coverage.runs, &again));
        }
        if only.is_some() {
            return coverage;
        }
        assert!(
            coverage.stops > 0 || self.rules.may_not_start,
            "nothing was tested: there was no seed, no poll to stop at, or no time ({coverage})"
        );
        assert!(
            coverage.forced > 0 || !self.rules.forced,
            "nothing was tested: no second signal forced the end ({coverage}). It does where \
             Runner::second_interrupt is Force, the program listens to SIGINT and is still alive"
        );
        if !coverage.is_complete() {
            assert!(!self.complete, "not all points were run: {coverage}");
            if coverage.out_of_time || coverage.cut > 0 || coverage.stops < coverage.stops_of {
                eprintln!("adjourn-sim: not all points were run: {coverage}");
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

/// Runs `test` once to count its polls, then again with a stop injected before each of them, then
/// with a second, forcing signal at pairs of them.
///
/// `test` is given a simulation. It sets up its state, runs a program on it with
/// [`Sim::run`], and asserts what has to hold whenever the program is stopped. After each run
/// Adjourn's own promises are checked too: the report's [invariants](crate::violations), the
/// deadline, the immediate end after the second signal, no deadlock.
///
/// The stop is SIGINT, or a request where the program does not listen to that. The second signal is
/// a SIGINT later than the debounce: by default it forces the end, at which shields and hooks are
/// cut off too. What `test` asserts does not count then; what holds after a forced end as well is
/// asked for with [`forced`](Everywhere::forced).
///
/// A test that tests nothing fails: the program did not start, main fails with nothing injected, or
/// there is no place to stop at.
///
/// A program that does not end by itself is asked to stop once nothing in it can go on, or after a
/// number of polls ([`polls`](Everywhere::polls)). Pairs are sampled beyond a number
/// ([`pairs`](Everywhere::pairs)), and all of it is cut after 30 s ([`time`](Everywhere::time)). The
/// [`Coverage`] that is returned says so; [`StopEverywhere`] has these limits, and more schedules by
/// seed.
///
/// Panics of the runs, which are many, are not printed: for that a panic hook is installed in the
/// process, which passes all others on.
///
/// # Panics
///
/// When an assertion or an invariant fails. The message has how many runs failed, all points at
/// which they did, and of the smallest the seed, the poll, its task and where that stood, the
/// report, and the call that replays it.
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
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::attempt::panic_text;
    use super::*;
    use crate::sim::Runner;

    /// A simulation whose reports were tampered with.
    #[derive(Clone)]
    struct Tampered(Sim, fn(&mut (Report, u8)));

    impl Lab for Tampered {
        const CALL: &'static str = "Tampered";

        fn exploring(&self, seed: u64, plan: Plan) -> Tampered {
            Tampered(self.0.exploring(seed, plan), self.1)
        }

        fn observer(&self) -> Arc<Observer> {
            self.0.observer()
        }

        fn exits(&self) -> Vec<(Report, u8)> {
            let mut exits = self.0.exits();
            exits.iter_mut().for_each(self.1);
            exits
        }
    }

    fn caught(check: impl FnOnce() -> Coverage) -> Result<Coverage, String> {
        catch_unwind(AssertUnwindSafe(check)).map_err(|payload| panic_text(&*payload))
    }

    fn check(change: fn(&mut (Report, u8))) -> Result<Coverage, String> {
        let test = |lab: Tampered| _ = lab.0.run(Runner::new(), async {});
        caught(|| Everywhere::with(Tampered(Sim::new(), change)).check(test))
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
        let broken = check(|(report, _)| report.main = None).unwrap_err();
        assert!(broken.contains("main was never polled"), "{broken}");
    }

    #[test]
    fn the_environment_goes_before_what_the_test_says() {
        let test = |sim: Sim| _ = sim.run(Runner::new(), async {});
        let check = |environment| caught(|| StopEverywhere::new().check_in(environment, test));
        let seeds = Environment { seeds: Some(vec![3, 4]), ..Environment::default() };
        assert_eq!(check(seeds).unwrap().seeds, 2);
        let replay = Environment { replay: Some((3, Point::from(1))), ..Environment::default() };
        assert_eq!(check(replay).unwrap().runs, 1);
        let nowhere = Environment { replay: Some((3, Point::from(99))), ..Environment::default() };
        let error = check(nowhere).unwrap_err();
        assert!(error.contains("there is no point 99 to replay: it has polls 1 to "), "{error}");
        let time = Environment { time: Some(Duration::ZERO), ..Environment::default() };
        assert!(check(time).unwrap_err().contains("nothing was tested"));
    }
}
