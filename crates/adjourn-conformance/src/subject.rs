//! What is tested: an adapter in one configuration.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use adjourn_core::rt::{Backend, BlockOn, Executor, SpawnBlocking, Threads, Unfinished};
use adjourn_core::{Exit, Runner, StartError, Stopper};

use crate::bare::{Bare, Local, Pool};
use crate::setup::Setup;
use crate::tools::block_on;

/// An executor that is there already, for a program to attach to: a test's stand-in for
/// `#[tokio::main]` and its kin.
///
/// Dropping it ends the executor. That must not wait for what is stuck on it (with Tokio:
/// `shutdown_background`), since a program that is attached leaves what it cannot drop.
pub trait Attached: BlockOn + Sized + 'static {
    /// What spawns on it.
    type Backend: Backend;

    /// Starts an executor; each scenario starts its own.
    fn start() -> Self;

    /// Returns what spawns on it.
    fn backend(&self) -> Self::Backend;
}

/// An adapter in one configuration: what the scenarios are run on.
///
/// [`conformance!`](crate::conformance) makes one from its call.
pub struct Subject {
    kind: Box<dyn Kind>,
    workers: Option<usize>,
    has_pool: bool,
}

pub(crate) type Main<'a> =
    Box<dyn FnOnce(Stopper) -> Local<'a, Result<Exit, Box<dyn Error + Send + Sync>>> + 'a>;

trait Kind: Send + Sync {
    fn name(&self) -> &'static str;
    fn is_attached(&self) -> bool;
    fn wakes_at_once(&self) -> bool;
    fn run(&self, workers: Option<usize>, setup: Setup, main: Main<'_>) -> Exit;
    fn start(&self, threads: &Threads) -> Result<Box<dyn Started>, StartError>;
}

/// An executor that runs, without a program.
pub(crate) trait Started {
    fn bare(&self) -> Bare;
    fn block_on(&self, future: Local<'_, ()>);
    /// Ends it; `Ok` says that all is over. An attached one is only dropped, so nobody says.
    fn end(self: Box<Self>, within: Duration) -> Result<(), Unfinished>;
}

struct Owned<E: Executor>(Option<Pool<E::Backend>>);

struct OwnedStarted<E: Executor> {
    executor: E,
    pool: Option<Pool<E::Backend>>,
}

struct AttachedKind<A: Attached>(Option<Pool<A::Backend>>, PhantomData<fn() -> A>);

struct AttachedStarted<A: Attached> {
    executor: A,
    pool: Option<Pool<A::Backend>>,
}

impl Subject {
    /// An executor that `run` starts and ends.
    pub fn owned<E: Executor + 'static>() -> Subject
    where
        E::Backend: SpawnBlocking,
    {
        Subject::new(Owned::<E>(Some(Pool::new())), true)
    }

    /// An executor that `run` starts and ends, and that has no blocking pool.
    pub fn owned_without_pool<E: Executor + 'static>() -> Subject {
        Subject::new(Owned::<E>(None), false)
    }

    /// An executor that programs attach to.
    pub fn attached<A: Attached>() -> Subject
    where
        A::Backend: SpawnBlocking,
    {
        Subject::new(AttachedKind::<A>(Some(Pool::new()), PhantomData), true)
    }

    /// An executor that programs attach to, and that has no blocking pool.
    pub fn attached_without_pool<A: Attached>() -> Subject {
        Subject::new(AttachedKind::<A>(None, PhantomData), false)
    }

    /// Asks for so many worker threads beside the calling one. Default: the executor's own number.
    ///
    /// It has no effect on one that programs attach to: its threads are its own.
    pub fn workers(mut self, workers: usize) -> Subject {
        self.workers = Some(workers);
        self
    }

    fn new(kind: impl Kind + 'static, has_pool: bool) -> Subject {
        Subject { kind: Box::new(kind), workers: None, has_pool }
    }

    pub(crate) fn has_pool(&self) -> bool {
        self.has_pool
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.kind.is_attached()
    }

    /// Returns whether it says that to wake a task waits for nobody.
    pub(crate) fn wakes_at_once(&self) -> bool {
        self.kind.wakes_at_once()
    }

    /// Returns how many threads beside the calling one run tasks, where that is known; where there
    /// is one, the calling one runs none.
    pub(crate) fn known_workers(&self) -> Option<usize> {
        self.workers.filter(|_| !self.is_attached())
    }

    /// Runs a program as its user would: by `run`, or attached.
    pub(crate) fn run(&self, setup: Setup, main: Main<'_>) -> Exit {
        self.kind.run(self.workers, setup, main)
    }

    /// Starts the executor alone.
    pub(crate) fn start(&self) -> Box<dyn Started> {
        let mut threads = Threads::default();
        threads.workers = self.workers;
        self.kind.start(&threads).unwrap_or_else(|error| {
            panic!("the executor could not be built with {threads:?}: {error}")
        })
    }

    /// Starts the executor with other threads, or says why it cannot have them.
    pub(crate) fn start_with(&self, threads: &Threads) -> Result<Box<dyn Started>, StartError> {
        assert!(!self.is_attached(), "what programs attach to has threads of its own");
        self.kind.start(threads)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.name())?;
        match (self.is_attached(), self.workers) {
            (true, _) => f.write_str(", attached"),
            (_, Some(workers)) => write!(f, ", workers: {workers}"),
            (_, None) => Ok(()),
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({self})")
    }
}

impl<E: Executor + 'static> Kind for Owned<E> {
    fn name(&self) -> &'static str {
        E::NAME
    }

    fn is_attached(&self) -> bool {
        false
    }

    fn wakes_at_once(&self) -> bool {
        E::WAKES_AT_ONCE
    }

    fn run(&self, workers: Option<usize>, setup: Setup, main: Main<'_>) -> Exit {
        let runner = setup.apply(Runner::<E>::new());
        let runner = match workers {
            Some(workers) => runner.worker_threads(workers),
            None => runner,
        };
        let main = main(runner.stopper());
        runner.run(main)
    }

    fn start(&self, threads: &Threads) -> Result<Box<dyn Started>, StartError> {
        Ok(Box::new(OwnedStarted { executor: E::build(threads)?, pool: self.0 }))
    }
}

impl<E: Executor> Started for OwnedStarted<E> {
    fn bare(&self) -> Bare {
        Bare::new(self.executor.backend(), self.pool)
    }

    fn block_on(&self, future: Local<'_, ()>) {
        self.executor.block_on(future);
    }

    fn end(self: Box<Self>, within: Duration) -> Result<(), Unfinished> {
        block_on(self.executor.shutdown(within))
    }
}

impl<A: Attached> Kind for AttachedKind<A> {
    fn name(&self) -> &'static str {
        std::any::type_name::<A>()
    }

    fn is_attached(&self) -> bool {
        true
    }

    /// Nobody asks this of an attached executor.
    fn wakes_at_once(&self) -> bool {
        false
    }

    fn run(&self, _: Option<usize>, setup: Setup, main: Main<'_>) -> Exit {
        let executor = A::start();
        let runner = setup.apply(Runner::<()>::new());
        let main = main(runner.stopper());
        executor.block_on(runner.attach_to(&executor.backend(), main))
    }

    fn start(&self, _: &Threads) -> Result<Box<dyn Started>, StartError> {
        Ok(Box::new(AttachedStarted { executor: A::start(), pool: self.0 }))
    }
}

impl<A: Attached> Started for AttachedStarted<A> {
    fn bare(&self) -> Bare {
        Bare::new(self.executor.backend(), self.pool)
    }

    fn block_on(&self, future: Local<'_, ()>) {
        self.executor.block_on(future);
    }

    fn end(self: Box<Self>, _: Duration) -> Result<(), Unfinished> {
        drop(self.executor);
        Err(Unfinished)
    }
}
