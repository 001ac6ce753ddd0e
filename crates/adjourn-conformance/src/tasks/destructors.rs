//! Destructors that panic or spawn, wherever a task ends.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use adjourn_core::{FailureKind, Runner, spawn, spawn_shielded};

use crate::case::Case;
use crate::limits::patience;
use crate::process::isolated;
use crate::program::{each_way, each_way_with_failures, exits, run, succeeded};
use crate::setup::Setup;
use crate::tools::{Bomb, Gate, Log, OnDrop, eventually, poll_once, yields};

pub(crate) fn destructor_panic_on_abort(case: &Case) {
    isolated(case, || {
        each_way_with_failures(case, |way, _| async move {
            let begun = Gate::new();
            let begins = begun.clone();
            let handle = way.spawn(async move {
                let _bomb = Bomb("a destructor's panic on abort");
                begins.open();
                pending::<()>().await;
            });
            begun.wait().await;
            handle.abort();
            let error = handle.await.expect_err("an aborted task has no output");
            assert!(error.is_panic(), "the panic of a destructor is given as: {error}");
            assert_eq!(way.spawn(async { 1 }).await.expect("the worker goes on"), 1);
        });
    });
}

/// Ready at once, and panics when it is dropped.
struct ReadyBomb(Option<Bomb>);

impl Future for ReadyBomb {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u32> {
        Poll::Ready(u32::from(self.0.is_some()))
    }
}

pub(crate) fn destructor_panic_at_completion(case: &Case) {
    isolated(case, || {
        each_way_with_failures(case, |way, _| async move {
            let handle = way.spawn(ReadyBomb(Some(Bomb("a destructor's panic at completion"))));
            assert_eq!(handle.await.expect("the output is kept"), 1);
            assert_eq!(way.spawn(async { 1 }).await.expect("the worker goes on"), 1);
        });
        let exit = run(case, Setup::new(), |_| async {
            drop(spawn(ReadyBomb(Some(Bomb("a destructor's panic at completion")))));
        });
        succeeded(&exit);
        let kinds: Vec<_> = exit.report().failures.iter().map(|failure| failure.kind).collect();
        assert_eq!(kinds, [FailureKind::DestructorPanic], "the failures:\n{}", exit.report());
    });
}

pub(crate) fn destructor_panic_of_an_output_that_nobody_takes(case: &Case) {
    isolated(case, || {
        each_way_with_failures(case, |way, _| async move {
            for _ in 0..3 {
                drop(way.spawn(async { Bomb("an output's destructor's panic") }));
                assert_eq!(way.spawn(async { 1 }).await.expect("the worker goes on"), 1);
            }
        });
    });
}

pub(crate) fn destructor_panic_at_executor_drop(case: &Case) {
    isolated(case, || {
        let log = Log::default();
        let said = log.clone();
        let exit = run(case, Setup::new().timeout(500), |stopper| async move {
            for _ in 0..3 {
                let (begun, dropped) = (Gate::new(), said.on_drop("dropped"));
                let begins = begun.clone();
                drop(spawn_shielded(async move {
                    let _dropped = dropped;
                    let _bomb = Bomb("a destructor's panic at the end");
                    begins.open();
                    pending::<()>().await;
                }));
                begun.wait().await;
            }
            stopper.stop();
            pending::<()>().await;
        });
        exits(&exit, 124);
        let all = eventually(|| log.all().len() == 3);
        assert!(all, "a destructor's panic skipped others: {:?}", log.all());
        // Its program's future is dropped, and the executor ends before anybody polls again.
        let (log, begun) = (Log::default(), Arc::new(AtomicUsize::new(0)));
        let (said, begins) = (log.clone(), begun.clone());
        let started = case.subject().start();
        let backend = started.bare().erase();
        let runner = Setup::new().apply(Runner::<()>::new());
        let mut program = Some(Box::pin(runner.attach_to(&backend, async move {
            for _ in 0..3 {
                let (dropped, begins) = (said.on_drop("dropped"), begins.clone());
                drop(spawn(async move {
                    let _dropped = dropped;
                    let _bomb = Bomb("a destructor's panic at the end");
                    begins.fetch_add(1, SeqCst);
                    pending::<()>().await;
                }));
            }
            pending::<()>().await;
        })));
        started.block_on(Box::pin(async {
            while begun.load(SeqCst) < 3 {
                let program = program.as_mut().expect("it is dropped below");
                assert!(poll_once(program).await.is_pending());
                yields(1).await;
            }
        }));
        program = None;
        _ = started.end(patience());
        let all = eventually(|| log.all().len() == 3);
        assert!(all, "a destructor's panic skipped others: {:?}", log.all());
        drop(program);
    });
}

pub(crate) fn spawn_inside_a_destructor_during_abort(case: &Case) {
    each_way(case, |way, _| async move {
        let (begun, spawned) = (Gate::new(), Gate::new());
        let (begins, opens, spawning) = (begun.clone(), spawned.clone(), way.clone());
        let guard = OnDrop(move || {
            let opens = opens.clone();
            drop(spawning.spawn(async move { opens.open() }));
        });
        let handle = way.spawn(async move {
            let _guard = guard;
            begins.open();
            pending::<()>().await;
        });
        begun.wait().await;
        handle.abort();
        let error = handle.await.expect_err("an aborted task has no output");
        assert!(error.is_cancelled(), "an abort is given as: {error}");
        spawned.wait().await;
    });
}
