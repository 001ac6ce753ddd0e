//! Being told of a stop.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::contract::error::{NoScope, StopRequested};
use crate::contract::report::Reason;
use crate::track::context;
use crate::track::node::{Node, WaitKey, Waiter};
use crate::track::table::{Chunk, flag};

/// Says whether a scope has been asked to stop.
///
/// Level-triggered: who asks late is told at once. Cheap to clone, `'static`, and free to drop
/// unread.
#[derive(Clone)]
pub struct StopToken {
    node: Arc<Node>,
}

impl StopToken {
    pub(crate) fn new(node: Arc<Node>) -> StopToken {
        StopToken { node }
    }

    /// Returns the token of the current scope.
    ///
    /// # Panics
    ///
    /// Outside of a program; [`try_current`](StopToken::try_current) asks first.
    #[track_caller]
    pub fn current() -> StopToken {
        match StopToken::try_current() {
            Ok(token) => token,
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns the token of the current scope.
    ///
    /// # Errors
    ///
    /// [`NoScope`] outside of a program.
    pub fn try_current() -> Result<StopToken, NoScope> {
        context::scope().map(|node| StopToken { node }).ok_or(NoScope)
    }

    /// Returns whether the scope has been asked to stop.
    pub fn is_requested(&self) -> bool {
        self.node.is_fired()
    }

    /// Returns a future that resolves once the scope has been asked to stop.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing: another one resolves at once.
    pub fn requested(&self) -> Requested {
        Requested { node: self.node.clone(), key: None }
    }

    /// Returns the first cause of the program's stop; `None` before it, and when only this scope
    /// was asked to stop.
    pub fn reason(&self) -> Option<Reason> {
        if !self.is_requested() {
            return None;
        }
        self.node.above.reason()
    }

    /// Blocks the calling thread until the scope has been asked to stop, or `span` is over; returns
    /// whether it has. For blocking jobs and threads of one's own.
    ///
    /// Do not call it in async code: it blocks. [`requested`](StopToken::requested) is for that.
    pub fn wait_timeout(&self, span: Duration) -> bool {
        self.node.wait_fired(span)
    }
}

impl fmt::Debug for StopToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopToken")
            .field("scope", &self.node.path())
            .field("is_requested", &self.is_requested())
            .finish()
    }
}

/// Resolves once a scope has been asked to stop. From [`StopToken::requested`].
///
/// Polled by a task of the scope with the task's own waker, it registers nothing: the stop wakes
/// the task. Polled through a combinator that brings its own waker, it registers that.
#[must_use = "futures do nothing unless awaited"]
pub struct Requested {
    node: Arc<Node>,
    key: Option<WaitKey>,
}

impl Future for Requested {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.node.is_fired() {
            return Poll::Ready(());
        }
        let watched = watch(|chunk| chunk.belongs_to(self.node.uid), cx);
        if watched {
            // Set before it is looked at again: the stop fires first and collects then.
            return if self.node.is_fired() { Poll::Ready(()) } else { Poll::Pending };
        }
        let this = &mut *self;
        let node = &this.node;
        if node.wait(&mut this.key, Waiter::Stop(cx.waker().clone()), |_| node.is_fired()) {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

/// Notes on the task that is polled, if `which` names its chunk and the waker is its own, that it is to be
/// woken when its scope is asked to stop. Returns whether it is noted.
#[inline]
fn watch(which: impl FnOnce(&Chunk) -> bool, cx: &Context<'_>) -> bool {
    let Some((mark, chunk)) = context::place() else { return false };
    let watched = which(chunk) && context::is_own_waker(cx.waker());
    if watched {
        mark.note(flag::WATCH);
    }
    watched
}

impl Drop for Requested {
    fn drop(&mut self) {
        self.node.forget(self.key);
    }
}

impl fmt::Debug for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requested").field("scope", &self.node.path()).finish_non_exhaustive()
    }
}

pin_project! {
    /// A future that gives up when its scope is asked to stop.
    ///
    /// From [`FutureExt::until_stop`](crate::FutureExt::until_stop).
    #[must_use = "futures do nothing unless awaited"]
    pub struct UntilStop<F> {
        #[pin]
        future: Option<F>,
        // None while the task's own waker serves.
        stop: Option<Requested>,
    }
}

impl<F> UntilStop<F> {
    pub(crate) fn new(future: F) -> UntilStop<F> {
        UntilStop { future: Some(future), stop: None }
    }
}

impl<F: Future> Future for UntilStop<F> {
    type Output = Result<F::Output, StopRequested>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // The scope of the task that is polled needs no token, and the task no second waker.
        let own = if this.stop.is_none() { context::own_chunk() } else { None };
        let stopped = match own {
            Some(chunk) => chunk.is_fired(),
            None => poll_stop(this.stop, cx),
        };
        if !stopped {
            let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Pending };
            if let Poll::Ready(output) = future.poll(cx) {
                this.future.set(None);
                return Poll::Ready(Ok(output));
            }
            let Some(chunk) = own else { return Poll::Pending };
            // Noted before it is looked at again: the stop fires first and collects then.
            let stopped =
                if watch(|_| true, cx) { chunk.is_fired() } else { poll_stop(this.stop, cx) };
            if !stopped {
                return Poll::Pending;
            }
        }
        this.future.set(None);
        Poll::Ready(Err(StopRequested))
    }
}

/// Returns whether the current scope was asked to stop, by a token of it made at the first call.
#[cold]
fn poll_stop(stop: &mut Option<Requested>, cx: &mut Context<'_>) -> bool {
    if stop.is_none() {
        *stop = StopToken::try_current().ok().map(|token| token.requested());
    }
    match stop {
        Some(stop) => Pin::new(stop).poll(cx).is_ready(),
        // Outside of a program nobody can ask: it waits for the future alone.
        None => false,
    }
}

impl<F> fmt::Debug for UntilStop<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilStop").finish_non_exhaustive()
    }
}
