//! elegant-departure: one registry for the process, which can be shut down once.

use futures_lite::future::or;

use super::{Boxed, Size, Way, Work};
use crate::body::{asked, parked, until_parked};
use crate::host::Host;

/// Tasks that wait for the registry's shutdown. It can only be cancelled, once in a process.
#[derive(Debug)]
pub struct Elegant<H>(pub H);

impl<H: Host> Way for Elegant<H> {
    fn name(&self) -> &'static str {
        "elegant-departure"
    }

    fn finish(&self, _: Size, _: Work) -> Option<Boxed<'_>> {
        None
    }

    fn cancel<'a>(&'a self, count: usize, meanwhile: Boxed<'a>) -> Option<Boxed<'a>> {
        let cancellable = || {
            let guard = elegant_departure::get_shutdown_guard();
            async move { or(guard.wait(), parked()).await }
        };
        // Beyond this it takes too long to be repeated.
        (count <= 100_000).then(|| {
            Box::pin(async move {
                let tasks: Vec<_> = (0..count).map(|_| self.0.spawn(cancellable())).collect();
                until_parked(count).await;
                meanwhile.await;
                asked();
                elegant_departure::shutdown().await;
                for task in tasks {
                    task.await;
                }
            }) as Boxed<'a>
        })
    }

    fn watch(&self, _: Size) -> Option<Boxed<'_>> {
        None
    }
}
