//! A leaf is a scope as any other: two machines hear the same, and decide the same.
//!
//! In the first one scopes are leaves for as long as nothing is below them, and those of one parent are asked,
//! told and ended together. In the second each scope has had another below it when it was opened, so that
//! none is a leaf, and each goes its own way. The driver says anything, and lags behind.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::model::{NEVER, ms};
use super::{config, some_limits};
use crate::phase::{Action, Alive, Event, Limits, Machine, Phase, ScopeId};

/// What both are told.
#[derive(Clone, Debug)]
enum Step {
    /// So many scopes below one, the first of which depends on another where that is said.
    Open(usize, usize, Option<usize>),
    Depend(usize, usize),
    Stop(usize),
    Tasks(usize, Alive),
    /// The same in so many scopes from this one on.
    AllTasks(usize, usize, Alive),
    CancelAtOnce(usize, usize),
    Drains(usize, usize),
    CancelDrained(usize, usize),
    Retire(usize, usize, bool),
    Closed(usize),
    Occupied(usize),
    /// So many actions are performed.
    Take(usize),
    Wait(u64),
    /// The same, and nobody says so.
    Late(u64),
    Idle,
    CutOff,
    Deadline,
    EndsWithin(u64),
    Force,
}

struct Twin {
    machine: Machine,
    /// Each scope has had another below it.
    linked: bool,
    ids: Vec<ScopeId>,
    by_id: BTreeMap<ScopeId, usize>,
    /// What was performed, by scope; what is of none under `usize::MAX`.
    performed: BTreeMap<usize, Vec<&'static str>>,
}

impl Twin {
    fn new(limits: Limits, linked: bool) -> Twin {
        let machine = Machine::new(limits);
        let mut twin = Twin {
            machine,
            linked,
            ids: Vec::new(),
            by_id: BTreeMap::new(),
            performed: BTreeMap::new(),
        };
        twin.add(ScopeId::ROOT);
        twin
    }

    fn add(&mut self, id: ScopeId) {
        self.by_id.insert(id, self.ids.len());
        self.ids.push(id);
    }

    fn open(&mut self, now: Duration, parent: usize, need: Option<usize>) {
        let need = need.map(|need| self.ids[need]);
        let Some(id) = self.machine.open(now, self.ids[parent], need.as_slice()) else { return };
        self.add(id);
        // In a stop that would be more than nothing.
        if self.linked && !self.machine.has_actions() && !self.machine.is_timed() {
            if let Some(inner) = self.machine.open(now, id, &[]) {
                assert!(self.machine.retire(now, inner, true), "nothing is in it");
            }
        }
    }

    fn take(&mut self, count: usize) {
        for _ in 0..count {
            let Some(action) = self.machine.next_action() else { break };
            if let Action::End(id) = action {
                self.machine.ended(id);
            }
            let name = match action {
                Action::LameDuck => "lame duck",
                Action::Fire(_) => "fire",
                Action::Cancel(_) => "cancel",
                Action::CutOff(_) => "cut off",
                Action::Close(_) => "close",
                Action::End(_) => "end",
                Action::Finish => "finish",
            };
            let of = action.scope().map_or(usize::MAX, |id| self.by_id[&id]);
            self.performed.entry(of).or_default().push(name);
        }
    }

    /// Tells of tasks in scopes that drain: in one step where there are leaves and the machine agrees.
    fn at_once(
        &mut self,
        now: Duration,
        scopes: impl Iterator<Item = usize>,
        graceful: bool,
        shortly: fn(&mut Machine, Duration, ScopeId) -> bool,
    ) {
        self.take(usize::MAX); // what was decided before is performed before
        for at in scopes {
            let id = self.ids[at];
            if at == 0 || self.machine.phase(id) != Phase::Draining {
                continue;
            }
            if self.linked || !shortly(&mut self.machine, now, id) {
                let alive = Alive { graceful: Some(graceful), live: Some(true), left: false };
                self.machine.handle(now, Event::Tasks(id, alive));
            } else if !graceful {
                self.performed.entry(at).or_default().push("cancel");
            }
            self.take(usize::MAX);
        }
    }

    fn step(&mut self, now: Duration, step: &Step) {
        let count = self.ids.len();
        let id = |at: &usize| self.ids[at % count];
        let few = |at: &usize, of: usize| (at % count..count).take(of);
        let event = match step {
            Step::Open(parent, times, need) => {
                let parent = parent % count;
                let need = need.map(|need| need % count);
                (0..*times).for_each(|at| self.open(now, parent, need.filter(|_| at == 0)));
                return;
            }
            Step::Depend(scope, on) => {
                self.machine.depend(id(scope), id(on));
                return;
            }
            Step::AllTasks(first, of, alive) => {
                for at in few(first, *of) {
                    self.machine.handle(now, Event::Tasks(self.ids[at], *alive));
                }
                return;
            }
            Step::CancelAtOnce(first, of) => {
                self.machine.handle(now, Event::Tick); // as the driver does before
                return self.at_once(now, few(first, *of), false, Machine::cancel_at_once);
            }
            Step::Drains(first, of) => {
                self.machine.handle(now, Event::Tick);
                return self.at_once(now, few(first, *of), true, Machine::drains);
            }
            Step::CancelDrained(first, of) => {
                return self.at_once(now, few(first, *of), false, Machine::cancel_drained);
            }
            Step::Retire(first, of, left) => {
                for at in few(first, *of) {
                    if self.machine.retire(now, self.ids[at], *left) {
                        self.performed.entry(at).or_default().push("retire");
                    }
                }
                return;
            }
            Step::Late(_) => return,
            Step::Take(of) => return self.take(*of),
            Step::Stop(scope) => Event::Stop(id(scope)),
            Step::Tasks(scope, alive) => Event::Tasks(id(scope), *alive),
            Step::Closed(scope) => Event::Closed(id(scope)),
            Step::Occupied(scope) => Event::Occupied(id(scope)),
            Step::Wait(_) => Event::Tick,
            Step::Idle => Event::Idle,
            Step::CutOff => Event::CutOff,
            Step::Deadline => Event::Deadline,
            Step::EndsWithin(millis) => Event::EndsWithin(ms(*millis)),
            Step::Force => {
                self.take(usize::MAX); // it drops what is yet to be performed, which has none either
                Event::Force
            }
        };
        self.machine.handle(now, event);
    }

    /// All that can be asked.
    fn told(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let machine = &self.machine;
        let of = |&id: &ScopeId| {
            let is = (machine.is_awaited(id), machine.is_cut_off(id));
            (machine.phase(id), machine.drain_limit(id), machine.own_limits(id), is)
        };
        let scopes: Vec<_> = self.ids.iter().map(of).collect();
        (machine.next_limit(), machine.has_actions(), scopes)
    }
}

fn alive() -> impl Strategy<Value = Alive> {
    any::<(Option<bool>, Option<bool>, bool)>().prop_map(|(graceful, live, left)| Alive {
        graceful,
        live,
        left,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let scope = || prop_oneof![1 => Just(0), 2 => 1..5usize, 2 => any::<usize>()];
    let some = || prop_oneof![3 => 1..4usize, 1 => 20..40usize];
    let many = || prop_oneof![2 => some(), 1 => Just(usize::MAX)];
    prop_oneof![
        8 => (scope(), some(), prop::option::of(scope()))
            .prop_map(|(parent, times, need)| Step::Open(parent, times, need)),
        3 => (scope(), scope()).prop_map(|(scope, on)| Step::Depend(scope, on)),
        4 => scope().prop_map(Step::Stop),
        6 => (scope(), alive()).prop_map(|(scope, alive)| Step::Tasks(scope, alive)),
        4 => (scope(), many(), alive()).prop_map(|(at, of, alive)| Step::AllTasks(at, of, alive)),
        4 => (scope(), many()).prop_map(|(at, of)| Step::CancelAtOnce(at, of)),
        4 => (scope(), many()).prop_map(|(at, of)| Step::Drains(at, of)),
        4 => (scope(), many()).prop_map(|(at, of)| Step::CancelDrained(at, of)),
        4 => (scope(), many(), any::<bool>()).prop_map(|(at, of, left)| Step::Retire(at, of, left)),
        4 => scope().prop_map(Step::Closed),
        1 => scope().prop_map(Step::Occupied),
        8 => prop_oneof![1 => 1..5usize, 2 => Just(usize::MAX)].prop_map(Step::Take),
        6 => (0..40u64).prop_map(Step::Wait),
        2 => (0..40u64).prop_map(Step::Late),
        1 => Just(Step::Idle),
        1 => prop_oneof![
            2 => Just(Step::CutOff),
            1 => Just(Step::Deadline),
            2 => prop_oneof![0..60u64, Just(NEVER)].prop_map(Step::EndsWithin),
            1 => Just(Step::Force),
        ],
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn leaves_do_as_scopes_do_that_are_none(
        limits in some_limits(),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut twins = [false, true].map(|linked| Twin::new(limits, linked));
        let mut now = Duration::ZERO;
        let end = [Step::Take(usize::MAX), Step::Deadline, Step::Take(usize::MAX)];
        for step in steps.iter().chain(&end) {
            if let Step::Wait(millis) | Step::Late(millis) = step {
                now += ms(*millis);
            }
            twins.iter_mut().for_each(|twin| twin.step(now, step));
            let [leaves, linked] = &twins;
            prop_assert_eq!(leaves.told(), linked.told(), "after {:?}", step);
        }
        let [leaves, linked] = &twins;
        prop_assert_eq!(&leaves.performed, &linked.performed);
    }
}
