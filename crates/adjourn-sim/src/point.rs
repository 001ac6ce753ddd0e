//! Injection points: before which polls of a run it is asked to stop.

use std::fmt;

/// Where a run was asked to stop: before the poll with this number, counted from 1, and perhaps
/// again before a later one.
///
/// Made from a number or a pair: `Point::from(17)`, `Point::from((17, 23))`. A poll that is not
/// reached, since nothing can go on before it, counts as reached then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    stop: Option<u64>,
    second: Option<u64>,
}

impl Point {
    /// The run in which nothing is injected, unless nothing can go on.
    pub const NONE: Point = Point { stop: None, second: None };

    pub(crate) fn polls(self) -> Vec<u64> {
        self.stop.into_iter().chain(self.second).collect()
    }
}

impl From<u64> for Point {
    fn from(stop: u64) -> Point {
        Point { stop: Some(stop), second: None }
    }
}

impl From<(u64, u64)> for Point {
    fn from((stop, second): (u64, u64)) -> Point {
        Point { stop: Some(stop), second: Some(second) }
    }
}

/// As Rust source that makes the point.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.stop, self.second) {
            (Some(stop), Some(second)) => write!(f, "({stop}, {second})"),
            (Some(stop), None) => write!(f, "{stop}"),
            (None, _) => f.write_str("Point::NONE"),
        }
    }
}
