//! Signals: what one that came does, and which is raised again.

use super::Program;
use crate::contract::options::{Reraise, SecondInterrupt};
use crate::contract::report::{At, MOST_LISTED, Reason, Report};
use crate::phase::{Event, Phase};
use crate::process::signal::Signal;
use crate::track::wakes::Wakes;

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
        if let Some(supervisor) = self.supervisor.get() {
            supervisor.forced();
        }
        self.event(Event::Force);
        self.summon();
    }

    /// Takes note of a signal that came `count` times and does what the options say.
    pub(crate) fn hear(&self, signal: Signal, count: u64) {
        self.note_signal(signal, count);
        let now = self.host_now();
        let mut state = self.lock();
        let mut fresh = count;
        if signal == Signal::INTERRUPT {
            fresh = 0;
            for times in [1, count].into_iter().take(count.min(2) as usize) {
                match state.first_interrupt {
                    None => state.first_interrupt = Some(now),
                    // The same keystroke, forwarded by a parent.
                    Some(first) if now.saturating_sub(first) < self.options.debounce => break,
                    Some(_) => {
                        let forces = self.options.second_interrupt == SecondInterrupt::Force;
                        // The one before it, of the same wait, has yet to ask for the stop.
                        let asks = fresh > 0 && !self.hands_over;
                        if forces && (asks || state.machine.is_stopping()) {
                            drop(state);
                            if asks {
                                self.stop(Reason::Signal(signal));
                            }
                            return self.force(signal);
                        }
                    }
                }
                fresh = times;
            }
        }
        if fresh == 0 {
            return;
        }
        if !self.hands_over {
            drop(state);
            // Once for all: the signals are in the report one by one.
            return self.stop(Reason::Signal(signal));
        }
        // A handler that nobody runs costs no memory without end: past so many turns from one kind
        // to another their order goes, not their number.
        let turns = state.handed_over.len();
        let reach = if turns < 1024 { 1 } else { turns };
        let mut latest = state.handed_over.iter_mut().rev().take(reach);
        match latest.find(|(kind, _)| *kind == signal) {
            Some((_, times)) => *times += fresh,
            None => state.handed_over.push_back((signal, fresh)),
        }
        let mut wakes = Wakes::default();
        wakes.add(state.driver.take());
        drop(state);
        wakes.wake();
    }

    /// Takes note of a signal that came `count` times.
    pub(crate) fn note_signal(&self, signal: Signal, count: u64) {
        super::log::signal(signal, count);
        let at = self.now();
        let mut state = self.lock();
        let report = &mut state.report;
        let room = MOST_LISTED.saturating_sub(report.signals.len()) as u64;
        for _ in 0..count.min(room) {
            report.signals.push(At { at, what: signal });
        }
        report.signals_omitted += count.saturating_sub(room);
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
        let signal = report.forced.or(match report.reason() {
            Some(Reason::Signal(signal)) => Some(*signal),
            _ => None,
        })?;
        match self.options.reraise {
            Reraise::Never => None,
            Reraise::Interrupt => Some(signal).filter(|signal| *signal == Signal::INTERRUPT),
            Reraise::Always => Some(signal),
        }
    }
}
