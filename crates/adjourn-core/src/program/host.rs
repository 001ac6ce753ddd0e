//! The program as others see it: who reads it, and the host that a backend brings.

use std::sync::Arc;
use std::time::Duration;

use super::Program;
use crate::contract::inspect::{Inspected, Status};
use crate::contract::options::SecondInterrupt;
use crate::contract::report::{FailureKind, Report, Straggler, Totals};
use crate::contract::rt::{Hosted, Watched};
use crate::phase::{Event, Phase};
use crate::process::signal::Signal;
use crate::track::node::Node;

impl Program {
    /// Tells the observers that have no thread.
    pub(crate) fn tell_here(self: &Arc<Program>) {
        if self.is_hosted() {
            let feed = self.lock().feed.clone();
            feed.tell_here(self);
        }
    }

    /// What a host is given of it.
    pub(crate) fn hosted(self: &Arc<Program>) -> Hosted {
        let program: Arc<dyn Watched> = self.clone();
        let inspector = self.inspector.clone();
        Hosted::new(Arc::downgrade(&program), inspector)
    }
}

impl Watched for Program {
    fn signal(&self, signal: Signal) -> bool {
        let listens = self.listens_to(signal);
        if listens {
            self.hear(signal, 1);
        }
        listens
    }

    fn interrupt_again(&self) -> bool {
        let forces = self.options.second_interrupt == SecondInterrupt::Force
            && self.listens_to(Signal::INTERRUPT);
        if !forces || !self.lock().machine.is_stopping() {
            self.signal(Signal::INTERRUPT);
            return false;
        }
        self.note_signal(Signal::INTERRUPT, 1);
        self.force(Signal::INTERRUPT);
        self.phase() == Phase::Forced
    }

    fn give_up(&self, why: String, details: Vec<String>) {
        self.fail_fatally(FailureKind::Executor, why, details);
        self.event(Event::Force);
        for node in self.nodes() {
            self.add_stragglers(node.cut_off());
        }
        self.summon();
    }
}

impl Inspected for Program {
    fn phase(&self) -> Phase {
        let state = self.lock();
        state.machine.phase(state.machine.root())
    }

    fn deadline(&self) -> Option<Duration> {
        self.lock().machine.deadline()
    }

    fn is_ready(&self) -> bool {
        Program::is_ready(self) && !self.lock().machine.is_stopping()
    }

    fn status(&self) -> Status {
        let uptime = self.host_now();
        let state = self.lock();
        let mut totals = Totals::default();
        state.report.totals.values().for_each(|ended| totals.add(ended));
        let nodes: Vec<_> = state.nodes.iter().flatten().chain(state.lingering.values()).collect();
        nodes.iter().for_each(|node| totals.add(&node.lock().totals()));
        let phase = state.machine.phase(state.machine.root());
        let deadline = state.machine.deadline().filter(|deadline| *deadline < Duration::MAX);
        Status {
            backend: self.backend.name(),
            phase,
            ready: Program::is_ready(self) && !state.machine.is_stopping(),
            uptime,
            reason: state.report.reason().cloned(),
            time_left: deadline.map(|deadline| deadline.saturating_sub(uptime)),
            totals,
            failures: state.report.failures.len() as u64 + state.report.failures_omitted,
        }
    }

    fn alive(&self, most: usize) -> Vec<Straggler> {
        let now = self.now();
        let alive = |node: Arc<Node>| node.lock().survey(&node, now, |_| true).stragglers().0;
        self.nodes().into_iter().flat_map(alive).take(most).collect()
    }

    fn report(&self) -> Report {
        self.look()
    }
}
