//! How a simulated executor is to run.

use std::time::Duration;

use crate::fault::Fault;

/// How long another thread is waited for, in real time, before a program that cannot go on counts
/// as a deadlock.
const PATIENCE: Duration = Duration::from_secs(1);

/// In which order tasks that are ready are polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schedule {
    /// Any, drawn from the seed.
    Drawn,
    /// First come, first served.
    Fifo,
}

/// What a run follows from, beside the program.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) schedule: Schedule,
    /// How long another thread is waited for when there is nothing to do.
    pub(crate) patience: Duration,
    /// The fault at a point's nth pass.
    pub(crate) faults: Vec<(String, u64, Fault)>,
    /// One in so many points fails, drawn from the seed.
    pub(crate) drawn: Option<u32>,
    /// By how much the clock jumps before the poll with this number.
    pub(crate) jumps: Vec<(u64, Duration)>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            seed: 0,
            schedule: Schedule::Drawn,
            patience: PATIENCE,
            faults: Vec::new(),
            drawn: None,
            jumps: Vec::new(),
        }
    }
}
