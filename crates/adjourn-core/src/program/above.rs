//! The program as its scopes and tasks see it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::Program;
use crate::contract::error::Place;
use crate::contract::report::{FailureKind, Outcome, Reason, TaskKind};
use crate::contract::rt::Timer;
use crate::phase::{Event, Phase, ScopeId};
use crate::track::above::Above;
use crate::track::node::Node;
use crate::track::table::TaskRef;

impl Above for Program {
    fn now(&self) -> Duration {
        self.now()
    }

    fn is_hosted(&self) -> bool {
        self.is_hosted()
    }

    fn open(&self, parent: &Arc<Node>, name: Cow<'static, str>) -> Arc<Node> {
        self.open(parent, name, &[])
    }

    fn depend(&self, node: &Arc<Node>, on: ScopeId) -> Option<Arc<Node>> {
        self.depend(node, on)
    }

    fn admit(&self, node: &Arc<Node>, kind: TaskKind, enter: &mut dyn FnMut()) -> bool {
        let now = self.now();
        let mut state = self.lock();
        let phase = state.machine.phase(node.id);
        let admits =
            if kind.is_shielded() { phase < Phase::Stopped } else { phase <= Phase::Draining };
        if admits {
            enter();
        }
        state.tell_tasks(now, node);
        self.settle(state, now);
        admits
    }

    fn sync(&self, node: &Arc<Node>) {
        self.sync(node);
    }

    fn fold(&self, node: &Node) {
        self.fold(node);
    }

    fn stop(&self, node: &Node) {
        if node.is_root() {
            self.stop(Reason::Requested(None));
        } else {
            self.event(Event::Stop(node.id));
        }
    }

    fn phase(&self, node: &Node) -> Phase {
        self.lock().machine.phase(node.id)
    }

    fn keep_alive(&self) {
        self.busy.fetch_add(1, SeqCst);
    }

    fn let_go(&self) -> bool {
        self.busy.fetch_sub(1, SeqCst) == 1
    }

    fn idle(&self) {
        self.idle();
    }

    fn cut_off(&self, count: usize) {
        self.undropped.fetch_add(count, SeqCst);
    }

    fn cut_off_ended(&self) {
        if self.undropped.fetch_sub(1, SeqCst) == 1 {
            self.summon();
        }
    }

    fn listed(&self, index: usize, outcome: Outcome) {
        self.listed(index, outcome);
    }

    fn not_overdue(&self, node: &Node, task: &TaskRef, place: Place, alone: bool) {
        self.not_overdue(node, task.key(), place, alone);
    }

    fn failed(
        &self,
        task: Option<&TaskRef>,
        kind: FailureKind,
        origin: String,
        messages: Vec<String>,
        stops: bool,
    ) {
        let panics = matches!(kind, FailureKind::TaskPanic | FailureKind::DestructorPanic);
        if panics && task.is_some_and(|task| self.is_main(task)) {
            return; // `run` reports it, with what it means for the program
        }
        if stops || panics && self.options.stop_on_panic {
            let reason = Reason::TaskFailed(format!("{origin}: {}", messages.join(": ")));
            self.fail_and_stop(kind, origin, messages, reason);
        } else {
            self.fail(kind, origin, messages);
        }
    }

    fn untold(&self, task: String) {
        // A forced end waits for nobody. `main` is dropped before the others are flagged.
        if let Some(host) = self.backend.host().filter(|_| !self.is_forced()) {
            host.untold(&task);
        }
    }

    fn main(&self) -> Option<TaskRef> {
        self.main.get().copied()
    }

    fn reason(&self) -> Option<Reason> {
        self.lock().report.reason().cloned()
    }

    fn drain_left(&self, node: &Node) -> Option<Duration> {
        let now = self.now();
        let state = self.lock();
        let whole = || Some(state.machine.stop_time()?.saturating_add(state.machine.spans().drain));
        let limit = state.machine.drain_limit(node.id).or_else(whole)?;
        (limit < Duration::MAX).then(|| limit.saturating_sub(now))
    }

    fn is_waiting(&self) -> bool {
        self.waiting.load(SeqCst)
    }

    fn ready(&self) {
        self.ready();
    }

    fn is_ready(&self) -> bool {
        self.is_ready()
    }
}
