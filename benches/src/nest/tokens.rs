//! tokio-util: a child token each, and one tracker for all or one each.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Group, busy};
use crate::body::parked_until;

/// Child tokens. With a tracker each, the end of one group can be waited for.
#[derive(Debug)]
pub struct Tokens<const TRACKERS: bool>;

/// The token above, and all trackers: one, or that of each group.
#[derive(Debug, Default)]
pub struct Above {
    token: CancellationToken,
    trackers: Vec<TaskTracker>,
}

impl<const TRACKERS: bool> Group for Tokens<TRACKERS> {
    const NAME: &'static str =
        if TRACKERS { "child token + tracker each" } else { "child token + TaskTracker" };
    type Above = Above;
    type Group = (CancellationToken, TaskTracker);
    type Handle = JoinHandle<()>;

    fn above(&self) -> Above {
        Above::default()
    }

    fn open(&self, above: &mut Above) -> (CancellationToken, TaskTracker) {
        if TRACKERS || above.trackers.is_empty() {
            above.trackers.push(TaskTracker::new());
        }
        (above.token.child_token(), above.trackers[above.trackers.len() - 1].clone())
    }

    fn spawn<F>(&self, _: &Above, (token, tracker): &Self::Group, work: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let token = token.clone();
        tracker.spawn(async move { _ = token.run_until_cancelled(work).await })
    }

    fn spawn_asking(&self, _: &Above, (token, tracker): &Self::Group) -> JoinHandle<()> {
        let token = token.clone();
        tracker.spawn(async move { parked_until(token.run_until_cancelled(busy())).await })
    }

    fn forget(&self, above: &mut Above) {
        if TRACKERS {
            above.trackers.clear();
        }
    }

    async fn over(&self, above: Above, _: Vec<JoinHandle<()>>) {
        for tracker in above.trackers {
            tracker.close();
            tracker.wait().await;
        }
    }

    async fn stop(&self, above: Above, handles: Vec<JoinHandle<()>>) {
        above.token.cancel();
        self.over(above, handles).await;
    }
}
