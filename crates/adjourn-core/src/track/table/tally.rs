//! How tasks ended that are over.

use crate::contract::report::{Outcome, Totals};

/// How many tasks have ended in the two ways that most end in. What does not fit, and what is rarer, is in a
/// [`Tally`] beside it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ended {
    finished: u8,
    cancelled: u8,
}

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

impl Ended {
    /// Counts the end of a task, here or in the tally that `rest` gives.
    #[inline]
    pub(crate) fn count<'a>(&mut self, outcome: &Outcome, rest: impl FnOnce() -> &'a mut Tally) {
        let count = match outcome {
            Outcome::Finished => &mut self.finished,
            Outcome::Cancelled => &mut self.cancelled,
            Outcome::Failed | Outcome::Panicked | Outcome::Abandoned => {
                *rest().of(outcome) += 1;
                return;
            }
        };
        match count.checked_add(1) {
            Some(more) => *count = more,
            None => *rest().of(outcome) += 1 + u64::from(std::mem::take(count)),
        }
    }

    /// Adds what another has counted.
    pub(crate) fn add<'a>(&mut self, other: Ended, rest: impl FnOnce() -> &'a mut Tally) {
        let finished = self.finished.checked_add(other.finished);
        let cancelled = self.cancelled.checked_add(other.cancelled);
        match (finished, cancelled) {
            (Some(finished), Some(cancelled)) => *self = Ended { finished, cancelled },
            _ => rest().add_ended(other),
        }
    }
}

impl Tally {
    fn of(&mut self, outcome: &Outcome) -> &mut u64 {
        match outcome {
            Outcome::Finished => &mut self.finished,
            Outcome::Failed => &mut self.failed,
            Outcome::Panicked => &mut self.panicked,
            Outcome::Cancelled => &mut self.cancelled,
            Outcome::Abandoned => &mut self.abandoned,
        }
    }

    pub(crate) fn add_ended(&mut self, ended: Ended) {
        self.finished += u64::from(ended.finished);
        self.cancelled += u64::from(ended.cancelled);
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
        let (mut ended, mut tally) = (Ended::default(), Tally::default());
        for (outcome, times) in outcomes.iter().zip(1..) {
            (0..times).for_each(|_| ended.count(outcome, || &mut tally));
        }
        tally.add_ended(ended);
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

    #[test]
    fn no_end_is_lost_however_many_there_are() {
        // A chunk's counts, which go to its scope's now and then, as chunks do.
        let (mut ended, mut tally) = (Ended::default(), Tally::default());
        let (mut scope, mut rest) = (Ended::default(), Tally::default());
        for number in 1..=20_000_u64 {
            let outcome = if number % 4 == 0 { Outcome::Cancelled } else { Outcome::Finished };
            ended.count(&outcome, || &mut tally);
            if number % 777 == 0 {
                scope.add(std::mem::take(&mut ended), || &mut rest);
                rest.add(&std::mem::take(&mut tally));
            }
            let mut all = rest;
            all.add(&tally);
            all.add_ended(ended);
            all.add_ended(scope);
            let totals = all.totals(0);
            assert_eq!((totals.finished, totals.cancelled), (number - number / 4, number / 4));
        }
    }
}
