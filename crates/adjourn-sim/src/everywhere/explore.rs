//! Which points are run, in which order, and until when.

use std::time::{Duration, Instant};

use super::attempt::{Attempt, Rules, run};
use super::coverage::Coverage;
use super::failures::{Failed, Failures};
use super::{Everywhere, Lab};
use crate::observe::Plan;
use crate::point::Point;

/// A program that has not ended by itself after so many times the polls that are stopped at counts
/// as one that never does.
const COUNTED: u64 = 50;

/// One check on its way.
pub(super) struct Exploration<'a, L, T> {
    check: &'a Everywhere<L>,
    pub(super) rules: Rules,
    test: &'a T,
    began: Instant,
    pub(super) coverage: Coverage,
    pub(super) failures: Failures,
}

/// What the next points follow from.
struct Shape {
    polls: u64,
    fingerprint: u64,
    cut: bool,
    last: u64,
    /// Nothing was injected, not even where it could not go on.
    free: bool,
    failed: bool,
}

impl<'a, L: Lab, T: Fn(L)> Exploration<'a, L, T> {
    pub(super) fn new(check: &'a Everywhere<L>, rules: Rules, test: &'a T) -> Self {
        let (coverage, failures) = (Coverage::default(), Failures::default());
        Exploration { check, rules, test, began: Instant::now(), coverage, failures }
    }

    /// Runs one point. `most`: after so many polls it is asked to stop.
    pub(super) fn attempt(&self, seed: u64, point: Point, most: u64, trace: bool) -> Attempt {
        let plan =
            Plan { inject: point.polls(), ends: self.check.ends, explore: Some(most), trace };
        let lab = self.check.lab.exploring(seed, plan.clone());
        run(lab, self.test, &plan, &self.rules)
    }

    /// Runs one point and keeps what came of it.
    fn one(&mut self, seed: u64, point: Point, most: u64) -> Shape {
        let attempt = self.attempt(seed, point, most, false);
        self.coverage.runs += 1;
        self.coverage.forced += u64::from(attempt.forced);
        let shape = Shape {
            polls: attempt.polls,
            fingerprint: attempt.fingerprint,
            cut: attempt.cut,
            last: attempt.last_point(),
            free: attempt.injected.is_empty(),
            failed: attempt.is_failure(),
        };
        if shape.failed {
            self.failures.add(Failed { seed, point }, attempt);
        }
        shape
    }

    /// Runs the points of all seeds, until the time is over.
    pub(super) fn everywhere(&mut self, seeds: &[u64], time: Duration) {
        for (index, &seed) in seeds.iter().enumerate() {
            let left = time.saturating_sub(self.began.elapsed());
            let share = left / u32::try_from(seeds.len() - index).unwrap_or(u32::MAX);
            self.coverage.seeds += 1;
            // Whatever fails with nothing injected would fail everywhere.
            if !self.seed(seed, share) {
                return;
            }
        }
    }

    /// Returns false where it fails with nothing injected.
    fn seed(&mut self, seed: u64, share: Duration) -> bool {
        let most = self.check.most_polls;
        let began = Instant::now();
        let free = self.one(seed, Point::NONE, most);
        if free.failed && free.free {
            return false;
        }
        // Whether it goes the same way again. What fails is not looked at twice.
        if !free.failed {
            let again = self.one(seed, Point::NONE, most);
            self.coverage.unsteady += u64::from(free.fingerprint != again.fingerprint);
        }
        // Where nothing could go on, a stop was injected already: there is no point after it.
        let mut last = free.last;
        if free.cut {
            let whole = self.one(seed, Point::NONE, most.saturating_mul(COUNTED));
            if whole.cut {
                self.coverage.cut += 1;
            } else {
                last = whole.last;
            }
        }
        let count = last.min(most);
        self.coverage.stops_of += last;
        // For each point that was run, the polls that come after it.
        let mut after = Vec::new();
        for sample in spread(count) {
            // Two thirds of the time for the stops: some is left for the pairs.
            if began.elapsed() >= share / 3 * 2 {
                self.coverage.out_of_time = true;
                break;
            }
            let stop = 1 + part(sample, last, count);
            let stopped = self.one(seed, Point::from(stop), most.max(last));
            after.push((stop, stopped.polls.saturating_sub(stop)));
            self.coverage.stops += 1;
        }
        after.sort_unstable();
        self.pairs(seed, &after, most.max(last), || began.elapsed() >= share);
        true
    }

    fn pairs(&mut self, seed: u64, after: &[(u64, u64)], most: u64, is_over: impl Fn() -> bool) {
        if self.check.most_pairs == 0 {
            return;
        }
        let all: u64 = after.iter().map(|(_, polls)| polls).sum();
        self.coverage.pairs_of += all;
        let count = all.min(self.check.most_pairs);
        // Which pair is the first of each stop's.
        let mut firsts = Vec::with_capacity(after.len());
        let mut before = 0;
        for (_, polls) in after {
            firsts.push(before);
            before += polls;
        }
        for sample in spread(count) {
            if is_over() {
                self.coverage.out_of_time = true;
                return;
            }
            let index = part(sample, all, count);
            let of = firsts.partition_point(|first| *first <= index) - 1;
            let stop = after[of].0;
            let second = stop + 1 + (index - firsts[of]);
            _ = self.one(seed, Point::from((stop, second)), most);
            self.coverage.pairs += 1;
        }
    }

    /// Runs one point alone.
    ///
    /// # Errors
    ///
    /// Where the program has no such point.
    pub(super) fn replay(&mut self, seed: u64, point: Point) -> Result<(), String> {
        let polls = point.polls();
        let most = self.check.most_polls.saturating_mul(COUNTED);
        if let Some(&stop) = polls.first() {
            let free = self.attempt(seed, Point::NONE, most, false);
            within(point, stop, 1, free.last_point(), "it has polls")?;
        }
        if let [stop, second] = polls[..] {
            let stopped = self.attempt(seed, Point::from(stop), most, false);
            within(point, second, stop + 1, stopped.polls, "after that stop it has polls")?;
        }
        self.coverage.seeds = 1;
        self.coverage.stops = u64::from(polls.len() == 1);
        self.coverage.pairs = u64::from(polls.len() == 2);
        (self.coverage.stops_of, self.coverage.pairs_of) =
            (self.coverage.stops, self.coverage.pairs);
        _ = self.one(seed, point, most);
        Ok(())
    }
}

fn within(point: Point, poll: u64, first: u64, last: u64, has: &str) -> Result<(), String> {
    if (first..=last).contains(&poll) {
        return Ok(());
    }
    Err(format!(
        "there is no point {point} to replay: {has} {first} to {last}. The program may have changed \
         since: run the whole check again"
    ))
}

/// Where sample number `sample` of `count` is, of `all`: evenly spread.
fn part(sample: u64, all: u64, count: u64) -> u64 {
    (u128::from(sample) * u128::from(all) / u128::from(count)) as u64
}

/// The numbers below `count` in an order of which any beginning is spread evenly: whenever the time
/// is over, no part of the program was left out.
fn spread(count: u64) -> impl Iterator<Item = u64> {
    let bits = 64 - count.saturating_sub(1).leading_zeros();
    let reversed =
        move |index: u64| if bits == 0 { 0 } else { index.reverse_bits() >> (64 - bits) };
    (0..1_u64 << bits.min(63)).map(reversed).filter(move |number| *number < count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_all_there_and_spread_from_the_beginning() {
        for count in [0, 1, 2, 3, 7, 8, 100] {
            let mut all: Vec<_> = spread(count).collect();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
        let begun: Vec<_> = spread(1000).take(8).collect();
        for eighth in 0..8 {
            let is_there = begun.iter().any(|number| number * 8 / 1024 == eighth);
            assert!(is_there, "{begun:?} has none in part {eighth}");
        }
    }
}
