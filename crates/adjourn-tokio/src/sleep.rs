//! Sleeping on a runtime's clock, from wherever.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::runtime::Handle;

use crate::is_at_threads_end;

pin_project! {
    /// Resolves once a [`Tokio`](crate::Tokio) clock has gone on by a span.
    ///
    /// The span begins with the call, but for one that is made by the destructor of a thread-local, when
    /// those of Tokio are gone: there it begins with the first poll. Tokio itself would panic there,
    /// which aborts the process.
    #[derive(Debug)]
    #[must_use = "it does nothing unless it is awaited"]
    pub struct Sleep {
        #[pin]
        state: State,
    }
}

pin_project! {
    #[project = StateProjected]
    #[derive(Debug)]
    enum State {
        Begun { #[pin] sleep: tokio::time::Sleep },
        Later { handle: Handle, span: Duration },
    }
}

impl Sleep {
    pub(crate) fn new(handle: &Handle, span: Duration) -> Sleep {
        let state = if is_at_threads_end() {
            State::Later { handle: handle.clone(), span }
        } else {
            State::begun(handle, span)
        };
        Sleep { state }
    }
}

impl State {
    fn begun(handle: &Handle, span: Duration) -> State {
        // Entered, so that the clock is the runtime's own, which a test may have paused.
        let _entered = handle.enter();
        State::Begun { sleep: tokio::time::sleep(span) }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.project().state;
        if let StateProjected::Later { handle, span } = state.as_mut().project() {
            if is_at_threads_end() {
                // Not even a timer can be had. Whoever polls there gets on no faster than by polling.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let begun = State::begun(handle, *span);
            state.set(begun);
        }
        match state.project() {
            StateProjected::Begun { sleep } => sleep.poll(cx),
            StateProjected::Later { .. } => Poll::Pending,
        }
    }
}
