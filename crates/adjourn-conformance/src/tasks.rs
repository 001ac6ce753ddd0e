//! Tasks: spawning, joining, aborting; panics and destructors; what a spawn costs.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;

use adjourn_core::{FailureKind, Runner, Scope, scope, spawn, spawn_graceful, spawn_shielded};

use crate::allocations::{Counted, TASKS, is_counting};
use crate::bare::{Task, Way};
use crate::process::isolated;
use crate::program::{
    Setup, came_to_its_end, clean, each_way, each_way_with_failures, exits, run, succeeded,
};
use crate::scenario::Case;
use crate::tools::{Bomb, Gate, Log, OnDrop, eventually, patience, poll_once, yields};

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

pub(crate) fn spawns_of_100k_return_the_count_to_0(case: &Case) {
    const COUNT: usize = 100_000;
    let exit = run(case, Setup::new(), |stopper| async move {
        let many = scope("many");
        for number in 0..COUNT {
            if number % 2 == 0 {
                drop(many.spawn(async {}));
            } else {
                drop(many.spawn(pending::<()>()));
            }
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
        let main = async { counted = Some(bare.count().await) };
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
