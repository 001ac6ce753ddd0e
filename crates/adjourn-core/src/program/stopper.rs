//! Asking for a stop, from anywhere.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Program;
use crate::contract::report::{MOST_LISTED, Reason};

/// Stops a program from anywhere: a task, a hook, a plain thread; before `run` too.
///
/// From [`Runner::stopper`](crate::Runner::stopper). Asking twice is the same as once and never
/// escalates.
///
/// # Examples
///
/// ```
/// use adjourn_core::{Executor, Exit, Runner};
///
/// /// Ends the program when the window is closed: on a plain thread, which no executor knows.
/// fn start<E: Executor>(wait_until_closed: impl FnOnce() + Send + 'static) -> Exit {
///     let runner = Runner::<E>::new();
///     let stopper = runner.stopper();
///     std::thread::spawn(move || {
///         wait_until_closed();
///         stopper.stop_because("the window was closed");
///     });
///     runner.run_forever()
/// }
/// ```
#[derive(Clone)]
pub struct Stopper {
    link: Arc<Mutex<Link>>,
}

enum Link {
    /// Requests made before the program started.
    Before(Early),
    During(Weak<Program>),
}

/// What was asked for before the start.
#[derive(Default)]
pub(crate) struct Early {
    pub(crate) reasons: Vec<Reason>,
    /// The process is ended so long after that instant.
    pub(crate) ends: Option<(Instant, Duration)>,
}

impl Stopper {
    pub(crate) fn new() -> Stopper {
        Stopper { link: Arc::new(Mutex::new(Link::Before(Early::default()))) }
    }

    /// Ties it to a program that starts and returns what was asked for before.
    pub(crate) fn tie(&self, program: &Arc<Program>) -> Early {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *link, Link::During(Arc::downgrade(program))) {
            Link::Before(early) => early,
            Link::During(_) => Early::default(),
        }
    }

    /// Asks the program to stop. Before its start, it stops as soon as it has started; after its
    /// end, nothing happens.
    pub fn stop(&self) {
        self.request(Reason::Requested(None), None);
    }

    /// Asks the program to stop, since somebody ends the process in `span` whatever it does: a service
    /// manager with less patience than the timeout, a host that is taken away.
    ///
    /// The limits come forward to that, of a stop that has begun too: the deadline to `span` from now,
    /// the cut-off to 0.92 of it, the drain limit to 0.8. One that comes sooner anyhow is kept, and so is
    /// what an earlier call has left. There is no lame-duck time. Leave some of the real span for what
    /// comes after `run`.
    pub fn stop_within(&self, span: Duration) {
        self.request(Reason::Requested(None), Some(span));
    }

    /// Asks the program to stop, with a text for the report.
    pub fn stop_because(&self, why: impl Into<String>) {
        self.request(Reason::Requested(Some(why.into())), None);
    }

    pub(crate) fn request(&self, reason: Reason, within: Option<Duration>) {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let program = match &mut *link {
            Link::Before(early) => {
                if early.reasons.len() < MOST_LISTED {
                    early.reasons.push(reason);
                }
                if let Some(span) = within {
                    let now = Instant::now();
                    let old = early.ends.map(|(from, old)| old.saturating_sub(now - from));
                    early.ends = Some((now, old.map_or(span, |old| old.min(span))));
                }
                return;
            }
            Link::During(program) => program.upgrade(),
        };
        drop(link);
        if let Some(program) = program {
            if let Some(span) = within {
                program.ends_within(span);
            }
            program.stop(reason);
        }
    }
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopper").finish_non_exhaustive()
    }
}
