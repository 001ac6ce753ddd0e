//! A process group as two see it: the task that runs it, and the thread that waits for it.
//!
//! 1. A signal is sent under the lock and only where [`Stage::Alive`] is; the leader is waited for under
//!    the lock too. So on Linux, where that comes last, no signal goes to a number that is free.
//! 2. What is asked for before there is a process is done when it is there.
//! 3. Wakers are cloned, woken and dropped outside of the lock.

use std::future::Future;
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rustix::process::{Pid, Signal, kill_process_group};

pub(crate) struct Group(Mutex<State>);

struct State {
    stage: Stage,
    waker: Option<Waker>,
}

enum Stage {
    /// It is about to be started; what it is sent then.
    Starting(Wanted),
    /// The leader's number, which is the group's.
    Alive(Pid),
    /// `None` once that was taken.
    Over(Option<io::Result<ExitStatus>>),
}

enum Wanted {
    Nothing,
    Asked(Signal),
    Killed,
}

impl Group {
    pub(crate) fn new() -> Group {
        Group(Mutex::new(State { stage: Stage::Starting(Wanted::Nothing), waker: None }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks all of the group to end.
    pub(crate) fn ask(&self, signal: Signal) {
        let mut state = self.lock();
        match &mut state.stage {
            Stage::Starting(wanted @ Wanted::Nothing) => *wanted = Wanted::Asked(signal),
            Stage::Alive(leader) => ask(*leader, signal),
            Stage::Starting(_) | Stage::Over(_) => {}
        }
    }

    /// Kills all of the group.
    pub(crate) fn kill(&self) {
        let mut state = self.lock();
        match &mut state.stage {
            Stage::Starting(wanted) => *wanted = Wanted::Killed,
            Stage::Alive(leader) => kill(*leader),
            Stage::Over(_) => {}
        }
    }

    /// The leader has been started.
    pub(crate) fn started(&self, leader: Pid) {
        let mut state = self.lock();
        if let Stage::Starting(wanted) = std::mem::replace(&mut state.stage, Stage::Alive(leader)) {
            match wanted {
                Wanted::Nothing => {}
                Wanted::Asked(signal) => ask(leader, signal),
                Wanted::Killed => kill(leader),
            }
        }
    }

    /// Does something to which no signal may come in between.
    pub(crate) fn alone<T>(&self, act: impl FnOnce() -> T) -> T {
        let _state = self.lock();
        act()
    }

    /// Nothing of it is left, which `end` makes true.
    pub(crate) fn over(&self, end: impl FnOnce() -> io::Result<ExitStatus>) {
        let mut state = self.lock();
        state.stage = Stage::Over(Some(end()));
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

fn ask(leader: Pid, signal: Signal) {
    // It fails where none of them is ours to signal: the limit is left.
    _ = kill_process_group(leader, signal);
    _ = kill_process_group(leader, Signal::CONT);
}

pub(crate) fn kill(leader: Pid) {
    _ = kill_process_group(leader, Signal::KILL);
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
