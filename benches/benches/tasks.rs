//! Spawn and finish, and polls that yield: Adjourn beside the bare runtime and a TaskTracker with a
//! CancellationToken, on Tokio's current-thread runtime, turn by turn in one run.

use std::future::Future;
use std::hint::black_box;
use std::time::{Duration, Instant};

use adjourn::rt::Spawner;
use adjourn::tokio::{Runner, Tokio};
use adjourn::{Scope, Signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const ROUNDS: usize = 31;
const TASKS: u32 = 20_000;
const YIELDS: u32 = 50;

/// The time of one round of spawning a batch and awaiting its handles.
async fn batch<H: Future>(mut spawn: impl FnMut() -> H, count: u32) -> Duration {
    let start = Instant::now();
    let mut handles = Vec::with_capacity(64);
    for _ in 0..count / 64 {
        handles.extend((0..64).map(|_| spawn()));
        for handle in handles.drain(..) {
            black_box(handle.await);
        }
    }
    start.elapsed()
}

async fn yields(count: u32) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

async fn compare(what: &str, yielding: u32, count: u32) {
    let tokio = Tokio::current().expect("inside the runtime");
    let typed = Scope::current().with_backend(tokio.clone());
    let erased = Scope::current();
    let tracker = TaskTracker::new();
    let token = CancellationToken::new();
    let mut ratios = [const { Vec::new() }; 3];
    let mut bare_times = Vec::new();
    for _ in 0..ROUNDS {
        let bare = batch(|| tokio.spawn(yields(yielding)), count).await;
        let ours = batch(|| typed.spawn(yields(yielding)), count).await;
        let any = batch(|| erased.spawn(yields(yielding)), count).await;
        let tracked = batch(
            || {
                let token = token.clone();
                tracker.spawn(async move { token.run_until_cancelled(yields(yielding)).await })
            },
            count,
        )
        .await;
        bare_times.push(bare.as_nanos() as f64 / f64::from(count));
        for (ratios, time) in ratios.iter_mut().zip([ours, any, tracked]) {
            ratios.push(time.as_secs_f64() / bare.as_secs_f64());
        }
    }
    let [ours, any, tracked] = ratios.map(median);
    println!(
        "{what:24} bare {:6.0} ns/task  typed {ours:.2}x  erased {any:.2}x  \
         TaskTracker + CancellationToken {tracked:.2}x",
        median(bare_times)
    );
}

fn main() {
    let exit = Runner::new().current_thread().signals([] as [Signal; 0]).run(async {
        compare("spawn and finish", 0, TASKS).await;
        compare("poll 50 times", YIELDS, TASKS / 16).await;
    });
    exit.exit();
}
