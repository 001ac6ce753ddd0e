//! Adjourn: by its free functions, and by a scope on a typed or an erased backend.

use std::future::Future;

use adjourn::rt::{AnyBackend, Spawner};
use adjourn::{FutureExt, Scope, scope, spawn};

use super::{Boxed, Group, Size, TURNS, batches};
use crate::body::{asked, parked, until_parked, yield_now};

/// Tasks of a scope; they need no code for the stop.
#[derive(Debug)]
pub struct Ours<B, const ERASED: bool>(pub Scope<B>);

/// Tasks by the free functions, which name no scope and no backend.
#[derive(Debug)]
pub struct Free;

/// The names of our ways, as tables and budgets have them. What users write comes first.
pub const FREE: &str = "Adjourn, free functions";
/// On a scope of the backend's own type.
pub const TYPED: &str = "Adjourn, typed";
/// On a scope as it is.
pub const UNTYPED: &str = "Adjourn, untyped scope";

impl Group for Free {
    const NAME: &'static str = FREE;

    async fn finish<F>(&self, size: Size, work: impl Fn() -> F + Send + Sync)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        batches(|| spawn(work()), size).await;
    }

    async fn cancel<'a>(&'a self, count: usize, meanwhile: Boxed<'a>) {
        let scope = scope("parked");
        let spawner = scope.spawn(async move { (0..count).for_each(|_| drop(spawn(parked()))) });
        spawner.await.expect("it does not panic");
        until_parked(count).await;
        meanwhile.await;
        asked();
        scope.stop().await.expect("not awaited from inside");
    }

    fn watch(&self, size: Size) -> Option<Boxed<'_>> {
        Some(Box::pin(self.finish(size, watching)))
    }
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
    const NAME: &'static str = if ERASED { UNTYPED } else { TYPED };

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
