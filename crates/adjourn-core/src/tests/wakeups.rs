//! A waker that counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Wake, Waker};

/// Counts its wakes.
#[derive(Default)]
pub(crate) struct Wakeups(AtomicUsize);

impl Wake for Wakeups {
    fn wake(self: Arc<Self>) {
        self.add();
    }
}

impl Wakeups {
    pub(crate) fn new() -> (Arc<Wakeups>, Waker) {
        let wakeups = Arc::new(Wakeups::default());
        (wakeups.clone(), Waker::from(wakeups))
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, SeqCst);
    }

    #[cfg(loom)]
    pub(crate) fn are_there(&self) -> bool {
        self.count() > 0
    }

    #[cfg(loom)]
    pub(crate) fn count(&self) -> usize {
        self.0.load(SeqCst)
    }

    /// Returns how many there were since the last call.
    #[cfg(not(loom))]
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, SeqCst)
    }
}
