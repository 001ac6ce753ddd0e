//! Who asks about the stop is graceful, and who does not is not.

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use adjourn::rt::Spawner;
use adjourn::{
    Exit, FutureExt, Outcome, Phase, Scope, StopToken, Stopper, TaskKind, scope, shield, spawn,
    spawn_blocking, spawn_graceful, spawn_shielded, task,
};
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::harness::*;

scenarios![
    whoever_asks_is_told_and_acts,
    what_is_not_asking_changes_nothing,
    what_is_asked_in_a_shield_is_answered,
    one_look_is_enough,
    a_main_that_asks_is_graceful,
    a_main_that_hands_tokens_on_is_not,
    a_main_that_joins_those_who_look_waits_for_them,
    all_of_many_act,
    what_is_spawned_past_adjourn_asks_for_main,
    what_is_spawned_past_adjourn_asks_for_the_task_that_made_it,
    what_is_spawned_past_adjourn_in_a_nursery_asks_for_its_task,
    who_spawns_graceful_work_that_waits_past_adjourn_asks_nothing,
    hooks_ask_for_nobody,
    who_asks_inside_a_siblings_scope_is_told_of_its_own_stop,
    a_task_that_holds_the_token_of_a_scope_above_is_told_of_its_own_stop,
    a_queue_finishes_the_job_in_hand,
    a_first_ask_while_another_drains_gives_time,
    a_first_ask_after_the_decision_gives_none,
];

/// Asks and waits for the stop, or does what is not asking and stays.
type Way = (&'static str, Moved);

/// Runs `work` in a plain task "t", which opens the gate once it is at its place, and then stops the
/// program.
fn stopped_in(config: Config, work: impl FnOnce(Gate) -> Moved) -> Exit {
    let program = Program::new(config);
    let stopper = program.stopper();
    let there = Gate::new();
    let work = work(there.clone());
    program.run(async move {
        task("t").spawn(work);
        there.wait().await;
        stopper.stop();
        pending::<()>().await;
    })
}

/// Polls `future` and opens the gate when that was pending.
async fn waiting<F: Future>(future: F, there: Gate) -> F::Output {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        there.open();
        polled
    })
    .await
}

/// What the report says of a task that was alive at the stop.
#[track_caller]
fn end_of(exit: &Exit, name: &str) -> (TaskKind, Outcome) {
    let named = |task: &&adjourn::TaskReport| task.task.name.as_deref() == Some(name);
    let task = exit.report().tasks.iter().find(named).expect("it was alive at the stop");
    (task.task.kind, task.outcome.clone())
}

fn asks() -> Vec<Way> {
    let requested = || async { StopToken::current().requested().await };
    vec![
        ("requested", Box::pin(requested())),
        ("until_stop", Box::pin(async { _ = pending::<()>().until_stop().await })),
        (
            "by a waker of a combinator",
            Box::pin(async {
                let token = StopToken::current();
                let mut parts: FuturesUnordered<_> = [token.requested()].into_iter().collect();
                parts.next().await;
            }),
        ),
        (
            "until_stop, by a waker of a combinator",
            Box::pin(async {
                let never = pending::<()>().until_stop();
                let mut parts: FuturesUnordered<_> = [never].into_iter().collect();
                _ = parts.next().await;
            }),
        ),
        (
            "is_requested",
            Box::pin(async {
                assert!(!StopToken::current().is_requested());
                StopToken::current().requested().interruptible().await;
            }),
        ),
        (
            "wait_timeout",
            Box::pin(async {
                assert!(!StopToken::current().wait_timeout(Duration::ZERO));
                StopToken::current().requested().interruptible().await;
            }),
        ),
        ("nursery", Box::pin(async move { scope("nursery").run(requested()).await })),
        (
            "in_scope",
            Box::pin(async move {
                let inner = scope("inner");
                requested().in_scope(&inner).await;
            }),
        ),
    ]
}

fn whoever_asks_is_told_and_acts(config: Config) {
    for (way, ask) in asks() {
        let acted = Gate::new();
        let acts = acted.clone();
        let exit = stopped_in(config, |there| {
            Box::pin(async move {
                waiting(ask, there).await;
                yields(20).await;
                acts.open();
            })
        });
        clean(&exit);
        assert!(acted.is_open(), "{way}");
        assert_eq!(end_of(&exit, "t"), (TaskKind::Graceful, Outcome::Finished), "{way}");
    }
}

fn quiet() -> Vec<Way> {
    vec![
        (
            "to take, clone, print and drop",
            Box::pin(async {
                let token = StopToken::current();
                _ = format!("{:?}", token.clone());
                drop(token.requested());
            }),
        ),
        (
            "to read what else there is",
            Box::pin(async {
                _ = (StopToken::current().reason(), StopToken::current().time_left());
                _ = (Scope::current().phase(), adjourn::is_ready());
            }),
        ),
        ("peek", Box::pin(async { assert!(!StopToken::current().peek()) })),
        (
            "interruptible",
            Box::pin(
                async {
                    assert!(!StopToken::current().is_requested());
                    assert!(poll_once(&mut StopToken::current().requested()).await.is_pending());
                    assert!(poll_once(&mut pending::<()>().until_stop()).await.is_pending());
                }
                .interruptible(),
            ),
        ),
        (
            "in a shield",
            Box::pin(shield(async {
                assert!(!StopToken::current().is_requested());
                assert!(poll_once(&mut StopToken::current().requested()).await.is_pending());
                assert!(poll_once(&mut pending::<()>().until_stop()).await.is_pending());
            })),
        ),
        (
            "at a stranger's token",
            Box::pin(async {
                let stranger = scope("stranger");
                assert!(!stranger.stop_token().is_requested());
                assert!(poll_once(&mut stranger.stop_token().requested()).await.is_pending());
            }),
        ),
        (
            "by a shielded task",
            Box::pin(async {
                spawn_shielded(async { StopToken::current().requested().await });
                yields(3).await;
            }),
        ),
        (
            "by a blocking job",
            Box::pin(async {
                let job = spawn_blocking(|| StopToken::current().is_requested());
                assert!(!job.await.unwrap());
            }),
        ),
    ]
}

fn what_is_not_asking_changes_nothing(config: Config) {
    for (way, work) in quiet() {
        let exit = stopped_in(config, |there| {
            Box::pin(async move {
                work.await;
                waiting(pending::<()>(), there).await;
            })
        });
        clean(&exit); // else it would be overdue
        assert_eq!(end_of(&exit, "t"), (TaskKind::Plain, Outcome::Cancelled), "{way}");
    }
    // In a cleanup and in a destructor, which come after the decision.
    struct Asks(Gate);
    impl Drop for Asks {
        fn drop(&mut self) {
            assert!(StopToken::current().is_requested());
            self.0.open();
        }
    }
    let dropped = Gate::new();
    let asks = Asks(dropped.clone());
    let exit = stopped_in(config, |there| {
        Box::pin(async move {
            let _asks = asks;
            let cleanup = async {
                assert!(StopToken::current().is_requested());
                StopToken::current().requested().await;
            };
            waiting(pending::<()>(), there).on_cancel(cleanup).await;
        })
    });
    clean(&exit);
    assert!(dropped.is_open());
    assert_eq!(end_of(&exit, "t"), (TaskKind::Plain, Outcome::Cancelled));
}

fn what_is_asked_in_a_shield_is_answered(config: Config) {
    let flushed = Gate::new();
    let flushes = flushed.clone();
    let exit = stopped_in(config, |there| {
        Box::pin(async move {
            shield(async {
                waiting(StopToken::current().requested(), there).await;
                yields(20).await;
                flushes.open();
            })
            .await;
            pending::<()>().await;
        })
    });
    clean(&exit);
    assert!(flushed.is_open());
    assert_eq!(end_of(&exit, "t"), (TaskKind::Plain, Outcome::Cancelled));
}

fn one_look_is_enough(config: Config) {
    let acted = Gate::new();
    let acts = acted.clone();
    let exit = stopped_in(config, |there| {
        Box::pin(async move {
            assert!(!StopToken::current().is_requested());
            // What it does then tells nobody of the stop, and is not cut off.
            waiting(yields(1), there).await;
            while !StopToken::current().peek() {
                yields(1).await;
            }
            yields(20).await;
            acts.open();
        })
    });
    clean(&exit);
    assert!(acted.is_open());
    assert_eq!(end_of(&exit, "t"), (TaskKind::Graceful, Outcome::Finished));
}

fn a_main_that_asks_is_graceful(config: Config) {
    let acted = Gate::new();
    for waits in [true, false] {
        let program = Program::new(config);
        let (stopper, acts) = (program.stopper(), acted.clone());
        let exit = program.run(async move {
            let there = Gate::new();
            let begun = there.clone();
            spawn(async move {
                begun.wait().await;
                stopper.stop();
                pending::<()>().await;
            });
            if waits {
                waiting(StopToken::current().requested(), there).await;
            } else {
                _ = waiting(pending::<()>().until_stop(), there).await;
            }
            yields(20).await;
            acts.open();
        });
        clean(&exit);
        assert!(acted.is_open());
        assert_eq!(end_of(&exit, "main"), (TaskKind::Graceful, Outcome::Finished));
    }
}

fn a_main_that_hands_tokens_on_is_not(config: Config) {
    let acts = Arc::new(AtomicUsize::new(0));
    let program = Program::new(config);
    let (stopper, counted) = (program.stopper(), acts.clone());
    let exit = program.run(async move {
        let token = StopToken::current();
        let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
        for there in gates.clone() {
            let (token, counted) = (token.clone(), counted.clone());
            spawn(async move {
                waiting(token.requested(), there).await;
                yields(20).await;
                counted.fetch_add(1, SeqCst);
            });
        }
        for there in gates {
            there.wait().await;
        }
        stopper.stop();
        // A plain task that never ends: it would hold up a main that had asked.
        _ = spawn(pending::<()>()).await;
    });
    clean(&exit);
    assert_eq!(acts.load(SeqCst), 3);
    assert_eq!(end_of(&exit, "main"), (TaskKind::Plain, Outcome::Cancelled));
}

fn a_main_that_joins_those_who_look_waits_for_them(config: Config) {
    let acts = Arc::new(AtomicUsize::new(0));
    let program = Program::new(config);
    let (stopper, counted) = (program.stopper(), acts.clone());
    let exit = program.run(async move {
        let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
        let worker = |there: &Gate| {
            let (there, counted) = (there.clone(), counted.clone());
            spawn(async move {
                while !StopToken::current().is_requested() {
                    there.open();
                    yields(1).await;
                }
                counted.fetch_add(1, SeqCst);
            })
        };
        let workers: Vec<_> = gates.iter().map(worker).collect();
        for there in gates {
            there.wait().await;
        }
        stopper.stop();
        for worker in workers {
            worker.await.unwrap();
        }
    });
    clean(&exit);
    assert_eq!(acts.load(SeqCst), 3);
}

fn all_of_many_act(config: Config) {
    const TASKS: usize = 300;
    let counts = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let program = Program::new(config);
    let (stopper, [there, acts]) = (program.stopper(), counts.clone());
    let exit = program.run(async move {
        let (all, arrived) = (Gate::new(), there.clone());
        for _ in 0..TASKS {
            let (all, there, acts) = (all.clone(), there.clone(), acts.clone());
            spawn(async move {
                let mut told = StopToken::current().requested();
                assert!(poll_once(&mut told).await.is_pending());
                if there.fetch_add(1, SeqCst) + 1 == TASKS {
                    all.open();
                }
                told.await;
                acts.fetch_add(1, SeqCst);
            });
        }
        all.wait().await;
        assert_eq!(arrived.load(SeqCst), TASKS);
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(counts[1].load(SeqCst), TASKS);
}

/// Has the executor run `future`, as a framework does that spawns by itself.
fn spawn_past_adjourn(future: impl Future<Output = ()> + Send + 'static) {
    drop(Scope::current().backend().spawn(future));
}

/// Once `signal` is told, the server's connection in `main` still has something to do.
async fn serve(stopper: Stopper, signal: Moved, acted: Gate) {
    let (there, told) = (Gate::new(), Gate::new());
    let (begun, tells) = (there.clone(), told.clone());
    spawn_past_adjourn(async move {
        waiting(signal, begun).await;
        tells.open();
    });
    there.wait().await;
    stopper.stop();
    told.wait().await;
    yields(20).await;
    acted.open();
}

fn what_is_spawned_past_adjourn_asks_for_main(config: Config) {
    for made_by_main in [true, false] {
        let acted = Gate::new();
        let program = Program::new(config);
        let (stopper, acts) = (program.stopper(), acted.clone());
        let exit = program.run(async move {
            let token = StopToken::current();
            let signal: Moved = if made_by_main {
                Box::pin(token.requested())
            } else {
                Box::pin(async move { token.requested().await })
            };
            serve(stopper, signal, acts).await;
        });
        clean(&exit);
        assert!(acted.is_open(), "made by main: {made_by_main}");
        assert_eq!(end_of(&exit, "main"), (TaskKind::Graceful, Outcome::Finished));
    }
}

fn what_is_spawned_past_adjourn_asks_for_the_task_that_made_it(config: Config) {
    let acted = Gate::new();
    let program = Program::new(config);
    let (stopper, acts) = (program.stopper(), acted.clone());
    let exit = program.run(async move {
        task("t").spawn(async move {
            let signal = StopToken::current().requested();
            serve(stopper, Box::pin(signal), acts).await;
        });
        pending::<()>().await;
    });
    clean(&exit);
    assert!(acted.is_open());
    assert_eq!(end_of(&exit, "t"), (TaskKind::Graceful, Outcome::Finished));
    assert_eq!(end_of(&exit, "main"), (TaskKind::Plain, Outcome::Cancelled));
}

fn what_is_spawned_past_adjourn_in_a_nursery_asks_for_its_task(config: Config) {
    let acted = Gate::new();
    let program = Program::new(config);
    let (stopper, acts) = (program.stopper(), acted.clone());
    let exit = program.run(async move {
        let nursery = async move {
            let signal = StopToken::current().requested();
            serve(stopper, Box::pin(signal), acts).await;
        };
        scope("nursery").run(nursery).await;
    });
    clean(&exit);
    assert!(acted.is_open());
    assert_eq!(end_of(&exit, "main"), (TaskKind::Graceful, Outcome::Finished));
}

fn who_spawns_graceful_work_that_waits_past_adjourn_asks_nothing(config: Config) {
    for made_in_the_closure in [true, false] {
        let acted = Gate::new();
        let program = Program::new(config);
        let (stopper, acts) = (program.stopper(), acted.clone());
        let exit = program.run(async move {
            task("t").spawn_graceful(move |token| {
                let signal: Moved = if made_in_the_closure {
                    Box::pin(token.requested())
                } else {
                    Box::pin(async move { token.requested().await })
                };
                serve(stopper, signal, acts)
            });
            pending::<()>().await;
        });
        clean(&exit);
        assert!(acted.is_open(), "made in the closure: {made_in_the_closure}");
        assert_eq!(end_of(&exit, "t"), (TaskKind::Graceful, Outcome::Finished));
        assert_eq!(end_of(&exit, "main"), (TaskKind::Plain, Outcome::Cancelled));
    }
}

fn who_asks_inside_a_siblings_scope_is_told_of_its_own_stop(config: Config) {
    let acted = Gate::new();
    let acts = acted.clone();
    let exit = Program::new(config).run(async move {
        let [own, given, other] = ["own", "given", "other"].map(scope);
        let (there, other) = (Gate::new(), other.stop_token());
        let (begun, inside) = (there.clone(), given.clone());
        own.spawn(async move {
            let asks = async {
                let token = StopToken::current();
                waiting(token.requested(), begun).await;
                assert!(token.peek() && !other.peek(), "told of its own stop, and of no other");
                acts.open();
            };
            asks.in_scope(&inside).await;
        });
        there.wait().await;
        own.stop().await.expect("main is not inside");
        assert!(!given.stop_token().peek(), "main has nothing to do with that stop");
    });
    clean(&exit);
    assert!(acted.is_open());
}

fn hooks_ask_for_nobody(config: Config) {
    let asked = Gate::new();
    let program = Program::new(config);
    let (stopper, asks) = (program.stopper(), asked.clone());
    let exit = program.run(async move {
        let db = scope("db");
        db.on_stopped(async move {
            _ = pending::<()>().until_stop().await;
            StopToken::current().requested().await;
            asks.open();
        });
        db.stop().await.expect("main is not inside");
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert!(asked.is_open());
    assert_eq!(end_of(&exit, "main"), (TaskKind::Plain, Outcome::Cancelled));
}

fn a_task_that_holds_the_token_of_a_scope_above_is_told_of_its_own_stop(config: Config) {
    let exit = Program::new(config).run(async {
        let above = StopToken::current();
        for by_look in [true, false] {
            let (connection, there) = (scope("connection"), Gate::new());
            let (token, begun) = (above.clone(), there.clone());
            let handle = connection.spawn(async move {
                if by_look {
                    while !token.is_requested() {
                        begun.open();
                        yields(1).await;
                    }
                } else {
                    waiting(token.requested(), begun).await;
                }
                yields(20).await;
                7
            });
            there.wait().await;
            connection.stop().await.unwrap();
            assert_eq!(handle.await.unwrap(), 7, "it was graceful, and told");
            assert!(!above.peek());
        }
    });
    clean(&exit);
    assert_eq!(exit.report().totals["connection"].finished, 2);
}

fn a_queue_finishes_the_job_in_hand(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let (jobs, queue) = async_channel::unbounded();
        for job in ["first", "second"] {
            jobs.send(job).await.unwrap();
        }
        spawn(async move {
            while let Ok(job) = queue.recv().until_stop().await.map(Result::unwrap) {
                stopper.stop();
                while !StopToken::current().peek() {
                    yields(1).await;
                }
                yields(20).await;
                said.say(job);
            }
            said.say("closed");
        });
        _ = jobs;
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["first", "closed"]);
}

fn a_first_ask_while_another_drains_gives_time(config: Config) {
    let acted = Gate::new();
    let acts = acted.clone();
    let exit = stopped_in(config, |there| {
        Box::pin(async move {
            let (told, asked) = (Gate::new(), Gate::new());
            let (tells, waits) = (told.clone(), asked.clone());
            spawn_graceful(|stop| async move {
                stop.requested().await;
                tells.open();
                waits.wait().await;
            });
            waiting(told.wait(), there).await;
            StopToken::current().requested().await;
            asked.open();
            yields(50).await;
            acts.open();
        })
    });
    clean(&exit);
    assert!(acted.is_open());
    assert_eq!(end_of(&exit, "t"), (TaskKind::Plain, Outcome::Finished), "it asked later");
}

fn a_first_ask_after_the_decision_gives_none(config: Config) {
    if config.is_single_threaded() {
        return; // nothing is decided while it computes
    }
    let told = Gate::new();
    let tells = told.clone();
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        task("t").spawn(async move {
            stopper.stop();
            while Scope::current().phase() < Phase::Cancelling {
                thread::sleep(millis(1));
            }
            StopToken::current().requested().await;
            tells.open();
            pending::<()>().await;
        });
        pending::<()>().await;
    });
    clean(&exit);
    assert!(told.is_open(), "the answer is true");
    assert_eq!(end_of(&exit, "t"), (TaskKind::Plain, Outcome::Cancelled));
}
