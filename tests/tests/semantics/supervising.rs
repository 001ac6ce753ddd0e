//! Supervised tasks: the same on every executor. Times are those of a virtual clock, in
//! `tests/tests/supervise.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use adjourn::supervise::Supervisor;
use adjourn::{FailureKind, FutureExt, Scope, StopToken, Until, spawn, task};

use crate::harness::*;

scenarios![
    a_task_that_fails_is_started_again,
    a_task_that_gives_up_stops_the_program,
    a_wait_for_a_restart_ends_at_the_stop,
    a_task_that_is_always_over_at_once_lets_others_run,
];

fn a_task_that_fails_is_started_again(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let runs = AtomicUsize::new(0);
        let run = move || {
            let nth = runs.fetch_add(1, SeqCst) + 1;
            let log = said.clone();
            async move {
                sleep(millis(1)).await;
                log.say(format!("run {nth}"));
                match nth {
                    1 => Err("an error"),
                    2 => panic!("a panic"),
                    _ => Ok(()),
                }
            }
        };
        let supervisor = Supervisor::transient().backoff(millis(1), millis(1));
        assert!(spawn(supervisor.run(run)).await.expect("it is over").is_ok());
    });
    succeeded(&exit);
    log.is(&["run 1", "run 2", "run 3"]);
    let told = failures(&exit, FailureKind::TaskError);
    let told: Vec<_> = told.iter().map(|failure| failure.messages.join(": ")).collect();
    let next = "the next one begins in 1ms";
    let both =
        [format!("run 1 failed; {next}: an error"), format!("run 2 panicked: a panic; {next}")];
    assert_eq!(told, both);
}

fn a_task_that_gives_up_stops_the_program(config: Config) {
    let exit = Program::new(config).until(Until::Stopped).run(async {
        let supervisor = Supervisor::permanent().backoff(millis(1), millis(1));
        let supervisor = supervisor.limit(3, Duration::from_secs(3600)).or_stop();
        task("part").spawn(supervisor.run(async || Err::<(), _>("no")));
        StopToken::current().requested().await;
    });
    exits(&exit, 1);
    assert_eq!(failures(&exit, FailureKind::TaskError).len(), 4, "{}", exit.report());
}

fn a_wait_for_a_restart_ends_at_the_stop(config: Config) {
    for asks in [false, true] {
        let program = Program::new(config);
        let stopper = program.stopper();
        let failed = Gate::new();
        let fails = failed.clone();
        let exit = program.on_failure(move |_| fails.open()).run(async move {
            let hour = Duration::from_secs(3600);
            let supervisor = Supervisor::permanent().backoff(hour, hour);
            let run = move || async move {
                if asks {
                    _ = StopToken::current().is_requested();
                }
                Err::<(), _>("no")
            };
            spawn(supervisor.run(run));
            failed.wait().await;
            stopper.stop();
        });
        succeeded(&exit);
    }
}

fn a_task_that_is_always_over_at_once_lets_others_run(config: Config) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let exit = Program::new(config).run(async move {
        let supervisor = Supervisor::permanent().backoff(Duration::ZERO, Duration::ZERO);
        let run = move || {
            counted.fetch_add(1, SeqCst);
            std::future::ready(())
        };
        spawn(supervisor.run(run));
        while runs.load(SeqCst) < 100 {
            yields(1).await;
        }
        _ = Scope::current().stop();
        // It has asked nothing: cancelled with `main`, wherever it is.
        std::future::pending::<()>().interruptible().await;
    });
    clean(&exit);
}
