//! Told to finish and cut off is not clean: overdue work is named, and sets the exit code.

use std::future::pending;

use adjourn::{
    Exit, FailureKind, FutureExt, Outcome, OverdueTask, Phase, Scope, StopToken, StragglerState,
    TaskKind, scope, shield, spawn, task,
};

use crate::harness::*;

scenarios![
    overdue_work_is_named_with_its_limit,
    a_main_that_waits_for_a_task_names_it,
    a_look_at_the_stop_is_a_promise_to_end,
    what_may_be_cut_at_any_time_is_not_overdue,
    a_ticker_beside_a_server_that_asks_is_overdue,
    an_on_stop_hook_is_overdue,
    an_on_stopped_hook_is_overdue,
    a_nursery_is_overdue_with_its_task,
    work_that_returns_in_a_shield_past_its_limit_was_not_cut_off,
    work_that_goes_on_after_its_shield_was_cut_off,
    a_scope_that_is_stopped_alone_takes_back_what_was_not_cut_off,
    overdue_work_may_be_named_only,
    a_scope_that_is_stopped_alone_isolates_its_overdue_work,
    a_scope_that_is_stopped_alone_isolates_its_stragglers,
    a_scope_that_is_stopped_alone_isolates_its_overdue_hook,
];

/// The one that was overdue.
#[track_caller]
fn only(exit: &Exit) -> &OverdueTask {
    let report = exit.report();
    assert_eq!((report.overdue.len(), report.overdue_omitted), (1, 0), "{report}");
    assert!(!report.is_clean(), "{report}");
    &report.overdue[0]
}

fn name_of(task: &adjourn::TaskLabel) -> &str {
    task.name.as_deref().unwrap_or_default()
}

fn overdue_work_is_named_with_its_limit(config: Config) {
    let program = Program::new(config).drain_limit(millis(100));
    let stopper = program.stopper();
    let exit = program.run(async move {
        let jobs = scope("jobs");
        jobs.task("beside").spawn(pending::<()>());
        jobs.task("deaf").spawn_graceful(|stop| async move {
            stopper.stop();
            stop.requested().await;
            pending::<()>().await;
        });
        pending::<()>().await;
    });
    exits(&exit, 124);
    let overdue = only(&exit);
    let task = &overdue.task.task;
    assert_eq!((name_of(task), task.scope.as_str()), ("deaf", "root/jobs"));
    assert_eq!(task.kind, TaskKind::Graceful);
    assert!(task.spawned_at.contains("overdue.rs:"), "{}", task.spawned_at);
    assert_eq!(overdue.task.state, StragglerState::Pending);
    assert_eq!(overdue.waiting_for, None);
    let report = exit.report();
    let stop = report.phases[1].entered;
    assert!(overdue.limit > stop && overdue.limit <= stop + millis(100), "{overdue:?} {report}");
    let beside: Vec<_> = report.beside_overdue.iter().map(|plain| name_of(&plain.task)).collect();
    assert_eq!(beside, ["beside"], "those of its scope");
    assert!(report.stragglers.is_empty(), "{report}");
}

fn a_main_that_waits_for_a_task_names_it(config: Config) {
    let program = Program::new(config).drain_limit(millis(100));
    let stopper = program.stopper();
    let exit = program.run(async move {
        let worker = task("worker").spawn(pending::<()>());
        StopToken::current().is_requested();
        stopper.stop();
        _ = worker.await;
    });
    exits(&exit, 124);
    let overdue = only(&exit);
    assert_eq!(name_of(&overdue.task.task), "main");
    let waiting_for = overdue.waiting_for.as_ref().expect("it awaits a handle");
    assert_eq!((name_of(waiting_for), waiting_for.kind), ("worker", TaskKind::Plain));
    let text = exit.report().to_string();
    assert!(text.contains("waiting for task \"worker\""), "{text}");
}

fn a_look_at_the_stop_is_a_promise_to_end(config: Config) {
    for again in [true, false] {
        let program = Program::new(config).drain_limit(millis(50));
        let stopper = program.stopper();
        let exit = program.run(async move {
            let there = Gate::new();
            let begins = there.clone();
            task("t").spawn(async move {
                _ = StopToken::current().is_requested();
                begins.open();
                loop {
                    // As a handler does that only answers otherwise then.
                    _ = again && StopToken::current().is_requested();
                    sleep(millis(5)).await;
                }
            });
            there.wait().await;
            stopper.stop();
            pending::<()>().await;
        });
        exits(&exit, 124);
        assert_eq!(name_of(&only(&exit).task.task), "t");
    }
}

fn what_may_be_cut_at_any_time_is_not_overdue(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let there = Gate::new();
        let begins = there.clone();
        spawn(
            async move {
                _ = StopToken::current().is_requested();
                begins.open();
                loop {
                    _ = StopToken::current().is_requested();
                    sleep(millis(5)).await;
                }
            }
            .interruptible(),
        );
        there.wait().await;
        stopper.stop();
        loop {
            _ = StopToken::current().peek();
            sleep(millis(5)).await;
        }
    });
    clean(&exit);
}

fn a_ticker_beside_a_server_that_asks_is_overdue(config: Config) {
    let log = Log::default();
    let program = Program::new(config).drain_limit(millis(500));
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let server = async {
            let mut told = StopToken::current().requested();
            assert!(poll_once(&mut told).await.is_pending());
            stopper.stop();
            told.await;
            yields(5).await;
            said.say("drained");
        };
        futures_util::join!(server, pending::<()>());
    });
    exits(&exit, 124);
    log.is(&["drained"]);
    assert_eq!(name_of(&only(&exit).task.task), "main");
}

fn an_on_stop_hook_is_overdue(config: Config) {
    let program = Program::new(config).drain_limit(millis(50)).on_stop(pending::<()>);
    program.stopper().stop();
    let exit = program.run_pending();
    exits(&exit, 124);
    assert_eq!(name_of(&only(&exit).task.task), "on_stop");
}

fn an_on_stopped_hook_is_overdue(config: Config) {
    let program = Program::new(config).timeout(millis(200)).on_stopped(pending::<()>);
    program.stopper().stop();
    let exit = program.run_pending();
    exits(&exit, 124);
    let cut = failures(&exit, FailureKind::HookOverdue);
    assert_eq!(cut.len(), 1, "{}", exit.report());
    assert!(cut[0].origin.contains("overdue.rs:"), "{}", cut[0].origin);
    assert!(exit.report().overdue.is_empty(), "a hook is no task");
}

fn a_nursery_is_overdue_with_its_task(config: Config) {
    let program = Program::new(config).drain_limit(millis(100));
    let stopper = program.stopper();
    let exit = program.run(async move {
        let there = Gate::new();
        let begins = there.clone();
        task("t").spawn(async move {
            scope("nursery")
                .run(async {
                    _ = StopToken::current().is_requested();
                    begins.open();
                    pending::<()>().await;
                })
                .await;
        });
        there.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    exits(&exit, 124);
    assert_eq!(name_of(&only(&exit).task.task), "t");
}

/// Told to finish, and past its limit inside a shield, which it is in when it opens the gate.
async fn late_in_a_shield(there: Gate) {
    shield(async {
        there.open();
        until_cancelling().await;
    })
    .await;
}

fn work_that_returns_in_a_shield_past_its_limit_was_not_cut_off(config: Config) {
    let program = Program::new(config).drain_limit(millis(50));
    let stopper = program.stopper();
    let exit = program.run(async move {
        let there = Gate::new();
        task("beside").spawn(pending::<()>());
        task("late").spawn_graceful(|_| late_in_a_shield(there.clone()));
        there.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    let report = exit.report();
    assert!(report.overdue_sites.is_empty() && report.beside_overdue.is_empty(), "{report}");
    assert!(report.beside_overdue_sites.is_empty(), "{report}");
    let late = report.tasks.iter().find(|task| name_of(&task.task) == "late").unwrap();
    assert_eq!(late.outcome, Outcome::Finished);
    let limit = report.phases[1].limit.expect("the drain limit");
    assert!(late.ended >= limit, "it was past its limit: {report}");
}

fn work_that_goes_on_after_its_shield_was_cut_off(config: Config) {
    let program = Program::new(config).drain_limit(millis(50));
    let stopper = program.stopper();
    let exit = program.run(async move {
        let [there, begun] = [(); 2].map(|()| Gate::new());
        task("beside").spawn(pending::<()>());
        task("late").spawn_graceful(|_| late_in_a_shield(there.clone()));
        let begins = begun.clone();
        task("later").spawn_graceful(|_| async {
            late_in_a_shield(begins).await;
            pending::<()>().await;
        });
        there.wait().await;
        begun.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    exits(&exit, 124);
    assert_eq!(name_of(&only(&exit).task.task), "later");
    let report = exit.report();
    let sites: Vec<_> = report.overdue_sites.iter().map(|site| site.count).collect();
    assert_eq!(sites, [1], "{report}");
    let beside = report.beside_overdue.iter().any(|plain| name_of(&plain.task) == "beside");
    assert!(beside, "it may have waited for that: {report}");
}

fn a_scope_that_is_stopped_alone_takes_back_what_was_not_cut_off(config: Config) {
    let exit = Program::new(config).drain_limit(millis(50)).run(async {
        let jobs = scope("jobs");
        let there = Gate::new();
        let begins = there.clone();
        let late = jobs.task("late").spawn_graceful(|_| async {
            late_in_a_shield(begins).await;
            Scope::current().phase()
        });
        there.wait().await;
        jobs.stop().await.unwrap();
        assert_eq!(late.await.unwrap(), Phase::Cancelling, "it was past its limit");
    });
    clean(&exit);
}

fn overdue_work_may_be_named_only(config: Config) {
    let program = Program::new(config).drain_limit(millis(50)).overdue(adjourn::Overdue::Named);
    let stopper = program.stopper();
    let exit = program.run(async move {
        task("stream").spawn_graceful(|_| async move {
            stopper.stop();
            pending::<()>().await;
        });
        pending::<()>().await;
    });
    exits(&exit, 0);
    assert_eq!(name_of(&only(&exit).task.task), "stream");
}

fn a_scope_that_is_stopped_alone_isolates_its_overdue_work(config: Config) {
    let exit = Program::new(config).drain_limit(millis(50)).run(async {
        let jobs = scope("jobs");
        let deaf = jobs.task("deaf").spawn_graceful(|_| pending::<()>());
        jobs.stop().await.unwrap();
        assert!(deaf.await.unwrap_err().is_cancelled());
    });
    exits(&exit, 0);
    isolated(&exit, "\"deaf\"");
}

fn a_scope_that_is_stopped_alone_isolates_its_stragglers(config: Config) {
    let exit = Program::new(config).cut_off_after(millis(50)).run(async {
        let jobs = scope("jobs");
        jobs.task("hangs").spawn_shielded(pending::<()>());
        jobs.stop().await.unwrap();
    });
    exits(&exit, 0);
    isolated(&exit, "\"hangs\"");
}

fn a_scope_that_is_stopped_alone_isolates_its_overdue_hook(config: Config) {
    let exit = Program::new(config).timeout(millis(2000)).run(async {
        let jobs = scope("jobs");
        jobs.on_stopped(pending::<()>());
        jobs.stop().await.unwrap();
    });
    exits(&exit, 0);
    let report = exit.report();
    let cut = failures(&exit, FailureKind::HookOverdue);
    assert_eq!(cut.len(), 1, "it is told once: {report}");
    assert!(!cut[0].fatal && cut[0].origin.contains("root/jobs"), "{report}");
    assert!(!report.is_clean(), "{report}");
}

/// Checks that something was cut off, and that the program went on.
#[track_caller]
fn isolated(exit: &Exit, name: &str) {
    let report = exit.report();
    let cut = failures(exit, FailureKind::CutOff);
    assert_eq!(cut.len(), 1, "{report}");
    assert!(!cut[0].fatal && cut[0].origin.contains(name), "{report}");
    assert!(report.overdue.is_empty() && report.stragglers.is_empty(), "{report}");
    assert!(!report.is_clean(), "{report}");
}
