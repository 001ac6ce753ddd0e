//! tokio-graceful: guards that are counted, and a signal that they hear.

use std::future::Future;

use tokio::sync::oneshot;
use tokio_graceful::{Shutdown, ShutdownGuard};

use super::{Boxed, Group, Size, TURNS, batches};
use crate::body::{asked, parked, until_parked, yield_now};

/// Tasks that hold a guard and select on its signal.
#[derive(Debug)]
pub struct Graceful;

/// A shutdown that is asked for through the sender, or by dropping it.
fn open() -> (oneshot::Sender<()>, Shutdown) {
    let (ask, signal) = oneshot::channel();
    (ask, Shutdown::new(async { _ = signal.await }))
}

async fn cancellable(guard: ShutdownGuard, work: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = guard.cancelled() => {}
        () = work => {}
    }
}

impl Group for Graceful {
    const NAME: &'static str = "tokio-graceful";

    async fn finish<F>(&self, size: Size, work: impl Fn() -> F + Send + Sync)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (_ask, shutdown) = open();
        let spawn = || {
            let work = work();
            shutdown.spawn_task_fn(|guard| cancellable(guard, work))
        };
        batches(spawn, size).await;
    }

    async fn cancel<'a>(&'a self, count: usize, meanwhile: Boxed<'a>) {
        let (ask, shutdown) = open();
        for _ in 0..count {
            drop(shutdown.spawn_task_fn(|guard| cancellable(guard, parked())));
        }
        until_parked(count).await;
        meanwhile.await;
        asked();
        _ = ask.send(());
        shutdown.shutdown().await;
    }

    fn watch(&self, size: Size) -> Option<Boxed<'_>> {
        Some(Box::pin(async move {
            let (_ask, shutdown) = open();
            let watching = |guard: ShutdownGuard| async move {
                let mut cancelled = std::pin::pin!(guard.cancelled());
                let mut turns = 0;
                while turns < TURNS {
                    tokio::select! {
                        biased;
                        () = cancelled.as_mut() => break,
                        () = yield_now() => turns += 1,
                    }
                }
            };
            batches(|| shutdown.spawn_task_fn(watching), size).await;
        }))
    }
}
