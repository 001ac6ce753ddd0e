//! The virtual clock and who waits for it.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

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
pub(crate) type Key = (Duration, u64);

impl Clock {
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Moves the clock on, as if the machine had been busy or suspended.
    pub(crate) fn push(&mut self, by: Duration) {
        self.now = self.now.saturating_add(by);
        self.pushed = self.pushed.saturating_add(by);
    }

    /// Moves the clock on by `by`, or to the next timer if that comes first.
    pub(crate) fn advance(&mut self, by: Duration) {
        let then = self.now.saturating_add(by);
        let next = self.timers.keys().next().map_or(then, |&(at, _)| at);
        self.now = then.min(next).max(self.now);
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

    /// Wakes this one at that time. Returns the waker that it replaces.
    pub(crate) fn set(
        &mut self,
        key: &mut Option<Key>,
        at: Duration,
        waker: Waker,
    ) -> Option<Waker> {
        let key = *key.get_or_insert_with(|| {
            self.next += 1;
            (at, self.next)
        });
        self.timers.insert(key, waker)
    }

    /// Forgets a timer.
    pub(crate) fn unset(&mut self, key: &Key) -> Option<Waker> {
        self.timers.remove(key)
    }
}
