//! How programs start and end: options, what ends them, failures and exit codes.

use std::future::pending;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use adjourn::{
    Exit, FailureKind, FutureExt, Outcome, Reason, ResultFutureExt, StopRequested, StopToken,
    Until, spawn, spawn_graceful, task,
};

use crate::harness::*;

scenarios![
    a_stop_request_in_an_error_counts_as_cancelled,
    plain_tasks_that_report_a_stop_request_count_as_cancelled,
    or_stop_fails_the_task_and_stops_the_program,
    or_report_only_records,
    an_error_of_a_plain_task_is_its_handles,
    main_errors_panics_and_codes,
    main_may_fail_with_any_boxed_error,
    main_may_return_a_value,
    a_panic_of_a_task_stops_only_where_asked,
    until_idle_waits_for_tasks,
    until_main_returns_stops_what_is_alive,
    until_stopped_waits_for_a_request,
    options_that_make_no_sense_are_errors,
    a_program_inside_a_program_is_an_error,
    two_programs_in_one_process_are_independent,
    a_second_run_behaves_like_the_first,
    on_failure_is_told_of_each,
    a_panic_of_on_failure_is_in_the_report_and_told_to_nobody,
];

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

fn main_may_fail_with_any_boxed_error(config: Config) {
    type Local = Box<dyn std::error::Error>; // not `Send`
    let exit = Program::new(config).run(async {
        yields(1).await;
        _ = "x".parse::<u8>()?;
        Ok::<_, Local>(())
    });
    exits(&exit, 1);
    let text = failures(&exit, FailureKind::MainError)[0].messages.join(": ");
    assert_eq!(text, "invalid digit found in string");
    let exit = Program::new(config).run(async { Ok::<_, Local>(Exit::code(9)) });
    exits(&exit, 9);
    // Given up because of a stop it counts as cancelled, whatever the box.
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        stopper.stop();
        pending::<()>().until_stop().await?;
        Ok::<_, Local>(())
    });
    clean(&exit);
    assert_eq!(exit.report().main, Some(Outcome::Cancelled));
}

fn main_may_return_a_value(config: Config) {
    let local = std::rc::Rc::new(7); // neither `Send` nor `'static`
    let (value, exit) = Program::new(config).run_value(async {
        yields(1).await;
        &local
    });
    assert_eq!(value, Some(&local));
    clean(&exit);
    let program = Program::new(config);
    let stopper = program.stopper();
    let (value, exit) = program.run_value(async move {
        stopper.stop();
        pending::<u8>().await
    });
    assert_eq!(value, None, "it was cancelled");
    clean(&exit);
    let (value, exit) = Program::new(config).run_value(async {
        if true {
            panic!("no value");
        }
        7
    });
    assert_eq!(value, None);
    exits(&exit, 101);
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

fn a_panic_of_on_failure_is_in_the_report_and_told_to_nobody(config: Config) {
    let log = Log::default();
    let said = log.clone();
    // The last one is told at the end, when the report is made.
    let program = Program::new(config).on_report(|_| blow("four")).on_failure(move |failure| {
        said.say(&*failure.messages[0]);
        std::panic::panic_any(format!("told of {}", failure.messages[0]));
    });
    let exit = program.run(async {
        _ = spawn(async { panic!("one") }).await;
        _ = spawn(async { Err::<(), _>("two") }.or_report()).await;
        Err::<(), _>("three")
    });
    exits(&exit, 101);
    log.is(&["one", "two", "three", "four"]);
    let its = exit.report().failures.iter().filter(|failure| failure.origin == "on_failure");
    let its: Vec<_> = its.map(|it| (it.kind, it.messages.join(": "), it.fatal)).collect();
    let told = |what| format!("told of {what}");
    let panics = |what, fatal| (FailureKind::HookPanic, told(what), fatal);
    let stopped = [panics("three", true), panics("four", true)];
    assert_eq!(its, [&[panics("one", false), panics("two", false)], &stopped[..]].concat());
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
