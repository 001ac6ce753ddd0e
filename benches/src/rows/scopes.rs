//! Scopes: one after the other, many at once, stopped together, and what each is in memory. Beside
//! child tokens and other groups below groups.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use adjourn::Scope;

use super::child;
use super::effort::Effort;
use super::tasks::{Growth, grow};
use super::turns::{row, separate_turns, timed};
use super::ways::inside;
use crate::alloc;
use crate::body::{gone, since_asked, yields};
use crate::host::{self, Host, OnTokio};
use crate::nest::{Inside, Nest, Scopes, Subsystems, Swansongs, Tokens};
use crate::plot::{Chart, Line};
use crate::table::{Budget, Ratios, plain};
use crate::way::{TYPED, UNTYPED, Work};

/// The ways that are measured beside each other.
pub type Nests = Vec<Box<dyn Nest + Send + Sync>>;

/// The ways on Tokio; the first is what the others are measured beside.
pub fn nests(host: &OnTokio, scope: &Scope) -> Nests {
    vec![
        Box::new(Tokens::<false>),
        Box::new(Scopes::untyped(scope)),
        Box::new(Scopes::typed(scope, host.backend())),
        Box::new(Tokens::<true>),
        Box::new(Swansongs(host.clone())),
        Box::new(Subsystems),
    ]
}

/// What a row does.
const IN_TURN: &str = "in turn";
const AT_ONCE: &str = "at once";
const STOP: &str = "stop";
const PAIR: &str = "pair";
const BYTES: &str = "bytes";
const TASK_BYTES: &str = "bytes of the task";

/// Bytes of a scope beside those of the task in it.
const BYTES_BUDGET: f64 = 256.0;

/// Returns the tables, and the chart of stops.
pub fn all(effort: Effort) -> (String, Chart) {
    let full = effort == Effort::Full;
    let names: Vec<&'static str> =
        on_tokio(|nests| async move { nests.iter().map(|way| way.name()).collect() });
    let (times, growth) = times(&names, full);
    let mut growth: Growth = growth.into_iter().filter(|(way, _)| *way != TYPED).collect();
    growth.sort_by_key(|(way, _)| *way != UNTYPED);
    let line = |(name, points): (&str, _)| Line { name: name.to_owned(), points };
    let chart = Chart {
        title: "Stop scopes with a parked task each, by the one above".to_owned(),
        across: "scopes".to_owned(),
        up: "ns a scope".to_owned(),
        lines: growth.into_iter().map(line).collect(),
    };
    (format!("{}\n{}", times.to_markdown(), bytes(&names, full)), chart)
}

fn times(names: &[&'static str], full: bool) -> (Ratios, Growth) {
    let sizes: &[usize] = if full { &[1_000, 10_000, 100_000, 1_000_000] } else { &[1_000] };
    let rounds = |count: usize| match count {
        _ if !full => 1,
        1_000_000.. => 3,
        _ => 5,
    };
    let budgets = |count: usize, limit: f64| match count {
        10_000 | 100_000 => vec![(UNTYPED, Budget::Base(limit))],
        _ => Vec::new(),
    };
    let measure = |what: &str, count: usize| {
        separate_turns::<2>(names, rounds(count), |way| {
            <[f64; 2]>::try_from(child::start(&["scopes", what, way, &count.to_string()])).ok()
        })
    };
    let turns = if full { 20_000 } else { 1_000 };
    let [_, warm] = measure(IN_TURN, turns);
    let mut rows = vec![row("one after the other: open, one task, its end", &warm, turns, &[])];
    for &count in sizes {
        let [_, measured] = measure(AT_ONCE, count);
        let title = format!("{count} at once: open, one task each, the end of all");
        rows.push(row(&title, &measured, count, &budgets(count, 1.5)));
    }
    let mut growth = Growth::new();
    for &count in sizes {
        let [parked, ended] = measure(STOP, count);
        grow(&mut growth, count, &ended);
        let title = format!("{count} at once: open, park one task each");
        rows.push(row(&title, &parked, count, &[]));
        let title = format!("{count} with a parked task each: stop, to the end of all");
        rows.push(row(&title, &ended, count, &budgets(count, 2.0)));
    }
    for &count in sizes.iter().filter(|&&count| count < 1_000_000) {
        let [_, ended] = measure(PAIR, count);
        let title = format!("{count} with a connection's pair each: stop, to the end of all");
        rows.push(row(&title, &ended, count, &[]));
    }
    (Ratios::new("scopes, Tokio current-thread".to_owned(), names, rows), growth)
}

fn bytes(names: &[&'static str], full: bool) -> String {
    let sizes: &[usize] = if full { &[1_000, 10_000, 100_000, 1_000_000] } else { &[1_000] };
    let most = if full { 100_000 } else { 1_000 };
    let figure = |what: &str, way: &str, count: usize| {
        child::start(&["scopes", what, way, &count.to_string()]).first().copied()
    };
    let text = |bytes: Option<f64>| bytes.map_or_else(|| "–".to_owned(), |b| format!("{b:.0}"));
    let mut head = vec!["heap".to_owned()];
    head.extend(sizes.iter().map(|size| format!("bytes a scope with a parked task, {size}")));
    head.push(format!("of the task, {most} in one"));
    head.push("of the scope".to_owned());
    let mut lines = vec![head];
    for &way in names {
        let all = sizes.iter().map(|&size| figure(BYTES, way, size));
        let mut line: Vec<String> = [way.to_owned()].into_iter().chain(all.map(text)).collect();
        let (both, task) = (figure(BYTES, way, most), figure(TASK_BYTES, way, most));
        line.push(text(task));
        let scope = both.zip(task).map(|(both, task)| both - task);
        let verdict = match scope {
            Some(bytes) if way == UNTYPED && bytes <= BYTES_BUDGET => "; budget 256: met",
            Some(_) if way == UNTYPED => "; budget 256: **missed**",
            _ => "",
        };
        line.push(format!("{}{verdict}", text(scope)));
        lines.push(line);
    }
    plain(&lines)
}

/// Measures one row in one way: nanoseconds to open and park, where there is such a part, and of the
/// row itself; or bytes of each. Nothing where the way of this name cannot.
///
/// # Panics
///
/// When there is no such way or row.
pub fn once(what: &str, way: &str, count: usize) -> Vec<f64> {
    let (what, way) = (what.to_owned(), way.to_owned());
    on_tokio(|nests| async move {
        let way = nests.iter().find(|nest| nest.name() == way).expect("the name of a way");
        let figures = match &*what {
            IN_TURN => in_turn(&**way, count).await,
            AT_ONCE => match way.at_once(count, Work::Nothing) {
                Some(work) => Some(vec![f64::NAN, timed(work).await]),
                None => None,
            },
            STOP => stop(&**way, count, Inside::Tasks(1)).await,
            PAIR => stop(&**way, count, Inside::Pair).await,
            BYTES => bytes_of(&**way, count, 1).await,
            TASK_BYTES => bytes_of(&**way, 1, count).await,
            other => panic!("no row {other}"),
        };
        figures.unwrap_or_default()
    })
}

/// The second time is measured, when memory is there.
async fn in_turn(way: &dyn Nest, count: usize) -> Option<Vec<f64>> {
    way.in_turn(count, Work::Nothing)?.await;
    Some(vec![f64::NAN, timed(way.in_turn(count, Work::Nothing)?).await])
}

async fn stop(way: &dyn Nest, count: usize, inside: Inside) -> Option<Vec<f64>> {
    let parked = Arc::new(OnceLock::new());
    let (told, start) = (parked.clone(), Instant::now());
    let meanwhile = Box::pin(async move { told.set(start.elapsed()).expect("once") });
    way.stop(count, inside, meanwhile)?.await;
    let known = since_asked();
    gone();
    let parked = *parked.get().expect("it awaits what is to be done meanwhile");
    Some([parked, known].map(|span: Duration| span.as_nanos() as f64).to_vec())
}

async fn bytes_of(way: &dyn Nest, groups: usize, tasks: usize) -> Option<Vec<f64>> {
    let there = Arc::new(OnceLock::new());
    let told = there.clone();
    let look = Box::pin(async move {
        yields(2).await;
        told.set(alloc::stop().bytes).expect("once");
    });
    let work = way.stop(groups, Inside::Tasks(tasks), look)?;
    alloc::start();
    work.await;
    gone();
    let bytes = *there.get().expect("it awaits what is to be done meanwhile");
    Some(vec![bytes as f64 / (groups * tasks) as f64])
}

/// Runs `measure` in a task of a program on Tokio's current-thread runtime.
fn on_tokio<R, F>(measure: impl FnOnce(Nests) -> F) -> R
where
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    host::run(adjourn::tokio::Runner::new().current_thread(), async |scope| {
        let nests = nests(&OnTokio::current(), &scope);
        inside(&scope, measure(nests)).await
    })
}
