//! A runtime with a `LocalSet`, for futures that are not `Send`.
//!
//! A backend may go to any thread, a set may not. So the backend has the set's number, and each thread
//! knows the sets that were announced on it: on any other thread the number is not found.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use adjourn_core::StartError;
use adjourn_core::rt::{
    AnyBackend, Backend, BlockOn, Executor, Shutdown, SpawnBlocking, SpawnLocal, Spawner, Threads,
    Timer, Unfinished,
};
use tokio::task::LocalSet;

use crate::{NAME, Sleep, Tokio, TokioExecutor, TokioHandle};

thread_local! {
    /// The sets of this thread by their numbers.
    static SETS: RefCell<Vec<(u64, Weak<LocalSet>)>> = const { RefCell::new(Vec::new()) };
}

/// Spawns on a Tokio runtime, and what is not `Send` on a `LocalSet`.
///
/// A program that [`TokioLocalExecutor`] runs has this backend:
/// `Scope::current().typed::<TokioLocal>()`. It may go to any thread. Only on the thread of the set
/// does it spawn what is not `Send`; elsewhere that gives an error.
#[derive(Clone)]
pub struct TokioLocal {
    tokio: Tokio,
    number: u64,
    home: ThreadId,
}

impl TokioLocal {
    /// Returns a backend of this runtime and of a set on this thread, which its owner runs:
    /// for a program that attaches, or `scope.with_backend(..)`. It does not keep the set alive; once
    /// that is gone, what is spawned on it is dropped and its handle says so.
    ///
    /// The set has to be run for as long as the program: what it drops is cut off in the middle, shielded
    /// or not.
    pub fn new(tokio: Tokio, set: &Rc<LocalSet>) -> TokioLocal {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Relaxed); // each its own, in no order with anything else
        SETS.with_borrow_mut(|sets| {
            sets.retain(|(_, set)| set.strong_count() > 0);
            sets.push((number, Rc::downgrade(set)));
        });
        TokioLocal { tokio, number, home: thread::current().id() }
    }

    /// Returns the set, if this is its thread and it is not gone.
    fn set(&self) -> Option<Rc<LocalSet>> {
        let find = |sets: &RefCell<Vec<(u64, Weak<LocalSet>)>>| {
            let sets = sets.borrow();
            sets.iter().find(|(number, _)| *number == self.number)?.1.upgrade()
        };
        SETS.try_with(find).ok().flatten()
    }
}

impl SpawnLocal for TokioLocal {
    type LocalHandle<T: 'static> = TokioHandle<T>;

    fn is_here(&self) -> bool {
        thread::current().id() == self.home
    }

    fn spawn_local<F>(&self, future: F) -> TokioHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        TokioHandle(self.set().map(|set| set.spawn_local(future)))
    }
}

impl Spawner for TokioLocal {
    type Handle<T: Send> = TokioHandle<T>;

    fn spawn<F>(&self, future: F) -> TokioHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tokio.spawn(future)
    }
}

impl SpawnBlocking for TokioLocal {
    fn spawn_blocking<F, T>(&self, job: F) -> TokioHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.tokio.spawn_blocking(job)
    }
}

impl Timer for TokioLocal {
    type Sleep = Sleep;

    fn now(&self) -> Instant {
        self.tokio.now()
    }

    fn sleep(&self, span: Duration) -> Sleep {
        self.tokio.sleep(span)
    }
}

impl Backend for TokioLocal {
    fn erase(&self) -> AnyBackend {
        AnyBackend::with_blocking(NAME, self.clone())
    }
}

impl fmt::Debug for TokioLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioLocal").field("home", &self.home).finish_non_exhaustive()
    }
}

/// A Tokio runtime that `run` owns, with a `LocalSet` on the calling thread.
///
/// Multi-threaded unless [`current_thread`](adjourn_core::Runner::current_thread) is asked for: the
/// workers run what is `Send`, and the calling thread `main` and what is not. A local task that blocks
/// that thread holds up `main` and `run`; hooks and all else go on, on the workers, and
/// [`exit_when_stuck`](adjourn_core::Runner::exit_when_stuck) ends the process at the deadline.
///
/// # Examples
///
/// ```
/// use adjourn_core::{Runner, Scope};
/// use adjourn_tokio::{TokioLocal, TokioLocalExecutor};
/// use std::rc::Rc;
///
/// let exit = Runner::<TokioLocalExecutor>::new().run(async {
///     let scope = Scope::current().typed::<TokioLocal>().expect("this program's backend");
///     let shared = Rc::new(3);
///     let task = scope.spawn_local(async move { shared });
///     assert_eq!(*task.await.unwrap(), 3);
/// });
/// assert_eq!(exit.exit_code(), 0);
/// ```
#[derive(Debug)]
pub struct TokioLocalExecutor {
    set: Rc<LocalSet>,
    executor: TokioExecutor,
    backend: TokioLocal,
}

impl Executor for TokioLocalExecutor {
    type Backend = TokioLocal;

    const NAME: &'static str = NAME;

    /// By that flag Tokio tells `tracing` of each wake: what listens is the user's.
    const WAKES_AT_ONCE: bool = !cfg!(tokio_unstable);

    fn build(threads: &Threads) -> Result<TokioLocalExecutor, StartError> {
        let executor = TokioExecutor::build(threads)?;
        let set = Rc::new(LocalSet::new());
        let backend = TokioLocal::new(executor.backend(), &set);
        Ok(TokioLocalExecutor { set, executor, backend })
    }

    fn backend(&self) -> TokioLocal {
        self.backend.clone()
    }

    /// Those of the runtime: the set counts nothing.
    fn count_tasks(&self, own: usize, within: Duration) -> Option<usize> {
        self.executor.count_tasks(own, within)
    }
}

impl BlockOn for TokioLocalExecutor {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.executor.block_on(self.set.run_until(future))
    }
}

impl Shutdown for TokioLocalExecutor {
    fn shutdown(self, within: Duration) -> impl Future<Output = Result<(), Unfinished>> + Send {
        // Here and not in the future, which may go to another thread: what is left on the set is
        // dropped on its own one.
        drop(self.set);
        self.executor.shutdown(within)
    }
}
