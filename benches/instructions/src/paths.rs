//! The paths that are counted. Each runs alone in a process, in one way, so many times.

mod ours;
mod peers;

use std::future::{Future, pending, poll_fn};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;

use adjourn::rt::{Executor, Spawner};
use adjourn::{Scope, Signal, smol, tokio as on_tokio};
use adjourn_core::Runner;
use async_executor::Executor as AsyncExecutor;
use tokio::runtime::Builder;
use tokio::task::yield_now;

use ours::ours;
use peers::{bare, bare_smol, joinset, tracker};

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
/// The ways whose handles are counted: awaited, dropped, aborted.
const HANDLES: &[&str] = &["bare", "free", "typed", "erased"];
/// The ways on smol's executor, on one thread.
const ON_SMOL: &[&str] = &["bare", "typed", "erased"];
/// What the names of paths on that begin with.
const SMOL: &str = "smol-";

/// Yields of one task in the paths that poll.
const YIELDS: usize = 50;

/// All of them; what is taken off another comes before it.
pub const PATHS: &[Path] = &[
    Path {
        name: "free",
        title: "spawn and finish a task by the free function, as users write it",
        less: None,
        ways: &["bare", "free"],
        sizes: (2_048, 10_240),
    },
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
        name: "pair",
        title: "open a scope, park a connection's pair in it, stop it and await its end",
        less: None,
        ways: &["tracker", "typed", "erased"],
        sizes: (512, 2_560),
    },
    Path {
        name: "ask",
        title: "spawn and finish a task that looks once whether it is to stop",
        less: None,
        ways: &["bare", "typed", "erased", "graceful", "tracker"],
        sizes: (2_048, 10_240),
    },
    Path {
        name: "await",
        title: "spawn a task and await its handle before the next",
        less: None,
        ways: HANDLES,
        sizes: (512, 2_560),
    },
    Path {
        name: "drop",
        title: "spawn a task, drop its handle, and see it finish",
        less: None,
        ways: HANDLES,
        sizes: (512, 2_560),
    },
    Path {
        name: "abort",
        title: "park a task, abort it by its handle and await that",
        less: None,
        ways: HANDLES,
        sizes: (512, 2_560),
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
        (None, "free" | "typed" | "erased" | "pinned" | "graceful") => {
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

/// Tasks that are spawned before the first of them is awaited.
const BATCH: usize = 64;

/// Spawns a batch and awaits its handles, again and again.
async fn batches<H: Future>(mut spawn: impl FnMut() -> H, count: usize) {
    let mut handles = Vec::with_capacity(BATCH);
    for _ in 0..count / BATCH {
        handles.extend((0..BATCH).map(|_| spawn()));
        for handle in handles.drain(..) {
            black_box(handle.await);
        }
    }
}

static ENDED: AtomicUsize = AtomicUsize::new(0);

/// Ends in its first poll, which is counted.
async fn ends() {
    ENDED.fetch_add(1, Relaxed);
}

/// What is done with handles, in a way that spawns by `ends` and `parks` and aborts by `abort`.
async fn handles<H: Future>(
    path: &str,
    count: usize,
    ends: impl Fn() -> H,
    parks: impl Fn() -> H,
    abort: impl Fn(&H),
) {
    if path == "await" {
        for _ in 0..count {
            black_box(ends().await);
        }
        return;
    }
    let mut parked = Vec::with_capacity(BATCH);
    for batch in 1..=count / BATCH {
        match path {
            "drop" => (0..BATCH).for_each(|_| drop(ends())),
            "abort" => parked.extend((0..BATCH).map(|_| parks())),
            _ => panic!("no path {path}"),
        }
        while ENDED.load(Relaxed) + PARKED.load(Relaxed) < batch * BATCH {
            wakes(1).await;
        }
        parked.iter().for_each(&abort);
        for handle in parked.drain(..) {
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
