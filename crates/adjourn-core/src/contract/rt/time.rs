//! What is built of an executor's sleeps: a limit of time, and ticks.

use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::{AnyBackend, AnySleep, Timer};
use crate::contract::error::Elapsed;

pin_project! {
    /// A future with a limit of time. From [`Timer::timeout`] and
    /// [`Scope::timeout`](crate::Scope::timeout).
    #[must_use = "futures do nothing unless awaited"]
    pub struct Timeout<F, S = AnySleep> {
        // None once it is over.
        #[pin]
        future: Option<F>,
        #[pin]
        sleep: S,
        // The sleep has been polled.
        begun: bool,
    }
}

impl<F, S> Timeout<F, S> {
    pub(super) fn new(future: F, sleep: S) -> Timeout<F, S> {
        Timeout { future: Some(future), sleep, begun: false }
    }
}

impl<F: Future, S: Future<Output = ()>> Future for Timeout<F, S> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Pending };
        // In the first poll the sleep goes last: where the future is ready, no timer is set. Later it
        // goes first: Tokio's sleep is never ready for a task that has used up its budget, which the
        // future may do in each poll.
        let first = !mem::replace(this.begun, true);
        let over = !first && this.sleep.as_mut().poll(cx).is_ready();
        if let Poll::Ready(output) = future.poll(cx) {
            this.future.set(None);
            return Poll::Ready(Ok(output));
        }
        let over = over || first && this.sleep.poll(cx).is_ready();
        if !over {
            return Poll::Pending;
        }
        this.future.set(None);
        Poll::Ready(Err(Elapsed::new()))
    }
}

impl<F, S> fmt::Debug for Timeout<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("is_over", &self.future.is_none()).finish_non_exhaustive()
    }
}

/// Ticks, one at the start and then one each period. From [`Timer::interval`] and
/// [`Scope::interval`](crate::Scope::interval).
///
/// The first tick is due at once, as that of `tokio::time::interval`: periodic work mostly is to be
/// done at the start too. Who wants it a period later takes the first tick before the loop.
///
/// Ticks are due at whole periods from the start, whatever the work between them takes, so they do
/// not drift. Those that become due while nobody takes them count as one: a late loop gets one tick
/// at once and the next one at a whole period again, never many in a row. (Tokio calls it
/// `MissedTickBehavior::Skip`.) A late tick lets others run first, so a loop that is always late can
/// still be cancelled.
///
/// It asks nothing about the stop. `ticks.tick().until_stop()` does; that is the periodic task. By
/// the feature `stream` it is a stream too, without an end, and `StreamUntilStop::until_stop` gives
/// it one.
#[must_use = "nothing ticks unless `tick` is awaited"]
pub struct Interval<T: Timer = AnyBackend> {
    timer: T,
    period: Duration,
    /// When the next tick is due; `None` for never.
    due: Option<Instant>,
    /// Until then, once it was waited for.
    sleep: Option<Pin<Box<T::Sleep>>>,
    /// What is due is given, late or not.
    yielded: bool,
}

impl<T: Timer> Interval<T> {
    #[track_caller]
    pub(super) fn new(timer: T, period: Duration) -> Interval<T> {
        assert!(!period.is_zero(), "an interval of no time: give it a period");
        let due = Some(timer.now());
        Interval { timer, period, due, sleep: None, yielded: true }
    }

    /// Waits for the next tick. Returns when it was due, by the timer's clock.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no tick.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// The same, for a future that is written by hand.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        let Some(due) = self.due else { return Poll::Pending };
        if self.sleep.is_none() {
            let left = due.saturating_duration_since(self.timer.now());
            if !left.is_zero() {
                self.sleep = Some(Box::pin(self.timer.sleep(left)));
            } else if !self.yielded {
                self.yielded = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        self.due = following(due, self.period, self.timer.now());
        self.yielded = false;
        Poll::Ready(due)
    }

    /// Returns the time from one tick to the next.
    pub fn period(&self) -> Duration {
        self.period
    }
}

/// The first whole period after `now`, counted from `due`; `None` where there is no such instant.
fn following(due: Instant, period: Duration, now: Instant) -> Option<Instant> {
    const SECOND: u128 = 1_000_000_000;
    let late = now.saturating_duration_since(due);
    let beyond = late.as_nanos() % period.as_nanos();
    let beyond = Duration::new((beyond / SECOND) as u64, (beyond % SECOND) as u32);
    (due + late).checked_add(period - beyond)
}

#[cfg(feature = "stream")]
impl<T: Timer> futures_core::Stream for Interval<T> {
    type Item = Instant;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.get_mut().poll_tick(cx).map(Some)
    }
}

// The sleep is behind a pointer, and the timer is never pinned.
impl<T: Timer> Unpin for Interval<T> {}

impl<T: Timer> fmt::Debug for Interval<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interval").field("period", &self.period).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const fn at(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn what_follows_a_tick_is_at_a_whole_period() {
        let start = Instant::now();
        let next = |late: u64| following(start, at(10), start + at(late)).unwrap() - start;
        assert_eq!([0, 1, 9, 10, 11, 25, 30].map(next), [10, 10, 10, 20, 20, 30, 40].map(at));
        assert_eq!(following(start + at(5), at(10), start), Some(start + at(15)), "a clock behind");
        assert_eq!(following(start, Duration::MAX, start), None);
    }
}
