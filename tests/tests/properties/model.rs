//! How a program ends: the reference, by a table rather than by a machine; and reports without
//! what differs from run to run.

use std::collections::BTreeMap;

use adjourn::{FailureKind, Outcome, Phase, Reason, Report, Straggler, TaskKind};

use crate::program::Joined;
use crate::spec::{End, Hook, Kind, Spec, Task};

/// A report without times and lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normal {
    pub exit_code: u8,
    pub phases: Vec<Phase>,
    pub reasons: Vec<Reason>,
    pub main: Option<Outcome>,
    pub alive_at_stop: u64,
    /// Of those that were alive at the stop: name, scope, kind, outcome.
    pub tasks: Vec<(String, String, TaskKind, String)>,
    /// Kind, what it said, whether it counts.
    pub failures: Vec<(String, String, bool)>,
    /// Spawned, finished, failed, panicked, cancelled, abandoned, refused.
    pub totals: BTreeMap<String, [u64; 7]>,
    pub stragglers: Vec<(String, String)>,
    /// Graceful work that was cut off at its drain limit.
    pub overdue: Vec<(String, String)>,
}

impl Normal {
    pub fn of(report: &Report) -> Normal {
        let label = |task: &adjourn::TaskLabel| {
            (task.name.clone().unwrap_or_default(), task.scope.clone(), task.kind)
        };
        let mut tasks: Vec<_> = report
            .tasks
            .iter()
            .map(|task| {
                let (name, scope, kind) = label(&task.task);
                (name, scope, kind, task.outcome.to_string())
            })
            .collect();
        tasks.sort_by_key(|(name, scope, ..)| (scope.clone(), name.clone()));
        let mut failures: Vec<_> = report
            .failures
            .iter()
            .map(|failure| {
                (format!("{:?}", failure.kind), failure.messages.join(": "), failure.fatal)
            })
            .collect();
        failures.sort();
        let totals = report.totals.iter().map(|(name, totals)| {
            let sums = [
                totals.spawned,
                totals.finished,
                totals.failed,
                totals.panicked,
                totals.cancelled,
                totals.abandoned,
                totals.refused,
            ];
            (name.clone(), sums)
        });
        let place = |straggler: &Straggler| {
            let (name, scope, _) = label(&straggler.task);
            (scope, name)
        };
        let mut stragglers: Vec<_> = report.stragglers.iter().map(place).collect();
        stragglers.sort();
        let mut overdue: Vec<_> = report.overdue.iter().map(|work| place(&work.task)).collect();
        overdue.sort();
        Normal {
            exit_code: report.exit_code(),
            phases: report.phases.iter().map(|span| span.phase).collect(),
            reasons: report.reasons.iter().map(|at| at.what.clone()).collect(),
            main: report.main.clone(),
            alive_at_stop: report.alive_at_stop,
            tasks,
            failures,
            totals: totals.filter(|(_, sums)| *sums != [0; 7]).collect(),
            stragglers,
            overdue,
        }
    }
}

/// What a task comes to: its outcome, its handle, its failure with whether it counts.
fn fate(task: Task) -> (Outcome, Joined, Option<(FailureKind, &'static str, bool)>) {
    use FailureKind::{DestructorPanic, TaskError, TaskPanic};
    use Outcome::{Cancelled, Failed, Finished, Panicked};
    match task {
        Task::Fails(Kind::Blocking) => (Finished, Joined::Value, None), // a job reports nothing
        Task::Panics(Kind::Blocking) => {
            (Panicked, Joined::Panicked, Some((TaskPanic, "job", false)))
        }
        Task::Returns(_) => (Finished, Joined::Value, None),
        Task::Fails(_) => (Failed, Joined::Value, Some((TaskError, "task", false))),
        Task::Panics(_) => (Panicked, Joined::Panicked, Some((TaskPanic, "task", false))),
        Task::Stays
        | Task::StaysCleanup(_)
        | Task::StaysCleanupSpawns
        | Task::StaysShielded(_)
        | Task::StaysNested(_)
        | Task::StaysQuiet(_)
        | Task::StaysJoining
        | Task::Ignores
        | Task::AsksAndStays(_)
        | Task::AsksAndJoins
        | Task::Hangs => (Cancelled, Joined::Cancelled, None),
        Task::StaysBomb => (Panicked, Joined::Panicked, Some((DestructorPanic, "bomb", true))),
        Task::StaysCleanupPanics => {
            (Panicked, Joined::Panicked, Some((TaskPanic, "cleanup", true)))
        }
        Task::Leaves(_)
        | Task::LeavesSpawning
        | Task::LeavesJoining
        | Task::LeavesOpening
        | Task::AsksAndLeaves(_)
        | Task::Lingers
        | Task::LingersOpening => (Finished, Joined::Value, None),
        Task::LeavesFailing => (Failed, Joined::Value, Some((TaskError, "task", true))),
        Task::LeavesByUntilStop => (Cancelled, Joined::Value, None),
        Task::LeavesPanicking => (Panicked, Joined::Panicked, Some((TaskPanic, "task", true))),
    }
}

/// Says how `spec` ends when it is stopped by itself, on every backend and in every order.
pub fn predict(spec: &Spec) -> (Normal, Vec<Vec<Option<Joined>>>) {
    let mut totals: BTreeMap<String, [u64; 7]> = BTreeMap::new();
    let (mut tasks, mut failures) = (Vec::new(), Vec::new());
    let (mut stragglers, mut overdue) = (Vec::new(), Vec::new());
    let mut joined = Vec::new();
    let path = |mut index: usize| {
        let mut names = Vec::new();
        while index > 0 {
            names.push(format!("s{index}"));
            index = spec.scopes[index].parent;
        }
        names.push("root".to_owned());
        names.reverse();
        names.join("/")
    };
    for (index, scope) in spec.scopes.iter().enumerate() {
        let name = if index == 0 { "root".to_owned() } else { format!("s{index}") };
        let sums = totals.entry(name).or_default();
        let (mut below, mut late) = ([0; 7], [0; 7]);
        let count = |sums: &mut [u64; 7], outcome: &Outcome| {
            sums[0] += 1;
            sums[match outcome {
                Outcome::Finished => 1,
                Outcome::Failed => 2,
                Outcome::Panicked => 3,
                Outcome::Cancelled => 4,
                _ => 5,
            }] += 1;
        };
        let mut handles = Vec::new();
        for (number, &task) in scope.tasks.iter().enumerate() {
            let (outcome, handle, failure) = fate(task);
            count(sums, &outcome);
            if let Some((kind, said, fatal)) = failure {
                failures.push((format!("{kind:?}"), said.to_owned(), fatal));
            }
            if !task.is_early() {
                let kind = match task.kind() {
                    _ if task.asks() => TaskKind::Graceful,
                    Kind::Plain => TaskKind::Plain,
                    Kind::Graceful => TaskKind::Graceful,
                    Kind::Shielded => TaskKind::Shielded,
                    Kind::Blocking => TaskKind::Blocking,
                };
                tasks.push((format!("t{number}"), path(index), kind, outcome.to_string()));
            }
            let place = || (path(index), format!("t{number}"));
            if task == Task::Hangs {
                stragglers.push(place());
            }
            if task.is_overdue() {
                overdue.push(place());
            }
            handles.push((!task.is_early()).then_some(handle));
            match task {
                Task::StaysCleanupSpawns => count(sums, &Outcome::Finished),
                Task::LeavesSpawning => {
                    count(sums, &Outcome::Finished);
                    count(sums, &Outcome::Finished);
                }
                Task::LeavesJoining => count(sums, &Outcome::Finished),
                Task::LeavesOpening => count(&mut late, &Outcome::Finished),
                Task::AsksAndJoins | Task::Lingers | Task::LingersOpening | Task::StaysJoining => {
                    if task == Task::LingersOpening {
                        count(&mut late, &Outcome::Finished);
                        late[6] += 1;
                    }
                    let mut scope = path(index);
                    if task == Task::StaysJoining {
                        scope += "/inner";
                        count(&mut below, &Outcome::Cancelled);
                    } else {
                        count(sums, &Outcome::Cancelled);
                    }
                    let outcome = Outcome::Cancelled.to_string();
                    tasks.push((format!("of t{number}"), scope, TaskKind::Plain, outcome));
                }
                _ => {}
            }
        }
        for hook in &scope.hooks {
            match hook {
                Hook::Fails => failures.push(("HookError".to_owned(), "hook".to_owned(), true)),
                Hook::Panics => failures.push(("HookPanic".to_owned(), "hook".to_owned(), true)),
                Hook::Spawns => count(sums, &Outcome::Finished),
                _ => {}
            }
        }
        let refused = scope.tasks.iter().filter(|task| **task == Task::StaysCleanupSpawns).count();
        sums[6] += refused as u64;
        for (name, more) in [("inner", below), ("late", late)] {
            let sums = totals.entry(name.to_owned()).or_default();
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
        joined.push(handles);
    }
    let requested = Reason::Requested(None);
    let failed = Reason::MainFailed("main".to_owned());
    let (main, reasons) = match spec.end {
        End::StopsAndReturns | End::AsksAndReturns => (Outcome::Finished, vec![requested]),
        End::StopsAndStays | End::AsksAndStays => (Outcome::Cancelled, vec![requested]),
        End::StopsAndPanics => (Outcome::Panicked, vec![requested, failed]),
        End::Fails => (Outcome::Failed, vec![failed]),
        End::Panics => (Outcome::Panicked, vec![failed]),
        End::Idle => (Outcome::Finished, vec![Reason::Idle]),
    };
    let sums = totals.entry("root".to_owned()).or_default();
    sums[0] += 1;
    match main {
        Outcome::Finished => sums[1] += 1,
        Outcome::Failed => sums[2] += 1,
        Outcome::Panicked => sums[3] += 1,
        _ => sums[4] += 1,
    }
    match spec.end {
        End::StopsAndPanics | End::Panics => {
            failures.push(("MainPanic".to_owned(), "main".to_owned(), true));
        }
        End::Fails => failures.push(("MainError".to_owned(), "main".to_owned(), true)),
        _ => {}
    }
    if spec.end.stops() {
        let kind = if spec.end.asks() { TaskKind::Graceful } else { TaskKind::Plain };
        tasks.push(("main".to_owned(), "root".to_owned(), kind, main.to_string()));
    }
    if spec.end == End::AsksAndStays {
        overdue.push(("root".to_owned(), "main".to_owned()));
    }
    tasks.sort_by_key(|(name, scope, ..)| (scope.clone(), name.clone()));
    failures.sort();
    stragglers.sort();
    overdue.sort();
    let panics = |kind: &str| kind.ends_with("Panic");
    let counts =
        |wanted: bool| failures.iter().any(|(kind, _, fatal)| *fatal && panics(kind) == wanted);
    let exit_code = match () {
        () if !stragglers.is_empty() || !overdue.is_empty() => 124,
        () if counts(true) => 101,
        () if counts(false) => 1,
        () => 0,
    };
    let normal = Normal {
        exit_code,
        phases: vec![
            Phase::Running,
            Phase::Draining,
            Phase::Cancelling,
            Phase::Closing,
            Phase::Stopped,
        ],
        reasons,
        main: Some(main),
        alive_at_stop: tasks.len() as u64,
        tasks,
        failures,
        totals: totals.into_iter().filter(|(_, sums)| *sums != [0; 7]).collect(),
        stragglers,
        overdue,
    };
    (normal, joined)
}
