//! What all else stands on: four scenarios that are over in an instant, or have failed in a second.
//!
//! A commonest mistake of a new adapter fails nearly every scenario, and most of them only when their
//! watchdog barks. So these come first, and where one of them fails the others say so and are not run
//! ([`check`]).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;

use crate::bare::Bare;
use crate::case::Case;
use crate::scenario::Scenario;
use crate::subject::Subject;
use crate::tools::{Gate, millis, yields};

/// The topic of these scenarios.
pub(crate) const TOPIC: &str = "first";

/// Runs the scenarios of this topic, once in the process for each subject.
///
/// # Errors
///
/// The first that is not met, with what the contract says.
pub(crate) fn check(all: &'static [Scenario], subject: fn() -> Subject) -> Result<(), String> {
    type Known = Arc<OnceLock<Result<(), String>>>;
    static KNOWN: Mutex<BTreeMap<usize, Known>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let own = known.entry(subject as usize).or_default().clone();
    drop(known);
    let run = || {
        let mut first = all.iter().filter(|scenario| scenario.topic() == TOPIC);
        first.try_for_each(|scenario| scenario.try_run(subject, ""))
    };
    own.get_or_init(run).clone()
}

/// Runs a body on an executor, which is dropped afterwards: how it ends is for others to test.
fn on_bare<F: Future<Output = ()>>(case: &Case, body: impl FnOnce(Bare) -> F) {
    let started = case.subject().start();
    started.block_on(Box::pin(body(started.bare())));
}

pub(crate) fn block_on_drives(case: &Case) {
    on_bare(case, |bare| async move {
        yields(3).await;
        let spawned = bare.spawn(async {
            yields(3).await;
            7
        });
        assert_eq!(spawned.await.expect("the executor goes on"), 7, "the output of a future");
    });
}

pub(crate) fn spawn_does_not_poll(case: &Case) {
    thread_local! {
        static SPAWNING: Cell<bool> = const { Cell::new(false) };
    }
    on_bare(case, |bare| async move {
        let inside = Arc::new(AtomicBool::new(false));
        let sees = inside.clone();
        SPAWNING.set(true);
        let spawned = bare.spawn(poll_fn(move |_| {
            if SPAWNING.get() {
                sees.store(true, SeqCst);
            }
            Poll::Ready(())
        }));
        SPAWNING.set(false);
        assert!(!inside.load(SeqCst), "a future was polled inside `spawn`");
        spawned.await.expect("the executor goes on");
    });
}

pub(crate) fn handle_detaches(case: &Case) {
    on_bare(case, |bare| async move {
        let done = Gate::new();
        let ends = done.clone();
        drop(bare.spawn(async move { ends.open() }));
        done.wait().await;
        let [begun, go, done] = [Gate::new(), Gate::new(), Gate::new()];
        let (begins, goes, ends) = (begun.clone(), go.clone(), done.clone());
        let handle = bare.spawn(async move {
            begins.open();
            goes.wait().await;
            ends.open();
        });
        begun.wait().await;
        drop(handle);
        go.open();
        done.wait().await;
    });
}

pub(crate) fn sleep_resolves(case: &Case) {
    on_bare(case, |bare| async move {
        bare.sleep(millis(1)).await;
        let sleep = bare.sleep(millis(1));
        bare.spawn(sleep).await.expect("the executor goes on");
    });
}
