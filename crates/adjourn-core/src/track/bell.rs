//! A thread that blocks until it is woken.

use std::sync::{Arc, PoisonError};
use std::task::Wake;
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

/// Wakes a thread that blocks, as a waker. Not by parking: who parks a thread itself would miss a wake
/// that [`wait`](Bell::wait) has taken.
pub(crate) struct Bell {
    rung: Mutex<bool>,
    rings: Condvar,
}

impl Bell {
    pub(crate) fn new() -> Arc<Bell> {
        Arc::new(Bell { rung: Mutex::new(false), rings: Condvar::new() })
    }

    /// Blocks until it is woken or `span` is over, or for no reason.
    pub(crate) fn wait(&self, span: Duration) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        if !*rung {
            rung = match self.rings.wait_timeout(rung, span) {
                Ok((rung, _)) => rung,
                Err(poison) => poison.into_inner().0,
            };
        }
        *rung = false;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.rings.notify_one();
    }
}
