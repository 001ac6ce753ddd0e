//! Tokio's `JoinSet`.

use std::future::Future;

use tokio::task::JoinSet;

use super::{Boxed, Group, Size};
use crate::body::{asked, parked, until_parked};

/// A set that is joined, or shut down.
#[derive(Debug)]
pub struct InJoinSet;

impl Group for InJoinSet {
    const NAME: &'static str = "JoinSet";

    async fn finish<F>(&self, size: Size, work: impl Fn() -> F + Send + Sync)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut set = JoinSet::new();
        for batch in size.batches() {
            for _ in 0..batch {
                set.spawn(work());
            }
            while set.join_next().await.is_some() {}
        }
    }

    async fn cancel<'a>(&'a self, count: usize, meanwhile: Boxed<'a>) {
        let mut set = JoinSet::new();
        for _ in 0..count {
            set.spawn(parked());
        }
        until_parked(count).await;
        meanwhile.await;
        asked();
        set.shutdown().await;
    }
}
