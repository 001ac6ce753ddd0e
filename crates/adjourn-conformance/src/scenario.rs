//! A scenario: its name, what the contract says, and how it is run.

use std::any::Any;
use std::env;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::process;
use crate::subject::Subject;

/// Set for a process that a scenario started: which part of the scenario it plays.
pub(crate) const PART: &str = "ADJOURN_CONFORMANCE_PART";

/// One scenario of the conformance kit. [`scenarios`](crate::scenarios) lists them.
pub struct Scenario {
    pub(crate) topic: &'static str,
    pub(crate) name: &'static str,
    pub(crate) rule: &'static str,
    pub(crate) run: fn(&Case),
}

/// A scenario with what it is run on.
pub(crate) struct Case {
    subject: Subject,
    scenario: &'static Scenario,
    test: String,
    part: Option<String>,
}

/// How long a scenario may take: 30 s, or `ADJOURN_CONFORMANCE_WATCHDOG` in seconds.
pub(crate) fn watchdog() -> Duration {
    let asked = env::var("ADJOURN_CONFORMANCE_WATCHDOG").ok();
    let seconds = asked.and_then(|seconds| seconds.parse().ok()).unwrap_or(30);
    Duration::from_secs(seconds)
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

    /// Runs it on what `subject` makes, for 30 s at the most (`ADJOURN_CONFORMANCE_WATCHDOG`, in
    /// seconds, is another limit).
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
        let part = env::var(PART).ok();
        let test = test.to_owned();
        let case = Case { subject: subject(), scenario: self, test, part };
        if case.part.is_some() {
            process::play(|| (self.run)(&case));
        }
        let on = case.subject.to_string();
        let (over, ended) = mpsc::channel();
        let body = move || {
            let result = catch_unwind(AssertUnwindSafe(|| (case.scenario.run)(&case)));
            _ = over.send(result.map_err(|payload| message(&*payload)));
        };
        let thread = thread::Builder::new().name(self.name.to_owned());
        thread.spawn(body).expect("a thread for the scenario");
        let found = match ended.recv_timeout(watchdog()) {
            Ok(Ok(())) => return,
            Ok(Err(message)) => message,
            Err(RecvTimeoutError::Timeout) => {
                format!("it hangs: not over after {:?}", watchdog())
            }
            Err(RecvTimeoutError::Disconnected) => "its thread is gone".to_owned(),
        };
        panic!(
            "{self} is not met by {on}\n  the contract: {}\n  found: {}",
            self.rule,
            found.replace('\n', "\n    ")
        );
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

impl Case {
    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Returns which part this process plays; `None` in the test's own.
    pub(crate) fn part(&self) -> Option<&str> {
        self.part.as_deref()
    }

    /// Returns the name of the test that comes to this case.
    pub(crate) fn test(&self) -> &str {
        &self.test
    }
}

/// Returns the text of a panic's payload.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text").to_owned()
}
