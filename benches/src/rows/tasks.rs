//! Tasks: spawned and finished, polled, watching, cancelled, churned, ending at once.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::child;
use super::effort::Effort;
use super::turns::{Round, Rounds, Ways, row, separate_turns, timed, turns};
use super::ways::{named, with_ways};
use crate::body::{gone, open_gate, since_asked};
use crate::host::{Config, Host};
use crate::stats::Quartiles;
use crate::table::{Budget, Ratios, Row};
use crate::way::{Boxed, FREE, Size, TURNS, TYPED, UNTYPED, Way, Work};

/// What was measured on one executor.
#[derive(Debug)]
pub struct Measured {
    /// What is measured again and again in one process.
    pub warm: Ratios,
    /// What is measured once in a process.
    pub cold: Ratios,
    /// For each way the nanoseconds for each of so many tasks that were cancelled.
    pub cancel: Growth,
}

/// For each way its points: how many tasks, and the nanoseconds for each.
pub type Growth = Vec<(&'static str, Vec<(f64, f64)>)>;

type Budgets = &'static [(&'static str, Budget)];

/// Measures tasks on `config`.
pub fn on(config: Config, effort: Effort) -> Measured {
    let names = names(config);
    let full = effort == Effort::Full;
    let warm = with_ways!(config, |host, ways| warm_rows(config, host, ways, full));
    let (cold, cancel) = cold_rows(config, &names, full);
    let title = |temperature| format!("{}, {temperature}", config.name());
    Measured {
        warm: Ratios::new(title("warm"), &names, warm),
        cold: Ratios::new(title("cold"), &names, cold),
        cancel,
    }
}

/// Returns the names of the ways that there are on `config`.
fn names(config: Config) -> Vec<&'static str> {
    with_ways!(config, |_host, ways| async move {
        ways.iter().map(|way| way.name()).collect::<Vec<_>>()
    })
}

/// Budgets are set for one thread: with more, the time is that of threads which wake each other.
fn on_one_thread(config: Config, budgets: Budgets) -> Budgets {
    if config == Config::TokioCurrentThread { budgets } else { &[] }
}

async fn warm_rows<H: Host>(config: Config, host: H, ways: Ways, full: bool) -> Vec<Row> {
    let (few, tasks) = if full { (5, 20_032) } else { (1, 640) };
    let mut rows = Vec::new();
    let watched = format!("the same, watching for stop in {TURNS} turns");
    const SPAWNED: Budgets =
        &[(FREE, Budget::Base(1.25)), (TYPED, Budget::Base(1.25)), (UNTYPED, Budget::Base(1.30))];
    const POLLED: Budgets = &[(FREE, Budget::Base(1.12)), (TYPED, Budget::Base(1.12))];
    const WATCHED: Budgets = &[(FREE, Budget::Base(1.40)), (TYPED, Budget::Base(1.40))];
    let all = [
        ("spawn and finish a task, 64 at a time", SPAWN, tasks, SPAWNED),
        ("the same, polled 50 times", POLL, tasks / 16, POLLED),
        (&*watched, WATCH, tasks / 16, WATCHED),
    ];
    for (title, what, tasks, budgets) in all {
        let measured = in_several_processes(config, &ways, what, tasks, full);
        rows.push(row(title, &measured, tasks, on_one_thread(config, budgets)));
    }

    let (resident, short) = if full { (10_000, 200_000) } else { (640, 640) };
    let measured = turns(&ways, few, |way| churn(way, resident, short)).await;
    let title = format!("{short} short tasks over {resident} resident ones");
    rows.push(row(&title, &measured, short, &[]));

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
    rows.push(row(&format!("{together} tasks that finish at once"), &measured, together, &[]));
    rows
}

/// Each way and round in a process of its own: what it takes from the allocator is new.
fn cold_rows(config: Config, names: &[&'static str], full: bool) -> (Vec<Row>, Growth) {
    const SPAWNED: Budgets =
        &[(FREE, Budget::Base(1.35)), (TYPED, Budget::Base(1.35)), (UNTYPED, Budget::Base(1.45))];
    const ENDED: Budgets = &[(FREE, Budget::Peer(1.0)), (TYPED, Budget::Peer(1.0))];
    let sizes: &[usize] = if full { &[1_000, 10_000, 100_000, 1_000_000] } else { &[1_000] };
    let rounds = |count: usize| match count {
        _ if !full => 1,
        1_000_000.. => 3,
        _ => 5,
    };
    let budgets = |wanted: bool, budgets| on_one_thread(config, if wanted { budgets } else { &[] });
    let once = |title: &str, what: &str, count: usize, limit: Budgets| {
        let [measured] = separate_turns(names, rounds(count), |way| {
            let figures = child::start(&["once", config.name(), what, way, &count.to_string()]);
            <[f64; 1]>::try_from(figures).ok()
        });
        row(&format!("{count} at once: {title}"), &measured, count, limit)
    };
    let mut rows = Vec::new();
    for &count in sizes.iter().filter(|&&count| count != 10_000) {
        let limit = budgets(count == 100_000, SPAWNED);
        rows.push(once("spawn and finish", SPAWN, count, limit));
    }
    let many = if full { 10_000 } else { 1_000 }; // more would take minutes
    rows.push(once("spawn and finish, polled 50 times", POLL, many, &[]));
    let watched = format!("spawn and finish, watching for stop in {TURNS} turns");
    rows.push(once(&watched, WATCH, many, &[]));

    let mut growth = Growth::new();
    for &count in sizes {
        let [parked, dropped, known] = separate_turns(names, rounds(count), |way| {
            let figures = child::start(&["cancel", config.name(), way, &count.to_string()]);
            <[f64; 3]>::try_from(figures).ok()
        });
        grow(&mut growth, count, &known);
        let limit = budgets(count == 1_000 || count == 100_000, ENDED);
        let ended = format!("{count} parked: cancel, to the last destructor");
        let joined = format!("{count} parked: cancel, until all are joined");
        rows.push(row(&format!("{count} at once: spawn and park"), &parked, count, &[]));
        rows.push(row(&ended, &dropped, count, &[]));
        rows.push(row(&joined, &known, count, limit));
    }
    (rows, growth)
}

/// Adds a point for each way.
pub fn grow(growth: &mut Growth, count: usize, measured: &[Rounds]) {
    for rounds in measured {
        let each = Quartiles::of(rounds.nanos.clone()).median / count as f64;
        match growth.iter_mut().find(|(way, _)| *way == rounds.way) {
            Some((_, points)) => points.push((count as f64, each)),
            None => growth.push((rounds.way, vec![(count as f64, each)])),
        }
    }
}

/// Parks so many tasks and ends them: nanoseconds until all are parked, from the request to the last
/// destructor, and from the request until that is known. Nothing where the way of this name cannot.
pub fn cancel_once(config: Config, way: &str, count: usize) -> Vec<f64> {
    let way = way.to_owned();
    with_ways!(config, |_host, ways| cancel_in(ways, way, count))
}

async fn cancel_in(ways: Ways, name: String, count: usize) -> Vec<f64> {
    let way = named(&ways, &name);
    let parked = Arc::new(OnceLock::new());
    let (told, start) = (parked.clone(), Instant::now());
    let meanwhile = Box::pin(async move { told.set(start.elapsed()).expect("once") });
    let Some(work) = way.cancel(count, meanwhile) else { return Vec::new() };
    work.await;
    let known = since_asked();
    let parked = *parked.get().expect("it awaits what is to be done meanwhile");
    let nanos = |span: Duration| span.as_nanos() as f64;
    let known = if way.joins() { nanos(known) } else { f64::NAN };
    vec![nanos(parked), nanos(gone().1), known]
}

/// Measures one row once, `count` tasks at once. Nothing where the way of this name cannot.
pub fn once(config: Config, what: &str, way: &str, count: usize) -> Vec<f64> {
    let (what, way) = (what.to_owned(), way.to_owned());
    with_ways!(config, |_host, ways| async move {
        let size = Size { count, batch: count };
        match short_work(named(&ways, &way), &what, size) {
            Some(work) => vec![timed(work).await],
            None => Vec::new(),
        }
    })
}

/// What short rows do.
const SPAWN: &str = "spawn";
const POLL: &str = "poll";
const WATCH: &str = "watch";

/// Returns what a short row does in one round.
fn short_work<'a>(way: &'a dyn Way, what: &str, size: Size) -> Option<Boxed<'a>> {
    match what {
        SPAWN => way.finish(size, Work::Nothing),
        POLL => way.finish(size, Work::Yields),
        WATCH => way.watch(size),
        other => panic!("no row {other}"),
    }
}

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
    let measured =
        turns(&ways, rounds, |way| Some(Box::pin(timed(short_work(way, &what, size)?)))).await;
    let of = |way: &str| measured.iter().find(|rounds| rounds.way == way);
    let figures = |way: &'static str| {
        of(way).map_or_else(|| vec![f64::NAN; rounds], |rounds| rounds.nanos.clone())
    };
    ways.iter().flat_map(|way| figures(way.name())).collect()
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
