//! A process group as two see it: the task that runs it, and the thread that waits for it.
//!
//! 1. A signal is sent under the lock and only where [`Stage::Alive`] is; the leader is waited for under
//!    the lock too. So on Linux, where that comes last, no signal goes to a number that is free.
//! 2. Wakers are cloned, woken and dropped outside of the lock.

use std::future::Future;
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rustix::process::{Pid, Signal, getpgid, kill_process, kill_process_group};

pub(crate) struct Group {
    leader: Pid,
    state: Mutex<State>,
}

struct State {
    stage: Stage,
    /// The leader was waited for: its number may be another's.
    reaped: bool,
    waker: Option<Waker>,
}

enum Stage {
    Alive,
    /// `None` once its status was taken.
    Over(Option<io::Result<ExitStatus>>),
}

impl Group {
    /// The group of a leader that has not been waited for.
    pub(crate) fn new(leader: Pid) -> Group {
        Group {
            leader,
            state: Mutex::new(State { stage: Stage::Alive, reaped: false, waker: None }),
        }
    }

    /// The leader's number, which is the group's.
    pub(crate) fn leader(&self) -> Pid {
        self.leader
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks all of the group to end.
    pub(crate) fn ask(&self, signal: Signal) {
        // A process that is stopped does not see it before it goes on.
        self.send(&[signal, Signal::CONT]);
    }

    /// Kills all of the group.
    pub(crate) fn kill(&self) {
        self.send(&[Signal::KILL]);
    }

    fn send(&self, signals: &[Signal]) {
        let state = self.lock();
        if let Stage::Alive = state.stage {
            // A leader that went over to another group is waited for all the same.
            let group = if state.reaped { Ok(self.leader) } else { getpgid(Some(self.leader)) };
            let left = group.is_ok_and(|group| group != self.leader);
            for &signal in signals {
                // It fails where none of them is ours to signal: the limit is left.
                _ = kill_process_group(self.leader, signal);
                if left {
                    _ = kill_process(self.leader, signal);
                }
            }
        }
    }

    /// Waits for the leader, which is over, while others of the group go on. No signal comes in between.
    pub(crate) fn reap_first<T>(&self, reap: impl FnOnce() -> T) -> T {
        let mut state = self.lock();
        state.reaped = true;
        reap()
    }

    /// Kills whoever may have been missed, and nothing of it is left, once `reap` has waited for the
    /// leader, if that is still to be done.
    pub(crate) fn over(&self, reap: impl FnOnce(&dyn Fn()) -> io::Result<ExitStatus>) {
        let mut state = self.lock();
        let kill = || _ = kill_process_group(self.leader, Signal::KILL);
        state.stage = Stage::Over(Some(reap(&kill)));
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Resolves once nothing of it is left, to the status of the leader. To be awaited to its end once.
    pub(crate) fn ended(&self) -> Ended<'_> {
        Ended(self)
    }
}

pub(crate) struct Ended<'a>(&'a Group);

impl Future for Ended<'_> {
    type Output = io::Result<ExitStatus>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A waker is another's code, also where it is cloned and dropped: outside of the lock.
        let waker = cx.waker().clone();
        let mut state = self.0.lock();
        if let Stage::Over(ended) = &mut state.stage {
            if let Some(ended) = ended.take() {
                drop(state);
                return Poll::Ready(ended);
            }
        }
        let old = state.waker.replace(waker);
        drop(state);
        drop(old);
        Poll::Pending
    }
}

/// The group, killed with whoever runs it.
pub(crate) struct KillOnDrop(pub(crate) Arc<Group>);

impl Deref for KillOnDrop {
    type Target = Group;

    fn deref(&self) -> &Group {
        &self.0
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill();
    }
}
