//! Those who look on: told of each event, in order, off the executor and off the supervising threads.
//!
//! Whoever changes the program's state puts an event in each observer's queue while it holds the
//! program's lock, so all see the same order, the right one. It waits for nobody: a queue has a bound,
//! and what does not fit is counted. Each observer has a thread of its own, so that one which blocks
//! or panics delays nobody, neither the program nor another observer.

mod feed;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::inspect::Inspector;
use crate::contract::report::{Failure, PhaseSpan, Reason, Report};
use crate::process::signal::Signal;
use crate::program::stopper::Stopper;

pub(crate) use self::feed::{Feed, Observing, patience};

/// Looks on while a program runs, and reacts to what happens to it: tells a service manager, answers
/// health checks, narrates, waits for a trigger. Given to [`Runner::observe`](crate::Runner::observe).
///
/// A closure `FnMut(&Event, &Inspector)` is one.
///
/// Its methods may block. An observer has a thread of its own, and is only told: when it lags, up to
/// 1,000 events wait for it, and [`Event::Lost`] says how many more there were. One that panics is told
/// no more, and the report names it ([`FailureKind::Observer`](crate::FailureKind::Observer)); this
/// changes no exit code. At the program's end it has one second to be done with [`Event::Ended`] and to be
/// dropped, or until the deadline, if that is sooner, but 25 ms also where the end is forced; then it is
/// left to itself, and named too. An attached program waits for it on the executor's thread.
///
/// On a simulated executor ([`Host`](crate::rt::Host)) there are no threads: an observer is called by
/// the program's driver, and no time that it asks for passes.
///
/// # Examples
///
/// ```
/// use adjourn_core::{Event, Executor, Exit, Inspector, Runner};
///
/// /// Writes each phase, with how many tasks are alive.
/// fn start<E: Executor>() -> Exit {
///     let look = |event: &Event, program: &Inspector| {
///         if let (Event::Phase(phase), Some(status)) = (event, program.status()) {
///             println!("{}: {} tasks alive", phase.phase, status.totals.live);
///         }
///     };
///     Runner::<E>::new().observe(look).run(async {})
/// }
/// ```
pub trait Observer: Send + 'static {
    /// What a report calls it. Default: its type's name.
    fn name(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }

    /// Makes ready: opens, binds, checks. Called once on the thread that starts the program, before
    /// there is an executor; a stop that is asked for here comes as soon as the program has started.
    ///
    /// # Errors
    ///
    /// With an error the program does not start: exit code 1, and the error is in the report.
    fn start(
        &mut self,
        program: &Inspector,
        stopper: &Stopper,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let _ = (program, stopper);
        Ok(())
    }

    /// Is told of an event. Returns after what time it wants to be told [`Event::Again`], unless
    /// something else comes before; `None`, if nothing does.
    fn observe(&mut self, event: &Event, program: &Inspector) -> Option<Duration>;
}

impl<F: FnMut(&Event, &Inspector) + Send + 'static> Observer for F {
    fn observe(&mut self, event: &Event, program: &Inspector) -> Option<Duration> {
        self(event, program);
        None
    }
}

/// What an [`Observer`] is told of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The program starts; `main` is about to be polled.
    Started,
    /// It said that it is [`ready`](crate::ready).
    Ready,
    /// A signal was heard, so many times in a row.
    Signal(Signal, u64),
    /// The program was asked to stop: the first request. It is not ready from here on.
    Stopping(Reason),
    /// The program enters a phase.
    Phase(PhaseSpan),
    /// A failure was recorded.
    Failure(Failure),
    /// The time has come that the observer asked for.
    Again,
    /// The observer lagged, and missed so many events.
    Lost(u64),
    /// The program is over: the last event. Not told where an attached program's future is dropped
    /// before its end: there is nobody to wait for the observer then, and it is dropped too.
    Ended(Arc<Report>),
}
