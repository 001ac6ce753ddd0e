//! What ends when its scope is asked to stop: a future, a stream or an iterator.

mod idle;
#[cfg(feature = "stream")]
mod stream;

use std::fmt;
use std::future::Future;
use std::iter::FusedIterator;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::contract::error::StopRequested;
use crate::track::context;
use crate::track::stop::{Requested, StopToken, ask_own, poll_stop, watch};

pub use idle::UntilStopAnd;
#[cfg(feature = "stream")]
pub use stream::StreamUntilStop;

pin_project! {
    /// A future, a stream or an iterator that ends when its scope is asked to stop.
    ///
    /// From [`FutureExt::until_stop`](crate::FutureExt::until_stop),
    /// [`IteratorUntilStop::until_stop`] and, by the feature `stream`,
    /// `StreamUntilStop::until_stop`.
    #[must_use = "it does nothing unless it is awaited or iterated"]
    pub struct UntilStop<T> {
        // None once it has ended.
        #[pin]
        inner: Option<T>,
        // None while the task's own waker serves.
        stop: Option<Requested>,
    }
}

impl<T> UntilStop<T> {
    pub(crate) fn new(inner: T) -> UntilStop<T> {
        UntilStop { inner: Some(inner), stop: None }
    }

    /// Polls what is inside, unless the stop has come: then it is dropped, and this is `None`. Inlined by force: on
    /// each turn of a loop the calls would cost a tenth of what it does.
    #[inline(always)]
    fn poll_inner<R>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<R>,
    ) -> Poll<Option<R>> {
        let mut this = self.project();
        // The scope of the task that is polled needs no token, and the task no second waker.
        let own = if this.stop.is_none() { context::own_place() } else { None };
        let stopped = match own {
            Some((mark, chunk)) => {
                ask_own(mark, chunk);
                chunk.is_fired()
            }
            None => poll_stop(this.stop, cx),
        };
        if !stopped {
            let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Pending };
            if let Poll::Ready(output) = poll(inner, cx) {
                return Poll::Ready(Some(output));
            }
            let Some((mark, chunk)) = own else { return Poll::Pending };
            let stopped = watch(mark, chunk, cx).unwrap_or_else(|| poll_stop(this.stop, cx));
            if !stopped {
                return Poll::Pending;
            }
        }
        this.inner.set(None);
        Poll::Ready(None)
    }
}

impl<F: Future> Future for UntilStop<F> {
    type Output = Result<F::Output, StopRequested>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.inner.is_none() {
            return Poll::Pending; // fused
        }
        match self.as_mut().poll_inner(cx, F::poll) {
            Poll::Ready(Some(output)) => {
                self.project().inner.set(None);
                Poll::Ready(Ok(output))
            }
            Poll::Ready(None) => Poll::Ready(Err(StopRequested)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// What Adjourn adds to every iterator. Named for its method, so that it can be imported beside the
/// traits of others.
pub trait IteratorUntilStop: Iterator + Sized {
    /// Ends when the current scope is asked to stop: for loops in blocking jobs, and for long ones
    /// in tasks.
    ///
    /// The stop is looked at before each `next`, so the step that has begun is finished and no other
    /// begins. An iterator that blocks in its `next` is not woken by the stop. The current scope is
    /// that of the job or task that calls `next`. On a thread that is not the program's there is
    /// none, and nothing ends it; take the token there along:
    /// `iter.take_while(|_| !stop.is_requested())`.
    ///
    /// A task that calls it is graceful from then on:
    /// [who asks](crate::StopToken#who-asks-is-graceful).
    ///
    /// At the stop this is dropped. `iter.by_ref().until_stop()` leaves the rest to the caller.
    ///
    /// # Examples
    ///
    /// ```
    /// use adjourn_core::{IteratorUntilStop, spawn_blocking};
    ///
    /// # fn import(file: u64) {}
    /// fn import_all(files: Vec<u64>) {
    ///     spawn_blocking(move || {
    ///         for file in files.into_iter().until_stop() {
    ///             import(file);
    ///         }
    ///     });
    /// }
    /// ```
    fn until_stop(self) -> UntilStop<Self> {
        UntilStop::new(self)
    }
}

impl<I: Iterator> IteratorUntilStop for I {}

impl<I: Iterator> Iterator for UntilStop<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let inner = self.inner.as_mut()?;
        let next = if is_stopped() { None } else { inner.next() };
        if next.is_none() {
            self.inner = None;
        }
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let most = self.inner.as_ref().map_or(Some(0), |inner| inner.size_hint().1);
        (0, most)
    }
}

impl<I: Iterator> FusedIterator for UntilStop<I> {}

/// Asks whether the current scope is to stop. Outside of a program nobody can ask it to.
fn is_stopped() -> bool {
    match context::own_place() {
        Some((mark, chunk)) => {
            ask_own(mark, chunk);
            chunk.is_fired()
        }
        None => StopToken::try_current().is_ok_and(|token| token.is_requested()),
    }
}

impl<T> fmt::Debug for UntilStop<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilStop").finish_non_exhaustive()
    }
}
