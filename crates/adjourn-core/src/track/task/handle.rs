//! The handle of a task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Given;
use crate::contract::error::JoinError;
use crate::contract::rt::{AnyBackend, Spawner};
use crate::track::node::Node;
use crate::track::table::{TaskRef, flag};

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
    pub(super) fn of(task: TaskRef, handle: B::Handle<Given<T>>) -> JoinHandle<T, B> {
        JoinHandle { state: State::Spawned { handle, task, joining: false } }
    }

    pub(super) fn refused(refusal: JoinError) -> JoinHandle<T, B> {
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
