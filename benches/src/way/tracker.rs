//! tokio-util's `TaskTracker` and `CancellationToken`: one waits, the other cancels.

use std::future::Future;
use std::pin::pin;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Boxed, Group, Size, TURNS, batches};
use crate::body::{asked, parked, until_parked, yield_now};

/// Tasks that watch a token, each a child of its own if so asked.
#[derive(Debug, Default)]
pub struct Tracker<const CHILDREN: bool> {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl<const CHILDREN: bool> Tracker<CHILDREN> {
    fn token(&self) -> CancellationToken {
        if CHILDREN { self.token.child_token() } else { self.token.clone() }
    }
}

impl<const CHILDREN: bool> Group for Tracker<CHILDREN> {
    const NAME: &'static str =
        if CHILDREN { "TaskTracker, child tokens" } else { "TaskTracker, one token" };

    async fn finish<F>(&self, size: Size, work: impl Fn() -> F + Send + Sync)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let spawn = || {
            let (token, work) = (self.token(), work());
            self.tracker.spawn(async move { token.run_until_cancelled(work).await })
        };
        batches(spawn, size).await;
    }

    async fn cancel<'a>(&'a self, count: usize, meanwhile: Boxed<'a>) {
        let own = Tracker::<CHILDREN>::default();
        for _ in 0..count {
            let token = own.token();
            own.tracker.spawn(async move { token.run_until_cancelled(parked()).await });
        }
        until_parked(count).await;
        meanwhile.await;
        asked();
        own.token.cancel();
        own.tracker.close();
        own.tracker.wait().await;
    }

    /// The loop that is written by hand, at its best: one future of the token for all turns.
    fn watch(&self, size: Size) -> Option<Boxed<'_>> {
        let spawn = || {
            let token = self.token();
            self.tracker.spawn(async move {
                let mut cancelled = pin!(token.cancelled());
                let mut turns = 0;
                while turns < TURNS {
                    tokio::select! {
                        biased;
                        () = cancelled.as_mut() => break,
                        () = yield_now() => turns += 1,
                    }
                }
            })
        };
        Some(Box::pin(batches(spawn, size)))
    }
}
