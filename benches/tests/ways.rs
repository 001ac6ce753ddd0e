//! Every way does the work that it is measured by.
//!
//! One test: what the tasks do is counted for the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use adjourn::{Scope, Signal};
use adjourn_benches::body::{gone, open_gate, parked_now, through};
use adjourn_benches::host::{Host, OnSmol, OnTokio, in_order};
use adjourn_benches::nest::Inside;
use adjourn_benches::rows::scopes::{Nests, nests};
use adjourn_benches::rows::turns::Ways;
use adjourn_benches::rows::ways::{inside, smol_ways, tokio_ways};
use adjourn_benches::way::{Boxed, Size, Work};
use futures_lite::future::or;

const TASKS: usize = 300;

/// A test that hangs says nothing; this one names the way.
async fn done(name: &str, work: impl Future<Output = ()>) {
    let limit = async {
        async_io::Timer::after(Duration::from_secs(30)).await;
        panic!("{name} does not come to an end");
    };
    or(work, limit).await;
}

/// Returns what sets down how many tasks are parked, and where it does.
fn count_parked() -> (Boxed<'static>, Arc<AtomicUsize>) {
    let parked = Arc::new(AtomicUsize::new(0));
    let told = parked.clone();
    (Box::pin(async move { told.store(parked_now(), SeqCst) }), parked)
}

async fn each_finishes_and_cancels_all<H: Host>(host: H, ways: Ways) {
    for way in &ways {
        let name = way.name();
        let before = through();
        if let Some(all) = way.finish(Size { count: TASKS, batch: TASKS }, Work::Gate) {
            // The gate waits for ever for tasks that are not run.
            let opener = host.spawn(open_gate(TASKS));
            done(name, all).await;
            done(name, async { _ = opener.await }).await;
            assert_eq!(through() - before, TASKS, "{name} runs another number of tasks");
        }
        let (look, parked) = count_parked();
        if let Some(all) = way.cancel(TASKS, look) {
            done(name, all).await;
            assert_eq!(parked.load(SeqCst), TASKS, "{name} parks another number of tasks");
            gone();
        }
        if let Some(watching) = way.watch(Size::of(130)) {
            done(name, watching).await;
        }
    }
}

async fn each_nest_runs_and_stops_all(host: OnTokio, nests: Nests) {
    for way in &nests {
        let name = way.name();
        for in_turn in [true, false] {
            let before = through();
            let gates = if in_turn { 1 } else { TASKS };
            let opener = host.spawn(async move {
                for _ in 0..TASKS / gates {
                    open_gate(gates).await;
                }
            });
            let all = match in_turn {
                true => way.in_turn(TASKS, Work::Gate),
                false => way.at_once(TASKS, Work::Gate),
            };
            done(name, all.expect("it can")).await;
            done(name, async { _ = opener.await }).await;
            assert_eq!(through() - before, TASKS, "{name} runs another number of tasks");
        }
        for inside in [Inside::Tasks(1), Inside::Tasks(3), Inside::Pair] {
            let (look, parked) = count_parked();
            let Some(all) = way.stop(TASKS, inside, look) else { continue };
            done(name, all).await;
            let tasks = TASKS * inside.tasks();
            assert_eq!(parked.load(SeqCst), tasks, "{name} parks another number of tasks");
            gone();
        }
    }
}

#[test]
fn each_way_does_what_its_row_says() {
    let exit =
        adjourn::tokio::Runner::new().current_thread().signals([] as [Signal; 0]).run(async {
            let (host, scope) = (OnTokio::current(), Scope::current());
            let ways = tokio_ways(&host, &scope);
            inside(&scope, each_finishes_and_cancels_all(host.clone(), ways)).await;
            let nests = nests(&host, &scope);
            inside(&scope, each_nest_runs_and_stops_all(host, nests)).await;
        });
    in_order(&exit);
    OnSmol::run(async |host, scope| {
        let mut ways = smol_ways(&host, &scope);
        ways.retain(|way| way.name() != "elegant-departure"); // once in a process
        inside(&scope, each_finishes_and_cancels_all(host, ways)).await;
    });
}
