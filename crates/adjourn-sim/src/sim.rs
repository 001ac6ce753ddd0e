//! A simulation: its seed, its faults, and what was seen in it.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use adjourn_core::{Exit, MainOutput, StartError, StopToken};

use crate::executor::SimExecutor;
use crate::fault::Fault;
use crate::observe::{Injection, Observer, Plan, Step};
use crate::point::Point;
use crate::settings::{Schedule, Settings};

/// A program on the simulated executor before its start.
pub type Runner = adjourn_core::Runner<SimExecutor>;

/// Runs programs on one thread, under a virtual clock, in an order that follows from a seed.
///
/// The same seed and the same program give the same run: every poll, every time and the whole
/// report. Clones share what was seen.
///
/// Do not use it for what needs sockets, files or threads of its own: such a program is not
/// deterministic, and the clock does not wait for it.
///
/// # Examples
///
/// ```
/// use adjourn_core::Scope;
/// use adjourn_sim::{Runner, Sim};
/// use std::time::Duration;
///
/// let hours = Duration::from_secs(10 * 3600);
/// let sim = Sim::new().seed(7);
/// let exit = sim.run(Runner::new(), async move { Scope::current().sleep(hours).await });
/// assert_eq!(exit.exit_code(), 0);
/// assert_eq!(sim.elapsed(), hours); // and took no time
/// ```
#[derive(Clone)]
pub struct Sim {
    settings: Settings,
    plan: Plan,
    /// What clones share: made when it is first asked for, by the plan of then.
    observer: Arc<OnceLock<Arc<Observer>>>,
}

impl Sim {
    /// A simulation with the seed 0, without faults.
    pub fn new() -> Sim {
        Sim { settings: Settings::default(), plan: Plan::default(), observer: Arc::default() }
    }

    /// One run of an exploration.
    pub(crate) fn explored(mut self, seed: u64, plan: Plan) -> Sim {
        self.settings.seed = seed;
        self.plan = plan;
        self.settings.patience = Duration::ZERO;
        self.observer = Arc::default();
        self
    }

    /// The seed from which the order of polls, and faults that are drawn, follow. Default: 0.
    pub fn seed(mut self, seed: u64) -> Sim {
        self.settings.seed = seed;
        self
    }

    /// Polls what is ready first come, first served, rather than in an order drawn from the seed.
    pub fn fifo(mut self) -> Sim {
        self.settings.schedule = Schedule::Fifo;
        self
    }

    /// Lets the [`fault_point`](crate::fault_point) of this name fail at its `nth` pass, counted
    /// from 1.
    pub fn fault(mut self, point: impl Into<String>, nth: u64, fault: Fault) -> Sim {
        self.settings.faults.push((point.into(), nth, fault));
        self
    }

    /// Lets one in so many passes of a [`fault_point`](crate::fault_point) fail, drawn from the
    /// seed, with a fault that is drawn too. 1 lets all of them fail; 0 is taken as 1.
    pub fn faults(mut self, one_in: u32) -> Sim {
        self.settings.drawn = Some(one_in);
        self
    }

    /// Moves the clock by `span` before the poll with this number, as after a suspended machine.
    pub fn jump(mut self, poll: u64, span: Duration) -> Sim {
        self.settings.jumps.push((poll, span));
        self
    }

    /// Injects a stop before the poll with this number (SIGINT, if the program listens to it), and
    /// the second signal of a point that has one.
    pub fn stop_at(mut self, point: impl Into<Point>) -> Sim {
        self.plan.inject = point.into().polls();
        self
    }

    /// Notes each poll with the name of its task, for [`trace`](Sim::trace). Slow.
    pub fn traced(mut self) -> Sim {
        self.plan.trace = true;
        self
    }

    /// How long, in real time, another thread is waited for when nothing can go on, before that
    /// counts as a deadlock. Default: 1 s; nothing in
    /// [`stop_everywhere`](crate::stop_everywhere), which injects its stop then.
    pub fn patience(mut self, span: Duration) -> Sim {
        self.settings.patience = span;
        self
    }

    /// Runs `main` with the runner's options: [`adjourn_core::Runner::run`], simulated.
    ///
    /// It installs no signal handler and starts no thread. Where no task can go on and no timer is
    /// set, the program is ended with an error that names the tasks that wait: a deadlock.
    #[track_caller]
    pub fn run<F, K>(&self, runner: Runner, main: F) -> Exit
    where
        F: Future,
        F::Output: MainOutput<K>,
    {
        self.observer().keep(self.prepare(runner).run(main))
    }

    /// As [`run`](Sim::run), with a graceful `main`.
    #[track_caller]
    pub fn run_graceful<M, F, K>(&self, runner: Runner, main: M) -> Exit
    where
        M: FnOnce(StopToken) -> F,
        F: Future,
        F::Output: MainOutput<K>,
    {
        self.observer().keep(self.prepare(runner).run_graceful(main))
    }

    /// As [`run`](Sim::run), without a `main`.
    #[track_caller]
    pub fn run_forever(&self, runner: Runner) -> Exit {
        self.observer().keep(self.prepare(runner).run_forever())
    }

    /// Builds the executor alone, for a test that drives it by hand.
    ///
    /// # Errors
    ///
    /// [`StartError`], inside another simulation's poll.
    pub fn build(&self) -> Result<SimExecutor, StartError> {
        SimExecutor::new(self.observer(), self.settings.clone())
    }

    fn prepare(&self, runner: Runner) -> Runner {
        self.observer().set_stopper(runner.stopper());
        let sim = self.clone();
        runner.build_with(move |_| sim.build())
    }

    pub(crate) fn observer(&self) -> Arc<Observer> {
        self.observer.get_or_init(|| Observer::new(self.plan.clone())).clone()
    }

    /// Returns how many polls there have been, of `main`, of tasks and of the core's own.
    pub fn polls(&self) -> u64 {
        self.observer().polls()
    }

    /// Returns how long the last run took on the virtual clock.
    pub fn elapsed(&self) -> Duration {
        self.observer().elapsed()
    }

    /// Returns a number that is the same for two runs exactly when the same tasks were polled at
    /// the same times, hash collisions aside.
    pub fn fingerprint(&self) -> u64 {
        self.observer().fingerprint()
    }

    /// Returns the polls so far, if the simulation is [`traced`](Sim::traced).
    pub fn trace(&self) -> Vec<Step> {
        self.observer().trace()
    }

    /// Returns what was injected so far.
    pub fn injected(&self) -> Vec<Injection> {
        self.observer().injected()
    }
}

impl Default for Sim {
    fn default() -> Sim {
        Sim::new()
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("seed", &self.settings.seed).finish_non_exhaustive()
    }
}
