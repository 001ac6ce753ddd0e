//! One run of a test, and the verdict on it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use adjourn_core::{FailureKind, Outcome, Report};

use super::Lab;
use crate::invariants::violations;
use crate::observe::{Injection, Plan};
use crate::quiet::quietly;

/// What counts as a failure, beside what is broken in any case.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    /// The test's assertions count in runs that were forced, and not in the orderly ones.
    pub(crate) forced: bool,
    pub(crate) main_may_fail: bool,
    pub(crate) may_not_start: bool,
    /// Panics are printed as they come.
    pub(crate) loud: bool,
}

/// One run and what came of it.
pub(crate) struct Attempt {
    /// What the user's assertion said, and where.
    pub(crate) panic: Option<(String, Option<String>)>,
    /// What else is wrong.
    pub(crate) broken: Vec<String>,
    pub(crate) polls: u64,
    pub(crate) fingerprint: u64,
    pub(crate) cut: bool,
    /// Whether a second signal forced the end.
    pub(crate) forced: bool,
    pub(crate) injected: Vec<Injection>,
    pub(crate) reports: Vec<Report>,
}

impl Attempt {
    pub(crate) fn is_failure(&self) -> bool {
        self.panic.is_some() || !self.broken.is_empty()
    }

    /// The poll before which the first stop came, or after the last one if none did.
    pub(crate) fn last_point(&self) -> u64 {
        self.injected.first().map_or(self.polls, |first| first.poll)
    }

    /// What fails, in a line without numbers: failures of one kind have the same.
    pub(crate) fn kind(&self) -> String {
        let text = match (&self.panic, self.broken.first()) {
            (Some((text, Some(place))), _) => {
                return format!("{} ({place})", text.lines().next().unwrap_or_default());
            }
            (Some((text, None)), _) => text,
            (None, Some(broken)) => broken,
            (None, None) => return String::new(),
        };
        let line = text.lines().next().unwrap_or_default();
        line.chars().filter(|c| !c.is_ascii_digit()).collect()
    }
}

pub(crate) fn run<L: Lab>(lab: L, test: &impl Fn(L), planned: &Plan, rules: &Rules) -> Attempt {
    let given = lab.clone();
    let catch = || catch_unwind(AssertUnwindSafe(|| test(given)));
    let (outcome, place) = quietly(!rules.loud, catch);
    let observer = lab.observer();
    let exits = lab.exits();
    let injected = observer.injected();
    let forced = exits.iter().any(|(report, _)| report.forced.is_some());
    let mut broken = observer.problems();
    for (report, code) in &exits {
        broken.extend(violations(report));
        if report.exit_code() != *code {
            let from = report.exit_code();
            broken.push(format!("the exit code is {code}, from a report that says {from}"));
        }
        let free = injected.is_empty();
        broken.extend(tested_nothing(report, free, forced, observer.was_faulted(), rules));
    }
    if outcome.is_ok() && exits.is_empty() {
        broken.push("the test ran no program: it has to call run on what it is given".to_owned());
    }
    let stopped = |(report, _): &(Report, u8)| !report.reasons.is_empty();
    let started = exits.iter().all(|(report, _)| report.start_error.is_none());
    if started && !planned.inject.is_empty() && !injected.is_empty() && !exits.iter().any(stopped) {
        broken.push("it was asked to stop, and its report has no cause".to_owned());
    }
    // A test that fails before its program runs fails in any case.
    let counts = exits.is_empty() || forced == rules.forced;
    let panic = outcome.err().filter(|_| counts).map(|payload| (panic_text(&*payload), place));
    Attempt {
        panic,
        broken,
        polls: observer.polls(),
        fingerprint: observer.fingerprint(),
        cut: observer.was_cut(),
        forced,
        injected,
        reports: exits.into_iter().map(|(report, _)| report).collect(),
    }
}

/// Says what keeps a program from being tested at all. `free`: nothing was injected.
fn tested_nothing(
    report: &Report,
    free: bool,
    forced: bool,
    faulted: bool,
    rules: &Rules,
) -> Option<String> {
    const START_MEANT: &str = "if that is meant, say so with may_not_start()";
    const MAIN_MEANT: &str = "if that is meant, say so with main_may_fail()";
    if let Some(error) = &report.start_error {
        let error = format!("the program did not start, so nothing was tested: {error}");
        return (!rules.may_not_start).then(|| format!("{error}; {START_MEANT}"));
    }
    if free && report.main.is_none() {
        let error = "main was never polled, so nothing was tested";
        return (!rules.may_not_start).then(|| format!("{error}; {START_MEANT}"));
    }
    if rules.main_may_fail || faulted || forced {
        return None;
    }
    let said = || {
        let of_main = |kind| matches!(kind, FailureKind::MainPanic | FailureKind::MainError);
        let failure = report.failures.iter().find(|failure| of_main(failure.kind));
        failure.map(|failure| failure.messages.join(": ")).unwrap_or_default()
    };
    match &report.main {
        Some(Outcome::Panicked) if free => {
            Some(format!("main panicked, with nothing injected: {}; {MAIN_MEANT}", said()))
        }
        Some(Outcome::Panicked) => {
            Some(format!("main panicked when it was asked to stop: {}; {MAIN_MEANT}", said()))
        }
        Some(Outcome::Failed) if free => {
            Some(format!("main failed, with nothing injected: {}; {MAIN_MEANT}", said()))
        }
        _ => None,
    }
}

pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a text".to_owned())
}
