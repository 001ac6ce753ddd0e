//! Rows of the aiorun table that need a runtime of one's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use adjourn_core::{FailureKind, Runner, spawn_blocking};
use adjourn_tokio::TokioExecutor;

#[test]
fn the_number_of_blocking_threads_is_kept() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, peak) = (now.clone(), most.clone());
    let runner = Runner::<TokioExecutor>::new().signals([]).current_thread().blocking_threads(1);
    let exit = runner.run(async move {
        for _ in 0..5 {
            let (count, peak) = (count.clone(), peak.clone());
            spawn_blocking(move || {
                peak.fetch_max(count.fetch_add(1, SeqCst) + 1, SeqCst);
                std::thread::sleep(Duration::from_millis(5));
                count.fetch_sub(1, SeqCst);
            });
        }
    });
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
    assert_eq!((now.load(SeqCst), most.load(SeqCst)), (0, 1));
    let none = Runner::<TokioExecutor>::new().signals([]).blocking_threads(0).run(async {});
    assert_eq!(none.exit_code(), 1);
    assert!(none.report().start_error.as_ref().is_some_and(|error| error.contains("blocking")));
}

#[test]
fn an_error_of_main_and_one_of_the_hook_are_both_told_and_mains_wins() {
    let exit = Runner::<TokioExecutor>::new()
        .signals([])
        .on_stop(|| Err::<(), _>("the hook failed"))
        .run(async { Err::<(), _>("main failed") });
    assert_eq!(exit.exit_code(), 1);
    let failures = &exit.report().failures;
    let said: Vec<_> = failures.iter().map(|f| (f.kind, f.messages[0].as_str())).collect();
    assert_eq!(
        said,
        [(FailureKind::MainError, "main failed"), (FailureKind::HookError, "the hook failed")]
    );
    assert_eq!(exit.report().reason().unwrap().to_string(), "main failed: main failed");
}
