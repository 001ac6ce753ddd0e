//! What a user may choose about a program, with the defaults and the checks.

mod env;

use std::time::Duration;

use crate::contract::error::StartError;
use crate::phase::Limits;
use crate::process::signal::Signal;

pub(crate) use self::env::EnvLimits;

/// When a program ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Until {
    /// Once `main` has returned and no task but background ones is alive. The default.
    #[default]
    Idle,
    /// Once `main` has returned; what is still alive is stopped then.
    MainReturns,
    /// Never: only a stop request, an error or a panic of `main` ends it, as in aiorun.
    Stopped,
}

/// What a second SIGINT does while the program is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SecondInterrupt {
    /// The program is [`Forced`](crate::Phase::Forced): `run` returns at once with 128 + 2. The
    /// default, since a person who presses Ctrl-C twice means it.
    #[default]
    Force,
    /// It is only recorded, as in aiorun.
    Record,
}

/// What overdue work means for the exit code: graceful work that was still alive at its drain limit
/// and was cut off there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overdue {
    /// It is a failure: the exit code is 124, as with stragglers. The default, since work that was told
    /// to finish did not.
    #[default]
    Fails,
    /// It is only named in the report: for a server whose streams never end by themselves, which is
    /// overdue at every restart. systemd would call each of those failed (systemd.service(5),
    /// `SuccessExitStatus=`).
    Named,
}

/// Whether people are told on standard error what a stop waits for, when it takes a while.
///
/// On a terminal it is one line after 300 ms, renewed in place and gone at the end. Elsewhere it is a line
/// when half of the time is over, and one at three quarters; without a deadline there is none. Colors
/// follow `NO_COLOR` (no-color.org).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Narrate {
    /// Under `run` alone, and where standard error is no terminal only if nobody listens to `tracing`, by
    /// which the same is told. The default.
    #[default]
    Automatic,
    /// Nothing is written.
    Never,
    /// In an attached program too, and whoever listens to `tracing`.
    Always,
}

/// Which signal is raised again, with its default disposition, once the report is printed.
///
/// A shell tells a program that died of SIGINT from one that returned a code: only the first ends
/// `tool && deploy` and a loop around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reraise {
    /// None: the exit code says it all. The default, as services want it.
    #[default]
    Never,
    /// SIGINT, when it was the first reason to stop or forced the end: [`Runner::cli`](crate::Runner::cli)'s choice.
    Interrupt,
    /// Whichever signal was the first reason to stop or forced the end.
    Always,
}

/// The choices of a program. [`Runner`](crate::Runner)'s methods set them.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) timeout: Option<Duration>,
    pub(crate) drain_limit: Option<Duration>,
    pub(crate) closing_reserve: Option<Duration>,
    pub(crate) lame_duck: Duration,
    pub(crate) until: Until,
    pub(crate) signals: Vec<Signal>,
    pub(crate) second_interrupt: SecondInterrupt,
    pub(crate) debounce: Duration,
    pub(crate) overdue: Overdue,
    pub(crate) stop_on_panic: bool,
    pub(crate) reraise: Reraise,
    pub(crate) narrate: Narrate,
    /// These print what is alive.
    pub(crate) dump_on: Vec<Signal>,
    pub(crate) exit_when_stuck: Option<bool>,
    pub(crate) workers: Option<usize>,
    pub(crate) blocking: Option<usize>,
    /// What the environment says, once it was asked for.
    pub(crate) env: Option<Result<EnvLimits, String>>,
}

/// From the stop request to the deadline, unless set: Kubernetes sends SIGKILL after 30 s.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(25);
/// The closing reserve is never more than this, unless set.
const MOST_RESERVE: Duration = Duration::from_secs(2);

impl Default for Options {
    fn default() -> Options {
        Options {
            timeout: None,
            drain_limit: None,
            closing_reserve: None,
            lame_duck: Duration::ZERO,
            until: Until::Idle,
            signals: Signal::DEFAULTS.to_vec(),
            second_interrupt: SecondInterrupt::Force,
            debounce: Duration::from_millis(250),
            overdue: Overdue::Fails,
            stop_on_panic: false,
            reraise: Reraise::Never,
            narrate: Narrate::Automatic,
            dump_on: Vec::new(),
            exit_when_stuck: None,
            workers: None,
            blocking: None,
            env: None,
        }
    }
}

impl Options {
    /// Ends when `main` returns; an interrupting SIGINT is raised again.
    pub(crate) fn cli() -> Options {
        Options { until: Until::MainReturns, reraise: Reraise::Interrupt, ..Options::default() }
    }

    /// aiorun's choices: for ever, 60 s, repeated signals ignored.
    pub(crate) fn aiorun() -> Options {
        Options {
            timeout: Some(Duration::from_secs(60)),
            until: Until::Stopped,
            second_interrupt: SecondInterrupt::Record,
            ..Options::default()
        }
    }

    /// Returns the spans of a stop, each measured from the request. What the environment says takes
    /// the place of what the code says.
    pub(crate) fn limits(&self) -> Result<Limits, StartError> {
        match &self.env {
            None => self.own_limits().map_err(StartError::options),
            Some(Err(error)) => Err(StartError::options(error)),
            Some(Ok(env)) => {
                let limits = env.over(self).own_limits();
                limits.map_err(|error| StartError::options(env.blame(&error)))
            }
        }
    }

    /// Unset ones follow from those that are set; only values that were set against each other are
    /// errors.
    fn own_limits(&self) -> Result<Limits, String> {
        if self.timeout == Some(Duration::ZERO) {
            return Err(
                "the timeout is zero: nothing could end in order; give the time that a stop \
                        may take (the default is 25 s)"
                    .to_owned(),
            );
        }
        // A drain limit or lame-duck time that was set stretches a timeout that was not.
        let asked = self.drain_limit.unwrap_or_default().max(self.lame_duck);
        let asked = asked.saturating_add(self.closing_reserve.unwrap_or_default());
        let timeout = self.timeout.unwrap_or_else(|| TIMEOUT.max(asked.saturating_add(asked / 4)));
        let fits = |what: &str, span: Duration, most: Duration, of: &str| {
            if span <= most {
                return Ok(());
            }
            Err(format!(
                "the {what} ({span:?}) is longer than {of} ({most:?}): shorten it or give a longer \
                 timeout"
            ))
        };
        if let Some(reserve) = self.closing_reserve {
            fits("closing reserve", reserve, timeout, "the timeout")?;
        }
        if let Some(drain) = self.drain_limit {
            fits("drain limit", drain, timeout, "the timeout")?;
            fits("lame-duck time", self.lame_duck, drain, "the drain limit")?;
        }
        fits("lame-duck time", self.lame_duck, timeout, "the timeout")?;
        let cut_off = match (self.closing_reserve, self.drain_limit) {
            (Some(reserve), Some(drain)) => {
                let left = timeout - reserve;
                fits("drain limit", drain, left, "the timeout less the closing reserve")?;
                left
            }
            (Some(reserve), None) => timeout - reserve,
            (None, drain) => {
                let reserve = (timeout / 25 * 2).min(MOST_RESERVE);
                (timeout - reserve).max(drain.unwrap_or_default()).max(self.lame_duck)
            }
        };
        fits("lame-duck time", self.lame_duck, cut_off, "the timeout less the closing reserve")?;
        let cut_off = if timeout == Duration::MAX { Duration::MAX } else { cut_off };
        let drain = self.drain_limit.unwrap_or_else(|| {
            let share = if timeout == Duration::MAX { timeout } else { timeout / 5 * 4 };
            share.max(self.lame_duck).min(cut_off)
        });
        Ok(Limits { lame_duck: self.lame_duck, drain, cut_off, deadline: timeout })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn defaults_fit_kubernetes() {
        let limits = Options::default().limits().unwrap();
        assert_eq!(limits.deadline, secs(25));
        assert_eq!(limits.cut_off, secs(23));
        assert_eq!(limits.drain, secs(20));
    }

    #[test]
    fn the_presets_differ_from_the_defaults_where_they_say_so() {
        let cli = Options::cli();
        assert_eq!((cli.until, cli.reraise), (Until::MainReturns, Reraise::Interrupt));
        assert_eq!((cli.timeout, cli.second_interrupt), (None, SecondInterrupt::Force));
        let aiorun = Options::aiorun();
        assert_eq!((aiorun.until, aiorun.reraise), (Until::Stopped, Reraise::Never));
        assert_eq!(aiorun.timeout, Some(secs(60)));
        assert_eq!(aiorun.second_interrupt, SecondInterrupt::Record);
    }

    #[test]
    fn values_set_against_each_other_are_errors() {
        let set = |timeout, drain| Options {
            timeout: Some(secs(timeout)),
            drain_limit: Some(secs(drain)),
            ..Options::default()
        };
        assert!(set(10, 20).limits().unwrap_err().is_options());
        assert!(set(10, 10).limits().is_ok(), "a default reserve gives way");
        let reserve = Options { closing_reserve: Some(secs(1)), ..set(10, 10) };
        assert!(reserve.limits().unwrap_err().to_string().contains("closing reserve"));
        let lame = Options { lame_duck: secs(9), ..set(10, 8) };
        assert!(lame.limits().unwrap_err().to_string().contains("lame-duck"));
        let zero = Options { timeout: Some(Duration::ZERO), ..Options::default() };
        assert!(zero.limits().unwrap_err().to_string().contains("zero"));
    }

    #[test]
    fn a_limit_that_was_set_stretches_a_timeout_that_was_not() {
        let drain = Options { drain_limit: Some(secs(60)), ..Options::default() };
        let limits = drain.limits().unwrap();
        assert_eq!(limits.drain, secs(60));
        assert!(limits.cut_off >= secs(60) && limits.deadline > limits.cut_off);
    }

    #[test]
    fn a_reserve_that_was_set_is_taken_off_the_timeout() {
        let set = |drain_limit| Options {
            timeout: Some(secs(10)),
            closing_reserve: Some(secs(3)),
            drain_limit,
            ..Options::default()
        };
        let limits = set(None).limits().unwrap();
        assert_eq!((limits.drain, limits.cut_off, limits.deadline), (secs(7), secs(7), secs(10)));
        let limits = set(Some(secs(4))).limits().unwrap();
        assert_eq!((limits.drain, limits.cut_off, limits.deadline), (secs(4), secs(7), secs(10)));
    }

    #[test]
    fn extremes_do_not_overflow() {
        for timeout in [Duration::from_nanos(1), Duration::MAX, Duration::MAX - secs(1)] {
            let options = Options { timeout: Some(timeout), ..Options::default() };
            let limits = options.limits().unwrap();
            assert!(limits.drain <= limits.cut_off && limits.cut_off <= limits.deadline);
        }
        let drain = Options { drain_limit: Some(Duration::MAX), ..Options::default() };
        assert_eq!(drain.limits().unwrap().deadline, Duration::MAX);
    }
}
