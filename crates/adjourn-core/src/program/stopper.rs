//! Asking for a stop, from anywhere.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Program;
use crate::contract::report::{MOST_LISTED, Reason};

/// Stops a program from anywhere: a task, a hook, a plain thread; before `run` too.
///
/// From [`Runner::stopper`](crate::Runner::stopper). Asking twice is the same as once and never
/// escalates.
#[derive(Clone)]
pub struct Stopper {
    link: Arc<Mutex<Link>>,
}

enum Link {
    /// Requests made before the program started.
    Before(Vec<Reason>),
    During(Weak<Program>),
}

impl Stopper {
    pub(crate) fn new() -> Stopper {
        Stopper { link: Arc::new(Mutex::new(Link::Before(Vec::new()))) }
    }

    /// Ties it to a program that starts and returns what was asked for before.
    pub(crate) fn tie(&self, program: &Arc<Program>) -> Vec<Reason> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *link, Link::During(Arc::downgrade(program))) {
            Link::Before(reasons) => reasons,
            Link::During(_) => Vec::new(),
        }
    }

    /// Asks the program to stop. Before its start, it stops as soon as it has started; after its
    /// end, nothing happens.
    pub fn stop(&self) {
        self.request(Reason::Requested(None));
    }

    /// Asks the program to stop, with a text for the report.
    pub fn stop_because(&self, why: impl Into<String>) {
        self.request(Reason::Requested(Some(why.into())));
    }

    pub(crate) fn request(&self, reason: Reason) {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let program = match &mut *link {
            Link::Before(reasons) => {
                if reasons.len() < MOST_LISTED {
                    reasons.push(reason);
                }
                return;
            }
            Link::During(program) => program.upgrade(),
        };
        drop(link);
        if let Some(program) = program {
            program.stop(reason);
        }
    }
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopper").finish_non_exhaustive()
    }
}
