//! Log lines through `tracing`, by feature. Without it, or where nobody listens, standard error is told of
//! what must not be missed.
//!
//! A subscriber is the user's code, which may block: call these with no lock held, after all else is
//! done, and never on the thread that keeps the deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::contract::columns;
use crate::contract::options::Options;
use crate::contract::report::{Failure, OverdueTask, Report, Straggler};
use crate::phase::{Limits, Phase};
use crate::process::signal::{self, Signal};
use crate::program::supervise::Watch;

/// Whether somebody listens to what a stop is at.
pub(crate) fn is_heard() -> bool {
    #[cfg(feature = "tracing")]
    return listens(|| tracing::enabled!(target: "adjourn", tracing::Level::INFO));
    #[cfg(not(feature = "tracing"))]
    false
}

/// Whether somebody may listen, without asking them: under a lock.
pub(crate) fn may_be_heard() -> bool {
    #[cfg(feature = "tracing")]
    return tracing::Level::INFO <= tracing::level_filters::LevelFilter::current();
    #[cfg(not(feature = "tracing"))]
    false
}

pub(crate) fn started(backend: &str, options: &Options, limits: &Limits) {
    #[cfg(feature = "tracing")]
    quietly(|| {
        let Limits { drain, cut_off, deadline, .. } = limits;
        tracing::info!(
            target: "adjourn",
            backend,
            worker_threads = options.workers,
            blocking_threads = options.blocking,
            drain_limit = ?drain,
            cut_off = ?cut_off,
            timeout = ?deadline,
            "program starts"
        );
    });
    #[cfg(not(feature = "tracing"))]
    let _ = (backend, options, limits);
}

pub(crate) fn phase(phase: Phase, alive: Option<u64>) {
    #[cfg(feature = "tracing")]
    quietly(|| tracing::info!(target: "adjourn", %phase, alive, "program enters a phase"));
    #[cfg(not(feature = "tracing"))]
    let _ = (phase, alive);
}

/// Half of the stop's time is over, or three quarters.
pub(crate) fn waiting(names: &str, since: Duration, left: Option<Duration>) {
    #[cfg(feature = "tracing")]
    quietly(|| tracing::warn!(target: "adjourn", names, ?since, ?left, "stop waits"));
    #[cfg(not(feature = "tracing"))]
    let _ = (names, since, left);
}

pub(crate) fn ended(report: &Report) {
    #[cfg(feature = "tracing")]
    quietly(|| {
        let start = report.reasons.first().map(|first| first.at).unwrap_or_default();
        let end = report.phases.last().map(|last| last.entered).unwrap_or_default();
        let stop = end.saturating_sub(start);
        tracing::info!(target: "adjourn", code = report.exit_code(), ?stop, "program ended");
    });
    #[cfg(not(feature = "tracing"))]
    let _ = report;
}

pub(crate) fn signal(signal: Signal, count: u64) {
    #[cfg(feature = "tracing")]
    quietly(|| tracing::info!(target: "adjourn", %signal, count, "signal received"));
    #[cfg(not(feature = "tracing"))]
    let _ = (signal, count);
}

/// Tells of a failure: `tracing`, else standard error, as Rust's panic hook does. A panic is not told there:
/// the hook has told it by then, or whoever replaced the hook has chosen to be silent. Nor is a program that
/// is simulated: it fails on purpose, and often.
pub(crate) fn failure(failure: &Failure, simulated: bool, watch: &Arc<Watch>) {
    #[cfg(feature = "tracing")]
    if listens(|| tracing::enabled!(target: "adjourn", tracing::Level::ERROR)) {
        return quietly(|| tracing::error!(target: "adjourn", %failure, "failure"));
    }
    if !failure.kind.is_panic() && !simulated {
        say(format!("adjourn: {}\n", columns::line(&failure.to_string())), watch);
    }
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
pub(crate) fn taken_over(signal: Signal, watch: &Arc<Watch>) {
    let text = format!(
        "adjourn: {signal} was taken over by somebody else since the start of `run`, and is not \
         heard any more unless it is passed on: install such a handler (`ctrlc`, signal(2)) before \
         `run`, or use `Runner::on_signal` in its place\n"
    );
    #[cfg(feature = "tracing")]
    if listens(|| tracing::enabled!(target: "adjourn", tracing::Level::WARN)) {
        return quietly(|| tracing::warn!(target: "adjourn", "{}", text.trim_end()));
    }
    say(text, watch);
}

/// Writes a line to standard error, past std's lock, in place of what the narrator shows there. Where nobody
/// reads that, it waits a little once, and not at all from then on until somebody does. A supervising
/// thread leaves it to another one.
pub(crate) fn say(line: String, watch: &Arc<Watch>) {
    /// The last line was not taken.
    static STUCK: AtomicBool = AtomicBool::new(false);
    const PATIENCE: Duration = Duration::from_millis(20);
    if cfg!(loom) {
        return; // how long a write takes, and what it leaves in a static, would be a part of each model
    }
    let watch = watch.clone();
    let write = move || {
        watch.narration.beside(line, !STUCK.load(SeqCst), |text| {
            let within = if STUCK.load(SeqCst) { Duration::ZERO } else { PATIENCE };
            STUCK.store(!signal::write_stderr(text.as_bytes(), within), SeqCst);
        });
    };
    if super::supervise::is_here() {
        // Without a thread to be had the report tells it in the end.
        let saying = Saying::new();
        let write = move || {
            write();
            drop(saying);
        };
        _ = std::thread::Builder::new().name("adjourn-says".to_owned()).spawn(write);
    } else {
        write();
    }
}

/// How many lines are still being said by threads of their own.
static SAYING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// Counts until it is dropped.
struct Saying;

impl Saying {
    fn new() -> Saying {
        *SAYING.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Saying
    }
}

impl Drop for Saying {
    fn drop(&mut self) {
        *SAYING.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        SAYING.1.notify_all();
    }
}

/// Waits for the lines that are being said: the process may end with `run`, and they would be lost.
pub(crate) fn finish_saying(within: Duration) {
    let saying = SAYING.0.lock().unwrap_or_else(PoisonError::into_inner);
    drop(SAYING.1.wait_timeout_while(saying, within, |saying| *saying > 0));
}

/// Whether somebody listens: a subscriber that panics does not.
#[cfg(feature = "tracing")]
fn listens(enabled: impl FnOnce() -> bool) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(enabled)).unwrap_or_default()
}

/// A subscriber that panics must skip no later step.
#[cfg(feature = "tracing")]
fn quietly(log: impl FnOnce()) {
    _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(log));
}
