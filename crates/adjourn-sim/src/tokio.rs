//! Stops at every poll for programs that need Tokio: on its current-thread runtime and its paused
//! clock, where hours pass in no time too.
//!
//! ```
//! use adjourn_core::{FutureExt, spawn};
//! use adjourn_sim::tokio::{Runner, stop_everywhere};
//! use std::time::Duration;
//! # mod tokio { pub use ::tokio::*; }
//!
//! stop_everywhere(|lab| {
//!     let exit = lab.run(Runner::new(), async {
//!         let work = async { tokio::time::sleep(Duration::from_secs(3600)).await };
//!         spawn(work.on_cancel(async {}));
//!     });
//!     assert_eq!(exit.exit_code(), 0);
//! });
//! ```
//!
//! # What it cannot control
//!
//! - **The order of polls** is Tokio's own, first come first served: there is one schedule, and
//!   seeds change nothing.
//! - **Sockets, files, processes and threads**: there is no I/O driver, and the clock does not wait
//!   for what others do. Fake them, with `tokio::io::duplex` for example.
//! - **`tokio::spawn`**: such a task runs, but its polls are not counted and it is not stopped at.
//!   Adjourn's `spawn` makes one that is.
//! - **`tokio::task::spawn_blocking`** starts a real thread, which is not waited for before a stop
//!   is injected. Adjourn's `spawn_blocking` runs the job in one poll, on the same thread; there it
//!   must not call `Handle::block_on`.
//! - **`tokio::select!`** begins at a branch that it draws by itself, unless it is `biased`. A
//!   failure then may not come again when it is replayed; its message says so.
//! - **A sleep of more than a year** counts as waiting for ever.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use adjourn_core::rt::{
    AnyBackend, Backend, BlockOn, Executor, Host, Shutdown, SpawnBlocking, Spawner, Threads, Timer,
    Unfinished,
};
use adjourn_core::{ExecutorGone, Exit, MainOutput, StartError, StopToken};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::everywhere::{Coverage, Everywhere, Lab};
use crate::observe::{Injection, Observer, Plan, TaskId};
use crate::spy::poll_spied;

/// A program on Tokio's paused clock before its start.
pub type Runner = adjourn_core::Runner<PausedExecutor>;

const NAME: &str = "tokio";

/// What counts as waiting for ever: Tokio's timer cannot wait for more than about two years.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// As [`stop_everywhere`](crate::stop_everywhere), on Tokio's paused clock.
///
/// # Panics
///
/// When an assertion or an invariant fails, with the message that says which.
#[track_caller]
pub fn stop_everywhere(test: impl Fn(PausedTokio)) -> Coverage {
    StopEverywhere::new().check(test)
}

/// Stops a program at every poll, on Tokio's paused clock: the limits of
/// [`stop_everywhere`], a replay. There is one schedule, so it has no seeds.
pub type StopEverywhere = Everywhere<PausedTokio>;

impl Everywhere<PausedTokio> {
    /// At most 2,000 stops, 1,000 pairs and 30 s.
    pub fn new() -> StopEverywhere {
        Everywhere::with(PausedTokio::new())
    }
}

impl Default for StopEverywhere {
    fn default() -> StopEverywhere {
        StopEverywhere::new()
    }
}

/// Runs programs on a current-thread Tokio runtime whose clock is paused. Clones share what was
/// seen.
#[derive(Clone)]
pub struct PausedTokio {
    observer: Arc<Observer>,
}

impl PausedTokio {
    /// One that injects nothing by itself.
    pub fn new() -> PausedTokio {
        PausedTokio::explored(Plan::default())
    }

    fn explored(plan: Plan) -> PausedTokio {
        PausedTokio { observer: Observer::new(plan) }
    }

    /// Runs `main` with the runner's options: [`adjourn_core::Runner::run`], on the paused clock.
    ///
    /// It installs no signal handler and starts no supervising thread. Where nothing happens for a
    /// year, the program is ended with an error that names the tasks that wait: a deadlock.
    #[track_caller]
    pub fn run<F, K>(&self, runner: Runner, main: F) -> Exit
    where
        F: Future,
        F::Output: MainOutput<K>,
    {
        self.observer.keep(self.prepare(runner).run(main))
    }

    /// As [`run`](PausedTokio::run), with a graceful `main`.
    #[track_caller]
    pub fn run_graceful<M, F, K>(&self, runner: Runner, main: M) -> Exit
    where
        M: FnOnce(StopToken) -> F,
        F: Future,
        F::Output: MainOutput<K>,
    {
        self.observer.keep(self.prepare(runner).run_graceful(main))
    }

    fn prepare(&self, runner: Runner) -> Runner {
        self.observer.set_stopper(runner.stopper());
        let observer = self.observer.clone();
        runner.build_with(move |_| PausedExecutor::new(observer))
    }

    /// Returns how many polls there have been, of `main`, of Adjourn's tasks and of the core's own.
    pub fn polls(&self) -> u64 {
        self.observer.polls()
    }

    /// Returns how long the last run took on the paused clock.
    pub fn elapsed(&self) -> Duration {
        self.observer.elapsed()
    }

    /// Returns what was injected so far.
    pub fn injected(&self) -> Vec<Injection> {
        self.observer.injected()
    }
}

impl Default for PausedTokio {
    fn default() -> PausedTokio {
        PausedTokio::new()
    }
}

impl fmt::Debug for PausedTokio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PausedTokio").field("polls", &self.polls()).finish_non_exhaustive()
    }
}

impl Lab for PausedTokio {
    const CALL: &'static str = "tokio::StopEverywhere";

    fn exploring(&self, _: u64, plan: Plan) -> PausedTokio {
        PausedTokio::explored(plan)
    }

    fn observer(&self) -> Arc<Observer> {
        self.observer.clone()
    }
}

/// Spawns on a runtime whose clock is paused, and counts polls.
#[derive(Clone)]
pub struct Paused {
    handle: Handle,
    shared: Arc<Shared>,
}

struct Shared {
    observer: Arc<Observer>,
    start: tokio::time::Instant,
    next: AtomicU64,
}

impl Shared {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn next_id(&self) -> TaskId {
        let id = TaskId(self.next.fetch_add(1, SeqCst));
        self.observer.spawned(id);
        id
    }

    /// Polls a future as one that is counted.
    async fn counted<F: Future>(self: Arc<Shared>, id: TaskId, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut spy = self.observer.spy(id);
        std::future::poll_fn(move |cx| {
            self.observer.before_poll(id, self.now());
            let polled = poll_spied(&mut spy, cx, |cx| future.as_mut().poll(cx));
            self.observer.polled();
            polled
        })
        .await
    }

    /// Sees when nothing has happened for a year: when the clock jumps to here.
    async fn watch_for_rest(self: Arc<Shared>) {
        loop {
            tokio::time::sleep(FOR_EVER).await;
            if !self.observer.at_rest(self.now()) {
                self.observer.deadlocked();
            }
        }
    }
}

/// Resolves to what a future spawned on [`Paused`] returns. Dropped, it detaches.
#[derive(Debug)]
pub struct PausedHandle<T>(JoinHandle<T>);

impl<T> Future for PausedHandle<T> {
    type Output = Result<T, ExecutorGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(|_| ExecutorGone)
    }
}

impl Spawner for Paused {
    type Handle<T: Send> = PausedHandle<T>;

    fn spawn<F>(&self, future: F) -> PausedHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let id = self.shared.next_id();
        PausedHandle(self.handle.spawn(self.shared.clone().counted(id, future)))
    }
}

/// A job is a task, as on the simulated executor.
impl SpawnBlocking for Paused {
    fn spawn_blocking<F, T>(&self, job: F) -> PausedHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn(async move { job() })
    }
}

impl Timer for Paused {
    type Sleep = tokio::time::Sleep;

    fn now(&self) -> std::time::Instant {
        let _entered = self.handle.enter();
        tokio::time::Instant::now().into_std()
    }

    fn sleep(&self, span: Duration) -> tokio::time::Sleep {
        let _entered = self.handle.enter();
        tokio::time::sleep(span)
    }

    fn host(&self) -> Option<Arc<dyn Host>> {
        Some(self.shared.observer.clone())
    }
}

impl Backend for Paused {
    fn erase(&self) -> AnyBackend {
        AnyBackend::with_blocking(NAME, self.clone())
    }
}

impl fmt::Debug for Paused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paused").finish_non_exhaustive()
    }
}

/// A runtime whose clock is paused, that `run` owns.
pub struct PausedExecutor {
    runtime: Runtime,
    shared: Arc<Shared>,
}

impl PausedExecutor {
    fn new(observer: Arc<Observer>) -> Result<PausedExecutor, StartError> {
        if Handle::try_current().is_ok() {
            return Err(StartError::nested(
                "a test on Tokio's paused clock was started inside a Tokio runtime: start it from \
                 a plain `#[test]`",
            ));
        }
        let built = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = built.map_err(|error| {
            StartError::executor("the Tokio runtime could not be built", Some(Box::new(error)))
        })?;
        let start = {
            let _entered = runtime.enter();
            tokio::time::Instant::now()
        };
        let shared = Arc::new(Shared { observer, start, next: AtomicU64::new(1) });
        Ok(PausedExecutor { runtime, shared })
    }
}

impl Executor for PausedExecutor {
    type Backend = Paused;

    const NAME: &'static str = NAME;

    const HOSTED: bool = true;

    fn build(_: &Threads) -> Result<PausedExecutor, StartError> {
        PausedExecutor::new(Observer::new(Plan::default()))
    }

    fn backend(&self) -> Paused {
        Paused { handle: self.runtime.handle().clone(), shared: self.shared.clone() }
    }
}

impl BlockOn for PausedExecutor {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let shared = self.shared.clone();
        self.runtime.block_on(async {
            drop(tokio::spawn(shared.clone().watch_for_rest()));
            let output = shared.clone().counted(TaskId::MAIN, future).await;
            shared.observer.main_over(shared.now(), Duration::ZERO);
            output
        })
    }
}

impl Shutdown for PausedExecutor {
    async fn shutdown(self, _: Duration) -> Result<(), Unfinished> {
        // Drops all tasks. There is no thread, unless the user's own code asked for one.
        self.runtime.shutdown_background();
        Ok(())
    }
}

impl fmt::Debug for PausedExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PausedExecutor").finish_non_exhaustive()
    }
}
