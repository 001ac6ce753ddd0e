//! Adjourn's ways.

use std::future::{Future, pending, poll_fn};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::Poll;

use adjourn::rt::Spawner;
use adjourn::{FutureExt, JoinHandle, Scope, StopToken, scope};
use tokio::task::yield_now;

use super::{YIELDS, batches, ends, handles, park, parked, wakes, yields};

/// Runs a path in a way of ours.
pub(super) async fn ours<B: Spawner>(path: &str, way: &str, root: Scope<B>, count: usize) {
    match (path, way) {
        ("spawn", _) => batches(|| root.spawn(yields(0)), count).await,
        ("poll", _) => batches(|| root.spawn(yields(YIELDS)), count).await,
        ("wake", _) => batches(|| root.spawn(wakes(YIELDS)), count).await,
        ("watch", "pinned") => batches(|| watch_pinned(&root), count).await,
        ("watch", _) => batches(|| watch(&root), count).await,
        ("park" | "cancel", _) => {
            let scope = root.scope("parked");
            for _ in 0..count {
                scope.spawn(parked());
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
        ("pair", _) => {
            for _ in 0..count {
                let one = root.scope("one");
                drop(one.spawn(async { _ = pending::<()>().until_stop().await }));
                drop(one.spawn(pending::<()>()));
                wakes(1).await; // both are parked by then
                one.stop().await.expect("not from inside");
                debug_assert_eq!((one.totals().finished, one.totals().cancelled), (1, 1));
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
        ("await" | "drop" | "abort", "free") => {
            let spawn_parked = || adjourn::spawn(parked());
            handles(path, count, || adjourn::spawn(ends()), spawn_parked, |task| task.abort())
                .await;
        }
        ("await" | "drop" | "abort", _) => {
            let spawn_parked = || root.spawn(parked());
            handles(path, count, || root.spawn(ends()), spawn_parked, |task| task.abort()).await;
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
