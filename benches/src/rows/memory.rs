//! Heap: allocations of a task, bytes of a parked one, what is left of those that have ended.
//!
//! Parked tasks, and the first of a process, are counted in a process of their own: memory that earlier
//! ones have left to be used again is not asked of the allocator anew.

use std::sync::{Arc, Mutex};

use super::child;
use super::effort::Effort;
use super::turns::Ways;
use super::ways::{named, with_ways};
use crate::alloc::{self, Allocated};
use crate::body::{gone, yields};
use crate::host::Config;
use crate::plot::{Chart, Line};
use crate::table::plain;
use crate::way::{Size, TYPED, Work};

/// What the design allows for a task: inline in its future, and in the scope's side table.
const BUDGET: f64 = 48.0 + 64.0;

/// Returns the tables, and the chart of growth on Tokio.
pub fn all(effort: Effort) -> (String, Chart) {
    let full = effort == Effort::Full;
    let sizes: &[usize] = if full { &[1_000, 10_000, 100_000, 1_000_000] } else { &[1_000] };
    let ended = if full { 1_000_000 } else { 64_000 };
    let (tokio, series) = table(Config::TokioCurrentThread, true, sizes, ended);
    let (smol, _) = table(Config::Smol, false, sizes, ended);
    let chart = Chart {
        title: "Heap of a parked task, Tokio current-thread".to_owned(),
        across: "tasks".to_owned(),
        up: "bytes a task".to_owned(),
        lines: series,
    };
    (format!("{tokio}\n{smol}"), chart)
}

/// `stepped`: the executor rounds sizes up.
fn table(config: Config, stepped: bool, sizes: &[usize], ended: usize) -> (String, Vec<Line>) {
    let calls = with_ways!(config, |_host, ways| ended_tasks(ways, ended));
    let first = (ended / 10).to_string();
    let mut head = vec![
        format!("heap, {}", config.name()),
        "allocations a task, warm".to_owned(),
        format!("the first {first} at once"),
        "bytes left of each of those".to_owned(),
    ];
    head.extend(sizes.iter().map(|size| format!("bytes a parked task, {size}")));
    head.push("more than bare".to_owned());
    let (mut lines, mut series) = (vec![head], Vec::new());
    let (mut bare, mut bare_first, mut bare_bytes) = (None, None, None);
    let beside = |calls: f64, bare: &mut Option<f64>| {
        let more = (calls - *bare.get_or_insert(calls)).max(0.0);
        format!("{calls:.2} (bare {more:+.2})")
    };
    for (way, all) in calls {
        let cold = child::start(&["allocations", config.name(), way, &first]);
        let cold = cold.first().map(|&calls| beside(calls, &mut bare_first));
        let mut line = vec![
            way.to_owned(),
            beside(all.calls as f64 / ended as f64, &mut bare),
            cold.unwrap_or_else(|| "–".to_owned()),
            format!("{:.2}", (all.bytes as f64 / ended as f64).max(0.0)),
        ];
        let mut points = Vec::new();
        for &size in sizes {
            let args = ["bytes", config.name(), way, &size.to_string()];
            let Some(&bytes) = child::start(&args).first() else {
                line.push("–".to_owned());
                continue;
            };
            line.push(format!("{bytes:.0}"));
            points.push((size as f64, bytes));
        }
        let Some(&(_, bytes)) = points.last() else {
            line.push("–".to_owned());
            lines.push(line);
            continue;
        };
        let more = bytes - *bare_bytes.get_or_insert(bytes);
        let verdict = match way {
            TYPED if stepped => "", // what is added is not to be seen in steps of 128
            TYPED if more <= BUDGET => "; budget 112: met",
            TYPED => "; budget 112: **missed**",
            _ => "",
        };
        line.push(format!("{more:+.0}{verdict}"));
        lines.push(line);
        series.push(Line { name: way.to_owned(), points });
    }
    series.rotate_left(1); // ours first
    (plain(&lines), series)
}

/// Counts what each way allocates for tasks that end, and what of it is left.
async fn ended_tasks(ways: Ways, ended: usize) -> Vec<(&'static str, Allocated)> {
    let mut all = Vec::new();
    for way in &ways {
        // Once before, so that what grows with the number of tasks has its size.
        let Some(before) = way.finish(Size::of(640), Work::Nothing) else { continue };
        before.await;
        let Some(work) = way.finish(Size::of(ended), Work::Nothing) else { continue };
        alloc::start();
        work.await;
        all.push((way.name(), alloc::stop()));
    }
    all
}

/// Returns what each of the first `count` tasks of a program allocates, all at once.
pub fn allocations_at_once(config: Config, way: &str, count: usize) -> Vec<f64> {
    let way = way.to_owned();
    with_ways!(config, |_host, ways| async move {
        let size = Size { count, batch: count };
        let Some(work) = named(&ways, &way).finish(size, Work::Nothing) else { return Vec::new() };
        alloc::start();
        work.await;
        vec![alloc::stop().calls as f64 / count as f64]
    })
}

/// Returns the bytes of each of `count` parked tasks: what is allocated when all are.
pub fn parked_bytes(config: Config, way: &str, count: usize) -> Vec<f64> {
    let way = way.to_owned();
    with_ways!(config, |_host, ways| parked_in(ways, way, count))
}

async fn parked_in(ways: Ways, name: String, count: usize) -> Vec<f64> {
    let there = Arc::new(Mutex::new(0.0));
    let told = there.clone();
    let look = Box::pin(async move {
        yields(2).await;
        let bytes = alloc::stop().bytes;
        *told.lock().expect("not poisoned") = bytes as f64 / count as f64;
    });
    let Some(work) = named(&ways, &name).cancel(count, look) else { return Vec::new() };
    alloc::start();
    work.await;
    gone();
    let bytes = *there.lock().expect("not poisoned");
    vec![bytes]
}
