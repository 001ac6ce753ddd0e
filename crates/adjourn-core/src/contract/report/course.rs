//! The course of a stop: when each scope, hook and slow task was told, cancelled and over.

use std::time::Duration;

use super::{MOST_LISTED, Outcome, Report};

/// How the stop went for one scope. All times count from the start of `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ScopeReport {
    /// The path of the scope: `root/http/connection`.
    pub scope: String,
    /// When it was told to stop; `None` if it never was, or ended by itself before.
    pub told: Option<Duration>,
    /// When its plain tasks were cancelled, and graceful ones that were still alive.
    pub cancelled: Option<Duration>,
    /// When it was over, its hooks too; `None` if it still was not at the program's end.
    pub ended: Option<Duration>,
    /// Its own drain limit: when graceful tasks are cancelled. `None` where it has none, and where its
    /// turn never came.
    pub drain_limit: Option<Duration>,
    /// Until when what comes after it waits for it. `None` as above.
    pub limit: Option<Duration>,
}

/// How one hook went. All times count from the start of `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HookReport {
    /// `on_stop` or `on_stopped`.
    pub hook: &'static str,
    /// The path of its scope.
    pub scope: String,
    /// The line that registered it: `src/main.rs:12:5`.
    pub registered_at: String,
    /// When it began.
    pub began: Duration,
    /// When it was over; `None` if it still was not at the program's end.
    pub ended: Option<Duration>,
    /// How it ended.
    pub outcome: Outcome,
}

impl HookReport {
    /// How long it took; those that are not over took longest.
    fn span(&self) -> Duration {
        self.ended.map_or(Duration::MAX, |ended| ended.saturating_sub(self.began))
    }
}

impl Report {
    /// Leaves the slowest of the hooks and scopes that are noted, in their order.
    pub(crate) fn bound_course(&mut self) {
        self.hooks_omitted += keep_greatest(&mut self.hooks, HookReport::span);
        let end = |scope: &ScopeReport| scope.ended.unwrap_or(Duration::MAX);
        self.scopes_omitted += keep_greatest(&mut self.scopes, end);
    }

    /// Adds a hook, and drops the quickest where there are too many.
    pub(crate) fn add_hook_time(&mut self, hook: HookReport) {
        self.hooks.push(hook);
        if self.hooks.len() >= 2 * MOST_LISTED {
            self.hooks_omitted += keep_greatest(&mut self.hooks, HookReport::span);
        }
    }

    /// The same of a scope.
    pub(crate) fn add_scope_times(&mut self, scope: ScopeReport) {
        self.scopes.push(scope);
        if self.scopes.len() >= 2 * MOST_LISTED {
            let end = |scope: &ScopeReport| scope.ended.unwrap_or(Duration::MAX);
            self.scopes_omitted += keep_greatest(&mut self.scopes, end);
        }
    }
}

/// Keeps the greatest hundred, in their order; of those that are equal the first. Returns how many are
/// left out.
pub(crate) fn keep_greatest<T, K: Copy + Ord>(list: &mut Vec<T>, key: impl Fn(&T) -> K) -> u64 {
    let Some(surplus) = list.len().checked_sub(MOST_LISTED).filter(|surplus| *surplus > 0) else {
        return 0;
    };
    let mut keys: Vec<_> = list.iter().map(&key).collect();
    let least = *keys.select_nth_unstable(surplus).1;
    let greater = list.iter().filter(|item| key(item) > least).count();
    let mut equal = MOST_LISTED - greater;
    list.retain(|item| {
        let kept = key(item) > least || key(item) == least && equal > 0;
        equal -= usize::from(key(item) == least && kept);
        kept
    });
    surplus as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_hundred_are_kept_in_their_order() {
        let of = |numbers: Vec<u64>| {
            let mut list = numbers;
            let omitted = keep_greatest(&mut list, |number| Duration::from_secs(*number));
            (list, omitted)
        };
        let (list, omitted) = of((0..100).collect());
        assert_eq!((list.len(), omitted), (100, 0));
        // The slow one is not among the first hundred.
        let mut numbers = vec![1; 151];
        numbers.push(3000);
        let (list, omitted) = of(numbers);
        assert_eq!((list.len(), omitted), (100, 52));
        assert_eq!((list[0], list[98], list[99]), (1, 1, 3000));
        let (list, _) = of((0..300).rev().collect());
        assert_eq!((list[0], list[99]), (299, 200));
    }
}
