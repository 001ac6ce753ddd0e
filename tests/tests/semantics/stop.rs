//! Requests to stop, draining, cancelling, limits.

use std::future::pending;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use adjourn::{
    Outcome, Phase, Reason, Scope, StragglerState, is_ready, ready, spawn, spawn_graceful, task,
};

use crate::harness::*;

scenarios![
    stop_is_idempotent_and_reasons_keep_their_order,
    a_stop_before_the_start_is_not_lost,
    a_plain_thread_stops_the_program,
    plain_tasks_are_cancelled_at_once,
    a_graceful_main_drains,
    overdue_graceful_tasks_are_cancelled_at_the_drain_limit,
    lame_duck_goes_on_but_is_not_ready,
    an_idle_program_is_no_lame_duck,
    timeout_of_max_waits_for_ever,
    a_task_spawned_while_draining_joins_the_drain,
    a_stuck_worker_does_not_outlast_the_deadline,
    less_time_brings_the_limits_of_a_stop_forward,
    less_time_before_the_start_is_not_forgotten,
    less_time_holds_a_stuck_worker_too,
    dropping_an_attached_program_cancels_all,
    a_stop_while_tasks_spawn_loses_none,
];

fn stop_is_idempotent_and_reasons_keep_their_order(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        drop(spawn_graceful(move |stop| async move {
            stopper.stop_because("first");
            stop.requested().await;
            stopper.stop_because("second");
            stopper.stop();
            yields(3).await;
        }));
        pending::<()>().await;
    });
    clean(&exit);
    let reasons: Vec<_> = exit.report().reasons.iter().map(|at| at.what.clone()).collect();
    let asked = |why: &str| Reason::Requested(Some(why.to_owned()));
    assert_eq!(reasons, [asked("first"), asked("second"), Reason::Requested(None)]);
    assert_eq!(exit.report().total().finished, 1);
}

fn a_stop_before_the_start_is_not_lost(config: Config) {
    let program = Program::new(config);
    program.stopper().stop_because("early");
    program.stopper().stop();
    let exit = program.run_pending();
    clean(&exit);
    assert_eq!(exit.report().reason(), Some(&Reason::Requested(Some("early".to_owned()))));
    assert_eq!(exit.report().reasons.len(), 2);
}

fn a_plain_thread_stops_the_program(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let (begun, begins) = mpsc::channel();
    let thread = thread::spawn(move || {
        begins.recv().unwrap();
        stopper.stop();
        stopper
    });
    let exit = program.run(async move {
        begun.send(()).unwrap();
        pending::<()>().await;
    });
    clean(&exit);
    thread.join().unwrap().stop(); // after the end: nothing happens
}

fn plain_tasks_are_cancelled_at_once(config: Config) {
    let program = Program::new(config).endless(); // a stop that waits for a limit hangs
    let stopper = program.stopper();
    let exit = program.run(async move {
        for _ in 0..100 {
            drop(spawn(pending::<()>()));
        }
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(exit.report().total().cancelled, 101);
    assert_eq!(exit.report().main, Some(Outcome::Cancelled));
    assert_eq!(exit.report().alive_at_stop, 101);
    assert_eq!(exit.report().tasks.len(), 100);
    assert!(
        exit.report().tasks.iter().all(|task| task.outcome == Outcome::Cancelled),
        "{:?}",
        exit.report().tasks
    );
    let phases: Vec<_> = exit.report().phases.iter().map(|span| span.phase).collect();
    use Phase::*;
    assert_eq!(phases, [Running, Draining, Cancelling, Closing, Stopped]);
}

fn a_graceful_main_drains(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run_graceful(move |stop| async move {
        stopper.stop();
        stop.requested().await;
        said.say("told");
        yields(10).await;
        said.say("closed");
    });
    clean(&exit);
    log.is(&["told", "closed"]);
    assert_eq!(exit.report().main, Some(Outcome::Finished));
}

fn overdue_graceful_tasks_are_cancelled_at_the_drain_limit(config: Config) {
    let log = Log::default();
    let program = Program::new(config).drain_limit(millis(50));
    let (stopper, said) = (program.stopper(), log.clone());
    let start = Instant::now();
    let exit = program.run(async move {
        drop(task("deaf").spawn_graceful(move |_| async move {
            let _dropped = said.on_drop("dropped");
            stopper.stop();
            pending::<()>().await;
        }));
        pending::<()>().await;
    });
    exits(&exit, 124);
    assert!(start.elapsed() >= millis(50));
    log.is(&["dropped"]);
    assert_eq!(exit.report().total().cancelled, 2);
    let deaf = exit.report().tasks.iter().find(|task| task.task.name.as_deref() == Some("deaf"));
    assert_eq!(deaf.unwrap().outcome, Outcome::Cancelled);
}

fn lame_duck_goes_on_but_is_not_ready(config: Config) {
    let log = Log::default();
    let program = Program::new(config).lame_duck(millis(50));
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        assert!(!is_ready());
        ready();
        assert!(is_ready());
        drop(spawn_graceful(move |stop| async move {
            let start = Instant::now();
            stopper.stop();
            while is_ready() {
                yields(1).await;
            }
            if !stop.is_requested() {
                assert_eq!(spawn(async { 1 }).await.unwrap(), 1);
            }
            stop.requested().await;
            assert!(start.elapsed() >= millis(50));
            said.say("told");
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["told"]);
    assert_eq!(exit.report().phases[1].phase, Phase::LameDuck);
}

fn an_idle_program_is_no_lame_duck(config: Config) {
    let hour = Duration::from_secs(3_600);
    clean(&Program::new(config).lame_duck(hour).run(async {}));
    // What is left ends while it is one.
    let program = Program::new(config).lame_duck(hour);
    let stopper = program.stopper();
    let exit = program.run(async move {
        drop(spawn(async move {
            stopper.stop();
            yields(3).await;
        }));
    });
    clean(&exit);
}

fn timeout_of_max_waits_for_ever(config: Config) {
    let program = Program::new(config).timeout(Duration::MAX);
    let stopper = program.stopper();
    let exit = program.run(async move {
        drop(spawn_graceful(move |stop| async move {
            stopper.stop();
            stop.requested().await;
            sleep(millis(20)).await;
        }));
        pending::<()>().await;
    });
    clean(&exit);
    assert!(exit.report().phases.iter().all(|span| span.limit.is_none()));
}

fn a_task_spawned_while_draining_joins_the_drain(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        drop(spawn_graceful(move |stop| async move {
            stopper.stop();
            stop.requested().await;
            let handle = spawn_graceful(move |stop| async move {
                stop.requested().await;
                yields(5).await;
                said.say("second");
                drop(spawn_graceful(move |_| async move {
                    yields(5).await;
                    said.say("third");
                }));
            });
            drop(handle);
            assert_eq!(spawn(async { 1 }).await.unwrap(), 1, "plain ones too");
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["second", "third"]);
}

fn a_stuck_worker_does_not_outlast_the_deadline(config: Config) {
    if config.is_single_threaded() {
        return; // the caller's own thread would be the one that is stuck
    }
    let program = Program::new(config).timeout(millis(300));
    let stopper = program.stopper();
    let (release, released) = mpsc::channel::<()>();
    let (sent, received) = mpsc::channel();
    let start = Instant::now();
    let exit = program.run(async move {
        let (begun, begins) = mpsc::channel();
        let handle = task("wedged").spawn(async move {
            begun.send(()).unwrap();
            _ = released.recv();
        });
        sent.send(handle).unwrap();
        begins.recv().unwrap();
        stopper.stop();
        pending::<()>().await;
    });
    let took = start.elapsed();
    assert!(took >= millis(270) && took < UNSET, "{took:?}");
    exits(&exit, 124);
    let report = exit.report();
    assert_eq!(straggler(report, "wedged").state, StragglerState::Polling);
    assert_eq!(report.total().abandoned, 1);
    let handle = received.recv().unwrap();
    let error = futures_lite::future::block_on(handle).unwrap_err();
    assert!(error.is_abandoned(), "{error}");
    drop(release);
}

fn less_time_brings_the_limits_of_a_stop_forward(config: Config) {
    // Were they not, it would take an hour: the watchdog says so.
    let program = Program::new(config).timeout(Duration::from_secs(3600));
    let stopper = program.stopper();
    let exit = program.run(async move {
        task("deaf").spawn_graceful(|stop| async move {
            stopper.stop();
            stop.requested().await;
            yields(20).await; // the limits of the stop are set, and slept for
            stopper.stop_within(millis(200));
            pending::<()>().await;
        });
        pending::<()>().await;
    });
    let report = exit.report();
    let ended = report.total().cancelled + report.total().abandoned;
    assert_eq!(ended, 2, "main and the deaf one are cut off: {report}");
    let draining = report.phases.iter().find(|span| span.phase == Phase::Draining).unwrap();
    let limit = draining.limit.expect("it has one");
    assert!(draining.left >= Some(limit), "no sooner than that: {report}");
    assert!(limit < Duration::from_secs(1800), "it was said: {limit:?}");
}

fn less_time_before_the_start_is_not_forgotten(config: Config) {
    let program = Program::new(config).timeout(Duration::from_secs(3600));
    let stopper = program.stopper();
    stopper.stop_within(Duration::from_secs(1800));
    stopper.stop_within(millis(200));
    stopper.stop_within(Duration::from_secs(1800));
    let exit = program.run_graceful(|_| pending::<()>());
    let report = exit.report();
    assert_eq!((report.reasons.len(), report.total().finished), (3, 0), "{report}");
    let draining = report.phases.iter().find(|span| span.phase == Phase::Draining).unwrap();
    let limit = draining.limit.expect("it has one");
    assert!(limit < Duration::from_secs(1), "the shortest counts: {limit:?}");
    assert!(draining.left >= Some(limit), "no sooner than that: {report}");
}

fn less_time_holds_a_stuck_worker_too(config: Config) {
    if config.is_single_threaded() {
        return; // the caller's own thread would be the one that is stuck
    }
    let program = Program::new(config).timeout(Duration::from_secs(3600));
    let stopper = program.stopper();
    let (release, released) = mpsc::channel::<()>();
    let exit = program.run_graceful(move |_| async move {
        let (begun, begins) = mpsc::channel();
        task("wedged").spawn(async move {
            begun.send(()).unwrap();
            _ = released.recv();
        });
        begins.recv().unwrap();
        stopper.stop();
        yields(20).await;
        stopper.stop_within(millis(300));
        pending::<()>().await;
    });
    exits(&exit, 124);
    assert_eq!(straggler(exit.report(), "wedged").state, StragglerState::Polling);
    drop(release);
}

fn dropping_an_attached_program_cancels_all(config: Config) {
    if config != Config::TokioAttached {
        return;
    }
    let log = Log::default();
    let said = log.clone();
    let dropped_so_far = log.clone();
    let runtime = tokio_runtime();
    runtime.block_on(async move {
        let begun = Gate::new();
        let begins = begun.clone();
        let (dropped, shielded) = (said.on_drop("plain"), said.on_drop("shielded"));
        let runner = adjourn::tokio::Runner::new();
        let program = runner.attach(async move {
            drop(spawn(async move {
                let _dropped = dropped;
                pending::<()>().await;
            }));
            drop(adjourn::spawn_shielded(async move {
                let _dropped = shielded;
                begins.open();
                pending::<()>().await;
            }));
            let _dropped = said.on_drop("main");
            pending::<()>().await;
        });
        let program = Box::pin(program);
        drop(futures_util::future::select(program, Box::pin(begun.wait())).await);
        // The runtime goes on: it is not its end that drops them.
        while dropped_so_far.all().len() < 3 {
            tokio::task::yield_now().await;
        }
    });
    drop(runtime);
    let mut all = log.all();
    all.sort();
    assert_eq!(all, ["main", "plain", "shielded"]);
}

fn a_stop_while_tasks_spawn_loses_none(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let scope = Scope::current();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let scope = scope.clone();
                thread::spawn(move || {
                    for _ in 0..500 {
                        drop(scope.spawn(pending::<()>()));
                        drop(scope.spawn_graceful(|stop| async move { stop.requested().await }));
                    }
                })
            })
            .collect();
        adjourn::shield(async move {
            stopper.stop();
            while threads.iter().any(|thread| !thread.is_finished()) {
                yields(1).await;
            }
        })
        .await;
        pending::<()>().await;
    });
    clean(&exit);
    let total = exit.report().total();
    assert_eq!(total.spawned + total.refused, 3001);
}
