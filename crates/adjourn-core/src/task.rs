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

use crate::context;
use crate::error::{JoinError, NoScope, Payload, drop_quietly, forget_payload, panic_message};
use crate::node::{Node, Spawn};
use crate::report::{FailureKind, Outcome, Reason, TaskKind};
use crate::rt::{AnyBackend, SpawnBlocking, Spawner};
use crate::scope::Scope;
use crate::stop::StopToken;
use crate::table::{TaskRef, flag};

/// A waker by its parts, for comparing with one that is kept elsewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
struct WakerId {
    data: usize,
    vtable: usize,
}

impl WakerId {
    const NONE: WakerId = WakerId { data: 0, vtable: 0 };

    #[inline]
    fn of(waker: &Waker) -> WakerId {
        WakerId { data: waker.data().addr(), vtable: std::ptr::from_ref(waker.vtable()).addr() }
    }
}

pin_project! {
    /// The user's future, tracked: what a backend is given to run.
    ///
    /// At most 48 bytes beside the future: the reference (24), the waker's parts (16), and what the
    /// option's tag rounds up to. Never unwinds: panics of polls and destructors are caught and
    /// reported.
    pub(crate) struct Tracked<F: Future> {
        #[pin]
        future: Option<F>,
        // None once it is over.
        task: Option<TaskRef>,
        // The parts of the waker that the table has, to compare with. The table's clone keeps them
        // from being another waker's; where it is taken, RETAKE says so.
        waker: WakerId,
    }

    impl<F: Future> PinnedDrop for Tracked<F> {
        fn drop(this: Pin<&mut Self>) {
            // The executor drops it: it ended with the task on it.
            let this = this.project();
            if let Some(task) = this.task.take() {
                _ = cancelled(this.future, task);
            }
        }
    }
}

impl<F: Future> Tracked<F> {
    pub(crate) fn new(task: TaskRef, future: F) -> Tracked<F> {
        Tracked { future: Some(future), task: Some(task), waker: WakerId::NONE }
    }
}

/// A task's result on its way to its handle. Where nobody takes it, its destructor's panic goes
/// nowhere: neither into the executor, which may abort, nor into who dropped the handle.
pub(crate) struct Given<T>(Option<Result<T, JoinError>>);

impl<T> Given<T> {
    #[inline]
    pub(crate) fn new(result: Result<T, JoinError>) -> Given<T> {
        Given(Some(result))
    }

    /// Takes the result; it is there once.
    #[inline]
    pub(crate) fn take(mut self) -> Result<T, JoinError> {
        self.0.take().unwrap_or_else(|| Err(JoinError::executor_gone()))
    }
}

impl<T> Drop for Given<T> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<T>() {
            drop_quietly(self.0.take());
        }
    }
}

impl<F: Future> Future for Tracked<F> {
    type Output = Given<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if context::is_busy() {
            return context::aside(|| self.poll(cx));
        }
        let mut this = self.project();
        let Some(task) = *this.task else { return Poll::Pending };
        if task.word().is_doomed() {
            *this.task = None;
            return Poll::Ready(Given::new(Err(cancelled(this.future, task))));
        }
        let mut polled = Poll::Pending;
        context::enter(task, Some(cx.waker()));
        let caught = catch_unwind(AssertUnwindSafe(|| {
            if let Some(future) = this.future.as_mut().as_pin_mut() {
                polled = future.poll(cx);
            }
        }));
        let ended = match (caught, polled) {
            (Ok(()), Poll::Pending) => {
                context::leave();
                let asked = task.word().has(flag::CANCEL | flag::FORCE | flag::RETAKE);
                if (asked || *this.waker != WakerId::of(cx.waker()))
                    && !stays(task, this.waker, cx.waker())
                {
                    *this.task = None;
                    return Poll::Ready(Given::new(Err(cancelled(this.future, task))));
                }
                return Poll::Pending;
            }
            (Ok(()), Poll::Ready(output)) => Ok(output),
            (Err(payload), _) => Err(payload),
        };
        *this.task = None;
        let dropped = drop_in_task(this.future);
        context::leave();
        Poll::Ready(Given::new(match ended {
            Ok(output) => {
                if let Some(payload) = dropped {
                    // What it returned is kept; the panic is in the report.
                    panicked(&task, FailureKind::DestructorPanic, &*payload);
                    forget_payload(payload);
                }
                Node::deregister(task, Outcome::Finished);
                Ok(output)
            }
            Err(payload) => {
                drop_quietly(dropped);
                Err(end_panicked(task, FailureKind::TaskPanic, payload))
            }
        }))
    }
}

/// After a poll that was pending: has the waker stored, where it is new or was taken. Returns
/// whether the task lives on.
#[cold]
fn stays(task: TaskRef, stored: &mut WakerId, waker: &Waker) -> bool {
    if task.word().is_doomed() {
        return false;
    }
    let own = WakerId::of(waker);
    if *stored != own || task.word().has(flag::RETAKE) {
        let first = *stored == WakerId::NONE;
        *stored = own;
        let missed = Node::store_waker(&task, waker.clone(), first);
        // A stop that came before the waker was there found none to wake.
        if missed || task.word().has(flag::CANCEL | flag::FORCE) {
            waker.wake_by_ref();
        }
    }
    true
}

/// Drops the future of the task that is entered; returns the panic of its destructor.
fn drop_in_task<F>(mut future: Pin<&mut Option<F>>) -> Option<Payload> {
    if !std::mem::needs_drop::<F>() {
        future.set(None);
        return None;
    }
    context::begin_ending();
    catch_unwind(AssertUnwindSafe(|| future.set(None))).err()
}

/// Drops a task's future, in its context, then ends its tracking.
#[cold]
fn cancelled<F>(future: Pin<&mut Option<F>>, task: TaskRef) -> JoinError {
    match context::within(task, || drop_in_task(future)) {
        None => {
            let stop = task.chunk().is_fired();
            Node::deregister(task, Outcome::Cancelled);
            JoinError::cancelled(stop)
        }
        Some(payload) => end_panicked(task, FailureKind::DestructorPanic, payload),
    }
}

/// Ends the tracking of a task whose future has panicked and is dropped.
#[cold]
fn end_panicked(task: TaskRef, kind: FailureKind, payload: Payload) -> JoinError {
    // The failure is recorded before the scope can be found ended.
    panicked(&task, kind, &*payload);
    Node::deregister(task, Outcome::Panicked);
    JoinError::panic(payload)
}

/// Records a panic, and stops the program where the options ask for that.
#[cold]
fn panicked(task: &TaskRef, kind: FailureKind, payload: &(dyn Any + Send)) {
    let Some(node) = task.node() else { return };
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
    let Some(task) = node.register(spawn) else { return JoinHandle::refused(JoinError::refused()) };
    JoinHandle::of(task, backend.spawn(Tracked::new(task, future)))
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
        return JoinHandle::refused(JoinError::unsupported(unsupported));
    }
    let Some(task) = node.register(spawn) else { return JoinHandle::refused(JoinError::refused()) };
    let job = Job { job: Some(job), task: Some(task) };
    JoinHandle::of(task, backend.spawn_blocking(move || Given::new(job.run())))
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
            return Err(cancelled(job, task)); // aborted while it was queued
        }
        Node::started(&task);
        match context::within(task, || catch_unwind(AssertUnwindSafe(job))) {
            Ok(output) => {
                Node::deregister(task, Outcome::Finished);
                Ok(output)
            }
            Err(payload) => Err(end_panicked(task, FailureKind::TaskPanic, payload)),
        }
    }
}

impl<F> Drop for Job<F> {
    fn drop(&mut self) {
        // The pool dropped it unrun.
        if let Some(task) = self.task.take() {
            let job = std::pin::pin!(self.job.take());
            _ = cancelled(job, task);
        }
    }
}

/// Resolves to what a task returns. Dropped, it detaches, on every backend.
///
/// # Cancel safety
///
/// Awaiting it by reference (`&mut handle`) loses nothing when the await is dropped.
pub struct JoinHandle<T: Send + 'static, B: Spawner = AnyBackend> {
    state: State<B::Handle<Given<T>>>,
}

enum State<H> {
    Spawned {
        handle: H,
        task: TaskRef,
        joining: bool,
    },
    Refused(JoinError),
    /// Its result was taken.
    Over,
}

impl<T: Send + 'static, B: Spawner> JoinHandle<T, B> {
    fn of(task: TaskRef, handle: B::Handle<Given<T>>) -> JoinHandle<T, B> {
        JoinHandle { state: State::Spawned { handle, task, joining: false } }
    }

    fn refused(refusal: JoinError) -> JoinHandle<T, B> {
        JoinHandle { state: State::Refused(refusal) }
    }

    /// Asks the task to end: it is dropped at its next yield, once no shield holds it.
    ///
    /// Before its first poll its body is never entered; once it is finished its value stays. A
    /// shielded task is not cancelled by this, a blocking job only while it is queued.
    pub fn abort(&self) {
        if let State::Spawned { task, .. } = &self.state {
            Node::abort(task);
        }
    }

    /// Returns whether the task is over, so that awaiting it takes no time worth naming.
    pub fn is_finished(&self) -> bool {
        let State::Spawned { task, .. } = &self.state else { return true };
        task.live_word().is_none_or(|word| word.has(flag::ABANDONED))
    }
}

impl<T: Send + 'static, B: Spawner> Future for JoinHandle<T, B> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match &mut self.state {
            State::Spawned { handle, task, joining } => match Pin::new(handle).poll(cx) {
                Poll::Ready(Ok(given)) => given.take(),
                Poll::Ready(Err(_)) => Err(JoinError::executor_gone()),
                Poll::Pending => {
                    // An executor may never resolve the handle of a task that it cannot drop.
                    *joining = true;
                    if task.store_join_waker(cx.waker().clone()) {
                        return Poll::Pending;
                    }
                    Err(JoinError::abandoned())
                }
            },
            // Fused: awaited again it stays pending.
            State::Over => return Poll::Pending,
            refused @ State::Refused(_) => match std::mem::replace(refused, State::Over) {
                State::Refused(refusal) => return Poll::Ready(Err(refusal)),
                _ => return Poll::Pending,
            },
        };
        // The task is over, or at its end, and its waker gone with its entry.
        self.state = State::Over;
        Poll::Ready(result)
    }
}

impl<T: Send + 'static, B: Spawner> Drop for JoinHandle<T, B> {
    fn drop(&mut self) {
        if let State::Spawned { task, joining: true, .. } = &self.state {
            task.forget_join_waker();
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
        Some(node) => node,
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
    let mut spawn = Spawn::new(TaskKind::Plain, Location::caller());
    // Beside the task that spawns it there is mostly room.
    if let Some((task, node)) = context::own_chunk().and_then(|own| own.insert_beside(&mut spawn)) {
        return JoinHandle::of(task, node.program.backend.spawn(Tracked::new(task, future)));
    }
    let node = current();
    start(&node, &node.program.backend, spawn, future)
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
