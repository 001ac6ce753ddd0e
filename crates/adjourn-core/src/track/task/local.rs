//! Tasks that are not `Send`: they stay on the thread that spawns them.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::handle::Join;
use super::{Given, Task, Tracked};
use crate::contract::error::JoinError;
use crate::contract::report::TaskKind;
use crate::contract::rt::SpawnLocal;
use crate::track::node::{Node, Spawn};
use crate::track::scope::Scope;
use crate::track::stop::StopToken;
use crate::track::table::TaskRef;

impl<B> Scope<B> {
    /// Returns the same scope, spawning futures that are not `Send` by `local` from here on.
    ///
    /// What it spawns is tracked as every task is, but runs on the thread of `local`. If that is not
    /// one of the program's own executor, nobody but its owner drives it, and ends it: the program's
    /// end waits for its tasks as for all others, until the cut-off and no longer, also where that
    /// thread is stuck.
    pub fn with_local<L: SpawnLocal>(&self, local: L) -> Scope<L> {
        Scope::from_node(self.node().clone(), local)
    }
}

impl<B: SpawnLocal> Scope<B> {
    /// Spawns a plain task that need not be `Send`, on this thread: dropped at its next yield once the
    /// scope is cancelling.
    ///
    /// It is tracked like any other: kinds, shields, cleanups, the token, names and the report are the
    /// same. Only a backend that has the capability has this method; on others it does not compile.
    ///
    /// # Errors
    ///
    /// On another thread than the one that runs it, the handle resolves to a [`JoinError`] that says
    /// so, and [`is_refused`](JoinError::is_refused).
    ///
    /// # Examples
    ///
    /// ```
    /// use adjourn_core::{Scope, SpawnLocal, Spawner};
    /// use std::rc::Rc;
    ///
    /// // `Local` is the backend of a program that has the capability: `TokioLocal`, say.
    /// async fn count<Local: Spawner + SpawnLocal>() -> Option<usize> {
    ///     let scope = Scope::current().typed::<Local>()?;
    ///     let shared = Rc::new("not Send");
    ///     let task = scope.spawn_local(async move { shared.len() });
    ///     task.await.ok()
    /// }
    /// ```
    ///
    /// ```compile_fail,E0599
    /// # use adjourn_core::Scope;
    /// // The type of the backend is not known: it may lack the capability.
    /// Scope::current().spawn_local(async {});
    /// ```
    #[track_caller]
    pub fn spawn_local<F>(&self, future: F) -> LocalJoinHandle<F::Output, B>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        start(self, Spawn::new(TaskKind::Plain, Location::caller()), future)
    }

    /// Spawns a graceful task that need not be `Send`, on this thread: told through its token at
    /// draining, cancelled at the drain limit. The rest is that of
    /// [`spawn_local`](Scope::spawn_local).
    #[track_caller]
    pub fn spawn_local_graceful<F, Fut>(&self, task: F) -> LocalJoinHandle<Fut::Output, B>
    where
        F: FnOnce(StopToken) -> Fut,
        Fut: Future + 'static,
        Fut::Output: 'static,
    {
        let spawn = Spawn::new(TaskKind::Graceful, Location::caller());
        start(self, spawn, task(StopToken::for_graceful(self.node().clone())))
    }

    /// Spawns a shielded task that need not be `Send`, on this thread: never cancelled, waited for
    /// until the cut-off. The rest is that of [`spawn_local`](Scope::spawn_local).
    #[track_caller]
    pub fn spawn_local_shielded<F>(&self, future: F) -> LocalJoinHandle<F::Output, B>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        start(self, Spawn::new(TaskKind::Shielded, Location::caller()), future)
    }
}

impl<B: SpawnLocal> Task<B> {
    /// Spawns it plain, on this thread: [`Scope::spawn_local`].
    #[track_caller]
    pub fn spawn_local<F>(self, future: F) -> LocalJoinHandle<F::Output, B>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        start(&self.scope, self.describe(TaskKind::Plain, Location::caller()), future)
    }

    /// Spawns it graceful, on this thread: [`Scope::spawn_local_graceful`].
    #[track_caller]
    pub fn spawn_local_graceful<F, Fut>(self, task: F) -> LocalJoinHandle<Fut::Output, B>
    where
        F: FnOnce(StopToken) -> Fut,
        Fut: Future + 'static,
        Fut::Output: 'static,
    {
        let what = self.describe(TaskKind::Graceful, Location::caller());
        start(&self.scope, what, task(StopToken::for_graceful(self.scope.node().clone())))
    }

    /// Spawns it shielded, on this thread: [`Scope::spawn_local_shielded`].
    #[track_caller]
    pub fn spawn_local_shielded<F>(self, future: F) -> LocalJoinHandle<F::Output, B>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        start(&self.scope, self.describe(TaskKind::Shielded, Location::caller()), future)
    }
}

fn start<B, F>(scope: &Scope<B>, spawn: Spawn, future: F) -> LocalJoinHandle<F::Output, B>
where
    B: SpawnLocal,
    F: Future + 'static,
    F::Output: 'static,
{
    if !scope.backend().is_here() {
        return LocalJoinHandle::refused(scope.node(), JoinError::off_thread());
    }
    let node = scope.node();
    match node.register(spawn) {
        None => LocalJoinHandle::refused(node, JoinError::refused()),
        Some(task) => {
            let future = Tracked::new(task, future);
            LocalJoinHandle::of(node, task, scope.backend().spawn_local(future))
        }
    }
}

/// Resolves to what a local task returns, which need not be `Send`. Dropped, it detaches.
///
/// All else is as with a [`JoinHandle`](crate::JoinHandle): when an error is
/// [kept back](crate::JoinHandle#at-a-stop) in a stop, and its cancel safety.
pub struct LocalJoinHandle<T: 'static, B: SpawnLocal> {
    join: Join<B::LocalHandle<Given<T>>>,
}

impl<T: 'static, B: SpawnLocal> LocalJoinHandle<T, B> {
    fn of(node: &Node, task: TaskRef, handle: B::LocalHandle<Given<T>>) -> LocalJoinHandle<T, B> {
        LocalJoinHandle { join: Join::of(node, task, handle) }
    }

    fn refused(node: &Node, refusal: JoinError) -> LocalJoinHandle<T, B> {
        LocalJoinHandle { join: Join::refused(node, refusal) }
    }

    /// Asks the task to end: [`JoinHandle::abort`](crate::JoinHandle::abort). It is dropped on its
    /// own thread.
    pub fn abort(&self) {
        self.join.abort();
    }

    /// Returns whether the task is over. Awaiting it takes no time then, unless the stop took it away
    /// from code that is over too: see above.
    pub fn is_finished(&self) -> bool {
        self.join.is_finished()
    }
}

impl<T: 'static, B: SpawnLocal> Future for LocalJoinHandle<T, B> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.join.poll(cx)
    }
}

impl<T: 'static, B: SpawnLocal> fmt::Debug for LocalJoinHandle<T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalJoinHandle").field("is_finished", &self.is_finished()).finish()
    }
}
