//! Faults: what goes wrong in a run, and where.

use std::error::Error;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::world::World;

/// Something that goes wrong at a [`fault_point`].
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

/// The error of a [`fault_point`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    point: String,
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

    fn at(&self, point: &str, draw: impl Fn(u32) -> u32) -> Option<Fault> {
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

/// A place in a test's code where something may go wrong: a fake store, a hook, a task.
///
/// Which fault, and at which pass, is said by [`Sim::fault`](crate::Sim::fault) or drawn from the
/// seed by [`Sim::faults`](crate::Sim::faults). Outside of a simulation, and where nothing was asked
/// for, it returns at once and without a yield.
///
/// # Errors
///
/// [`Injected`], for [`Fault::Error`].
///
/// # Panics
///
/// For [`Fault::Panic`]: that is its purpose.
///
/// # Cancel safety
///
/// Dropping it has no effect; the pass has been counted.
///
/// # Examples
///
/// ```
/// use adjourn_core::spawn;
/// use adjourn_sim::{Fault, Runner, Sim, fault_point};
///
/// let sim = Sim::new().fault("save", 2, Fault::Panic);
/// let exit = sim.run(Runner::new(), async {
///     for _ in 0..3 {
///         drop(spawn(async { fault_point("save").await }));
///     }
/// });
/// let total = exit.report().total();
/// assert_eq!((total.panicked, total.finished), (1, 3)); // the tasks, and main
/// ```
pub async fn fault_point(name: &str) -> Result<(), Injected> {
    let Some(world) = World::current() else { return Ok(()) };
    match world.faults.at(name, |limit| world.draw(limit)) {
        None => Ok(()),
        Some(Fault::Panic) => panic!("fault injected at {name:?}"),
        Some(Fault::Error) => Err(Injected { point: name.to_owned() }),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Jump(by)) => {
            world.clock(|clock| clock.push(by));
            Ok(())
        }
    }
}

/// Moves the clock of the simulation that polls on this thread, as if the code had been busy for
/// so long: synchronous work, or a blocking job that takes its time. Elsewhere it does nothing.
pub fn elapse(span: Duration) {
    if let Some(world) = World::current() {
        world.clock(|clock| clock.push(span));
    }
}
