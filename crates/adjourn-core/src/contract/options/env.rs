//! Limits that are set where a program is deployed: by environment variables.

use std::ffi::OsString;
use std::time::Duration;

use crate::contract::options::Options;

/// From the start of a pod's or container's end until it is killed.
const GRACE_PERIOD: &str = "ADJOURN_GRACE_PERIOD";
/// What of that has passed before the signal comes.
const PRE_STOP: &str = "ADJOURN_PRE_STOP";
/// What of it is left over at the end.
const MARGIN: &str = "ADJOURN_MARGIN";
/// The result of the three, for whoever knows it.
const TIMEOUT: &str = "ADJOURN_TIMEOUT";
const DRAIN_LIMIT: &str = "ADJOURN_DRAIN_LIMIT";
const CLOSING_RESERVE: &str = "ADJOURN_CLOSING_RESERVE";
const LAME_DUCK: &str = "ADJOURN_LAME_DUCK";

/// The most that the margin is unless set: of Kubernetes' 30 s the default timeout, 25 s, is left.
const MOST_MARGIN: Duration = Duration::from_secs(5);

/// The limits that the environment sets; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EnvLimits {
    timeout: Option<Duration>,
    drain_limit: Option<Duration>,
    closing_reserve: Option<Duration>,
    lame_duck: Option<Duration>,
    /// The variables as they were written, for errors.
    written: Vec<String>,
}

impl EnvLimits {
    /// Reads the variables; `lookup` is [`std::env::var_os`].
    ///
    /// # Errors
    ///
    /// What is wrong: with the variable, its value, and what is allowed.
    pub(crate) fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<EnvLimits, String> {
        let mut written = Vec::new();
        let mut read = |name| {
            let Some(value) = lookup(name) else { return Ok(None) };
            written.push(format!("{name}={value:?}"));
            match seconds(&value) {
                Some(span) => Ok(Some(span)),
                None => Err(format!(
                    "the environment variable {name} is {value:?}: it has to be a number of seconds, \
                     such as 30 or 2.5"
                )),
            }
        };
        let grace_period = read(GRACE_PERIOD)?;
        let pre_stop = read(PRE_STOP)?;
        let margin = read(MARGIN)?;
        let timeout = read(TIMEOUT)?;
        let drain_limit = read(DRAIN_LIMIT)?;
        let closing_reserve = read(CLOSING_RESERVE)?;
        let lame_duck = read(LAME_DUCK)?;
        let timeout = match (grace_period, timeout) {
            (Some(_), Some(_)) => {
                return Err(format!(
                    "the environment sets both {} and {}: set one, since the timeout is what the \
                     grace period leaves",
                    written[0],
                    written.iter().find(|text| text.starts_with(TIMEOUT)).unwrap_or(&written[0]),
                ));
            }
            (Some(whole), None) => Some(what_is_left(whole, pre_stop, margin, &written)?),
            (None, timeout) => {
                if pre_stop.is_some() || margin.is_some() {
                    return Err(format!(
                        "the environment sets {} and not {GRACE_PERIOD}, of which it is taken off: \
                         set it to the seconds until the kill (in Kubernetes \
                         terminationGracePeriodSeconds)",
                        written[0]
                    ));
                }
                timeout
            }
        };
        Ok(EnvLimits { timeout, drain_limit, closing_reserve, lame_duck, written })
    }

    /// Puts what the environment says in the place of what the code says.
    pub(crate) fn over(&self, options: &Options) -> Options {
        Options {
            timeout: self.timeout.or(options.timeout),
            drain_limit: self.drain_limit.or(options.drain_limit),
            closing_reserve: self.closing_reserve.or(options.closing_reserve),
            lame_duck: self.lame_duck.unwrap_or(options.lame_duck),
            env: None,
            ..options.clone()
        }
    }

    /// Says which variables are set, for an error that they may have led to.
    pub(crate) fn blame(&self, error: &str) -> String {
        match self.written.as_slice() {
            [] => error.to_owned(),
            written => format!("{error} (the environment sets {})", written.join(", ")),
        }
    }
}

fn what_is_left(
    whole: Duration,
    pre_stop: Option<Duration>,
    margin: Option<Duration>,
    written: &[String],
) -> Result<Duration, String> {
    let margin = margin.unwrap_or_else(|| (whole / 6).min(MOST_MARGIN));
    let off = pre_stop.unwrap_or_default().saturating_add(margin);
    match whole.checked_sub(off) {
        Some(left) if !left.is_zero() => Ok(left),
        _ => Err(format!(
            "the environment sets {}, which leaves no time for a stop: of the grace period \
             ({whole:?}) the time before the signal and the margin ({margin:?}) are taken off. \
             Raise the grace period",
            written.join(", ")
        )),
    }
}

/// A decimal number: no sign, no unit, no exponent, no `inf`.
fn seconds(value: &std::ffi::OsStr) -> Option<Duration> {
    let text = value.to_str()?;
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phase::Limits;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn read(vars: &[(&str, &str)]) -> Result<EnvLimits, String> {
        EnvLimits::read(|name| {
            let (_, value) = vars.iter().find(|(own, _)| *own == name)?;
            Some(value.into())
        })
    }

    fn timeout(vars: &[(&str, &str)]) -> Option<Duration> {
        read(vars).unwrap().timeout
    }

    /// The limits of a program whose code says this.
    fn limits(code: Options, vars: &[(&str, &str)]) -> Result<Limits, String> {
        let options = Options { env: Some(read(vars)), ..code };
        options.limits().map_err(|error| {
            assert!(error.is_options());
            error.to_string()
        })
    }

    #[test]
    fn an_environment_that_says_nothing_changes_nothing() {
        assert_eq!(read(&[]).unwrap(), EnvLimits::default());
        assert_eq!(
            limits(Options::default(), &[("ADJOURN_PORT", "tcp://10.0.0.1:80")]).unwrap(),
            Options::default().limits().unwrap()
        );
    }

    #[test]
    fn the_timeout_is_what_the_grace_period_leaves() {
        assert_eq!(timeout(&[(GRACE_PERIOD, "30")]), Some(secs(25)), "Kubernetes' default");
        assert_eq!(timeout(&[(GRACE_PERIOD, "60")]), Some(secs(55)), "the margin has an end");
        assert_eq!(timeout(&[(GRACE_PERIOD, "12")]), Some(secs(10)), "a sixth is the margin");
        assert_eq!(timeout(&[(GRACE_PERIOD, "40"), (PRE_STOP, "5")]), Some(secs(30)));
        let all = [(GRACE_PERIOD, "40"), (PRE_STOP, "5"), (MARGIN, "0.5")];
        assert_eq!(timeout(&all), Some(Duration::from_millis(34_500)));
        assert_eq!(timeout(&[(GRACE_PERIOD, "40"), (MARGIN, "0")]), Some(secs(40)));
        assert_eq!(timeout(&[(TIMEOUT, "7")]), Some(secs(7)));
    }

    #[test]
    fn each_limit_takes_the_place_of_the_codes() {
        let code = || Options {
            timeout: Some(secs(100)),
            drain_limit: Some(secs(90)),
            closing_reserve: Some(secs(9)),
            lame_duck: secs(8),
            ..Options::default()
        };
        let as_coded = code().limits().unwrap();
        let with = |vars: &[_]| limits(code(), vars).unwrap();
        assert_eq!(with(&[(TIMEOUT, "200")]).deadline, secs(200));
        assert_eq!(with(&[(TIMEOUT, "200")]).drain, secs(90), "what it does not name stays");
        assert_eq!(with(&[(DRAIN_LIMIT, "50")]), Limits { drain: secs(50), ..as_coded });
        assert_eq!(with(&[(CLOSING_RESERVE, "2")]), Limits { cut_off: secs(98), ..as_coded });
        assert_eq!(with(&[(LAME_DUCK, "0")]), Limits { lame_duck: secs(0), ..as_coded });
        let shorter = [(GRACE_PERIOD, "30"), (DRAIN_LIMIT, "10"), (CLOSING_RESERVE, "1")];
        assert_eq!(
            with(&shorter),
            Limits { lame_duck: secs(8), drain: secs(10), cut_off: secs(24), deadline: secs(25) }
        );
    }

    #[test]
    fn nonsense_is_named_with_its_value_and_what_is_allowed() {
        for name in
            [GRACE_PERIOD, PRE_STOP, MARGIN, TIMEOUT, DRAIN_LIMIT, CLOSING_RESERVE, LAME_DUCK]
        {
            for value in ["", " 30", "30s", "-1", "+1", "1e3", "inf", "NaN", ".", "1.2.3", "1,5"] {
                let error = limits(Options::default(), &[(name, value)]).unwrap_err();
                let named = format!("{name} is {value:?}: ");
                assert!(error.contains(&named) && error.contains("such as 30 or 2.5"), "{error}");
            }
        }
        let huge = "9".repeat(400);
        assert!(read(&[(TIMEOUT, &huge)]).is_err(), "more than a `Duration` holds");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_text_is_nonsense_too() {
        use std::os::unix::ffi::OsStringExt;
        let read =
            EnvLimits::read(|name| (name == TIMEOUT).then(|| OsString::from_vec(vec![0xff])));
        assert!(read.unwrap_err().contains(r#"ADJOURN_TIMEOUT is "\xFF": "#));
    }

    #[test]
    fn values_that_do_not_go_together_are_named() {
        let says = |vars: &[_], parts: &[&str]| {
            let error = limits(Options::default(), vars).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "no {part:?} in {error}");
            }
        };
        says(
            &[(TIMEOUT, "9"), (GRACE_PERIOD, "8")],
            &[r#"ADJOURN_GRACE_PERIOD="8""#, r#"ADJOURN_TIMEOUT="9""#, "set one"],
        );
        says(&[(PRE_STOP, "5")], &[r#"ADJOURN_PRE_STOP="5""#, "not ADJOURN_GRACE_PERIOD"]);
        says(&[(MARGIN, "5"), (TIMEOUT, "9")], &[r#"ADJOURN_MARGIN="5""#]);
        let nothing = [r#"ADJOURN_PRE_STOP="25""#, "leaves no time", "(5s)"];
        says(&[(GRACE_PERIOD, "30"), (PRE_STOP, "25")], &nothing);
        says(&[(GRACE_PERIOD, "30"), (PRE_STOP, "40")], &["leaves no time"]);
        says(&[(GRACE_PERIOD, "0")], &["leaves no time"]);
        says(&[(TIMEOUT, "0")], &["the timeout is zero", r#"ADJOURN_TIMEOUT="0""#]);
    }

    #[test]
    fn a_limit_of_the_code_that_the_environment_leaves_no_time_for_is_an_error() {
        let code = Options { drain_limit: Some(secs(20)), ..Options::default() };
        let error = limits(code, &[(GRACE_PERIOD, "12")]).unwrap_err();
        for part in ["drain limit (20s)", "the timeout (10s)", r#"ADJOURN_GRACE_PERIOD="12""#] {
            assert!(error.contains(part), "{error}");
        }
    }
}
