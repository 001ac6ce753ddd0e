//! Wakers that are taken under a lock and woken outside it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use crate::contract::error::forget_payload;

/// Wakers that were collected under a lock, to be woken outside it.
#[derive(Default)]
pub(crate) struct Wakes(pub(crate) Vec<Waker>);

impl Wakes {
    pub(crate) fn add(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }

    pub(crate) fn wake(&mut self) {
        for waker in self.0.drain(..) {
            // A waker that panics must not keep the others from being woken.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                forget_payload(payload);
            }
        }
    }
}
