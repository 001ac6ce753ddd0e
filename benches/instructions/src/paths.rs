//! The paths that are counted. Each runs alone in a process, in one way, so many times.

use std::future::{Future, pending, poll_fn};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;

use adjourn::rt::{Executor, Spawner};
use adjourn::{FutureExt, JoinHandle, Scope, Signal, StopToken, scope, smol, tokio as on_tokio};
use adjourn_core::Runner;
use async_executor::Executor as AsyncExecutor;
use tokio::runtime::{Builder, Handle};
use tokio::task::{JoinSet, yield_now};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// One thing that is counted, and who does it.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// What it is called in the baseline.
    pub name: &'static str,
    /// What it is called in tables.
    pub title: &'static str,
    /// What it contains that is counted on its own and taken off.
    pub less: Option<&'static str>,
    /// The way that the others are compared with comes first.
    pub ways: &'static [&'static str],
    /// Two sizes of run: what is the same in both, the start and the end, cancels out.
    pub sizes: (usize, usize),
}

const SPAWNING: &[&str] = &["bare", "typed", "erased", "JoinSet", "tracker"];
/// The ways on smol's executor, on one thread.
const ON_SMOL: &[&str] = &["bare", "typed", "erased"];
/// What the names of paths on that begin with.
const SMOL: &str = "smol-";

/// Yields of one task in the paths that poll.
const YIELDS: usize = 50;

/// All of them; what is taken off another comes before it.
pub const PATHS: &[Path] = &[
    Path {
        name: "spawn",
        title: "spawn and finish a task",
        less: None,
        ways: SPAWNING,
        sizes: (2_048, 10_240),
    },
    Path {
        name: "poll",
        title: "the same, with 50 of Tokio's yields",
        less: None,
        ways: SPAWNING,
        sizes: (256, 1_024),
    },
    Path {
        name: "wake",
        title: "the same, each yield by its own waker",
        less: None,
        ways: &["bare", "typed", "tracker"],
        sizes: (256, 1_024),
    },
    Path {
        name: "watch",
        title: "50 of Tokio's yields, watching for stop at each",
        less: None,
        ways: &["bare", "typed", "pinned", "tracker", "select!", "pinned select!"],
        sizes: (256, 1_024),
    },
    Path {
        name: "park",
        title: "spawn a task and poll it once",
        less: None,
        ways: SPAWNING,
        sizes: (2_000, 12_000),
    },
    Path {
        name: "cancel",
        title: "cancel a parked task, to its handle or the tracker's end",
        less: Some("park"),
        ways: SPAWNING,
        sizes: (2_000, 12_000),
    },
    Path {
        name: "scope",
        title: "open a scope, run one task in it, close it",
        less: None,
        ways: &["bare", "erased", "JoinSet", "tracker"],
        sizes: (512, 2_560),
    },
    Path {
        name: "scope-open",
        title: "open a scope in which nothing runs, and drop it",
        less: None,
        ways: &["tracker", "typed", "erased"],
        sizes: (512, 2_560),
    },
    Path {
        name: "scope-use",
        title: "open a scope, await a task of it, drop the scope",
        less: None,
        ways: &["tracker", "typed", "erased"],
        sizes: (512, 2_560),
    },
    Path {
        name: "scope-stop",
        title: "open a scope, park a task in it, stop it and await its end",
        less: None,
        ways: &["tracker", "typed", "erased"],
        sizes: (512, 2_560),
    },
    Path {
        name: "leaves",
        title: "open a scope and park a task in it",
        less: None,
        ways: &["tracker", "typed", "erased"],
        sizes: (2_000, 12_000),
    },
    Path {
        name: "leaves-stop",
        title: "stop so many scopes with a parked task each by the one above, to its end",
        less: Some("leaves"),
        ways: &["tracker", "typed", "erased"],
        sizes: (2_000, 12_000),
    },
    Path {
        name: "free",
        title: "spawn and finish a task by the free function",
        less: None,
        ways: &["bare", "erased"],
        sizes: (2_048, 10_240),
    },
    Path {
        name: "ask",
        title: "spawn and finish a task that looks once whether it is to stop",
        less: None,
        ways: &["bare", "typed", "erased", "graceful", "tracker"],
        sizes: (2_048, 10_240),
    },
    Path {
        name: "smol-spawn",
        title: "smol: spawn and finish a task",
        less: None,
        ways: ON_SMOL,
        sizes: (2_048, 10_240),
    },
    Path {
        name: "smol-wake",
        title: "smol: the same, with 50 yields by its own waker",
        less: None,
        ways: ON_SMOL,
        sizes: (256, 1_024),
    },
    Path {
        name: "shield",
        title: "enter and leave a shield",
        less: None,
        ways: &["erased"],
        sizes: (2_048, 10_240),
    },
];

/// Runs one path in one way; `park` and `leaves` leave the process.
///
/// # Panics
///
/// When there is no such path, or what it checks is not so.
pub fn run(path: &str, way: &str, count: usize) {
    match (path.strip_prefix(SMOL), way) {
        (Some(path), "bare") => {
            let executor = AsyncExecutor::new();
            async_io::block_on(executor.run(bare_smol(path, &executor, count)));
        }
        (Some(path), _) => {
            in_program::<smol::Smol, _>(smol::Runner::new().current_thread(), path, way, count);
        }
        (None, "typed" | "erased" | "pinned" | "graceful") => {
            let runner = on_tokio::Runner::new().current_thread();
            in_program::<on_tokio::Tokio, _>(runner, path, way, count);
        }
        _ => {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                match way {
                    "bare" => bare(path, count).await,
                    "JoinSet" => joinset(path, count).await,
                    _ => tracker(path, way, count).await,
                }
            });
        }
    }
}

/// Runs a way of ours.
fn in_program<B: Spawner, E: Executor>(runner: Runner<E>, path: &str, way: &str, count: usize) {
    let exit = runner.signals([] as [Signal; 0]).run(async {
        if way == "typed" {
            let scope = Scope::current().typed::<B>().expect("the backend that runs it");
            ours(path, way, scope, count).await;
        } else {
            ours(path, way, Scope::current(), count).await;
        }
    });
    assert_eq!(exit.exit_code(), 0);
}

/// Spawns a batch and awaits its handles, again and again.
async fn batches<H: Future>(mut spawn: impl FnMut() -> H, count: usize) {
    const BATCH: usize = 64;
    let mut handles = Vec::with_capacity(BATCH);
    for _ in 0..count / BATCH {
        handles.extend((0..BATCH).map(|_| spawn()));
        for handle in handles.drain(..) {
            black_box(handle.await);
        }
    }
}

async fn yields(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// As [`yields`], where the task's waker is called as a channel would call it. Tokio's own yield
/// costs the bare runtime more, and so makes what is added to it look like less.
async fn wakes(count: usize) {
    for _ in 0..count {
        let mut woken = false;
        poll_fn(|cx| {
            if woken {
                return Poll::Ready(());
            }
            woken = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

static PARKED: AtomicUsize = AtomicUsize::new(0);

/// Pending for ever; its first poll is counted.
async fn parked() {
    PARKED.fetch_add(1, Relaxed);
    pending().await
}

/// Waits until all of what was spawned is parked: a yield lets executors poll some tasks, not all.
async fn park(path: &str, count: usize) {
    while PARKED.load(Relaxed) < count {
        wakes(1).await;
    }
    if matches!(path, "park" | "leaves") {
        // Here it ends without an end, which is counted on its own.
        std::process::exit(0);
    }
}

async fn bare(path: &str, count: usize) {
    let handle = Handle::current();
    match path {
        "spawn" | "free" | "ask" => batches(|| handle.spawn(yields(0)), count).await,
        "poll" | "watch" => batches(|| handle.spawn(yields(YIELDS)), count).await,
        "wake" => batches(|| handle.spawn(wakes(YIELDS)), count).await,
        "park" | "cancel" => {
            let handles: Vec<_> = (0..count).map(|_| handle.spawn(parked())).collect();
            park(path, count).await;
            handles.iter().for_each(|handle| handle.abort());
            for handle in handles {
                _ = black_box(handle.await);
            }
        }
        "scope" => {
            for _ in 0..count {
                _ = black_box(handle.spawn(yields(0)).await);
            }
        }
        _ => panic!("no path {path}"),
    }
}

async fn bare_smol(path: &str, executor: &AsyncExecutor<'static>, count: usize) {
    match path {
        "spawn" => batches(|| executor.spawn(yields(0)), count).await,
        "wake" => batches(|| executor.spawn(wakes(YIELDS)), count).await,
        _ => panic!("no path {path} on smol"),
    }
}

async fn ours<B: Spawner>(path: &str, way: &str, root: Scope<B>, count: usize) {
    match (path, way) {
        ("spawn", _) => batches(|| root.spawn(yields(0)), count).await,
        ("poll", _) => batches(|| root.spawn(yields(YIELDS)), count).await,
        ("wake", _) => batches(|| root.spawn(wakes(YIELDS)), count).await,
        ("watch", "pinned") => batches(|| watch_pinned(&root), count).await,
        ("watch", _) => batches(|| watch(&root), count).await,
        ("park" | "cancel", _) => {
            let scope = root.scope("parked");
            for _ in 0..count {
                drop(scope.spawn(parked()));
            }
            park(path, count).await;
            scope.stop().await.expect("not from inside");
            assert_eq!(scope.totals().cancelled, count as u64);
        }
        ("scope", _) => {
            for _ in 0..count {
                scope("one").run(async { drop(adjourn::spawn(yields(0))) }).await;
            }
        }
        ("scope-open", _) => {
            for _ in 0..count {
                drop(black_box(root.scope("one")));
            }
        }
        ("scope-use", _) => {
            for _ in 0..count {
                _ = black_box(root.scope("one").spawn(yields(0)).await);
            }
        }
        ("scope-stop", _) => {
            for _ in 0..count {
                let one = root.scope("one");
                drop(one.spawn(pending::<()>()));
                wakes(1).await; // it is parked by then
                one.stop().await.expect("not from inside");
            }
        }
        ("leaves" | "leaves-stop", _) => {
            let top = root.scope("top");
            for _ in 0..count {
                drop(top.scope("one").spawn(parked()));
            }
            park(path, count).await;
            top.stop().await.expect("not from inside");
        }
        ("free", _) => batches(|| adjourn::spawn(yields(0)), count).await,
        ("ask", "graceful") => {
            let spawn = || root.spawn_graceful(|stop| async move { stop.is_requested() });
            batches(spawn, count).await;
        }
        ("ask", _) => {
            let spawn = || root.spawn(async { StopToken::current().is_requested() });
            batches(spawn, count).await;
        }
        ("shield", _) => {
            for _ in 0..count {
                adjourn::shield(async { black_box(()) }).await;
            }
        }
        _ => panic!("no path {path}"),
    }
}

fn watch<B: Spawner>(scope: &Scope<B>) -> JoinHandle<usize, B> {
    scope.spawn(async {
        let mut turns = 0;
        while turns < YIELDS && yield_now().until_stop().await.is_ok() {
            turns += 1;
        }
        turns
    })
}

/// As [`watch`], with one future of the stop for all turns.
fn watch_pinned<B: Spawner>(scope: &Scope<B>) -> JoinHandle<usize, B> {
    scope.spawn(async {
        let mut stop = pin!(StopToken::current().requested());
        let mut turns = 0;
        while turns < YIELDS && first(stop.as_mut(), yield_now()).await {
            turns += 1;
        }
        turns
    })
}

/// Returns whether `work` was ready, looking at `stop` first: what `select!` expands to.
async fn first(
    mut stop: Pin<&mut impl Future<Output = ()>>,
    work: impl Future<Output = ()>,
) -> bool {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        work.as_mut().poll(cx).map(|()| true)
    })
    .await
}

async fn joinset(path: &str, count: usize) {
    const BATCH: usize = 64;
    let spawning = |yielding: usize| async move {
        let mut set = JoinSet::new();
        for _ in 0..count / BATCH {
            for _ in 0..BATCH {
                set.spawn(yields(yielding));
            }
            while let Some(ended) = set.join_next().await {
                _ = black_box(ended);
            }
        }
    };
    match path {
        "spawn" => spawning(0).await,
        "poll" => spawning(YIELDS).await,
        "park" | "cancel" => {
            let mut set = JoinSet::new();
            for _ in 0..count {
                set.spawn(parked());
            }
            park(path, count).await;
            set.shutdown().await;
        }
        "scope" => {
            for _ in 0..count {
                let mut set = JoinSet::new();
                set.spawn(yields(0));
                while set.join_next().await.is_some() {}
            }
        }
        _ => panic!("no path {path}"),
    }
}

/// tokio-util's pair, as its own documentation puts it together: the tracker waits, the token
/// cancels.
async fn tracker(path: &str, way: &str, count: usize) {
    let tracker = TaskTracker::new();
    let token = CancellationToken::new();
    let cancellable = |yielding: usize| {
        let token = token.clone();
        tracker.spawn(async move { token.run_until_cancelled(yields(yielding)).await })
    };
    match (path, way) {
        ("spawn", _) => batches(|| cancellable(0), count).await,
        ("poll", _) => batches(|| cancellable(YIELDS), count).await,
        ("wake", _) => {
            let spawn = || {
                let token = token.clone();
                tracker.spawn(async move { token.run_until_cancelled(wakes(YIELDS)).await })
            };
            batches(spawn, count).await;
        }
        ("watch", _) => {
            let spawn = || {
                let token = token.clone();
                let future = watch_token(token, way == "select!", way == "pinned select!");
                tracker.spawn(future)
            };
            batches(spawn, count).await;
        }
        ("park" | "cancel", _) => {
            for _ in 0..count {
                let token = token.clone();
                tracker.spawn(async move { token.run_until_cancelled(parked()).await });
            }
            park(path, count).await;
            token.cancel();
            tracker.close();
            tracker.wait().await;
        }
        ("scope", _) => {
            for _ in 0..count {
                let (tracker, token) = (TaskTracker::new(), token.child_token());
                tracker.spawn(async move { token.run_until_cancelled(yields(0)).await });
                tracker.close();
                tracker.wait().await;
            }
        }
        ("scope-open", _) => {
            for _ in 0..count {
                drop(black_box((TaskTracker::new(), token.child_token())));
            }
        }
        ("scope-use", _) => {
            for _ in 0..count {
                let (tracker, token) = (TaskTracker::new(), token.child_token());
                let work = async move { token.run_until_cancelled(yields(0)).await };
                _ = black_box(tracker.spawn(work).await);
            }
        }
        ("scope-stop", _) => {
            for _ in 0..count {
                let (tracker, token) = (TaskTracker::new(), token.child_token());
                let theirs = token.clone();
                tracker.spawn(async move { theirs.run_until_cancelled(pending::<()>()).await });
                wakes(1).await;
                token.cancel();
                tracker.close();
                tracker.wait().await;
            }
        }
        ("leaves" | "leaves-stop", _) => {
            for _ in 0..count {
                let token = token.child_token();
                tracker.spawn(async move { token.run_until_cancelled(parked()).await });
            }
            park(path, count).await;
            token.cancel();
            tracker.close();
            tracker.wait().await;
        }
        ("ask", _) => {
            let spawn = || {
                let token = token.clone();
                tracker.spawn(async move { token.is_cancelled() })
            };
            batches(spawn, count).await;
        }
        _ => panic!("no path {path}"),
    }
}

/// The loop that is written by hand.
async fn watch_token(token: CancellationToken, select: bool, pinned: bool) -> usize {
    let mut turns = 0;
    if pinned {
        let mut cancelled = pin!(token.cancelled());
        while turns < YIELDS {
            tokio::select! {
                biased;
                () = cancelled.as_mut() => break,
                () = yield_now() => turns += 1,
            }
        }
    } else if select {
        while turns < YIELDS {
            tokio::select! {
                () = token.cancelled() => break,
                () = yield_now() => turns += 1,
            }
        }
    } else {
        while turns < YIELDS && token.run_until_cancelled(yield_now()).await.is_some() {
            turns += 1;
        }
    }
    turns
}
