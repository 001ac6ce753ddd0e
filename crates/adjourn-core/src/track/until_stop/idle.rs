//! Futures that may go on for a while after the stop.

use std::fmt;
use std::future::{Future, Pending, pending};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::UntilStop;
use crate::contract::error::StopRequested;
use crate::contract::rt::AnySleep;
use crate::track::scope::Scope;

pin_project! {
    /// A future that gives up some time after its scope was asked to stop. From
    /// [`FutureExt::until_stop_and`](crate::FutureExt::until_stop_and).
    #[must_use = "futures do nothing unless awaited"]
    pub struct UntilStopAnd<F> {
        // None once it has ended.
        #[pin]
        inner: Option<F>,
        #[pin]
        stop: UntilStop<Pending<()>>,
        // Set by the stop.
        sleep: Option<AnySleep>,
        span: Duration,
    }
}

impl<F> UntilStopAnd<F> {
    pub(crate) fn new(inner: F, span: Duration) -> UntilStopAnd<F> {
        UntilStopAnd { inner: Some(inner), stop: UntilStop::new(pending()), sleep: None, span }
    }
}

impl<F: Future> Future for UntilStopAnd<F> {
    type Output = Result<F::Output, StopRequested>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Pending };
        // Before what is inside, which may be ready each time: the task has asked all the same.
        if this.sleep.is_none() && this.stop.poll(cx).is_ready() {
            *this.sleep = Scope::try_current().ok().map(|scope| scope.sleep(*this.span));
        }
        // Also before it: Tokio's sleep is never ready for a task that has used up its budget.
        let over = match this.sleep {
            Some(sleep) => Pin::new(sleep).poll(cx).is_ready(),
            None => false,
        };
        let output = inner.poll(cx).map(Ok);
        let ended =
            if over && output.is_pending() { Poll::Ready(Err(StopRequested)) } else { output };
        if ended.is_ready() {
            this.inner.set(None);
        }
        ended
    }
}

impl<F> fmt::Debug for UntilStopAnd<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilStopAnd").field("span", &self.span).finish_non_exhaustive()
    }
}
