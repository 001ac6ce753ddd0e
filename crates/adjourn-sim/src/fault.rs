//! Faults: what goes wrong in a run, and where.

use std::error::Error;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Something that goes wrong at a [`fault_point`](crate::fault_point).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It panics.
    Panic,
    /// It returns an error.
    Error,
    /// It never returns: with a [`shield`](adjourn_core::shield) around it, a task that ignores the
    /// stop.
    Hang,
    /// The clock jumps, as after a suspended machine or a busy processor; then it returns.
    Jump(Duration),
}

/// The error of a [`fault_point`](crate::fault_point).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    pub(crate) point: String,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault injected at {:?}", self.point)
    }
}

impl Error for Injected {}

/// The faults of one run.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    planned: Vec<(String, u64, Fault)>,
    /// One in so many points fails, drawn from the seed.
    drawn: Option<u32>,
    /// How often each point was passed.
    passed: Mutex<Vec<(String, u64)>>,
}

impl Faults {
    pub(crate) fn new(planned: Vec<(String, u64, Fault)>, drawn: Option<u32>) -> Faults {
        Faults { planned, drawn, passed: Mutex::default() }
    }

    /// Counts a pass of a point. Returns what goes wrong there.
    pub(crate) fn at(&self, point: &str, draw: impl Fn(u32) -> u32) -> Option<Fault> {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = passed.iter().position(|(name, _)| name == point);
        let index = known.unwrap_or_else(|| {
            passed.push((point.to_owned(), 0));
            passed.len() - 1
        });
        passed[index].1 += 1;
        let nth = passed[index].1;
        drop(passed);
        let planned = |(name, at, _): &&(String, u64, Fault)| name == point && *at == nth;
        if let Some((_, _, fault)) = self.planned.iter().find(planned) {
            return Some(*fault);
        }
        if draw(self.drawn?.max(1)) != 0 {
            return None;
        }
        Some(match draw(4) {
            0 => Fault::Panic,
            1 => Fault::Error,
            2 => Fault::Hang,
            _ => Fault::Jump(Duration::from_secs(1)),
        })
    }
}
