//! Tasks that are spawned past Adjourn, by `tokio::spawn`: what the guide says of them.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use adjourn_core::{FutureExt, Reason, Runner, spawn, spawn_shielded};
use adjourn_tokio::TokioExecutor;
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
