//! async-shutdown: tokens that delay the end, and futures that are wrapped to be cancelled.

use std::future::Future;

use async_shutdown::ShutdownManager;

use super::{Boxed, Group, Size, TURNS, batches};
use crate::body::{asked, parked, until_parked, yield_now};
use crate::host::Host;

/// Tasks that are wrapped to be cancelled, with a token that is waited for.
#[derive(Debug)]
pub struct AsyncShutdown<H>(pub H);

/// A task that can be cancelled and is waited for.
fn tracked<F: Future<Output = ()>>(
    manager: &ShutdownManager<()>,
    work: F,
) -> impl Future<Output = ()> + use<F> {
    let token = manager.delay_shutdown_token().expect("not over");
    let work = manager.wrap_cancel(work);
    async move {
        let _token = token;
        _ = work.await;
    }
}

impl<H: Host> Group for AsyncShutdown<H> {
    const NAME: &'static str = "async-shutdown";

    async fn finish<F>(&self, size: Size, work: impl Fn() -> F + Send + Sync)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let manager = ShutdownManager::new();
        batches(|| self.0.spawn(tracked(&manager, work())), size).await;
    }

    async fn cancel<'a>(&'a self, count: usize, meanwhile: Boxed<'a>) {
        let manager = ShutdownManager::new();
        let tasks: Vec<_> = (0..count).map(|_| self.0.spawn(tracked(&manager, parked()))).collect();
        until_parked(count).await;
        meanwhile.await;
        asked();
        manager.trigger_shutdown(()).expect("the first");
        manager.wait_shutdown_complete().await;
        // The token is dropped before the executor is through with the task.
        for task in tasks {
            task.await;
        }
    }

    fn watch(&self, size: Size) -> Option<Boxed<'_>> {
        Some(Box::pin(async move {
            let manager = ShutdownManager::<()>::new();
            let spawn = || {
                let (token, inner) = (manager.delay_shutdown_token().expect("not over"), &manager);
                let manager = inner.clone();
                self.0.spawn(async move {
                    let _token = token;
                    let mut turns = 0;
                    while turns < TURNS && manager.wrap_cancel(yield_now()).await.is_ok() {
                        turns += 1;
                    }
                })
            };
            batches(spawn, size).await;
        }))
    }
}
