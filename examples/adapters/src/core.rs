//! compio: an executor of one thread, on io_uring, whose futures need not be `Send`.
//!
//! What others spawn comes through a [`Queue`]. What is not `Send` is spawned from its own thread, and
//! tracked like the rest: [`SpawnLocal`]. compio's own sleeps stay on its thread too, and a
//! [`Timer`]'s may not: timers are async-io's.

use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use adjourn_core::rt::{
    AnyBackend, AnyHandle, Backend, BlockOn, Executor, Fused, Queue, Remote, Shutdown,
    SpawnBlocking, SpawnLocal, Spawner, Threads, Timer, Unfinished,
};
use adjourn_core::{ExecutorGone, StartError};
use compio::runtime::Runtime;
use futures::channel::oneshot;

/// Spawns on a core, from any thread.
#[derive(Clone)]
pub struct Core {
    queue: Queue<Remote>,
    own: ThreadId,
}

impl Spawner for Core {
    type Handle<T: Send> = AnyHandle<T>;

    fn spawn<F>(&self, future: F) -> AnyHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (task, handle) = Remote::new(future);
        self.queue.push(task);
        handle
    }
}

impl SpawnBlocking for Core {
    fn spawn_blocking<F, T>(&self, job: F) -> AnyHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (job, handle) = Remote::job(job);
        thread::spawn(job);
        handle
    }
}

impl Timer for Core {
    type Sleep = Fused<async_io::Timer>;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, span: Duration) -> Self::Sleep {
        Fused::new(async_io::Timer::after(span))
    }
}

impl Backend for Core {
    fn erase(&self) -> AnyBackend {
        AnyBackend::with_blocking(CoreExecutor::NAME, self.clone())
    }
}

/// Resolves to the output of a future that stays on the core. Dropped, it detaches.
pub struct LocalHandle<T>(oneshot::Receiver<T>);

impl<T> Future for LocalHandle<T> {
    type Output = Result<T, ExecutorGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(|_| ExecutorGone)
    }
}

impl SpawnLocal for Core {
    type LocalHandle<T: 'static> = LocalHandle<T>;

    fn is_here(&self) -> bool {
        self.own == thread::current().id() && Runtime::try_with_current(|_| ()).is_ok()
    }

    fn spawn_local<F>(&self, future: F) -> LocalHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let (done, handle) = oneshot::channel();
        compio::runtime::spawn(async move { _ = done.send(future.await) }).detach();
        LocalHandle(handle)
    }
}

/// A compio runtime that `run` owns.
pub struct CoreExecutor {
    runtime: Runtime,
    backend: Core,
}

impl Executor for CoreExecutor {
    type Backend = Core;

    const NAME: &'static str = "compio";

    fn build(threads: &Threads) -> Result<CoreExecutor, StartError> {
        if threads.workers.is_some_and(|workers| workers > 0) || threads.blocking.is_some() {
            return Err(StartError::options("a core is one thread: ask for no others"));
        }
        let runtime = Runtime::new().map_err(|error| {
            StartError::executor("compio could not be started", Some(Box::new(error)))
        })?;
        let queue = Queue::new();
        let incoming = queue.clone();
        let take_in = async move {
            while let Some(task) = incoming.next().await {
                compio::runtime::spawn(task).detach();
            }
        };
        runtime.spawn(take_in).detach();
        let backend = Core { queue, own: thread::current().id() };
        Ok(CoreExecutor { runtime, backend })
    }

    fn backend(&self) -> Core {
        self.backend.clone()
    }
}

impl BlockOn for CoreExecutor {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

impl Shutdown for CoreExecutor {
    fn shutdown(self, _: Duration) -> impl Future<Output = Result<(), Unfinished>> + Send {
        // At once: the runtime and what is on it belong to this thread.
        self.backend.queue.close();
        drop(self.runtime);
        ready(Ok(()))
    }
}
