//! Tasks: spawned and finished, polled, watching, cancelled, churned, ending at once.

use std::sync::{Arc, Mutex};

use adjourn::Scope;

use super::turns::{Round, Rounds, Ways, row, timed, turns};
use crate::body::{gone, open_gate, since_asked};
use crate::host::{self, Config, Host, OnAsyncStd, OnSmol, OnTokio};
use crate::stats::Quartiles;
use crate::table::{Budget, Ratios, Row};
use crate::way::{
    AsyncShutdown, Bare, Elegant, Graceful, InJoinSet, Ours, Size, Subsystems, TURNS, Tracker, Way,
    Work,
};

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For figures that are kept.
    Full,
    /// To see that everything runs.
    Quick,
}

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
    use adjourn::{async_std, tokio};
    match config {
        Config::TokioCurrentThread => {
            host::run(tokio::Runner::new().current_thread(), async |scope| {
                let host = OnTokio::current();
                let ways = tokio_ways(&host, &scope);
                inside(config, host, ways, effort).await
            })
        }
        Config::TokioMultiThread => {
            let threads = std::thread::available_parallelism().map_or(2, usize::from);
            host::run(tokio::Runner::new().worker_threads(threads), async |scope| {
                let host = OnTokio::current();
                let ways = tokio_ways(&host, &scope);
                inside(config, host, ways, effort).await
            })
        }
        Config::Smol => OnSmol::run(async |host, scope| {
            let ways = general_ways(&host, &scope);
            inside(config, host, ways, effort).await
        }),
        Config::AsyncStd => host::run(async_std::Runner::new(), async |scope| {
            let ways = general_ways(&OnAsyncStd, &scope);
            inside(config, OnAsyncStd, ways, effort).await
        }),
    }
}

/// The ways that there are on Tokio.
pub fn tokio_ways(host: &OnTokio, scope: &Scope) -> Ways {
    let mut ways = general_ways(host, scope);
    ways.push(Box::new(InJoinSet));
    ways.push(Box::new(Tracker::<false>::default()));
    ways.push(Box::new(Tracker::<true>::default()));
    ways.push(Box::new(Graceful));
    ways.push(Box::new(Subsystems));
    ways
}

/// The ways that there are on every executor.
pub fn general_ways<H: Host>(host: &H, scope: &Scope) -> Ways {
    vec![
        Box::new(Bare(host.clone())),
        Box::new(Ours::typed(scope, host.backend())),
        Box::new(Ours::erased(scope)),
        Box::new(AsyncShutdown(host.clone())),
    ]
}

/// Measures inside a task of the executor, as most of a program runs.
async fn inside<H: Host>(config: Config, host: H, ways: Ways, effort: Effort) -> Measured {
    let measured = Arc::new(Mutex::new(None));
    let (inner, result) = (host.clone(), measured.clone());
    let task = host.spawn(async move {
        let all = measure(config, inner, ways, effort).await;
        *result.lock().expect("not poisoned") = Some(all);
    });
    task.await;
    let result = measured.lock().expect("not poisoned").take();
    result.expect("it was measured")
}

async fn measure<H: Host>(config: Config, host: H, ways: Ways, effort: Effort) -> Measured {
    let full = effort == Effort::Full;
    let (rounds, few, tasks) = if full { (15, 5, 20_032) } else { (2, 1, 640) };
    // Budgets are set for one thread: with more, the time is that of threads which wake each other.
    let budget = |budget| (config == Config::TokioCurrentThread).then_some(budget);
    let mut rows = Vec::new();
    let all = [
        ("spawn and finish a task", tasks, Work::Nothing, 1.25),
        ("the same, polled 50 times", tasks / 16, Work::Yields, 1.20),
    ];
    for (title, tasks, work, limit) in all {
        let size = Size::of(tasks);
        let measured =
            turns(&ways, rounds, |way| Some(Box::pin(timed(way.finish(size, work))))).await;
        rows.push(row(title, &measured, size.count, budget(Budget::Bare(limit))));
    }
    let size = Size::of(tasks / 16);
    let measured = turns(&ways, rounds, |way| {
        let work = way.watch(size)?;
        Some(Box::pin(timed(work)))
    })
    .await;
    let title = format!("the same, watching for stop in {TURNS} turns");
    rows.push(row(&title, &measured, size.count, budget(Budget::Bare(1.40))));

    let mut cancel: Vec<(&'static str, Vec<(f64, f64)>)> = Vec::new();
    let sizes: &[usize] = if full { &[1_000, 10_000, 100_000, 1_000_000] } else { &[1_000] };
    for &count in sizes {
        let rounds = if count > 100_000 { 2 } else { few };
        let limit = (count == 100_000).then(|| budget(Budget::Peer(1.0))).flatten();
        rows.extend(cancel_many(config, &ways, count, rounds, limit, &mut cancel).await);
    }

    let (resident, short) = if full { (10_000, 200_000) } else { (640, 640) };
    let measured = turns(&ways, few, |way| churn(way, resident, short)).await;
    let title = format!("{short} short tasks over {resident} resident ones");
    rows.push(row(&title, &measured, short, None));

    let together = if full { 10_000 } else { 640 };
    let measured = turns(&ways, few, |way| {
        let opener = host.spawn(open_gate(together));
        Some(Box::pin(async move {
            way.finish(Size { count: together, batch: together }, Work::Gate).await;
            let elapsed = since_asked();
            _ = opener.await;
            elapsed.as_nanos() as f64
        }))
    })
    .await;
    rows.push(row(&format!("{together} tasks that finish at once"), &measured, together, None));

    let mut columns: Vec<_> = ways.iter().skip(1).map(|way| way.name()).collect();
    columns.push(Elegant::NAME);
    Measured { table: Ratios { title: config.name().to_owned(), columns, rows }, cancel }
}

/// Cancels `count` tasks: a row to the last destructor, and one until that is known.
async fn cancel_many(
    config: Config,
    ways: &Ways,
    count: usize,
    rounds: usize,
    budget: Option<Budget>,
    growth: &mut Vec<(&'static str, Vec<(f64, f64)>)>,
) -> [Row; 2] {
    let last = Mutex::new(Vec::new());
    let mut measured = turns(ways, rounds, |way| {
        let work = way.cancel(count, Box::pin(async {}))?;
        let last = &last;
        Some(Box::pin(async move {
            work.await;
            let known = since_asked().as_nanos() as f64;
            let nanos = gone().1.as_nanos() as f64;
            last.lock().expect("not poisoned").push((way.name(), nanos));
            known
        }))
    })
    .await;
    let last = last.into_inner().expect("not poisoned");
    let dropped: Vec<Rounds> = measured
        .iter()
        .map(|rounds| {
            let of_way = last.iter().filter(|(way, _)| *way == rounds.way);
            let all: Vec<f64> = of_way.map(|(_, nanos)| *nanos).collect();
            // Without the rounds that did not count.
            Rounds { way: rounds.way, nanos: all[all.len() - rounds.nanos.len()..].to_vec() }
        })
        .collect();
    if count <= 100_000 {
        let round = |_| Elegant::cancel(config.name(), count).as_nanos() as f64;
        let nanos = measured[0].nanos.iter().map(round).collect();
        measured.push(Rounds { way: Elegant::NAME, nanos });
    }
    for rounds in &measured {
        let each = Quartiles::of(rounds.nanos.clone()).median / count as f64;
        match growth.iter_mut().find(|(way, _)| *way == rounds.way) {
            Some((_, points)) => points.push((count as f64, each)),
            None => growth.push((rounds.way, vec![(count as f64, each)])),
        }
    }
    [
        row(&format!("cancel {count}: to the last destructor"), &dropped, count, None),
        row(&format!("cancel {count}: until all are joined"), &measured, count, budget),
    ]
}

/// Short tasks while others are parked.
fn churn(way: &dyn Way, resident: usize, short: usize) -> Option<Round<'_>> {
    let time = Arc::new(Mutex::new(0.0));
    let told = time.clone();
    let work = way.cancel(
        resident,
        Box::pin(async move {
            let nanos = timed(way.finish(Size::of(short), Work::Nothing)).await;
            *told.lock().expect("not poisoned") = nanos;
        }),
    )?;
    Some(Box::pin(async move {
        work.await;
        gone();
        *time.lock().expect("not poisoned")
    }))
}
