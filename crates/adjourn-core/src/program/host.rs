//! The program as the host that a backend brings sees it.

use std::sync::Arc;
use std::time::Duration;

use super::Program;
use crate::contract::options::SecondInterrupt;
use crate::contract::report::{FailureKind, Report, Straggler};
use crate::contract::rt::{Hosted, Watched};
use crate::phase::{Event, Phase};
use crate::process::signal::Signal;
use crate::track::node::Node;

impl Program {
    /// What a host is given of it.
    pub(crate) fn hosted(self: &Arc<Program>) -> Hosted {
        let program: Arc<dyn Watched> = self.clone();
        Hosted::new(Arc::downgrade(&program))
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

    fn phase(&self) -> Phase {
        let state = self.lock();
        state.machine.phase(state.machine.root())
    }

    fn deadline(&self) -> Option<Duration> {
        self.lock().machine.deadline()
    }

    fn alive(&self) -> Vec<Straggler> {
        let now = self.now();
        let alive = |node: Arc<Node>| node.lock().survey(&node, now, |_| true).stragglers().0;
        self.nodes().into_iter().flat_map(alive).collect()
    }

    fn report(&self) -> Option<Report> {
        self.peek()
    }
}
