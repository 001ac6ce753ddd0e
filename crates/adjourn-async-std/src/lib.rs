//! Adjourn's adapter for async-std: what the facade's `adjourn::async_std` is made of.
//!
//! **Legacy.** async-std is discontinued; its authors point to smol, for which Adjourn has an
//! adapter too. This one stays complete. async-std's executor is one for the process and never
//! ends: what a program leaves on it is dropped at its next yield.

#![forbid(unsafe_code)]

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use adjourn_core::rt::{
    AnyBackend, Backend, BlockOn, Executor, Inside, Shutdown, SpawnBlocking, Spawner, Threads,
    Timer, Unfinished,
};
use adjourn_core::{ExecutorGone, StartError};
use async_std::task::{self, JoinHandle};

const NAME: &str = "async-std";

/// Spawns on async-std's executor, which is one for the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsyncStd;

/// Resolves to what a future spawned on [`AsyncStd`] returns. Dropped, it detaches.
#[derive(Debug)]
pub struct AsyncStdHandle<T> {
    task: JoinHandle<T>,
    /// The task may have a waker of whoever awaits it.
    awaited: bool,
}

impl<T> AsyncStdHandle<T> {
    fn new(task: JoinHandle<T>) -> AsyncStdHandle<T> {
        AsyncStdHandle { task, awaited: false }
    }
}

impl<T> Future for AsyncStdHandle<T> {
    type Output = Result<T, ExecutorGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.task).poll(cx);
        self.awaited = polled.is_pending();
        polled.map(Ok)
    }
}

impl<T> Drop for AsyncStdHandle<T> {
    fn drop(&mut self) {
        if self.awaited {
            // Its last waker goes only for another one. It panics where the future did.
            let mut cx = Context::from_waker(Waker::noop());
            _ = catch_unwind(AssertUnwindSafe(|| {
                Pin::new(&mut self.task).poll(&mut cx).is_ready()
            }));
        }
    }
}

impl Spawner for AsyncStd {
    type Handle<T: Send> = AsyncStdHandle<T>;

    fn spawn<F>(&self, future: F) -> AsyncStdHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        AsyncStdHandle::new(task::spawn(future))
    }
}

impl SpawnBlocking for AsyncStd {
    fn spawn_blocking<F, T>(&self, job: F) -> AsyncStdHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        AsyncStdHandle::new(task::spawn_blocking(job))
    }
}

/// A sleep of [`AsyncStd`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep(async_io::Timer);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}

impl Timer for AsyncStd {
    type Sleep = Sleep;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, span: Duration) -> Sleep {
        Sleep(async_io::Timer::after(span))
    }
}

impl Backend for AsyncStd {
    fn erase(&self) -> AnyBackend {
        AnyBackend::with_blocking(NAME, *self)
    }
}

/// async-std's executor as one that `run` uses; it is never ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct AsyncStdExecutor;

impl Executor for AsyncStdExecutor {
    type Backend = AsyncStd;

    const NAME: &'static str = NAME;

    /// The executor is the process's: it goes on.
    const ENDS: bool = false;

    const WAKES_AT_ONCE: bool = true;

    fn build(threads: &Threads) -> Result<AsyncStdExecutor, StartError> {
        if threads.workers.is_some() {
            return Err(StartError::options(
                "async-std's threads are fixed for the process at its first use: set the \
                 environment variable ASYNC_STD_THREAD_COUNT, not the runner's worker threads",
            ));
        }
        if threads.blocking.is_some() {
            return Err(StartError::options(
                "async-std's blocking pool is one for the process: set its size with the \
                 environment variable BLOCKING_MAX_THREADS, not on the runner",
            ));
        }
        start()?;
        Ok(AsyncStdExecutor)
    }

    fn backend(&self) -> AsyncStd {
        AsyncStd
    }
}

/// Starts async-io's reactor and async-std's threads, which would else start at their first use.
///
/// Where threads or descriptors have run out it fails or panics. Later such a panic would meet futures
/// half-way, and sleeps that panic again as they are dropped, which aborts the process.
fn start() -> Result<(), StartError> {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if !STARTED.load(Ordering::SeqCst) {
        // Without a thread to be had, async-io panics twice at once: one is tried first.
        let trial = thread::Builder::new().spawn(|| ()).map(thread::JoinHandle::join);
        if let Err(error) = trial {
            let what = "async-io's thread could not be started";
            return Err(StartError::executor(what, Some(Box::new(error))));
        }
        // Pending once, since it looks at the reactor only then. No sleep, for the reason above.
        async_io::block_on(task::yield_now());
        task::block_on(task::spawn(async {}));
        STARTED.store(true, Ordering::SeqCst);
    }
    Ok(())
}

impl BlockOn for AsyncStdExecutor {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        task::block_on(future)
    }
}

impl Shutdown for AsyncStdExecutor {
    async fn shutdown(self, _: Duration) -> Result<(), Unfinished> {
        Ok(())
    }
}

impl Inside for AsyncStdExecutor {
    fn inside() -> Result<AsyncStd, StartError> {
        Ok(AsyncStd)
    }
}
