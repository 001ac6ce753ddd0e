//! The virtual clock and who waits for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::world::World;

/// A clock that stands still unless it is moved. Times are spans since its start.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    now: Duration,
    /// How far it was moved otherwise than to the next timer: nobody could have been on time.
    pub(crate) pushed: Duration,
    timers: BTreeMap<Key, Waker>,
    next: u64,
}

/// When, and in which order among those of one instant.
type Key = (Duration, u64);

impl Clock {
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Moves the clock on, as if the machine had been busy or suspended.
    pub(crate) fn push(&mut self, by: Duration) {
        self.now = self.now.saturating_add(by);
        self.pushed = self.pushed.saturating_add(by);
    }

    /// Moves the clock to the next timer. Returns false if there is none.
    pub(crate) fn jump(&mut self) -> bool {
        let Some(&(at, _)) = self.timers.keys().next() else { return false };
        self.now = self.now.max(at);
        true
    }

    /// Takes a waker whose time has come.
    pub(crate) fn take_due(&mut self) -> Option<Waker> {
        let first = self.timers.first_entry()?;
        (first.key().0 <= self.now).then(|| first.remove())
    }

    pub(crate) fn take_all(&mut self) -> BTreeMap<Key, Waker> {
        std::mem::take(&mut self.timers)
    }

    fn set(&mut self, key: &mut Option<Key>, at: Duration, waker: Waker) -> Option<Waker> {
        let key = *key.get_or_insert_with(|| {
            self.next += 1;
            (at, self.next)
        });
        self.timers.insert(key, waker)
    }
}

/// A sleep on the virtual clock.
///
/// # Cancel safety
///
/// Dropping it forgets it.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct SimSleep {
    world: Arc<World>,
    /// `None`: never.
    at: Option<Duration>,
    key: Option<Key>,
}

impl SimSleep {
    pub(crate) fn new(world: Arc<World>, span: Duration) -> SimSleep {
        let at = world.clock(|clock| clock.now().checked_add(span));
        let at = at.filter(|_| span < Duration::MAX);
        SimSleep { world, at, key: None }
    }
}

impl Future for SimSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(at) = this.at else { return Poll::Pending };
        let waker = cx.waker().clone();
        let (over, old) = this.world.clock(|clock| {
            if clock.now() >= at {
                let key = this.key.take();
                return (true, key.and_then(|key| clock.timers.remove(&key)).or(Some(waker)));
            }
            (false, clock.set(&mut this.key, at, waker))
        });
        drop(old); // outside the lock
        if over { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for SimSleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let old = self.world.clock(|clock| clock.timers.remove(&key));
            drop(old);
        }
    }
}
