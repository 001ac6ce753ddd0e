//! The ways to spawn: named tasks, and functions that use the current scope.

use std::borrow::Cow;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use super::{JoinHandle, Tracked, start, start_blocking, start_by};
use crate::contract::error::NoScope;
use crate::contract::report::TaskKind;
use crate::contract::rt::{AnyBackend, AnyHandle, SpawnBlocking, Spawner};
use crate::track::context;
use crate::track::node::{Node, Spawn};
use crate::track::scope::Scope;
use crate::track::stop::StopToken;

/// A task that is being described: its name, and whether it keeps the program alive.
///
/// From [`task`] and [`Scope::task`]; one of the `spawn` methods starts it.
#[derive(Debug)]
#[must_use = "it does nothing until one of its spawn methods is called"]
pub struct Task<B = AnyBackend> {
    pub(super) scope: Scope<B>,
    name: Cow<'static, str>,
    background: bool,
}

impl<B> Task<B> {
    pub(crate) fn new(scope: Scope<B>, name: Cow<'static, str>) -> Task<B> {
        Task { scope, name, background: false }
    }

    /// The program does not stay alive for it.
    pub fn background(mut self) -> Task<B> {
        self.background = true;
        self
    }

    pub(super) fn describe(&self, kind: TaskKind, place: &'static Location<'static>) -> Spawn {
        let mut spawn = Spawn::new(kind, place);
        spawn.name = Some(Box::new(self.name.clone()));
        spawn.background = self.background;
        spawn
    }
}

impl<B: Spawner> Task<B> {
    /// Spawns it plain: [`Scope::spawn`].
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> JoinHandle<F::Output, B>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let what = self.describe(TaskKind::Plain, Location::caller());
        start(self.scope.node(), self.scope.backend(), what, future)
    }

    /// Spawns it graceful: [`Scope::spawn_graceful`].
    #[track_caller]
    pub fn spawn_graceful<F, Fut>(self, task: F) -> JoinHandle<Fut::Output, B>
    where
        F: FnOnce(StopToken) -> Fut,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        let what = self.describe(TaskKind::Graceful, Location::caller());
        let future = task(StopToken::for_graceful(self.scope.node().clone()));
        start(self.scope.node(), self.scope.backend(), what, future)
    }

    /// Spawns it shielded: [`Scope::spawn_shielded`].
    #[track_caller]
    pub fn spawn_shielded<F>(self, future: F) -> JoinHandle<F::Output, B>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let what = self.describe(TaskKind::Shielded, Location::caller());
        start(self.scope.node(), self.scope.backend(), what, future)
    }
}

impl<B: SpawnBlocking> Task<B> {
    /// Runs it on the blocking pool: [`Scope::spawn_blocking`].
    #[track_caller]
    pub fn spawn_blocking<F, T>(self, job: F) -> JoinHandle<T, B>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let what = self.describe(TaskKind::Blocking, Location::caller());
        start_blocking(self.scope.node(), self.scope.backend(), what, job)
    }
}

/// Returns the scope of the running code, or panics with advice.
#[track_caller]
fn current() -> Arc<Node> {
    match context::scope() {
        Some(node) => node,
        None => panic!("{NoScope}"),
    }
}

/// The free functions that spawn, where it is known which backends a program may run on: on one of those
/// they cost no more than on its own type. For a crate that chooses backends by features, as the facade
/// `adjourn` does for its functions.
///
/// # Examples
///
/// ```
/// use adjourn_core::Dispatch;
/// use adjourn_core::rt::{AnyBackend, AnyHandle, Spawner};
/// # use adjourn_core::rt::Remote;
/// # #[derive(Clone)]
/// # struct Mine;
/// # impl Spawner for Mine {
/// #     type Handle<T: Send> = AnyHandle<T>;
/// #     fn spawn<F>(&self, future: F) -> AnyHandle<F::Output>
/// #     where
/// #         F: Future + Send + 'static,
/// #         F::Output: Send + 'static,
/// #     {
/// #         Remote::new(future).1
/// #     }
/// # }
///
/// /// On the executor of the backend `Mine`, mostly.
/// enum OnMine {}
///
/// impl Dispatch for OnMine {
///     fn spawn_on<F, R>(
///         any: &AnyBackend,
///         future: F,
///         then: impl FnOnce(AnyHandle<F::Output>) -> R,
///     ) -> R
///     where
///         F: Future + Send + 'static,
///         F::Output: Send + 'static,
///     {
///         match any.downcast_ref::<Mine>() {
///             Some(mine) => then(AnyHandle::own(mine.spawn(future))),
///             None => then(any.spawn(future)),
///         }
///     }
/// }
///
/// async fn work() {
///     OnMine::spawn(async { /* what `adjourn_core::spawn` does */ });
/// }
/// ```
pub trait Dispatch {
    /// Spawns `future` on this backend, by its own type if that is one of those, and returns what `then`
    /// makes of its handle.
    ///
    /// Each backend calls `then` for itself, so that the handle is made where it is kept. If each returned the
    /// handle, it would be written once and then copied there, and the processor waits for such a copy.
    fn spawn_on<F, R>(
        any: &AnyBackend,
        future: F,
        then: impl FnOnce(AnyHandle<F::Output>) -> R,
    ) -> R
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// [`spawn`].
    #[inline]
    #[track_caller]
    fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let mut spawn = Spawn::new(TaskKind::Plain, Location::caller());
        // Where the running task's scope has mostly room.
        let placed =
            context::roomy().and_then(|(scope, chunk)| chunk.insert_beside(scope, &mut spawn));
        if let Some((task, node)) = placed {
            return Self::spawn_on(node.backend(), Tracked::new(task, future), |handle| {
                JoinHandle::of(&node, task, handle)
            });
        }
        start_by::<Self, F>(&current(), spawn, future)
    }

    /// [`spawn_graceful`].
    #[track_caller]
    fn spawn_graceful<F, Fut>(task: F) -> JoinHandle<Fut::Output>
    where
        F: FnOnce(StopToken) -> Fut,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        let node = current();
        let spawn = Spawn::new(TaskKind::Graceful, Location::caller());
        let future = task(StopToken::for_graceful(node.clone()));
        start_by::<Self, Fut>(&node, spawn, future)
    }

    /// [`spawn_shielded`].
    #[track_caller]
    fn spawn_shielded<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let spawn = Spawn::new(TaskKind::Shielded, Location::caller());
        start_by::<Self, F>(&current(), spawn, future)
    }
}

/// No backend is known.
enum Erased {}

impl Dispatch for Erased {
    fn spawn_on<F, R>(
        any: &AnyBackend,
        future: F,
        then: impl FnOnce(AnyHandle<F::Output>) -> R,
    ) -> R
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        then(any.spawn(future))
    }
}

/// Spawns a plain task into the current scope: dropped at its next yield once the scope is
/// cancelling. From its first ask about the stop on it is graceful:
/// [who asks](StopToken#who-asks-is-graceful).
///
/// The output, an `Err` too, is the handle's; [`or_stop`](crate::ResultFutureExt::or_stop) makes a
/// failure stop the program.
///
/// # Panics
///
/// Outside of a program; [`Scope::try_current`] asks first.
///
/// # Examples
///
/// ```
/// use adjourn_core::{JoinError, spawn};
///
/// async fn both() -> Result<u32, JoinError> {
///     let six = spawn(async { 6 });
///     spawn(async { println!("its handle is not kept: it runs by itself") });
///     Ok(six.await? * 7)
/// }
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Erased::spawn(future)
}

/// Spawns a graceful task into the current scope: told at draining through its token, cancelled at
/// the drain limit.
///
/// A task of [`spawn`] comes to be graceful when it first asks about the stop. This one is so from the
/// start: it is told, though the stop comes before its first poll.
///
/// # Panics
///
/// Outside of a program; [`Scope::try_current`] asks first.
///
/// # Examples
///
/// ```
/// use adjourn_core::spawn_graceful;
///
/// # struct Connection;
/// # impl Connection {
/// #     async fn answer(&mut self) {}
/// #     async fn say_goodbye(&mut self) {}
/// # }
/// fn accepted(mut connection: Connection) {
///     // What was accepted before the stop is answered, though the stop comes at once.
///     spawn_graceful(|stop| async move {
///         connection.answer().await;
///         stop.requested().await;
///         connection.say_goodbye().await;
///     });
/// }
/// ```
#[track_caller]
pub fn spawn_graceful<F, Fut>(task: F) -> JoinHandle<Fut::Output>
where
    F: FnOnce(StopToken) -> Fut,
    Fut: Future + Send + 'static,
    Fut::Output: Send + 'static,
{
    Erased::spawn_graceful(task)
}

/// Spawns a shielded task into the current scope: eager, independent of its caller, never
/// cancelled; the program waits for it until the cut-off.
///
/// # Panics
///
/// Outside of a program; [`Scope::try_current`] asks first.
///
/// # Examples
///
/// ```
/// use adjourn_core::{JoinError, spawn_shielded};
///
/// # async fn charge() -> u32 { 0 }
/// /// The payment is made as a whole, also when the client hangs up and this is dropped.
/// async fn pay() -> Result<u32, JoinError> {
///     spawn_shielded(charge()).await
/// }
/// ```
#[track_caller]
pub fn spawn_shielded<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Erased::spawn_shielded(future)
}

/// Runs `job` on the blocking pool, tracked by the current scope: waited for until the cut-off,
/// never cancelled. It can read the token: [`StopToken::current`].
///
/// # Errors
///
/// Where the backend has no blocking pool, the handle resolves to an error that says so.
///
/// # Panics
///
/// Outside of a program; [`Scope::try_current`] asks first.
///
/// # Examples
///
/// ```
/// use adjourn_core::{IteratorUntilStop, JoinError, spawn_blocking};
///
/// /// Adds up until it is done or the program stops.
/// async fn sum(numbers: Vec<u64>) -> Result<u64, JoinError> {
///     spawn_blocking(move || numbers.into_iter().until_stop().sum()).await
/// }
/// ```
#[track_caller]
pub fn spawn_blocking<F, T>(job: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let node = current();
    let spawn = Spawn::new(TaskKind::Blocking, Location::caller());
    start_blocking(&node, node.backend(), spawn, job)
}

/// Names a task before it is spawned into the current scope: `task("mailer").spawn(..)`.
///
/// # Panics
///
/// Outside of a program; [`Scope::try_current`] asks first.
///
/// # Examples
///
/// ```
/// use adjourn_core::task;
///
/// # async fn refresh() {}
/// fn start() {
///     // Named in the report, and the program does not stay alive for it.
///     task("refresher").background().spawn(refresh());
/// }
/// ```
#[track_caller]
pub fn task(name: impl Into<Cow<'static, str>>) -> Task {
    Scope::current().task(name)
}
