//! Requests to stop, draining, cancelling, limits, and how programs start and end.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use adjourn::{
    Exit, FailureKind, FutureExt, Outcome, Phase, Reason, ResultFutureExt, Scope, StopRequested,
    StopToken, StragglerState, Until, is_ready, ready, spawn, spawn_graceful, task,
};
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::harness::*;

scenarios![
    stop_is_idempotent_and_reasons_keep_their_order,
    a_stop_before_the_start_is_not_lost,
    a_plain_thread_stops_the_program,
    plain_tasks_are_cancelled_at_once,
    a_graceful_main_drains,
    overdue_graceful_tasks_are_cancelled_at_the_drain_limit,
    tokens_are_level_triggered,
    every_waiter_is_woken,
    tokens_work_behind_wakers_of_combinators,
    a_token_of_one_scope_is_awaited_in_another,
    until_stop_gives_the_value_or_drops_the_future,
    until_stop_looks_at_the_stop_first,
    until_stop_works_behind_wakers_of_combinators,
    until_stop_gives_up_with_the_scope_that_it_was_given,
    a_wait_that_is_dropped_keeps_no_waker,
    a_stop_request_in_an_error_counts_as_cancelled,
    plain_tasks_that_report_a_stop_request_count_as_cancelled,
    or_stop_fails_the_task_and_stops_the_program,
    or_report_only_records,
    an_error_of_a_plain_task_is_its_handles,
    lame_duck_goes_on_but_is_not_ready,
    timeout_of_max_waits_for_ever,
    main_errors_panics_and_codes,
    a_panic_of_a_task_stops_only_where_asked,
    until_idle_waits_for_tasks,
    until_main_returns_stops_what_is_alive,
    until_stopped_waits_for_a_request,
    options_that_make_no_sense_are_errors,
    a_program_inside_a_program_is_an_error,
    two_programs_in_one_process_are_independent,
    a_second_run_behaves_like_the_first,
    on_failure_is_told_of_each,
    a_task_spawned_while_draining_joins_the_drain,
    a_stuck_worker_does_not_outlast_the_deadline,
    dropping_an_attached_program_cancels_all,
    a_stop_while_tasks_spawn_loses_none,
    a_task_that_was_told_of_the_stop_starts_nothing_until_stop,
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
    let program = Program::new(config);
    let stopper = program.stopper();
    let start = Instant::now();
    let exit = program.run(async move {
        for _ in 0..100 {
            drop(spawn(pending::<()>()));
        }
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert!(start.elapsed() < Duration::from_secs(15), "far from the drain limit of 20 s");
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
    clean(&exit);
    assert!(start.elapsed() >= millis(50));
    log.is(&["dropped"]);
    assert_eq!(exit.report().total().cancelled, 2);
    let deaf = exit.report().tasks.iter().find(|task| task.task.name.as_deref() == Some("deaf"));
    assert_eq!(deaf.unwrap().outcome, Outcome::Cancelled);
}

fn tokens_are_level_triggered(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        drop(spawn_graceful(move |stop| async move {
            assert!(!stop.is_requested() && stop.reason().is_none());
            assert!(poll_once(&mut stop.requested()).await.is_pending());
            stopper.stop();
            stop.requested().await;
            assert!(stop.is_requested());
            assert_eq!(stop.reason(), Some(Reason::Requested(None)));
            for _ in 0..3 {
                assert!(poll_once(&mut stop.requested()).await.is_ready());
                assert!(poll_once(&mut StopToken::current().requested()).await.is_ready());
            }
            assert!(stop.wait_timeout(Duration::MAX));
        }));
        pending::<()>().await;
    });
    clean(&exit);
}

fn every_waiter_is_woken(config: Config) {
    let count = Arc::new(AtomicUsize::new(0));
    let program = Program::new(config);
    let (stopper, counted) = (program.stopper(), count.clone());
    let exit = program.run(async move {
        for _ in 0..200 {
            let counted = counted.clone();
            drop(spawn_graceful(move |stop| async move {
                stop.requested().await;
                counted.fetch_add(1, SeqCst);
            }));
        }
        yields(1).await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(count.load(SeqCst), 200);
}

fn tokens_work_behind_wakers_of_combinators(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let begun = Gate::new();
        let begins = begun.clone();
        let handle = spawn_graceful(move |stop| async move {
            let mut waits: FuturesUnordered<_> = (0..10).map(|_| stop.requested()).collect();
            assert!(poll_once(&mut waits.next()).await.is_pending());
            begins.open();
            waits.by_ref().count().await
        });
        begun.wait().await;
        stopper.stop();
        // Main is cancelled once the drain is over: it gets as far as this or not at all.
        assert_eq!(handle.await.unwrap(), 10);
    });
    clean(&exit);
    assert!(exit.report().total().finished >= 1);
}

fn a_token_of_one_scope_is_awaited_in_another(config: Config) {
    let exit = Program::new(config).run(async {
        let (a, b) = (adjourn::scope("a"), adjourn::scope("b"));
        let begun = Gate::new();
        let (stop, begins) = (a.stop_token(), begun.clone());
        let handle = b.spawn(async move {
            let mut requested = stop.requested();
            assert!(poll_once(&mut requested).await.is_pending());
            begins.open();
            requested.await;
            StopToken::current().is_requested()
        });
        begun.wait().await;
        a.stop().await.unwrap();
        assert!(!handle.await.unwrap(), "b goes on");
    });
    clean(&exit);
}

fn until_stop_gives_the_value_or_drops_the_future(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        assert_eq!(async { 1 }.until_stop().interruptible().await, Ok(1));
        drop(spawn_graceful(move |_| async move {
            let dropped = said.on_drop("dropped");
            let waits = async move {
                let _dropped = dropped;
                pending::<()>().await;
            };
            stopper.stop();
            assert_eq!(waits.until_stop().await, Err(StopRequested));
            said.say("told");
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["dropped", "told"]);
}

fn until_stop_looks_at_the_stop_first(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        drop(spawn_graceful(move |stop| async move {
            stopper.stop();
            stop.requested().await;
            let never = async { panic!("polled after the stop") };
            assert_eq!(never.until_stop().await, Err::<(), _>(StopRequested));
        }));
        pending::<()>().await;
    });
    clean(&exit);
}

fn until_stop_works_behind_wakers_of_combinators(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let begun = Gate::new();
        let begins = begun.clone();
        drop(spawn_graceful(move |_| async move {
            let mut waits: FuturesUnordered<_> =
                (0..10).map(|_| pending::<()>().until_stop()).collect();
            assert!(poll_once(&mut waits.next()).await.is_pending());
            begins.open();
            assert_eq!(
                waits.by_ref().filter(|end| std::future::ready(end.is_err())).count().await,
                10
            );
        }));
        begun.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(exit.report().total().finished, 1);
}

fn until_stop_gives_up_with_the_scope_that_it_was_given(config: Config) {
    let exit = Program::new(config).run(async {
        let (here, there) = (adjourn::scope("here"), adjourn::scope("there"));
        let begun = Gate::new();
        let (begins, given) = (begun.clone(), there.clone());
        let handle = here.spawn(async move {
            let mut waits = Box::pin(pending::<()>().until_stop().in_scope(&given));
            assert!(poll_once(&mut waits).await.is_pending());
            begins.open();
            waits.await
        });
        begun.wait().await;
        drop(there.stop());
        assert_eq!(handle.await.unwrap(), Err(StopRequested));
        assert!(!here.stop_token().is_requested());
    });
    clean(&exit);
}

fn a_wait_that_is_dropped_keeps_no_waker(config: Config) {
    let exit = Program::new(config).run(async {
        let scope = adjourn::scope("stays");
        let gate = Gate::new();
        let opened = gate.clone();
        drop(scope.spawn_shielded(async move { opened.wait().await }));
        let [first, second] = [(); 2].map(|()| Arc::new(Counted));
        let mut requested = Box::pin(Scope::current().stop_token().requested());
        assert!(first.clone().poll(&mut requested).is_pending());
        assert!(second.clone().poll(&mut requested).is_pending());
        assert_eq!(Arc::strong_count(&first), 1, "the later one is in its place");
        assert!(Arc::strong_count(&second) > 1);
        drop(requested);
        assert_eq!(Arc::strong_count(&second), 1);
        let mut ended = Box::pin(scope.stop());
        assert!(first.clone().poll(&mut ended).is_pending());
        assert!(Arc::strong_count(&first) > 1);
        drop(ended);
        assert_eq!(Arc::strong_count(&first), 1);
        gate.open();
    });
    clean(&exit);
}

fn a_stop_request_in_an_error_counts_as_cancelled(config: Config) {
    #[derive(Debug)]
    struct Wrapped(StopRequested);
    impl std::fmt::Display for Wrapped {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the work was left")
        }
    }
    impl std::error::Error for Wrapped {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let work = async { pending::<()>().until_stop().await.map_err(Wrapped) };
        drop(spawn_graceful(|_| work.or_stop()));
        drop(spawn_graceful(|_| async { Err::<(), _>(Wrapped(StopRequested)) }.or_report()));
        yields(1).await;
        stopper.stop();
        pending::<()>().until_stop().await.map_err(Wrapped)
    });
    clean(&exit);
    assert_eq!(exit.report().main, Some(Outcome::Cancelled));
    assert_eq!(exit.report().total().cancelled, 3);
    assert_eq!(exit.report().reasons.len(), 1);
}

fn plain_tasks_that_report_a_stop_request_count_as_cancelled(config: Config) {
    let exit = Program::new(config).run(async {
        let work = || async { Err::<(), _>(StopRequested) }.or_report();
        let tasks: Vec<_> = (0..5).map(|_| spawn(work())).collect();
        for task in tasks {
            assert!(task.await.unwrap().is_err());
        }
    });
    clean(&exit);
    assert_eq!((exit.report().total().finished, exit.report().total().cancelled), (1, 5));
}

fn or_stop_fails_the_task_and_stops_the_program(config: Config) {
    let exit = Program::new(config).run(async {
        let error = || std::io::Error::other("the disk is full");
        drop(task("writer").spawn(async move { Err::<(), _>(error()) }.or_stop()));
        pending::<()>().await;
    });
    exits(&exit, 1);
    let failures = failures(&exit, FailureKind::TaskError);
    assert_eq!(failures.len(), 1);
    assert!(failures[0].fatal && failures[0].origin.contains("writer"), "{:?}", failures[0]);
    assert_eq!(failures[0].messages[0], "the disk is full");
    assert_eq!(exit.report().total().failed, 1);
    assert!(
        matches!(exit.report().reason(), Some(Reason::TaskFailed(why)) if why.contains("full"))
    );
}

fn or_report_only_records(config: Config) {
    let exit = Program::new(config).run(async {
        let result = spawn(async { Err::<(), _>("a small one") }.or_report()).await.unwrap();
        assert!(result.is_err());
        assert_eq!(spawn(async { Ok::<_, AnyError>(1) }.or_report()).await.unwrap(), Ok(1));
    });
    succeeded(&exit);
    assert_eq!(failures(&exit, FailureKind::TaskError)[0].messages, ["a small one"]);
    assert_eq!(exit.report().total().failed, 1);
    assert!(!exit.report().is_clean());
}

fn an_error_of_a_plain_task_is_its_handles(config: Config) {
    let exit = Program::new(config).run(async {
        assert_eq!(spawn(async { Err::<(), _>("mine") }).await.unwrap(), Err("mine"));
    });
    clean(&exit);
    assert_eq!(exit.report().total().finished, 2);
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

fn main_errors_panics_and_codes(config: Config) {
    let exit = Program::new(config).run(async {
        drop(spawn(pending::<()>()));
        Err::<(), _>("no such file")
    });
    exits(&exit, 1);
    assert_eq!(exit.report().main, Some(Outcome::Failed));
    assert_eq!(failures(&exit, FailureKind::MainError)[0].messages, ["no such file"]);
    assert!(matches!(exit.report().reason(), Some(Reason::MainFailed(_))));

    let exit = Program::new(config).run(async {
        drop(spawn(pending::<()>()));
        yields(1).await;
        if true {
            panic!("main's own");
        }
    });
    exits(&exit, 101);
    assert_eq!(exit.report().main, Some(Outcome::Panicked));
    assert_eq!(failures(&exit, FailureKind::MainPanic)[0].messages, ["main's own"]);
    assert_eq!(exit.report().failures.len(), 1);

    let exit = Program::new(config).run(async { Exit::code(7) });
    exits(&exit, 7);
    let exit = Program::new(config).run(async { Ok::<_, AnyError>(Exit::code(0)) });
    exits(&exit, 0);
    let exit = Program::new(config).run(async { Ok::<Exit, AnyError>(Exit::code(9)) });
    exits(&exit, 9);
}

fn a_panic_of_a_task_stops_only_where_asked(config: Config) {
    let exit = Program::new(config).stop_on_panic().run(async {
        drop(task("fragile").spawn(async { panic!("broken") }));
        pending::<()>().await;
    });
    exits(&exit, 101);
    let Some(Reason::TaskFailed(why)) = exit.report().reason() else {
        panic!("{}", exit.report());
    };
    assert!(why.contains("fragile") && why.contains("broken"), "{why}");

    let exit = Program::new(config).run(async {
        assert!(spawn(async { panic!("broken") }).await.unwrap_err().is_panic());
        yields(3).await;
    });
    succeeded(&exit);
}

fn until_idle_waits_for_tasks(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let (gate, opened) = (Gate::new(), said.clone());
        let waits = gate.clone();
        drop(adjourn::scope("below").spawn(async move {
            waits.wait().await;
            opened.say("below done");
        }));
        drop(spawn(async move {
            sleep(millis(5)).await;
            assert!(!StopToken::current().is_requested());
            said.say("done");
            gate.open();
        }));
    });
    clean(&exit);
    log.is(&["done", "below done"]);
    assert_eq!(exit.report().reason(), Some(&Reason::Idle));
}

fn until_main_returns_stops_what_is_alive(config: Config) {
    let exit = Program::new(config).until(Until::MainReturns).run(async {
        drop(spawn(pending::<()>()));
        drop(spawn_graceful(|stop| async move { stop.requested().await }));
    });
    clean(&exit);
    assert_eq!(exit.report().reason(), Some(&Reason::MainReturned));
    assert_eq!(exit.report().total().cancelled, 1);
    assert_eq!(exit.report().total().finished, 2);
}

fn until_stopped_waits_for_a_request(config: Config) {
    let program = Program::new(config).until(Until::Stopped);
    let stopper = program.stopper();
    let exit = program.run(async move {
        drop(spawn(async move {
            sleep(millis(10)).await;
            stopper.stop();
        }));
    });
    clean(&exit);
    assert_eq!(exit.report().reason(), Some(&Reason::Requested(None)));
    assert_eq!(exit.report().total().finished + exit.report().total().cancelled, 2);
}

fn options_that_make_no_sense_are_errors(config: Config) {
    let new = || Program::new(config);
    for (program, advice) in [
        (new().timeout(Duration::ZERO), "zero"),
        (new().timeout(millis(10)).drain_limit(millis(20)), "drain limit"),
        (new().timeout(millis(10)).lame_duck(millis(20)), "lame-duck"),
        (new().timeout(millis(10)).closing_reserve(millis(20)), "closing reserve"),
    ] {
        let exit = program.run(async { panic!("main is never polled") });
        exits(&exit, 1);
        let report = exit.report();
        assert!(report.start_error.as_ref().unwrap().contains(advice), "{report}");
        assert!(report.main.is_none() && report.reasons.is_empty());
        assert_eq!(report.backend, config.backend());
    }
    let (sent, received) = mpsc::channel();
    let program = new().timeout(Duration::ZERO).on_report(move |report| {
        sent.send(report.start_error.is_some()).unwrap();
    });
    exits(&program.run_pending(), 1);
    assert!(received.recv().unwrap());
}

fn a_program_inside_a_program_is_an_error(config: Config) {
    let exit = Program::new(config).run(async {
        let inner = |config| async move {
            let inner = Program::new(config).run(async { panic!("main is never polled") });
            assert_eq!(inner.exit_code(), 1);
            assert!(inner.report().start_error.is_some(), "{}", inner.report());
        };
        for config in [Config::TokioWorkers, Config::SmolWorkers, Config::AsyncStd] {
            inner(config).await;
            spawn(inner(config)).await.unwrap();
        }
    });
    clean(&exit);
}

fn two_programs_in_one_process_are_independent(config: Config) {
    let (first, second) = (Program::new(config), Program::new(config));
    let (stop_first, stop_second) = (first.stopper(), second.stopper());
    let (begun, begins) = mpsc::channel();
    let second = thread::spawn(move || {
        second.run(async move {
            begun.send(()).unwrap();
            pending::<()>().await;
        })
    });
    begins.recv().unwrap();
    let exit = first.run(async move {
        stop_first.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert!(!second.is_finished());
    stop_second.stop();
    clean(&second.join().unwrap());
}

fn a_second_run_behaves_like_the_first(config: Config) {
    let once = || {
        let program = Program::new(config);
        let stopper = program.stopper();
        let exit = program.run(async move {
            drop(spawn_graceful(|stop| async move { stop.requested().await }));
            assert_eq!(spawn(async { 1 }).await.unwrap(), 1);
            stopper.stop();
            pending::<()>().await;
        });
        clean(&exit);
        exit.report().total()
    };
    assert_eq!(once(), once());
}

fn on_failure_is_told_of_each(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let program = Program::new(config).on_failure(move |failure| said.say(&*failure.messages[0]));
    let exit = program.run(async {
        _ = spawn(async { panic!("one") }).await;
        _ = spawn(async { Err::<(), _>("two") }.or_report()).await;
        Err::<(), _>("three")
    });
    exits(&exit, 1);
    log.is(&["one", "two", "three"]);
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
    assert!(took >= millis(270) && took < Duration::from_secs(3), "{took:?}");
    exits(&exit, 124);
    let report = exit.report();
    assert_eq!(report.stragglers.len(), 1, "{report}");
    assert_eq!(report.stragglers[0].task.name.as_deref(), Some("wedged"));
    assert_eq!(report.stragglers[0].state, StragglerState::Polling);
    assert_eq!(report.total().abandoned, 1);
    let handle = received.recv().unwrap();
    let error = futures_lite::future::block_on(handle).unwrap_err();
    assert!(error.is_abandoned(), "{error}");
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

fn a_task_that_was_told_of_the_stop_starts_nothing_until_stop(config: Config) {
    if config.is_single_threaded() {
        return; // nothing comes between
    }
    let program = Program::new(config);
    let stopper = program.stopper();
    let began = Arc::new(AtomicBool::new(false));
    let tell = began.clone();
    let there = Arc::new(AtomicUsize::new(0));
    let exit = program.run(async move {
        for _ in 0..20_000 {
            let there = there.clone();
            drop(spawn_graceful(|stop| async move {
                there.fetch_add(1, SeqCst);
                stop.requested().await;
            }));
        }
        drop(spawn_graceful(|stop: StopToken| async move {
            let mut parts = FuturesUnordered::new();
            parts.push(stop.requested());
            parts.next().await;
            assert!(stop.is_requested());
            let work = async move { tell.store(true, SeqCst) };
            assert!(work.until_stop().await.is_err());
        }));
        while there.load(SeqCst) < 20_000 {
            Scope::current().sleep(Duration::from_millis(5)).await;
        }
        stopper.stop();
        pending::<()>().await;
    });
    assert!(!began.load(SeqCst), "began though its task was told of the stop");
    clean(&exit);
}

#[test]
fn an_attached_program_has_no_threads_to_choose() {
    let new = adjourn::tokio::Runner::new;
    for runner in [new().worker_threads(2), new().blocking_threads(2), new().current_thread()] {
        let exit = tokio_runtime().block_on(runner.attach(async { panic!("never polled") }));
        let error = exit.report().start_error.clone().expect("it does not start");
        assert!(error.contains("set its threads where it is built"), "{error}");
    }
}
