//! The threads that an executor is asked for: how many, and what is called on them first.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread::{self, ThreadId};

use adjourn_core::rt::Threads;

use crate::bare::Bare;
use crate::case::Case;
use crate::limits::{moved, patience};
use crate::tools::{Gate, eventually, millis};

thread_local! {
    static STARTED: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread is inside of a wake.
    static WAKES: Cell<bool> = const { Cell::new(false) };
}

/// Where a task was polled, and whether `on_start` had been called there.
type Places = Arc<Mutex<BTreeSet<(Id, bool)>>>;

/// Thread ids have no order, their texts have.
type Id = String;

fn id(thread: ThreadId) -> Id {
    format!("{thread:?}")
}

/// Runs tasks that hold up their thread for a moment, so that each thread comes to some.
async fn busy(bare: &Bare) -> Places {
    let places = Places::default();
    let mut handles = Vec::new();
    for _ in 0..64 {
        let places = places.clone();
        handles.push(bare.spawn(async move {
            let here = (id(thread::current().id()), STARTED.get());
            places.lock().expect("nobody panics here").insert(here);
            thread::sleep(millis(1));
        }));
    }
    for handle in handles {
        handle.await.expect("the executor goes on");
        moved();
    }
    places
}

pub(crate) fn worker_count_is_kept(case: &Case) {
    for asked in [0, 1, 4] {
        let mut threads = Threads::default();
        threads.workers = Some(asked);
        let Ok(started) = case.subject().start_with(&threads) else {
            continue; // it says so, instead of having others
        };
        let (bare, own) = (started.bare(), id(thread::current().id()));
        started.block_on(Box::pin(async move {
            let places = busy(&bare).await;
            let places = places.lock().expect("nobody panics here");
            let mut others: BTreeSet<_> = places.iter().map(|(thread, _)| thread).collect();
            let here = others.remove(&own);
            let found = others.len();
            assert!(found <= asked, "asked for {asked} workers, it has {found} at the least");
            assert!(asked > 0 || here, "asked for no workers, and the calling thread runs nothing");
        }));
        let bare = started.bare();
        started.block_on(Box::pin(async move {
            // As many as there are workers, each of which waits for the others.
            let here = Arc::new(AtomicUsize::new(0));
            let meet = || {
                let here = here.clone();
                bare.spawn(async move {
                    here.fetch_add(1, SeqCst);
                    eventually(|| here.load(SeqCst) >= asked)
                })
            };
            let tasks: Vec<_> = (0..asked).map(|_| meet()).collect();
            for task in tasks {
                let met = task.await.expect("the executor goes on");
                assert!(met, "asked for {asked} workers, it does not run so many tasks at once");
            }
        }));
        _ = started.end(patience());
    }
}

pub(crate) fn on_start_called_first(case: &Case) {
    for workers in [None, Some(1), Some(4)] {
        let mut threads = Threads::default();
        threads.workers = workers;
        threads.on_start = Some(Arc::new(|| STARTED.set(true)));
        let Ok(started) = case.subject().start_with(&threads) else { continue };
        let (bare, own) = (started.bare(), id(thread::current().id()));
        started.block_on(Box::pin(async move {
            for (thread, called) in &*busy(&bare).await.lock().expect("nobody panics here") {
                let is_own = *thread == own;
                assert!(*called || is_own, "a thread polls tasks and `on_start` was not called");
            }
        }));
        _ = started.end(patience());
    }
}

/// Opens a gate when it is dropped, by a panic too.
struct Opens(Gate);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

pub(crate) fn wakes_wait_for_nobody(case: &Case) {
    if !case.subject().wakes_at_once() {
        return; // it says nothing of the kind
    }
    let workers = case.subject().known_workers();
    let stuck = workers.unwrap_or(1).max(1);
    let started = case.subject().start();
    let bare = started.bare();
    started.block_on(Box::pin(async move {
        // What is woken: it waits for this by now.
        let (asleep, may_end) = (Gate::new(), Gate::new());
        let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
        let inside = Arc::new(AtomicBool::new(false));
        let (sleeps, ends, keeps, notes) =
            (asleep.clone(), may_end.clone(), waker.clone(), inside.clone());
        let sleeper = bare.spawn(poll_fn(move |cx| {
            if WAKES.get() {
                notes.store(true, SeqCst);
            }
            if ends.is_open() {
                return Poll::Ready(());
            }
            *keeps.lock().expect("nobody panics here") = Some(cx.waker().clone());
            sleeps.open();
            Poll::Pending
        }));
        asleep.wait().await;
        // What every thread is stuck in: as many as are known, the calling one too where others run the tasks.
        let beside = workers > Some(0);
        let (here, all, release) = (Arc::new(AtomicUsize::new(0)), Gate::new(), Gate::new());
        let sticks = |_| {
            let (here, all, release) = (here.clone(), all.clone(), release.clone());
            bare.spawn(async move {
                if here.fetch_add(1, SeqCst) + 1 == stuck {
                    all.open();
                }
                release.wait_blocking();
            })
        };
        let tasks: Vec<_> = (0..stuck).map(sticks).collect();
        // Who wakes, and who sees to it that nothing is stuck for ever. Neither is the executor's.
        let woken = Arc::new(AtomicBool::new(false));
        let returned = woken.clone();
        let wakes = move || {
            let waker = waker.lock().expect("nobody panics here").take();
            may_end.open();
            WAKES.set(true);
            waker.expect("it was polled").wake();
            WAKES.set(false);
            returned.store(true, SeqCst);
        };
        let (counts, releases) = (here.clone(), Opens(release.clone()));
        let sees = thread::spawn(move || {
            let _releases = releases;
            let met = eventually(|| counts.load(SeqCst) >= stuck + usize::from(beside));
            thread::spawn(wakes);
            (met, eventually(|| woken.load(SeqCst)))
        });
        if beside {
            all.wait().await; // an executor may only hand on what is spawned once this is pending
            here.fetch_add(1, SeqCst);
            release.wait_blocking();
        }
        for task in tasks {
            task.await.expect("the executor goes on");
        }
        let (met, at_once) = sees.join().expect("it does not panic");
        assert!(met, "it does not run {stuck} tasks at once");
        assert!(at_once, "a wake waited for a thread that was stuck in a poll");
        sleeper.await.expect("the executor goes on");
        assert!(!inside.load(SeqCst), "a task was polled inside of the wake");
    }));
    _ = started.end(patience());
}
