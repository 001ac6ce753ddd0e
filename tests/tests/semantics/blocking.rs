//! Blocking jobs: tracked, waited for, never cancelled, not outlasting the deadline.

use std::future::pending;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use adjourn::{
    FailureKind, FutureExt, Phase, Scope, StopToken, StragglerState, spawn, spawn_blocking, task,
};

use crate::harness::*;

scenarios![
    a_job_returns_its_value,
    a_panic_of_a_job_keeps_its_payload,
    a_running_job_is_waited_for,
    a_running_job_is_not_aborted,
    a_job_reads_the_token,
    a_job_that_waits_for_a_token_from_above_hears_its_own_scopes_stop,
    a_job_is_in_its_scope,
    a_stuck_job_does_not_outlast_the_deadline,
    who_awaits_a_job_that_is_abandoned_is_told,
    a_shield_flushes_through_a_job,
];

fn a_job_returns_its_value(config: Config) {
    let exit = Program::new(config).run(async {
        assert_eq!(spawn_blocking(|| 3).await.unwrap(), 3);
        assert_eq!(task("job").spawn_blocking(|| "named").await.unwrap(), "named");
        let jobs: Vec<_> = (0..50).map(|number| spawn_blocking(move || number)).collect();
        for (number, job) in jobs.into_iter().enumerate() {
            assert_eq!(job.await.unwrap(), number);
        }
    });
    clean(&exit);
    assert_eq!(exit.report().total().finished, 53);
}

fn a_panic_of_a_job_keeps_its_payload(config: Config) {
    let exit = Program::new(config).run(async {
        let error = spawn_blocking(|| panic!("in a job")).await.unwrap_err();
        assert_eq!(*error.into_panic().downcast::<&str>().unwrap(), "in a job");
        assert_eq!(spawn_blocking(|| 1).await.unwrap(), 1);
    });
    succeeded(&exit);
    let failures = failures(&exit, FailureKind::TaskPanic);
    assert_eq!(failures[0].messages, ["in a job"]);
    assert!(failures[0].origin.contains("blocking job"));
}

fn a_running_job_is_waited_for(config: Config) {
    let log = Log::default();
    let (told, said) = (log.clone(), log.clone());
    let program = Program::new(config).on_stopped(move || told.say("stopped"));
    let stopper = program.stopper();
    let exit = program.run(async move {
        let (alive, gone) = mpsc::channel::<()>();
        let scope = Scope::current();
        drop(spawn_blocking(move || {
            stopper.stop();
            _ = gone.recv(); // until `main` is dropped: nothing but the job is left
            for _ in 0..100 {
                assert_eq!(scope.phase(), Phase::Cancelling, "not waited for");
                std::thread::yield_now();
            }
            said.say("done");
        }));
        let _alive = alive;
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["done", "stopped"]);
    assert_eq!(exit.report().total().finished, 1);
}

fn a_running_job_is_not_aborted(config: Config) {
    let exit = Program::new(config).run(async {
        let (begun, gate) = (Gate::new(), Gate::new());
        let (begins, opened) = (begun.clone(), gate.clone());
        let job = spawn_blocking(move || {
            begins.open();
            opened.wait_blocking();
            1
        });
        begun.wait().await;
        job.abort();
        gate.open();
        assert_eq!(job.await.unwrap(), 1);
    });
    clean(&exit);
}

fn a_job_reads_the_token(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        drop(spawn_blocking(move || {
            let stop = StopToken::current();
            assert!(!stop.wait_timeout(millis(1)));
            stopper.stop();
            assert!(stop.wait_timeout(Duration::MAX));
            assert!(stop.is_requested());
        }));
        pending::<()>().await;
    });
    clean(&exit);
}

fn a_job_that_waits_for_a_token_from_above_hears_its_own_scopes_stop(config: Config) {
    let exit = Program::new(config).run(async {
        let (above, scope) = (StopToken::current(), adjourn::scope("jobs"));
        let stops = scope.clone();
        let job = scope.spawn_blocking(move || {
            let waits = std::thread::spawn(move || {
                std::thread::sleep(millis(20)); // mostly the job waits by then
                drop(stops.stop());
            });
            assert!(above.wait_timeout(Duration::from_secs(20)));
            waits.join().unwrap();
        });
        job.await.unwrap();
        assert!(!StopToken::current().peek(), "the scope was stopped alone");
    });
    clean(&exit);
}

fn a_job_is_in_its_scope(config: Config) {
    let exit = Program::new(config).run(async {
        let scope = adjourn::scope("jobs");
        let job = scope.spawn_blocking(|| {
            drop(spawn(async {}));
            Scope::current().path()
        });
        assert_eq!(job.await.unwrap(), "root/jobs");
    });
    clean(&exit);
    assert_eq!(exit.report().totals["jobs"].finished, 2);
}

fn a_stuck_job_does_not_outlast_the_deadline(config: Config) {
    let program = Program::new(config).timeout(millis(300));
    let stopper = program.stopper();
    let (release, released) = mpsc::channel::<()>();
    let (sent, received) = mpsc::channel();
    let start = Instant::now();
    let exit = program.run(async move {
        let begun = Gate::new();
        let begins = begun.clone();
        let job = task("stuck").spawn_blocking(move || {
            begins.open();
            _ = released.recv();
        });
        sent.send(job).unwrap();
        begun.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    let took = start.elapsed();
    assert!(took >= millis(250) && took < UNSET, "{took:?}");
    exits(&exit, 124);
    let report = exit.report();
    assert_eq!(straggler(report, "stuck").state, StragglerState::Blocking);
    assert_eq!(report.total().abandoned, 1);
    let error = futures_lite::future::block_on(received.recv().unwrap()).unwrap_err();
    assert!(error.is_abandoned(), "{error}");
    drop(release);
}

fn who_awaits_a_job_that_is_abandoned_is_told(config: Config) {
    let program = Program::new(config).timeout(millis(300));
    let stopper = program.stopper();
    let (release, released) = mpsc::channel::<()>();
    let (sent, received) = mpsc::channel();
    let awaited = Gate::new();
    let awaits = awaited.clone();
    let waits = std::thread::spawn(move || {
        let mut job: adjourn::JoinHandle<()> = received.recv().unwrap();
        futures_lite::future::block_on(std::future::poll_fn(|cx| {
            let polled = std::pin::Pin::new(&mut job).poll(cx);
            awaits.open(); // its waker is there
            polled
        }))
    });
    let exit = program.run(async move {
        sent.send(spawn_blocking(move || _ = released.recv())).unwrap();
        awaited.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    exits(&exit, 124);
    let error = waits.join().unwrap().unwrap_err();
    assert!(error.is_abandoned(), "{error}");
    drop(release);
}

fn a_shield_flushes_through_a_job(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        drop(spawn(async move {
            let flush = async move {
                stopper.stop();
                until_cancelling().await;
                spawn_blocking(move || said.say("flushed")).await.unwrap();
            };
            flush.shield().await;
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["flushed"]);
}
