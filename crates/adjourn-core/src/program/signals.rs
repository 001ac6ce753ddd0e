//! Signals: what one that came does, and which is raised again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::state::State;
use super::stopper::Stopper;
use super::supervise::Heard;
use super::{Program, observe};
use crate::contract::error::{drop_quietly, forget_payload, take_message};
use crate::contract::report::{At, FailureKind, MOST_LISTED, Reason, Report};
use crate::phase::{Event, Phase};
use crate::process::signal::Signal;
use crate::track::wakes::Wakes;

pub(crate) type SignalHandler = Box<dyn FnMut(Signal, &Stopper) + Send>;

/// The user's handler for signals. Its lock is held while it runs, and is only ever tried: whoever
/// does not get it has nothing to do.
#[derive(Default)]
pub(crate) struct Reactions {
    reaction: Mutex<Option<(SignalHandler, Stopper)>>,
    /// There are signals for it.
    waiting: AtomicBool,
}

impl State {
    fn note_signal(&mut self, at: Duration, signal: Signal, count: u64) {
        let report = &mut self.report;
        let room = MOST_LISTED.saturating_sub(report.signals.len()) as u64;
        for _ in 0..count.min(room) {
            report.signals.push(At { at, what: signal });
        }
        report.signals_omitted += count.saturating_sub(room);
        self.feed.tell(|| observe::Event::Signal(signal, count));
    }
}

impl Program {
    /// Ends everything now: `signal` forced it.
    pub(crate) fn force(&self, signal: Signal) {
        let mut state = self.lock();
        // After its end in order there is nothing to force but the executor's.
        let over = state.machine.phase(state.machine.root()) >= Phase::Stopped;
        if !over {
            state.report.forced = Some(signal);
        }
        state.hurried |= over && state.report.forced.is_none();
        drop(state);
        self.watch.force(signal);
        self.event(Event::Force);
        self.summon();
    }

    /// Takes note of a signal that came `count` times and does what the options say: for signals that
    /// no warden hears.
    pub(crate) fn hear(&self, signal: Signal, count: u64) {
        let now = self.watch.elapsed().unwrap_or_else(|| self.host_now());
        let heard = self.watch.hear(now, signal, count);
        self.note_signal(signal, count);
        self.tell(heard);
    }

    /// The same for a signal after which the process is ended, in so long.
    pub(crate) fn hear_last(&self, signal: Signal, left: Duration) {
        let now = self.watch.elapsed().unwrap_or_else(|| self.host_now());
        self.ends_within(left);
        let heard = self.watch.hear(now, signal, 1);
        self.note_signal(signal, 1);
        self.tell(Heard { stops: true, ..heard });
    }

    /// Takes the next signal that the warden has heard and notes it in the report. Both at once, so
    /// that at the end every signal is either in the report or still to be taken.
    pub(crate) fn take_heard(&self) -> Option<Heard> {
        let at = self.now();
        let mut state = self.lock();
        let heard = self.watch.next_heard()?;
        state.note_signal(at, heard.signal, heard.count);
        Some(heard)
    }

    /// Tells what the warden has heard, where it asks the driver to.
    pub(crate) fn tell_heard(&self) {
        if !self.watch.asks_driver() {
            return;
        }
        self.as_part(|| {
            let tells = || {
                while let Some(heard) = self.take_heard() {
                    self.tell(heard);
                }
            };
            // A subscriber's panic is not the executor's.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(tells)) {
                forget_payload(payload);
            }
        });
    }

    /// Takes the waker of the driver, if there is one; `None` where the program's lock is taken. Waits for
    /// no lock.
    pub(crate) fn try_take_driver(&self) -> Option<Option<Waker>> {
        Some(self.state.try_lock().ok()?.driver.take())
    }

    /// Does what follows from a signal that is in the report already.
    pub(crate) fn tell(&self, heard: Heard) {
        let Heard { signal, count, fresh, stops, forces, ends } = heard;
        if let Some(at) = ends {
            self.ends_within(at.saturating_duration_since(Instant::now()));
        }
        if stops {
            self.stop_for(signal, count);
        } else {
            super::log::signal(signal, count);
        }
        if forces {
            return self.force(signal);
        }
        if self.watch.rules.dumps & signal.bit() != 0 {
            return super::dump::start(self);
        }
        if fresh == 0 || !self.hands_over() {
            return;
        }
        let mut state = self.lock();
        // A handler that nobody runs costs no memory without end: past so many turns from one kind
        // to another their order goes, not their number.
        let turns = state.handed_over.len();
        let reach = if turns < 1024 { 1 } else { turns };
        let mut latest = state.handed_over.iter_mut().rev().take(reach);
        match latest.find(|(kind, _)| *kind == signal) {
            Some((_, times)) => *times += fresh,
            None => state.handed_over.push_back((signal, fresh)),
        }
        self.reactions.waiting.store(true, SeqCst);
        let mut wakes = Wakes::default();
        wakes.add(state.driver.take());
        drop(state);
        self.watch.pending();
        wakes.wake();
    }

    fn hands_over(&self) -> bool {
        self.watch.rules.hands_over
    }

    /// Takes note of a signal that came `count` times.
    pub(crate) fn note_signal(&self, signal: Signal, count: u64) {
        let at = self.now();
        self.lock().note_signal(at, signal, count);
    }

    /// Whether something lies undone that the executor does not come to.
    pub(crate) fn is_left_alone(&self) -> bool {
        self.waiting.load(SeqCst) || self.reactions.waiting.load(SeqCst)
    }

    pub(crate) fn set_reaction(&self, handler: Option<SignalHandler>, stopper: &Stopper) {
        let mut reaction = self.reactions.reaction.lock().unwrap_or_else(PoisonError::into_inner);
        *reaction = handler.map(|handler| (handler, stopper.clone()));
    }

    /// Has the user's handler react to the signals that wait for it, unless somebody is at it: who is
    /// takes what comes meanwhile.
    pub(crate) fn react(&self) {
        while self.reactions.waiting.load(SeqCst) {
            let Ok(mut reaction) = self.reactions.reaction.try_lock() else { return };
            let Some((handler, stopper)) = reaction.as_mut() else { return };
            // Taken back before the signals are looked at: one that comes later is seen again.
            self.reactions.waiting.store(false, SeqCst);
            while let Some(signal) = self.next_signal() {
                let reacts = || catch_unwind(AssertUnwindSafe(|| handler(signal, stopper)));
                let reacted = self.as_part(reacts);
                if signal == Signal::INTERRUPT {
                    self.watch.answered();
                }
                if let Err(payload) = reacted {
                    let origin = format!("on_signal({signal})");
                    let chain = vec![take_message(payload)];
                    // A reaction that fails must not leave the program deaf.
                    let reason = Reason::Signal(signal);
                    self.fail_and_stop(FailureKind::HookPanic, origin, chain, reason);
                }
            }
        }
    }

    /// Drops the user's handler, unless it is still at it.
    pub(super) fn forget_reactions(&self) {
        let reaction =
            self.reactions.reaction.try_lock().ok().and_then(|mut reaction| reaction.take());
        drop_quietly(reaction);
    }

    /// Whether the options ask for this signal.
    pub(crate) fn listens_to(&self, signal: Signal) -> bool {
        self.options.signals.contains(&signal)
    }

    pub(crate) fn next_signal(&self) -> Option<Signal> {
        let mut state = self.lock();
        let (signal, times) = state.handed_over.front_mut()?;
        let signal = *signal;
        *times -= 1;
        if *times == 0 {
            state.handed_over.pop_front();
        }
        Some(signal)
    }

    /// Which signal is raised again once the report is printed.
    pub(crate) fn raises(&self, report: &Report) -> Option<Signal> {
        let first = || match report.reason() {
            Some(Reason::Signal(signal)) => Some(*signal),
            _ => None,
        };
        self.watch.rules.raises(report.forced.or_else(first))
    }
}
