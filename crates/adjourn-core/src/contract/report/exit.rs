//! The end of a program, with its exit code.

use std::process::{ExitCode, Termination};

use super::Report;
use crate::process::last;
use crate::process::signal::Signal;

/// The end of a program, as a type that `main` returns.
///
/// Returned from `fn main() -> Exit`, it prints the report on standard error unless the report is
/// clean, raises the signal again where that was asked for, and exits with the report's code; with
/// 128 + the signal's number where that signal did not end the process, as it does not end the first
/// one of a container. Printing and raising take a second at most, whoever holds standard error.
///
/// # Examples
///
/// ```
/// use adjourn_core::Exit;
///
/// /// A main that asks for an exit code. Something worse, a task that was cut off say, still counts.
/// async fn check(found: usize) -> Exit {
///     Exit::code(if found == 0 { 3 } else { 0 })
/// }
///
/// assert_eq!(Exit::code(3).exit_code(), 3);
/// ```
#[derive(Clone, Debug)]
#[must_use = "return it from `main`, or call `exit()`, so that the exit code is the report's"]
pub struct Exit {
    report: Box<Report>,
    raise: Option<Signal>,
}

impl Exit {
    /// Asks for an exit code: what `main`'s future returns, alone or in a `Result`.
    pub fn code(code: u8) -> Exit {
        let report = Report { main_code: Some(code), ..Report::default() };
        Exit { report: Box::new(report), raise: None }
    }

    pub(crate) fn new(report: Report, raise: Option<Signal>) -> Exit {
        Exit { report: Box::new(report), raise }
    }

    /// Returns the report.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Returns the report's exit code.
    pub fn exit_code(&self) -> u8 {
        self.report.exit_code()
    }

    /// Returns the signal that [`exit`](Exit::exit) and `main` raise again.
    pub fn raises(&self) -> Option<Signal> {
        self.raise
    }

    /// Ends the process as returning this from `main` would.
    pub fn exit(self) -> ! {
        let code = self.finish();
        std::process::exit(code.into())
    }

    fn finish(self) -> u8 {
        // An `Exit::code` that no program made has nothing to tell.
        let silent = self.report.phases.is_empty() && self.report.start_error.is_none();
        let code = self.report.exit_code();
        let text = match silent || self.report.is_clean() {
            true => String::new(),
            false => format!("{}\n", self.report),
        };
        last::say(&text, code, self.raise)
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.finish().into()
    }
}
