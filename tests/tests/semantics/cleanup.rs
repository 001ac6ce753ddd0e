//! Cleanups: when they run, in which order, and what holds them up.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use adjourn::{
    FailureKind, FutureExt, Scope, StragglerState, on_cancel_with, shield, spawn, spawn_blocking,
    spawn_shielded, task,
};
use futures_util::future::select;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::harness::*;

scenarios![
    a_cleanup_runs_after_its_work_is_dropped,
    a_cleanup_does_not_run_for_work_that_is_over_or_not_begun,
    cleanups_act_innermost_first,
    a_cleanup_waits_for_a_shield_inside_its_work,
    on_cancel_with_shares_a_resource,
    cleanups_in_futures_unordered_all_run,
    a_cleanup_moved_to_another_scope_is_told_of_an_abort_there,
    a_cleanup_that_is_dropped_keeps_no_waker,
    a_cleanup_runs_on_abort,
    a_cleanup_moved_to_another_scope_leaves_the_waiters_there_alone,
    a_cleanup_may_spawn_shielded_work_and_jobs,
    a_cleanup_that_panics_is_reported,
    a_cleanup_dropped_by_select_is_recorded,
    a_cleanup_is_bounded_by_the_cut_off,
    a_sibling_that_ends_the_inner_hold_lets_the_cleanup_act,
];

fn a_cleanup_runs_after_its_work_is_dropped(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        drop(spawn(async move {
            let (says, dropped) = (said.clone(), said.on_drop("work dropped"));
            let work = async move {
                let _dropped = dropped;
                stopper.stop();
                pending::<()>().await;
            };
            let cleanup = async move {
                says.say("cleanup begins");
                yields(5).await;
                sleep(millis(5)).await;
                says.say("cleanup ends");
            };
            work.on_cancel(cleanup).await;
            said.say("never");
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["work dropped", "cleanup begins", "cleanup ends"]);
    assert_eq!(exit.report().total().cancelled, 2);
}

fn a_cleanup_does_not_run_for_work_that_is_over_or_not_begun(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let says = said.clone();
        let cleanup = |what: &'static str| {
            let says = says.clone();
            async move { says.say(what) }
        };
        assert_eq!(async { 1 }.on_cancel(cleanup("over")).await, 1);
        let not_begun = pending::<()>().on_cancel(cleanup("not begun"));
        drop(spawn(async move {
            shield(async {
                stopper.stop();
                until_cancelling().await;
            })
            .await;
            not_begun.await;
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&[]);
}

fn cleanups_act_innermost_first(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        drop(spawn(async move {
            let cleanup = |what: &'static str| {
                let said = said.clone();
                async move {
                    yields(3).await;
                    said.say(what);
                }
            };
            let work = async {
                let inner = async {
                    stopper.stop();
                    pending::<()>().await;
                };
                inner.on_cancel(cleanup("inner")).await;
            };
            work.on_cancel(cleanup("middle")).on_cancel(cleanup("outer")).await;
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["inner", "middle", "outer"]);
}

fn a_cleanup_waits_for_a_shield_inside_its_work(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        drop(spawn(async move {
            let says = said.clone();
            let work = async {
                shield(async {
                    stopper.stop();
                    until_cancelling().await;
                    yields(3).await;
                    said.say("shielded");
                })
                .await;
                pending::<()>().await;
            };
            work.on_cancel(async move { says.say("cleanup") }).await;
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["shielded", "cleanup"]);
}

fn on_cancel_with_shares_a_resource(config: Config) {
    let shared = Arc::new(Mutex::new(Vec::new()));
    let program = Program::new(config);
    let (stopper, out) = (program.stopper(), shared.clone());
    let exit = program.run(async move {
        let mut list = vec![0];
        let len = on_cancel_with(
            &mut list,
            async |list: &mut Vec<i32>| {
                list.push(1);
                yields(1).await;
                list.len()
            },
            async |_: &mut Vec<i32>| panic!("not cancelled"),
        );
        assert_eq!(len.await, 2);
        on_cancel_with(
            &mut list,
            async |list: &mut Vec<i32>| {
                list.push(2);
                stopper.stop();
                pending::<()>().await;
            },
            async |list: &mut Vec<i32>| {
                yields(2).await;
                list.push(3);
                out.lock().unwrap().append(list);
            },
        )
        .await;
    });
    clean(&exit);
    assert_eq!(*shared.lock().unwrap(), [0, 1, 2, 3]);
}

fn cleanups_in_futures_unordered_all_run(config: Config) {
    let count = Arc::new(AtomicUsize::new(0));
    let program = Program::new(config);
    let (stopper, counted) = (program.stopper(), count.clone());
    let exit = program.run(async move {
        drop(spawn(async move {
            let mut work: FuturesUnordered<_> = (0..10_u64)
                .map(|number| {
                    let counted = counted.clone();
                    pending::<()>().on_cancel(async move {
                        sleep(millis(number)).await;
                        counted.fetch_add(1, SeqCst);
                    })
                })
                .collect();
            assert!(poll_once(&mut work.next()).await.is_pending());
            stopper.stop();
            _ = work.next().await;
        }));
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(count.load(SeqCst), 10);
}

fn a_cleanup_moved_to_another_scope_leaves_the_waiters_there_alone(config: Config) {
    let count = Arc::new(AtomicUsize::new(0));
    let cleaned = count.clone();
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let (here, there) = (Scope::current().scope("here"), Scope::current().scope("there"));
        let section = |count: Arc<AtomicUsize>| {
            Box::pin(pending::<()>().on_cancel(async move {
                count.fetch_add(1, SeqCst);
            }))
        };
        // Each is the first to wait in its scope, with a waker that is not its task's own.
        let mut moved: FuturesUnordered<_> = [section(cleaned.clone())].into_iter().collect();
        let (send, receive) = async_channel::bounded(1);
        drop(here.spawn(async move {
            assert!(poll_once(&mut moved.next()).await.is_pending());
            send.try_send(moved).expect("there is room");
        }));
        let moved = receive.recv().await.expect("it sends what it polled");
        let begun = Gate::new();
        let (opens, counted) = (begun.clone(), cleaned.clone());
        drop(there.spawn(async move {
            let mut own: FuturesUnordered<_> = [section(counted)].into_iter().collect();
            assert!(poll_once(&mut own.next()).await.is_pending());
            opens.open();
            own.next().await;
        }));
        begun.wait().await;
        let mut moved = moved;
        let section = std::mem::take(&mut moved).into_iter().next().expect("it is in there");
        let again = Gate::new();
        let opens = again.clone();
        drop(there.spawn(async move {
            let mut own: FuturesUnordered<_> = [section].into_iter().collect();
            assert!(poll_once(&mut own.next()).await.is_pending());
            opens.open();
            own.next().await;
        }));
        again.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(count.load(SeqCst), 2, "one of them was not told: {}", exit.report());
}

fn a_cleanup_moved_to_another_scope_is_told_of_an_abort_there(config: Config) {
    let count = Arc::new(AtomicUsize::new(0));
    let cleaned = count.clone();
    let exit = Program::new(config).run(async move {
        let (here, there) = (Scope::current().scope("here"), Scope::current().scope("there"));
        let section = Box::pin(pending::<()>().on_cancel(async move {
            cleaned.fetch_add(1, SeqCst);
        }));
        let (send, receive) = async_channel::bounded(1);
        drop(here.spawn(async move {
            // With a waker that is not its task's own.
            let mut own: FuturesUnordered<_> = [section].into_iter().collect();
            assert!(poll_once(&mut own.next()).await.is_pending());
            let section = own.into_iter().next().expect("it is in there");
            send.try_send(section).expect("there is room");
            pending::<()>().await;
        }));
        let section = receive.recv().await.expect("it sends what it polled");
        let begun = Gate::new();
        let opens = begun.clone();
        let moved = there.spawn(async move {
            let mut own: FuturesUnordered<_> = [section].into_iter().collect();
            assert!(poll_once(&mut own.next()).await.is_pending());
            opens.open();
            own.next().await;
        });
        begun.wait().await;
        moved.abort();
        assert!(moved.await.unwrap_err().is_cancelled());
        drop(here.stop());
    });
    clean(&exit);
    assert_eq!(count.load(SeqCst), 1);
}

fn a_cleanup_that_is_dropped_keeps_no_waker(config: Config) {
    let exit = Program::new(config).run(async {
        let waker = Arc::new(Counted);
        let mut section = Box::pin(pending::<()>().on_cancel(async {}));
        assert!(waker.clone().poll(&mut section).is_pending());
        assert!(Arc::strong_count(&waker) > 1);
        drop(section);
        assert_eq!(Arc::strong_count(&waker), 1);
    });
    check(&exit);
    assert_eq!(failures(&exit, FailureKind::ShieldDropped).len(), 1);
}

fn a_cleanup_runs_on_abort(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let begun = Gate::new();
        let (begins, says) = (begun.clone(), said.clone());
        let handle = spawn(async move {
            let work = async move {
                begins.open();
                pending::<()>().await;
            };
            let mut sections = FuturesUnordered::new();
            sections.push(work.on_cancel(async move {
                yields(3).await;
                says.say("cleanup");
            }));
            sections.next().await;
        });
        begun.wait().await;
        handle.abort();
        assert!(handle.await.unwrap_err().is_cancelled());
        said.say("resolved");
    });
    clean(&exit);
    log.is(&["cleanup", "resolved"]);
}

fn a_cleanup_may_spawn_shielded_work_and_jobs(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        drop(spawn(async move {
            let work = async {
                stopper.stop();
                pending::<()>().await;
            };
            let cleanup = async {
                assert_eq!(spawn_shielded(async { 1 }).await.unwrap(), 1);
                assert_eq!(spawn_blocking(|| 2).await.unwrap(), 2);
                assert!(spawn(async {}).await.unwrap_err().is_refused());
                said.say("cleanup");
            };
            work.on_cancel(cleanup).await;
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["cleanup"]);
}

fn a_cleanup_that_panics_is_reported(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        drop(spawn(async move {
            let work = async {
                stopper.stop();
                pending::<()>().await;
            };
            let cleanup = async {
                yields(1).await;
                panic!("in cleanup");
            };
            work.on_cancel(cleanup).await;
        }));
        pending::<()>().await;
    });
    exits(&exit, 101);
    assert_eq!(failures(&exit, FailureKind::TaskPanic)[0].messages, ["in cleanup"]);
}

fn a_cleanup_dropped_by_select_is_recorded(config: Config) {
    let exit = Program::new(config).run(async {
        let section = pending::<()>().on_cancel(async { panic!("does not run") });
        drop(select(Box::pin(section), Box::pin(yields(2))).await);
        assert!(!Scope::current().stop_token().is_requested());
    });
    succeeded(&exit);
    let failures = failures(&exit, FailureKind::ShieldDropped);
    assert_eq!(failures.len(), 1);
    assert!(failures[0].origin.contains("on_cancel at tests/"), "{}", failures[0].origin);
}

fn a_cleanup_is_bounded_by_the_cut_off(config: Config) {
    let log = Log::default();
    let program = Program::new(config).cut_off_after(millis(200));
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        drop(task("cleaning").spawn(async move {
            let work = async {
                stopper.stop();
                pending::<()>().await;
            };
            let cleanup = async {
                let _dropped = said.on_drop("dropped");
                pending::<()>().await;
            };
            work.on_cancel(cleanup).await;
        }));
        pending::<()>().await;
    });
    exits(&exit, 124);
    log.is(&["dropped"]);
    assert_eq!(straggler(exit.report(), "cleaning").state, StragglerState::Shielded);
}

fn a_sibling_that_ends_the_inner_hold_lets_the_cleanup_act(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        drop(spawn(async move {
            let cell: Arc<Mutex<Option<Moved>>> =
                Arc::new(Mutex::new(Some(Box::pin(shield(pending::<()>())))));
            let theirs = cell.clone();
            let clean = said.clone();
            let holder: Moved = Box::pin(
                std::future::poll_fn(move |cx| {
                    if let Some(shielded) = theirs.lock().unwrap().as_mut() {
                        _ = shielded.as_mut().poll(cx);
                    }
                    std::task::Poll::<()>::Pending
                })
                .on_cancel(async move { clean.say("cleaned") }),
            );
            let says = said.clone();
            let sibling: Moved = Box::pin(async move {
                yields(3).await;
                stopper.stop();
                until_cancelling().await;
                sleep(millis(20)).await;
                drop(cell.lock().unwrap().take());
                says.say("dropped");
                pending::<()>().await;
            });
            let mut both: FuturesUnordered<Moved> = [holder, sibling].into_iter().collect();
            _ = both.next().await;
        }));
        pending::<()>().await;
    });
    check(&exit);
    log.is(&["dropped", "cleaned"]);
}
