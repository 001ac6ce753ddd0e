//! The handle of a task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Given;
use super::kept::Kept;
use crate::contract::error::{ExecutorGone, JoinError};
use crate::contract::rt::{AnyBackend, Spawner};
use crate::track::node::Node;
use crate::track::table::{TaskRef, flag};

/// Resolves to what a task returns. Dropped, it detaches, on every backend.
///
/// # At a stop
///
/// A task that the stop refused or cancelled gives a [`JoinError`]. Where the code that awaits it is
/// itself to be cancelled by the stop, the await stays pending instead: in a task that has been told
/// and never asked about the stop, or that is marked to be cancelled. So
/// `spawn(work()).await.unwrap()` does not turn an orderly stop into a panic, and code after the
/// await does not run on what never came. The error is kept for whoever awaits the handle next. Should
/// the task ask about the stop meanwhile, or a section of it come to hold it, the await goes on and
/// returns the error.
///
/// It is returned wherever somebody is left to handle it: in a task that asked about the stop, in
/// shielded work, jobs, hooks, cleanups and destructors, in a task that a shield holds, in a task of
/// another program, and outside of tasks. What [`abort`](JoinHandle::abort) cancelled is always returned.
///
/// A `block_on` inside a task that is over would wait for ever, since the task cannot be dropped while it
/// blocks its thread. Block in a job ([`spawn_blocking`](crate::spawn_blocking)), or on a
/// [`shield`](crate::shield) around the await.
///
/// # Cancel safety
///
/// Awaiting it by reference (`&mut handle`) loses nothing when the await is dropped.
///
/// # Examples
///
/// ```
/// use adjourn_core::{JoinError, spawn};
///
/// async fn sum() -> Result<u32, JoinError> {
///     let one = spawn(async { 1 });
///     let two = spawn(async { 2 });
///     Ok(one.await? + two.await?)
/// }
/// ```
pub struct JoinHandle<T: Send, B: Spawner = AnyBackend> {
    join: Join<B::Handle<Given<T>>>,
}

impl<T: Send, B: Spawner> JoinHandle<T, B> {
    #[inline]
    pub(super) fn of(node: &Node, task: TaskRef, handle: B::Handle<Given<T>>) -> JoinHandle<T, B> {
        JoinHandle { join: Join::of(node, task, handle) }
    }

    pub(super) fn refused(node: &Node, refusal: JoinError) -> JoinHandle<T, B> {
        JoinHandle { join: Join::refused(node, refusal) }
    }

    /// Asks the task to end: it is dropped at its next yield, once no shield holds it.
    ///
    /// Before its first poll its body is never entered; once it is finished its value stays. A
    /// shielded task is not cancelled by this, a blocking job only while it is queued.
    pub fn abort(&self) {
        self.join.abort();
    }

    /// Returns whether the task is over. Awaiting it takes no time then, unless the stop took it away
    /// from code that is over too: see above.
    pub fn is_finished(&self) -> bool {
        self.join.is_finished()
    }
}

impl<T: Send, B: Spawner> Future for JoinHandle<T, B> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.join.poll(cx)
    }
}

impl<T: Send, B: Spawner> fmt::Debug for JoinHandle<T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("is_finished", &self.is_finished()).finish()
    }
}

/// What is in a handle, over the executor's own.
pub(super) struct Join<H> {
    state: State<H>,
}

enum State<H> {
    Spawned {
        handle: H,
        task: TaskRef,
        program: u32,
        joining: bool,
    },
    /// There never was a task.
    Refused(JoinError, u32),
    /// It is over, and its error was kept from code that is over too.
    Kept(Box<Kept>),
    /// Its result was taken.
    Over,
}

impl<H> Join<H> {
    #[inline]
    pub(super) fn of(node: &Node, task: TaskRef, handle: H) -> Join<H> {
        Join { state: State::Spawned { handle, task, program: node.program(), joining: false } }
    }

    pub(super) fn refused(node: &Node, refusal: JoinError) -> Join<H> {
        Join { state: State::Refused(refusal, node.program()) }
    }

    pub(super) fn abort(&self) {
        if let State::Spawned { task, .. } = &self.state {
            Node::abort(task);
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        let State::Spawned { task, .. } = &self.state else { return true };
        task.live_word().is_none_or(|word| word.has(flag::ABANDONED))
    }

    #[inline]
    pub(super) fn poll<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>>
    where
        H: Future<Output = Result<Given<T>, ExecutorGone>> + Unpin,
    {
        let (result, program) = match &mut self.state {
            State::Spawned { handle, task, program, joining } => match Pin::new(handle).poll(cx) {
                Poll::Ready(Ok(given)) => (given.take(), *program),
                Poll::Ready(Err(_)) => (Err(JoinError::executor_gone()), *program),
                Poll::Pending => {
                    // An executor may never resolve the handle of a task that it cannot drop.
                    *joining = true;
                    if task.store_join_waker(cx.waker().clone()) {
                        return Poll::Pending;
                    }
                    (Err(JoinError::abandoned()), *program)
                }
            },
            _ => return self.poll_error(cx),
        };
        // The task is over, or at its end, and its waker gone with its entry.
        self.state = State::Over;
        match result {
            Err(error) if error.is_by_stop() => self.give(error, program, cx),
            result => Poll::Ready(result),
        }
    }

    /// Where there is nothing to poll any more.
    #[cold]
    fn poll_error<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Refused(error, program) => self.give(error, program, cx),
            State::Kept(kept) => match kept.into_error() {
                Some((error, program)) => self.give(error, program, cx),
                None => Poll::Pending,
            },
            // Fused: awaited again it stays pending.
            _ => Poll::Pending,
        }
    }

    /// What is over does not come back: nobody is left to whom the stop's error would be news.
    #[cold]
    fn give<T>(
        &mut self,
        error: JoinError,
        program: u32,
        cx: &Context<'_>,
    ) -> Poll<Result<T, JoinError>> {
        match Kept::keep(error, program, cx) {
            Ok(kept) => {
                self.state = State::Kept(Box::new(kept));
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<H> Drop for Join<H> {
    fn drop(&mut self) {
        if let State::Spawned { task, joining: true, .. } = &self.state {
            task.forget_join_waker();
        }
    }
}
