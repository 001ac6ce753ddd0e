//! Runs a program: starts it on an executor, or attaches it to one, and ends it.

mod begin;
mod end;
mod root;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::contract::error::{Place, StartError};
use crate::contract::hook::{Hook, IntoHook};
use crate::contract::inspect::Inspector;
use crate::contract::main_output::MainOutput;
use crate::contract::options::{
    EnvLimits, Narrate, Options, Overdue, Reraise, SecondInterrupt, Until,
};
use crate::contract::report::{Exit, Failure, Report, TaskKind};
use crate::contract::rt::{AnyBackend, Backend, Executor, Inside, SignalSource, Spawner, Threads};
use crate::process::signal::{Listener, Signal};
use crate::program::driver::Driver;
use crate::program::narrate::Mode;
use crate::program::observe::{Observer, Observing};
use crate::program::signals::SignalHandler;
use crate::program::stopper::Stopper;
use crate::program::supervise::{Rules, Supervision};
use crate::program::{FailureSink, Program, log};
use crate::track::context;
use crate::track::node::Node;
use crate::track::stop::StopToken;

use self::begin::{begin_stop, caught, try_timer};
use self::end::{Ended, Live, ReportSink, deliver, wait_for};
use self::root::Root;

type Build<E> = Box<dyn FnOnce(&Threads) -> Result<E, StartError> + Send>;

/// A program before its start: its options, its hooks, and how to stop it.
///
/// `E` is the executor that [`run`](Runner::run) starts. Process-wide effects of `run`: handlers
/// for the chosen signals, given back at its end, or 250 ms after it for those that were heard in the
/// stop, so that a repetition is swallowed; a thread that supervises, and a second one once there is
/// something to tell that the executor does not come to (a signal, a limit, a stop that takes more than some
/// milliseconds); a line on standard
/// error for a failure nobody else is told of ([`on_failure`](Runner::on_failure)), and what a stop waits
/// for that takes longer than 300 ms ([`narrate`](Runner::narrate)); and, when the calling thread is stuck
/// past the deadline, the end of the process ([`exit_when_stuck`](Runner::exit_when_stuck)). The thread may
/// still be on its way out when `run` has returned: for that moment it takes a signal that the calling
/// thread blocks only then. None of these on a simulated executor ([`Host`](crate::contract::rt::Host)).
///
/// # Examples
///
/// ```
/// use adjourn_core::{Executor, Exit, Runner};
/// use std::time::Duration;
///
/// /// On Tokio it is `start::<TokioExecutor>()`: what `adjourn::tokio::Runner` stands for.
/// fn start<E: Executor>() -> Exit {
///     Runner::<E>::new()
///         .timeout(Duration::from_secs(10))
///         .on_report(|report| println!("exit code {}", report.exit_code()))
///         .run(async { println!("it runs") })
/// }
/// ```
pub struct Runner<E> {
    options: Options,
    asked_for_signals: bool,
    stopper: Stopper,
    on_stop: Vec<Hook>,
    on_stopped: Vec<Hook>,
    on_report: Option<ReportSink>,
    on_signal: Option<SignalHandler>,
    on_failure: Option<FailureSink>,
    sources: Vec<Box<dyn SignalSource>>,
    observing: Observing,
    inspector: Inspector,
    build: Option<Build<E>>,
    executor: PhantomData<fn() -> E>,
}

impl<E> Runner<E> {
    /// A program with the default options: a service under Kubernetes or systemd.
    pub fn new() -> Runner<E> {
        Runner::with_options(Options::default())
    }

    /// A command-line tool: ends when `main` returns, and raises an interrupting SIGINT again once
    /// it has ended, so that `tool && deploy` does not deploy.
    pub fn cli() -> Runner<E> {
        Runner::with_options(Options::cli())
    }

    /// aiorun's choices: runs for ever until asked, 60 s for the stop, failures of tasks recorded,
    /// repeated signals ignored.
    pub fn aiorun() -> Runner<E> {
        Runner::with_options(Options::aiorun())
    }

    fn with_options(options: Options) -> Runner<E> {
        Runner {
            options,
            asked_for_signals: false,
            stopper: Stopper::new(),
            on_stop: Vec::new(),
            on_stopped: Vec::new(),
            on_report: None,
            on_signal: None,
            on_failure: None,
            sources: Vec::new(),
            observing: Observing::default(),
            inspector: Inspector::default(),
            build: None,
            executor: PhantomData,
        }
    }

    /// The time from the stop request until `run` has returned. Default: 25 s, since Kubernetes
    /// kills after 30; longer where a drain limit was set that needs it. [`Duration::MAX`] waits
    /// for ever; zero is an error.
    pub fn timeout(mut self, timeout: Duration) -> Runner<E> {
        self.options.timeout = Some(timeout);
        self
    }

    /// The time from the stop request that graceful tasks have. Default: 0.8 of the timeout.
    pub fn drain_limit(mut self, limit: Duration) -> Runner<E> {
        self.options.drain_limit = Some(limit);
        self
    }

    /// The part of the timeout kept for closing: waiting for tasks ends this long before the
    /// deadline. Default: 0.08 of the timeout, at most 2 s.
    pub fn closing_reserve(mut self, reserve: Duration) -> Runner<E> {
        self.options.closing_reserve = Some(reserve);
        self
    }

    /// The time after the stop request in which everything goes on while readiness is false, so
    /// that load balancers notice. Default: zero.
    pub fn lame_duck(mut self, span: Duration) -> Runner<E> {
        self.options.lame_duck = span;
        self
    }

    /// Reads limits of the stop from the environment, for those who deploy the program: they know when
    /// it will be killed. All are numbers of seconds such as `30` or `2.5`.
    ///
    /// | variable | says |
    /// |---|---|
    /// | `ADJOURN_GRACE_PERIOD` | how long the end may take until SIGKILL: `terminationGracePeriodSeconds` in Kubernetes, `stop_grace_period` in compose |
    /// | `ADJOURN_PRE_STOP` | what of it passes before SIGTERM: a `preStop` hook's time. Default: 0 |
    /// | `ADJOURN_MARGIN` | what of it is kept at the end. Default: a sixth, at most 5 s |
    /// | `ADJOURN_TIMEOUT` | the [timeout](Runner::timeout) itself, in the place of these three |
    /// | `ADJOURN_LAME_DUCK` | the [lame-duck time](Runner::lame_duck) |
    /// | `ADJOURN_DRAIN_LIMIT` | the [drain limit](Runner::drain_limit) |
    /// | `ADJOURN_CLOSING_RESERVE` | the [closing reserve](Runner::closing_reserve) |
    ///
    /// The timeout is the grace period less the other two: Kubernetes counts a `preStop` hook's time
    /// within the period (its page "Pod Lifecycle").
    ///
    /// The environment comes before the code: what a variable sets takes the place of what was set on the
    /// runner, in whichever order the two are called. What no variable names stays as the code has it.
    ///
    /// The variables are read in this call. A value that is no number of seconds, a grace period of which
    /// nothing is left, or limits that contradict each other or the code's are errors at the start: they
    /// name the variable, its value and what is allowed. `main` is never polled then, and the exit code
    /// is 1.
    pub fn limits_from_env(mut self) -> Runner<E> {
        self.options.env = Some(EnvLimits::read(|name| std::env::var_os(name)));
        self
    }

    /// When the program ends by itself. Default: [`Until::Idle`].
    pub fn until(mut self, until: Until) -> Runner<E> {
        self.options.until = until;
        self
    }

    /// The signals that request a stop. Default: SIGINT and SIGTERM; none when attached, unless
    /// this is called.
    ///
    /// A SIGHUP that was ignored at the start stays ignored (POSIX nohup).
    pub fn signals(mut self, signals: impl IntoIterator<Item = Signal>) -> Runner<E> {
        self.options.signals = signals.into_iter().collect();
        self.asked_for_signals = true;
        self
    }

    /// Another source of signals, polled on the executor: for those who attach to a program whose
    /// signals somebody else handles.
    pub fn signal_source(mut self, source: impl SignalSource) -> Runner<E> {
        self.sources.push(Box::new(source));
        self
    }

    /// What a second SIGINT does while the program is stopping. Default: it forces the end.
    pub fn second_interrupt(mut self, policy: SecondInterrupt) -> Runner<E> {
        self.options.second_interrupt = policy;
        self
    }

    /// A SIGINT this soon after the first is the same one, forwarded by a parent. Default: 250 ms.
    pub fn debounce(mut self, span: Duration) -> Runner<E> {
        self.options.debounce = span;
        self
    }

    /// What it means when graceful work is still alive at its drain limit and is cut off there. It is
    /// named in the report either way. Default: the exit code is 124.
    pub fn overdue(mut self, overdue: Overdue) -> Runner<E> {
        self.options.overdue = overdue;
        self
    }

    /// Whether a task's panic stops the program. Default: no; it is reported.
    pub fn stop_on_panic(mut self, stop: bool) -> Runner<E> {
        self.options.stop_on_panic = stop;
        self
    }

    /// Which signal [`Exit`] raises again with its default disposition. Default: none.
    pub fn reraise(mut self, reraise: Reraise) -> Runner<E> {
        self.options.reraise = reraise;
        self
    }

    /// Whether people are told on standard error what a stop waits for, when it takes a while: on a
    /// terminal whom, for how long at most, and what the next Ctrl-C does. Default:
    /// [`Narrate::Automatic`]. Before a stop, and in one that is over in 300 ms, it costs nothing.
    pub fn narrate(mut self, narrate: Narrate) -> Runner<E> {
        self.options.narrate = narrate;
        self
    }

    /// Has this signal print what is alive on standard error: scope, name, kind, age, state and line of
    /// each task, a thousand at the most. Nothing else happens, and `on_signal` is not called. It works
    /// while every worker is stuck. Call it again for more signals; on an attached program too, which
    /// hears this signal then.
    ///
    /// A signal that also stops the program is an error at the start. SIGUSR1 is a common choice.
    pub fn dump_on(mut self, signal: Signal) -> Runner<E> {
        self.options.dump_on.push(signal);
        self
    }

    /// Whether the process is ended, with the report's code and the report on standard error, when
    /// the calling thread itself is stuck past the deadline. Default: yes for `run`, no when
    /// attached.
    pub fn exit_when_stuck(mut self, exit: bool) -> Runner<E> {
        self.options.exit_when_stuck = Some(exit);
        self
    }

    /// Worker threads beside the calling one. Default: the executor's own; zero is
    /// [`current_thread`](Runner::current_thread).
    pub fn worker_threads(mut self, workers: usize) -> Runner<E> {
        self.options.workers = Some(workers);
        self
    }

    /// Runs everything on the calling thread.
    pub fn current_thread(self) -> Runner<E> {
        self.worker_threads(0)
    }

    /// The most threads for blocking jobs. Default: the executor's own.
    pub fn blocking_threads(mut self, threads: usize) -> Runner<E> {
        self.options.blocking = Some(threads);
        self
    }

    /// Builds the executor with `build` rather than with its defaults: for one that has more to set
    /// than a number of threads, as Tokio's (`TokioExecutor::build_with`). Called on the thread that calls `run`, once the signals are heard;
    /// an attached program has no use for it.
    pub fn build_with(
        mut self,
        build: impl FnOnce(&Threads) -> Result<E, StartError> + Send + 'static,
    ) -> Runner<E> {
        self.build = Some(Box::new(build));
        self
    }

    /// Registers what runs at the stop request (after the lame-duck time, if there is one), before
    /// any task is cancelled; the drain waits for it. All registered run side by side.
    ///
    /// Takes a closure, an async closure or a future.
    #[track_caller]
    pub fn on_stop<M>(mut self, hook: impl IntoHook<M>) -> Runner<E> {
        self.on_stop.push(Hook::new(hook, Location::caller()));
        self
    }

    /// Registers what runs when all tasks are gone, before the executor ends; the last registered
    /// runs first.
    ///
    /// Takes a closure, an async closure or a future.
    #[track_caller]
    pub fn on_stopped<M>(mut self, hook: impl IntoHook<M>) -> Runner<E> {
        self.on_stopped.push(Hook::new(hook, Location::caller()));
        self
    }

    /// Reacts to signals in place of the stop: `handler` is called for each signal, one at a time, and
    /// may ask for the stop. It runs on the executor, or on a thread of its own if every worker is
    /// stuck, and finds the program's root as the current scope.
    ///
    /// A second SIGINT still forces the end during a stop, and when an earlier one has waited for its
    /// reaction for 250 ms. A handler that panics stops the program: exit code 101.
    ///
    /// What comes while the executor is built waits for the program. Should the build outlast it by the
    /// timeout, the process is ended: exit code 124.
    pub fn on_signal(
        mut self,
        handler: impl FnMut(Signal, &Stopper) + Send + 'static,
    ) -> Runner<E> {
        self.on_signal = Some(Box::new(handler));
        self
    }

    /// Is told of each failure when it is recorded, on the thread where it happened: it is in the
    /// report by then, and the stop that follows from it is asked for.
    ///
    /// Each failure of a program that has started is told once. Those of its end (a hook that is cut off,
    /// an observer that is late, a panic of [`on_report`](Runner::on_report)) are told on a thread of their
    /// own, which the end waits for as it does for an [`Observer`].
    ///
    /// One that panics is a failure itself, of the kind of a hook's panic, that it is not told of.
    ///
    /// Without this, `tracing` is told, where that feature is on and somebody listens at level ERROR for
    /// the target `adjourn`. Else it is a line on standard error, but for a panic:
    /// Rust's panic hook has told that by then (one that was raised with `resume_unwind` is in the report
    /// alone). An attached program does the same; a simulated one writes nothing.
    pub fn on_failure(mut self, told: impl Fn(&Failure) + Send + Sync + 'static) -> Runner<E> {
        self.on_failure = Some(Arc::new(told));
        self
    }

    /// Is given the report once the program has ended, on the calling thread. The deadline holds for
    /// it too: a sink that is not over by then ends the process with exit code 124.
    pub fn on_report(mut self, sink: impl FnOnce(&Report) + Send + 'static) -> Runner<E> {
        self.on_report = Some(Box::new(sink));
        self
    }

    /// Has an observer told of what happens to the program. Each has a thread of its own.
    pub fn observe(mut self, observer: impl Observer) -> Runner<E> {
        self.observing.add(observer);
        self
    }

    /// Returns what reads the program while it runs, from anywhere.
    pub fn inspector(&self) -> Inspector {
        self.inspector.clone()
    }

    /// Returns a handle that stops the program from anywhere, before `run` too.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }
}

impl<E> Default for Runner<E> {
    fn default() -> Runner<E> {
        Runner::new()
    }
}

impl<E> fmt::Debug for Runner<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<E: Executor> Runner<E> {
    /// Starts the executor, runs `main` on the calling thread, and ends both in order.
    ///
    /// `main` is a task like any other: [who asks about the stop](StopToken#who-asks-is-graceful) is
    /// told and may end by itself, so this serves servers too. A `main` that never asks is dropped at
    /// its next yield once the program is cancelling. It need be neither `Send` nor `'static`.
    ///
    /// `main` is polled at least once, and until that poll is over it is not decided whether it has asked:
    /// also where the stop was requested before the start. Its token says so from that poll on.
    ///
    /// Errors are in the [`Exit`]: options that make no sense, a forbidden signal, a call inside a
    /// running executor, an executor that cannot be built or panics as it is. `main` is never polled
    /// then.
    #[track_caller]
    pub fn run<F, K>(self, main: F) -> Exit
    where
        F: Future,
        F::Output: MainOutput<K>,
    {
        self.own(TaskKind::Plain, Location::caller(), |_| main)
    }

    /// As [`run`](Runner::run), with a `main` that is graceful from the start, whether or not it asks
    /// about the stop: it is told at draining, and cancelled at the drain limit.
    ///
    /// A `main` that closes in its last lines what plain tasks of its scope use waits for them until the
    /// drain limit: they are cancelled only after it. Close such a thing in
    /// [`on_stopped`](crate::Scope::on_stopped).
    #[track_caller]
    pub fn run_graceful<M, F, K>(self, main: M) -> Exit
    where
        M: FnOnce(StopToken) -> F,
        F: Future,
        F::Output: MainOutput<K>,
    {
        self.own(TaskKind::Graceful, Location::caller(), main)
    }

    /// As [`run`](Runner::run), for a `main` that returns something else than an exit: the value comes
    /// back beside the [`Exit`]. `None` where `main` did not come to return: it was cancelled, it
    /// panicked, or the program could not start.
    ///
    /// A value that means a failure is the caller's to judge: the exit code is that of `()`.
    #[track_caller]
    pub fn run_value<F: Future>(self, main: F) -> (Option<F::Output>, Exit) {
        let mut value = None;
        let place = Location::caller();
        let exit = self.own(TaskKind::Plain, place, |_| async { value = Some(main.await) });
        (value, exit)
    }

    /// Runs until a signal or a [`Stopper`] asks for the stop, with nothing but what hooks and the
    /// stopper's holder do: aiorun's `run()` without a coroutine.
    #[track_caller]
    pub fn run_forever(self) -> Exit {
        let place = Location::caller();
        self.until(Until::Stopped).own(TaskKind::Plain, place, |_| std::future::ready(()))
    }

    fn own<M, F, K>(mut self, kind: TaskKind, place: Place, main: M) -> Exit
    where
        M: FnOnce(StopToken) -> F,
        F: Future,
        F::Output: MainOutput<K>,
    {
        let sink = self.on_report.take();
        let mut supervision = None;
        let ended = self.try_own(kind, place, main, &mut supervision);
        deliver(E::NAME, ended, sink, supervision)
    }

    /// `supervision` is kept past the end: the report's sink is under the deadline too.
    fn try_own<M, F, K>(
        mut self,
        kind: TaskKind,
        place: Place,
        main: M,
        supervision: &mut Option<Supervision>,
    ) -> Result<Ended, StartError>
    where
        M: FnOnce(StopToken) -> F,
        F: Future,
        F::Output: MainOutput<K>,
    {
        self.options.limits()?;
        if context::task().is_some() {
            return Err(StartError::nested(
                "`run` was called inside a task of a running program, whose executor it would \
                 block: spawn the work, open a `scope(..)` for it, or use `attach(..).await`",
            ));
        }
        // This comes first: from here on no signal is lost and the deadline is kept, however long the
        // start takes.
        let signals = self.options.signals.clone();
        let supervision =
            supervision.insert(self.supervise(E::HOSTED, &signals, true, E::WAKES_AT_ONCE)?);
        self.observing.start(&self.inspector, &self.stopper)?;
        let root: Arc<OnceLock<Weak<Node>>> = Arc::default();
        let mark = root.clone();
        let threads = Threads {
            workers: self.options.workers,
            blocking: self.options.blocking,
            on_start: Some(Arc::new(move || _ = context::mark_thread(Some(mark.clone())))),
        };
        let build = self.build.take().unwrap_or_else(|| Box::new(E::build));
        let executor = caught(E::NAME, || build(&threads))??;
        let backend = caught(E::NAME, || executor.backend())?;
        try_timer(&backend)?;
        let (live, driver) = self.start(backend.erase(), supervision)?;
        _ = root.set(Arc::downgrade(&live.program.root()));
        let outer = context::mark_thread(Some(root));
        let main = Root::new(&live.program, kind, place, !E::ENDS, main);
        supervision.open();
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let program = &live.program;
            executor.block_on(async move {
                begin_stop(program);
                drop(backend.spawn(driver));
                main.await;
            });
        }));
        if let Err(payload) = ran {
            // The user's futures are caught where they are polled: it is the executor's own.
            live.executor_failed(E::NAME, payload);
        }
        live.program.cut_off_forced();
        let within = supervision.left();
        live.program.count_untracked(|own, patience| {
            let count = || executor.count_tasks(own, within.unwrap_or(patience).min(patience));
            catch_unwind(AssertUnwindSafe(count)).ok().flatten()
        });
        let end = AssertUnwindSafe(|| {
            wait_for(executor.shutdown(within.unwrap_or(Duration::MAX)), within)
        });
        match catch_unwind(end) {
            Ok(Some(Ok(()))) => {}
            Ok(_) => live.program.executor_overdue(E::NAME),
            Err(payload) => live.executor_failed(E::NAME, payload),
        }
        _ = context::mark_thread(outer);
        Ok(live.end())
    }

    /// Runs `main` inside the executor that the caller is in already: `#[tokio::main]`, a test.
    ///
    /// Starts no second executor and blocks no worker. Signals are left alone unless
    /// [`signals`](Runner::signals) was called, and the process is never ended unless
    /// [`exit_when_stuck`](Runner::exit_when_stuck) asks for it. Thread counts are the caller's: to
    /// ask for one here is an error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the program at once: all its tasks are dropped at their next
    /// yield, shielded or not.
    #[track_caller]
    pub fn attach<F, K>(self, main: F) -> impl Future<Output = Exit>
    where
        E: Inside,
        F: Future,
        F::Output: MainOutput<K>,
    {
        let place = Location::caller();
        async move { self.join(E::inside(), TaskKind::Plain, place, |_| main).await }
    }

    /// As [`attach`](Runner::attach), for a `main` that returns something else than an exit:
    /// [`run_value`](Runner::run_value).
    #[track_caller]
    pub fn attach_value<F>(self, main: F) -> impl Future<Output = (Option<F::Output>, Exit)>
    where
        E: Inside,
        F: Future,
    {
        let place = Location::caller();
        async move {
            let mut value = None;
            let main = async { value = Some(main.await) };
            let exit = self.join(E::inside(), TaskKind::Plain, place, |_| main).await;
            (value, exit)
        }
    }

    /// As [`attach`](Runner::attach), with a graceful `main`.
    #[track_caller]
    pub fn attach_graceful<M, F, K>(self, main: M) -> impl Future<Output = Exit>
    where
        E: Inside,
        M: FnOnce(StopToken) -> F,
        F: Future,
        F::Output: MainOutput<K>,
    {
        let place = Location::caller();
        async move { self.join(E::inside(), TaskKind::Graceful, place, main).await }
    }
}

impl<E> Runner<E> {
    /// As [`attach`](Runner::attach), on a backend that the caller names: an executor of their own.
    #[track_caller]
    pub fn attach_to<B, F, K>(
        self,
        backend: &B,
        main: F,
    ) -> impl Future<Output = Exit> + use<E, B, F, K>
    where
        B: Backend,
        F: Future,
        F::Output: MainOutput<K>,
    {
        let place = Location::caller();
        let backend = backend.erase();
        async move { self.join(Ok(backend), TaskKind::Plain, place, |_| main).await }
    }

    /// As [`attach_to`](Runner::attach_to), with a graceful `main`.
    #[track_caller]
    pub fn attach_to_graceful<B, M, F, K>(
        self,
        backend: &B,
        main: M,
    ) -> impl Future<Output = Exit> + use<E, B, M, F, K>
    where
        B: Backend,
        M: FnOnce(StopToken) -> F,
        F: Future,
        F::Output: MainOutput<K>,
    {
        let place = Location::caller();
        let backend = backend.erase();
        async move { self.join(Ok(backend), TaskKind::Graceful, place, main).await }
    }

    async fn join<B, M, F, K>(
        mut self,
        backend: Result<B, StartError>,
        kind: TaskKind,
        place: Place,
        main: M,
    ) -> Exit
    where
        B: Backend,
        M: FnOnce(StopToken) -> F,
        F: Future,
        F::Output: MainOutput<K>,
    {
        let sink = self.on_report.take();
        let mut supervision = None;
        let name = backend.as_ref().map_or("none", |backend| backend.erase().name());
        let started = backend.and_then(|backend| {
            if self.options.workers.is_some() || self.options.blocking.is_some() {
                return Err(StartError::options(
                    "an attached program uses the executor that is there: set its threads where \
                     it is built, not on the runner",
                ));
            }
            let asked = self.asked_for_signals;
            let signals = if asked { self.options.signals.clone() } else { Vec::new() };
            let hosted = backend.host().is_some();
            try_timer(&backend)?;
            let supervision = supervision.insert(self.supervise(hosted, &signals, false, false)?);
            self.observing.start(&self.inspector, &self.stopper)?;
            let (live, driver) = self.start(backend.erase(), supervision)?;
            Ok((backend, live, driver))
        });
        let (backend, live, driver) = match started {
            Ok(started) => started,
            Err(error) => return deliver(name, Err(error), sink, supervision),
        };
        // Before the driver runs: a stop asked for before the start must find `main` there.
        let root = Root::new(&live.program, kind, place, true, main);
        if let Some(supervision) = &supervision {
            supervision.open();
        }
        begin_stop(&live.program);
        drop(backend.spawn(driver));
        root.await;
        live.program.cut_off_forced();
        deliver(name, Ok(live.end()), sink, supervision)
    }

    /// Starts what watches over a program that is stopped by these signals. `owned`: the process is the
    /// program's own.
    fn supervise(
        &self,
        hosted: bool,
        signals: &[Signal],
        owned: bool,
        wakes_at_once: bool,
    ) -> Result<Supervision, StartError> {
        let dumps = &self.options.dump_on;
        if let Some(both) = dumps.iter().find(|signal| signals.contains(signal)) {
            return Err(StartError::options(format!(
                "{both} is to stop the program and to print what is alive: give one of them another \
                 signal"
            )));
        }
        let listener = (!hosted).then(|| Listener::new(&[signals, dumps].concat())).transpose()?;
        let exits = self.options.exit_when_stuck.unwrap_or(owned);
        let mut rules = Rules::new(&self.options, self.on_signal.is_some());
        rules.asks_driver = wakes_at_once;
        rules.hears_interrupt = signals.contains(&Signal::INTERRUPT);
        rules.mode = Mode::new(self.options.narrate, owned);
        let limits = self.options.limits()?;
        Supervision::start(limits, rules, listener, exits).map_err(StartError::threads)
    }

    /// Starts what every program has, whoever owns its executor.
    fn start(
        mut self,
        backend: AnyBackend,
        supervision: &mut Supervision,
    ) -> Result<(Live, Driver), StartError> {
        let limits = self.options.limits()?;
        let watch = supervision.watch.clone();
        let program =
            Program::new(backend, self.options, limits, self.on_failure, watch, self.inspector);
        program.lock().on_stop = self.on_stop;
        for hook in self.on_stopped {
            program.root().add_hook(hook);
        }
        program.set_reaction(self.on_signal, &self.stopper);
        log::started(program.backend.name(), &program.options, &limits);
        supervision.meet(&program);
        self.observing.open(&program)?;
        let driver = Driver::new(&program, self.sources);
        let early = self.stopper.tie(&program);
        if let Some((from, span)) = early.ends {
            // A virtual clock has not begun to run.
            let past = if program.is_hosted() { Duration::ZERO } else { from.elapsed() };
            program.ends_within(span.saturating_sub(past));
        }
        for reason in early.reasons {
            program.stop(reason);
        }
        Ok((Live::new(program, self.observing), driver))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::task::{Context, Poll, Waker};
    use std::time::Instant;

    use super::*;
    use crate::contract::error::ExecutorGone;
    use crate::contract::report::Outcome;
    use crate::contract::rt::Timer;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn each_preset_starts_from_its_options() {
        for (runner, options) in [
            (Runner::<()>::new(), Options::default()),
            (Runner::default(), Options::default()),
            (Runner::cli(), Options::cli()),
            (Runner::aiorun(), Options::aiorun()),
        ] {
            assert_eq!(format!("{:?}", runner.options), format!("{options:?}"));
            assert!(!runner.asked_for_signals);
            assert_eq!(format!("{runner:?}"), format!("Runner {{ options: {options:?}, .. }}"));
        }
    }

    #[test]
    fn each_setter_keeps_what_the_others_set() {
        struct Silent;
        impl SignalSource for Silent {
            fn poll_signal(&mut self, _: &mut Context<'_>) -> Poll<Option<Signal>> {
                Poll::Pending
            }
        }
        let runner = Runner::<()>::new()
            .timeout(secs(1))
            .drain_limit(secs(2))
            .closing_reserve(secs(3))
            .lame_duck(secs(4))
            .until(Until::Stopped)
            .signals([Signal::HANGUP])
            .signal_source(Silent)
            .second_interrupt(SecondInterrupt::Record)
            .debounce(secs(5))
            .overdue(Overdue::Named)
            .stop_on_panic(true)
            .reraise(Reraise::Always)
            .narrate(Narrate::Never)
            .dump_on(Signal::HANGUP)
            .exit_when_stuck(false)
            .current_thread()
            .blocking_threads(6)
            .build_with(|_| Ok(()))
            .on_stop(|| ())
            .on_stopped(|| ())
            .on_signal(|_, _| ())
            .on_failure(|_| ())
            .on_report(|_| ());
        assert_eq!(runner.options.workers, Some(0));
        let runner = runner.worker_threads(7);
        let expected = Options {
            timeout: Some(secs(1)),
            drain_limit: Some(secs(2)),
            closing_reserve: Some(secs(3)),
            lame_duck: secs(4),
            until: Until::Stopped,
            signals: vec![Signal::HANGUP],
            second_interrupt: SecondInterrupt::Record,
            debounce: secs(5),
            overdue: Overdue::Named,
            stop_on_panic: true,
            reraise: Reraise::Always,
            narrate: Narrate::Never,
            dump_on: vec![Signal::HANGUP],
            exit_when_stuck: Some(false),
            workers: Some(7),
            blocking: Some(6),
            env: None,
        };
        assert_eq!(format!("{:?}", runner.options), format!("{expected:?}"));
        assert!(runner.asked_for_signals && runner.build.is_some());
        assert_eq!([runner.sources.len(), runner.on_stop.len(), runner.on_stopped.len()], [1; 3]);
        let sinks = [runner.on_signal.is_some(), runner.on_failure.is_some()];
        assert_eq!((sinks, runner.on_report.is_some()), ([true; 2], true));
    }

    /// Polls what it spawns once, there and then, and goes on elsewhere: the most hasty of executors.
    #[derive(Clone)]
    struct Hasty;

    impl Spawner for Hasty {
        type Handle<T: Send> = std::future::Pending<Result<T, ExecutorGone>>;

        fn spawn<F>(&self, future: F) -> Self::Handle<F::Output>
        where
            F: Future + Send + 'static,
            F::Output: Send + 'static,
        {
            let mut future = Box::pin(future);
            if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                std::thread::spawn(move || drop(wait_for(future, None)));
            }
            std::future::pending()
        }
    }

    impl Timer for Hasty {
        type Sleep = std::future::Pending<()>;

        fn now(&self) -> Instant {
            Instant::now()
        }

        fn sleep(&self, _: Duration) -> Self::Sleep {
            std::future::pending()
        }
    }

    impl Backend for Hasty {
        fn erase(&self) -> AnyBackend {
            AnyBackend::new("hasty", self.clone())
        }
    }

    #[test]
    fn a_stop_before_the_start_finds_main_however_hasty_the_executor() {
        let runner = Runner::<()>::new();
        runner.stopper().stop();
        let exit = wait_for(runner.attach_to(&Hasty, std::future::pending::<()>()), None);
        let exit = exit.expect("there is no limit");
        assert_eq!(exit.report().main, Some(Outcome::Cancelled), "{}", exit.report());
        assert_eq!(exit.exit_code(), 0);
    }

    #[test]
    fn an_observer_goes_with_an_attached_program_that_is_dropped() {
        let (told, events) = std::sync::mpsc::channel();
        let runner = Runner::<()>::new().observe(move |event: &_, _: &Inspector| {
            _ = told.send(format!("{event:?}"));
        });
        let inspector = runner.inspector();
        let mut program = Box::pin(runner.attach_to(&Hasty, std::future::pending::<()>()));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(program.as_mut().poll(&mut cx).is_pending());
        assert_eq!(events.recv().unwrap(), "Started");
        assert!(inspector.phase().is_some());
        drop(program);
        assert!(inspector.phase().is_none());
        // Until the observer is dropped.
        let rest: Vec<_> = events.iter().collect();
        assert!(!rest.iter().any(|event| event.starts_with("Ended")), "{rest:?}");
    }

    #[test]
    fn what_is_waited_for_outside_of_executors_is_woken_or_given_up() {
        for within in [None, Some(secs(3600))] {
            let (sent, received) = std::sync::mpsc::channel::<Waker>();
            let ready = Arc::new(AtomicBool::new(false));
            let readies = ready.clone();
            let wakes = std::thread::spawn(move || {
                let waker = received.recv().unwrap();
                readies.store(true, SeqCst);
                waker.wake();
            });
            let woken = std::future::poll_fn(|cx| {
                _ = sent.send(cx.waker().clone());
                if ready.load(SeqCst) { Poll::Ready(7) } else { Poll::Pending }
            });
            assert_eq!(wait_for(woken, within), Some(7));
            wakes.join().unwrap();
        }
        assert_eq!(wait_for(std::future::ready(7), Some(Duration::ZERO)), Some(7));
        let never = std::future::pending::<()>;
        assert_eq!(wait_for(never(), Some(Duration::ZERO)), None);
        assert_eq!(wait_for(never(), Some(Duration::from_millis(1))), None);
    }
}
