//! Streams, by the feature `stream`.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::UntilStop;

/// What Adjourn adds to every stream. Named for its method, so that it can be imported beside the
/// `StreamExt` of others.
///
/// By the feature `stream`.
pub trait StreamUntilStop: Stream + Sized {
    /// Ends when the current scope is asked to stop: `None`, with this dropped.
    ///
    /// The stop is looked at before this is polled, so what is being done with an item is finished
    /// and no other item comes. The task that polls it is graceful from then on:
    /// [who asks](crate::StopToken#who-asks-is-graceful). The current scope is that of the task that
    /// polls it; where a combinator polls it with a waker of its own, or inside `in_scope`, that of
    /// the first such poll. Outside of a program nothing but this ends it.
    ///
    /// `stream.by_ref().until_stop()` leaves the rest to the caller.
    ///
    /// A type that is both a future and a stream has two methods of this name where both traits are
    /// imported: `StreamUntilStop::until_stop(it)` says which one is meant.
    ///
    /// # Cancel safety
    ///
    /// That of the stream: nothing is kept here between polls but the wish to be told of the stop.
    ///
    /// # Examples
    ///
    /// ```
    /// use adjourn_core::StreamUntilStop;
    /// use futures_lite::{Stream, StreamExt};
    ///
    /// # async fn work(job: u64) {}
    /// async fn worker(jobs: impl Stream<Item = u64> + Unpin) {
    ///     let mut jobs = jobs.until_stop();
    ///     while let Some(job) = jobs.next().await {
    ///         work(job).await; // finished, also when the stop comes meanwhile
    ///     }
    /// }
    /// ```
    fn until_stop(self) -> UntilStop<Self> {
        UntilStop::new(self)
    }
}

impl<S: Stream> StreamUntilStop for S {}

impl<S: Stream> Stream for UntilStop<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if self.inner.is_none() {
            return Poll::Ready(None);
        }
        let next = self.as_mut().poll_inner(cx, S::poll_next).map(Option::flatten);
        if matches!(next, Poll::Ready(None)) {
            self.project().inner.set(None);
        }
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let most = self.inner.as_ref().map_or(Some(0), |inner| inner.size_hint().1);
        (0, most)
    }
}
