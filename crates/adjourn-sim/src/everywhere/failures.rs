//! The failures of a check: all their points, and of each kind the smallest.

use super::attempt::Attempt;
use crate::point::Point;

/// How many kinds of failure are kept apart; what is left out is counted.
const MOST_KINDS: usize = 10;

#[derive(Default)]
pub(crate) struct Failures {
    pub(crate) count: u64,
    kinds: Vec<Kind>,
    /// Failures of kinds that are left out.
    pub(crate) omitted: u64,
}

/// Failures of one kind: the same assertion, or the same promise that is broken.
pub(crate) struct Kind {
    pub(crate) said: String,
    pub(crate) points: Vec<Failed>,
    /// What came of the smallest.
    pub(crate) attempt: Attempt,
}

/// Which run failed. The smaller one has fewer signals, then earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) seed: u64,
    pub(crate) point: Point,
}

impl Failed {
    fn size(&self) -> (usize, Vec<u64>, u64) {
        let polls = self.point.polls();
        (polls.len(), polls, self.seed)
    }
}

impl Failures {
    pub(crate) fn add(&mut self, failed: Failed, attempt: Attempt) {
        self.count += 1;
        let said = attempt.kind();
        if let Some(kind) = self.kinds.iter_mut().find(|kind| kind.said == said) {
            if kind.points.iter().all(|known| failed.size() < known.size()) {
                kind.attempt = attempt;
            }
            kind.points.push(failed);
        } else if self.kinds.len() < MOST_KINDS {
            self.kinds.push(Kind { said, points: vec![failed], attempt });
        } else {
            self.omitted += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the kinds, the smallest failure first, and each one's points in that order.
    pub(crate) fn sorted(mut self) -> Vec<Kind> {
        for kind in &mut self.kinds {
            kind.points.sort_by_key(Failed::size);
        }
        self.kinds.sort_by_key(|kind| kind.points[0].size());
        self.kinds
    }
}
