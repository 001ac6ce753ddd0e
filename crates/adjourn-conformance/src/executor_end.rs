//! The executor's end: what is left on it, and what is kept of it.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use adjourn_core::{Scope, spawn, spawn_graceful, spawn_shielded, task};

use crate::case::Case;
use crate::limits::{moved, patience, watchdog};
use crate::process::{Process, say};
use crate::program::{check, clean, exits, run};
use crate::setup::Setup;
use crate::sys;
use crate::tools::{Gate, OnDrop, eventually, millis, resolves, yields};

/// A future that is pending for ever and counts its drop; the gate says when it has begun.
fn counted(drops: &Arc<AtomicUsize>, begun: &Gate) -> impl Future<Output = ()> + Send + use<> {
    let (drops, begun) = (drops.clone(), begun.clone());
    let guard = OnDrop(move || _ = drops.fetch_add(1, SeqCst));
    async move {
        let _guard = guard;
        begun.open();
        pending::<()>().await;
    }
}

pub(crate) fn drop_drops_futures(case: &Case) {
    const BEGUN: usize = 10;
    const ALL: usize = BEGUN + 5;
    let drops = Arc::new(AtomicUsize::new(0));
    let started = case.subject().start();
    let bare = started.bare();
    started.block_on(Box::pin(async {
        for _ in 0..BEGUN {
            let begun = Gate::new();
            drop(bare.spawn(counted(&drops, &begun)));
            begun.wait().await;
        }
        // Some that nobody may have come to.
        for _ in BEGUN..ALL {
            drop(bare.spawn(counted(&drops, &Gate::new())));
        }
    }));
    assert_eq!(drops.load(SeqCst), 0, "futures that were dropped before the executor's end");
    if started.end(patience()).is_ok() {
        assert_eq!(drops.load(SeqCst), ALL, "futures dropped when the end was said to be over");
    }
    eventually(|| drops.load(SeqCst) >= ALL);
    assert_eq!(drops.load(SeqCst), ALL, "futures dropped, each once, by the executor's end");
}

pub(crate) fn shutdown_keeps_its_time(case: &Case) {
    // With nothing left it is over at once, and does not wait for the time that it is given.
    let started = case.subject().start();
    let bare = started.bare();
    started.block_on(Box::pin(async { bare.spawn(async {}).await.expect("it runs") }));
    _ = started.end(2 * watchdog());
    moved();
    // What is stuck does not keep it: a job, and a task where that has a thread of its own.
    let started = case.subject().start();
    let bare = started.bare();
    let release = Gate::new();
    started.block_on(Box::pin(async {
        if case.subject().has_pool() {
            let (begun, releases) = (Gate::new(), release.clone());
            let begins = begun.clone();
            let job = bare.spawn_blocking(move || {
                begins.open();
                releases.wait_blocking();
            });
            drop(job);
            begun.wait().await;
        }
        if case.subject().known_workers().is_some_and(|workers| workers > 0) {
            let (begun, releases) = (Gate::new(), release.clone());
            let begins = begun.clone();
            drop(bare.spawn(async move {
                begins.open();
                releases.wait_blocking();
            }));
            begun.wait().await;
        }
    }));
    _ = started.end(millis(100));
    release.open();
}

pub(crate) fn handles_resolve_to_executor_gone(case: &Case) {
    let drops = Arc::new(AtomicUsize::new(0));
    let started = case.subject().start();
    let bare = started.bare();
    let (handles, taken) = mpsc::channel();
    started.block_on(Box::pin(async {
        for _ in 0..5 {
            let begun = Gate::new();
            _ = handles.send(bare.spawn(counted(&drops, &begun)));
            begun.wait().await;
        }
        for _ in 0..5 {
            _ = handles.send(bare.spawn(counted(&drops, &Gate::new())));
        }
    }));
    // One is awaited while the executor ends, the others afterwards.
    let (waiting, waits) = (taken.recv().expect("there are ten"), Gate::new());
    let begins = waits.clone();
    let waiter = thread::spawn(move || {
        begins.open();
        resolves(waiting)
    });
    waits.wait_blocking();
    _ = started.end(patience());
    drop(handles);
    let gone = "a handle of a future that the end dropped";
    for handle in taken {
        let output = resolves(handle).unwrap_or_else(|| panic!("{gone} stays pending"));
        assert!(output.is_err(), "{gone} has an output");
    }
    let output = waiter.join().expect("it does not panic");
    let output = output.unwrap_or_else(|| panic!("{gone}, awaited meanwhile, stays pending"));
    assert!(output.is_err(), "{gone}, awaited meanwhile, has an output");
}

pub(crate) fn spawn_after_the_end_refused(case: &Case) {
    let (drops, begun) = (Arc::new(AtomicUsize::new(0)), Gate::new());
    let started = case.subject().start();
    let bare = started.bare();
    started.block_on(Box::pin(async { bare.spawn(async {}).await.expect("it runs") }));
    let ended = started.end(patience());
    if ended.is_err() {
        // Nobody says when an executor that was dropped is over: give its threads the time.
        thread::sleep(millis(200));
    }
    let handle = bare.spawn(counted(&drops, &begun));
    let output = resolves(handle).expect("the handle of a late spawn stays pending");
    assert!(output.is_err(), "a late spawn has an output");
    assert!(!begun.is_open(), "a late spawn was polled");
    assert!(eventually(|| drops.load(SeqCst) == 1), "the future of a late spawn is not dropped");
    // Of a program that has ended.
    let (scope, kept) = mpsc::channel();
    let exit = run(case, Setup::new(), |_| async move { _ = scope.send(Scope::current()) });
    clean(&exit);
    let scope = kept.recv().expect("main sends it");
    let refused = [scope.spawn(async {}), scope.spawn_shielded(async {})];
    for handle in refused {
        let error = resolves(handle).expect("a refused spawn's handle stays pending");
        assert!(error.is_err_and(|error| error.is_refused()), "a late spawn is refused");
    }
}

pub(crate) fn count_reaches_0(case: &Case) {
    let exit = run(case, Setup::new(), |stopper| async move {
        let scope = adjourn_core::scope("mixed");
        for _ in 0..20 {
            drop(scope.spawn(async {}));
            drop(scope.spawn(pending::<()>()));
            drop(scope.spawn(async { panic!("isolated") }));
            drop(scope.spawn_graceful(|stop| async move { stop.requested().await }));
            drop(scope.spawn_shielded(yields(5)));
        }
        stopper.stop();
        pending::<()>().await;
    });
    check(&exit);
    let mixed = exit.report().totals["mixed"];
    assert_eq!(mixed.spawned, 100, "all were accepted:\n{}", exit.report());
    assert_eq!(mixed.abandoned, 0, "none was left behind:\n{}", exit.report());
}

pub(crate) fn own_tasks_are_not_untracked(case: &Case) {
    // Tasks that are over, and one that is cut off and may still be there.
    let exit = run(case, Setup::new().timeout(1000), |stopper| async move {
        for _ in 0..20 {
            spawn(async {}).await.expect("it runs");
        }
        let begun = Gate::new();
        let begins = begun.clone();
        spawn_shielded(async move {
            begins.open();
            pending::<()>().await;
        });
        begun.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    exits(&exit, 124);
    let untracked = exit.report().untracked.unwrap_or(0);
    assert_eq!(untracked, 0, "tasks that nobody spawned past Adjourn: {}", exit.report());
}

pub(crate) fn handle_outlives_the_executor(case: &Case) {
    let handles = Arc::new(Mutex::new(Vec::new()));
    let kept = handles.clone();
    let exit = run(case, Setup::new(), |stopper| async move {
        let finished = spawn(async { 9 });
        while !finished.is_finished() {
            yields(1).await;
        }
        let deaf = async {
            pending::<()>().await;
            9
        };
        let cancelled = spawn(deaf);
        let told = spawn_graceful(|stop| async move {
            stop.requested().await;
            9
        });
        *kept.lock().expect("nobody panics here") = vec![finished, cancelled, told];
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    // In a program of its own, which has a limit.
    let kept = handles.clone();
    let exit = run(case, Setup::new().timeout(1000), |stopper| async move {
        let straggler = spawn_shielded(async {
            pending::<()>().await;
            9
        });
        kept.lock().expect("nobody panics here").push(straggler);
        stopper.stop();
        pending::<()>().await;
    });
    exits(&exit, 124);
    let handles = std::mem::take(&mut *handles.lock().expect("nobody panics here"));
    let mut ends = Vec::new();
    for handle in handles {
        handle.abort();
        ends.push(resolves(handle).expect("a handle stays pending after the executor's end"));
    }
    let values: Vec<_> = ends.iter().map(|end| end.as_ref().ok().copied()).collect();
    assert_eq!(values, [Some(9), None, Some(9), None], "the outputs of four tasks: {ends:?}");
    assert!(ends.iter().flat_map(Result::as_ref).count() == 2);
    assert!(!ends.iter().any(|end| end.as_ref().is_err_and(|error| error.is_panic())), "{ends:?}");
}

pub(crate) fn stuck_worker_and_the_deadline_still_fires(case: &Case) {
    if case.part().is_some() {
        let exit = run(case, Setup::process().timeout(1000), |_| async {
            wedge_all();
            pending::<()>().await;
        });
        exit.exit();
    }
    let ended = Process::start(case, "wedged").until("ready").send(sys::SIGTERM).end();
    ended.code(124).complained("wedged");
}

/// Takes every worker for ever, without keeping the processor busy; says so when one is taken.
pub(crate) fn wedge_all() {
    static SAID: std::sync::Once = std::sync::Once::new();
    for _ in 0..64 {
        drop(task("wedged").spawn(async {
            SAID.call_once(|| say("ready"));
            loop {
                thread::park();
            }
        }));
    }
}
