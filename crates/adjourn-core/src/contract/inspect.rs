//! Reading a running program.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::contract::report::{Reason, Report, Straggler, Totals};
use crate::phase::Phase;

/// Reads a program that runs, from any thread: for health checks, status lines and the like.
///
/// From [`Runner::inspector`](crate::Runner::inspector), and given to each
/// [`Observer`](crate::Observer). Cheap to clone. It keeps nothing alive: before the program's start
/// and after its end there is nothing to read. Each answer is a copy of that moment. It takes the
/// program's locks for as long as the copy takes and runs no code of others under them, so it answers
/// when every worker is stuck, too.
#[derive(Clone, Default)]
pub struct Inspector {
    tie: Arc<Tie>,
}

#[derive(Default)]
struct Tie {
    program: OnceLock<Weak<dyn Inspected>>,
    /// It is over: a handle that somebody keeps may hold it all the same.
    over: AtomicBool,
}

/// What can be read of a program: the methods of [`Inspector`].
pub(crate) trait Inspected: Send + Sync {
    fn phase(&self) -> Phase;
    fn is_ready(&self) -> bool;
    fn deadline(&self) -> Option<Duration>;
    fn status(&self) -> Status;
    fn alive(&self, most: usize) -> Vec<Straggler>;
    fn report(&self) -> Report;
}

/// A program in one moment, in few words. From [`Inspector::status`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Status {
    /// The name of the executor's adapter: `tokio`.
    pub backend: &'static str,
    /// The phase that the program is in.
    pub phase: Phase,
    /// Whether it said that it is [`ready`](crate::ready), and no stop has begun.
    pub ready: bool,
    /// The time since the start of `run`.
    pub uptime: Duration,
    /// Why it stops; `None` while it runs.
    pub reason: Option<Reason>,
    /// How long the stop may still take; `None` while it runs, and where nothing limits it.
    pub time_left: Option<Duration>,
    /// Its tasks, those of all scopes added up.
    pub totals: Totals,
    /// The failures so far.
    pub failures: u64,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.phase)?;
        if self.phase == Phase::Running && !self.ready {
            f.write_str(", not ready")?;
        }
        write!(f, ", up {:.1} s, {} alive", self.uptime.as_secs_f64(), self.totals.live)?;
        if self.failures > 0 {
            write!(f, ", {} failed", self.failures)?;
        }
        if let Some(reason) = &self.reason {
            write!(f, ", stops: {reason}")?;
        }
        if let Some(left) = self.time_left {
            write!(f, ", at most {:.1} s more", left.as_secs_f64())?;
        }
        Ok(())
    }
}

impl Inspector {
    /// The program is there: it can be read from here on.
    pub(crate) fn tie(&self, program: Weak<dyn Inspected>) {
        _ = self.tie.program.set(program);
    }

    /// There is nothing more to read.
    pub(crate) fn untie(&self) {
        self.tie.over.store(true, SeqCst);
    }

    fn program(&self) -> Option<Arc<dyn Inspected>> {
        let program = self.tie.program.get()?.upgrade();
        program.filter(|_| !self.tie.over.load(SeqCst))
    }

    /// Returns the phase that the program is in; `None` before its start and after its end.
    pub fn phase(&self) -> Option<Phase> {
        Some(self.program()?.phase())
    }

    /// Returns whether the program said that it is [`ready`](crate::ready), and no stop has begun.
    pub fn is_ready(&self) -> bool {
        self.program().is_some_and(|program| program.is_ready())
    }

    /// Returns the instant by which the program has to be over, since its start; `None` before the
    /// stop, [`Duration::MAX`] where it may take for ever.
    pub fn deadline(&self) -> Option<Duration> {
        self.program()?.deadline()
    }

    /// Returns the program in few words; `None` before its start and after its end.
    ///
    /// Adds up the scopes that are open: linear in their number.
    pub fn status(&self) -> Option<Status> {
        Some(self.program()?.status())
    }

    /// Returns tasks and jobs that are alive and what they are doing, scope by scope in the order in
    /// which the scopes were opened: `most` of them at the most, and no more than the oldest hundred of
    /// each scope.
    ///
    /// To find the oldest it looks at all of a scope's tasks, with that scope's lock held: linear in
    /// their number.
    pub fn alive(&self, most: usize) -> Vec<Straggler> {
        self.program().map_or_else(Vec::new, |program| program.alive(most))
    }

    /// Returns the report as it would be if everything ended now: what is alive counts as abandoned.
    /// `None` before the program's start and after its end. Linear in the number of tasks that are
    /// alive.
    pub fn report(&self) -> Option<Report> {
        Some(self.program()?.report())
    }
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspector").field("phase", &self.phase()).finish()
    }
}
