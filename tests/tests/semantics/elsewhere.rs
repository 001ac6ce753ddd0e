//! Code that is polled elsewhere than where it began: moved to another task in the middle of a cleanup,
//! or inside a `block_on` of a thread that a task or a job blocks.

use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;

use adjourn::{
    FailureKind, FutureExt, JoinHandle, Outcome, StopToken, TaskKind, scope, shield, spawn,
    spawn_blocking, spawn_shielded, task,
};
use futures_lite::future::block_on;

use crate::harness::*;

scenarios![
    a_cleanup_that_is_moved_in_its_middle_goes_on_and_its_task_ends,
    a_cleanup_that_is_dropped_elsewhere_in_its_middle_is_recorded,
    a_job_may_block_on_what_awaits,
    a_task_that_blocks_on_the_stop_is_told,
    what_a_task_blocks_on_in_a_shield_comes_back,
];

/// A section that was taken out of a task in the middle of its cleanup.
struct Midway {
    log: Log,
    /// The task that was cancelled inside it, and polls it no more.
    first: JoinHandle<()>,
    section: Moved,
    /// Lets the cleanup end.
    go: Gate,
    cleaned: Gate,
}

impl Midway {
    async fn new(log: Log) -> Midway {
        let (begun, cleaning) = (Gate::new(), Gate::new());
        let (go, cleaned) = (Gate::new(), Gate::new());
        let (begins, cleans, ends, says) =
            (begun.clone(), cleaning.clone(), cleaned.clone(), log.clone());
        let may = go.clone();
        let work = async move {
            begins.open();
            pending::<()>().await;
        };
        let section: Moved = Box::pin(work.on_cancel(async move {
            cleans.open();
            may.wait().await;
            says.say("cleaned");
            ends.open();
        }));
        let cell = Arc::new(Mutex::new(Some(section)));
        let theirs = cell.clone();
        let first = spawn(poll_fn(move |cx| match &mut *theirs.lock().unwrap() {
            Some(section) => section.as_mut().poll(cx),
            None => Poll::Pending,
        }));
        begun.wait().await;
        first.abort();
        cleaning.wait().await;
        let section = cell.lock().unwrap().take().expect("nobody else takes it");
        assert!(!first.is_finished(), "its cleanup holds it");
        Midway { log, first, section, go, cleaned }
    }
}

fn a_cleanup_that_is_moved_in_its_middle_goes_on_and_its_task_ends(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let Midway { log, first, section, go, cleaned } = Midway::new(said).await;
        let second = spawn(section);
        // Once the other polls it, nothing holds the first task any more.
        assert!(first.await.unwrap_err().is_cancelled());
        log.say("first over");
        assert!(!second.is_finished());
        // The cleanup holds the task that it is in now.
        second.abort();
        go.open();
        cleaned.wait().await;
        assert!(second.await.unwrap_err().is_cancelled());
        log.say("second over");
    });
    clean(&exit);
    log.is(&["first over", "cleaned", "second over"]);
    // There is no output that the await could give: it goes on until its task is cancelled.
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let Midway { section, go, cleaned, .. } = Midway::new(said).await;
        let second = spawn(section);
        go.open();
        cleaned.wait().await;
        yields(20).await;
        assert!(!second.is_finished());
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled());
    });
    clean(&exit);
    log.is(&["cleaned"]);
}

fn a_cleanup_that_is_dropped_elsewhere_in_its_middle_is_recorded(config: Config) {
    for by_an_end in [false, true] {
        let log = Log::default();
        let said = log.clone();
        let exit = Program::new(config).run(async move {
            let Midway { log, first, section, .. } = Midway::new(said).await;
            if by_an_end {
                // With what the end of another task drops, which is none of its own.
                let other = poll_fn(move |_| {
                    _ = &section;
                    Poll::Ready(())
                });
                spawn(other).await.unwrap();
            } else {
                drop(section);
            }
            assert!(first.await.unwrap_err().is_cancelled(), "nothing holds it any more");
            log.say("first over");
        });
        succeeded(&exit);
        log.is(&["first over"]);
        let dropped = failures(&exit, FailureKind::ShieldDropped);
        assert_eq!(dropped.len(), 1, "by an end: {by_an_end}: {}", exit.report());
        assert!(dropped[0].origin.contains("elsewhere.rs:"), "{}", dropped[0].origin);
    }
}

fn a_job_may_block_on_what_awaits(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let there = Gate::new();
        let begins = there.clone();
        spawn_blocking(move || {
            block_on(async {
                shield(yields(2)).await;
                assert_eq!(spawn(async { 1 }).await.unwrap(), 1);
                let child = spawn(pending::<()>());
                begins.open();
                StopToken::current().requested().await;
                said.say("told");
                // Nobody cancels a job: it has to handle this.
                assert!(child.await.unwrap_err().is_cancelled());
                assert_eq!(spawn_shielded(async { 2 }).await.unwrap(), 2);
                said.say("came back");
            });
        });
        there.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["told", "came back"]);
}

fn a_task_that_blocks_on_the_stop_is_told(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        task("blocks").spawn(async move {
            block_on(async {
                shield(yields(2)).await;
                let mut told = StopToken::current().requested();
                assert!(poll_once(&mut told).await.is_pending());
                thread::spawn(move || stopper.stop());
                told.await;
                said.say("told");
            });
            yields(3).await;
            said.say("acted");
        });
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["told", "acted"]);
    let task = exit.report().tasks.iter().find(|task| task.task.name.as_deref() == Some("blocks"));
    let task = task.expect("it was alive at the stop");
    assert_eq!((task.task.kind, &task.outcome), (TaskKind::Graceful, &Outcome::Finished));
}

fn what_a_task_blocks_on_in_a_shield_comes_back(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let below = scope("below");
        below.stop().await.unwrap();
        spawn(async move {
            thread::spawn(move || stopper.stop());
            while !StopToken::current().peek() {
                thread::sleep(millis(1));
            }
            // Plain, and told. Outside of a shield this would stay pending, and block for ever.
            let refused = below.spawn(async {});
            let error = block_on(shield(refused)).unwrap_err();
            assert!(error.is_refused());
            said.say("came back");
        });
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["came back"]);
}
