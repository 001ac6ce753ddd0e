//! swansong: a child each, whose guards the one above waits for.

use std::future::Future;

use swansong::Swansong;

use super::{Group, busy};
use crate::body::parked_until;
use crate::host::Host;

/// Children of a swansong.
#[derive(Debug)]
pub struct Swansongs<H>(pub H);

impl<H: Host> Group for Swansongs<H> {
    const NAME: &'static str = "swansong, a child each";
    type Above = Swansong;
    type Group = Swansong;
    type Handle = H::Handle;
    const BY_HANDLES: bool = true;

    fn above(&self) -> Swansong {
        Swansong::new()
    }

    fn open(&self, above: &mut Swansong) -> Swansong {
        above.child()
    }

    fn spawn<F>(&self, _: &Swansong, group: &Swansong, work: F) -> H::Handle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (guard, work) = (group.guard(), group.interrupt(work));
        self.0.spawn(async move {
            let _guard = guard;
            _ = work.await;
        })
    }

    fn spawn_asking(&self, _: &Swansong, group: &Swansong) -> H::Handle {
        let (guard, busy) = (group.guard(), group.interrupt(busy()));
        self.0.spawn(async move {
            let _guard = guard;
            parked_until(busy).await;
        })
    }

    async fn over(&self, above: Swansong, handles: Vec<H::Handle>) {
        for task in handles {
            task.await;
        }
        drop(above); // a stop, of which nobody is left to hear
    }

    async fn stop(&self, above: Swansong, _: Vec<H::Handle>) {
        above.shut_down().await; // as a tracker's end, known from within the last poll of each
    }
}
