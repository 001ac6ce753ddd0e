//! Wakers: those that are taken under a lock and woken outside it, and which one a waker is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use crate::contract::error::forget_payload;
use crate::few::Few;

/// Wakers that were collected under a lock, to be woken outside it.
#[derive(Default)]
pub(crate) struct Wakes(pub(crate) Few<Waker>);

impl Wakes {
    pub(crate) fn add(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }

    #[inline]
    pub(crate) fn wake(&mut self) {
        if !self.0.is_empty() {
            self.wake_all();
        }
    }

    fn wake_all(&mut self) {
        for waker in self.0.drain() {
            // A waker that panics must not keep the others from being woken.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                forget_payload(payload);
            }
        }
    }
}

/// A waker by its parts, for comparing with one that is kept elsewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct WakerId {
    pub(crate) data: usize,
    pub(crate) vtable: usize,
}

impl WakerId {
    pub(crate) const NONE: WakerId = WakerId { data: 0, vtable: 0 };

    #[inline]
    pub(crate) fn of(waker: &Waker) -> WakerId {
        WakerId { data: waker.data().addr(), vtable: std::ptr::from_ref(waker.vtable()).addr() }
    }
}
