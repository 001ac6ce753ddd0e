//! A `Vec<Task>` of smol, which is dropped.

use super::{Boxed, Size, Way, Work};
use crate::body::{asked, parked, parked_now, until_parked, yield_now};
use crate::host::{Host, OnSmol};

/// Tasks that are cancelled by dropping their handles: nobody is told when they are gone. While they
/// run it is the bare executor.
#[derive(Debug)]
pub struct Dropped(pub OnSmol);

impl Way for Dropped {
    fn name(&self) -> &'static str {
        "`Vec<Task>`, dropped"
    }

    fn finish(&self, _: Size, _: Work) -> Option<Boxed<'_>> {
        None
    }

    fn cancel<'a>(&'a self, count: usize, meanwhile: Boxed<'a>) -> Option<Boxed<'a>> {
        Some(Box::pin(async move {
            let tasks: Vec<_> = (0..count).map(|_| self.0.spawn(parked())).collect();
            until_parked(count).await;
            meanwhile.await;
            asked();
            drop(tasks);
            // It would not know; the measurement has to.
            while parked_now() > 0 {
                yield_now().await;
            }
        }))
    }

    fn watch(&self, _: Size) -> Option<Boxed<'_>> {
        None
    }

    fn joins(&self) -> bool {
        false
    }
}
