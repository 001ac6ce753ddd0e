//! hyper's runtime traits over a program of Adjourn's.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use adjourn_core::rt::{AnyBackend, AnySleep, Timer};
use pin_project_lite::pin_project;

/// hyper's executor: what hyper spawns becomes plain tasks of the current scope. For a connection of
/// HTTP/2 those are its streams.
///
/// What is spawned outside of a program is dropped.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct InScope;

impl InScope {
    /// Returns the executor.
    pub fn new() -> InScope {
        InScope
    }
}

impl<F> hyper::rt::Executor<F> for InScope
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        if let Ok(scope) = adjourn_core::Scope::try_current() {
            scope.spawn(future);
        }
    }
}

/// hyper's timer: the clock of a backend.
#[derive(Clone, Debug)]
pub struct Clock<T = AnyBackend> {
    timer: T,
}

impl<T: Timer> Clock<T> {
    /// Returns the clock of `timer`: of `Scope::current().backend()`, mostly.
    pub fn new(timer: T) -> Clock<T> {
        Clock { timer }
    }
}

impl<T: Timer> hyper::rt::Timer for Clock<T> {
    fn sleep(&self, span: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep { sleep: self.timer.sleep(span) })
    }

    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep(at.saturating_duration_since(self.timer.now()))
    }

    fn now(&self) -> Instant {
        self.timer.now()
    }
}

pin_project! {
    struct Sleep<S = AnySleep> {
        #[pin]
        sleep: S,
    }
}

impl<S: Future<Output = ()>> Future for Sleep<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.poll(cx)
    }
}

impl<S: Future<Output = ()> + Send + Sync> hyper::rt::Sleep for Sleep<S> {}
