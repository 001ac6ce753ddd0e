//! Sleeps on the virtual clock.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::clock::Key;
use crate::world::World;

/// A sleep on the virtual clock.
///
/// # Cancel safety
///
/// Dropping it forgets it.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct SimSleep {
    world: Arc<World>,
    /// `None`: never.
    at: Option<Duration>,
    key: Option<Key>,
}

impl SimSleep {
    pub(crate) fn new(world: Arc<World>, span: Duration) -> SimSleep {
        let at = world.clock(|clock| clock.now().checked_add(span));
        let at = at.filter(|_| span < Duration::MAX);
        SimSleep { world, at, key: None }
    }
}

impl Future for SimSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(at) = this.at else { return Poll::Pending };
        let waker = cx.waker().clone();
        let (over, old) = this.world.clock(|clock| {
            if clock.now() >= at {
                let key = this.key.take();
                return (true, key.and_then(|key| clock.unset(&key)).or(Some(waker)));
            }
            (false, clock.set(&mut this.key, at, waker))
        });
        drop(old); // outside the lock
        if over { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for SimSleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let old = self.world.clock(|clock| clock.unset(&key));
            drop(old);
        }
    }
}
