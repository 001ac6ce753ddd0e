//! Log lines through `tracing`, by feature; nothing without it.
//!
//! A subscriber is the user's code, which may block: call these with no lock held, after all else is
//! done, and never on the thread that keeps the deadline.

use crate::contract::report::{Failure, OverdueTask, Straggler};
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

pub(crate) fn overdue(overdue: &OverdueTask) {
    #[cfg(feature = "tracing")]
    quietly(|| tracing::warn!(target: "adjourn", %overdue, "cut off at its drain limit"));
    #[cfg(not(feature = "tracing"))]
    let _ = overdue;
}

/// Somebody has taken over a signal after the start. Where nobody listens to `tracing`, it is said on
/// standard error.
pub(crate) fn taken_over(signal: Signal) {
    let text = format!(
        "adjourn: {signal} was taken over by somebody else since the start of `run`, and is not \
         heard any more unless it is passed on: install such a handler (`ctrlc`, signal(2)) before \
         `run`, or use `Runner::on_signal` in its place\n"
    );
    #[cfg(feature = "tracing")]
    if std::panic::catch_unwind(|| tracing::enabled!(target: "adjourn", tracing::Level::WARN))
        .unwrap_or_default()
    {
        return quietly(|| tracing::warn!(target: "adjourn", "{}", text.trim_end()));
    }
    crate::process::signal::write_stderr(text.as_bytes(), std::time::Duration::from_millis(20));
}

/// A subscriber that panics must skip no later step.
#[cfg(feature = "tracing")]
fn quietly(log: impl FnOnce()) {
    _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(log));
}
