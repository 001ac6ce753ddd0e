//! Adjourn: by its free functions, and by a scope on a typed or an erased backend.

use std::future::Future;

use adjourn::rt::{AnyBackend, Spawner};
use adjourn::{FutureExt, Scope, spawn};

use super::{Boxed, Group, Size, TURNS, batches};
use crate::body::{asked, parked, until_parked, yield_now};

/// Tasks of a scope; they need no code for the stop.
#[derive(Debug)]
pub struct Ours<B, const ERASED: bool>(pub Scope<B>);

/// Tasks by the free functions, which name no scope and no backend.
#[derive(Debug)]
pub struct Free;

impl Group for Free {
    const NAME: &'static str = "Adjourn, free functions";

    async fn finish<F>(&self, size: Size, work: impl Fn() -> F + Send + Sync)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        batches(|| spawn(work()), size).await;
    }

    async fn cancel<'a>(&'a self, _: usize, _: Boxed<'a>) {
        unreachable!("a scope is stopped, by its handle");
    }

    fn watch(&self, size: Size) -> Option<Boxed<'_>> {
        Some(Box::pin(self.finish(size, watching)))
    }

    const MOST: usize = 0;
}

async fn watching() {
    let mut turns = 0;
    while turns < TURNS && yield_now().until_stop().await.is_ok() {
        turns += 1;
    }
}

impl Ours<AnyBackend, true> {
    /// Spawns with one allocation more.
    pub fn erased(scope: &Scope) -> Ours<AnyBackend, true> {
        Ours(scope.clone())
    }
}

impl<B: Spawner> Ours<B, false> {
    /// Spawns on the backend's own type.
    pub fn typed(scope: &Scope, backend: B) -> Ours<B, false> {
        Ours(scope.with_backend(backend))
    }
}

impl<B: Spawner, const ERASED: bool> Group for Ours<B, ERASED> {
    const NAME: &'static str = if ERASED { "Adjourn, erased" } else { "Adjourn" };

    async fn finish<F>(&self, size: Size, work: impl Fn() -> F + Send + Sync)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        batches(|| self.0.spawn(work()), size).await;
    }

    async fn cancel<'a>(&'a self, count: usize, meanwhile: Boxed<'a>) {
        let scope = self.0.scope("parked");
        for _ in 0..count {
            drop(scope.spawn(parked()));
        }
        until_parked(count).await;
        meanwhile.await;
        asked();
        scope.stop().await.expect("not awaited from inside");
    }

    fn watch(&self, size: Size) -> Option<Boxed<'_>> {
        Some(Box::pin(self.finish(size, watching)))
    }
}
