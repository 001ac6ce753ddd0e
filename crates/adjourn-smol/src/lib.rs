//! Adjourn's adapter for smol: what the facade's `adjourn::smol` is made of.
//!
//! [`Smol`] spawns on an [`async_executor::Executor`], which is `smol::Executor`;
//! [`SmolExecutor`] is one that `run` owns, with threads that run it. The parts that smol itself is
//! made of are used: async-executor, async-io, blocking.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(feature = "signal", any(unix, windows)))]
mod signals;

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use adjourn_core::rt::{
    AnyBackend, Backend, BlockOn, Executor, Shutdown, SpawnBlocking, SpawnLocal, Spawner, Threads,
    Timer, Unfinished,
};
use adjourn_core::{ExecutorGone, StartError};
use async_executor::{Executor as AsyncExecutor, LocalExecutor};
use async_task::{FallibleTask, Task};

#[cfg(all(feature = "signal", any(unix, windows)))]
pub use signals::Signals;

const NAME: &str = "smol";

/// Spawns on a smol executor, which it does not keep alive: once that is gone, what is spawned is
/// dropped and its handle says so.
#[derive(Clone)]
pub struct Smol {
    executor: Source,
}

#[derive(Clone)]
enum Source {
    Shared(Weak<AsyncExecutor<'static>>),
    Static(&'static AsyncExecutor<'static>),
}

impl From<&Arc<AsyncExecutor<'static>>> for Smol {
    fn from(executor: &Arc<AsyncExecutor<'static>>) -> Smol {
        Smol { executor: Source::Shared(Arc::downgrade(executor)) }
    }
}

impl From<&'static AsyncExecutor<'static>> for Smol {
    fn from(executor: &'static AsyncExecutor<'static>) -> Smol {
        Smol { executor: Source::Static(executor) }
    }
}

impl fmt::Debug for Smol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smol").finish_non_exhaustive()
    }
}

/// Resolves to what a future spawned on [`Smol`] returns. Dropped, it detaches, where smol's own
/// cancels.
#[derive(Debug)]
pub struct SmolHandle<T> {
    task: Option<FallibleTask<T>>,
    /// The task may have a waker of whoever awaits it.
    awaited: bool,
}

impl<T> SmolHandle<T> {
    fn new(task: Task<T>) -> SmolHandle<T> {
        SmolHandle { task: Some(task.fallible()), awaited: false }
    }

    fn gone() -> SmolHandle<T> {
        SmolHandle { task: None, awaited: false }
    }
}

impl<T> Future for SmolHandle<T> {
    type Output = Result<T, ExecutorGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.awaited = true;
        let Some(task) = self.task.as_mut() else { return Poll::Ready(Err(ExecutorGone)) };
        let output = std::task::ready!(Pin::new(task).poll(cx));
        self.task = None; // over: nothing to detach
        Poll::Ready(output.ok_or(ExecutorGone))
    }
}

impl<T> Drop for SmolHandle<T> {
    fn drop(&mut self) {
        let Some(mut task) = self.task.take() else { return };
        if self.awaited {
            // Its last waker goes only for another one.
            let mut cx = Context::from_waker(Waker::noop());
            if Pin::new(&mut task).poll(&mut cx).is_ready() {
                return;
            }
        }
        task.detach();
    }
}

impl Spawner for Smol {
    type Handle<T: Send> = SmolHandle<T>;

    fn spawn<F>(&self, future: F) -> SmolHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.executor {
            Source::Static(executor) => SmolHandle::new(executor.spawn(future)),
            Source::Shared(executor) => match executor.upgrade() {
                Some(executor) => SmolHandle::new(executor.spawn(future)),
                None => SmolHandle::gone(),
            },
        }
    }
}

impl SpawnBlocking for Smol {
    fn spawn_blocking<F, T>(&self, job: F) -> SmolHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        SmolHandle::new(blocking::unblock(job))
    }
}

/// A sleep of [`Smol`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep(async_io::Timer);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}

impl Timer for Smol {
    type Sleep = Sleep;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, span: Duration) -> Sleep {
        Sleep(async_io::Timer::after(span))
    }
}

impl Backend for Smol {
    fn erase(&self) -> AnyBackend {
        AnyBackend::with_blocking(NAME, self.clone())
    }
}

/// Spawns futures that are not `Send` on a local executor, which its owner runs.
#[derive(Clone, Debug)]
pub struct SmolLocal {
    executor: Rc<LocalExecutor<'static>>,
}

impl From<&Rc<LocalExecutor<'static>>> for SmolLocal {
    fn from(executor: &Rc<LocalExecutor<'static>>) -> SmolLocal {
        SmolLocal { executor: executor.clone() }
    }
}

impl SpawnLocal for SmolLocal {
    type LocalHandle<T: 'static> = SmolHandle<T>;

    fn spawn_local<F>(&self, future: F) -> SmolHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        SmolHandle::new(self.executor.spawn(future))
    }
}

/// A smol executor that `run` owns, and the threads that run it.
///
/// Without a number of workers there are as many as smol itself would start: `SMOL_THREADS`, or
/// one. With none, the calling thread runs everything.
#[derive(Debug)]
pub struct SmolExecutor {
    executor: Arc<AsyncExecutor<'static>>,
    workers: usize,
    /// Dropped, it ends the workers.
    keep: Option<async_channel::Sender<()>>,
    /// Closed once the last worker is over.
    over: mpsc::Receiver<()>,
}

impl Executor for SmolExecutor {
    type Backend = Smol;

    const NAME: &'static str = NAME;

    const WAKES_AT_ONCE: bool = true;

    fn build(threads: &Threads) -> Result<SmolExecutor, StartError> {
        if threads.blocking.is_some() {
            return Err(StartError::options(
                "smol's blocking pool is one for the process: set its size with the environment \
                 variable BLOCKING_MAX_THREADS, not on the runner",
            ));
        }
        start_reactor()?;
        let default = || std::env::var("SMOL_THREADS").ok().and_then(|n| n.parse().ok());
        let workers = threads.workers.or_else(default).unwrap_or(1);
        let executor = Arc::new(AsyncExecutor::new());
        let (keep, ended) = async_channel::bounded::<()>(1);
        let (works, over) = mpsc::channel::<()>();
        for number in 0..workers {
            let (executor, ended) = (executor.clone(), ended.clone());
            let (works, on_start) = (works.clone(), threads.on_start.clone());
            let work = move || {
                let _works = works;
                // Dropped before it: once all workers are said to be over, none has a share of the
                // executor, and it ends where it is dropped.
                let (executor, ended) = (executor, ended);
                if let Some(on_start) = on_start {
                    on_start();
                }
                // A task that is not ours may panic: the thread goes on, as smol's own do.
                while catch_unwind(AssertUnwindSafe(|| {
                    async_io::block_on(executor.run(async { _ = ended.recv().await }));
                }))
                .is_err()
                {}
            };
            let thread = thread::Builder::new().name(format!("smol-{number}"));
            thread.spawn(work).map_err(|error| {
                StartError::executor("a smol worker could not be started", Some(Box::new(error)))
            })?;
        }
        Ok(SmolExecutor { executor, workers, keep: Some(keep), over })
    }

    fn backend(&self) -> Smol {
        Smol::from(&self.executor)
    }
}

/// Starts async-io's thread and its reactor, which would else start at the first wait.
///
/// Where threads or descriptors have run out it fails or panics. Later such a panic would meet futures
/// half-way, and sleeps that panic again as they are dropped, which aborts the process.
fn start_reactor() -> Result<(), StartError> {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if !STARTED.load(Ordering::SeqCst) {
        // Without a thread to be had, async-io panics twice at once: one is tried first.
        let trial = thread::Builder::new().spawn(|| ()).map(thread::JoinHandle::join);
        if let Err(error) = trial {
            let what = "async-io's thread could not be started";
            return Err(StartError::executor(what, Some(Box::new(error))));
        }
        // Pending once, since it looks at the reactor only then. No sleep, for the reason above.
        let mut polls = 0..1;
        async_io::block_on(std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            polls.next().map_or(Poll::Ready(()), |_| Poll::Pending)
        }));
        STARTED.store(true, Ordering::SeqCst);
    }
    Ok(())
}

impl BlockOn for SmolExecutor {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        if self.workers == 0 {
            async_io::block_on(self.executor.run(future))
        } else {
            async_io::block_on(future)
        }
    }
}

impl Shutdown for SmolExecutor {
    async fn shutdown(mut self, within: Duration) -> Result<(), Unfinished> {
        drop(self.keep.take());
        // Nothing is sent: it resolves when the workers' ends are all dropped, or not in time.
        let over = self.over.recv_timeout(within) != Err(RecvTimeoutError::Timeout);
        // With the workers gone this drops what is left of the tasks.
        drop(self.executor);
        if over { Ok(()) } else { Err(Unfinished) }
    }
}
