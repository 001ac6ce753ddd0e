//! The bare executors, `JoinSet`, and child tokens with trackers.

use std::future::pending;
use std::hint::black_box;
use std::pin::pin;

use async_executor::Executor as AsyncExecutor;
use tokio::runtime::Handle;
use tokio::task::{JoinSet, yield_now};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{BATCH, YIELDS, batches, ends, handles, park, parked, wakes, yields};

pub(super) async fn bare(path: &str, count: usize) {
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
        "await" | "drop" | "abort" => {
            let spawn_parked = || handle.spawn(parked());
            handles(path, count, || handle.spawn(ends()), spawn_parked, |task| task.abort()).await;
        }
        _ => panic!("no path {path}"),
    }
}

pub(super) async fn bare_smol(path: &str, executor: &AsyncExecutor<'static>, count: usize) {
    match path {
        "spawn" => batches(|| executor.spawn(yields(0)), count).await,
        "wake" => batches(|| executor.spawn(wakes(YIELDS)), count).await,
        _ => panic!("no path {path} on smol"),
    }
}

pub(super) async fn joinset(path: &str, count: usize) {
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
pub(super) async fn tracker(path: &str, way: &str, count: usize) {
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
        ("pair", _) => {
            for _ in 0..count {
                let (tracker, token) = (TaskTracker::new(), token.child_token());
                let (asks, theirs) = (token.clone(), token.clone());
                tracker.spawn(async move { asks.cancelled().await });
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
