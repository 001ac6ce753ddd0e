//! What a report says, and the exit code that follows from it.

use std::future::pending;
use std::sync::mpsc;

use adjourn::{
    Exit, FailureKind, FutureExt, Outcome, Reason, ResultFutureExt, StragglerState, TaskKind,
    scope, spawn, spawn_graceful, spawn_shielded, task,
};

use crate::harness::*;

scenarios![
    totals_add_up_whatever_happens,
    stragglers_have_their_name_and_line,
    tasks_alive_at_the_stop_are_listed_with_their_outcome,
    lists_are_bounded_and_count_what_they_leave_out,
    texts_are_bounded_and_say_what_they_leave_out,
    the_exit_code_is_the_most_severe,
    failures_after_the_stop_count_and_before_it_do_not,
    the_report_is_given_before_the_exit,
    a_sink_that_panics_is_a_failure,
    the_text_tells_what_happened,
    a_clean_program_has_nothing_to_tell,
    what_is_spawned_past_adjourn_is_counted_where_the_executor_counts,
];

fn totals_add_up_whatever_happens(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let busy = scope("busy");
        let mut handles = Vec::new();
        for _ in 0..10 {
            handles.push(busy.spawn(async {}));
            handles.push(busy.spawn(async { panic!("on purpose") }));
            handles.push(busy.spawn(pending()));
            handles.push(busy.spawn(async { _ = async { Err::<(), _>("e") }.or_report().await }));
        }
        for handle in &handles[..20] {
            handle.abort();
        }
        for handle in handles.into_iter().filter(|handle| handle.is_finished()) {
            _ = handle.await;
        }
        assert_eq!(busy.totals().spawned, 40);
        drop(busy.spawn_shielded(yields(20)));
        drop(busy.spawn_blocking(|| ()));
        stopper.stop();
        pending::<()>().await;
    });
    check(&exit);
    assert_eq!(exit.report().totals["busy"].spawned, 42);
    assert_eq!(exit.report().total().spawned, 43);
}

fn what_is_spawned_past_adjourn_is_counted_where_the_executor_counts(config: Config) {
    let owned = config != Config::TokioAttached && config != Config::SmolAttached;
    let is_tokio = config.backend() == "tokio";
    let exit = Program::new(config).run(async move {
        if is_tokio {
            tokio::spawn(pending::<()>());
            tokio::spawn(pending::<()>());
        }
    });
    clean(&exit);
    // On a machine that is too busy one that ends just then may be among them.
    let counted = exit.report().untracked;
    assert!(counted.is_none_or(|count| count >= 2), "{counted:?}");
    assert_eq!(counted.is_some(), is_tokio && owned);
}

fn texts_are_bounded_and_say_what_they_leave_out(config: Config) {
    let long = |letter: &str| letter.repeat(10_000);
    let cut =
        |letter: &str, most| format!("{}… ({} bytes more)", letter.repeat(most), 10_000 - most);
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let crowd = scope(long("s"));
        let panics = crowd.task(long("n")).spawn(async move { panic!("{}", long("p")) });
        assert!(panics.await.unwrap_err().is_panic());
        let fails = async move { Err::<(), _>(long("e")) }.or_report();
        assert!(crowd.task("short").spawn(fails).await.unwrap().is_err());
        crowd.task(long("w")).spawn(pending::<()>());
        stopper.stop_because(long("r"));
        pending::<()>().await;
    });
    check(&exit);
    let report = exit.report();
    assert_eq!(report.reason(), Some(&Reason::Requested(Some(cut("r", 4096)))));
    let [panic, error] = &report.failures[..] else { panic!("{report}") };
    assert_eq!((&panic.messages, &error.messages), (&vec![cut("p", 4096)], &vec![cut("e", 4096)]));
    assert!(panic.origin.contains(&cut("n", 256)), "{}", panic.origin);
    let waits = report.tasks.iter().find(|task| task.task.name == Some(cut("w", 256)));
    let path = &waits.expect("it is listed").task.scope;
    assert!(path.starts_with("root/sss") && path.ends_with("s… (8981 bytes more)"), "{path}");
    assert_eq!(report.totals[&cut("s", 256)].spawned, 3);
}

fn stragglers_have_their_name_and_line(config: Config) {
    let program = Program::new(config).cut_off_after(millis(200));
    let stopper = program.stopper();
    let mut line = 0;
    let exit = program.run(async {
        let begun = Gate::new();
        let begins = begun.clone();
        let stuck = async move {
            begins.open();
            pending::<()>().await;
        };
        line = line!() + 1;
        drop(scope("mail").task("mailer").spawn_shielded(stuck));
        begun.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    exits(&exit, 124);
    let straggler = straggler(exit.report(), "mailer");
    let label = &straggler.task;
    assert_eq!(label.name.as_deref(), Some("mailer"));
    assert_eq!((&*label.scope, label.kind), ("root/mail", TaskKind::Shielded));
    let place = format!("tests/semantics/report.rs:{line}:");
    assert!(label.spawned_at.contains(&place), "{} is not {place}", label.spawned_at);
    assert_eq!(straggler.state, StragglerState::Pending);
    assert!(straggler.age.is_some());
    let text = exit.report().to_string();
    assert!(text.contains("mailer") && text.contains(&place), "{text}");
    let ended = exit.report().tasks.iter().find(|task| task.task == *label).unwrap();
    assert!(matches!(ended.outcome, Outcome::Cancelled | Outcome::Abandoned));
}

fn tasks_alive_at_the_stop_are_listed_with_their_outcome(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        drop(task("over").spawn(async {}).await);
        drop(task("cancelled").spawn(pending::<()>()));
        drop(task("finished").spawn_graceful(|stop| async move { stop.requested().await }));
        let panics = |stop: adjourn::StopToken| async move {
            stop.requested().await;
            panic!("on purpose");
        };
        drop(task("panicked").spawn_graceful(panics));
        drop(task("failed").spawn_graceful(|stop| {
            async move {
                stop.requested().await;
                Err::<(), _>("on purpose")
            }
            .or_report()
        }));
        stopper.stop();
        pending::<()>().await;
    });
    exits(&exit, 101);
    let mut listed: Vec<_> = exit
        .report()
        .tasks
        .iter()
        .map(|task| (task.task.name.clone().unwrap(), task.outcome.clone()))
        .collect();
    listed.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("cancelled", Outcome::Cancelled),
        ("failed", Outcome::Failed),
        ("finished", Outcome::Finished),
        ("main", Outcome::Cancelled),
        ("panicked", Outcome::Panicked),
    ];
    assert_eq!(listed, expected.map(|(name, outcome)| (name.to_owned(), outcome)));
    assert_eq!(exit.report().alive_at_stop, 5);
}

fn lists_are_bounded_and_count_what_they_leave_out(config: Config) {
    let program = Program::new(config).cut_off_after(millis(500));
    let stopper = program.stopper();
    let exit = program.run(async move {
        for _ in 0..150 {
            _ = spawn(async { Err::<(), _>("one of many") }.or_report()).await;
            drop(spawn_shielded(pending::<()>()));
        }
        for number in 0..150 {
            stopper.stop_because(number.to_string());
        }
        pending::<()>().await;
    });
    exits(&exit, 124);
    let report = exit.report();
    assert_eq!((report.failures.len(), report.failures_omitted), (100, 50));
    let omitted = report.stragglers_omitted;
    assert_eq!(report.stragglers.len(), 100);
    assert!(omitted == 50 || omitted == 51, "{omitted}: on a busy machine main may be one too");
    assert_eq!(report.reasons.len(), 100);
    assert_eq!(report.tasks.len(), 100);
    assert_eq!(report.total().failed, 150);
}

fn the_exit_code_is_the_most_severe(config: Config) {
    // A straggler before a panic before main's own code before an error.
    let exit = Program::new(config).timeout(millis(200)).run(async {
        drop(spawn_shielded(pending::<()>()));
        if true {
            panic!("on purpose");
        }
    });
    exits(&exit, 124);
    assert_eq!(failures(&exit, FailureKind::MainPanic).len(), 1);
    let exit = Program::new(config).on_stopped(|| blow("on purpose")).run(async { Exit::code(3) });
    exits(&exit, 101);
    let exit =
        Program::new(config).on_stopped(|| Err::<(), _>("on purpose")).run(async { Exit::code(3) });
    exits(&exit, 3);
    let exit =
        Program::new(config).on_stopped(|| Err::<(), _>("on purpose")).run(async { Exit::code(0) });
    exits(&exit, 1);
}

fn failures_after_the_stop_count_and_before_it_do_not(config: Config) {
    let exit = Program::new(config).run(async {
        _ = spawn(async { panic!("isolated") }).await;
        _ = spawn(async { Err::<(), _>("isolated") }.or_report()).await;
    });
    exits(&exit, 0);
    assert_eq!(exit.report().failures.len(), 2);

    let program = Program::new(config);
    program.stopper().stop();
    let exit = program.on_stop(async {
        let failing = |stop: adjourn::StopToken| async move {
            stop.requested().await;
            Err::<(), _>("while stopping")
        };
        _ = spawn_graceful(|stop| failing(stop).or_report()).await;
    });
    exits(&exit.run_pending(), 1);
}

fn the_report_is_given_before_the_exit(config: Config) {
    let (sent, received) = mpsc::channel();
    let caller = std::thread::current().id();
    let program = Program::new(config).on_report(move |report| {
        assert_eq!(std::thread::current().id(), caller);
        sent.send(report.reason().cloned()).unwrap();
    });
    clean(&program.run(async {}));
    assert_eq!(received.recv().unwrap(), Some(Reason::Idle));
}

fn a_sink_that_panics_is_a_failure(config: Config) {
    let program = Program::new(config).on_report(|_| panic!("no disk"));
    let exit = program.run(async {});
    exits(&exit, 101);
    assert_eq!(failures(&exit, FailureKind::HookPanic)[0].messages, ["no disk"]);
}

fn the_text_tells_what_happened(config: Config) {
    let program = Program::new(config).on_stopped(|| Err::<(), _>("the pool was gone"));
    program.stopper().stop_because("an upgrade");
    let exit = program.run_pending();
    exits(&exit, 1);
    let text = exit.report().to_string();
    for part in ["an upgrade", "exit code 1", "the pool was gone", "root: 1 spawned", "draining"] {
        assert!(text.to_lowercase().contains(part), "{part:?} is not in {text}");
    }
}

fn a_clean_program_has_nothing_to_tell(config: Config) {
    let exit = Program::new(config).run(async {
        async { 1 }.shield().await;
    });
    clean(&exit);
    let report = exit.report();
    assert!(report.failures.is_empty() && report.stragglers.is_empty() && report.tasks.is_empty());
    assert!(report.signals.is_empty() && report.forced.is_none() && !report.stuck);
    assert_eq!((report.main.clone(), report.main_code), (Some(Outcome::Finished), None));
    assert!(exit.raises().is_none());
}
