//! Ways to run many tasks and end them, with one face for all.

mod async_shutdown;
mod bare;
mod dropped;
mod elegant;
mod joinset;
mod ours;
mod subsystems;
mod swansong;
mod tokio_graceful;
mod tracker;

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;

pub use async_shutdown::AsyncShutdown;
pub use bare::Bare;
pub use dropped::Dropped;
pub use elegant::Elegant;
pub use joinset::InJoinSet;
pub use ours::{FREE, Free, Ours, TYPED, UNTYPED};
pub use subsystems::Subsystems;
pub use swansong::Swansong;
pub use tokio_graceful::Graceful;
pub use tracker::Tracker;

use crate::body::{gated, yields};

/// A future that is boxed once a round.
pub type Boxed<'a, T = ()> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How many tasks, and how many of them are spawned before their ends are awaited.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// All tasks of a round.
    pub count: usize,
    /// Those that are there at once.
    pub batch: usize,
}

impl Size {
    /// `count` tasks, 64 at a time.
    pub fn of(count: usize) -> Size {
        Size { count, batch: 64 }
    }

    /// Returns the size of each batch.
    fn batches(self) -> impl Iterator<Item = usize> + Send {
        (0..self.count).step_by(self.batch).map(move |done| self.batch.min(self.count - done))
    }
}

/// Turns of a task that yields or that watches for the stop.
pub const TURNS: usize = 50;

/// A way, as its author writes it.
pub trait Group: Sync {
    /// Its name in the tables.
    const NAME: &'static str;

    /// Spawns tasks that could be cancelled, a batch at a time, and waits for each batch.
    fn finish<F>(
        &self,
        size: Size,
        work: impl Fn() -> F + Send + Sync,
    ) -> impl Future<Output = ()> + Send
    where
        F: Future<Output = ()> + Send + 'static;

    /// Parks `count` tasks, awaits `meanwhile`, calls [`asked`](crate::body::asked), ends the tasks
    /// and waits for that.
    fn cancel<'a>(&'a self, count: usize, meanwhile: Boxed<'a>) -> impl Future<Output = ()> + Send;

    /// As [`finish`](Group::finish), with tasks that yield [`TURNS`] times and look at each turn
    /// whether they should stop. `None` where the way has nothing to look at.
    fn watch(&self, size: Size) -> Option<Boxed<'_>> {
        _ = size;
        None
    }

    /// The most tasks that it is given at once; beyond it takes too long.
    const MOST: usize = usize::MAX;
}

/// What a task does that ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Ends in its first poll.
    Nothing,
    /// Yields [`TURNS`] times.
    Yields,
    /// Waits for [`open_gate`](crate::body::open_gate).
    Gate,
}

/// A way, as the rows use it.
pub trait Way: Sync {
    /// Its name in the tables.
    fn name(&self) -> &'static str;
    /// Spawns tasks that do `work` and waits for them. `None`, here and below: it cannot.
    fn finish(&self, size: Size, work: Work) -> Option<Boxed<'_>>;
    /// Parks `count` tasks and ends them, after `meanwhile`.
    fn cancel<'a>(&'a self, count: usize, meanwhile: Boxed<'a>) -> Option<Boxed<'a>>;
    /// Spawns tasks that watch for the stop and waits for them.
    fn watch(&self, size: Size) -> Option<Boxed<'_>>;
    /// Returns whether it knows itself when what it cancelled has ended.
    fn joins(&self) -> bool {
        true
    }
}

impl<G: Group> Way for G {
    fn name(&self) -> &'static str {
        G::NAME
    }

    fn finish(&self, size: Size, work: Work) -> Option<Boxed<'_>> {
        // A type for each: a task that only ends is smaller than one that may yield.
        (size.batch <= G::MOST).then(|| match work {
            Work::Nothing => {
                Box::pin(Group::finish(self, size, || async { black_box(()) })) as Boxed<'_>
            }
            Work::Yields => Box::pin(Group::finish(self, size, || yields(TURNS))),
            Work::Gate => Box::pin(Group::finish(self, size, gated)),
        })
    }

    fn cancel<'a>(&'a self, count: usize, meanwhile: Boxed<'a>) -> Option<Boxed<'a>> {
        (count <= G::MOST).then(|| Box::pin(Group::cancel(self, count, meanwhile)) as Boxed<'a>)
    }

    fn watch(&self, size: Size) -> Option<Boxed<'_>> {
        Group::watch(self, size)
    }
}

/// Spawns a batch and awaits its handles, again and again.
async fn batches<H: Future<Output: Send> + Send>(spawn: impl Fn() -> H + Send + Sync, size: Size) {
    let mut handles = Vec::new();
    for batch in size.batches() {
        handles.extend((0..batch).map(|_| spawn()));
        for handle in handles.drain(..) {
            _ = black_box(handle.await);
        }
    }
}
