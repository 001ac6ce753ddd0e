//! A typed backend behind one type, so that a scenario is compiled once and not for each adapter.
//!
//! Unlike [`AnyBackend`], which keeps small handles alone, this keeps the adapter's handles: what is
//! dropped, awaited or aborted here is what the adapter's own spawn returned.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use adjourn_core::rt::{AnyBackend, Backend, SpawnBlocking, Spawner};
use adjourn_core::{ExecutorGone, JoinError, JoinHandle, Scope, spawn, spawn_blocking};

use crate::allocations::{self, Counted};

pub(crate) type Value = Box<dyn Any + Send>;
pub(crate) type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Job = Box<dyn FnOnce() -> Value + Send>;

/// An adapter's backend, its own handles kept.
#[derive(Clone)]
pub(crate) struct Bare(Arc<dyn Typed>);

/// What a future spawned on [`Bare`] returns. Dropping it drops the adapter's handle.
pub(crate) struct BareHandle<T>(Boxed<Result<Value, ExecutorGone>>, PhantomData<fn() -> T>);

/// Which handle of a scope a program's tasks are spawned through.
#[derive(Clone)]
pub(crate) enum Way {
    /// The free functions', which erase the backend's type.
    Erased,
    /// A scope with the typed backend.
    Typed(Bare),
}

/// A tracked task's handle, whichever way it was spawned.
pub(crate) struct Task<T>(Box<dyn Join>, PhantomData<fn() -> T>);

trait Typed: Send + Sync {
    fn erase(&self) -> AnyBackend;
    fn spawn(&self, future: Boxed<Value>) -> Boxed<Result<Value, ExecutorGone>>;
    fn spawn_blocking(&self, job: Job) -> Option<Boxed<Result<Value, ExecutorGone>>>;
    fn track(&self, scope: &Scope, future: Boxed<Value>) -> Box<dyn Join>;
    fn track_blocking(&self, scope: &Scope, job: Job) -> Option<Box<dyn Join>>;
    fn now(&self) -> Instant;
    fn sleep(&self, span: Duration) -> Boxed<()>;
    fn count(&self, moved: fn()) -> Boxed<Counted>;
}

trait Join: Send {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Value, JoinError>>;
    fn abort(&self);
    fn is_finished(&self) -> bool;
}

/// A backend, and its blocking pool where it has one.
struct Of<B> {
    backend: B,
    pool: Option<Pool<B>>,
}

/// The calls of a blocking pool, which only some backends have.
pub(crate) struct Pool<B> {
    spawn: fn(&B, Job) -> Boxed<Result<Value, ExecutorGone>>,
    track: fn(&B, &Scope, Job) -> Box<dyn Join>,
}

impl<B> Clone for Pool<B> {
    fn clone(&self) -> Pool<B> {
        *self
    }
}

impl<B> Copy for Pool<B> {}

impl<B: SpawnBlocking> Pool<B> {
    pub(crate) fn new() -> Pool<B> {
        Pool {
            spawn: |backend, job| Box::pin(backend.spawn_blocking(job)),
            track: |backend, scope, job| {
                Box::new(scope.with_backend(backend.clone()).spawn_blocking(job))
            },
        }
    }
}

impl Bare {
    pub(crate) fn new<B: Backend>(backend: B, pool: Option<Pool<B>>) -> Bare {
        Bare(Arc::new(Of { backend, pool }))
    }

    pub(crate) fn erase(&self) -> AnyBackend {
        self.0.erase()
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> BareHandle<T> {
        BareHandle(self.0.spawn(boxed(future)), PhantomData)
    }

    /// Returns `None` where the backend has no pool.
    pub(crate) fn spawn_blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<BareHandle<T>> {
        let handle = self.0.spawn_blocking(Box::new(move || Box::new(job()) as Value))?;
        Some(BareHandle(handle, PhantomData))
    }

    pub(crate) fn now(&self) -> Instant {
        self.0.now()
    }

    pub(crate) fn sleep(&self, span: Duration) -> Boxed<()> {
        self.0.sleep(span)
    }

    /// Counts the allocations of spawns on the backend, on a typed and on an erased scope; calls
    /// `moved` now and then, where nothing is counted.
    pub(crate) async fn count(&self, moved: fn()) -> Counted {
        self.0.count(moved).await
    }
}

impl Way {
    /// Spawns a plain task into the current scope.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        match self {
            Way::Erased => Task(Box::new(spawn(boxed(future))), PhantomData),
            Way::Typed(_) => self.spawn_in(&Scope::current(), future),
        }
    }

    /// Spawns a plain task into a scope.
    pub(crate) fn spawn_in<T: Send + 'static>(
        &self,
        scope: &Scope,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        let join: Box<dyn Join> = match self {
            Way::Erased => Box::new(scope.spawn(boxed(future))),
            Way::Typed(bare) => bare.0.track(scope, boxed(future)),
        };
        Task(join, PhantomData)
    }

    /// Spawns a blocking job into the current scope.
    pub(crate) fn spawn_blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Task<T> {
        let job: Job = Box::new(move || Box::new(job()));
        let join: Box<dyn Join> = match self {
            Way::Erased => Box::new(spawn_blocking(job)),
            Way::Typed(bare) => bare
                .0
                .track_blocking(&Scope::current(), job)
                .expect("a backend without a pool is declared so: `no_blocking_pool: \"why\"`"),
        };
        Task(join, PhantomData)
    }
}

impl<T> Task<T> {
    pub(crate) fn abort(&self) {
        self.0.abort();
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T: 'static> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map_ok(open)
    }
}

impl<T: 'static> Future for BareHandle<T> {
    type Output = Result<T, ExecutorGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map_ok(open)
    }
}

impl<B: Spawner> Join for JoinHandle<Value, B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Value, JoinError>> {
        Pin::new(self).poll(cx)
    }

    fn abort(&self) {
        JoinHandle::abort(self);
    }

    fn is_finished(&self) -> bool {
        JoinHandle::is_finished(self)
    }
}

impl<B: Backend> Typed for Of<B> {
    fn erase(&self) -> AnyBackend {
        self.backend.erase()
    }

    fn spawn(&self, future: Boxed<Value>) -> Boxed<Result<Value, ExecutorGone>> {
        Box::pin(self.backend.spawn(future))
    }

    fn spawn_blocking(&self, job: Job) -> Option<Boxed<Result<Value, ExecutorGone>>> {
        self.pool.as_ref().map(|pool| (pool.spawn)(&self.backend, job))
    }

    fn track(&self, scope: &Scope, future: Boxed<Value>) -> Box<dyn Join> {
        Box::new(scope.with_backend(self.backend.clone()).spawn(future))
    }

    fn track_blocking(&self, scope: &Scope, job: Job) -> Option<Box<dyn Join>> {
        self.pool.as_ref().map(|pool| (pool.track)(&self.backend, scope, job))
    }

    fn now(&self) -> Instant {
        self.backend.now()
    }

    fn sleep(&self, span: Duration) -> Boxed<()> {
        Box::pin(self.backend.sleep(span))
    }

    fn count(&self, moved: fn()) -> Boxed<Counted> {
        Box::pin(allocations::compare(self.backend.clone(), Scope::current(), moved))
    }
}

fn boxed<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Boxed<Value> {
    // Kept when it is ready, as the future that a user spawns is: it is the core that drops it.
    let mut future = Box::pin(future);
    Box::pin(poll_fn(move |cx| future.as_mut().poll(cx).map(|output| Box::new(output) as Value)))
}

fn open<T: 'static>(value: Value) -> T {
    *value.downcast().expect("a handle gives its own future's output")
}
