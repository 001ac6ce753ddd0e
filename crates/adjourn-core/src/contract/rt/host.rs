//! Hosts: who watches over a program in place of the core's own threads.
//!
//! A program has threads that supervise it, its signals and the monotonic clock. Under a clock that
//! is not the system's they would make no sense: a deadline by the monotonic clock means nothing
//! where hours pass in a microsecond. A backend with such a clock brings a [`Host`].

use std::fmt;
use std::sync::Weak;
use std::time::Duration;

use crate::contract::report::{Report, Straggler};
use crate::phase::Phase;
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
}

/// A program as its [`Host`] sees it. Keeps nothing alive; after the program's end it says `None` or
/// does nothing.
#[derive(Clone)]
pub struct Hosted {
    program: Weak<dyn Watched>,
}

/// What a program does for its host: the methods of [`Hosted`].
pub(crate) trait Watched: Send + Sync {
    fn signal(&self, signal: Signal) -> bool;
    fn interrupt_again(&self) -> bool;
    fn give_up(&self, why: String, details: Vec<String>);
    fn phase(&self) -> Phase;
    fn deadline(&self) -> Option<Duration>;
    fn alive(&self) -> Vec<Straggler>;
    fn report(&self) -> Option<Report>;
}

impl Hosted {
    pub(crate) fn new(program: Weak<dyn Watched>) -> Hosted {
        Hosted { program }
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

    /// Returns the phase that the program is in.
    pub fn phase(&self) -> Option<Phase> {
        Some(self.program.upgrade()?.phase())
    }

    /// Returns the instant by which the program has to be over, since its start; `None` before the
    /// stop, [`Duration::MAX`] where it may take for ever.
    pub fn deadline(&self) -> Option<Duration> {
        self.program.upgrade()?.deadline()
    }

    /// Returns the tasks and jobs that are alive and what they are doing, scope by scope in the
    /// order in which the scopes were opened.
    pub fn alive(&self) -> Vec<Straggler> {
        self.program.upgrade().map_or_else(Vec::new, |program| program.alive())
    }

    /// Returns the report as it would be if everything ended now.
    pub fn report(&self) -> Option<Report> {
        self.program.upgrade()?.report()
    }
}

impl fmt::Debug for Hosted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosted").field("phase", &self.phase()).finish()
    }
}
