//! Tasks that are spawned past Adjourn, by `tokio::spawn`: what the guide says of them.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use adjourn_core::rt::Executor;
use adjourn_core::{FutureExt, Reason, Runner, Scope, spawn, spawn_blocking, spawn_shielded};
use adjourn_tokio::{TokioExecutor, TokioLocal, TokioLocalExecutor};
use tokio::sync::{mpsc, oneshot};

fn runner() -> Runner<TokioExecutor> {
    Runner::new().signals([])
}

/// Notes when it is dropped.
struct Noted(Arc<AtomicBool>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn it_keeps_nothing_alive_and_goes_on_until_the_executor_ends() {
    let (ask, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    let (dropped, cleaned) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (note, clean) = (Noted(dropped.clone()), cleaned.clone());
    let runner = runner().on_stopped(async move {
        let (answer, answered) = oneshot::channel();
        ask.send(answer).expect("it is alive when all tasks are gone");
        answered.await.expect("it answers");
    });
    let stopper = runner.stopper();
    std::thread::spawn(move || {
        // Far beyond what it takes: a program that is kept alive fails below, rather than hangs.
        std::thread::sleep(Duration::from_secs(30));
        stopper.stop();
    });
    let exit = runner.run(async move {
        let answering = async move {
            let _note = note;
            while let Some(answer) = asked.recv().await {
                _ = answer.send(());
            }
            pending::<()>().await;
        };
        tokio::spawn(answering.on_cancel(async move { clean.store(true, SeqCst) }));
    });
    let report = exit.report();
    assert_eq!(report.exit_code(), 0, "{report}");
    assert_eq!(report.reason(), Some(&Reason::Idle));
    assert_eq!(report.total().spawned, 1, "main alone is known");
    assert!(dropped.load(SeqCst));
    assert!(!cleaned.load(SeqCst), "no cleanup runs");
}

#[test]
fn what_it_spawns_by_adjourn_is_tracked() {
    let runner = runner();
    let stopper = runner.stopper();
    let exit = runner.run(async move {
        let spawning = async {
            spawn(pending::<()>());
        };
        tokio::spawn(spawning).await.expect("it finds the program's root");
        stopper.stop();
    });
    let total = exit.report().total();
    assert_eq!((total.spawned, total.cancelled), (2, 1), "{}", exit.report());
}

#[test]
fn a_shielded_task_that_awaits_it_has_it_waited_for() {
    let (release, released) = oneshot::channel();
    let done = Arc::new(AtomicBool::new(false));
    let is_done = done.clone();
    let runner = runner().on_stop(move || _ = release.send(()));
    let stopper = runner.stopper();
    let exit = runner.run(async move {
        let past = tokio::spawn(async move {
            released.await.expect("the stop comes");
            tokio::time::sleep(Duration::from_millis(20)).await;
            done.store(true, SeqCst);
        });
        spawn_shielded(past);
        stopper.stop();
    });
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
    assert!(is_done.load(SeqCst));
}

/// A program with tasks of each kind that end in the last instant, beside so many past Adjourn. Returns
/// how many the report has of those.
fn counted<E: Executor>(runner: Runner<E>, past: usize) -> u64 {
    let runner = runner.signals([]).on_stop(|| ()).on_stopped(async {});
    let stopper = runner.stopper();
    let exit = runner.run(async move {
        for _ in 0..past {
            tokio::spawn(pending::<()>());
        }
        // Those that are over are none of them.
        tokio::spawn(async {}).await.expect("it ends");
        for _ in 0..50 {
            spawn(pending::<()>());
            spawn_shielded(tokio::task::yield_now());
        }
        spawn_blocking(|| ());
        if let Some(scope) = Scope::current().typed::<TokioLocal>() {
            scope.spawn_local(pending::<()>());
        }
        stopper.stop();
    });
    let report = exit.report();
    assert!(report.is_clean(), "{report}");
    report.untracked.expect("Tokio counts its tasks")
}

/// On a machine that is too busy, one that has just ended may be counted: not always.
#[track_caller]
fn counts<E: Executor>(runner: fn() -> Runner<E>) {
    for past in [0, 1, 3] {
        let mut all = Vec::new();
        while all.last() != Some(&(past as u64)) {
            assert!(all.len() < 20, "{past} and no more were alive: {all:?}");
            all.push(counted(runner(), past));
            assert!(all.iter().all(|count| *count >= past as u64), "they were alive: {all:?}");
        }
    }
}

#[test]
fn the_report_counts_those_that_are_alive_at_the_end() {
    counts(|| Runner::<TokioExecutor>::new().current_thread());
    counts(|| Runner::<TokioExecutor>::new().worker_threads(1));
    counts(|| Runner::<TokioExecutor>::new().worker_threads(4));
    counts(|| Runner::<TokioLocalExecutor>::new().current_thread());
    counts(|| Runner::<TokioLocalExecutor>::new().worker_threads(2));
}

/// A program of so many workers in which a task is stuck in a poll, a job on its thread, and a hook runs
/// for ever, beside two tasks past Adjourn.
fn stuck(workers: usize) {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let runner = runner().worker_threads(workers).exit_when_stuck(false);
    let runner = runner.timeout(Duration::from_millis(400)).on_stopped(pending::<()>);
    let stopper = runner.stopper();
    let exit = runner.run(async move {
        tokio::spawn(pending::<()>());
        tokio::spawn(pending::<()>());
        let stuck = released.clone();
        let (tell, told) = oneshot::channel();
        spawn_shielded(async move {
            let released = stuck.lock().unwrap();
            tell.send(()).unwrap();
            _ = released.recv();
        });
        told.await.unwrap();
        spawn_blocking(move || drop(released.lock()));
        stopper.stop();
    });
    let report = exit.report();
    assert_eq!((exit.exit_code(), report.stragglers.len()), (124, 2), "{report}");
    assert_eq!(report.untracked, Some(2), "{report}");
    drop(release);
}

#[test]
fn what_of_the_program_is_stuck_is_none_of_them() {
    stuck(3);
    // Nobody comes to the program's own futures there.
    stuck(1);
}

#[test]
fn the_tasks_of_whom_a_program_is_attached_to_are_not_counted() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let exit = runtime.block_on(async {
        tokio::spawn(pending::<()>());
        runner().attach(async {}).await
    });
    assert_eq!(exit.report().untracked, None, "they are the host's, and go on");
}
