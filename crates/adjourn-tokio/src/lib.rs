//! Adjourn's adapter for Tokio: what the facade's `adjourn::tokio` is made of.
//!
//! [`Tokio`] spawns on a runtime; [`TokioExecutor`] is a runtime that `run` owns, multi-threaded
//! unless [`current_thread`](adjourn_core::Runner::current_thread) is asked for.
//!
//! [`TokioLocal`] also spawns what is not `Send`, on a `LocalSet`; [`TokioLocalExecutor`] is a runtime
//! with one.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod local;
#[cfg(all(feature = "signal", any(unix, windows)))]
mod signals;
mod sleep;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use adjourn_core::rt::{
    AnyBackend, Backend, BlockOn, Executor, Inside, Shutdown, SpawnBlocking, Spawner, Threads,
    Timer, Unfinished,
};
use adjourn_core::{ExecutorGone, StartError};
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};
use tokio::task::JoinHandle;

pub use local::{TokioLocal, TokioLocalExecutor};
#[cfg(all(feature = "signal", any(unix, windows)))]
pub use signals::Signals;
pub use sleep::Sleep;

const NAME: &str = "tokio";

/// The longest wait that Tokio is given: some of its sums with an `Instant` overflow beyond.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Spawns on a Tokio runtime.
#[derive(Clone, Debug)]
pub struct Tokio {
    handle: Handle,
}

impl Tokio {
    /// Returns the backend of the runtime that the caller is inside.
    ///
    /// # Errors
    ///
    /// [`StartError`], outside of every runtime.
    pub fn current() -> Result<Tokio, StartError> {
        Handle::try_current().map(Tokio::from).map_err(|error| {
            StartError::executor(
                "there is no Tokio runtime here: call this inside `#[tokio::main]` or \
                 `block_on`, or use `run`, which starts one",
                Some(Box::new(error)),
            )
        })
    }
}

impl From<Handle> for Tokio {
    fn from(handle: Handle) -> Tokio {
        Tokio { handle }
    }
}

/// Resolves to what a future spawned on [`Tokio`] returns. Dropped, it detaches.
#[derive(Debug)]
pub struct TokioHandle<T>(Option<JoinHandle<T>>);

impl<T> Future for TokioHandle<T> {
    type Output = Result<T, ExecutorGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(task) = self.0.as_mut() else { return Poll::Ready(Err(ExecutorGone)) };
        // What is spawned here never panics: the error is always the runtime's end.
        Pin::new(task).poll(cx).map_err(|_| ExecutorGone)
    }
}

impl Spawner for Tokio {
    type Handle<T: Send> = TokioHandle<T>;

    fn spawn<F>(&self, future: F) -> TokioHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        TokioHandle(Some(self.handle.spawn(future)))
    }
}

impl SpawnBlocking for Tokio {
    fn spawn_blocking<F, T>(&self, job: F) -> TokioHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        TokioHandle(Some(self.handle.spawn_blocking(job)))
    }
}

impl Timer for Tokio {
    type Sleep = Sleep;

    fn now(&self) -> Instant {
        if is_at_threads_end() {
            return Instant::now();
        }
        // Entered, so that the clock is the runtime's own, which a test may have paused.
        let _entered = self.handle.enter();
        tokio::time::Instant::now().into_std()
    }

    fn sleep(&self, span: Duration) -> Sleep {
        Sleep::new(&self.handle, span)
    }
}

/// Whether this thread runs the destructors of its thread-locals and Tokio's are gone already. A panic
/// there would abort the process, and `Handle::enter` panics then.
fn is_at_threads_end() -> bool {
    Handle::try_current().is_err_and(|error| error.is_thread_local_destroyed())
}

impl Backend for Tokio {
    fn erase(&self) -> AnyBackend {
        AnyBackend::with_blocking(NAME, self.clone())
    }
}

/// A Tokio runtime that `run` owns.
#[derive(Debug)]
pub struct TokioExecutor {
    runtime: Runtime,
}

impl TokioExecutor {
    /// Builds a runtime with these threads, of which `set` sets what else there is: names, the size of
    /// stacks, how often it looks for events. For
    /// [`Runner::build_with`](adjourn_core::Runner::build_with).
    ///
    /// `set` is called once, on the thread that calls. What it sets of numbers of threads stands where
    /// `threads` leaves them open. `on_thread_start` is the program's: what else is to run first on each
    /// thread goes into [`Threads::on_start`], beside what is there.
    ///
    /// # Errors
    ///
    /// [`StartError`], when the calling thread is inside a runtime already, when these threads are none
    /// that Tokio can have, or with the system's error.
    ///
    /// # Examples
    ///
    /// ```
    /// use adjourn_core::{Exit, Runner};
    /// use adjourn_tokio::TokioExecutor;
    ///
    /// fn main() -> Exit {
    ///     let runner = Runner::<TokioExecutor>::new().build_with(|threads| {
    ///         TokioExecutor::build_with(threads, |builder| {
    ///             builder.thread_name("shop").thread_stack_size(8 << 20);
    ///         })
    ///     });
    ///     runner.run(async { /* .. */ })
    /// }
    /// ```
    pub fn build_with(
        threads: &Threads,
        set: impl FnOnce(&mut Builder),
    ) -> Result<TokioExecutor, StartError> {
        if Handle::try_current().is_ok() {
            return Err(StartError::nested(
                "`run` was called inside a Tokio runtime, which cannot be blocked: write \
                 `Runner::new().attach(main).await` there, or call `run` from a plain `fn main`",
            ));
        }
        let mut builder = match threads.workers {
            Some(0) => Builder::new_current_thread(),
            _ => Builder::new_multi_thread(),
        };
        set(&mut builder);
        if let Some(workers) = threads.workers.filter(|workers| *workers > 0) {
            builder.worker_threads(workers);
        }
        match threads.blocking {
            Some(0) => {
                return Err(StartError::options(
                    "Tokio needs at least one blocking thread: ask for one, or leave the number \
                     to it",
                ));
            }
            Some(blocking) => _ = builder.max_blocking_threads(blocking),
            None => {}
        }
        if let Some(on_start) = threads.on_start.clone() {
            builder.on_thread_start(move || on_start());
        }
        let runtime = builder.enable_all().build().map_err(|error| {
            StartError::executor("the Tokio runtime could not be built", Some(Box::new(error)))
        })?;
        Ok(TokioExecutor { runtime })
    }
}

impl Executor for TokioExecutor {
    type Backend = Tokio;

    const NAME: &'static str = NAME;

    /// By that flag Tokio tells `tracing` of each wake: what listens is the user's.
    const WAKES_AT_ONCE: bool = !cfg!(tokio_unstable);

    fn build(threads: &Threads) -> Result<TokioExecutor, StartError> {
        TokioExecutor::build_with(threads, |_| ())
    }

    fn backend(&self) -> Tokio {
        Tokio::from(self.runtime.handle().clone())
    }

    fn count_tasks(&self, own: usize, within: Duration) -> Option<usize> {
        Some(count_tasks(self.runtime.handle(), own, within))
    }
}

/// How long the runtime is waited for to let go of tasks that are over.
const LETS_GO: Duration = Duration::from_millis(20);

/// Counts the runtime's tasks. What is over is counted until its worker lets go of it, which is soon
/// after its output is there, unless the system runs others instead of that thread.
fn count_tasks(handle: &Handle, own: usize, within: Duration) -> usize {
    // Where the calling thread runs all tasks it has let go of them already.
    let exact = handle.runtime_flavor() == RuntimeFlavor::CurrentThread;
    let start = Instant::now();
    let mut turns = 0;
    loop {
        let alive = handle.metrics().num_alive_tasks();
        if alive <= own || exact || start.elapsed() >= within.min(LETS_GO) {
            return alive;
        }
        // Mostly it takes a microsecond or two. To sleep would cost each program fifty.
        if turns < 32 {
            turns += 1;
            thread::yield_now();
        } else {
            thread::sleep(Duration::from_micros(50));
        }
    }
}

impl BlockOn for TokioExecutor {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

impl Shutdown for TokioExecutor {
    async fn shutdown(self, within: Duration) -> Result<(), Unfinished> {
        let start = Instant::now();
        self.runtime.shutdown_timeout(within.min(LONGEST));
        // It does not say whether all threads were over: what used up its time was not.
        if within > Duration::ZERO && start.elapsed() < within { Ok(()) } else { Err(Unfinished) }
    }
}

impl Inside for TokioExecutor {
    fn inside() -> Result<Tokio, StartError> {
        Tokio::current()
    }
}
