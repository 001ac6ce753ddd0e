//! Starts a task of an Adjourn program again when it ends or fails.
//!
//! ```
//! use adjourn_core::task;
//! use adjourn_supervise::Supervisor;
//!
//! # async fn consume() -> Result<(), std::io::Error> { Ok(()) }
//! # async fn program() {
//! task("consumer").spawn(Supervisor::permanent().run(consume));
//! # }
//! ```
//!
//! A [`Supervisor`] says when to start again, after what delay, and when to give up. Its future
//! [`run`](Supervisor::run) is the whole task: it runs in whatever task polls it, so that kinds, names,
//! shields, cleanups, `abort` and the stop are those of any task. It needs nothing but the timer of the
//! program's backend, so it runs on each of them and on a simulated clock.

#![forbid(unsafe_code)]

mod catch;
mod failure;
mod restarts;

use std::future::{Future, ready};
use std::task::Poll;
use std::time::Duration;

use adjourn_core::{FutureExt, Reported, ResultFutureExt, Scope, StopToken, Timer};

use catch::catch;
use failure::{Ended, Told};
use restarts::Restarts;

pub use failure::RunOutput;

/// When a task is started again, after what delay, and when that is given up.
///
/// The three policies have the names of Erlang's OTP:
///
/// | | a run that fails | a run that ends well |
/// |---|---|---|
/// | [`permanent`](Supervisor::permanent) | is followed by another | is followed by another |
/// | [`transient`](Supervisor::transient) | is followed by another | was the last |
/// | [`temporary`](Supervisor::temporary) | was the last | was the last |
///
/// A run fails when it returns an `Err` or panics. Nothing is started again once the stop of the
/// task's scope has been requested.
///
/// The delay before a restart is 100 ms at first. It doubles with each restart up to 30 s, and is the
/// first one again after a run that lasted 60 s. There is no jitter. By default there is no limit: the
/// delays already bound what a task costs that cannot run.
///
/// Do not use it to repeat one request: there the caller wants the answer, and a crate such as `backon`
/// says which errors are worth another try.
#[derive(Clone, Debug)]
#[must_use = "it does nothing until its `run` is awaited or spawned"]
pub struct Supervisor {
    policy: Policy,
    first: Duration,
    longest: Duration,
    good: Duration,
    /// So many restarts, in so long a time.
    limit: Option<(usize, Duration)>,
    stop: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Permanent,
    Transient,
    Temporary,
}

impl Supervisor {
    fn new(policy: Policy) -> Supervisor {
        Supervisor {
            policy,
            first: Duration::from_millis(100),
            longest: Duration::from_secs(30),
            good: Duration::from_secs(60),
            limit: None,
            stop: false,
        }
    }

    /// Starts again whatever became of the last run: for what has to be there as long as the program.
    pub fn permanent() -> Supervisor {
        Supervisor::new(Policy::Permanent)
    }

    /// Starts again after a failure: for what has an end.
    pub fn transient() -> Supervisor {
        Supervisor::new(Policy::Transient)
    }

    /// Never starts again. What is left is that a failure, and a panic, is reported as that of the
    /// other policies: for a policy that a configuration chooses.
    pub fn temporary() -> Supervisor {
        Supervisor::new(Policy::Temporary)
    }

    /// The delay before the first restart, which doubles with each further one, and the longest.
    /// Default: 100 ms and 30 s. With a delay of zero it only yields between two runs.
    ///
    /// It follows runs that ended well too: one that returns at once must not take a whole thread.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Supervisor {
        self.first = first;
        self.longest = longest;
        self
    }

    /// How long a run has to last for the delay to be the first one again. Default: 60 s.
    pub fn good_after(mut self, span: Duration) -> Supervisor {
        self.good = span;
        self
    }

    /// Gives up instead of restarting, where there have been so many restarts in the last `window`
    /// already. Default: no limit.
    ///
    /// The delays are part of the time: with the default ones the fifth restart comes 3.1 s after the
    /// first failure, the eighth after 25.5 s.
    pub fn limit(mut self, restarts: usize, window: Duration) -> Supervisor {
        self.limit = Some((restarts, window));
        self
    }

    /// Stops the program, with exit code 1, when a run has failed and is not followed by another
    /// though nobody has asked for the stop: when it gives up, and with
    /// [`temporary`](Supervisor::temporary) at the failure. Default: the program goes on without it.
    pub fn or_stop(mut self) -> Supervisor {
        self.stop = true;
        self
    }

    /// Runs the future that `start` makes, and another one each time that the last is to be followed.
    ///
    /// Each failure is written in the report when it happens, as
    /// [`or_report`](ResultFutureExt::or_report) does, and `on_failure` is told; a panic too, which
    /// is caught and counts as an error here, also with `stop_on_panic`. A failure during the stop sets the
    /// exit code, one before it does not. A task with a failed run counts among the failed when it
    /// ends by itself. An error with [`StopRequested`](adjourn_core::StopRequested) among its causes is
    /// no failure to the report.
    ///
    /// A run may be of any kind that a task can be. One that asks about the stop makes the task graceful,
    /// for its later runs too. The wait between two runs asks nothing, and ends at the stop.
    ///
    /// # Errors
    ///
    /// [`Reported`], when the last run failed, and when it gave up. It is `Ok` when the last run ended
    /// well, and when the stop came while it waited for the next one.
    ///
    /// # Panics
    ///
    /// Outside of a program.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the run that is under way, and starts no other.
    ///
    /// # Examples
    ///
    /// What a run needs it takes from a clone, since there may be another:
    ///
    /// ```
    /// use adjourn_core::{FutureExt, scope};
    /// use adjourn_supervise::Supervisor;
    /// use std::time::Duration;
    ///
    /// # #[derive(Clone)] struct Queue;
    /// # impl Queue { async fn recv(&self) -> Option<u32> { None } }
    /// # async fn store(job: u32) -> Result<(), std::io::Error> { Ok(()) }
    /// async fn consume(queue: Queue) -> Result<(), std::io::Error> {
    ///     while let Ok(Some(job)) = queue.recv().until_stop().await {
    ///         store(job).await?; // finished, whether or not the stop comes
    ///     }
    ///     Ok(())
    /// }
    ///
    /// fn start(queue: Queue) {
    ///     let supervisor = Supervisor::transient().limit(5, Duration::from_secs(60)).or_stop();
    ///     scope("queue").spawn(supervisor.run(move || consume(queue.clone())));
    /// }
    /// ```
    pub async fn run<F, Fut>(self, mut start: F) -> Result<(), Reported>
    where
        F: FnMut() -> Fut,
        Fut: Future,
        Fut::Output: RunOutput,
    {
        // Not the scope itself: a handle would keep it open.
        let timer = Scope::current().backend().clone();
        let mut restarts = Restarts::new(&self);
        let mut nth = 0_u64;
        loop {
            nth += 1;
            let begun = timer.now();
            let ended = catch(&mut start).await;
            // Of the task's own scope: while what depends on that drains, it has to run.
            let stopping = StopToken::try_current().is_ok_and(|stop| stop.peek());
            if stopping || !self.follows(&ended) {
                let stop = self.stop && !stopping;
                return tell(Told::last(ended), stop).await;
            }
            let now = timer.now();
            let Some(delay) = restarts.next(now, now.saturating_duration_since(begun)) else {
                return tell(Some(Told::gave_up(ended, &self)), self.stop).await;
            };
            _ = tell(Told::restart(ended, nth, delay), false).await;
            // Before the wait: a stop that comes here is seen by it.
            yield_now().await;
            // It must not make a plain task a graceful one.
            if timer.sleep(delay).until_stop().interruptible().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Whether the policy wants another run.
    fn follows(&self, ended: &Ended) -> bool {
        match self.policy {
            Policy::Permanent => true,
            Policy::Transient => !matches!(ended, Ended::Well),
            Policy::Temporary => false,
        }
    }
}

/// Writes a failure in the report.
async fn tell(failure: Option<Told>, stop: bool) -> Result<(), Reported> {
    let Some(failure) = failure else { return Ok(()) };
    let failed = ready(Err(failure));
    if stop { failed.or_stop().await } else { failed.or_report().await }
}

/// A sleep of no time may be ready at once, and so may each run: the task would never yield.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
