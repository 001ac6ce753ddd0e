//! Blocking jobs: run in any case, waited for, not outlasting the deadline.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use adjourn_core::{FailureKind, Outcome, Phase, Scope, StragglerState, TaskKind, task};

use crate::bare::Way;
use crate::case::Case;
use crate::limits::{Stillness, moved, patience};
use crate::program::{clean, each_way, each_way_with_failures, exits, run, straggler};
use crate::setup::Setup;
use crate::tools::{Gate, eventually, resolves, yields};

pub(crate) fn dropped_queued_job_runs(case: &Case) {
    const JOBS: usize = 200; // more than a pool has threads at once
    let count = Arc::new(AtomicUsize::new(0));
    let counting = |count: &Arc<AtomicUsize>| {
        let count = count.clone();
        move || {
            count.fetch_add(1, SeqCst);
            moved();
        }
    };
    each_way(case, |way, _| {
        let count = count.clone();
        async move {
            for _ in 0..JOBS {
                drop(way.spawn_blocking(counting(&count)));
            }
        }
    });
    let ran = count.load(SeqCst);
    assert_eq!(ran, 2 * JOBS, "the jobs that had run when their programs had ended");
    let started = case.subject().start();
    let bare = started.bare();
    started.block_on(Box::pin(async {
        for _ in 0..JOBS {
            drop(bare.spawn_blocking(counting(&count)).expect("there is a pool"));
        }
        // In here: a pool may be the calling thread, between two polls.
        let mut still = Stillness::new(patience());
        while count.load(SeqCst) < 3 * JOBS && !still.is_over() {
            yields(1).await;
        }
    }));
    assert_eq!(count.load(SeqCst) - ran, JOBS, "the jobs that ran on the bare backend");
    _ = started.end(patience());
}

pub(crate) fn job_leaves_the_executor_free(case: &Case) {
    let threads = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = case.subject().known_workers().unwrap_or_else(threads);
    let started = case.subject().start();
    let bare = started.bare();
    started.block_on(Box::pin(async {
        // One more than there are threads for tasks, and all of them wait for a task.
        let (polled, mut jobs) = (Gate::new(), Vec::new());
        for _ in 0..=workers.max(1) {
            let (polled, begun) = (polled.clone(), Gate::new());
            let begins = begun.clone();
            jobs.push(bare.spawn_blocking(move || {
                begins.open();
                eventually(|| polled.is_open())
            }));
            begun.wait().await;
        }
        drop(bare.spawn(async move { polled.open() }));
        for job in jobs {
            let was = job.expect("there is a pool").await.expect("a job runs to its end");
            assert!(was, "while jobs ran, on threads that tasks need, no task was polled");
        }
    }));
    _ = started.end(patience());
}

pub(crate) fn running_job_reported(case: &Case) {
    let exit = run(case, Setup::new(), |stopper| async move {
        let scope = Scope::current();
        drop(task("job").spawn_blocking(move || {
            stopper.stop();
            while scope.phase() < Phase::Cancelling {
                std::thread::yield_now();
            }
        }));
        pending::<()>().await;
    });
    clean(&exit);
    let report = exit.report();
    let job = report.tasks.iter().find(|task| task.task.name.as_deref() == Some("job"));
    let job = job.unwrap_or_else(|| panic!("the job is not in the report:\n{report}"));
    assert_eq!((job.task.kind, &job.outcome), (TaskKind::Blocking, &Outcome::Finished), "{report}");
}

pub(crate) fn stuck_job_does_not_outlast_the_deadline(case: &Case) {
    let release = Gate::new();
    let kept = Arc::new(std::sync::Mutex::new(None));
    let (released, keep) = (release.clone(), kept.clone());
    let exit = run(case, Setup::new().timeout(1000), |stopper| async move {
        let begun = Gate::new();
        let begins = begun.clone();
        let job = task("stuck").spawn_blocking(move || {
            begins.open();
            released.wait_blocking();
        });
        *keep.lock().expect("nobody panics here") = Some(job);
        begun.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    exits(&exit, 124);
    let report = exit.report();
    assert_eq!(report.total().abandoned, 1, "the stuck job:\n{report}");
    let stuck = straggler(report, "stuck"); // on a busy machine main may be one too
    assert_eq!(stuck.state, StragglerState::Blocking, "{report}");
    let job = kept.lock().expect("nobody panics here").take().expect("main has put it there");
    let error = resolves(job).expect("the handle resolves once `run` has ended");
    assert!(error.is_err_and(|error| error.is_abandoned()), "the handle says abandoned");
    release.open();
}

pub(crate) fn panic_caught(case: &Case) {
    each_way_with_failures(case, |way: Way, _| async move {
        let error = way.spawn_blocking::<u32>(|| std::panic::panic_any(7_u32)).await;
        let Err(error) = error else { panic!("a job that panicked has an output") };
        let payload = error.try_into_panic().expect("the error is the panic");
        assert_eq!(payload.downcast_ref::<u32>(), Some(&7), "the payload");
        for number in 0..20 {
            assert_eq!(way.spawn_blocking(move || number).await.expect("it runs"), number);
        }
    });
    let exit = run(case, Setup::new(), |_| async {
        _ = adjourn_core::spawn_blocking(|| panic!("in a job")).await;
    });
    exits(&exit, 0);
    let failures = &exit.report().failures;
    assert_eq!(failures.len(), 1, "the panic is in the report");
    assert_eq!(failures[0].kind, FailureKind::TaskPanic);
    assert_eq!(failures[0].messages, ["in a job"]);
    let started = case.subject().start();
    let bare = started.bare();
    started.block_on(Box::pin(async {
        let job = bare.spawn_blocking(|| 5).expect("there is a pool");
        assert_eq!(job.await.expect("it runs"), 5, "the output of a job on the bare backend");
    }));
    _ = started.end(patience());
}
