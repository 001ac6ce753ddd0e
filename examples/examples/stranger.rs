//! An adapter for an executor that Adjourn does not ship: `LocalPool` of the futures crate.
//!
//! `tests/stranger.rs` proves it with the conformance kit. It runs everything on the thread that
//! calls; timers are async-io's, and each blocking job has a thread of its own.

use std::cell::RefCell;
use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use adjourn_core::rt::{
    AnyBackend, Backend, BlockOn, Executor, Shutdown, SpawnBlocking, Spawner, Threads, Timer,
    Unfinished,
};
use adjourn_core::{ExecutorGone, Exit, Runner, Scope, StartError, spawn};
use futures::channel::{mpsc, oneshot};
use futures::executor::LocalPool;
use futures::future::{BoxFuture, Fuse, FutureExt, Map};
use futures::stream::StreamExt;
use futures::task::LocalSpawnExt;

/// Spawns on a pool, from any thread: by what the pool takes in.
#[derive(Clone)]
pub struct Pool(mpsc::UnboundedSender<BoxFuture<'static, ()>>);

/// Resolves to a future's output. Dropped, it detaches: nobody listens any more.
pub struct Handle<T>(oneshot::Receiver<T>);

impl<T> Future for Handle<T> {
    type Output = Result<T, ExecutorGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(cx).map_err(|_| ExecutorGone)
    }
}

impl Spawner for Pool {
    type Handle<T: Send + 'static> = Handle<T>;

    fn spawn<F>(&self, future: F) -> Handle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (done, handle) = oneshot::channel();
        let future = future.map(|output| _ = done.send(output)).boxed();
        _ = self.0.unbounded_send(future); // refused after the end: both are dropped
        Handle(handle)
    }
}

impl SpawnBlocking for Pool {
    fn spawn_blocking<F, T>(&self, job: F) -> Handle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (done, handle) = oneshot::channel();
        thread::spawn(move || _ = done.send(job()));
        Handle(handle)
    }
}

impl Timer for Pool {
    type Sleep = Fuse<Map<async_io::Timer, fn(Instant)>>;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, span: Duration) -> Self::Sleep {
        FutureExt::map(async_io::Timer::after(span), drop as fn(Instant)).fuse()
    }
}

impl Backend for Pool {
    fn erase(&self) -> AnyBackend {
        AnyBackend::with_blocking(PoolExecutor::NAME, self.clone())
    }
}

/// A `LocalPool` that `run` owns.
pub struct PoolExecutor(RefCell<LocalPool>, Pool);

impl Executor for PoolExecutor {
    type Backend = Pool;

    const NAME: &'static str = "futures";

    fn build(threads: &Threads) -> Result<PoolExecutor, StartError> {
        if threads.workers.is_some_and(|workers| workers > 0) || threads.blocking.is_some() {
            return Err(StartError::options("a LocalPool has no threads: ask for none"));
        }
        let (pool, (send, mut incoming)) = (LocalPool::new(), mpsc::unbounded());
        let spawner = pool.spawner();
        let take_in = async move {
            while let Some(future) = incoming.next().await {
                _ = spawner.spawn_local(future);
            }
        };
        pool.spawner().spawn_local(take_in).expect("the pool is there");
        Ok(PoolExecutor(RefCell::new(pool), Pool(send)))
    }

    fn backend(&self) -> Pool {
        self.1.clone()
    }
}

impl BlockOn for PoolExecutor {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.borrow_mut().run_until(future)
    }
}

impl Shutdown for PoolExecutor {
    fn shutdown(self, _: Duration) -> impl Future<Output = Result<(), Unfinished>> + Send {
        drop(self); // at once: the pool and what is on it belong to this thread
        ready(Ok(()))
    }
}

fn main() -> Exit {
    Runner::<PoolExecutor>::new().run(async {
        let ticking = async {
            for tick in 1.. {
                println!("tick {tick}");
                Scope::current().sleep(Duration::from_millis(500)).await;
            }
        };
        let cleanup = async { println!("cleaned up") };
        spawn(adjourn_core::FutureExt::on_cancel(ticking, cleanup));
        println!("Ctrl-C ends it");
    })
}
