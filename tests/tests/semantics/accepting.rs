//! A spawn is refused, or its task is tracked; and if it is graceful it is polled and told.

use std::future::pending;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use adjourn::{JoinHandle, Phase, Scope, StopToken, scope, spawn, spawn_graceful};

use crate::harness::*;

scenarios![
    a_graceful_task_is_refused_or_told,
    a_graceful_task_that_is_aborted_unpolled_is_not_entered,
    a_new_scope_takes_work_while_its_parent_does,
    an_empty_scope_takes_work_while_its_parent_does,
    an_empty_scope_holds_up_nobody,
    what_depends_on_a_scope_that_stops_takes_no_more,
];

/// How a handle resolves, polled from outside after the end.
fn join<T: Send + 'static>(handle: JoinHandle<T>) -> Result<T, adjourn::JoinError> {
    let mut handle = pin!(handle);
    loop {
        match handle.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::sleep(millis(1)), // async-std's executor goes on
        }
    }
}

fn a_graceful_task_is_refused_or_told(config: Config) {
    for round in 0..20 {
        let (entered, handles) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let program = Program::new(config);
        let stopper = program.stopper();
        let (counts, keeps) = (entered.clone(), handles.clone());
        let exit = program.run(async move {
            for _ in 0..4 {
                let (counts, keeps) = (counts.clone(), keeps.clone());
                spawn(async move {
                    // Some more once it is told: for ever, and there would be no end of the drain.
                    let mut more = 20;
                    while more > 0 {
                        more -= u32::from(StopToken::current().peek());
                        let entered = counts.clone();
                        let handle = spawn_graceful(|stop| async move {
                            entered.fetch_add(1, SeqCst);
                            stop.requested().await;
                            assert!(stop.peek());
                        });
                        keeps.lock().unwrap().push(handle);
                        yields(1).await;
                    }
                });
            }
            while counts.load(SeqCst) < 50 + round {
                yields(1).await;
            }
            // Between two spawns, wherever those are.
            stopper.stop();
            pending::<()>().await;
        });
        clean(&exit);
        let handles = std::mem::take(&mut *handles.lock().unwrap());
        let (mut told, mut refused) = (0, 0);
        for handle in handles {
            match join(handle) {
                Ok(()) => told += 1,
                Err(error) if error.is_refused() => refused += 1,
                Err(error) => panic!("{error}, though it was accepted\n{}", exit.report()),
            }
        }
        assert_eq!(told, entered.load(SeqCst));
        assert_eq!(exit.report().total().refused, refused);
    }
}

fn a_graceful_task_that_is_aborted_unpolled_is_not_entered(config: Config) {
    if !config.is_single_threaded() {
        return; // another worker may be quicker
    }
    let exit = Program::new(config).run(async {
        let entered = Arc::new(AtomicBool::new(false));
        let enters = entered.clone();
        let handle = spawn_graceful(|_| async move { enters.store(true, SeqCst) });
        handle.abort();
        assert!(handle.await.unwrap_err().is_cancelled());
        assert!(!entered.load(SeqCst));
    });
    clean(&exit);
}

fn a_new_scope_takes_work_while_its_parent_does(config: Config) {
    let done = Arc::new(AtomicUsize::new(0));
    let program = Program::new(config);
    let (stopper, counts) = (program.stopper(), done.clone());
    let exit = program.run(async move {
        for _ in 0..4 {
            let counts = counts.clone();
            spawn_graceful(|stop| async move {
                stop.requested().await;
                for _ in 0..500 {
                    // Its handle is held, so it has not ended.
                    let held = scope("short");
                    held.spawn_graceful(|_| async {}).await.expect("the parent drains");
                    counts.fetch_add(1, SeqCst);
                }
            });
        }
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(done.load(SeqCst), 2_000);
    assert_eq!(exit.report().totals["short"].finished, 2_000);
}

fn an_empty_scope_takes_work_while_its_parent_does(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let empty = scope("empty");
        spawn_graceful(|stop| async move {
            stop.requested().await;
            while empty.phase() == Phase::Running {
                yields(1).await;
            }
            yields(10).await;
            let work = empty.spawn_graceful(|stop| async move {
                stop.requested().await;
                yields(10).await;
                7
            });
            assert_eq!(work.await.unwrap(), 7);
            assert_eq!(empty.spawn(async { 8 }).await.unwrap(), 8);
            // Not awaited here: with a task in it, the scope is waited for again.
            empty.spawn_graceful(|_| async move {
                yields(50).await;
                said.say("waited for");
            });
        });
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["waited for"]);
    assert_eq!(exit.report().totals["empty"].finished, 3);
}

fn an_empty_scope_holds_up_nobody(config: Config) {
    let kept: Arc<Mutex<Vec<Scope>>> = Arc::default();
    let program = Program::new(config);
    let (stopper, keeps) = (program.stopper(), kept.clone());
    let exit = program.run(async move {
        let outer = scope("outer");
        keeps.lock().unwrap().extend([outer.scope("inner"), outer]);
        spawn_graceful(move |stop| async move {
            stop.requested().await;
            keeps.lock().unwrap().push(scope("late"));
        });
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    let draining = exit.report().phases.iter().find(|span| span.phase == Phase::Draining).unwrap();
    assert!(draining.left < draining.limit, "{}", exit.report());
    for scope in kept.lock().unwrap().drain(..) {
        assert!(join(scope.spawn(async {})).unwrap_err().is_refused());
    }
}

fn what_depends_on_a_scope_that_stops_takes_no_more(config: Config) {
    let exit = Program::new(config).run(async {
        let db = scope("db");
        let web = scope("web").depends_on(&db);
        assert_eq!(web.spawn(async { 1 }).await.unwrap(), 1);
        db.stop().await.unwrap();
        let error = web.spawn(async {}).await.unwrap_err();
        assert!(error.is_refused(), "{error}");
    });
    clean(&exit);
}
