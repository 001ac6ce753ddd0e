//! When what happens in a stop: random programs that take their time, against sums and maxima.
//!
//! On the virtual clock the reference is exact: not one nanosecond is lost between two phases.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adjourn::{Exit, FailureKind, FutureExt, Outcome, Phase, Scope, StopToken, shield};
use adjourn_core::rt::Timer;
use adjourn_sim::{Runner, Sim, violations};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::ends::cases;

/// When the stop is requested, long after all have come to their place.
const T0: u64 = 1_000_000;

/// A task that stays until the stop, and how long it then takes, in milliseconds.
#[derive(Clone, Copy, Debug)]
enum Task {
    /// Plain, with a cleanup.
    Cleanup(u64),
    /// Graceful: so long after it is told.
    Lingers(u64),
    /// Shielded: so long after it is told.
    Shielded(u64),
    /// Plain, in a shield that ends so long after it is told.
    InShield(u64),
}

#[derive(Clone, Debug)]
struct ScopePlan {
    parent: usize,
    depends_on: Vec<usize>,
    tasks: Vec<Task>,
    hooks: Vec<u64>,
}

/// When a task ended or a hook began: scope, task (or 1,000 + hook), milliseconds since T0.
type Log = Arc<Mutex<Vec<(usize, usize, u64)>>>;

struct Ends(Log, usize, usize);

fn since_stop() -> u64 {
    let sim = Scope::current();
    let start = START.with(|start| start.get()).expect("main has set it");
    let now = sim.backend().now().duration_since(start);
    now.as_millis() as u64 - T0
}

thread_local! {
    static START: std::cell::Cell<Option<std::time::Instant>> = const { std::cell::Cell::new(None) };
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.lock().unwrap().push((self.1, self.2, since_stop()));
    }
}

fn sleep(millis: u64) -> impl Future<Output = ()> + Send {
    Scope::current().sleep(Duration::from_millis(millis))
}

fn spawn(scope: &Scope, task: Task, ends: Ends) {
    let name = ends.2.to_string();
    match task {
        Task::Cleanup(millis) => drop(scope.spawn(async move {
            let _ends = ends;
            // Not on_cancel(sleep(..)): the sleep would be made, and begin, with the work.
            pending::<()>().on_cancel(async move { sleep(millis).await }).await;
        })),
        Task::Lingers(millis) => drop(scope.task(name).spawn_graceful(|stop| async move {
            let _ends = ends;
            stop.requested().await;
            sleep(millis).await;
        })),
        Task::Shielded(millis) => drop(scope.spawn_shielded(async move {
            let _ends = ends;
            StopToken::current().requested().await;
            sleep(millis).await;
        })),
        Task::InShield(millis) => drop(scope.spawn(async move {
            let _ends = ends;
            shield(async {
                StopToken::current().requested().await;
                sleep(millis).await;
            })
            .await;
            pending::<()>().await;
        })),
    }
}

/// What is asked to stop at T0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stops {
    Program,
    /// The scope with the number 1 alone; when it has ended main returns.
    FirstScope,
}

fn run(
    plans: &[ScopePlan],
    runner: Runner,
    seed: u64,
    stops: Stops,
) -> (Exit, Vec<(usize, usize, u64)>) {
    let log = Log::default();
    let inner = log.clone();
    let exit = Sim::new().seed(seed).run(runner, async move {
        let root = Scope::current();
        START.with(|start| start.set(Some(root.backend().now())));
        let mut scopes = vec![root.clone()];
        for (index, plan) in plans.iter().enumerate() {
            if index > 0 {
                let mut scope = scopes[plan.parent].scope(format!("s{index}"));
                for &need in &plan.depends_on {
                    scope = scope.depends_on(&scopes[need]);
                }
                scopes.push(scope);
            }
            for (which, &millis) in plan.hooks.iter().enumerate() {
                let log = inner.clone();
                scopes[index].on_stopped(async move || {
                    log.lock().unwrap().push((index, 1_000 + which, since_stop()));
                    sleep(millis).await;
                });
            }
            for (number, &task) in plan.tasks.iter().enumerate() {
                spawn(&scopes[index], task, Ends(inner.clone(), index, number));
            }
        }
        // A plain task keeps the handle of each scope, so that none ends by itself before the stop, and
        // none has a handle without a task in it: such a scope has no times of its own.
        let first = scopes.get(1).cloned();
        for scope in scopes.drain(1..) {
            let keeps = scope.clone();
            scope.spawn(async move {
                let _keeps = keeps;
                pending::<()>().await;
            });
        }
        sleep(T0).await;
        match stops {
            Stops::Program => drop(root.stop()),
            Stops::FirstScope => {
                let scope = first.expect("there is a scope");
                _ = scope.stop().await;
                return;
            }
        }
        pending::<()>().await;
    });
    let mut log = log.lock().unwrap().clone();
    log.sort_unstable();
    (exit, log)
}

/// Milliseconds since T0 at which each phase began.
fn phases(exit: &Exit) -> Vec<(Phase, u64)> {
    let spans = exit.report().phases.iter().skip(1);
    spans.map(|span| (span.phase, span.entered.as_millis() as u64 - T0)).collect()
}

/// What one scope's stop comes to, all in milliseconds since T0.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    fire: u64,
    cancel: u64,
    close: u64,
    end: u64,
}

/// The reference for a tree, where nothing comes to a limit.
struct Tree<'a> {
    plans: &'a [ScopePlan],
    lame_duck: u64,
    times: Vec<Option<Times>>,
    fires: Vec<Option<u64>>,
}

impl Tree<'_> {
    /// Once its parent has fired and those that depend on it are over.
    fn fire(&mut self, index: usize) -> u64 {
        if let Some(fire) = self.fires[index] {
            return fire;
        }
        let mut fire = self.lame_duck;
        if index > 0 {
            fire = self.fire(self.plans[index].parent);
            for other in 1..self.plans.len() {
                if self.plans[other].depends_on.contains(&index) {
                    fire = fire.max(self.times(other).end);
                }
            }
        }
        self.fires[index] = Some(fire);
        fire
    }

    fn times(&mut self, index: usize) -> Times {
        if let Some(times) = self.times[index] {
            return times;
        }
        let fire = self.fire(index);
        let plan = &self.plans[index];
        let mut cancel = fire;
        for task in &plan.tasks {
            if let Task::Lingers(millis) = task {
                cancel = cancel.max(fire + millis);
            }
        }
        for child in 1..self.plans.len() {
            if self.plans[child].parent == index {
                cancel = cancel.max(self.times(child).end);
            }
        }
        let ends = plan.tasks.iter().map(|task| end_of(*task, fire, cancel));
        let close = ends.max().unwrap_or(cancel).max(cancel);
        let end = close + plan.hooks.iter().sum::<u64>();
        let times = Times { fire, cancel, close, end };
        self.times[index] = Some(times);
        times
    }
}

fn end_of(task: Task, fire: u64, cancel: u64) -> u64 {
    match task {
        Task::Cleanup(millis) => cancel + millis,
        Task::Lingers(millis) | Task::Shielded(millis) => fire + millis,
        Task::InShield(millis) => cancel.max(fire + millis),
    }
}

fn task() -> impl Strategy<Value = Task> {
    prop_oneof![
        (0..5_000_u64).prop_map(Task::Cleanup),
        (0..5_000_u64).prop_map(Task::Lingers),
        (0..5_000_u64).prop_map(Task::Shielded),
        (0..5_000_u64).prop_map(Task::InShield),
    ]
}

fn plans() -> impl Strategy<Value = Vec<ScopePlan>> {
    let scope = (
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        prop::collection::vec(task(), 0..4),
        prop::collection::vec(0..500_u64, 0..3),
    );
    prop::collection::vec(scope, 1..8).prop_map(|drawn| {
        let mut plans: Vec<ScopePlan> = Vec::new();
        for (index, (parent, needs, tasks, hooks)) in drawn.into_iter().enumerate() {
            let parent = if index == 0 { 0 } else { parent.index(index) };
            let siblings: Vec<usize> =
                (1..index).filter(|at| plans[*at].parent == parent).collect();
            let mut depends_on = Vec::new();
            if index > 0 && !siblings.is_empty() {
                depends_on.extend(needs.iter().map(|need| siblings[need.index(siblings.len())]));
            }
            plans.push(ScopePlan { parent, depends_on, tasks, hooks });
        }
        plans
    })
}

#[test]
fn a_tree_takes_the_maximum_of_siblings_and_the_sum_of_levels() {
    let mut runner = TestRunner::new(cases("ADJOURN_CASES", 300));
    let property = |(plans, lame_duck, seed): (Vec<ScopePlan>, u64, u64)| {
        let hours = Duration::from_secs(100 * 3600);
        let options = Runner::new().timeout(hours).lame_duck(Duration::from_millis(lame_duck));
        let (exit, log) = run(&plans, options, seed, Stops::Program);
        prop_assert!(violations(exit.report()).is_empty(), "{}", exit.report());
        prop_assert_eq!(exit.exit_code(), 0, "{}", exit.report());
        let count = plans.len();
        let (times, fires) = (vec![None; count], vec![None; count]);
        let mut tree = Tree { plans: &plans, lame_duck, times, fires };
        let root = tree.times(0);
        let mut expected = vec![
            (Phase::Draining, root.fire),
            (Phase::Cancelling, root.cancel),
            (Phase::Closing, root.close),
            (Phase::Stopped, root.end),
        ];
        if lame_duck > 0 {
            expected.insert(0, (Phase::LameDuck, 0));
        }
        prop_assert_eq!(phases(&exit), expected, "{}", exit.report());
        let mut ends = Vec::new();
        for (index, plan) in plans.iter().enumerate() {
            let times = tree.times(index);
            for (number, &task) in plan.tasks.iter().enumerate() {
                ends.push((index, number, end_of(task, times.fire, times.cancel)));
            }
            let mut at = times.close;
            for (which, millis) in plan.hooks.iter().enumerate().rev() {
                ends.push((index, 1_000 + which, at));
                at += millis;
            }
        }
        ends.sort_unstable();
        prop_assert_eq!(log, ends);
        Ok(())
    };
    let input = (plans(), prop_oneof![Just(0), 1..3_000_u64], any::<u64>());
    runner.run(&input, property).unwrap_or_else(|error| panic!("{error}"));
}

/// Tasks, hooks, drain limit, closing reserve, seed; and whether a scope is stopped alone.
type Limited = (Vec<Task>, Vec<u64>, u64, u64, u64, bool);

#[test]
fn limits_cut_short_what_takes_too_long_and_nothing_else() {
    const TIMEOUT: u64 = 10_000;
    // Never in the instant of a limit: limits are even, tasks take odd times.
    let odd = |millis: u64| millis * 2 + 1;
    let mut runner = TestRunner::new(cases("ADJOURN_CASES", 300));
    let property = |(tasks, hooks, drain, reserve, seed, alone): Limited| {
        let tasks: Vec<Task> = tasks
            .into_iter()
            .map(|task| match task {
                Task::Cleanup(millis) => Task::Cleanup(odd(millis) + 1), // after an odd cancel or 0
                Task::Lingers(millis) => Task::Lingers(odd(millis)),
                Task::Shielded(millis) => Task::Shielded(odd(millis)),
                Task::InShield(millis) => Task::InShield(odd(millis)),
            })
            .collect();
        let (drain, reserve) = (drain * 2, reserve * 2);
        let cut_off = TIMEOUT - reserve;
        let plan = ScopePlan {
            parent: 0,
            depends_on: Vec::new(),
            tasks: tasks.clone(),
            hooks: hooks.clone(),
        };
        let nothing = ScopePlan { tasks: Vec::new(), hooks: Vec::new(), ..plan.clone() };
        let (plans, stops, index) = match alone {
            false => (vec![plan], Stops::Program, 0),
            true => (vec![nothing, plan], Stops::FirstScope, 1),
        };
        let millis = Duration::from_millis;
        let options = Runner::new()
            .timeout(millis(TIMEOUT))
            .drain_limit(millis(drain))
            .closing_reserve(millis(reserve));
        let (exit, log) = run(&plans, options, seed, stops);
        let report = exit.report();
        prop_assert!(violations(report).is_empty(), "{report}");

        let lingers = tasks.iter().filter_map(|task| match task {
            Task::Lingers(millis) => Some(*millis),
            _ => None,
        });
        let cancel = lingers.max().unwrap_or(0).min(drain);
        let (mut ends, mut stragglers, mut cancelled, mut close) = (Vec::new(), 0, 1, cancel);
        let mut late = Vec::new();
        for (number, &task) in tasks.iter().enumerate() {
            let end = end_of(task, 0, cancel);
            let end = if matches!(task, Task::Lingers(_)) { end.min(drain) } else { end };
            prop_assume!(end != cut_off); // either may be first: a cleanup that begins at the drain limit
            let straggles = end > cut_off;
            stragglers += usize::from(straggles);
            let dropped = match task {
                Task::Lingers(millis) => millis > drain,
                Task::Shielded(_) => straggles,
                _ => true,
            };
            cancelled += u64::from(dropped);
            if dropped && matches!(task, Task::Lingers(_)) && drain < cut_off {
                late.push(number.to_string());
            }
            let end = end.min(cut_off);
            close = close.max(end);
            ends.push((index, number, end));
        }
        let mut at = close;
        let mut overdue = 0;
        for (which, millis) in hooks.iter().enumerate().rev() {
            // In the instant of the limit either may be first.
            prop_assume!(at + millis != TIMEOUT);
            if at < TIMEOUT {
                ends.push((index, 1_000 + which, at));
                overdue += usize::from(at + millis > TIMEOUT);
            }
            at += millis;
        }
        ends.sort_unstable();
        prop_assert_eq!(log, ends, "{}", report);
        prop_assert_eq!(report.total().cancelled, cancelled, "{}", report);
        let of_kind = |kind| report.failures.iter().filter(move |failure| failure.kind == kind);
        prop_assert_eq!(of_kind(FailureKind::HookOverdue).count(), overdue, "{}", report);
        if alone {
            // Whatever a scope cuts off that is stopped alone is an isolated failure.
            let cut = of_kind(FailureKind::CutOff).count();
            prop_assert_eq!(cut, stragglers + late.len(), "{}", report);
            prop_assert!(report.failures.iter().all(|failure| !failure.fatal), "{report}");
            prop_assert!(report.stragglers.is_empty() && report.overdue.is_empty(), "{report}");
            prop_assert_eq!(&report.main, &Some(Outcome::Finished));
            prop_assert_eq!(exit.exit_code(), 0, "{}", report);
            return Ok(());
        }
        let expected = [
            (Phase::Draining, 0),
            (Phase::Cancelling, cancel),
            (Phase::Closing, close),
            (Phase::Stopped, at.min(TIMEOUT)),
        ];
        prop_assert_eq!(phases(&exit), expected, "{}", report);
        prop_assert_eq!(report.stragglers.len(), stragglers, "{}", report);
        prop_assert_eq!(&report.main, &Some(Outcome::Cancelled));
        let at_limit = |work: &adjourn::OverdueTask| work.limit.as_millis() as u64 - T0 == drain;
        prop_assert!(report.overdue.iter().all(at_limit), "{report}");
        let mut named: Vec<_> =
            report.overdue.iter().filter_map(|work| work.task.task.name.clone()).collect();
        named.sort();
        prop_assert_eq!(&named, &late, "{}", report);
        let code = if stragglers + overdue + late.len() > 0 { 124 } else { 0 };
        prop_assert_eq!(exit.exit_code(), code, "{}", report);
        Ok(())
    };
    let input = (
        prop::collection::vec(task(), 0..6),
        prop::collection::vec(0..2_500_u64, 0..3),
        0..3_500_u64,
        1..1_500_u64, // without a reserve nothing closes what is stuck
        any::<u64>(),
        any::<bool>(),
    );
    runner.run(&input, property).unwrap_or_else(|error| panic!("{error}"));
}
