//! Shields: what defers a task's cancellation, and what does not.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use adjourn::{FailureKind, FutureExt, StragglerState, shield, spawn, spawn_shielded, task};
use futures_util::future::{Either, join, select};
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::harness::*;

scenarios![
    a_shield_defers_cancellation_to_the_first_yield_after_it,
    a_shield_defers_abort,
    a_shield_may_borrow,
    a_loop_of_shields_ends,
    a_loop_of_shields_that_are_ready_ends,
    shields_nest,
    a_shield_outside_of_a_program_is_its_future,
    a_shield_in_futures_unordered_completes,
    beside_a_shield_siblings_go_on,
    a_shield_dropped_by_select_is_recorded_with_its_line,
    a_hold_belongs_to_the_task_that_last_polled_it,
    a_shield_is_bounded_by_the_cut_off,
    a_shielded_task_is_eager_and_waited_for,
    a_shield_releases_where_it_panics,
];

fn a_shield_defers_cancellation_to_the_first_yield_after_it(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        drop(spawn(async move {
            let _dropped = said.on_drop("dropped");
            shield(async {
                stopper.stop();
                until_cancelling().await;
                yields(5).await;
                said.say("shielded");
            })
            .await;
            said.say("after");
            yields(1).await;
            said.say("never");
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["shielded", "after", "dropped"]);
    assert_eq!(exit.report().total().cancelled, 2);
}

fn a_shield_defers_abort(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let (begun, gate) = (Gate::new(), Gate::new());
        let (begins, opened, says) = (begun.clone(), gate.clone(), said.clone());
        let handle = spawn(async move {
            async {
                begins.open();
                opened.wait().await;
                says.say("shielded");
            }
            .shield()
            .await;
            pending::<()>().await;
        });
        begun.wait().await;
        handle.abort();
        yields(5).await;
        assert!(!handle.is_finished());
        said.say("opened");
        gate.open();
        assert!(handle.await.unwrap_err().is_cancelled());
    });
    clean(&exit);
    log.is(&["opened", "shielded"]);
}

fn a_shield_may_borrow(config: Config) {
    let mut list = vec![1];
    let exit = Program::new(config).run(async {
        let pushed = shield(async {
            list.push(2);
            yields(2).await;
            list.push(3);
            list.len()
        });
        assert_eq!(pushed.await, 3);
    });
    clean(&exit);
    assert_eq!(list, [1, 2, 3]);
}

fn a_loop_of_shields_ends(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        drop(spawn(async {
            loop {
                shield(yields(1)).await;
            }
        }));
        yields(3).await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(exit.report().total().cancelled, 2);
}

fn a_loop_of_shields_that_are_ready_ends(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        drop(spawn(async move {
            // It never yields before the stop: another thread has to ask.
            std::thread::spawn(move || stopper.stop());
            let start = Instant::now();
            // Long: only one that is broken takes it.
            while start.elapsed() < Duration::from_secs(30) {
                shield(async {}).await;
            }
            said.say("ran on");
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&[]);
    assert_eq!(exit.report().total().cancelled, 2);
}

fn shields_nest(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        drop(spawn(async move {
            shield(async {
                shield(async {
                    stopper.stop();
                    until_cancelling().await;
                })
                .await;
                yields(3).await;
                shield(yields(3)).await;
                said.say("outer");
            })
            .await;
            pending::<()>().await;
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["outer"]);
}

fn a_shield_outside_of_a_program_is_its_future(_: Config) {
    assert_eq!(futures_lite::future::block_on(shield(async { 1 })), 1);
    let work = async { 2 }.on_cancel(async { panic!("nobody cancels") });
    assert_eq!(futures_lite::future::block_on(work), 2);
    assert_eq!(futures_lite::future::block_on(async { 3 }.until_stop()), Ok(3));
}

fn a_shield_in_futures_unordered_completes(config: Config) {
    let count = Arc::new(AtomicUsize::new(0));
    let program = Program::new(config);
    let (stopper, counted) = (program.stopper(), count.clone());
    let exit = program.run(async move {
        drop(spawn(async move {
            let mut work: FuturesUnordered<_> = (0..10)
                .map(|_| {
                    shield(async {
                        stopper.stop();
                        until_cancelling().await;
                        sleep(millis(5)).await;
                        counted.fetch_add(1, SeqCst);
                    })
                })
                .collect();
            while work.next().await.is_some() {}
            pending::<()>().await;
        }));
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(count.load(SeqCst), 10);
}

fn beside_a_shield_siblings_go_on(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        drop(spawn(async move {
            let _dropped = said.on_drop("dropped");
            let gate = Gate::new();
            let shielded = shield(async {
                stopper.stop();
                gate.wait().await;
                said.say("shielded");
            });
            let sibling = async {
                until_cancelling().await;
                yields(3).await;
                said.say("sibling");
                gate.open();
                pending::<()>().await;
            };
            join(shielded, sibling).await;
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["sibling", "shielded", "dropped"]);
}

fn a_shield_dropped_by_select_is_recorded_with_its_line(config: Config) {
    let mut line = 0;
    let exit = Program::new(config).run(async {
        let (shielded, at) = (shield(pending::<()>()), line!());
        line = at;
        match select(Box::pin(shielded), Box::pin(yields(2))).await {
            Either::Right(_) => {}
            Either::Left(_) => unreachable!(),
        }
        // Never polled: nothing was dropped half-way.
        drop(shield(pending::<()>()));
    });
    succeeded(&exit);
    let failures = failures(&exit, FailureKind::ShieldDropped);
    assert_eq!(failures.len(), 1, "{}", exit.report());
    let place = format!("shield.rs:{line}:");
    assert!(failures[0].origin.contains(&place), "{}", failures[0].origin);
    assert!(failures[0].messages[0].contains("spawn_shielded"));
}

fn a_hold_belongs_to_the_task_that_last_polled_it(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let (gate, begun) = (Gate::new(), Gate::new());
        let opened = gate.clone();
        let (send, receive) = async_channel::bounded::<Moved>(1);
        let (back, returned) = async_channel::bounded::<()>(1);
        let first = spawn(async move {
            let mut moved: Moved = Box::pin(shield(async move {
                opened.wait().await;
            }));
            assert!(poll_once(&mut moved).await.is_pending());
            send.send(moved).await.unwrap();
            back.send(()).await.unwrap();
            pending::<()>().await;
        });
        returned.recv().await.unwrap();
        let (begins, says) = (begun.clone(), said.clone());
        let second = spawn(async move {
            let mut moved = receive.recv().await.unwrap();
            assert!(poll_once(&mut moved).await.is_pending());
            begins.open();
            moved.await;
            says.say("completed");
            pending::<()>().await;
        });
        begun.wait().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled(), "it holds nothing any more");
        second.abort();
        yields(5).await;
        assert!(!second.is_finished());
        said.say("opened");
        gate.open();
        assert!(second.await.unwrap_err().is_cancelled());
    });
    clean(&exit);
    log.is(&["opened", "completed"]);
}

fn a_shield_is_bounded_by_the_cut_off(config: Config) {
    let log = Log::default();
    let program = Program::new(config).cut_off_after(millis(200));
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        drop(task("shielded").spawn(async move {
            let _dropped = said.on_drop("dropped");
            shield(async {
                stopper.stop();
                pending::<()>().await;
            })
            .await;
        }));
        pending::<()>().await;
    });
    exits(&exit, 124);
    log.is(&["dropped"]);
    assert_eq!(straggler(exit.report(), "shielded").state, StragglerState::Shielded);
    assert!(failures(&exit, FailureKind::ShieldDropped).is_empty(), "the deadline is no mistake");
}

fn a_shielded_task_is_eager_and_waited_for(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        drop(spawn(async move {
            let handle = spawn_shielded(async move {
                stopper.stop();
                until_cancelling().await;
                sleep(millis(5)).await;
                said.say("done");
            });
            handle.await.unwrap();
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["done"]);
    let total = exit.report().total();
    assert_eq!((total.finished, total.cancelled), (1, 2));
}

fn a_shield_releases_where_it_panics(config: Config) {
    let exit = Program::new(config).run(async {
        let (begun, begins) = (Gate::new(), Gate::new());
        let (go, gone) = (begun.clone(), begins.clone());
        let handle = spawn(async move {
            let panics = shield(async { panic!("inside") });
            let mut panics = Box::pin(panics);
            let polled = std::panic::AssertUnwindSafe(poll_once(&mut panics));
            assert!(futures_util::FutureExt::catch_unwind(polled).await.is_err());
            drop(panics);
            gone.open();
            go.wait().await;
            pending::<()>().await;
        });
        begins.wait().await;
        handle.abort();
        assert!(handle.await.unwrap_err().is_cancelled());
    });
    succeeded(&exit);
}

#[test]
fn what_is_cut_off_is_dropped_before_an_attached_program_returns() {
    unless_it_hangs("what_is_cut_off_is_dropped", || {
        for _ in 0..20 {
            let log = Log::default();
            let program = Program::new(Config::TokioAttached).cut_off_after(millis(100));
            let (stopper, dropped) = (program.stopper(), log.on_drop("dropped"));
            let exit = program.run(async move {
                drop(spawn_shielded(async move {
                    let _dropped = dropped;
                    stopper.stop();
                    pending::<()>().await;
                }));
                pending::<()>().await;
            });
            log.is(&["dropped"]);
            assert_eq!(exit.report().total().cancelled, 2, "{}", exit.report());
        }
    });
}
