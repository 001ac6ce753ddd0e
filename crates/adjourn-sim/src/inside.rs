//! What the code under test itself calls: points where something may go wrong, and time that it takes.

use std::time::Duration;

use crate::fault::{Fault, Injected};
use crate::world::World;

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
///         spawn(async { fault_point("save").await });
///     }
/// });
/// let total = exit.report().total();
/// assert_eq!((total.panicked, total.finished), (1, 3)); // the tasks, and main
/// ```
pub async fn fault_point(name: &str) -> Result<(), Injected> {
    let Some(world) = World::current() else { return Ok(()) };
    let fault = world.faults.at(name, |limit| world.draw(limit));
    if matches!(fault, Some(Fault::Panic | Fault::Error | Fault::Hang)) {
        world.observer.fault();
    }
    match fault {
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
