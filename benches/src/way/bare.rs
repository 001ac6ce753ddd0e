//! The executor alone.

use std::future::Future;

use super::{Boxed, Group, Size, batches};
use crate::body::{asked, parked, until_parked};
use crate::host::Host;

/// The executor's own spawn, and its own cancel for each handle.
#[derive(Debug)]
pub struct Bare<H>(pub H);

impl<H: Host> Group for Bare<H> {
    const NAME: &'static str = "bare";

    async fn finish<F>(&self, size: Size, work: impl Fn() -> F + Send + Sync)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        batches(|| self.0.spawn(work()), size).await;
    }

    async fn cancel<'a>(&'a self, count: usize, meanwhile: Boxed<'a>) {
        let handles: Vec<_> = (0..count).map(|_| self.0.spawn(parked())).collect();
        until_parked(count).await;
        meanwhile.await;
        asked();
        H::end(handles).await;
    }

    /// The same turns without a look: what watching is measured against.
    fn watch(&self, size: Size) -> Option<Boxed<'_>> {
        Some(Box::pin(self.finish(size, || crate::body::yields(super::TURNS))))
    }
}
