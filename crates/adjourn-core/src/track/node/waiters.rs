//! Who waits for something of a scope other than with its task's own waker.

use std::mem;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::Node;
use super::tasks::Tasks;
use crate::sync::atomic::Ordering::SeqCst;
use crate::track::table::TaskRef;
use crate::track::wakes::Wakes;

/// Who waits for something of a scope other than with its task's own waker.
pub(crate) enum Waiter {
    /// For the token.
    Stop(Waker),
    /// For the end of the scope.
    End(Waker),
    /// For the cancellation of this task.
    Cancel(TaskRef, Waker),
}

impl Waiter {
    fn into_waker(self) -> Waker {
        match self {
            Waiter::Stop(waker) | Waiter::End(waker) | Waiter::Cancel(_, waker) => waker,
        }
    }
}

/// Names a waiter; the ticket tells it from a later one in the same slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitKey {
    slot: usize,
    ticket: u64,
}

impl Node {
    /// Registers a waiter, or changes its waker. Returns false when what it waits for is there.
    pub(crate) fn wait(
        &self,
        key: &mut Option<WaitKey>,
        waiter: Waiter,
        is_there: impl FnOnce(&mut Tasks) -> bool,
    ) -> bool {
        let mut tasks = self.lock();
        if is_there(&mut tasks) {
            drop(tasks);
            return false;
        }
        let stored = key.and_then(|key| tasks.waiter(key));
        let old = match stored {
            Some(stored) => Some(mem::replace(stored, waiter)),
            None => {
                let ticket = tasks.next_ticket;
                tasks.next_ticket += 1;
                if matches!(waiter, Waiter::Cancel(..)) {
                    tasks.cancel_waiters += 1;
                }
                let slot = tasks.waiters.insert((ticket, waiter));
                *key = Some(WaitKey { slot, ticket });
                None
            }
        };
        drop(tasks);
        drop(old);
        true
    }

    /// Removes a waiter, unless it was woken and so removed already.
    pub(crate) fn forget(&self, key: Option<WaitKey>) {
        let Some(key) = key else { return };
        let mut tasks = self.lock();
        let old = tasks.waiter(key).is_some().then(|| tasks.remove_waiter(key.slot));
        drop(tasks);
        drop(old);
    }

    /// Blocks until the token has fired, or `span` is over.
    pub(crate) fn wait_fired(&self, span: Duration) -> bool {
        let start = Instant::now();
        let mut tasks = self.lock();
        self.blocked.fetch_add(1, SeqCst);
        while !self.is_fired() {
            let left = span.saturating_sub(start.elapsed());
            if left.is_zero() {
                break;
            }
            // A wait of years would overflow some clocks.
            let left = left.min(Duration::from_secs(3600));
            tasks = match self.stopped.wait_timeout(tasks, left) {
                Ok((tasks, _)) => tasks,
                Err(poison) => poison.into_inner().0,
            };
        }
        self.blocked.fetch_sub(1, SeqCst);
        self.is_fired()
    }

    /// Wakes blocking code that waits for the token. The lock has been held since that fired: who
    /// is not counted by now saw it.
    pub(crate) fn notify_blocked(&self) {
        if self.blocked.load(SeqCst) > 0 {
            self.stopped.notify_all();
        }
    }
}

impl Tasks {
    /// Takes the waiters that `which` names.
    pub(super) fn take_waiters(&mut self, wakes: &mut Wakes, which: impl Fn(&Waiter) -> bool) {
        if self.waiters.is_empty() {
            return;
        }
        let keys: Vec<_> =
            self.waiters.iter().filter(|(_, (_, w))| which(w)).map(|(key, _)| key).collect();
        for key in keys {
            wakes.add(Some(self.remove_waiter(key).into_waker()));
        }
    }

    pub(super) fn take_all_waiters(&mut self, wakes: &mut Wakes) {
        self.cancel_waiters = 0;
        self.waiters.drain().for_each(|(_, waiter)| wakes.add(Some(waiter.into_waker())));
    }

    /// Takes those who wait for the cancellation of one task, or of any.
    pub(super) fn take_cancel_waiters(&mut self, wakes: &mut Wakes, task: Option<&TaskRef>) {
        if self.cancel_waiters > 0 {
            self.take_waiters(wakes, |waiter| match waiter {
                Waiter::Cancel(its, _) => task.is_none_or(|task| task == its),
                _ => false,
            });
        }
    }

    fn remove_waiter(&mut self, slot: usize) -> Waiter {
        let (_, waiter) = self.waiters.remove(slot);
        if matches!(waiter, Waiter::Cancel(..)) {
            self.cancel_waiters -= 1;
        }
        waiter
    }

    fn waiter(&mut self, key: WaitKey) -> Option<&mut Waiter> {
        let (ticket, waiter) = self.waiters.get_mut(key.slot)?;
        (*ticket == key.ticket).then_some(waiter)
    }
}
