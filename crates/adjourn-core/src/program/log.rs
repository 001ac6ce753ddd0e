//! Log lines through `tracing`, by feature; nothing without it.
//!
//! A subscriber is the user's code: call these with no lock held and never on the thread that
//! keeps the deadline.

use crate::contract::report::{Failure, Straggler};
use crate::phase::Phase;
use crate::process::signal::Signal;

pub(crate) fn phase(phase: Phase) {
    #[cfg(feature = "tracing")]
    quietly(|| tracing::info!(target: "adjourn", %phase, "program enters a phase"));
    #[cfg(not(feature = "tracing"))]
    let _ = phase;
}

pub(crate) fn signal(signal: Signal, count: u64) {
    #[cfg(feature = "tracing")]
    quietly(|| tracing::info!(target: "adjourn", %signal, count, "signal received"));
    #[cfg(not(feature = "tracing"))]
    let _ = (signal, count);
}

pub(crate) fn failure(failure: &Failure) {
    #[cfg(feature = "tracing")]
    quietly(|| tracing::error!(target: "adjourn", %failure, "failure"));
    #[cfg(not(feature = "tracing"))]
    let _ = failure;
}

pub(crate) fn straggler(straggler: &Straggler) {
    #[cfg(feature = "tracing")]
    quietly(|| tracing::warn!(target: "adjourn", %straggler, "alive at the cut-off"));
    #[cfg(not(feature = "tracing"))]
    let _ = straggler;
}

/// A subscriber that panics must skip no later step.
#[cfg(feature = "tracing")]
fn quietly(log: impl FnOnce()) {
    _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(log));
}
