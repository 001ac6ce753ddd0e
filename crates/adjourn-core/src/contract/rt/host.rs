//! Hosts: who watches over a program in place of the core's own threads.
//!
//! A program has threads that supervise it, its signals and the monotonic clock. Under a clock that
//! is not the system's they would make no sense: a deadline by the monotonic clock means nothing
//! where hours pass in a microsecond. A backend with such a clock brings a [`Host`].

use std::fmt;
use std::sync::Weak;

use crate::contract::inspect::{Inspected, Inspector};
use crate::process::signal::Signal;

/// Watches over programs whose clock is not the system's. From [`Timer::host`](crate::Timer::host).
///
/// With a host the core starts no thread, installs no signal handler and reads no clock but the
/// backend's: that one keeps the cut-off, the deadline and the debounce of SIGINT too, and all times
/// of the report are its times. Nothing ends the process then, should the calling thread be stuck.
pub trait Host: Send + Sync {
    /// A program has started, and nothing of it has been polled. Called on the thread that starts
    /// it, with no lock held.
    fn starts(&self, program: Hosted);

    /// A task that had asked about the stop was dropped before it was told of one, though it was
    /// neither aborted nor cut off, nor was the end forced or an attached program's future dropped:
    /// this breaks a promise of Adjourn's. `task` says which. Called where the task is dropped, with
    /// no lock held.
    ///
    /// Default: nothing, for who checks no promises.
    fn untold(&self, task: &str) {
        _ = task;
    }
}

/// A program as its [`Host`] sees it. Keeps nothing alive; after the program's end it does nothing.
#[derive(Clone)]
pub struct Hosted {
    program: Weak<dyn Watched>,
    inspector: Inspector,
}

/// What a program does for its host: the methods of [`Hosted`].
pub(crate) trait Watched: Inspected {
    fn signal(&self, signal: Signal) -> bool;
    fn interrupt_again(&self) -> bool;
    fn give_up(&self, why: String, details: Vec<String>);
}

impl Hosted {
    pub(crate) fn new(program: Weak<dyn Watched>, inspector: Inspector) -> Hosted {
        Hosted { program, inspector }
    }

    /// What can be read of the program.
    pub fn inspector(&self) -> &Inspector {
        &self.inspector
    }

    /// Gives the program a signal, as if the process had received it. Returns false, and does
    /// nothing, when the program is over or did not ask for that signal.
    pub fn signal(&self, signal: Signal) -> bool {
        self.program.upgrade().is_some_and(|program| program.signal(signal))
    }

    /// Gives the program a SIGINT that comes after another one and later than the debounce, however
    /// little time has passed: it forces the end, unless the options say that it is only recorded
    /// (or not heard), or all has ended in order. Returns whether the end is forced.
    ///
    /// Where no stop has begun it is a first SIGINT: [`signal`](Hosted::signal).
    pub fn interrupt_again(&self) -> bool {
        self.program.upgrade().is_some_and(|program| program.interrupt_again())
    }

    /// Ends the program at once because it cannot end by itself: `why` and `details` become a
    /// failure of the executor that counts for the exit code, and what is alive is cut off.
    pub fn give_up(&self, why: impl Into<String>, details: Vec<String>) {
        if let Some(program) = self.program.upgrade() {
            program.give_up(why.into(), details);
        }
    }
}

impl fmt::Debug for Hosted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosted").field("phase", &self.inspector.phase()).finish()
    }
}
