//! The simulated executor as the core knows it: a backend like any other.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use adjourn_core::rt::{
    AnyBackend, Backend, BlockOn, Executor, Host, Shutdown, SpawnBlocking, SpawnLocal, Spawner,
    Threads, Timer, Unfinished,
};
use adjourn_core::{ExecutorGone, StartError};

use crate::observe::{Observer, Plan};
use crate::settings::Settings;
use crate::sleep::SimSleep;
use crate::world::{Handle, World};

const NAME: &str = "sim";

/// Spawns on a simulated executor.
#[derive(Clone)]
pub struct SimBackend {
    world: Arc<World>,
}

/// Resolves to what a future spawned on [`SimBackend`] returns. Dropped, it detaches.
#[derive(Debug)]
pub struct SimHandle<T>(Option<Handle<T>>);

impl<T> Future for SimHandle<T> {
    type Output = Result<T, ExecutorGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(task) = self.0.as_mut() else { return Poll::Ready(Err(ExecutorGone)) };
        let output = std::task::ready!(Pin::new(task).poll(cx));
        self.0 = None; // over: nothing to detach
        Poll::Ready(output.ok_or(ExecutorGone))
    }
}

impl<T> Drop for SimHandle<T> {
    fn drop(&mut self) {
        let Some(mut task) = self.0.take() else { return };
        // Of what awaited it the last waker goes only for another one.
        let mut cx = Context::from_waker(Waker::noop());
        if Pin::new(&mut task).poll(&mut cx).is_pending() {
            task.detach();
        }
    }
}

impl Spawner for SimBackend {
    type Handle<T: Send> = SimHandle<T>;

    fn spawn<F>(&self, future: F) -> SimHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        SimHandle(self.world.spawn(future))
    }
}

/// A job is a task: it runs to its end in one poll, on the thread of the simulation, when the
/// schedule comes to it.
///
/// A job that takes long says so with [`elapse`](crate::elapse). One that waits for something else
/// in the program, with `StopToken::wait_timeout` or a channel, blocks all of it.
impl SpawnBlocking for SimBackend {
    fn spawn_blocking<F, T>(&self, job: F) -> SimHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        SimHandle(self.world.spawn(async move { job() }))
    }
}

impl Timer for SimBackend {
    type Sleep = SimSleep;

    fn now(&self) -> Instant {
        self.world.instant()
    }

    fn sleep(&self, span: Duration) -> SimSleep {
        SimSleep::new(self.world.clone(), span)
    }

    fn host(&self) -> Option<Arc<dyn Host>> {
        Some(self.world.observer.clone())
    }
}

impl Backend for SimBackend {
    fn erase(&self) -> AnyBackend {
        AnyBackend::with_blocking(NAME, self.clone())
    }
}

impl fmt::Debug for SimBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimBackend").finish_non_exhaustive()
    }
}

/// What is not `Send` is spawned from inside the simulation: from `main`, or from any of its tasks.
/// All of them are on its thread.
impl SpawnLocal for SimBackend {
    type LocalHandle<T: 'static> = SimHandle<T>;

    fn is_here(&self) -> bool {
        World::current().is_some_and(|world| Arc::ptr_eq(&world, &self.world))
    }

    fn spawn_local<F>(&self, future: F) -> SimHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        SimHandle(self.world.spawn_local(future))
    }
}

/// A simulated executor that `run` owns.
///
/// [`Sim::run`](crate::Sim::run) builds one with its seed and faults; built by the runner itself it
/// is that of [`Sim::new`](crate::Sim::new). Numbers of threads are accepted and mean nothing: there is the calling one.
///
/// # Panics
///
/// [`block_on`](BlockOn::block_on) panics when nothing can ever go on and no program of Adjourn's is
/// there to be ended for it.
#[derive(Debug)]
pub struct SimExecutor {
    world: Arc<World>,
}

impl SimExecutor {
    /// Builds one that runs by these settings and is watched by this observer.
    ///
    /// # Errors
    ///
    /// [`StartError`], inside another simulation's poll.
    pub(crate) fn new(
        observer: Arc<Observer>,
        settings: Settings,
    ) -> Result<SimExecutor, StartError> {
        if World::current().is_some() {
            return Err(StartError::nested(
                "a simulation was started inside another one: spawn the work there instead",
            ));
        }
        Ok(SimExecutor { world: World::new(observer, settings) })
    }
}

impl Executor for SimExecutor {
    type Backend = SimBackend;

    const NAME: &'static str = NAME;

    const HOSTED: bool = true;

    fn build(_: &Threads) -> Result<SimExecutor, StartError> {
        SimExecutor::new(Observer::new(Plan::default()), Settings::default())
    }

    fn backend(&self) -> SimBackend {
        SimBackend { world: self.world.clone() }
    }
}

impl BlockOn for SimExecutor {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.world.drive(future)
    }
}

impl Shutdown for SimExecutor {
    async fn shutdown(self, _: Duration) -> Result<(), Unfinished> {
        drop(self); // all that is left is dropped, at once
        Ok(())
    }
}

impl Drop for SimExecutor {
    fn drop(&mut self) {
        self.world.close();
    }
}
