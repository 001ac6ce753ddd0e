//! What is alive on the program's executor at its end, and was spawned there past Adjourn.

use std::sync::Arc;
use std::time::Duration;

use super::Program;

/// How often it is counted anew, where tasks of the program end meanwhile.
const TRIES: usize = 8;

impl Program {
    /// Has the executor counted what is alive on it, and tells the report how much of that is not the
    /// program's. `count` is given how many tasks are, and how long it may take at the most.
    pub(crate) fn count_untracked(&self, count: impl Fn(usize, Duration) -> Option<usize>) {
        let hurried = self.lock().report.forced.is_some();
        let patience = if hurried { Duration::ZERO } else { Duration::MAX };
        for _ in 0..TRIES {
            let own = self.count_own();
            let Some(all) = count(own, patience) else { return };
            if own == self.count_own() {
                self.lock().report.untracked = Some(all.saturating_sub(own) as u64);
                return;
            }
        }
    }

    /// How many of the executor's tasks are the program's: what it tracks, unless that is on a thread of
    /// its own, and what helps it. A straggler on a local set is among them, which the executor does not
    /// count: then so many too few others are told of.
    fn count_own(&self) -> usize {
        let state = self.lock();
        let nodes = state.nodes.iter().flatten().chain(state.lingering.values());
        let tracked: usize = nodes.map(|node| node.count_futures()).sum();
        tracked + state.helpers
    }
}

/// In a future of the program's own, which no scope tracks.
pub(crate) struct Helper(Arc<Program>);

impl Helper {
    pub(crate) fn new(program: &Arc<Program>) -> Helper {
        program.lock().helpers += 1;
        Helper(program.clone())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.0.lock().helpers -= 1;
    }
}
