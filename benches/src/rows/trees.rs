//! Trees and chains of scopes, beside trees and chains of child tokens and of subsystems.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use adjourn::Scope;
use tokio_graceful_shutdown::{SubsystemBuilder, SubsystemHandle, Toplevel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tasks::Effort;
use crate::body::{asked, gone, parked, since_asked, until_parked};
use crate::host;
use crate::plot::{Chart, Line};
use crate::stats::Quartiles;
use crate::table::{plain, time};

const WAYS: [&str; 3] = ["Adjourn", "child tokens + TaskTracker", "tokio-graceful-shutdown"];

/// Returns the table and the chart of chains.
pub fn all(effort: Effort) -> (String, Chart) {
    let full = effort == Effort::Full;
    host::run(adjourn::tokio::Runner::new().current_thread(), async |scope| {
        let rounds = if full { 5 } else { 1 };
        let mut lines = vec![vec!["stop, to its end".to_owned(), "tasks".to_owned()]];
        lines[0].extend(WAYS.map(str::to_owned));
        let mut points: [Vec<(f64, f64)>; 3] = Default::default();
        let depths: &[usize] = if full { &[100, 200, 400, 800, 1_600] } else { &[100] };
        for &depth in depths {
            let mut rows: [Vec<f64>; 3] = Default::default();
            for _ in 0..rounds {
                rows[0].push(chain_of_scopes(&scope, depth).await);
                rows[1].push(chain_of_tokens(depth).await);
                rows[2].push(chain_of_subsystems(depth).await);
            }
            let medians = rows.map(|row| Quartiles::of(row).median);
            for (points, median) in points.iter_mut().zip(medians) {
                points.push((depth as f64, median / 1e3));
            }
            let each = medians
                .map(|median| format!("{}, {:.0} ns a level", time(median), median / depth as f64));
            lines.push(
                [vec![format!("chain of {depth}"), depth.to_string()], each.to_vec()].concat(),
            );
        }
        for (arity, levels) in if full { &[(10, 3), (10, 4)][..] } else { &[(10, 2)] } {
            let mut rows: [Vec<f64>; 2] = Default::default();
            let leaves = usize::pow(*arity, *levels);
            for _ in 0..rounds {
                rows[0].push(tree_of_scopes(&scope, *arity, *levels, leaves).await);
                rows[1].push(tree_of_tokens(*arity, *levels, leaves).await);
            }
            let [ours, tokens] = rows
                .map(|row| Quartiles::of(row).median)
                .map(|nanos| format!("{}, {:.0} ns a task", time(nanos), nanos / leaves as f64));
            let title = format!("tree, {arity} below each, {levels} levels");
            lines.push(vec![title, leaves.to_string(), ours, tokens, "–".to_owned()]);
        }
        let lines_of = WAYS.iter().zip(points);
        let chart = Chart {
            title: "Stopping a chain of nested scopes, a task in each".to_owned(),
            across: "depth".to_owned(),
            up: "µs".to_owned(),
            lines: lines_of
                .map(|(name, points)| Line { name: (*name).to_owned(), points })
                .collect(),
        };
        (plain(&lines), chart)
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
        drop(scope.spawn(parked()));
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

async fn tree_of_scopes(root: &Scope, arity: usize, levels: u32, leaves: usize) -> f64 {
    let top = root.scope("tree");
    let mut level = vec![top.clone()];
    for _ in 0..levels {
        level = level.iter().flat_map(|scope| (0..arity).map(|_| scope.scope("tree"))).collect();
    }
    for leaf in &level {
        drop(leaf.spawn(parked()));
    }
    drop(level);
    until_parked(leaves).await;
    asked();
    top.stop().await.expect("not from inside");
    ended()
}

async fn tree_of_tokens(arity: usize, levels: u32, leaves: usize) -> f64 {
    let (top, tracker) = (CancellationToken::new(), TaskTracker::new());
    let mut level = vec![top.clone()];
    for _ in 0..levels {
        level = level.iter().flat_map(|token| (0..arity).map(|_| token.child_token())).collect();
    }
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
