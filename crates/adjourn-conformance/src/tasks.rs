//! Tasks: spawning, joining, waking; what a spawn costs.

mod abort;
mod destructors;

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use adjourn_core::{Runner, Scope, scope, spawn, spawn_graceful, spawn_shielded};

use crate::allocations::{Counted, TASKS, is_counting};
use crate::case::Case;
use crate::limits::{moved, patience};
use crate::process::{isolated, say};
use crate::program::{came_to_its_end, clean, each_way, each_way_with_failures, run, succeeded};
use crate::setup::Setup;
use crate::tools::{Gate, Log, OnDrop, poll_once, yields};

pub(crate) use abort::*;
pub(crate) use destructors::*;

pub(crate) fn value_returned(case: &Case) {
    each_way(case, |way, _| async move {
        assert_eq!(way.spawn(async { 42 }).await.expect("it ends by itself"), 42);
        let later = way.spawn(async {
            yields(3).await;
            "later".to_owned()
        });
        assert_eq!(later.await.expect("it ends by itself"), "later");
    });
    let exit = run(case, Setup::new(), |_| async {
        assert_eq!(spawn_graceful(|_| async { 1 }).await.expect("it ends by itself"), 1);
        assert_eq!(spawn_shielded(async { [2] }).await.expect("it ends by itself"), [2]);
    });
    came_to_its_end(&exit);
    assert_eq!(exit.report().total().finished, 3, "main and two tasks:\n{}", exit.report());
    let started = case.subject().start();
    let bare = started.bare();
    started.block_on(Box::pin(async {
        assert_eq!(bare.spawn(async { 7 }).await.expect("the executor goes on"), 7);
    }));
    _ = started.end(patience());
}

pub(crate) fn spawn_from_a_foreign_thread(case: &Case) {
    each_way(case, |way, _| async move {
        let (scope, spawned) = (Scope::current(), Gate::new());
        let (slot, tell) = (Arc::new(Mutex::new(None)), spawned.clone());
        let put = slot.clone();
        thread::spawn(move || {
            assert!(Scope::try_current().is_err(), "a foreign thread has a scope");
            let handle = way.spawn_in(&scope, async {
                yields(2).await;
                5
            });
            *put.lock().expect("nobody panics here") = Some(handle);
            tell.open();
        });
        spawned.wait().await;
        let handle = slot.lock().expect("nobody panics here").take().expect("it was put there");
        assert_eq!(handle.await.expect("it ends by itself"), 5);
    });
    // Threads at once, while the executor has nothing else to do.
    let started = case.subject().start();
    let (bare, count) = (started.bare(), Arc::new(AtomicUsize::new(0)));
    started.block_on(Box::pin(async {
        let all = Gate::new();
        for _ in 0..3 {
            let (bare, count, all) = (bare.clone(), count.clone(), all.clone());
            thread::spawn(move || {
                for _ in 0..50 {
                    let (count, all) = (count.clone(), all.clone());
                    drop(bare.spawn(async move {
                        if count.fetch_add(1, SeqCst) == 149 {
                            all.open();
                        }
                    }));
                }
            });
        }
        all.wait().await;
    }));
    _ = started.end(patience());
}

pub(crate) fn spawn_inside_a_task(case: &Case) {
    each_way(case, |way, _| async move {
        let (inner, inmost) = (way.clone(), way.clone());
        let outer = way.spawn(async move {
            let path = Scope::current().path();
            let middle = inner.spawn(async move {
                assert_eq!(Scope::current().path(), path, "the scope of a task in a task");
                inmost.spawn(async { 3 }).await.expect("it ends by itself")
            });
            middle.await.expect("it ends by itself")
        });
        assert_eq!(outer.await.expect("it ends by itself"), 3);
    });
}

pub(crate) fn never_polled_inside_spawn(case: &Case) {
    thread_local! {
        static SPAWNING: Cell<bool> = const { Cell::new(false) };
    }
    let started = case.subject().start();
    let bare = started.bare();
    let polled_inside = Arc::new(AtomicBool::new(false));
    let probe = || {
        let polled_inside = polled_inside.clone();
        poll_fn(move |_| {
            if SPAWNING.get() {
                polled_inside.store(true, SeqCst);
            }
            Poll::Ready(())
        })
    };
    started.block_on(Box::pin(async {
        let inner = probe();
        let nested = bare.clone();
        let task = bare.spawn(async move {
            SPAWNING.set(true);
            let handle = nested.spawn(inner);
            SPAWNING.set(false);
            handle.await
        });
        SPAWNING.set(true);
        let handle = bare.spawn(probe());
        SPAWNING.set(false);
        handle.await.expect("the executor goes on");
        task.await.expect("the executor goes on").expect("the executor goes on");
    }));
    assert!(!polled_inside.load(SeqCst), "a future was polled inside `spawn`");
    _ = started.end(patience());
}

pub(crate) fn dropped_handle_keeps_no_waker(case: &Case) {
    struct Inert;
    impl Wake for Inert {
        fn wake(self: Arc<Self>) {}
    }
    each_way(case, |way, _| async move {
        let (begun, go) = (Gate::new(), Gate::new());
        let (begins, wait) = (begun.clone(), go.wait());
        let mut handle = way.spawn(async move {
            begins.open();
            wait.await;
        });
        begun.wait().await;
        let awaiting = Arc::new(Inert);
        let waker = Waker::from(awaiting.clone());
        assert!(Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)).is_pending());
        drop((handle, waker));
        let kept = Arc::strong_count(&awaiting) - 1;
        assert_eq!(kept, 0, "wakers of a handle that was awaited and then dropped are kept");
        go.open();
    });
}

pub(crate) fn drop_is_detach(case: &Case) {
    /// Opens its gate with how the future ended.
    struct Watched(Arc<AtomicBool>, Gate);
    impl Drop for Watched {
        fn drop(&mut self) {
            self.1.open();
        }
    }
    /// A future that waits for a gate, and what says how it ended.
    fn watched(begun: &Gate, go: &Gate) -> (impl Future<Output = ()> + Send + use<>, Watched) {
        let (done, ended) = (Arc::new(AtomicBool::new(false)), Gate::new());
        let (watched, begun) = (Watched(done.clone(), ended.clone()), begun.clone());
        let wait = go.wait();
        let future = async move {
            begun.open();
            wait.await;
            yields(2).await;
            watched.0.store(true, SeqCst);
            drop(watched);
        };
        (future, Watched(done, ended))
    }
    async fn goes_on(go: &Gate, watched: &Watched, when: &str) {
        go.open();
        watched.1.wait().await;
        assert!(watched.0.load(SeqCst), "a handle dropped {when} cancelled its future");
    }
    each_way(case, |way, _| async move {
        let (begun, go) = (Gate::new(), Gate::new());
        let (future, ended) = watched(&begun, &go);
        drop(way.spawn(future));
        goes_on(&go, &ended, "at once").await;

        let (begun, go) = (Gate::new(), Gate::new());
        let (future, ended) = watched(&begun, &go);
        let handle = way.spawn(future);
        begun.wait().await;
        drop(handle);
        goes_on(&go, &ended, "when the task had begun").await;

        let (begun, go) = (Gate::new(), Gate::new());
        let (future, ended) = watched(&begun, &go);
        let mut handle = way.spawn(future);
        begun.wait().await;
        assert!(poll_once(&mut handle).await.is_pending());
        drop(handle);
        goes_on(&go, &ended, "after it had been awaited").await;
    });
    let started = case.subject().start();
    let bare = started.bare();
    started.block_on(Box::pin(async {
        let (begun, go) = (Gate::new(), Gate::new());
        let (future, ended) = watched(&begun, &go);
        drop(bare.spawn(future));
        goes_on(&go, &ended, "at once, on the bare backend").await;
        let (begun, go) = (Gate::new(), Gate::new());
        let (future, ended) = watched(&begun, &go);
        let handle = bare.spawn(future);
        begun.wait().await;
        drop(handle);
        goes_on(&go, &ended, "when the future had begun, on the bare backend").await;
    }));
    _ = started.end(patience());
}

pub(crate) fn panic_keeps_its_payload(case: &Case) {
    each_way_with_failures(case, |way, _| async move {
        for yielding in [0, 3] {
            let handle = way.spawn::<u32>(async move {
                yields(yielding).await;
                std::panic::panic_any(7_u32)
            });
            let Err(error) = handle.await else { panic!("a task that panicked has an output") };
            assert!(error.is_panic(), "a task's panic is given as: {error}");
            let payload = error.into_panic();
            assert_eq!(payload.downcast_ref::<u32>(), Some(&7), "the payload");
        }
    });
}

pub(crate) fn detached_panic_keeps_the_workers(case: &Case) {
    const TASKS: usize = 50;
    let exit = run(case, Setup::new(), |_| async {
        for _ in 0..TASKS {
            drop(spawn(async { panic!("nobody listens") }));
        }
        for number in 0..TASKS {
            let handle = spawn(async move {
                yields(1).await;
                number
            });
            assert_eq!(handle.await.expect("it ends by itself"), number);
        }
    });
    succeeded(&exit);
    let total = exit.report().total();
    assert_eq!(total.panicked, TASKS as u64, "panics in the report:\n{}", exit.report());
    each_way_with_failures(case, |way, _| async move {
        for _ in 0..TASKS {
            drop(way.spawn(async { panic!("nobody listens") }));
        }
        assert_eq!(way.spawn(async { 1 }).await.expect("it ends by itself"), 1);
    });
}

pub(crate) fn future_dropped_before_its_handle_resolves(case: &Case) {
    let log = Log::default();
    each_way(case, |way, _| {
        let said = log.clone();
        async move {
            let dropped = said.on_drop("finished one dropped");
            // In the future itself: a body's own variables are gone when it returns.
            let finished = way.spawn(poll_fn(move |_| {
                _ = &dropped;
                Poll::Ready(())
            }));
            finished.await.expect("it ends by itself");
            said.say("resolved");
            let (begun, dropped) = (Gate::new(), said.on_drop("aborted one dropped"));
            let begins = begun.clone();
            let aborted = way.spawn(async move {
                let _dropped = dropped;
                begins.open();
                pending::<()>().await;
            });
            begun.wait().await;
            aborted.abort();
            _ = aborted.await;
            said.say("resolved");
        }
    });
    let once = ["finished one dropped", "resolved", "aborted one dropped", "resolved"];
    log.was(&[once, once].concat());
}

pub(crate) fn late_wake_is_a_no_op(case: &Case) {
    /// Gives its waker away, is ready at its first poll or never, and counts its polls.
    fn probe(
        ready: bool,
        polls: &Arc<AtomicUsize>,
        wakers: &mpsc::Sender<Waker>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (polls, wakers) = (polls.clone(), wakers.clone());
        poll_fn(move |cx| {
            polls.fetch_add(1, SeqCst);
            _ = wakers.send(cx.waker().clone());
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
    }
    let polls = Arc::new(AtomicUsize::new(0));
    let (wakers, kept) = mpsc::channel();
    let started = case.subject().start();
    let bare = started.bare();
    started.block_on(Box::pin(async {
        bare.spawn(probe(true, &polls, &wakers)).await.expect("the executor goes on");
        for waker in kept.try_iter() {
            waker.wake_by_ref();
            waker.wake();
        }
        for _ in 0..10 {
            bare.spawn(yields(1)).await.expect("the executor goes on");
        }
    }));
    assert_eq!(polls.load(SeqCst), 1, "polls of a future that was ready at its first");
    // Pending when the executor ends: its waker outlives it.
    started.block_on(Box::pin(async {
        let handle = bare.spawn(probe(false, &polls, &wakers));
        while polls.load(SeqCst) < 2 {
            yields(1).await;
        }
        drop(handle);
    }));
    _ = started.end(patience());
    kept.try_iter().for_each(Waker::wake);
    let polls = Arc::new(AtomicUsize::new(0));
    each_way(case, |way, _| {
        let (polls, wakers) = (polls.clone(), wakers.clone());
        async move {
            let handle = way.spawn(probe(false, &polls, &wakers));
            let before = polls.load(SeqCst);
            while !handle.is_finished() {
                handle.abort();
                yields(1).await;
            }
            _ = handle.await;
            assert!(polls.load(SeqCst) <= before + 1);
        }
    });
    let so_far = polls.load(SeqCst);
    kept.try_iter().for_each(Waker::wake);
    assert_eq!(polls.load(SeqCst), so_far, "polls after the end, by a late wake");
}

pub(crate) fn spawns_of_100k_return_the_count_to_0(case: &Case) {
    const COUNT: usize = 100_000;
    // Each task moves when it is spawned and when it is over: that many take their time. So the
    // program has no limit.
    let setup = Setup { timeout: Some(Duration::MAX), ..Setup::new() };
    let exit = run(case, setup, |stopper| async move {
        let many = scope("many");
        for number in 0..COUNT {
            if number % 2 == 0 {
                drop(many.spawn(async { moved() }));
            } else {
                let over = OnDrop(moved);
                drop(many.spawn(async {
                    let _over = over;
                    pending::<()>().await;
                }));
            }
            moved();
        }
        while many.totals().finished < COUNT as u64 / 2 {
            yields(1).await;
        }
        assert_eq!(many.totals().live, COUNT as u64 / 2, "alive, of {COUNT} tasks");
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    let many = exit.report().totals["many"];
    let half = COUNT as u64 / 2;
    assert_eq!((many.spawned, many.live), (2 * half, 0), "{}", exit.report());
    assert_eq!((many.finished, many.cancelled), (half, half), "{}", exit.report());
}

/// Counts a spawn's allocations in a process where nothing else runs.
fn count(case: &Case, check: impl FnOnce(Counted)) {
    isolated(case, || {
        assert!(
            is_counting(),
            "the call says `allocations: counted`, but nothing counts: declare the kit's allocator \
             in the test binary, #[global_allocator] static ALLOCATOR: \
             adjourn_conformance::CountingAllocator = adjourn_conformance::CountingAllocator;"
        );
        let started = case.subject().start();
        let bare = started.bare();
        let runner = Setup::new().apply(Runner::<()>::new());
        let mut counted = None;
        let main = async { counted = Some(bare.count(|| say("counted")).await) };
        started.block_on(Box::pin(async {
            succeeded(&runner.attach_to(&bare.erase(), main).await);
        }));
        check(counted.expect("main runs to its end"));
        _ = started.end(patience());
    });
}

/// Some slack for the executor's own queues, which grow now and then.
const SLACK: u64 = TASKS / 50;

pub(crate) fn allocations_equal_bare(case: &Case) {
    count(case, |Counted { bare, typed, .. }| {
        assert!(
            typed <= bare + SLACK,
            "{TASKS} spawns on a typed scope allocated {typed} times, on the bare executor {bare}"
        );
    });
}

pub(crate) fn erased_spawn_is_bare_plus_1(case: &Case) {
    count(case, |Counted { bare, erased, .. }| {
        assert!(
            erased <= bare + TASKS + SLACK,
            "{TASKS} spawns on an erased scope allocated {erased} times, on the bare executor \
             {bare}"
        );
    });
}
