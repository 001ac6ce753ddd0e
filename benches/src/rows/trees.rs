//! Trees, chains and orders of scopes, beside those of child tokens and of subsystems.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use adjourn::Scope;
use tokio_graceful_shutdown::{SubsystemBuilder, SubsystemHandle, Toplevel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::child;
use super::effort::Effort;
use crate::body::{asked, gone, parked, since_asked, until_parked};
use crate::host;
use crate::plot::{Chart, Line};
use crate::stats::Quartiles;
use crate::table::{plain, time};

const OURS: &str = "Adjourn";
const TOKENS: &str = "child tokens + TaskTracker";
const SUBSYSTEMS: &str = "tokio-graceful-shutdown";
const WAYS: [&str; 3] = [OURS, TOKENS, SUBSYSTEMS];

const CHAIN: &str = "chain";
const TREE: &str = "tree";
const ORDER: &str = "order";
const LAST: &str = "last";
/// Scopes below each of a tree.
const ARITY: usize = 10;

/// Returns the table and the chart of chains.
pub fn all(effort: Effort) -> (String, Chart) {
    let full = effort == Effort::Full;
    let rounds = if full { 5 } else { 1 };
    let measure = |ways: &[&str], shape: &str, size: usize| {
        let mut all = vec![Vec::new(); ways.len()];
        for number in 0..rounds {
            for turn in 0..ways.len() {
                let index = (turn + number) % ways.len();
                let args = ["tree", ways[index], shape, &size.to_string()];
                all[index].push(child::figure(&args));
            }
        }
        all.into_iter().map(|rounds| Quartiles::of(rounds).median).collect::<Vec<f64>>()
    };
    let mut lines = vec![vec!["stop, to its end".to_owned(), "tasks".to_owned()]];
    lines[0].extend(WAYS.map(str::to_owned));
    let mut points: [Vec<(f64, f64)>; 3] = Default::default();
    for &depth in if full { &[100, 200, 400, 800, 1_600][..] } else { &[100] } {
        let medians = measure(&WAYS, CHAIN, depth);
        for (points, median) in points.iter_mut().zip(&medians) {
            points.push((depth as f64, median / 1e3));
        }
        let each =
            |median: &f64| format!("{}, {:.0} ns a level", time(*median), median / depth as f64);
        let cells = medians.iter().map(each);
        lines.push(
            [format!("chain of {depth}"), depth.to_string()].into_iter().chain(cells).collect(),
        );
    }
    let orders = [(ORDER, "each depends on the one before"), (LAST, "the last depends on all")];
    for (shape, title) in orders {
        for &count in if full { &[100, 1_000, 10_000][..] } else { &[100] } {
            let each =
                |nanos: f64| format!("{}, {:.0} ns a scope", time(nanos), nanos / count as f64);
            let mut line = vec![format!("{count}, {title}"), count.to_string()];
            line.extend(measure(&WAYS[..2], shape, count).into_iter().map(each));
            line.push("–".to_owned());
            lines.push(line);
        }
    }
    for &levels in if full { &[3, 4][..] } else { &[2] } {
        let leaves = usize::pow(ARITY, levels);
        let each = |nanos: f64| format!("{}, {:.0} ns a task", time(nanos), nanos / leaves as f64);
        let mut line =
            vec![format!("tree, {ARITY} below each, {levels} levels"), leaves.to_string()];
        line.extend(measure(&WAYS[..2], TREE, levels as usize).into_iter().map(each));
        line.push("–".to_owned());
        lines.push(line);
    }
    let lines_of = WAYS.iter().zip(points);
    let chart = Chart {
        title: "Stopping a chain of nested scopes, a task in each".to_owned(),
        across: "depth".to_owned(),
        up: "µs".to_owned(),
        lines: lines_of.map(|(name, points)| Line { name: (*name).to_owned(), points }).collect(),
    };
    (plain(&lines), chart)
}

/// Stops one tree of a shape and size, in nanoseconds.
///
/// # Panics
///
/// When the way does not have this shape.
pub fn once(way: &str, shape: &str, size: usize) -> f64 {
    host::run(adjourn::tokio::Runner::new().current_thread(), async |scope| match (shape, way) {
        (CHAIN, OURS) => chain_of_scopes(&scope, size).await,
        (CHAIN, TOKENS) => chain_of_tokens(size).await,
        (CHAIN, SUBSYSTEMS) => chain_of_subsystems(size).await,
        (ORDER, OURS) => scopes_in_order(&scope, size).await,
        (ORDER, TOKENS) => tokens_in_order(size, 1).await,
        (LAST, OURS) => last_of_scopes(&scope, size).await,
        (LAST, TOKENS) => tokens_in_order(size, size - 1).await,
        (TREE, OURS) => tree_of_scopes(&scope, size).await,
        (TREE, TOKENS) => tree_of_tokens(size).await,
        _ => panic!("{way} has no {shape}"),
    })
}

fn ended() -> f64 {
    let nanos = since_asked().as_nanos() as f64;
    gone();
    nanos
}

async fn chain_of_scopes(root: &Scope, depth: usize) -> f64 {
    let first = root.scope("chain");
    let mut scopes = vec![first.clone()];
    for _ in 1..depth {
        let next = scopes[scopes.len() - 1].scope("chain");
        scopes.push(next);
    }
    for scope in &scopes {
        scope.spawn(parked());
    }
    drop(scopes);
    until_parked(depth).await;
    asked();
    first.stop().await.expect("not from inside");
    ended()
}

async fn chain_of_tokens(depth: usize) -> f64 {
    let (first, tracker) = (CancellationToken::new(), TaskTracker::new());
    let mut token = first.clone();
    for _ in 0..depth {
        let own = token.clone();
        tracker.spawn(async move { own.run_until_cancelled(parked()).await });
        token = token.child_token();
    }
    until_parked(depth).await;
    asked();
    first.cancel();
    tracker.close();
    tracker.wait().await;
    ended()
}

type Nested<'a> = Pin<Box<dyn Future<Output = Result<(), Infallible>> + Send + 'a>>;

/// A subsystem that starts the next one below it.
fn nest(own: &mut SubsystemHandle, left: usize) -> Nested<'_> {
    use tokio_graceful_shutdown::FutureExt;
    Box::pin(async move {
        if left > 1 {
            let next = async move |own: &mut SubsystemHandle| nest(own, left - 1).await;
            drop(own.start(SubsystemBuilder::new("chain", next)));
        }
        _ = parked().cancel_on_shutdown(own).await;
        Ok(())
    })
}

async fn chain_of_subsystems(depth: usize) -> f64 {
    let (ask, signal) = tokio::sync::oneshot::channel::<()>();
    let top = Toplevel::new(async move |top: &mut SubsystemHandle| {
        let first = async move |own: &mut SubsystemHandle| nest(own, depth).await;
        drop(top.start(SubsystemBuilder::new("chain", first)));
        _ = signal.await;
        top.request_shutdown();
    });
    let stop = async {
        until_parked(depth).await;
        asked();
        _ = ask.send(());
    };
    let limit = Duration::from_secs(60);
    let (result, ()) = tokio::join!(top.handle_shutdown_requests(limit), stop);
    assert!(result.is_ok(), "subsystems failed");
    ended()
}

/// Each stops before the one that was opened before it.
async fn scopes_in_order(root: &Scope, count: usize) -> f64 {
    let top = root.scope("order");
    let mut before = top.scope("order");
    drop(before.spawn(parked()));
    for _ in 1..count {
        let next = top.scope("order").depends_on(&before);
        drop(next.spawn(parked()));
        before = next;
    }
    drop(before);
    until_parked(count).await;
    asked();
    top.stop().await.expect("not from inside");
    ended()
}

/// One stops before all others, which it depends on.
async fn last_of_scopes(root: &Scope, count: usize) -> f64 {
    let top = root.scope("order");
    let others: Vec<_> = (1..count).map(|_| top.scope("other")).collect();
    let last = others.iter().fold(top.scope("last"), |last, other| last.depends_on(other));
    for scope in others.iter().chain([&last]) {
        scope.spawn(parked());
    }
    drop((others, last));
    until_parked(count).await;
    asked();
    top.stop().await.expect("not from inside");
    ended()
}

/// As it is written by hand: a token and a tracker each; the last is stopped first, and then so many at
/// once.
async fn tokens_in_order(count: usize, at_once: usize) -> f64 {
    let all: Vec<_> = (0..count)
        .map(|_| {
            let (token, tracker) = (CancellationToken::new(), TaskTracker::new());
            let own = token.clone();
            tracker.spawn(async move { own.run_until_cancelled(parked()).await });
            (token, tracker)
        })
        .collect();
    until_parked(count).await;
    asked();
    let (others, last) = all.split_at(count - 1);
    for together in [last].into_iter().chain(others.rchunks(at_once)) {
        together.iter().for_each(|(token, _)| token.cancel());
        for (_, tracker) in together {
            tracker.close();
            tracker.wait().await;
        }
    }
    ended()
}

async fn tree_of_scopes(root: &Scope, levels: usize) -> f64 {
    let top = root.scope("tree");
    let mut level = vec![top.clone()];
    for _ in 0..levels {
        level = level.iter().flat_map(|scope| (0..ARITY).map(|_| scope.scope("tree"))).collect();
    }
    for leaf in &level {
        drop(leaf.spawn(parked()));
    }
    let leaves = level.len();
    drop(level);
    until_parked(leaves).await;
    asked();
    top.stop().await.expect("not from inside");
    ended()
}

async fn tree_of_tokens(levels: usize) -> f64 {
    let (top, tracker) = (CancellationToken::new(), TaskTracker::new());
    let mut level = vec![top.clone()];
    for _ in 0..levels {
        level = level.iter().flat_map(|token| (0..ARITY).map(|_| token.child_token())).collect();
    }
    let leaves = level.len();
    for leaf in level {
        tracker.spawn(async move { leaf.run_until_cancelled(parked()).await });
    }
    until_parked(leaves).await;
    asked();
    top.cancel();
    tracker.close();
    tracker.wait().await;
    ended()
}
