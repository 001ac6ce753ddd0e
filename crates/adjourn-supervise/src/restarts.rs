//! How long to wait before a restart, and whether there is one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::Supervisor;

/// The restarts of one task so far, as far as they matter.
pub(crate) struct Restarts {
    first: Duration,
    longest: Duration,
    good: Duration,
    limit: Option<(usize, Duration)>,
    /// The delay of the next one.
    next: Duration,
    /// When there was one, in the window of the limit; empty where there is no limit.
    times: VecDeque<Instant>,
}

impl Restarts {
    pub(crate) fn new(options: &Supervisor) -> Restarts {
        let &Supervisor { first, longest, good, limit, .. } = options;
        Restarts { first, longest, good, limit, next: first, times: VecDeque::new() }
    }

    /// Returns the delay of a restart, now, after a run that lasted so long. `None`: too many.
    pub(crate) fn next(&mut self, now: Instant, lasted: Duration) -> Option<Duration> {
        if let Some((most, window)) = self.limit {
            let is_old = |then: &Instant| now.saturating_duration_since(*then) >= window;
            while self.times.front().is_some_and(is_old) {
                self.times.pop_front();
            }
            if self.times.len() >= most {
                return None;
            }
            self.times.push_back(now);
        }
        if lasted >= self.good {
            self.next = self.first;
        }
        let delay = self.next.min(self.longest);
        self.next = delay.saturating_mul(2);
        Some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// The delays after runs that lasted so long, each failing right after the delay of the last.
    fn delays(options: Supervisor, lasted: &[Duration]) -> Vec<Option<Duration>> {
        let mut restarts = Restarts::new(&options);
        let mut now = Instant::now();
        let mut delays = Vec::new();
        for &lasted in lasted {
            now += lasted;
            let delay = restarts.next(now, lasted);
            now += delay.unwrap_or_default();
            delays.push(delay);
        }
        delays
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let default = delays(Supervisor::permanent(), &[ms(0); 11]);
        let expected = [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000];
        assert_eq!(default, expected.map(|n| Some(ms(n))));
        let sum = |n: usize| default[..n].iter().flatten().sum::<Duration>();
        assert_eq!((sum(5), sum(8)), (ms(3_100), ms(25_500)), "as the docs of `limit` say");
    }

    #[test]
    fn delays_may_be_anything() {
        let with =
            |first, longest| delays(Supervisor::permanent().backoff(first, longest), &[ms(0); 3]);
        assert_eq!(with(ms(0), secs(1)), [Some(ms(0)); 3]);
        assert_eq!(with(secs(2), secs(1)), [Some(secs(1)); 3]);
        let max = Duration::MAX;
        let mut restarts = Restarts::new(&Supervisor::permanent().backoff(max, max));
        let now = Instant::now();
        assert_eq!([(); 2].map(|()| restarts.next(now, ms(0))), [Some(max); 2]);
    }

    #[test]
    fn a_good_run_makes_the_delay_the_first_one_again() {
        let lasted = [ms(0), ms(0), secs(60) - ms(1), secs(60), ms(0)];
        let delays = delays(Supervisor::permanent(), &lasted);
        assert_eq!(delays, [100, 200, 400, 100, 200].map(|n| Some(ms(n))));
    }

    #[test]
    fn the_limit_counts_the_restarts_of_its_window() {
        let at_once = || Supervisor::permanent().backoff(ms(0), ms(0));
        let all = |n: usize| vec![Some(ms(0)); n];
        assert_eq!(delays(at_once().limit(0, secs(9)), &[ms(0)]), [None]);
        assert_eq!(delays(at_once().limit(2, secs(9)), &[ms(0); 3]), [&*all(2), &[None]].concat());
        // Two in any 9 s: the first is out of the window 9 s after it, and no sooner.
        assert_eq!(delays(at_once().limit(2, secs(9)), &[ms(4500); 5]), all(5));
        let short = secs(9) - ms(1);
        assert_eq!(delays(at_once().limit(2, secs(9)), &[ms(0), ms(0), short])[2], None);
    }
}
