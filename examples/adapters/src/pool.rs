//! The `ThreadPool` of the futures crate: worker threads, and a thread for each blocking job.
//!
//! Main runs on the calling thread. Timers are async-io's.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use adjourn_core::StartError;
use adjourn_core::rt::{
    AnyBackend, AnyHandle, Backend, BlockOn, Executor, Fused, Remote, Shutdown, SpawnBlocking,
    Spawner, Threads, Timer, Unfinished,
};
use futures::executor::{ThreadPool, block_on};
use futures::future::{AbortHandle, Abortable};
use futures::task::AtomicWaker;
use slab::Slab;

/// Spawns on a pool.
#[derive(Clone)]
pub struct Pool(Arc<Mutex<State>>);

struct State {
    /// None once it has ended.
    pool: Option<ThreadPool>,
    /// Ends each task that is alive: the pool itself would keep those that wait.
    alive: Slab<AbortHandle>,
}

/// Forgets its task.
struct Alive(Pool, usize);

impl Drop for Alive {
    fn drop(&mut self) {
        let ended = self.0.0.lock().unwrap().alive.try_remove(self.1);
        drop(ended); // not under the lock
    }
}

/// A task that goes behind the others when it wakes itself: the pool would poll it again at once.
struct Fair {
    task: Abortable<Remote>,
    own: Arc<Own>,
    alive: Alive,
}

/// The waker of one task.
#[derive(Default)]
struct Own {
    waker: AtomicWaker,
    state: AtomicU8,
}

const IDLE: u8 = 0;
const POLLING: u8 = 1;
const WOKEN: u8 = 2;

impl Wake for Own {
    fn wake(self: Arc<Self>) {
        if self.state.compare_exchange(POLLING, WOKEN, SeqCst, SeqCst) == Err(IDLE) {
            self.waker.wake();
        }
    }
}

impl Future for Fair {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.own.waker.register(cx.waker());
        self.own.state.store(POLLING, SeqCst);
        let waker = Waker::from(self.own.clone());
        let polled = Pin::new(&mut self.task).poll(&mut Context::from_waker(&waker));
        if self.own.state.swap(IDLE, SeqCst) == WOKEN && polled.is_pending() {
            let pool = self.alive.0.0.lock().unwrap().pool.clone();
            let own = self.own.clone();
            match pool {
                Some(pool) => pool.spawn_ok(async move { own.waker.wake() }),
                None => own.waker.wake(),
            }
        }
        polled.map(|_| ())
    }
}

impl Drop for Fair {
    fn drop(&mut self) {
        // Wakers may be kept long after the task. The pool's own would keep its workers.
        drop(self.own.waker.take());
    }
}

impl Spawner for Pool {
    type Handle<T: Send> = AnyHandle<T>;

    fn spawn<F>(&self, future: F) -> AnyHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (task, handle) = Remote::new(future);
        let (end, ends) = AbortHandle::new_pair();
        let mut state = self.0.lock().unwrap();
        if let Some(pool) = state.pool.clone() {
            let alive = Alive(self.clone(), state.alive.insert(end));
            drop(state);
            let own = Arc::default();
            pool.spawn_ok(Fair { task: Abortable::new(task, ends), own, alive });
        }
        handle // after the end the task is dropped here, and this resolves
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

/// A `ThreadPool` that `run` owns.
pub struct PoolExecutor {
    backend: Pool,
    workers: usize,
    /// Told by each worker when it ends.
    ended: Receiver<()>,
}

impl Executor for PoolExecutor {
    type Backend = Pool;

    const NAME: &'static str = "futures-pool";

    fn build(threads: &Threads) -> Result<PoolExecutor, StartError> {
        if threads.workers == Some(0) || threads.blocking.is_some() {
            return Err(StartError::options(
                "a ThreadPool has one worker at least, and a thread for each blocking job",
            ));
        }
        let default = || thread::available_parallelism().map_or(1, usize::from);
        let workers = threads.workers.unwrap_or_else(default);
        let (ends, ended) = mpsc::channel();
        let (ends, on_start) = (Mutex::new(ends), threads.on_start.clone());
        let mut builder = ThreadPool::builder();
        builder.pool_size(workers).before_stop(move |_| _ = ends.lock().unwrap().send(()));
        builder.after_start(move |_| on_start.iter().for_each(|on_start| on_start()));
        let pool = builder.create().map_err(|error| {
            StartError::executor("the pool could not be started", Some(Box::new(error)))
        })?;
        let state = State { pool: Some(pool), alive: Slab::new() };
        Ok(PoolExecutor { backend: Pool(Arc::new(Mutex::new(state))), workers, ended })
    }

    fn backend(&self) -> Pool {
        self.backend.clone()
    }
}

impl BlockOn for PoolExecutor {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        block_on(future)
    }
}

impl Shutdown for PoolExecutor {
    async fn shutdown(self, within: Duration) -> Result<(), Unfinished> {
        let start = Instant::now();
        let mut state = self.backend.0.lock().unwrap();
        let pool = state.pool.take();
        let alive: Vec<_> = state.alive.iter().map(|(_, end)| end.clone()).collect();
        drop(state);
        alive.iter().for_each(AbortHandle::abort); // each is polled once more, and dropped
        drop(pool); // the last one: its workers end after that
        for _ in 0..self.workers {
            let left = within.saturating_sub(start.elapsed());
            self.ended.recv_timeout(left).map_err(|_| Unfinished)?;
        }
        Ok(())
    }
}
