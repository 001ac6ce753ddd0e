//! Heap: allocations of a task, bytes of a parked one, what is left of those that have ended.

use std::sync::{Arc, Mutex};

use super::tasks::{Effort, tokio_ways};
use super::turns::Ways;
use crate::alloc::{self, Allocated};
use crate::body::{gone, yields};
use crate::host::{self, OnTokio};
use crate::plot::{Chart, Line};
use crate::table::plain;
use crate::way::{Size, Way, Work};

/// Returns the table, for Tokio current-thread, and the chart of growth.
pub fn all(effort: Effort) -> (String, Chart) {
    let full = effort == Effort::Full;
    host::run(adjourn::tokio::Runner::new().current_thread(), async |scope| {
        let ways = tokio_ways(&OnTokio::current(), &scope);
        let sizes: &[usize] = if full { &[1_000, 10_000, 100_000, 1_000_000] } else { &[1_000] };
        table(&ways, sizes, if full { 1_000_000 } else { 64_000 }).await
    })
}

async fn table(ways: &Ways, sizes: &[usize], ended: usize) -> (String, Chart) {
    let mut head = vec![
        "heap".to_owned(),
        "allocations a task".to_owned(),
        "bytes left of each of those".to_owned(),
    ];
    head.extend(sizes.iter().map(|size| format!("bytes a parked task, {size}")));
    let (mut lines, mut series) = (vec![head], Vec::new());
    let mut bare = None;
    for way in ways {
        let way: &dyn Way = &**way;
        // Once before, so that what grows with the number of tasks has its size.
        way.finish(Size::of(640), Work::Nothing).await;
        let all = counted(way.finish(Size::of(ended), Work::Nothing)).await;
        let calls = all.calls as f64 / ended as f64;
        let more = calls - *bare.get_or_insert(calls);
        let mut line = vec![
            way.name().to_owned(),
            format!("{calls:.2} (bare {more:+.2})"),
            format!("{:.2}", all.bytes as f64 / ended as f64),
        ];
        let mut points = Vec::new();
        for &size in sizes {
            let Some(bytes) = parked_bytes(way, size).await else {
                line.push("–".to_owned());
                continue;
            };
            line.push(format!("{bytes:.0}"));
            points.push((size as f64, bytes));
        }
        lines.push(line);
        series.push(Line { name: way.name().to_owned(), points });
    }
    series.rotate_left(1); // ours first
    let chart = Chart {
        title: "Heap of a parked task, Tokio current-thread".to_owned(),
        across: "tasks".to_owned(),
        up: "bytes a task".to_owned(),
        lines: series,
    };
    (plain(&lines), chart)
}

async fn counted(work: impl Future<Output = ()>) -> Allocated {
    alloc::start();
    work.await;
    alloc::stop()
}

/// Returns the bytes of each of `count` parked tasks: what is allocated when all are.
async fn parked_bytes(way: &dyn Way, count: usize) -> Option<f64> {
    let there = Arc::new(Mutex::new(0.0));
    let told = there.clone();
    let look = Box::pin(async move {
        yields(2).await;
        let bytes = alloc::stop().bytes;
        *told.lock().expect("not poisoned") = bytes as f64 / count as f64;
    });
    let work = way.cancel(count, look)?;
    alloc::start();
    work.await;
    gone();
    let bytes = *there.lock().expect("not poisoned");
    Some(bytes)
}
