//! Adjourn: a scope each, as users open it or on the backend's own type.

use std::future::Future;

use adjourn::rt::{AnyBackend, Spawner};
use adjourn::{FutureExt, JoinHandle, Scope};

use super::{Group, busy};
use crate::body::parked_until;
use crate::way::{TYPED, UNTYPED};

/// Scopes below a scope.
#[derive(Debug)]
pub struct Scopes<B, const ERASED: bool>(Scope<B>);

impl Scopes<AnyBackend, true> {
    /// As users open them.
    pub fn untyped(scope: &Scope) -> Scopes<AnyBackend, true> {
        Scopes(scope.clone())
    }
}

impl<B: Spawner> Scopes<B, false> {
    /// On the backend's own type.
    pub fn typed(scope: &Scope, backend: B) -> Scopes<B, false> {
        Scopes(scope.with_backend(backend))
    }
}

impl<B: Spawner, const ERASED: bool> Group for Scopes<B, ERASED> {
    const NAME: &'static str = if ERASED { UNTYPED } else { TYPED };
    type Above = Scope<B>;
    type Group = Scope<B>;
    type Handle = JoinHandle<(), B>;

    fn above(&self) -> Scope<B> {
        self.0.scope("connections")
    }

    fn open(&self, above: &mut Scope<B>) -> Scope<B> {
        above.scope("connection")
    }

    fn spawn<F>(&self, _: &Scope<B>, group: &Scope<B>, work: F) -> JoinHandle<(), B>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        group.spawn(work)
    }

    fn spawn_asking(&self, _: &Scope<B>, group: &Scope<B>) -> JoinHandle<(), B> {
        group.spawn(async { parked_until(busy().until_stop()).await })
    }

    async fn over(&self, above: Scope<B>, _: Vec<JoinHandle<(), B>>) {
        above.run(async {}).await;
    }

    async fn stop(&self, above: Scope<B>, _: Vec<JoinHandle<(), B>>) {
        above.stop().await.expect("not awaited from inside");
    }
}
