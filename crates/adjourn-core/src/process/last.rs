//! The last that a process says and does.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::signal::{self, Signal};

/// How long printing and raising may take.
const MOST: Duration = Duration::from_secs(1);
/// How long of it writing may take: raising, and what std has yet to flush, come after it.
const WRITING: Duration = Duration::from_millis(750);

/// Writes `text` to standard error and raises the signal again; returns the exit code.
///
/// Should that take longer than a second, the process is ended with the code. Nothing takes std's
/// lock of standard error, which a thread that is stuck may hold.
pub(crate) fn say(text: &str, code: u8, raise: Option<Signal>) -> u8 {
    let code = raise.map_or(code, survived);
    if text.is_empty() && raise.is_none() {
        return code;
    }
    let end = Instant::now() + MOST;
    let (over, ends) = channel::<()>();
    // Writing keeps its own limit. The guard is for what cannot be asked before: a terminal or a file
    // that blocks all the same. Without threads to be had, it goes without.
    let guard = thread::Builder::new().name("adjourn-exit".to_owned());
    let guarded = guard.spawn(move || {
        let left = end.saturating_duration_since(Instant::now());
        if ends.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            signal::exit_now(code.into());
        }
    });
    // A closed or full standard error must not turn the exit code into a panic.
    signal::write_stderr(text.as_bytes(), WRITING);
    if let Some(signal) = raise {
        signal::raise_default(signal);
    }
    drop(over);
    _ = guarded.map(thread::JoinHandle::join);
    code
}

/// What a process ends with that does not die of a signal: the first of a PID namespace, or any if
/// the signal does nothing by default.
pub(crate) fn survived(signal: Signal) -> u8 {
    (128 + signal.as_raw()).clamp(0, 255) as u8
}
