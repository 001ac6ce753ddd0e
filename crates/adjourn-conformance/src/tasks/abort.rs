//! Aborts: when they act, and what they leave alone.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use crate::bare::{Task, Way};
use crate::case::Case;
use crate::program::each_way;

use crate::tools::{Gate, Log, OnDrop, yields};

pub(crate) fn abort_while_pending(case: &Case) {
    each_way(case, |way, _| async move {
        let begun = Gate::new();
        let begins = begun.clone();
        let handle = way.spawn(async move {
            begins.open();
            pending::<()>().await;
        });
        begun.wait().await;
        assert!(!handle.is_finished());
        handle.abort();
        let error = handle.await.expect_err("an aborted task has no output");
        assert!(error.is_cancelled() && !error.is_panic(), "an abort is given as: {error}");
        assert!(!error.is_refused() && !error.is_abandoned(), "an abort is given as: {error}");
    });
}

pub(crate) fn abort_before_the_first_poll_never_enters_the_body(case: &Case) {
    // With every worker held up nobody can be first; where their number is not known, somebody may.
    let workers = case.subject().known_workers();
    let entered = Arc::new(AtomicUsize::new(0));
    let count = entered.clone();
    each_way(case, |way, _| {
        let entered = count.clone();
        async move {
            let (held, release) = (Arc::new(AtomicUsize::new(0)), Gate::new());
            for _ in 0..workers.unwrap_or(0) {
                let (held, released) = (held.clone(), release.clone());
                drop(way.spawn(async move {
                    held.fetch_add(1, SeqCst);
                    released.wait_blocking();
                }));
            }
            while held.load(SeqCst) < workers.unwrap_or(0) {
                thread::yield_now();
            }
            let mut handles = Vec::new();
            for _ in 0..20 {
                let entered = entered.clone();
                let handle = way.spawn(async move {
                    entered.fetch_add(1, SeqCst);
                    pending::<()>().await;
                });
                handle.abort();
                handles.push(handle);
            }
            release.open();
            for handle in handles {
                let error = handle.await.expect_err("an aborted task has no output");
                assert!(error.is_cancelled(), "an abort is given as: {error}");
            }
        }
    });
    if workers.is_some() {
        assert_eq!(entered.load(SeqCst), 0, "bodies that were entered after their abort");
    }
}

pub(crate) fn abort_after_completion_keeps_the_output(case: &Case) {
    each_way(case, |way, _| async move {
        let handle = way.spawn(async { 9 });
        while !handle.is_finished() {
            yields(1).await;
        }
        handle.abort();
        assert_eq!(handle.await.expect("it was finished when it was aborted"), 9);
    });
}

/// A task's own handle, for it to abort itself with.
type Own<T> = Arc<Mutex<Option<Task<T>>>>;

/// Spawns a task that is given its own handle.
fn with_own_handle<T, F>(way: &Way, body: impl FnOnce(Own<T>) -> F) -> Own<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (own, given) = (Own::default(), Gate::new());
    let (body, wait) = (body(own.clone()), given.wait());
    let handle = way.spawn(async move {
        wait.await;
        body.await
    });
    *own.lock().expect("nobody panics here") = Some(handle);
    given.open();
    own
}

fn abort_own<T>(own: &Own<T>) {
    own.lock().expect("nobody panics here").as_ref().expect("it was given").abort();
}

fn take_own<T>(own: &Own<T>) -> Task<T> {
    own.lock().expect("nobody panics here").take().expect("it was given")
}

pub(crate) fn abort_during_the_final_ready_keeps_the_output(case: &Case) {
    each_way(case, |way, _| async move {
        let aborted = Gate::new();
        let tell = aborted.clone();
        let own = with_own_handle(&way, |own| async move {
            abort_own(&own);
            tell.open();
            5
        });
        aborted.wait().await;
        let output = take_own(&own).await;
        assert_eq!(output.expect("the poll in which it was aborted was its last"), 5);
    });
}

pub(crate) fn abort_acts_only_at_a_yield(case: &Case) {
    let log = Log::default();
    each_way(case, |way, _| {
        let said = log.clone();
        async move {
            let (entered, is_entered) = mpsc::channel();
            let (aborted, is_aborted) = mpsc::channel::<()>();
            let says = said.clone();
            let handle = way.spawn(async move {
                _ = entered.send(());
                // Inside the poll: its thread is held up until the abort has been asked for.
                _ = is_aborted.recv();
                says.say("runs on");
                yields(1).await;
                says.say("goes on after a yield");
            });
            let aborting = thread::spawn(move || {
                _ = is_entered.recv();
                handle.abort();
                _ = aborted.send(());
                handle
            });
            while !aborting.is_finished() {
                yields(1).await;
            }
            let handle = aborting.join().expect("it does not panic");
            let error = handle.await.expect_err("an aborted task has no output");
            assert!(error.is_cancelled(), "an abort is given as: {error}");
        }
    });
    log.was(&["runs on", "runs on"]);
}

pub(crate) fn self_abort(case: &Case) {
    let log = Log::default();
    each_way(case, |way, _| {
        let said = log.clone();
        async move {
            let (aborted, dropped) = (Gate::new(), said.on_drop("dropped"));
            let (tell, says) = (aborted.clone(), said.clone());
            let own = with_own_handle(&way, |own| async move {
                let _dropped = dropped;
                abort_own(&own);
                says.say("aborted");
                tell.open();
                yields(1).await;
                says.say("goes on after a yield");
            });
            aborted.wait().await;
            let error = take_own(&own).await.expect_err("an aborted task has no output");
            assert!(error.is_cancelled(), "an abort is given as: {error}");
        }
    });
    log.was(&["aborted", "dropped", "aborted", "dropped"]);
}

pub(crate) fn concurrent_aborts(case: &Case) {
    const TASKS: usize = 20;
    let drops = Arc::new(AtomicUsize::new(0));
    each_way(case, |way, _| {
        let drops = drops.clone();
        async move {
            for _ in 0..TASKS {
                let drops = drops.clone();
                let guard = OnDrop(move || _ = drops.fetch_add(1, SeqCst));
                let own = Own::default();
                *own.lock().expect("nobody panics here") = Some(way.spawn(async move {
                    let _guard = guard;
                    pending::<()>().await;
                }));
                let aborts = (0..3).map(|_| {
                    let own = own.clone();
                    thread::spawn(move || abort_own(&own))
                });
                let aborts: Vec<_> = aborts.collect();
                aborts.into_iter().for_each(|abort| abort.join().expect("it does not panic"));
                let error = take_own(&own).await.expect_err("an aborted task has no output");
                assert!(error.is_cancelled(), "an abort is given as: {error}");
            }
        }
    });
    assert_eq!(drops.load(SeqCst), 2 * TASKS, "drops of that many futures");
}
