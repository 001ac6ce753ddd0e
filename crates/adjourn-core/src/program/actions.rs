//! What the machine wants done: taken over by whoever tells it something, performed one at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::state::State;
use super::{Program, Rest};
use crate::contract::error::forget_payload;
use crate::phase::{Action, Event};
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering::{Relaxed, SeqCst};
use crate::track::above::WAITING;
use crate::track::node::Node;

/// What the machine is to be told of an action that was performed.
pub(crate) enum Answer {
    Nothing,
    /// What is alive in this scope.
    Tasks(Arc<Node>),
}

/// Performs an action that needs more than the program's state, with the scope that it is about.
pub(crate) type Act = fn(&Arc<Program>, Action, Option<Arc<Node>>) -> Answer;

/// So many small scopes are told or cancelled before those in them are woken, and others come to the
/// program's lock.
const MOST_HELD: usize = 32;

impl Program {
    /// Takes over what the machine wants done. What is trivial is done at once, where it keeps the
    /// order; for the rest the driver is woken.
    pub(super) fn settle(&self, state: MutexGuard<'_, State>, now: Duration) {
        self.settle_with(state, now, Rest::default());
    }

    /// The same, where there is something to be done already.
    pub(super) fn settle_with(
        &self,
        mut state: MutexGuard<'_, State>,
        now: Duration,
        mut rest: Rest,
    ) {
        while state.actions.is_empty() && !state.acting {
            let Some(action) = state.next_action(now, &mut rest) else { break };
            if !state.perform(now, action, &mut rest) {
                state.actions.push_back(action);
            }
        }
        state.take_actions(now, &mut rest);
        self.set_timed(&state);
        let pending = !state.actions.is_empty() && !state.acting;
        if pending {
            self.set_waiting(true);
            rest.wakes.add(state.driver.take());
        }
        drop(state);
        if pending {
            self.watch.pending();
        }
        rest.finish(self);
    }

    /// Under the state's lock, whenever that has changed.
    pub(super) fn set_timed(&self, state: &State) {
        let timed = state.machine.is_timed();
        if self.timed.load(Relaxed) != timed {
            self.timed.store(timed, SeqCst);
        }
    }

    pub(super) fn set_waiting(&self, waiting: bool) {
        // Under the state's lock: the count is right.
        if self.waiting.swap(waiting, SeqCst) != waiting {
            if waiting {
                WAITING.fetch_add(1, SeqCst);
            } else {
                WAITING.fetch_sub(1, SeqCst);
            }
        }
    }

    /// Performs what there is to do, with `act` what is not trivial, unless somebody else is at it.
    /// Returns the next soft limit.
    pub(crate) fn drive(self: &Arc<Program>, act: Act) -> Option<Duration> {
        let mut now = self.now();
        let mut state = self.lock();
        if state.acting {
            return state.machine.next_limit();
        }
        state.machine.handle(now, Event::Tick);
        state.acting = true;
        self.set_waiting(false);
        let mut rest = Rest::default();
        let mut held = 0;
        loop {
            // What others have taken from the machine meanwhile is older.
            let taken = state.actions.pop_front();
            let Some(action) = taken.or_else(|| state.next_action(now, &mut rest)) else { break };
            if state.perform_small(now, action, &mut rest) {
                held += 1;
                if held == MOST_HELD {
                    held = 0;
                    drop(state);
                    rest.finish(self);
                    now = self.now();
                    state = self.lock();
                }
                continue;
            }
            if state.perform(now, action, &mut rest) {
                continue;
            }
            state.course.note(now, &action);
            let node = action.scope().and_then(|scope| state.node(scope));
            drop(state);
            rest.finish(self);
            // What the user gave us is caught where it runs; should anything unwind all the same,
            // the actions that follow are performed.
            let acted = catch_unwind(AssertUnwindSafe(|| act(self, action, node)));
            let answer = acted.unwrap_or_else(|payload| {
                forget_payload(payload);
                Answer::Nothing
            });
            now = self.now();
            state = self.lock();
            match answer {
                Answer::Tasks(node) => state.tell_tasks(now, &node),
                Answer::Nothing => {}
            }
        }
        state.acting = false;
        self.set_timed(&state);
        let next = state.machine.next_limit();
        drop(state);
        rest.finish(self);
        next
    }
}
