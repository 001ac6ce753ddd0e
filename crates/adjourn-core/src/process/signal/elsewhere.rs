//! Where there are no Unix signals: parking alone.
//!
//! Compiled but never run by this project's tests. Windows has console events instead, which are
//! another matter.

use super::{Kind, Signal, SignalError};
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub(super) mod number {
    // Linux's, so that reports read the same.
    pub(in super::super) const HUP: i32 = 1;
    pub(in super::super) const INT: i32 = 2;
    pub(in super::super) const QUIT: i32 = 3;
    pub(in super::super) const USR1: i32 = 10;
    pub(in super::super) const USR2: i32 = 12;
    pub(in super::super) const TERM: i32 = 15;
    pub(in super::super) const NAMES: &[(i32, &str)] = &[
        (HUP, "SIGHUP"),
        (INT, "SIGINT"),
        (QUIT, "SIGQUIT"),
        (USR1, "SIGUSR1"),
        (USR2, "SIGUSR2"),
        (TERM, "SIGTERM"),
    ];
}

#[derive(Debug, Default)]
struct Parking {
    nudged: Mutex<bool>,
    changed: Condvar,
}

#[derive(Debug)]
pub(super) struct Listener(Arc<Parking>);

impl Listener {
    pub(super) fn new(signals: &[Signal]) -> Result<Listener, SignalError> {
        match signals.first() {
            Some(signal) => Err(SignalError(Kind::Unsupported(*signal))),
            None => Ok(Listener(Arc::default())),
        }
    }

    pub(super) fn nudger(&self) -> Nudger {
        Nudger(Arc::clone(&self.0))
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Vec<(Signal, u64)> {
        self.parker().park(timeout);
        self.take(|_, _| ());
        Vec::new()
    }

    pub(super) fn parker(&self) -> Parker {
        Parker(Arc::clone(&self.0))
    }

    pub(super) fn take(&mut self, _: impl FnMut(Signal, u64)) -> bool {
        std::mem::take(&mut *self.0.nudged.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn look(&mut self, _: impl FnMut(Signal, u64)) {}

    pub(super) fn unblock(&self) -> u64 {
        0
    }

    pub(super) fn hears_any(&self) -> bool {
        false
    }

    pub(super) fn pass_over(&self) {}

    pub(super) fn keep_only(&mut self, _: u64) {}

    pub(super) fn taken_over(&self) -> Option<Signal> {
        None
    }
}

#[derive(Clone, Debug)]
pub(super) struct Parker(Arc<Parking>);

impl Parker {
    pub(super) fn keep_only(&self, _: u64) {}

    pub(super) fn park(&self, timeout: Option<Duration>) {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut nudged = self.0.nudged.lock().unwrap_or_else(PoisonError::into_inner);
        while !*nudged {
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3600),
            };
            if left.is_zero() {
                break;
            }
            let waited = self.0.changed.wait_timeout(nudged, left);
            nudged = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Nudger(Arc<Parking>);

impl Nudger {
    pub(super) fn nudge(&self) {
        *self.0.nudged.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_one();
    }
}

pub(super) fn ignored(_: Signal) -> bool {
    false
}

pub(super) fn block(_: u64) {}

pub(super) fn raise_default(_: Signal) {}

/// Without the bound and with std's lock, which are what Unix's version is about.
pub(super) fn write_stderr(bytes: &[u8], _: Duration) -> bool {
    std::io::stderr().write_all(bytes).is_ok()
}

pub(super) fn exit_now(code: i32) -> ! {
    std::process::exit(code)
}
