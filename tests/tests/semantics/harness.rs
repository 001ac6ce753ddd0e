//! The backend configurations, a program on any of them, and what scenarios prove things with.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use adjourn::smol::Smol;
use adjourn::{
    Exit, Failure, FailureKind, Inspector, IntoHook, MainOutput, Observer, Overdue, Report, Scope,
    Signal, SignalSource, StopToken, Stopper, Straggler, Totals, Until,
};
use async_executor::Executor;

pub use crate::watchdog::{MovesOnDrop, moved, unless_it_hangs};

pub type AnyError = Box<dyn Error + Send + Sync>;

/// A future that is polled in one task and then in another.
pub type Moved = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Config {
    TokioCurrentThread,
    TokioOneWorker,
    TokioWorkers,
    TokioAttached,
    SmolCurrentThread,
    SmolOneWorker,
    SmolWorkers,
    SmolAttached,
    AsyncStd,
}

use Config::*;

impl Config {
    /// Whether one thread runs `main` and all tasks.
    pub fn is_single_threaded(self) -> bool {
        matches!(self, TokioCurrentThread | SmolCurrentThread | SmolAttached)
    }

    pub fn backend(self) -> &'static str {
        match self {
            TokioCurrentThread | TokioOneWorker | TokioWorkers | TokioAttached => "tokio",
            SmolCurrentThread | SmolOneWorker | SmolWorkers | SmolAttached => "smol",
            AsyncStd => "async-std",
        }
    }
}

/// Makes a test of each scenario for each configuration.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            use $crate::harness::{Config, unless_it_hangs};

            scenarios!(@tests $name
                tokio_current_thread TokioCurrentThread,
                tokio_one_worker TokioOneWorker,
                tokio_workers TokioWorkers,
                tokio_attached TokioAttached,
                smol_current_thread SmolCurrentThread,
                smol_one_worker SmolOneWorker,
                smol_workers SmolWorkers,
                smol_attached SmolAttached,
                async_std AsyncStd,
            );
        })*
    };
    (@tests $name:ident $($test:ident $config:ident,)*) => {
        $(#[test]
        fn $test() {
            let name = concat!(module_path!(), "::", stringify!($test));
            unless_it_hangs(name, || super::$name(Config::$config));
        })*
    };
}

type Tokio = adjourn::tokio::Runner;
type OnSmol = adjourn::smol::Runner;
type OnAsyncStd = adjourn::async_std::Runner;

/// A program on any configuration, without signals.
pub struct Program {
    config: Config,
    runner: Any,
    told: Told,
}

/// The failures that a program told of.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Failure>>>);

impl Told {
    fn note(&self, failure: &Failure) {
        self.0.lock().unwrap().push(failure.clone());
    }

    /// Checks that each failure in the report was told once, but for a panic of `on_failure`. A thread that
    /// outlasts the program may be about to tell it.
    fn check(&self, exit: Exit) -> Exit {
        for failure in exit.report().failures.iter().filter(|other| other.origin != "on_failure") {
            let is_it = |other: &&Failure| *other == failure;
            let listed = exit.report().failures.iter().filter(is_it).count();
            let told = || self.0.lock().unwrap().iter().filter(is_it).count();
            let end = Instant::now() + Duration::from_secs(10);
            while told() < listed && Instant::now() < end {
                thread::sleep(millis(1));
            }
            assert_eq!(told(), listed, "each is told once: {failure}");
        }
        exit
    }
}

enum Any {
    Tokio(Tokio),
    Smol(OnSmol),
    AsyncStd(OnAsyncStd),
}

macro_rules! each {
    ($program:ident, $runner:ident => $change:expr) => {
        Program {
            config: $program.config,
            told: $program.told,
            runner: match $program.runner {
                Any::Tokio($runner) => Any::Tokio($change),
                Any::Smol($runner) => Any::Smol($change),
                Any::AsyncStd($runner) => Any::AsyncStd($change),
            },
        }
    };
}

impl Program {
    pub fn new(config: Config) -> Program {
        let runner = match config {
            TokioCurrentThread => Any::Tokio(Tokio::new().current_thread()),
            TokioOneWorker => Any::Tokio(Tokio::new().worker_threads(1)),
            TokioWorkers => Any::Tokio(Tokio::new().worker_threads(4)),
            TokioAttached => Any::Tokio(Tokio::new()),
            SmolCurrentThread => Any::Smol(OnSmol::new().current_thread()),
            SmolOneWorker => Any::Smol(OnSmol::new().worker_threads(1)),
            SmolWorkers => Any::Smol(OnSmol::new().worker_threads(4)),
            SmolAttached => Any::Smol(OnSmol::new()),
            AsyncStd => Any::AsyncStd(OnAsyncStd::new()),
        };
        let program = Program { config, runner, told: Told::default() };
        // Other tests share the process: a machine too slow for a deadline fails the test, not all.
        let program = each!(program, runner => runner.signals([]).exit_when_stuck(false));
        program.on_failure(|_| ())
    }

    pub fn timeout(self, span: Duration) -> Program {
        each!(self, runner => runner.timeout(span))
    }

    /// Without a limit: for work that takes as long as the machine needs.
    pub fn endless(self) -> Program {
        self.timeout(Duration::MAX)
    }

    /// Cuts off after `span`; on a slow machine what is cut off still has the time to be dropped.
    pub fn cut_off_after(self, span: Duration) -> Program {
        let reserve = Duration::from_secs(20);
        self.timeout(span + reserve).closing_reserve(reserve)
    }

    pub fn drain_limit(self, span: Duration) -> Program {
        each!(self, runner => runner.drain_limit(span))
    }

    pub fn closing_reserve(self, span: Duration) -> Program {
        each!(self, runner => runner.closing_reserve(span))
    }

    pub fn lame_duck(self, span: Duration) -> Program {
        each!(self, runner => runner.lame_duck(span))
    }

    pub fn overdue(self, overdue: Overdue) -> Program {
        each!(self, runner => runner.overdue(overdue))
    }

    pub fn until(self, until: Until) -> Program {
        each!(self, runner => runner.until(until))
    }

    pub fn stop_on_panic(self) -> Program {
        each!(self, runner => runner.stop_on_panic(true))
    }

    #[track_caller]
    pub fn on_stop<M>(self, hook: impl IntoHook<M>) -> Program {
        each!(self, runner => runner.on_stop(hook))
    }

    #[track_caller]
    pub fn on_stopped<M>(self, hook: impl IntoHook<M>) -> Program {
        each!(self, runner => runner.on_stopped(hook))
    }

    pub fn on_signal(self, handler: impl FnMut(Signal, &Stopper) + Send + 'static) -> Program {
        each!(self, runner => runner.on_signal(handler))
    }

    pub fn signal_source(self, source: impl SignalSource) -> Program {
        each!(self, runner => runner.signal_source(source))
    }

    pub fn on_failure(self, told: impl Fn(&Failure) + Send + Sync + 'static) -> Program {
        let all = self.told.clone();
        let told = move |failure: &Failure| {
            all.note(failure);
            told(failure);
        };
        each!(self, runner => runner.on_failure(told))
    }

    pub fn on_report(self, sink: impl FnOnce(&Report) + Send + 'static) -> Program {
        each!(self, runner => runner.on_report(sink))
    }

    pub fn observe(self, observer: impl Observer) -> Program {
        each!(self, runner => runner.observe(observer))
    }

    pub fn inspector(&self) -> Inspector {
        match &self.runner {
            Any::Tokio(runner) => runner.inspector(),
            Any::Smol(runner) => runner.inspector(),
            Any::AsyncStd(runner) => runner.inspector(),
        }
    }

    pub fn stopper(&self) -> Stopper {
        match &self.runner {
            Any::Tokio(runner) => runner.stopper(),
            Any::Smol(runner) => runner.stopper(),
            Any::AsyncStd(runner) => runner.stopper(),
        }
    }

    /// Runs it, on the calling thread.
    pub fn run<O: MainOutput<K>, K>(self, main: impl Future<Output = O>) -> Exit {
        // Boxed, so that each configuration does not compile each `main`.
        let main: Pin<Box<dyn Future<Output = O> + '_>> = Box::pin(main);
        let _moves = MovesOnDrop;
        let exit = match (self.config, self.runner) {
            (TokioAttached, Any::Tokio(runner)) => on_runtime(|| runner.attach(main)),
            (SmolAttached, Any::Smol(runner)) => {
                let executor = Arc::new(Executor::new());
                let program = runner.attach_to(&Smol::from(&executor), main);
                async_io::block_on(executor.run(program))
            }
            (_, Any::Tokio(runner)) => runner.run(main),
            (_, Any::Smol(runner)) => runner.run(main),
            (_, Any::AsyncStd(runner)) => runner.run(main),
        };
        self.told.check(exit)
    }

    /// Runs it for what `main` returns.
    pub fn run_value<T>(self, main: impl Future<Output = T>) -> (Option<T>, Exit) {
        let main: Pin<Box<dyn Future<Output = T> + '_>> = Box::pin(main);
        let _moves = MovesOnDrop;
        let (value, exit) = match (self.config, self.runner) {
            (TokioAttached, Any::Tokio(runner)) => {
                let runtime = tokio_runtime();
                let ended = runtime.block_on(runner.attach_value(main));
                runtime.shutdown_background();
                ended
            }
            (_, Any::Tokio(runner)) => runner.run_value(main),
            (_, Any::Smol(runner)) => runner.run_value(main),
            (_, Any::AsyncStd(runner)) => runner.run_value(main),
        };
        (value, self.told.check(exit))
    }

    /// Runs it with a `main` that never ends by itself.
    pub fn run_pending(self) -> Exit {
        self.run(std::future::pending::<()>())
    }

    /// Runs it with a graceful `main`.
    pub fn run_graceful<F>(self, main: impl FnOnce(StopToken) -> F) -> Exit
    where
        F: Future<Output = ()>,
    {
        type Main<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;
        let main = |stop| -> Main<'_> { Box::pin(main(stop)) };
        let _moves = MovesOnDrop;
        let exit = match (self.config, self.runner) {
            (TokioAttached, Any::Tokio(runner)) => on_runtime(|| runner.attach_graceful(main)),
            (SmolAttached, Any::Smol(runner)) => {
                let executor = Arc::new(Executor::new());
                let program = runner.attach_to_graceful(&Smol::from(&executor), main);
                async_io::block_on(executor.run(program))
            }
            (_, Any::Tokio(runner)) => runner.run_graceful(main),
            (_, Any::Smol(runner)) => runner.run_graceful(main),
            (_, Any::AsyncStd(runner)) => runner.run_graceful(main),
        };
        self.told.check(exit)
    }
}

/// Leaves what is stuck on the runtime to itself, as `run` does.
fn on_runtime<F: Future<Output = Exit>>(program: impl FnOnce() -> F) -> Exit {
    let runtime = tokio_runtime();
    let exit = runtime.block_on(async { program().await });
    runtime.shutdown_background();
    exit
}

pub fn tokio_runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a Tokio runtime")
}

/// What happened, in order.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn say(&self, what: impl Into<String>) {
        self.0.lock().expect("no panic while it is held").push(what.into());
        moved();
    }

    pub fn all(&self) -> Vec<String> {
        self.0.lock().expect("no panic while it is held").clone()
    }

    /// Returns where `what` is; it must be there once.
    #[track_caller]
    pub fn at(&self, what: &str) -> usize {
        let all = self.all();
        let found: Vec<_> = all.iter().enumerate().filter(|(_, line)| *line == what).collect();
        assert_eq!(found.len(), 1, "{what:?} is not once in {all:?}");
        found[0].0
    }

    #[track_caller]
    pub fn is(&self, what: &[&str]) {
        assert_eq!(self.all(), what);
    }

    /// Says `what` when it is dropped.
    pub fn on_drop(&self, what: &str) -> SayOnDrop {
        SayOnDrop(self.clone(), what.to_owned())
    }
}

pub struct SayOnDrop(Log, String);

impl Drop for SayOnDrop {
    fn drop(&mut self) {
        self.0.say(self.1.clone());
    }
}

/// Panics when it is dropped, but not in a panic.
pub struct Bomb(pub &'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("{}", self.0);
        }
    }
}

/// Panics, where `panic!` alone would not have the type.
pub fn blow(what: &'static str) {
    panic!("{what}");
}

/// Something that opens once: awaited, it resolves when it is open.
#[derive(Clone)]
pub struct Gate(async_channel::Sender<()>, async_channel::Receiver<()>);

impl Gate {
    pub fn new() -> Gate {
        let (open, opened) = async_channel::bounded(1);
        Gate(open, opened)
    }

    pub fn open(&self) {
        if self.0.close() {
            moved();
        }
    }

    pub fn is_open(&self) -> bool {
        self.0.is_closed()
    }

    pub async fn wait(&self) {
        _ = self.1.recv().await;
    }

    pub fn wait_blocking(&self) {
        _ = self.1.recv_blocking();
    }
}

pub fn sleep(span: Duration) -> impl Future<Output = ()> + Send + 'static {
    Scope::current().sleep(span)
}

pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Less than 25 s, the limit of a program that sets none: what took less has kept the limit that was
/// set, however busy the machine.
pub const UNSET: Duration = Duration::from_secs(20);

pub async fn yields(n: usize) {
    for _ in 0..n {
        futures_lite::future::yield_now().await;
    }
}

/// Waits until the current scope is cancelling, without a timer.
pub async fn until_cancelling() {
    let scope = Scope::current();
    while scope.phase() < adjourn::Phase::Cancelling {
        futures_lite::future::yield_now().await;
    }
}

/// Polls a future once, in place.
pub async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|cx: &mut Context<'_>| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// A waker that does nothing; whoever keeps it is counted.
pub struct Counted;

impl Wake for Counted {
    fn wake(self: Arc<Self>) {}
}

impl Counted {
    /// Polls a future with it, once.
    pub fn poll<F: Future + Unpin>(self: Arc<Self>, future: &mut F) -> Poll<F::Output> {
        let waker = Waker::from(self);
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }
}

/// Checks what holds of every report.
#[track_caller]
pub fn check(exit: &Exit) {
    let report = exit.report();
    for (name, totals) in &report.totals {
        let Totals { spawned, live, finished, failed, panicked, cancelled, abandoned, .. } =
            *totals;
        assert_eq!(live, 0, "alive after the end in {name}:\n{report}");
        let sum = finished + failed + panicked + cancelled + abandoned;
        assert_eq!(spawned, sum, "the totals of {name}: {totals:?}\n{report}");
    }
    for pair in report.phases.windows(2) {
        assert!(pair[0].phase < pair[1].phase, "phases only advance:\n{report}");
        assert!(pair[0].left == Some(pair[1].entered), "phases follow each other:\n{report}");
    }
    assert_eq!(report.exit_code(), exit.exit_code());
}

/// Checks that a program ended with exit code 0, whatever tasks failed in isolation.
#[track_caller]
pub fn succeeded(exit: &Exit) {
    check(exit);
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
}

/// Checks that nothing at all went wrong.
#[track_caller]
pub fn clean(exit: &Exit) {
    succeeded(exit);
    assert!(exit.report().is_clean(), "{}", exit.report());
}

/// Checks the exit code.
#[track_caller]
pub fn exits(exit: &Exit, code: u8) {
    check(exit);
    assert_eq!(exit.exit_code(), code, "{}", exit.report());
}

/// Returns the straggler of this name. On a busy machine `main` may be one beside it.
#[track_caller]
pub fn straggler<'a>(report: &'a Report, name: &str) -> &'a Straggler {
    let mut stragglers = report.stragglers.iter();
    let found = stragglers.find(|straggler| straggler.task.name.as_deref() == Some(name));
    found.unwrap_or_else(|| panic!("{name:?} is not among the stragglers:\n{report}"))
}

/// Returns the failures of one kind.
pub fn failures(exit: &Exit, kind: FailureKind) -> Vec<&Failure> {
    exit.report().failures.iter().filter(|failure| failure.kind == kind).collect()
}
