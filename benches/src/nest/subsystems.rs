//! tokio-graceful-shutdown: a subsystem each, which is its own first task.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_graceful_shutdown::{FutureExt, SubsystemBuilder, SubsystemHandle, Toplevel};

use super::{Inside, Nest, busy};
use crate::body::{asked, gated, parked, parked_until, until_parked};
use crate::way::{Boxed, Work};

const LIMIT: Duration = Duration::from_secs(60);
/// The most at once; beyond it takes too long.
const MOST: usize = 100_000;

/// Subsystems below the top. A connection's second task is one below the first.
#[derive(Debug)]
pub struct Subsystems;

type Done = Result<(), Infallible>;

/// Runs the top to its end, and `stop` beside it.
async fn run(top: Toplevel, stop: impl Future<Output = ()>) {
    let (ended, ()) = tokio::join!(top.handle_shutdown_requests(LIMIT), stop);
    assert!(ended.is_ok(), "subsystems failed");
}

async fn finish(own: &mut SubsystemHandle, work: Work) -> Done {
    _ = match work {
        Work::Gate => gated().cancel_on_shutdown(own).await,
        _ => async {}.cancel_on_shutdown(own).await,
    };
    Ok(())
}

async fn park(own: &mut SubsystemHandle) -> Done {
    _ = parked().cancel_on_shutdown(own).await;
    Ok(())
}

async fn ask(own: &mut SubsystemHandle) -> Done {
    parked_until(busy().cancel_on_shutdown(own)).await;
    Ok(())
}

async fn pair(own: &mut SubsystemHandle) -> Done {
    drop(own.start(SubsystemBuilder::new("second", park)));
    ask(own).await
}

impl Nest for Subsystems {
    fn name(&self) -> &'static str {
        "tokio-graceful-shutdown"
    }

    fn in_turn(&self, count: usize, work: Work) -> Option<Boxed<'_>> {
        let top = Toplevel::new(async move |top: &mut SubsystemHandle| {
            for _ in 0..count {
                let task = async move |own: &mut SubsystemHandle| finish(own, work).await;
                _ = top.start(SubsystemBuilder::new("connection", task)).join().await;
            }
            top.request_shutdown();
        });
        Some(Box::pin(run(top, async {})))
    }

    fn at_once(&self, count: usize, work: Work) -> Option<Boxed<'_>> {
        let top = Toplevel::new(async move |top: &mut SubsystemHandle| {
            for _ in 0..count {
                let task = async move |own: &mut SubsystemHandle| finish(own, work).await;
                drop(top.start(SubsystemBuilder::new("connection", task)));
            }
            top.wait_for_children().await;
            top.request_shutdown();
        });
        (count <= MOST).then(|| Box::pin(run(top, async {})) as Boxed<'_>)
    }

    fn stop<'a>(&'a self, count: usize, inside: Inside, meanwhile: Boxed<'a>) -> Option<Boxed<'a>> {
        if count > MOST || matches!(inside, Inside::Tasks(tasks) if tasks != 1) {
            return None; // a task is a subsystem
        }
        let (tell, told) = oneshot::channel::<()>();
        let top = Toplevel::new(async move |top: &mut SubsystemHandle| {
            for _ in 0..count {
                drop(match inside {
                    Inside::Tasks(_) => top.start(SubsystemBuilder::new("connection", park)),
                    Inside::Pair => top.start(SubsystemBuilder::new("connection", pair)),
                });
            }
            _ = told.await;
            top.request_shutdown();
        });
        Some(Box::pin(run(top, async move {
            until_parked(count * inside.tasks()).await;
            meanwhile.await;
            asked();
            _ = tell.send(());
        })))
    }
}
