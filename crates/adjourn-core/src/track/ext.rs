//! Methods on futures.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::contract::error::{Place, Reported, error_chain};
use crate::contract::report::FailureKind;
use crate::track::context;
use crate::track::scope::{InScope, Scope};
use crate::track::shield::{OnCancel, Shield, shield};
use crate::track::stop::Interruptible;
use crate::track::table::flag;
use crate::track::until_stop::{UntilStop, UntilStopAnd};

/// What Adjourn adds to every future.
pub trait FutureExt: Future + Sized {
    /// Makes this a section in which the enclosing task cannot be cancelled: [`shield`].
    #[track_caller]
    fn shield(self) -> Shield<Self> {
        shield(self)
    }

    /// When the enclosing task is cancelled inside this, drops this and then runs `cleanup`,
    /// shielded.
    ///
    /// What `cleanup` undoes should be done inside this: a stop that comes before the first poll
    /// drops both, since nothing has begun.
    ///
    /// It acts once nothing inside this holds the task (a shield, an inner cleanup), the innermost
    /// first, and only if this has begun. The task ends when `cleanup` does; the deadline bounds it.
    /// Dropped by the future around it (`select!`, a timeout) rather than by the task's
    /// cancellation, `cleanup` does not run; the report has the line.
    ///
    /// Moved to another task while `cleanup` runs, it goes on there, holds that task until it is over,
    /// and lets the first one end. There is no output then: the await stays pending until the task that
    /// it is in now is cancelled. The same in a `block_on` inside a task, which then never returns: let a
    /// blocking job block instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use adjourn_core::FutureExt;
    /// # async fn upload(_: &str) {}
    /// # async fn delete(_: &str) {}
    ///
    /// /// What was half uploaded when the stop came is deleted.
    /// async fn store(name: &str) {
    ///     upload(name).on_cancel(delete(name)).await;
    /// }
    /// ```
    #[track_caller]
    fn on_cancel<C: Future<Output = ()>>(self, cleanup: C) -> OnCancel<Self, C> {
        OnCancel::new(self, cleanup, Location::caller())
    }

    /// Gives up when the current scope is asked to stop: `Err(StopRequested)`, with this dropped.
    ///
    /// The task that polls it is graceful from then on:
    /// [who asks](crate::StopToken#who-asks-is-graceful). So a loop over
    /// `queue.recv().until_stop()` finishes the job in its hands.
    ///
    /// The stop is looked at before this is polled. The current scope is that of the task that polls
    /// it; where a combinator polls it with a waker of its own, or inside `in_scope`, that of the
    /// first such poll.
    ///
    /// # Cancel safety
    ///
    /// That of the future itself: it is dropped wherever it is pending.
    ///
    /// # Examples
    ///
    /// ```
    /// use adjourn_core::FutureExt;
    ///
    /// # struct Queue;
    /// # impl Queue { async fn recv(&self) -> Option<u32> { None } }
    /// # async fn work(_: u32) {}
    /// async fn worker(queue: Queue) {
    ///     // The stop ends the wait for a job, and never a job.
    ///     while let Ok(Some(job)) = queue.recv().until_stop().await {
    ///         work(job).await;
    ///     }
    /// }
    /// ```
    fn until_stop(self) -> UntilStop<Self> {
        UntilStop::new(self)
    }

    /// Gives up when the current scope has been asked to stop and `span` has passed since then, or since
    /// this was first polled if that was later: `Err(StopRequested)`, with this dropped.
    ///
    /// It is polled before it is given up. So what has come already is not lost, as a request that is in
    /// the socket, and what comes within `span` is not either. With zero only what is there already is
    /// taken. For all else it is as [`until_stop`](FutureExt::until_stop).
    ///
    /// For a server whose protocol cannot say that its connections are going to end: answer one more
    /// request, and close the connection right behind the answer.
    ///
    /// # Cancel safety
    ///
    /// That of the future itself: it is dropped wherever it is pending.
    ///
    /// # Examples
    ///
    /// ```
    /// use adjourn_core::{FutureExt, StopToken};
    /// use std::time::Duration;
    ///
    /// # struct Connection;
    /// # impl Connection {
    /// #     async fn read(&mut self) -> Option<String> { None }
    /// #     async fn answer(&mut self, request: String) {}
    /// # }
    /// async fn serve(mut connection: Connection) {
    ///     let stop = StopToken::current();
    ///     let idle = Duration::from_millis(500);
    ///     while let Ok(Some(request)) = connection.read().until_stop_and(idle).await {
    ///         connection.answer(request).await;
    ///         if stop.is_requested() {
    ///             break;
    ///         }
    ///     }
    /// }
    /// ```
    fn until_stop_and(self, span: Duration) -> UntilStopAnd<Self> {
        UntilStopAnd::new(self, span)
    }

    /// Makes this a future in which asking about the stop changes nothing: a plain task stays plain,
    /// and is cancelled at its next yield at a stop.
    ///
    /// For work that may be cut at any time, but has code in it that looks at a token.
    ///
    /// # Examples
    ///
    /// ```
    /// use adjourn_core::{FutureExt, StopToken};
    ///
    /// # async fn load() {}
    /// async fn refresh() {
    ///     if !StopToken::current().is_requested() { // this asks
    ///         load().await;
    ///     }
    /// }
    ///
    /// async fn keep_fresh() {
    ///     loop {
    ///         refresh().interruptible().await; // and here it does not count
    ///     }
    /// }
    /// ```
    fn interruptible(self) -> Interruptible<Self> {
        Interruptible::new(self)
    }

    /// Gives this a scope, though something else spawns it: a framework's handler, say.
    ///
    /// The free functions called in it use `scope`. It is not itself tracked by the scope.
    ///
    /// # Examples
    ///
    /// ```
    /// use adjourn_core::{FutureExt, Scope, spawn};
    ///
    /// # fn framework_spawns(future: impl Future<Output = ()>) { drop(future) }
    /// fn start(uploads: &Scope) {
    ///     let handler = async {
    ///         spawn(async { /* a task of `uploads` */ });
    ///     };
    ///     framework_spawns(handler.in_scope(uploads));
    /// }
    /// ```
    fn in_scope<B>(self, scope: &Scope<B>) -> InScope<Self> {
        InScope::new(self, scope)
    }
}

impl<F: Future> FutureExt for F {}

/// What Adjourn adds to futures of a `Result`.
pub trait ResultFutureExt<T, E>: Future<Output = Result<T, E>> + Sized
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Makes an `Err` one that marks the task failed, is kept in the report with its causes, and
    /// stops the program.
    ///
    /// An `Err` with [`StopRequested`](crate::StopRequested) among its causes does neither.
    ///
    /// # Examples
    ///
    /// ```
    /// use adjourn_core::{ResultFutureExt, spawn};
    ///
    /// # async fn listen() -> std::io::Result<()> { Ok(()) }
    /// fn start() {
    ///     spawn(listen().or_stop()); // without a listener the program is of no use
    /// }
    /// ```
    #[track_caller]
    fn or_stop(self) -> OrReport<Self> {
        OrReport { future: self, stop: true, place: Location::caller() }
    }

    /// Makes an `Err` one that marks the task failed and is kept in the report with its causes;
    /// the program goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// use adjourn_core::{ResultFutureExt, spawn};
    ///
    /// # async fn send_statistics() -> std::io::Result<()> { Ok(()) }
    /// fn start() {
    ///     spawn(send_statistics().or_report()); // the error is told, and all else goes on
    /// }
    /// ```
    #[track_caller]
    fn or_report(self) -> OrReport<Self> {
        OrReport { future: self, stop: false, place: Location::caller() }
    }
}

impl<F, T, E> ResultFutureExt<T, E> for F
where
    F: Future<Output = Result<T, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
}

pin_project! {
    /// A future whose error goes to the report. From [`ResultFutureExt`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct OrReport<F> {
        #[pin]
        future: F,
        stop: bool,
        place: Place,
    }
}

impl<F, T, E> Future for OrReport<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Output = Result<T, Reported>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match std::task::ready!(this.future.poll(cx)) {
            Ok(value) => Poll::Ready(Ok(value)),
            Err(error) => {
                record(&*error.into(), *this.stop, this.place);
                Poll::Ready(Err(Reported))
            }
        }
    }
}

fn record(error: &(dyn std::error::Error + 'static), stop: bool, place: Place) {
    let (chain, stop_requested) = error_chain(error);
    let task = context::task();
    let Some(node) = context::scope() else { return };
    if stop_requested {
        if let Some(task) = task {
            task.set(flag::STOPPED);
        }
        return;
    }
    let origin = match task {
        Some(task) => {
            task.set(flag::FAILED);
            task.node().unwrap_or_else(|| node.clone()).describe(&task)
        }
        None => format!("the future at {place}"),
    };
    node.above().failed(task.as_ref(), FailureKind::TaskError, origin, chain, stop);
}

impl<F> fmt::Debug for OrReport<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrReport").field("stop", &self.stop).finish_non_exhaustive()
    }
}
