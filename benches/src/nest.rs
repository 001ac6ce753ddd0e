//! Ways to run tasks in groups below one above, each of which can be stopped alone: a scope for each
//! connection, and what is written for that elsewhere.

mod ours;
mod subsystems;
mod swansong;
mod tokens;

use std::future::{Future, pending};
use std::hint::black_box;

pub use ours::Scopes;
pub use subsystems::Subsystems;
pub use swansong::Swansongs;
pub use tokens::Tokens;

use crate::body::{asked, gated, parked, until_parked};
use crate::way::{Boxed, Work};

/// What is parked in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// So many tasks.
    Tasks(usize),
    /// A connection's two: one that asks about the stop, and one that does not.
    Pair,
}

impl Inside {
    /// Returns how many tasks these are.
    pub fn tasks(self) -> usize {
        match self {
            Inside::Tasks(count) => count,
            Inside::Pair => 2,
        }
    }
}

/// A way, as its author writes it.
pub trait Group: Sync {
    /// Its name in the tables.
    const NAME: &'static str;
    /// What all groups are below.
    type Above: Send + Sync;
    /// One group.
    type Group: Send + Sync;
    /// A task of one.
    type Handle: Future<Output: Send> + Send;
    /// Whether the end of all is known by the tasks' handles alone.
    const BY_HANDLES: bool = false;

    /// Begins.
    fn above(&self) -> Self::Above;
    /// Opens a group.
    fn open(&self, above: &mut Self::Above) -> Self::Group;
    /// Spawns a task that needs no code for the stop, or is given it here.
    fn spawn<F>(&self, above: &Self::Above, group: &Self::Group, work: F) -> Self::Handle
    where
        F: Future<Output = ()> + Send + 'static;
    /// Spawns [`parked_until`](crate::body::parked_until) the group is asked to stop.
    fn spawn_asking(&self, above: &Self::Above, group: &Self::Group) -> Self::Handle;
    /// Forgets groups whose tasks have ended.
    fn forget(&self, above: &mut Self::Above) {
        _ = above;
    }
    /// Waits until all tasks have ended by themselves.
    fn over(
        &self,
        above: Self::Above,
        handles: Vec<Self::Handle>,
    ) -> impl Future<Output = ()> + Send;
    /// Stops all by the one above, and waits until they have ended.
    fn stop(
        &self,
        above: Self::Above,
        handles: Vec<Self::Handle>,
    ) -> impl Future<Output = ()> + Send;
}

/// A way, as the rows use it. `None`: it cannot, or takes too long.
pub trait Nest: Sync {
    /// Its name in the tables.
    fn name(&self) -> &'static str;
    /// Opens `count` groups one after the other, and awaits a task of each.
    fn in_turn(&self, count: usize, work: Work) -> Option<Boxed<'_>>;
    /// Opens `count` groups at once, with a task of each, and waits until all are over.
    fn at_once(&self, count: usize, work: Work) -> Option<Boxed<'_>>;
    /// Opens `count` groups and parks tasks in them, awaits `meanwhile`, calls
    /// [`asked`], stops all by the one above and waits for that.
    fn stop<'a>(&'a self, count: usize, inside: Inside, meanwhile: Boxed<'a>) -> Option<Boxed<'a>>;
}

impl<G: Group> Nest for G {
    fn name(&self) -> &'static str {
        G::NAME
    }

    fn in_turn(&self, count: usize, work: Work) -> Option<Boxed<'_>> {
        match work {
            Work::Nothing => Some(Box::pin(in_turn(self, count, || async { black_box(()) }))),
            Work::Gate => Some(Box::pin(in_turn(self, count, gated))),
            Work::Yields => None,
        }
    }

    fn at_once(&self, count: usize, work: Work) -> Option<Boxed<'_>> {
        match work {
            Work::Nothing => Some(Box::pin(at_once(self, count, || async { black_box(()) }))),
            Work::Gate => Some(Box::pin(at_once(self, count, gated))),
            Work::Yields => None,
        }
    }

    fn stop<'a>(&'a self, count: usize, inside: Inside, meanwhile: Boxed<'a>) -> Option<Boxed<'a>> {
        Some(Box::pin(async move {
            let mut above = self.above();
            let mut handles = Vec::new();
            let mut keep = |handle| {
                if G::BY_HANDLES {
                    handles.push(handle)
                }
            };
            for _ in 0..count {
                let group = self.open(&mut above);
                match inside {
                    Inside::Tasks(tasks) => {
                        (0..tasks).for_each(|_| keep(self.spawn(&above, &group, parked())));
                    }
                    Inside::Pair => {
                        keep(self.spawn_asking(&above, &group));
                        keep(self.spawn(&above, &group, parked()));
                    }
                }
            }
            until_parked(count * inside.tasks()).await;
            meanwhile.await;
            asked();
            Group::stop(self, above, handles).await;
        }))
    }
}

async fn in_turn<G, F>(nest: &G, count: usize, work: impl Fn() -> F + Send + Sync)
where
    G: Group,
    F: Future<Output = ()> + Send + 'static,
{
    let mut above = nest.above();
    for _ in 0..count {
        let group = nest.open(&mut above);
        let task = nest.spawn(&above, &group, work());
        drop(group);
        _ = black_box(task.await);
        nest.forget(&mut above);
    }
    nest.over(above, Vec::new()).await;
}

async fn at_once<G, F>(nest: &G, count: usize, work: impl Fn() -> F + Send + Sync)
where
    G: Group,
    F: Future<Output = ()> + Send + 'static,
{
    let mut above = nest.above();
    let mut handles = Vec::new();
    for _ in 0..count {
        let group = nest.open(&mut above);
        let task = nest.spawn(&above, &group, work());
        if G::BY_HANDLES {
            handles.push(task);
        }
    }
    nest.over(above, handles).await;
}

/// Pending for ever: what a task that asks about the stop is busy with.
async fn busy() {
    pending().await
}
