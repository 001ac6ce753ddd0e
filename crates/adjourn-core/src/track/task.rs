//! Tasks: the future that tracks a user's, its handle, and the ways to spawn.

mod handle;
mod kept;
mod local;
mod spawn;

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::contract::error::{JoinError, Payload, drop_quietly, forget_payload, panic_message};
use crate::contract::report::{FailureKind, Outcome};
use crate::contract::rt::{SpawnBlocking, Spawner};
use crate::track::context::{self, Aside};
use crate::track::node::{Node, Spawn};
use crate::track::table::{Chunk, Mark, TaskRef, flag};
use crate::track::wakes::WakerId;

pub use self::handle::JoinHandle;
pub use self::local::LocalJoinHandle;
pub use self::spawn::{
    Dispatch, Task, spawn, spawn_blocking, spawn_graceful, spawn_shielded, task,
};

pin_project! {
    /// The user's future, tracked: what a backend is given to run.
    ///
    /// At most 24 bytes beside the future: where its slot is (16), and what the option's tag rounds up to.
    /// Tokio rounds a task up to two lines of cache, into which a small future fits with that. Never
    /// unwinds: panics of polls and destructors are caught and reported.
    pub(crate) struct Tracked<F: Future> {
        // None once it is over.
        #[pin]
        future: Option<F>,
        mark: &'static Mark,
        chunk: &'static Chunk,
    }

    impl<F: Future> PinnedDrop for Tracked<F> {
        fn drop(this: Pin<&mut Self>) {
            // The executor drops it: it ended with the task on it.
            let this = this.project();
            if this.future.is_some() {
                _ = cancelled(this.future, TaskRef::running(this.mark, this.chunk));
            }
        }
    }
}

impl<F: Future> Tracked<F> {
    pub(crate) fn new(task: TaskRef, future: F) -> Tracked<F> {
        Tracked { future: Some(future), mark: task.mark(), chunk: task.chunk() }
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
        // An error may have a panic's payload in it, which is the user's too.
        if std::mem::needs_drop::<T>() || matches!(self.0, Some(Err(_))) {
            drop_quietly(self.0.take());
        }
    }
}

impl<F: Future> Future for Tracked<F> {
    type Output = Given<F::Output>;

    // Part of the executor's own poll: as a function beside it each poll is dearer by a tenth of that.
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Pending };
        let _aside = Aside::new();
        let (mark, chunk) = (*this.mark, *this.chunk);
        let task = || TaskRef::running(mark, chunk);
        if mark.load().has(flag::CANCEL | flag::FORCE | flag::UNTOLD) && !goes_on(&task()) {
            return Poll::Ready(Given::new(Err(cancelled(this.future, task()))));
        }
        context::enter(mark, chunk, Some(cx.waker()));
        let ended = match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(Poll::Pending) => {
                context::leave();
                let asked = mark.load().has(flag::CANCEL | flag::FORCE | flag::RETAKE);
                if (asked || mark.waker() != WakerId::of(cx.waker())) && !stays(&task(), cx.waker())
                {
                    return Poll::Ready(Given::new(Err(cancelled(this.future, task()))));
                }
                return Poll::Pending;
            }
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => Err(payload),
        };
        let dropped = drop_in_task(this.future);
        context::leave();
        let task = task();
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

/// Before a poll that something is to be known of: whether the task lives on. It is told by this poll.
#[cold]
fn goes_on(task: &TaskRef) -> bool {
    let word = task.word();
    if word.is_doomed() {
        return false;
    }
    if word.has(flag::UNTOLD) {
        task.clear(flag::UNTOLD);
    }
    true
}

/// After a poll that was pending: has the waker stored, where it is new or was taken. Returns
/// whether the task lives on.
#[cold]
fn stays(task: &TaskRef, waker: &Waker) -> bool {
    if task.word().is_doomed() {
        return false;
    }
    let (own, stored) = (WakerId::of(waker), task.mark().waker());
    if stored != own || task.word().has(flag::RETAKE) {
        let first = stored == WakerId::NONE;
        task.mark().set_waker(own);
        let missed = Node::store_waker(task, waker.clone(), first);
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
    if task.chunk().is_hosted() {
        check_told(&task);
    }
    match context::within(task, || drop_in_task(future)) {
        None => {
            let stop = task.chunk().is_fired() && !task.word().has(flag::ABORTED);
            Node::deregister(task, Outcome::Cancelled);
            JoinError::cancelled(stop)
        }
        Some(payload) => end_panicked(task, FailureKind::DestructorPanic, payload),
    }
}

/// Tells a host of what must not be: a graceful task is dropped, by no abort and by nothing that is
/// forced, and has not been polled since it could see that its scope is told.
fn check_told(task: &TaskRef) {
    let word = task.word();
    let told = task.chunk().is_fired() && !word.has(flag::UNTOLD);
    if word.has(flag::ASKED) && !told && !word.has(flag::ABORTED | flag::FORCE) {
        let Some(node) = task.node() else { return };
        node.above().untold(node.describe(task));
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
    let (origin, message) = (node.describe(task), panic_message(payload));
    node.above().failed(Some(task), kind, origin, vec![message], false);
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
    let Some(task) = node.register(spawn) else {
        return JoinHandle::refused(node, JoinError::refused());
    };
    JoinHandle::of(node, task, backend.spawn(Tracked::new(task, future)))
}

/// The same on a node's own backend, however that is spawned on.
fn start_by<D, F>(node: &Arc<Node>, spawn: Spawn, future: F) -> JoinHandle<F::Output>
where
    D: Dispatch + ?Sized,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let Some(task) = node.register(spawn) else {
        return JoinHandle::refused(node, JoinError::refused());
    };
    D::spawn_on(node.backend(), Tracked::new(task, future), |handle| {
        JoinHandle::of(node, task, handle)
    })
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
        return JoinHandle::refused(node, JoinError::unsupported(unsupported));
    }
    let Some(task) = node.register(spawn) else {
        return JoinHandle::refused(node, JoinError::refused());
    };
    let job = Job { job: Some(job), task: Some(task) };
    JoinHandle::of(node, task, backend.spawn_blocking(move || Given::new(job.run())))
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
        if !Node::starts(&task) {
            let job = std::pin::pin!(Some(job));
            return Err(cancelled(job, task)); // aborted while it was queued
        }
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
        assert!(added(&small) <= 24, "{}", added(&small));
        assert!(added(&large) <= 24, "{}", added(&large));
    }
}
