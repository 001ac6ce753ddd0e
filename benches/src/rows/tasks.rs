//! Tasks: spawned and finished, polled, watching, cancelled, churned, ending at once.

use std::sync::{Arc, Mutex};

use super::child;
use super::effort::Effort;
use super::turns::{Round, Rounds, Ways, row, separate_turns, timed, turns};
use super::ways::{named, with_ways};
use crate::body::{gone, open_gate, since_asked};
use crate::host::{Config, Host};
use crate::stats::Quartiles;
use crate::table::{Budget, Ratios, Row};
use crate::way::{Size, TURNS, Way, Work};

/// What was measured on one executor.
#[derive(Debug)]
pub struct Measured {
    /// The table.
    pub table: Ratios,
    /// For each way the nanoseconds for each of so many tasks that were cancelled.
    pub cancel: Vec<(&'static str, Vec<(f64, f64)>)>,
}

/// Measures tasks on `config`.
pub fn on(config: Config, effort: Effort) -> Measured {
    with_ways!(config, |host, ways| measure(config, host, ways, effort))
}

/// Parks so many tasks and ends them: nanoseconds to the last destructor, and until that is known.
/// Nothing where the way of this name cannot.
pub fn cancel_once(config: Config, way: &str, count: usize) -> Vec<f64> {
    let way = way.to_owned();
    with_ways!(config, |_host, ways| cancel_in(ways, way, count))
}

async fn cancel_in(ways: Ways, name: String, count: usize) -> Vec<f64> {
    let way = named(&ways, &name);
    let Some(work) = way.cancel(count, Box::pin(async {})) else { return Vec::new() };
    work.await;
    let known = since_asked();
    [gone().1, known].map(|span| span.as_nanos() as f64).to_vec()
}

async fn measure<H: Host>(config: Config, host: H, ways: Ways, effort: Effort) -> Measured {
    let full = effort == Effort::Full;
    let (few, tasks) = if full { (5, 20_032) } else { (1, 640) };
    // Budgets are set for one thread: with more, the time is that of threads which wake each other.
    let budget = |budget| (config == Config::TokioCurrentThread).then_some(budget);
    let mut rows = Vec::new();
    let watched = format!("the same, watching for stop in {TURNS} turns");
    let all = [
        ("spawn and finish a task", SPAWN, tasks, 1.25),
        ("the same, polled 50 times", POLL, tasks / 16, 1.20),
        (&*watched, WATCH, tasks / 16, 1.40),
    ];
    for (title, what, tasks, limit) in all {
        let measured = in_several_processes(config, &ways, what, tasks, full);
        rows.push(row(title, &measured, tasks, budget(Budget::Bare(limit))));
    }

    let mut cancel: Vec<(&'static str, Vec<(f64, f64)>)> = Vec::new();
    let sizes: &[usize] = if full { &[1_000, 10_000, 100_000, 1_000_000] } else { &[1_000] };
    for &count in sizes {
        let rounds = if count > 100_000 { few.min(3) } else { few };
        let limit = (count == 100_000).then(|| budget(Budget::Peer(1.0))).flatten();
        rows.extend(cancel_many(config, &ways, count, rounds, limit, &mut cancel));
    }

    let (resident, short) = if full { (10_000, 200_000) } else { (640, 640) };
    let measured = turns(&ways, few, |way| churn(way, resident, short)).await;
    let title = format!("{short} short tasks over {resident} resident ones");
    rows.push(row(&title, &measured, short, None));

    let together = if full { 10_000 } else { 640 };
    let measured = turns(&ways, few, |way| {
        let work = way.finish(Size { count: together, batch: together }, Work::Gate)?;
        let opener = host.spawn(open_gate(together));
        Some(Box::pin(async move {
            work.await;
            let elapsed = since_asked();
            _ = opener.await;
            elapsed.as_nanos() as f64
        }))
    })
    .await;
    rows.push(row(&format!("{together} tasks that finish at once"), &measured, together, None));

    let columns = ways.iter().skip(1).map(|way| way.name()).collect();
    Measured { table: Ratios { title: config.name().to_owned(), columns, rows }, cancel }
}

/// What short rows do.
const SPAWN: &str = "spawn";
const POLL: &str = "poll";
const WATCH: &str = "watch";

/// Measures what is short in several processes, with several rounds of all ways in each: where memory
/// and code come to lie, which differs by process, moves such times by some hundredths.
fn in_several_processes(
    config: Config,
    ways: &Ways,
    what: &str,
    tasks: usize,
    full: bool,
) -> Vec<Rounds> {
    let (processes, rounds) = if full { (7, "5") } else { (1, "2") };
    let mut all: Vec<Rounds> =
        ways.iter().map(|way| Rounds { way: way.name(), nanos: Vec::new() }).collect();
    for _ in 0..processes {
        let figures = child::start(&["short", config.name(), what, &tasks.to_string(), rounds]);
        let each = figures.len() / ways.len();
        for (all, figures) in all.iter_mut().zip(figures.chunks(each)) {
            all.nanos.extend(figures.iter().filter(|figure| !figure.is_nan()));
        }
    }
    all.retain(|rounds| !rounds.nanos.is_empty());
    all
}

/// Measures one short row: the rounds of the first way, then those of the next; NaN for what a way
/// cannot do.
pub fn short(config: Config, what: &str, tasks: usize, rounds: usize) -> Vec<f64> {
    let what = what.to_owned();
    with_ways!(config, |_host, ways| short_in(ways, what, tasks, rounds))
}

async fn short_in(ways: Ways, what: String, tasks: usize, rounds: usize) -> Vec<f64> {
    let size = Size::of(tasks);
    let measured = turns(&ways, rounds, |way| {
        let work = match &*what {
            SPAWN => way.finish(size, Work::Nothing),
            POLL => way.finish(size, Work::Yields),
            WATCH => way.watch(size),
            other => panic!("no row {other}"),
        };
        Some(Box::pin(timed(work?)))
    })
    .await;
    let of = |way: &str| measured.iter().find(|rounds| rounds.way == way);
    let figures = |way: &'static str| {
        of(way).map_or_else(|| vec![f64::NAN; rounds], |rounds| rounds.nanos.clone())
    };
    ways.iter().flat_map(|way| figures(way.name())).collect()
}

/// Cancels `count` tasks, each time in a process of its own: a row to the last destructor, and one
/// until that is known.
fn cancel_many(
    config: Config,
    ways: &Ways,
    count: usize,
    rounds: usize,
    budget: Option<Budget>,
    growth: &mut Vec<(&'static str, Vec<(f64, f64)>)>,
) -> [Row; 2] {
    let [dropped, known] = separate_turns(ways, rounds, |way| {
        let figures = child::start(&["cancel", config.name(), way, &count.to_string()]);
        <[f64; 2]>::try_from(figures).ok()
    });
    for rounds in &known {
        let each = Quartiles::of(rounds.nanos.clone()).median / count as f64;
        match growth.iter_mut().find(|(way, _)| *way == rounds.way) {
            Some((_, points)) => points.push((count as f64, each)),
            None => growth.push((rounds.way, vec![(count as f64, each)])),
        }
    }
    [
        row(&format!("cancel {count}: to the last destructor"), &dropped, count, None),
        row(&format!("cancel {count}: until all are joined"), &known, count, budget),
    ]
}

/// Short tasks while others are parked.
fn churn(way: &dyn Way, resident: usize, short: usize) -> Option<Round<'_>> {
    let time = Arc::new(Mutex::new(0.0));
    let told = time.clone();
    let work = way.finish(Size::of(short), Work::Nothing)?;
    let meanwhile = async move {
        let nanos = timed(work).await;
        *told.lock().expect("not poisoned") = nanos;
    };
    let work = way.cancel(resident, Box::pin(meanwhile))?;
    Some(Box::pin(async move {
        work.await;
        gone();
        *time.lock().expect("not poisoned")
    }))
}
