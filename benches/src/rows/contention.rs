//! What threads cost each other: tokens that many look at, programs beside each other, scopes that
//! many threads spawn into.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use adjourn::{Scope, StopToken};
use tokio_util::sync::CancellationToken;

use super::effort::Effort;
use crate::host::{self, Host, OnTokio};
use crate::stats::Quartiles;
use crate::table::plain;
use crate::way::{Bare, Group, Ours, Size};

/// Returns the tables.
pub fn all(effort: Effort) -> String {
    let full = effort == Effort::Full;
    format!(
        "{}\n{}\n{}",
        looking(if full { 4_000_000 } else { 4_000 }),
        programs(if full { 200_000 } else { 640 }),
        spawning(if full { 200_000 } else { 640 })
    )
}

const ROUNDS: usize = 5;

/// Threads that ask a token again and again whether there was a stop.
fn looking(looks: usize) -> String {
    let head =
        ["threads that look, ns a look and thread", "AtomicBool", "StopToken", "CancellationToken"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    host::run(adjourn::tokio::Runner::new().current_thread(), async |scope| {
        let (flag, ours) = (Arc::new(AtomicBool::new(false)), scope.stop_token());
        let peer = CancellationToken::new();
        for threads in [1, 2, 4, 8, 16] {
            let mut each: [Vec<f64>; 3] = Default::default();
            for _ in 0..ROUNDS {
                let count = looks / threads;
                let flag = flag.clone();
                each[0].push(on_threads(threads, count, move || flag.load(Relaxed)));
                let token: StopToken = ours.clone();
                each[1].push(on_threads(threads, count, move || token.is_requested()));
                let token = peer.clone();
                each[2].push(on_threads(threads, count, move || token.is_cancelled()));
            }
            let cores = thread::available_parallelism().map_or(1, usize::from).min(threads);
            let [flag, ours, peer] = each.map(|nanos| {
                format!("{:.1}", Quartiles::of(nanos).median * cores as f64 / looks as f64)
            });
            lines.push(vec![threads.to_string(), flag, ours, peer]);
        }
    });
    plain(&lines)
}

/// Returns the nanoseconds until `threads` have each looked `count` times.
fn on_threads(
    threads: usize,
    count: usize,
    look: impl Fn() -> bool + Clone + Send + 'static,
) -> f64 {
    let begin = Arc::new(Barrier::new(threads + 1));
    let all: Vec<_> = (0..threads)
        .map(|_| {
            let (begin, look) = (begin.clone(), look.clone());
            thread::spawn(move || {
                begin.wait();
                for _ in 0..count {
                    black_box(look());
                }
            })
        })
        .collect();
    begin.wait();
    let start = Instant::now();
    for thread in all {
        thread.join().expect("it does not panic");
    }
    start.elapsed().as_nanos() as f64
}

/// Programs, each with an executor and a thread of its own, alone and two at once.
fn programs(tasks: usize) -> String {
    fn bare(size: Size) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(Bare(OnTokio::new(runtime.handle())).finish(size, || async {}));
    }
    fn ours(size: Size) {
        host::run(adjourn::tokio::Runner::new().current_thread(), async |scope: Scope| {
            let ours = Ours::typed(&scope, OnTokio::current().backend());
            ours.finish(size, || async {}).await;
        });
    }
    let size = Size::of(tasks);
    let run = |count: usize, program: fn(Size)| {
        let start = Instant::now();
        let all: Vec<_> = (0..count).map(|_| thread::spawn(move || program(size))).collect();
        for thread in all {
            thread.join().expect("it does not panic");
        }
        start.elapsed().as_nanos() as f64
    };
    let head = ["programs in one process, each on a thread: two take, beside one", "ratio"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for (name, program) in [("bare runtimes", bare as fn(Size)), ("Adjourn programs", ours)] {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            one.push(run(1, program));
            two.push(run(2, program));
        }
        let ratio = Quartiles::of_ratios(&two, &one);
        let text = format!("{:.2}x ({:.2}–{:.2})", ratio.median, ratio.low, ratio.high);
        lines.push(vec![format!("{name}, spawn and finish"), text]);
    }
    plain(&lines)
}

/// Workers of one runtime that spawn and finish at the same time.
fn spawning(tasks: usize) -> String {
    let head =
        ["workers that spawn and finish at once: ns a task", "bare", "one scope", "a scope each"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for workers in [1, 2, 4] {
        let runner = adjourn::tokio::Runner::new().worker_threads(workers);
        let each = host::run(runner, async |root| {
            let host = OnTokio::current();
            let mut each: [Vec<f64>; 3] = Default::default();
            for _ in 0..ROUNDS {
                for (way, nanos) in each.iter_mut().enumerate() {
                    let start = Instant::now();
                    let spawners: Vec<_> = (0..workers)
                        .map(|_| {
                            let (host, size) = (host.clone(), Size::of(tasks / workers));
                            let scope = if way == 2 { root.scope("own") } else { root.clone() };
                            host.clone().spawn(async move {
                                if way == 0 {
                                    Bare(host).finish(size, || async {}).await;
                                } else {
                                    let ours = Ours::typed(&scope, host.backend());
                                    ours.finish(size, || async {}).await;
                                }
                            })
                        })
                        .collect();
                    for spawner in spawners {
                        spawner.await.expect("it does not panic");
                    }
                    nanos.push(start.elapsed().as_nanos() as f64 / tasks as f64);
                }
            }
            each
        });
        let texts = each
            .map(Quartiles::of)
            .map(|all| format!("{:.0} ({:.0}–{:.0})", all.median, all.low, all.high));
        lines.push([vec![workers.to_string()], texts.to_vec()].concat());
    }
    plain(&lines)
}
