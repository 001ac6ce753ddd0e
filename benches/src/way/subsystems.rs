//! tokio-graceful-shutdown: every task a subsystem.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use tokio_graceful_shutdown::{FutureExt, SubsystemBuilder, SubsystemHandle, Toplevel};

use super::{Boxed, Group, Size};
use crate::body::{asked, parked, until_parked};

const LIMIT: Duration = Duration::from_secs(60);

/// Subsystems that are cancelled on shutdown.
#[derive(Debug)]
pub struct Subsystems;

async fn run<F: Future<Output = ()> + Send>(
    subsystem: &mut SubsystemHandle,
    work: F,
) -> Result<(), Infallible> {
    _ = work.cancel_on_shutdown(subsystem).await;
    Ok(())
}

impl Group for Subsystems {
    const NAME: &'static str = "tokio-graceful-shutdown";

    async fn finish<F>(&self, size: Size, work: impl Fn() -> F + Send + Sync)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (give, mut take) = tokio::sync::mpsc::channel::<Vec<F>>(1);
        let top = Toplevel::new(async move |top: &mut SubsystemHandle| {
            while let Some(batch) = take.recv().await {
                let mut started = Vec::with_capacity(batch.len());
                for work in batch {
                    let task = async move |own: &mut SubsystemHandle| run(own, work).await;
                    started.push(top.start(SubsystemBuilder::new("task", task)));
                }
                for task in started {
                    _ = task.join().await;
                }
            }
            top.request_shutdown();
        });
        let feed = async {
            for batch in size.batches() {
                let batch: Vec<F> = (0..batch).map(|_| work()).collect();
                _ = give.send(batch).await;
            }
            drop(give);
        };
        let (ended, ()) = tokio::join!(top.handle_shutdown_requests(LIMIT), feed);
        assert!(ended.is_ok(), "subsystems failed");
    }

    async fn cancel<'a>(&'a self, count: usize, meanwhile: Boxed<'a>) {
        let (ask, signal) = tokio::sync::oneshot::channel::<()>();
        let top = Toplevel::new(async move |top: &mut SubsystemHandle| {
            for _ in 0..count {
                let task = async move |own: &mut SubsystemHandle| run(own, parked()).await;
                drop(top.start(SubsystemBuilder::new("task", task)));
            }
            _ = signal.await;
            top.request_shutdown();
        });
        let stop = async {
            until_parked(count).await;
            meanwhile.await;
            asked();
            _ = ask.send(());
        };
        let (ended, ()) = tokio::join!(top.handle_shutdown_requests(LIMIT), stop);
        assert!(ended.is_ok(), "subsystems failed");
    }

    const MOST: usize = 100_000;
}
