//! A runtime of which more is set than its threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use adjourn_core::{Runner, Scope, spawn};
use adjourn_tokio::TokioExecutor;

#[test]
fn what_is_set_stands_beside_the_threads_that_the_runner_asks_for() {
    let begun = Arc::new(AtomicUsize::new(0));
    let begins = begun.clone();
    let runner = Runner::<TokioExecutor>::new().signals([]).worker_threads(1);
    let runner = runner.build_with(move |threads| {
        let mut threads = threads.clone();
        let own = threads.on_start.take().expect("the program's");
        threads.on_start = Some(Arc::new(move || {
            begins.fetch_add(1, SeqCst);
            own();
        }));
        TokioExecutor::build_with(&threads, |builder| {
            builder.thread_name("shop").worker_threads(7);
        })
    });
    let exit = runner.run(async {
        assert_eq!(tokio::runtime::Handle::current().metrics().num_workers(), 1);
        let name = || thread::current().name().map(str::to_owned);
        assert_eq!(spawn(async move { name() }).await.unwrap().as_deref(), Some("shop"));
        // Past the program, and yet on one of its threads.
        let path = tokio::task::spawn_blocking(|| Scope::current().path()).await;
        assert_eq!(path.unwrap(), "root");
    });
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
    assert_eq!(begun.load(SeqCst), 2, "a worker and a thread of the pool");
}

#[test]
fn the_number_of_workers_may_be_set_where_the_runner_asks_for_none() {
    let runner = Runner::<TokioExecutor>::new().signals([]);
    let runner = runner.build_with(|threads| {
        TokioExecutor::build_with(threads, |builder| _ = builder.worker_threads(3))
    });
    let exit = runner
        .run(async { assert_eq!(tokio::runtime::Handle::current().metrics().num_workers(), 3) });
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
}
