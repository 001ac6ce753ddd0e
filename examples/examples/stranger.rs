//! An adapter for an executor that Adjourn does not ship: `LocalPool` of the futures crate.
//!
//! `tests/stranger.rs` proves it with the conformance kit. It runs everything on the thread that
//! calls; timers are async-io's, and each blocking job has a thread of its own.

use std::cell::RefCell;
use std::future::{Future, ready};
use std::thread;
use std::time::{Duration, Instant};

use adjourn_core::rt::{
    AnyBackend, AnyHandle, Backend, BlockOn, Executor, Fused, Queue, Remote, Shutdown,
    SpawnBlocking, Spawner, Threads, Timer, Unfinished,
};
use adjourn_core::{Exit, Runner, Scope, StartError, spawn};
use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;

/// Spawns on a pool, from any thread: by what the pool takes in.
#[derive(Clone)]
pub struct Pool(Queue<Remote>);

impl Spawner for Pool {
    type Handle<T: Send> = AnyHandle<T>;

    fn spawn<F>(&self, future: F) -> AnyHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (task, handle) = Remote::new(future);
        self.0.push(task); // dropped after the end, and the handle resolves
        handle
    }
}

impl SpawnBlocking for Pool {
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

impl Timer for Pool {
    type Sleep = Fused<async_io::Timer>;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, span: Duration) -> Self::Sleep {
        Fused::new(async_io::Timer::after(span))
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
        let (pool, queue) = (LocalPool::new(), Queue::new());
        let (spawner, incoming) = (pool.spawner(), queue.clone());
        let take_in = async move {
            while let Some(task) = incoming.next().await {
                _ = spawner.spawn_local(task);
            }
        };
        pool.spawner().spawn_local(take_in).expect("the pool is there");
        Ok(PoolExecutor(RefCell::new(pool), Pool(queue)))
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
        // At once: the pool and what is on it belong to this thread.
        self.1.0.close();
        drop(self.0);
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
