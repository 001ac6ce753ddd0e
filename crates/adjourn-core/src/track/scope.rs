//! Scopes: named groups of tasks, nodes of a tree.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::contract::error::{NoScope, StopError};
use crate::contract::hook::{Hook, IntoHook};
use crate::contract::report::{TaskKind, Totals};
use crate::contract::rt::{
    AnyBackend, AnySleep, Interval, Shutdown, SpawnBlocking, Spawner, Timeout, Timer, Unfinished,
};
use crate::phase::Phase;
use crate::track::context;
use crate::track::node::{Awaited, Node, Spawn, Ticket};
use crate::track::stop::StopToken;
use crate::track::task::{self, JoinHandle, Task};

/// A named group of tasks: a node of the tree whose root is the program.
///
/// Clones are handles of the same scope; dropping a handle stops nothing. `B` is the backend that
/// it spawns on: [`AnyBackend`] unless [`typed`](Scope::typed) or
/// [`with_backend`](Scope::with_backend) says otherwise.
///
/// A scope ends when it is stopped and its tasks are gone, or by itself once no handle and no task
/// of it is left, and no scope below it or that depends on it. Its totals are then in the report, under its
/// name.
///
/// # Examples
///
/// ```
/// use adjourn_core::scope;
///
/// async fn start() {
///     let db = scope("db");
///     let http = scope("http").depends_on(&db);
///     http.spawn_graceful(|stop| async move { stop.requested().await });
///     // At the stop `http` ends first, then `db`, and then this runs.
///     db.on_stopped(async { println!("closed") });
/// }
/// ```
pub struct Scope<B = AnyBackend> {
    node: Arc<Node>,
    backend: B,
}

impl Scope {
    /// Returns the scope of the running task; outside of tasks, the root of the program that owns
    /// this thread.
    ///
    /// # Panics
    ///
    /// If there is none; [`try_current`](Scope::try_current) asks first.
    #[track_caller]
    pub fn current() -> Scope {
        match Scope::try_current() {
            Ok(scope) => scope,
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns the scope of the running task; outside of tasks, the root of the program that owns
    /// this thread.
    ///
    /// # Errors
    ///
    /// [`NoScope`], with advice, where there is neither.
    pub fn try_current() -> Result<Scope, NoScope> {
        let node = context::scope().ok_or(NoScope)?;
        let backend = node.backend().clone();
        Ok(Scope::from_node(node, backend))
    }

    /// Returns the same scope, spawning on the backend's own type `B`: what is spawned there costs
    /// no allocation beside the executor's own. `None` if the program runs on another: in a simulation,
    /// for one, whose type is its own.
    ///
    /// ```
    /// # use adjourn_core::{Scope, rt::Spawner};
    /// # fn connections<Tokio: Spawner>(scope: &Scope) -> Option<()> {
    /// let connections = scope.scope("connections").typed::<Tokio>()?;
    /// connections.spawn(async { /* one of many */ });
    /// # Some(())
    /// # }
    /// ```
    pub fn typed<B: Spawner>(&self) -> Option<Scope<B>> {
        Some(self.with_backend(self.backend.downcast_ref::<B>()?.clone()))
    }
}

impl<B> Scope<B> {
    /// One more handle of the scope.
    pub(crate) fn from_node(node: Arc<Node>, backend: B) -> Scope<B> {
        node.open_handle();
        Scope { node, backend }
    }

    /// The first handle of a scope that was just opened, which is counted already.
    fn first(node: Arc<Node>, backend: B) -> Scope<B> {
        Scope { node, backend }
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Returns the same scope, spawning on `backend` from here on.
    ///
    /// A typed backend saves the allocation that erasing costs, and turns a missing capability
    /// into a compile error. It must be of the executor that runs the program;
    /// [`typed`](Scope::typed) takes that one.
    pub fn with_backend<C: Spawner>(&self, backend: C) -> Scope<C> {
        Scope::from_node(self.node.clone(), backend)
    }

    /// Returns the backend that it spawns on: for a library that is generic over
    /// [`Spawner`] or [`Timer`].
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Returns the scope's name.
    pub fn name(&self) -> &str {
        self.node.name()
    }

    /// Returns the names from the root to this scope, with `/` between: `root/http`.
    pub fn path(&self) -> String {
        self.node.path()
    }

    /// Returns the scope's phase.
    pub fn phase(&self) -> Phase {
        if self.node.lock().is_closed() {
            return Phase::Stopped;
        }
        let decided = self.node.above().phase(&self.node);
        // Cancelling once it is done, not only decided: spawns are refused from then on.
        if decided > Phase::Draining && self.node.lock().is_open() {
            return decided.min(Phase::Draining);
        }
        decided
    }

    /// Returns what has become of the tasks of this very scope so far, not of those below it.
    pub fn totals(&self) -> Totals {
        self.node.lock().totals()
    }

    /// Sleeps on the timer of the program's backend; for code that names no executor.
    ///
    /// # Cancel safety
    ///
    /// Dropping it forgets it.
    pub fn sleep(&self, span: Duration) -> AnySleep {
        self.node.backend().sleep(span)
    }

    /// Waits for `future`, but no longer than `span`, by the timer of the program's backend;
    /// [`Timer::timeout`] says what it does exactly. For code that names no executor.
    ///
    /// A stop does not end it early: [`until_stop`](crate::FutureExt::until_stop) does. An
    /// [`on_cancel`](crate::FutureExt::on_cancel) in `future` does not run when the time is over.
    ///
    /// # Errors
    ///
    /// [`Elapsed`](crate::Elapsed) from the future that is returned, with `future` dropped.
    ///
    /// # Cancel safety
    ///
    /// That of `future`, which is dropped wherever it is pending when the time is over, or when this
    /// is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use adjourn_core::{Elapsed, Scope};
    /// use std::time::Duration;
    ///
    /// # async fn ask() -> String { String::new() }
    /// async fn answer() -> Result<String, Elapsed> {
    ///     Scope::current().timeout(Duration::from_secs(5), ask()).await
    /// }
    /// ```
    pub fn timeout<F: Future>(&self, span: Duration, future: F) -> Timeout<F> {
        self.node.backend().timeout(span, future)
    }

    /// Returns ticks of the timer of the program's backend, one now and then one each `period`. For
    /// code that names no executor.
    ///
    /// # Panics
    ///
    /// If `period` is zero.
    ///
    /// # Examples
    ///
    /// A periodic task. It ends at the stop, and finishes the work in its hands first:
    ///
    /// ```
    /// use adjourn_core::{FutureExt, Scope};
    /// use std::time::Duration;
    ///
    /// # async fn refresh() {}
    /// async fn periodic() {
    ///     let mut ticks = Scope::current().interval(Duration::from_secs(60));
    ///     while ticks.tick().until_stop().await.is_ok() {
    ///         refresh().await;
    ///     }
    /// }
    /// ```
    #[track_caller]
    pub fn interval(&self, period: Duration) -> Interval {
        self.node.backend().interval(period)
    }

    /// Returns the token that says when this scope is asked to stop.
    pub fn stop_token(&self) -> StopToken {
        StopToken::new(self.node.clone())
    }

    /// Asks the scope to stop, and those that depend on it before it; siblings go on.
    ///
    /// The request is made at once. The future that is returned may be dropped; awaited, it
    /// resolves when the scope has ended.
    ///
    /// # Errors
    ///
    /// [`StopError`] from the future, when it is awaited inside this scope or one below it, by a
    /// task or a hook: it would wait for itself. The request stands.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the stop requested.
    pub fn stop(&self) -> ScopeStop {
        self.node.above().stop(&self.node);
        ScopeStop { node: self.node.clone(), ticket: None }
    }

    /// Registers what runs when the scope's tasks are gone, and before what it depends on begins
    /// to stop. The last registered runs first, each at most once. The place to close what the tasks
    /// use: whoever opens it may register this then, `main` too.
    ///
    /// Takes a closure, an async closure or a future. A hook may register another one of its scope, which
    /// runs next. One that comes when the scope has ended, or when all its hooks have run and it waits for
    /// scopes below it that are overdue, is dropped.
    #[track_caller]
    pub fn on_stopped<M>(&self, hook: impl IntoHook<M>) {
        self.node.add_hook(Hook::new(hook, Location::caller()));
    }

    /// Runs `future` in this scope as a nursery: waits for it, then for the scope's tasks and the
    /// scopes below it, and ends the scope. A scope that depends on this one ends before it, so that is waited
    /// for too: drop its handles, or stop it.
    ///
    /// # Panics
    ///
    /// When it is first polled inside this scope or one below it, by a task or a hook: it would wait for
    /// itself. In a task a nursery is a scope of its own: `scope("name").run(..)`.
    ///
    /// # Cancel safety
    ///
    /// Dropping it before it is over drops `future` and asks the scope to stop.
    pub async fn run<F: Future>(self, future: F) -> F::Output {
        struct StopUnlessOver<'a>(Option<&'a Arc<Node>>);
        impl Drop for StopUnlessOver<'_> {
            fn drop(&mut self) {
                if let Some(node) = self.0 {
                    node.above().stop(node);
                }
            }
        }
        assert!(
            !is_inside(&self.node),
            "Scope::run on the scope {:?}, from inside it, would wait for itself: open one for it, \
             `scope(\"name\").run(..)`",
            self.node.path()
        );
        let mut unless_over = StopUnlessOver(Some(&self.node));
        let output = InScope::new(future, &self).await;
        self.node.seal();
        End { node: self.node.clone(), ticket: None }.await;
        unless_over.0 = None;
        output
    }
}

impl<B: Clone> Scope<B> {
    /// Opens a scope below this one. It is always a new one, also under a name used before.
    ///
    /// Where this scope has been told to stop, so has the new one: it takes what this one takes.
    pub fn scope(&self, name: impl Into<Cow<'static, str>>) -> Scope<B> {
        let node = self.node.above().open(&self.node, name.into());
        Scope::first(node, self.backend.clone())
    }

    /// Makes this scope stop before `dependency` does, which does not end by itself before this scope either.
    ///
    /// Called while the scope is made, before anything else of it:
    /// `scope("http").depends_on(&db).depends_on(&cache)`. Two scopes cannot come to depend on each
    /// other: where `dependency` was opened after this scope, or a stop has begun, this scope is opened
    /// anew and it is that one which is returned, with the hooks; tasks spawned before stay in the old
    /// one. On the root it does nothing: the root ends last as it is.
    #[must_use = "it is the returned scope that depends"]
    pub fn depends_on<C>(self, dependency: &Scope<C>) -> Scope<B> {
        if !Arc::ptr_eq(self.node.owner(), dependency.node.owner()) {
            return self; // another program's: there is no order between programs
        }
        match self.node.above().depend(&self.node, dependency.node.id) {
            Some(node) => Scope::first(node, self.backend.clone()),
            None => self,
        }
    }
}

impl<B: Clone> Scope<B> {
    /// Names a task before it is spawned: `scope.task("mailer").spawn(..)`.
    pub fn task(&self, name: impl Into<Cow<'static, str>>) -> Task<B> {
        Task::new(self.clone(), name.into())
    }
}

impl<B: Spawner> Scope<B> {
    /// Spawns a plain task: dropped at its next yield once the scope is cancelling. From its first ask
    /// about the stop on it is graceful: [who asks](StopToken#who-asks-is-graceful).
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output, B>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let spawn = Spawn::new(TaskKind::Plain, Location::caller());
        task::start(&self.node, &self.backend, spawn, future)
    }

    /// Spawns a graceful task: told through its token at draining, cancelled at the drain limit. It is
    /// graceful from the start, though the stop comes before its first poll.
    #[track_caller]
    pub fn spawn_graceful<F, Fut>(&self, task: F) -> JoinHandle<Fut::Output, B>
    where
        F: FnOnce(StopToken) -> Fut,
        Fut: Future + Send + 'static,
        Fut::Output: Send + 'static,
    {
        let spawn = Spawn::new(TaskKind::Graceful, Location::caller());
        task::start(
            &self.node,
            &self.backend,
            spawn,
            task(StopToken::for_graceful(self.node.clone())),
        )
    }

    /// Spawns a shielded task: never cancelled, waited for until the cut-off.
    #[track_caller]
    pub fn spawn_shielded<F>(&self, future: F) -> JoinHandle<F::Output, B>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let spawn = Spawn::new(TaskKind::Shielded, Location::caller());
        task::start(&self.node, &self.backend, spawn, future)
    }
}

impl<B: SpawnBlocking> Scope<B> {
    /// Runs `job` on the blocking pool; it is waited for until the cut-off and cannot be
    /// cancelled. It can read the token: [`StopToken::current`].
    #[track_caller]
    pub fn spawn_blocking<F, T>(&self, job: F) -> JoinHandle<T, B>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let spawn = Spawn::new(TaskKind::Blocking, Location::caller());
        task::start_blocking(&self.node, &self.backend, spawn, job)
    }
}

impl<B: Clone> Clone for Scope<B> {
    fn clone(&self) -> Scope<B> {
        Scope::from_node(self.node.clone(), self.backend.clone())
    }
}

impl<B> Drop for Scope<B> {
    fn drop(&mut self) {
        self.node.close_handle();
    }
}

impl<B> fmt::Debug for Scope<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scope").field(&self.path()).finish()
    }
}

impl<B: Send> Shutdown for Scope<B> {
    async fn shutdown(self, within: Duration) -> Result<(), Unfinished> {
        let backend = self.node.backend().clone();
        let node = self.node.clone();
        drop(self.stop());
        drop(self);
        let end = End { node, ticket: None };
        let ended = Either { first: end, second: backend.sleep(within) };
        if ended.await { Ok(()) } else { Err(Unfinished) }
    }
}

pin_project! {
    /// Whether the first of two futures was the first to resolve.
    struct Either<A, B> {
        #[pin]
        first: A,
        #[pin]
        second: B,
    }
}

impl<A: Future, B: Future> Future for Either<A, B> {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let this = self.project();
        if this.first.poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        this.second.poll(cx).map(|_| false)
    }
}

/// Resolves when a scope that was asked to stop has ended. From [`Scope::stop`].
///
/// # Cancel safety
///
/// Dropping it leaves the stop requested.
#[derive(Debug)]
#[must_use = "the stop is requested already: await its end, or drop this on purpose"]
pub struct ScopeStop {
    node: Arc<Node>,
    ticket: Option<Ticket>,
}

impl Future for ScopeStop {
    type Output = Result<(), StopError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if is_inside(&self.node) {
            return Poll::Ready(Err(StopError { scope: self.node.path() }));
        }
        let this = &mut *self;
        poll_end(&this.node, &mut this.ticket, cx).map(Ok)
    }
}

impl Drop for ScopeStop {
    fn drop(&mut self) {
        self.node.forget(self.ticket, Awaited::End);
    }
}

/// Whether what runs here is a part of the scope, a task or a hook of it or of one below it, so that an await
/// of its end would wait for itself.
fn is_inside(node: &Arc<Node>) -> bool {
    let inside = context::task_node().or_else(context::hook_scope);
    inside.is_some_and(|inside| inside.is_within(node)) && !node.lock().is_closed()
}

/// Resolves when a scope has ended, whoever awaits it.
struct End {
    node: Arc<Node>,
    ticket: Option<Ticket>,
}

impl Future for End {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        poll_end(&this.node, &mut this.ticket, cx)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.node.forget(self.ticket, Awaited::End);
    }
}

fn poll_end(node: &Arc<Node>, ticket: &mut Option<Ticket>, cx: &mut Context<'_>) -> Poll<()> {
    let waits = node.wait(ticket, Awaited::End, cx.waker().clone(), |tasks| tasks.is_closed());
    if waits { Poll::Pending } else { Poll::Ready(()) }
}

pin_project! {
    /// A future that runs in a scope, though something else spawned it.
    ///
    /// From [`FutureExt::in_scope`](crate::FutureExt::in_scope).
    #[must_use = "futures do nothing unless awaited"]
    pub struct InScope<F> {
        #[pin]
        future: F,
        // A handle: the scope does not end by itself while this is there.
        scope: Scope<()>,
    }
}

impl<F> InScope<F> {
    pub(crate) fn new<B>(future: F, scope: &Scope<B>) -> InScope<F> {
        InScope { future, scope: Scope::from_node(scope.node.clone(), ()) }
    }
}

impl<F: Future> Future for InScope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _inside = context::inside_scope(this.scope.node.clone());
        this.future.poll(cx)
    }
}

impl<F> fmt::Debug for InScope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InScope").field("scope", &self.scope.path()).finish_non_exhaustive()
    }
}

/// Opens a scope below the current one.
///
/// # Panics
///
/// Outside of a program; [`Scope::try_current`] asks first.
#[track_caller]
pub fn scope(name: impl Into<Cow<'static, str>>) -> Scope {
    Scope::current().scope(name)
}
