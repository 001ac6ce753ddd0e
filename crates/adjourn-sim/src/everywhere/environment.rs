//! What the environment asks of every check in a process: for one failure, or for a longer night.
//!
//! | variable | |
//! |---|---|
//! | `ADJOURN_SIM_SEED` | `7`, or `0..100`: these seeds |
//! | `ADJOURN_SIM_REPLAY` | `0:3`, `0:3,5` or `0:none`: a seed and its point alone |
//! | `ADJOURN_SIM_BUDGET` | `600`: the limit of time, in seconds |

use std::env;
use std::time::Duration;

use crate::point::Point;

/// What the environment asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    pub(crate) seeds: Option<Vec<u64>>,
    pub(crate) replay: Option<(u64, Point)>,
    pub(crate) time: Option<Duration>,
}

impl Environment {
    /// # Panics
    ///
    /// If a variable cannot be understood, with what it may be.
    pub(crate) fn read() -> Environment {
        Environment::of(|name| env::var(name).ok()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Environment, String> {
        let read = |name: &str| variable(name).filter(|text| !text.is_empty());
        let seeds = read("ADJOURN_SIM_SEED").map(|text| {
            let error = || format!("ADJOURN_SIM_SEED is {text:?}: it has to be like 7 or 0..100");
            seeds(&text).ok_or_else(error)
        });
        let replay = read("ADJOURN_SIM_REPLAY").map(|text| {
            let error = || {
                format!("ADJOURN_SIM_REPLAY is {text:?}: it has to be like 0:3, 0:3,5 or 0:none")
            };
            replay(&text).ok_or_else(error)
        });
        let time = read("ADJOURN_SIM_BUDGET").map(|text| {
            let error = || format!("ADJOURN_SIM_BUDGET is {text:?}: it has to be seconds, like 60");
            seconds(&text).ok_or_else(error)
        });
        Ok(Environment {
            seeds: seeds.transpose()?,
            replay: replay.transpose()?,
            time: time.transpose()?,
        })
    }
}

fn seeds(text: &str) -> Option<Vec<u64>> {
    match text.split_once("..") {
        None => Some(vec![text.parse().ok()?]),
        Some((first, end)) => {
            let seeds: Vec<u64> = (first.parse().ok()?..end.parse().ok()?).collect();
            (!seeds.is_empty()).then_some(seeds)
        }
    }
}

fn replay(text: &str) -> Option<(u64, Point)> {
    let (seed, point) = text.split_once(':')?;
    let point = match point.split_once(',') {
        _ if point == "none" => Point::NONE,
        None => Point::from(point.parse::<u64>().ok()?),
        Some((stop, second)) => Point::from((stop.parse().ok()?, second.parse().ok()?)),
    };
    Some((seed.parse().ok()?, point))
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

/// A seed and point as `ADJOURN_SIM_REPLAY` has them.
pub(crate) fn written(seed: u64, point: Point) -> String {
    let polls: Vec<String> = point.polls().iter().map(u64::to_string).collect();
    let point = if polls.is_empty() { "none".to_owned() } else { polls.join(",") };
    format!("{seed}:{point}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &'static str, value: &'static str) -> Result<Environment, String> {
        Environment::of(|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn each_variable_is_read() {
        assert_eq!(Environment::of(|_| None), Ok(Environment::default()));
        assert_eq!(of("ADJOURN_SIM_SEED", "7").unwrap().seeds, Some(vec![7]));
        assert_eq!(of("ADJOURN_SIM_SEED", "2..5").unwrap().seeds, Some(vec![2, 3, 4]));
        let half = Duration::from_millis(500);
        assert_eq!(of("ADJOURN_SIM_BUDGET", "0.5").unwrap().time, Some(half));
        assert_eq!(of("ADJOURN_SIM_BUDGET", "").unwrap().time, None);
        for point in [Point::NONE, Point::from(3), Point::from((3, 5))] {
            let text: &'static str = written(9, point).leak();
            assert_eq!(of("ADJOURN_SIM_REPLAY", text).unwrap().replay, Some((9, point)), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_understood_says_what_it_may_be() {
        for (name, values) in [
            ("ADJOURN_SIM_SEED", ["seven", "5..2", "-1"]),
            ("ADJOURN_SIM_REPLAY", ["3", "0:", "0:3,"]),
            ("ADJOURN_SIM_BUDGET", ["soon", "-1", "inf"]),
        ] {
            for value in values {
                let error = of(name, value).unwrap_err();
                assert!(error.contains(name) && error.contains(value), "{error}");
                assert!(error.contains("has to be"), "{error}");
            }
        }
    }
}
