//! What is written when the process is ended: rendered beforehand, or put together in fixed memory.

use std::fmt::{self, Write};
use std::time::Duration;

use super::watch::Stage;
use crate::contract::report::{Report, StuckIn};
use crate::process::last;
use crate::process::signal::Signal;

/// A report that is ready to be written.
pub(crate) struct LastWords {
    /// Empty where there is nothing to tell.
    pub(super) text: String,
    pub(super) code: u8,
    pub(super) raise: Option<Signal>,
}

impl LastWords {
    pub(crate) fn of(report: &Report, raise: Option<Signal>) -> LastWords {
        let text = if report.is_clean() { String::new() } else { format!("{report}\n") };
        LastWords { text, code: report.exit_code(), raise }
    }

    /// The same of a process that is ended because of `what`.
    pub(super) fn stuck_in(what: &'static str, report: Report, raise: Option<Signal>) -> LastWords {
        let report = Report { stuck: true, ..report };
        let text = format!("{}\n", StuckIn(what, &report));
        LastWords { text, code: report.exit_code(), raise }
    }
}

/// What the warden knows by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) stage: Stage,
    pub(super) cause: Option<Signal>,
    pub(super) forced: Option<Option<Signal>>,
    pub(super) signals: u64,
    pub(super) alive: Option<u64>,
    pub(super) paused: Duration,
}

impl Facts {
    pub(super) fn code(&self) -> u8 {
        match self.forced {
            Some(Some(signal)) => last::survived(signal),
            _ => 124, // as timeout(1)
        }
    }

    /// Writes the short text; what does not fit is left out.
    pub(super) fn write(&self, text: &mut Fixed) {
        _ = self.try_write(text);
        _ = text.write_str("\n");
    }

    fn try_write(&self, text: &mut Fixed) -> fmt::Result {
        write!(text, "adjourn: exit code {}, ", self.code())?;
        match self.forced {
            Some(Some(signal)) => write!(text, "forced by {signal}")?,
            Some(None) => text.write_str("forced")?,
            None => text.write_str("past the deadline")?,
        }
        match self.cause {
            Some(signal) => write!(text, "; first cause: {signal}")?,
            None => text.write_str("; first cause: a request")?,
        }
        text.write_str(match self.stage {
            Stage::Starting => "\n  stuck    the start: the executor was still being built",
            Stage::Running => "\n  stuck    the thread that called `run`, past the deadline",
            Stage::Reporting => "\n  stuck    on_report has not returned",
        })?;
        write!(text, "\n  signals  {}", self.signals)?;
        if let Some(alive) = self.alive {
            write!(text, "\n  tasks    {alive} alive")?;
        }
        if !self.paused.is_zero() {
            let paused = self.paused.as_secs_f64();
            write!(
                text,
                "\n  paused   the process did not run for at least {paused:.1} s of its stop"
            )?;
        }
        text.write_str("\n  report   left out: what keeps it was held up as well")
    }
}

/// Text in memory that is there already.
pub(super) struct Fixed {
    bytes: [u8; 512],
    length: usize,
}

impl Fixed {
    pub(super) fn new() -> Fixed {
        Fixed { bytes: [0; 512], length: 0 }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Write for Fixed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let left = self.bytes.len() - self.length;
        let taken = text.len().min(left);
        self.bytes[self.length..self.length + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.length += taken;
        if taken < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(facts: &Facts) -> String {
        let mut text = Fixed::new();
        facts.write(&mut text);
        String::from_utf8(text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn the_short_text_has_cause_counts_and_code_and_fits() {
        let mut facts = Facts {
            stage: Stage::Starting,
            cause: Some(Signal::TERMINATE),
            forced: None,
            signals: 3,
            alive: None,
            paused: Duration::ZERO,
        };
        let past = text(&facts);
        assert!(past.starts_with("adjourn: exit code 124, past the deadline"), "{past}");
        assert!(past.contains("first cause: SIGTERM") && past.contains("signals  3"), "{past}");
        assert!(past.contains("still being built") && past.ends_with('\n'), "{past}");
        assert!(!past.contains("paused") && !past.contains("tasks"), "{past}");
        facts.stage = Stage::Running;
        facts.forced = Some(Some(Signal::INTERRUPT));
        (facts.signals, facts.alive) = (u64::MAX, Some(u64::MAX));
        facts.paused = Duration::from_secs(1_000_000_000);
        let forced = text(&facts);
        assert!(forced.starts_with("adjourn: exit code 130, forced by SIGINT"), "{forced}");
        assert!(forced.contains("paused") && forced.contains("alive"), "{forced}");
        assert!(forced.ends_with("held up as well\n"), "all of it fits: {forced}");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut fixed = Fixed::new();
        assert!(fixed.write_str(&"x".repeat(600)).is_err());
        assert_eq!(fixed.as_bytes(), [b'x'; 512]);
    }
}
