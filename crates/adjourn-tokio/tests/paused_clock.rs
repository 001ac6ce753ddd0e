//! The soft limits of a stop follow Tokio's clock, so that a paused one makes hours pass at once.

use std::future::pending;
use std::time::Duration;

use adjourn_core::{Outcome, Runner, Scope, spawn, spawn_graceful, spawn_shielded};
use adjourn_tokio::TokioExecutor;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn an_overdue_graceful_task_is_cancelled_after_hours_that_take_no_time() {
    let began = std::time::Instant::now();
    let runner = Runner::<TokioExecutor>::new().timeout(HOUR);
    let stopper = runner.stopper();
    let exit = runner
        .attach(async move {
            spawn_graceful(|_| pending::<()>());
            stopper.stop();
        })
        .await;
    assert_eq!(exit.exit_code(), 124, "{}", exit.report());
    let root = exit.report().total();
    assert_eq!((root.spawned, root.cancelled, root.finished), (2, 1, 1));
    let drained = exit.report().tasks.iter().find(|task| task.outcome == Outcome::Cancelled);
    assert!(drained.expect("the graceful task was alive at the stop").ended >= HOUR / 5 * 4);
    assert!(began.elapsed() < HOUR / 60, "the hours were real");
}

#[tokio::test(start_paused = true)]
async fn a_shielded_straggler_is_cut_off_on_the_paused_clock_too() {
    let runner = Runner::<TokioExecutor>::new().timeout(HOUR);
    let stopper = runner.stopper();
    let exit = runner
        .attach(async move {
            spawn_shielded(pending::<()>());
            stopper.stop();
        })
        .await;
    assert_eq!(exit.exit_code(), 124);
    assert_eq!(exit.report().stragglers.len(), 1);
    assert!(exit.report().stragglers[0].task.spawned_at.contains("paused_clock.rs"));
}

#[tokio::test]
async fn what_the_runtime_itself_spawns_is_not_ours_and_is_left_alone() {
    let (done, over) = tokio::sync::oneshot::channel();
    let exit = Runner::<TokioExecutor>::new()
        .attach(async move {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                _ = done.send(Scope::try_current().is_err());
            });
            spawn(async {});
        })
        .await;
    assert_eq!(exit.report().total().spawned, 2);
    assert_eq!(over.await, Ok(true), "a task of the runtime has no scope when attached");
}

#[test]
fn a_task_that_the_runtime_spawned_has_the_root_scope_when_it_is_owned() {
    for workers in [0, 2] {
        let exit = Runner::<TokioExecutor>::new().signals([]).worker_threads(workers).run(async {
            let inner = tokio::spawn(async { spawn(async { 5 }).await });
            assert_eq!(inner.await.expect("not cancelled").expect("not cancelled"), 5);
        });
        assert_eq!(exit.exit_code(), 0, "{}", exit.report());
        assert_eq!(exit.report().total().spawned, 2);
    }
}
