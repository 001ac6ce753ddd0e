//! Tasks: the future that tracks a user's, its handle, and the ways to spawn.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::context::{self, Current};
use crate::error::{JoinError, NoScope, Payload, drop_quietly, panic_message};
use crate::node::{Node, Spawn, WaitKey, Waiter};
use crate::report::{FailureKind, Outcome, Reason, TaskKind};
use crate::rt::{AnyBackend, SpawnBlocking, Spawner};
use crate::scope::Scope;
use crate::stop::StopToken;
use crate::table::{TaskRef, flag};

pin_project! {
    /// The user's future, tracked: what a backend is given to run.
    ///
    /// 48 bytes beside the future: the reference (24), the waker (16), and what the option's tag
    /// rounds up to. Never unwinds: panics of polls and destructors are caught and reported.
    pub(crate) struct Tracked<F: Future> {
        #[pin]
        future: Option<F>,
        // None once it is over.
        task: Option<TaskRef>,
        // The waker that the table has, to compare with.
        waker: Option<Waker>,
    }

    impl<F: Future> PinnedDrop for Tracked<F> {
        fn drop(this: Pin<&mut Self>) {
            // The executor drops it: it ended with the task on it.
            let this = this.project();
            if let Some(task) = this.task.take() {
                _ = end(this.future, task, Outcome::Cancelled, None);
            }
        }
    }
}

impl<F: Future> Tracked<F> {
    pub(crate) fn new(task: TaskRef, future: F) -> Tracked<F> {
        Tracked { future: Some(future), task: Some(task), waker: None }
    }
}

impl<F: Future> Future for Tracked<F> {
    type Output = Result<F::Output, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(task) = this.task.take() else { return Poll::Pending };
        if task.word().is_doomed() {
            return Poll::Ready(Err(end(this.future, task, Outcome::Cancelled, None)));
        }
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Pending };
        let current = Current::of_task(task, Some(cx.waker()));
        let (polled, current) =
            context::enter(current, || catch_unwind(AssertUnwindSafe(|| future.poll(cx))));
        let Some(task) = current.task else { return Poll::Pending };
        match polled {
            Ok(Poll::Pending) => {
                let word = task.word();
                if word.is_doomed() {
                    return Poll::Ready(Err(end(this.future, task, Outcome::Cancelled, None)));
                }
                let stored = this.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker()));
                if !stored || word.has(flag::RETAKE) {
                    let first = this.waker.is_none();
                    if !stored {
                        *this.waker = Some(cx.waker().clone());
                    }
                    let missed = task.node().store_waker(&task, cx.waker().clone(), first);
                    // A stop that came before the waker was there found none to wake.
                    if missed || task.word().has(flag::CANCEL | flag::FORCE) {
                        cx.waker().wake_by_ref();
                    }
                }
                *this.task = Some(task);
                Poll::Pending
            }
            Ok(Poll::Ready(output)) => {
                *this.waker = None;
                _ = end(this.future, task, Outcome::Finished, None);
                Poll::Ready(Ok(output))
            }
            Err(payload) => {
                Poll::Ready(Err(end(this.future, task, Outcome::Panicked, Some(payload))))
            }
        }
    }
}

/// Drops a task's future, in its context, then ends its tracking.
fn end<F>(
    mut future: Pin<&mut Option<F>>,
    task: TaskRef,
    outcome: Outcome,
    panic: Option<Payload>,
) -> JoinError {
    let mut current = Current::of_task(task, None);
    current.ending = true;
    let (dropped, current) =
        context::enter(current, || catch_unwind(AssertUnwindSafe(|| future.set(None))));
    let Some(task) = current.task else { return JoinError::cancelled(false) };
    let node = task.node().clone();
    let (outcome, kind, payload) = match (outcome, panic, dropped.err()) {
        (_, Some(payload), second) => {
            drop_quietly(second);
            (Outcome::Panicked, FailureKind::TaskPanic, Some(payload))
        }
        // What it returned is kept; the panic is in the report.
        (Outcome::Finished, None, Some(payload)) => {
            (Outcome::Finished, FailureKind::DestructorPanic, Some(payload))
        }
        (_, None, Some(payload)) => {
            (Outcome::Panicked, FailureKind::DestructorPanic, Some(payload))
        }
        (outcome, None, None) => {
            let stop = node.is_fired();
            node.deregister(task, outcome);
            return JoinError::cancelled(stop);
        }
    };
    // The failure is recorded before the scope can be found ended.
    let payload = payload.expect("the arms above that come here have one");
    panicked(&node, &task, kind, &*payload);
    node.deregister(task, outcome);
    JoinError::panic(payload)
}

/// Records a panic, and stops the program where the options ask for that.
fn panicked(node: &Arc<Node>, task: &TaskRef, kind: FailureKind, payload: &(dyn Any + Send)) {
    let program = &node.program;
    let origin = node.describe(task);
    let message = panic_message(payload);
    if program.is_main(task) {
        return; // `run` reports it, with what it means for the program
    }
    if program.options.stop_on_panic {
        program.fail_fatally(kind, origin.clone(), vec![message.clone()]);
        program.stop(Reason::TaskFailed(format!("{origin}: {message}")));
    } else {
        program.fail(kind, origin, vec![message]);
    }
}

pub(crate) fn start<B, F>(
    node: &Arc<Node>,
    backend: &B,
    spawn: Spawn,
    future: F,
) -> JoinHandle<F::Output, B>
where
    B: Spawner,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let Some(task) = node.register(spawn) else { return JoinHandle::refused() };
    let handle = backend.spawn(Tracked::new(task.clone(), future));
    JoinHandle { inner: Some(handle), task: Some(task), key: None, refusal: None }
}

pub(crate) fn start_blocking<B, F, T>(
    node: &Arc<Node>,
    backend: &B,
    spawn: Spawn,
    job: F,
) -> JoinHandle<T, B>
where
    B: SpawnBlocking,
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if let Err(unsupported) = backend.can_block() {
        let refusal = Some(JoinError::unsupported(unsupported));
        return JoinHandle { inner: None, task: None, key: None, refusal };
    }
    let Some(task) = node.register(spawn) else { return JoinHandle::refused() };
    let job = Job { job: Some(job), task: Some(task.clone()) };
    let handle = backend.spawn_blocking(move || job.run());
    JoinHandle { inner: Some(handle), task: Some(task), key: None, refusal: None }
}

/// A tracked blocking job.
struct Job<F> {
    job: Option<F>,
    task: Option<TaskRef>,
}

impl<F> Job<F> {
    fn run<T>(mut self) -> Result<T, JoinError>
    where
        F: FnOnce() -> T,
    {
        let (Some(job), Some(task)) = (self.job.take(), self.task.take()) else {
            return Err(JoinError::cancelled(false));
        };
        if task.word().is_doomed() {
            let job = std::pin::pin!(Some(job));
            return Err(end(job, task, Outcome::Cancelled, None)); // aborted while it was queued
        }
        task.node().started(&task);
        let current = Current::of_task(task, None);
        let (done, current) = context::enter(current, || catch_unwind(AssertUnwindSafe(job)));
        let Some(task) = current.task else { return Err(JoinError::cancelled(false)) };
        let gone = std::pin::pin!(None::<F>);
        match done {
            Ok(output) => {
                _ = end(gone, task, Outcome::Finished, None);
                Ok(output)
            }
            Err(payload) => Err(end(gone, task, Outcome::Panicked, Some(payload))),
        }
    }
}

impl<F> Drop for Job<F> {
    fn drop(&mut self) {
        // The pool dropped it unrun.
        if let Some(task) = self.task.take() {
            let job = std::pin::pin!(self.job.take());
            _ = end(job, task, Outcome::Cancelled, None);
        }
    }
}

/// Resolves to what a task returns. Dropped, it detaches, on every backend.
///
/// # Cancel safety
///
/// Awaiting it by reference (`&mut handle`) loses nothing when the await is dropped.
pub struct JoinHandle<T: Send + 'static, B: Spawner = AnyBackend> {
    inner: Option<B::Handle<Result<T, JoinError>>>,
    task: Option<TaskRef>,
    key: Option<WaitKey>,
    refusal: Option<JoinError>,
}

impl<T: Send + 'static, B: Spawner> JoinHandle<T, B> {
    fn refused() -> JoinHandle<T, B> {
        JoinHandle { inner: None, task: None, key: None, refusal: Some(JoinError::refused()) }
    }

    /// Asks the task to end: it is dropped at its next yield, once no shield holds it.
    ///
    /// Before its first poll its body is never entered; once it is finished its value stays. A
    /// shielded task is not cancelled by this, a blocking job only while it is queued.
    pub fn abort(&self) {
        if let Some(task) = &self.task {
            task.node().abort(task);
        }
    }

    /// Returns whether the task is over, so that awaiting it takes no time worth naming.
    pub fn is_finished(&self) -> bool {
        let over = |task: &TaskRef| task.is_over() || task.word().has(flag::ABANDONED);
        self.task.as_ref().is_none_or(over)
    }
}

impl<T: Send + 'static, B: Spawner> Future for JoinHandle<T, B> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(refusal) = this.refusal.take() {
            return Poll::Ready(Err(refusal));
        }
        // Fused: awaited again it stays pending.
        let Some(inner) = this.inner.as_mut() else { return Poll::Pending };
        let result = match Pin::new(inner).poll(cx) {
            Poll::Ready(Ok(result)) => result,
            Poll::Ready(Err(_)) => Err(JoinError::executor_gone()),
            Poll::Pending => {
                // An executor may never resolve the handle of a task that it cannot drop.
                let Some(task) = &this.task else { return Poll::Pending };
                let waiter = Waiter::Join(cx.waker().clone());
                let node = task.node();
                let waits = node.wait(&mut this.key, waiter, |tasks| {
                    tasks.is_closed() && task.word().has(flag::ABANDONED)
                });
                if waits {
                    return Poll::Pending;
                }
                Err(JoinError::abandoned())
            }
        };
        this.inner = None;
        Poll::Ready(result)
    }
}

impl<T: Send + 'static, B: Spawner> Drop for JoinHandle<T, B> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.node().forget(self.key);
        }
    }
}

impl<T: Send + 'static, B: Spawner> fmt::Debug for JoinHandle<T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("is_finished", &self.is_finished()).finish()
    }
}

/// A task that is being described: its name, and whether it keeps the program alive.
///
/// From [`task`] and [`Scope::task`]; one of the `spawn` methods starts it.
#[derive(Debug)]
#[must_use = "it does nothing until one of its spawn methods is called"]
pub struct Task<B = AnyBackend> {
    scope: Scope<B>,
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

    fn describe(&self, kind: TaskKind, place: &'static Location<'static>) -> Spawn {
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
        let future = task(self.scope.stop_token());
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
        Some((node, _)) => node,
        None => panic!("{NoScope}"),
    }
}

/// Spawns a plain task into the current scope: dropped at its next yield once the scope is
/// cancelling.
///
/// The output, an `Err` too, is the handle's; [`or_stop`](crate::ResultFutureExt::or_stop) makes a
/// failure stop the program.
///
/// # Panics
///
/// Outside of a program; [`Scope::try_current`] asks first.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let node = current();
    start(&node, &node.program.backend, Spawn::new(TaskKind::Plain, Location::caller()), future)
}

/// Spawns a graceful task into the current scope: told at draining through its token, cancelled at
/// the drain limit.
///
/// # Panics
///
/// Outside of a program; [`Scope::try_current`] asks first.
#[track_caller]
pub fn spawn_graceful<F, Fut>(task: F) -> JoinHandle<Fut::Output>
where
    F: FnOnce(StopToken) -> Fut,
    Fut: Future + Send + 'static,
    Fut::Output: Send + 'static,
{
    let node = current();
    let spawn = Spawn::new(TaskKind::Graceful, Location::caller());
    start(&node, &node.program.backend, spawn, task(StopToken::new(node.clone())))
}

/// Spawns a shielded task into the current scope: eager, independent of its caller, never
/// cancelled; the program waits for it until the cut-off.
///
/// # Panics
///
/// Outside of a program; [`Scope::try_current`] asks first.
#[track_caller]
pub fn spawn_shielded<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let node = current();
    let spawn = Spawn::new(TaskKind::Shielded, Location::caller());
    start(&node, &node.program.backend, spawn, future)
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
#[track_caller]
pub fn spawn_blocking<F, T>(job: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let node = current();
    let spawn = Spawn::new(TaskKind::Blocking, Location::caller());
    start_blocking(&node, &node.program.backend, spawn, job)
}

/// Names a task before it is spawned into the current scope: `task("mailer").spawn(..)`.
///
/// # Panics
///
/// Outside of a program; [`Scope::try_current`] asks first.
#[track_caller]
pub fn task(name: impl Into<Cow<'static, str>>) -> Task {
    Scope::current().task(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What tracking adds to a task of this size.
    fn added<F: Future>(_: &F) -> usize {
        size_of::<Tracked<F>>() - size_of::<F>()
    }

    #[test]
    fn tracking_adds_no_more_than_its_budget_of_bytes() {
        let bytes = [0_u8; 100];
        let small = std::future::ready(());
        let large = async move {
            std::future::pending::<()>().await;
            std::hint::black_box(&bytes);
        };
        assert!(added(&small) <= 48, "{}", added(&small));
        assert!(added(&large) <= 48, "{}", added(&large));
    }
}
