//! How tasks ended that are over.

use crate::contract::report::{Outcome, Totals};

/// What is counted of tasks once they are over, and of spawns that were refused. How many are alive
/// is seen from the slots, and how many there were follows.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    finished: u64,
    failed: u64,
    panicked: u64,
    cancelled: u64,
    abandoned: u64,
    refused: u64,
}

impl Tally {
    #[inline]
    pub(crate) fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Finished => self.finished += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Panicked => self.panicked += 1,
            Outcome::Cancelled => self.cancelled += 1,
            Outcome::Abandoned => self.abandoned += 1,
        }
    }

    pub(crate) fn refuse(&mut self) {
        self.refused += 1;
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        self.finished += other.finished;
        self.failed += other.failed;
        self.panicked += other.panicked;
        self.cancelled += other.cancelled;
        self.abandoned += other.abandoned;
        self.refused += other.refused;
    }

    /// The same with so many that are alive.
    pub(crate) fn totals(&self, live: u64) -> Totals {
        let Tally { finished, failed, panicked, cancelled, abandoned, refused } = *self;
        let spawned = live + finished + failed + panicked + cancelled + abandoned;
        Totals { spawned, live, finished, failed, panicked, cancelled, abandoned, refused }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_counted_by_itself() {
        let outcomes = [
            Outcome::Finished,
            Outcome::Failed,
            Outcome::Panicked,
            Outcome::Cancelled,
            Outcome::Abandoned,
        ];
        let mut tally = Tally::default();
        for (outcome, times) in outcomes.iter().zip(1..) {
            (0..times).for_each(|_| tally.count(outcome));
        }
        (0..6).for_each(|_| tally.refuse());
        let mut twice = tally;
        twice.add(&tally);
        let expected = Totals {
            spawned: 30 + 7,
            live: 7,
            finished: 2,
            failed: 4,
            panicked: 6,
            cancelled: 8,
            abandoned: 10,
            refused: 12,
        };
        assert_eq!(twice.totals(7), expected);
    }
}
