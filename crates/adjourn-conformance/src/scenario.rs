//! A scenario: its name, what the contract says, and how it is run.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use crate::case::Case;
use crate::first;
use crate::limits::{self, Stillness, moved, watchdog};
use crate::process;
use crate::subject::Subject;
use crate::tools::message;

/// One scenario of the conformance kit. [`scenarios`](crate::scenarios) lists them.
pub struct Scenario {
    pub(crate) topic: &'static str,
    pub(crate) name: &'static str,
    pub(crate) rule: &'static str,
    pub(crate) run: fn(&Case),
}

impl Scenario {
    /// Returns its name, as [`conformance!`](crate::conformance) names its test.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns its topic, as [`conformance!`](crate::conformance) names the test's module.
    pub fn topic(&self) -> &'static str {
        self.topic
    }

    /// Returns what the contract says, and where.
    pub fn rule(&self) -> &'static str {
        self.rule
    }

    /// Runs it on what `subject` makes, for as long as something moves: it fails when nothing that
    /// it waits for has come for 30 s (`ADJOURN_CONFORMANCE_WATCHDOG`, in seconds, is another
    /// limit). So a busy machine does not fail it.
    ///
    /// A scenario about signals or exits starts the running program anew, with `test` as the one
    /// test to run (`module::name`, as libtest names it) and the environment inherited: that test
    /// has to come to this very call.
    ///
    /// # Panics
    ///
    /// If the subject does not meet it, with what the contract says and what was found instead.
    /// One that hangs is left to its thread.
    pub fn run(&'static self, subject: fn() -> Subject, test: &str) {
        if let Err(error) = self.try_run(subject, test) {
            panic!("{error}");
        }
    }

    /// As [`run`](Scenario::run), with the message as an error.
    pub(crate) fn try_run(
        &'static self,
        subject: fn() -> Subject,
        test: &str,
    ) -> Result<(), String> {
        let case = Case::new(subject(), test, process::part());
        if case.part().is_some() {
            process::play(|| (self.run)(&case));
        }
        let on = case.subject().to_string();
        let (over, ended) = mpsc::channel();
        let body = move || {
            let result = catch_unwind(AssertUnwindSafe(|| (self.run)(&case)));
            _ = over.send(result.map_err(|payload| message(&*payload)));
        };
        let thread = thread::Builder::new().name(self.name.to_owned());
        thread.spawn(body).expect("a thread for the scenario");
        let limit = if self.topic == first::TOPIC { limits::FIRST } else { watchdog() };
        let mut still = Stillness::new(limit);
        let found = loop {
            match ended.recv_timeout(still.slice()) {
                Ok(Ok(())) => {
                    moved();
                    return Ok(());
                }
                Ok(Err(message)) => break message,
                Err(RecvTimeoutError::Timeout) if !still.is_over() => {}
                // A short limit is no limit on a machine that comes to nothing.
                Err(RecvTimeoutError::Timeout) if limit < watchdog() && limits::is_slow() => {}
                Err(RecvTimeoutError::Timeout) => {
                    break format!("it hangs: nothing has moved for {limit:?}");
                }
                Err(RecvTimeoutError::Disconnected) => break "its thread is gone".to_owned(),
            }
        };
        Err(format!(
            "{self} is not met by {on}\n  the contract: {}\n  found: {}",
            self.rule,
            found.replace('\n', "\n    ")
        ))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.topic, self.name)
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scenario({self})")
    }
}
