//! A driver with made-up tasks around the machine, which checks every action against what it told.
//!
//! [`Sim`] is a driver that says the truth: its checks are the order and the times that the machine
//! promises. [`Nonsense`] is one that says anything: what is left is one order for each scope and an
//! end. Both are used by the tests of the machine and by its fuzz target.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use crate::phase::{Action, Alive, Event, Limits, Machine, Phase, ScopeId};

pub const NEVER: u64 = u64::MAX;

pub fn ms(millis: u64) -> Duration {
    match millis {
        NEVER => Duration::MAX,
        _ => Duration::from_millis(millis),
    }
}

/// Whether a graceful task of the scope is alive.
pub fn graceful(id: ScopeId, alive: bool) -> Event {
    Event::Tasks(id, Alive { graceful: Some(alive), ..Alive::default() })
}

/// Whether any task of the scope is alive.
pub fn live(id: ScopeId, alive: bool) -> Event {
    Event::Tasks(id, Alive { live: Some(alive), ..Alive::default() })
}

/// Nobody can spawn into the scope any more.
pub fn left(id: ScopeId) -> Event {
    Event::Tasks(id, Alive { left: true, ..Alive::default() })
}

/// What is in a scope, in milliseconds; `NEVER` hangs.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Graceful tasks end so long after `Fire`; 0: there are none.
    pub graceful: u64,
    /// Whether there are plain tasks, which go on until they are cancelled.
    pub plain: bool,
    /// Cancelled tasks end so long after `Cancel`.
    pub cleanup: u64,
    /// Hooks end so long after `Close`.
    pub hooks: u64,
    /// Whether a handle is kept: it takes work though it is empty.
    pub kept: bool,
}

pub const IDLE: Load = Load { graceful: 0, plain: false, cleanup: 0, hooks: 0, kept: false };
/// One plain task that never yields.
pub const STUCK: Load = Load { plain: true, cleanup: NEVER, ..IDLE };

#[derive(Debug)]
pub struct Seen {
    pub id: ScopeId,
    pub parent: Option<usize>,
    pub needs: Vec<usize>,
    pub load: Load,
    pub graceful: bool,
    pub live: bool,
    pub fire: Option<Duration>,
    pub cancel: Option<Duration>,
    pub cut: Option<Duration>,
    pub close: Option<Duration>,
    pub closed: bool,
    pub end: Option<Duration>,
    pub left: bool,
    /// It had no task once it was told, and a handle.
    pub was_open: bool,
    /// Opened into a parent that was Cancelling or Closing.
    pub late: bool,
    /// Asked to stop itself.
    pub asked: bool,
    pub phase: Phase,
    pub drain_limit: Option<Duration>,
    pub level_limit: Option<Duration>,
}

/// What the driver does later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Later {
    Drained(usize),
    Cleaned(usize),
    Closed(usize),
}

#[derive(Debug)]
pub struct Sim {
    pub machine: Machine,
    pub limits: Limits,
    pub now: Duration,
    pub scopes: Vec<Seen>,
    pub by_id: HashMap<ScopeId, usize>,
    pub later: BinaryHeap<Reverse<(Duration, Later)>>,
    pub log: Vec<(Duration, Action)>,
    /// The first stop of anything.
    pub first_stop: Option<Duration>,
    /// The host said that a cut-off or a deadline has come.
    pub host_cut: bool,
    pub forced: bool,
    /// The cut-off and the deadline that the end of the process leaves.
    pub ending: Option<[Duration; 2]>,
    pub finished: Option<Duration>,
    /// Dependencies make no cycle with the tree, so that their order is kept strictly.
    pub ordered: bool,
    /// Look at every scope after every event: too slow for large trees.
    pub watch: bool,
}

impl Sim {
    pub fn new(limits: Limits, load: Load) -> Sim {
        let machine = Machine::new(limits);
        let root = machine.root();
        let mut sim = Sim {
            machine,
            limits,
            now: Duration::ZERO,
            scopes: Vec::new(),
            by_id: HashMap::new(),
            later: BinaryHeap::new(),
            log: Vec::new(),
            first_stop: None,
            host_cut: false,
            forced: false,
            ending: None,
            finished: None,
            ordered: true,
            watch: true,
        };
        sim.add(root, None, &[], load);
        sim
    }

    pub fn add(
        &mut self,
        id: ScopeId,
        parent: Option<usize>,
        needs: &[usize],
        load: Load,
    ) -> usize {
        let index = self.scopes.len();
        self.by_id.insert(id, index);
        self.scopes.push(Seen {
            id,
            parent,
            needs: needs.to_vec(),
            load,
            graceful: load.graceful > 0,
            live: load.graceful > 0 || load.plain,
            fire: None,
            cancel: None,
            cut: None,
            close: None,
            closed: false,
            end: None,
            left: false,
            was_open: false,
            late: false,
            asked: false,
            phase: Phase::Running,
            drain_limit: None,
            level_limit: None,
        });
        index
    }

    pub fn open(&mut self, parent: usize, needs: &[usize], load: Load) -> Option<usize> {
        let ids: Vec<_> = needs.iter().map(|&need| self.scopes[need].id).collect();
        let parent_id = self.scopes[parent].id;
        let Some(id) = self.machine.open(self.now, parent_id, &ids) else {
            assert!(self.scopes[parent].end.is_some() || self.finished.is_some() || self.forced);
            return None;
        };
        let at_work = |&&need: &&usize| self.scopes[need].fire.is_none();
        let needs: Vec<_> = needs.iter().filter(at_work).copied().collect();
        let index = self.add(id, Some(parent), &needs, load);
        let above = &self.scopes[parent];
        let late = above.cancel.is_some() || above.close.is_some();
        self.scopes[index].late = late;
        if self.machine.phase(id) < Phase::Draining {
            self.act();
            return Some(index);
        }
        let scope = &mut self.scopes[index];
        scope.was_open = true;
        let phase = self.machine.phase(id);
        if phase > Phase::Cancelling || phase == Phase::Cancelling && !late {
            // It closes before anything comes, or is cancelled with its parent from its first instant.
            (scope.graceful, scope.live) = (false, false);
        }
        scope.load.kept = true; // by whoever opens it, as yet
        // What comes into it comes before it is told by the driver, or after.
        if index % 2 == 0 {
            self.say_tasks(index);
        }
        self.act();
        self.scopes[index].load.kept = load.kept;
        if !load.kept {
            self.say_tasks(index);
            self.act();
        }
        Some(index)
    }

    pub fn stop(&mut self, index: usize) {
        self.first_stop.get_or_insert(self.now);
        self.scopes[index].asked = true;
        self.tell(Event::Stop(self.scopes[index].id));
    }

    pub fn tell(&mut self, event: Event) {
        self.say(event);
        self.act();
    }

    pub fn say(&mut self, event: Event) {
        match event {
            Event::CutOff => self.host_cut |= self.machine.is_stopping(),
            Event::Deadline => self.host_cut = true,
            Event::Force => self.forced = true,
            Event::EndsWithin(span) => {
                let spans = Limits::before_the_end(span);
                let new = [spans.cut_off, spans.deadline].map(|span| self.now.saturating_add(span));
                let old = self.ending.unwrap_or(new);
                self.ending = Some([old[0].min(new[0]), old[1].min(new[1])]);
            }
            _ => {}
        }
        self.say_all(&[event]);
    }

    /// Says what is alive in a scope, all at once as a driver does.
    fn say_tasks(&mut self, index: usize) {
        let open = !self.scopes[index].live && self.is_open(&self.scopes[index]);
        let scope = &mut self.scopes[index];
        scope.was_open |= open;
        let id = scope.id;
        let left = !scope.live && !scope.load.kept && scope.parent.is_some();
        if self.retire(index, left) {
            return;
        }
        let scope = &self.scopes[index];
        let alive = Alive { graceful: Some(scope.graceful), live: Some(scope.live), left };
        self.say_all(&[Event::Tasks(id, alive)]);
    }

    /// Ends a scope at once that is empty and has no hooks, where the machine agrees, as a driver does; one
    /// of two, so that the others take the longer way.
    fn retire(&mut self, index: usize, left: bool) -> bool {
        let scope = &self.scopes[index];
        let quick = scope.load.hooks == 0 && !scope.live && index % 2 == 0;
        let due = self.machine.next_limit().is_some_and(|limit| limit <= self.now);
        let awaited = due || self.machine.is_awaited(scope.id);
        let parent = scope.parent.map_or(scope.id, |parent| self.scopes[parent].id);
        let turn = self.machine.drain_limit(parent);
        if !quick || !self.machine.retire(self.now, scope.id, left) {
            return false;
        }
        let follows = self.machine.has_actions() || self.machine.drain_limit(parent) != turn;
        assert!(awaited || !follows, "what follows has a time: {scope:?}");
        assert_eq!(
            (scope.fire.is_some(), scope.close),
            (scope.cancel.is_some(), None),
            "{scope:?}"
        );
        assert!(left || scope.cancel.is_some(), "{scope:?} takes work");
        self.check_unused(index);
        let now = self.now;
        let scope = &mut self.scopes[index];
        (scope.left, scope.closed, scope.close) = (true, true, Some(now));
        self.end(index);
        if self.watch {
            self.look();
        }
        true
    }

    fn say_all(&mut self, events: &[Event]) {
        self.machine.handle_all(self.now, events.iter().copied());
        if self.watch {
            self.look();
        }
    }

    /// Phases only advance; limits are noted for later.
    pub fn look(&mut self) {
        for scope in &mut self.scopes {
            let phase = self.machine.phase(scope.id);
            assert!(phase >= scope.phase, "{scope:?} went back to {phase}");
            if scope.phase >= Phase::Stopped {
                assert_eq!(phase, scope.phase);
            }
            scope.phase = phase;
            let (drain, level) =
                (self.machine.drain_limit(scope.id), self.machine.level_limit(scope.id));
            assert!(drain <= level, "graceful tasks outlast the level: {scope:?}");
            for (before, now) in [(scope.drain_limit, drain), (scope.level_limit, level)] {
                // One that was open has its parent's.
                let less = before.is_none() || now.is_none() || now <= before;
                assert!(less || scope.load.kept || scope.was_open, "more time: {scope:?}");
            }
            scope.drain_limit = drain.or(scope.drain_limit);
            scope.level_limit = level.or(scope.level_limit);
        }
    }

    pub fn act(&mut self) {
        while let Some(action) = self.machine.next_action() {
            if let Action::End(id) = action {
                self.machine.ended(id);
            }
            assert_eq!(self.finished, None, "{action:?} after the end");
            self.log.push((self.now, action));
            match action {
                Action::LameDuck => {
                    assert!(!self.limits.lame_duck.is_zero() && self.ending.is_none());
                }
                Action::Fire(id) => self.fire(self.by_id[&id]),
                Action::Cancel(id) => self.cancel(self.by_id[&id]),
                Action::CutOff(id) => self.cut_off(self.by_id[&id]),
                Action::Close(id) => self.close(self.by_id[&id]),
                Action::End(id) => self.end(self.by_id[&id]),
                Action::Finish => self.finish(),
            }
        }
        if self.watch && self.finished.is_none() {
            self.look_for_idle();
        }
    }

    /// Nothing is kept for nobody: what has been told, and is waited for by none, is cancelled once there is
    /// nothing above that it takes work for, or once it was asked to stop itself.
    fn look_for_idle(&self) {
        for (index, scope) in self.scopes.iter().enumerate().skip(1) {
            if self.is_idle(index) {
                assert!(!scope.asked && self.follows(index), "kept for nobody: {scope:?}");
            }
        }
    }

    /// It has been told and is not cancelled, and nothing graceful is in it or below it.
    fn is_idle(&self, index: usize) -> bool {
        let scope = &self.scopes[index];
        let begun = scope.fire.is_some() && scope.cancel.is_none() && scope.close.is_none();
        let inner = |inner: usize| self.scopes[inner].end.is_some() || self.is_idle(inner);
        let inside = |other: &usize| self.scopes[*other].parent == Some(index);
        begun && !scope.graceful && (0..self.scopes.len()).filter(inside).all(inner)
    }

    /// There is something above that it takes work for: a parent that has been told, or a scope that it needs
    /// and that has yet to be told of the stop that took both along.
    fn follows(&self, index: usize) -> bool {
        let scope = &self.scopes[index];
        let begun = |scope: &Seen| scope.fire.is_some() || scope.close.is_some();
        let parent = scope.parent.map(|parent| &self.scopes[parent]);
        let mut needs = scope.needs.iter();
        parent.is_some_and(begun)
            || needs.any(|&need| !begun(&self.scopes[need]) && self.is_asked(need))
    }

    /// A stop has reached it: its own, its parent's, or that of a scope that it needs.
    fn is_asked(&self, index: usize) -> bool {
        let scope = &self.scopes[index];
        let own = if index == 0 { scope.fire.is_some() } else { scope.asked };
        let mut above = scope.needs.iter().chain(&scope.parent);
        own || above.any(|&above| self.is_asked(above))
    }

    /// Nothing waits for this scope any longer, as far as can be seen from here.
    pub fn went(&self, scope: &Seen) -> bool {
        scope.end.is_some()
            || scope.level_limit.is_some_and(|limit| self.now >= limit)
            || self.cut_off_came()
    }

    /// It has no task, and takes work for as long as its parent does: nobody waits for it.
    fn is_open(&self, scope: &Seen) -> bool {
        let index = self.by_id[&scope.id];
        let mut inside = self.scopes.iter().filter(|other| other.parent == Some(index));
        let kept = (scope.load.kept || scope.live) && !scope.left && scope.fire.is_some();
        let idle = !scope.live || scope.was_open && !scope.graceful && scope.cancel.is_none();
        kept && idle && inside.all(|inner| self.went(inner) || self.is_open(inner))
    }

    pub fn cut_off_came(&self) -> bool {
        self.host_cut
            || self.ending.is_some_and(|[cut_off, _]| self.now >= cut_off)
            || (self.first_stop).is_some_and(|stop| {
                self.now >= stop.saturating_add(self.limits.cut_off.min(self.limits.deadline))
            })
    }

    pub fn deadline_came(&self) -> bool {
        self.host_cut
            || self.ending.is_some_and(|[_, deadline]| self.now >= deadline)
            || (self.first_stop)
                .is_some_and(|stop| self.now >= stop.saturating_add(self.limits.deadline))
    }

    pub fn fire(&mut self, index: usize) {
        let scope = &self.scopes[index];
        assert_eq!((scope.fire, scope.cancel, scope.close, scope.end), (None, None, None, None));
        if self.watch && self.ordered {
            for dependent in self.scopes.iter().filter(|other| other.needs.contains(&index)) {
                assert!(self.went(dependent), "{scope:?} before {dependent:?}");
            }
        }
        let load = scope.load;
        self.scopes[index].fire = Some(self.now);
        if load.graceful > 0 {
            self.at(load.graceful, Later::Drained(index));
        }
        // One of two that can be is cancelled at once.
        let plain = self.scopes[index].live && !self.scopes[index].graceful && index % 2 == 0;
        if plain && index > 0 && self.machine.cancel_at_once(self.now, self.scopes[index].id) {
            if self.watch {
                self.look();
            }
            return self.cancel(index);
        }
        // One of two that can be is known to drain at once.
        let scope = &self.scopes[index];
        if scope.graceful && index > 0 && index % 2 == 0 && self.machine.drains(self.now, scope.id)
        {
            return self.look_if_watched();
        }
        self.say_tasks(index);
    }

    fn look_if_watched(&mut self) {
        if self.watch {
            self.look();
        }
    }

    pub fn cancel(&mut self, index: usize) {
        let scope = &self.scopes[index];
        assert!(scope.fire.is_some());
        assert_eq!((scope.cancel, scope.close, scope.end), (None, None, None));
        if self.watch {
            let late = scope.late || scope.drain_limit.is_some_and(|limit| self.now >= limit);
            let parent = |other: &&Seen| other.parent == Some(index);
            if scope.graceful {
                assert!(late || self.cut_off_came(), "graceful tasks cancelled: {scope:?}");
            }
            for child in self.scopes.iter().filter(parent) {
                assert!(self.went(child) || self.is_open(child), "{scope:?} before {child:?}");
            }
        }
        let cleanup = scope.load.cleanup;
        let live = scope.live;
        self.scopes[index].cancel = Some(self.now);
        if live && cleanup == 0 {
            let scope = &mut self.scopes[index];
            (scope.graceful, scope.live) = (false, false);
            self.say_tasks(index);
        } else if live {
            self.at(cleanup, Later::Cleaned(index));
        }
    }

    pub fn cut_off(&mut self, index: usize) {
        let scope = &self.scopes[index];
        assert!(scope.cancel.is_some() || scope.close.is_some());
        assert_eq!((scope.cut, scope.end), (None, None));
        assert!(self.cut_off_came(), "cut off early: {scope:?}");
        self.scopes[index].cut = Some(self.now);
    }

    pub fn close(&mut self, index: usize) {
        let scope = &self.scopes[index];
        assert_eq!((scope.close, scope.end), (None, None));
        assert!(scope.cancel.is_some() || scope.left, "closed in full life: {scope:?}");
        assert!(!scope.live || scope.cut.is_some(), "closed with tasks: {scope:?}");
        self.check_unused(index);
        let (id, hooks) = (scope.id, scope.load.hooks);
        self.scopes[index].close = Some(self.now);
        if hooks == 0 {
            self.scopes[index].closed = true;
            self.say(Event::Closed(id));
        } else {
            self.at(hooks, Later::Closed(index));
        }
    }

    /// What ends by itself is used by nobody.
    fn check_unused(&self, index: usize) {
        let scope = &self.scopes[index];
        if self.watch && scope.fire.is_none() {
            for dependent in self.scopes.iter().filter(|other| other.needs.contains(&index)) {
                assert!(self.went(dependent), "{scope:?} ended by itself before {dependent:?}");
            }
        }
    }

    pub fn end(&mut self, index: usize) {
        let scope = &self.scopes[index];
        assert_eq!(scope.end, None);
        if self.watch {
            for child in self.scopes.iter().filter(|other| other.parent == Some(index)) {
                assert!(child.end.is_some(), "{scope:?} ended before {child:?}");
            }
        }
        if !self.deadline_came() {
            assert!(scope.closed, "ended with hooks: {scope:?}");
            assert!(!scope.live || scope.cut.is_some(), "ended with tasks: {scope:?}");
        }
        self.scopes[index].end = Some(self.now);
    }

    pub fn finish(&mut self) {
        self.finished = Some(self.now);
        if self.forced {
            assert_eq!(self.machine.phase(self.machine.root()), Phase::Forced);
            return;
        }
        assert_eq!(self.machine.phase(self.machine.root()), Phase::Stopped);
        for scope in &self.scopes[1..] {
            assert!(scope.end.is_some(), "finished without {scope:?}");
        }
        assert!(self.scopes[0].closed || self.deadline_came());
        assert_eq!(self.machine.next_limit(), None);
    }

    pub fn at(&mut self, after: u64, what: Later) {
        if after != NEVER {
            self.later.push(Reverse((self.now + ms(after), what)));
        }
    }

    /// Goes on to `until`: tasks end at their times, ticks come at the machine's.
    pub fn advance(&mut self, until: Duration) {
        loop {
            let next = self.later.peek().map(|Reverse((at, _))| *at);
            let limit = self.machine.next_limit();
            match [next, limit].into_iter().flatten().min() {
                Some(at) if at <= until => self.now = self.now.max(at),
                _ => break,
            }
            match next {
                Some(at) if at <= self.now => {
                    let Reverse((_, what)) = self.later.pop().unwrap();
                    self.happen(what);
                }
                _ => self.tell(Event::Tick),
            }
        }
        self.now = self.now.max(until);
    }

    pub fn happen(&mut self, what: Later) {
        let (Later::Drained(index) | Later::Cleaned(index) | Later::Closed(index)) = what;
        let scope = &mut self.scopes[index];
        let id = scope.id;
        match what {
            Later::Drained(_) if scope.cancel.is_none() => {
                scope.graceful = false;
                scope.live = scope.load.plain;
                // One of two that can be is cancelled in the same step.
                let plain = scope.live && index > 0 && index % 2 == 0;
                if plain && self.machine.cancel_drained(self.now, id) {
                    self.look_if_watched();
                    self.cancel(index);
                } else {
                    self.say_tasks(index);
                }
                self.act();
            }
            Later::Drained(_) => {}
            Later::Cleaned(_) => {
                (scope.graceful, scope.live) = (false, false);
                self.say_tasks(index);
                self.act();
            }
            Later::Closed(_) => {
                scope.closed = true;
                self.tell(Event::Closed(id));
            }
        }
    }

    pub fn end_at(&self, index: usize) -> Option<u64> {
        self.scopes[index].end.map(|at| at.as_millis() as u64)
    }

    /// The times of `Fire`, `Cancel` and `Close`.
    pub fn times(&self, index: usize) -> [Option<u64>; 3] {
        let scope = &self.scopes[index];
        [scope.fire, scope.cancel, scope.close].map(|at| at.map(|at| at.as_millis() as u64))
    }
}

/// Whether what the scopes wait for can be put in an order: fire and end of each, as (scope, 0 | 1).
pub fn is_ordered(scopes: &[Seen]) -> bool {
    let count = scopes.len();
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); 2 * count];
    for (index, scope) in scopes.iter().enumerate() {
        let (fire, end) = (2 * index, 2 * index + 1);
        after[fire].push(end);
        if let Some(parent) = scope.parent {
            after[2 * parent].push(fire);
            after[end].push(2 * parent + 1);
        }
        for &need in &scope.needs {
            if !is_above(scopes, need, index) {
                after[end].push(2 * need);
            }
        }
    }
    let mut open = vec![0; 2 * count];
    for &next in after.iter().flatten() {
        open[next] += 1;
    }
    let mut ready: Vec<usize> = (0..2 * count).filter(|&at| open[at] == 0).collect();
    let mut done = 0;
    while let Some(at) = ready.pop() {
        done += 1;
        for &next in &after[at] {
            open[next] -= 1;
            if open[next] == 0 {
                ready.push(next);
            }
        }
    }
    done == 2 * count
}

pub fn is_above(scopes: &[Seen], above: usize, mut index: usize) -> bool {
    while let Some(parent) = scopes[index].parent {
        if parent == above {
            return true;
        }
        index = parent;
    }
    false
}

/// A scope to open: which of those that there are is its parent, which it needs, what is in it. The
/// numbers are taken modulo how many there are.
pub type Plan = (usize, Vec<usize>, Load);

/// What happens to a program, in the order of time.
#[derive(Clone, Debug)]
pub enum Step {
    Wait(u64),
    Stop(usize),
    Left(usize),
    /// A graceful task of so many milliseconds comes into a scope that takes one; every third is a
    /// plain one.
    Spawn(usize, u64),
    Open(Plan),
    CutOff,
    Deadline,
    /// The system ends the process within so many milliseconds.
    EndsWithin(u64),
    Force,
}

impl Sim {
    /// Opens a scope; its needs are reduced to real ones.
    pub fn open_plan(&mut self, (parent, needs, load): &Plan) {
        let count = self.scopes.len();
        let needs: Vec<_> = needs.iter().map(|need| need % count).collect();
        if let Some(index) = self.open(parent % count, &needs, *load) {
            let mut needs = std::mem::take(&mut self.scopes[index].needs);
            needs.retain(|&need| !is_above(&self.scopes, need, index));
            self.scopes[index].needs = needs;
            self.ordered &= is_ordered(&self.scopes);
        }
    }

    pub fn step(&mut self, step: &Step) {
        let count = self.scopes.len();
        // Some have come to be open by the time alone: what was below them is overdue.
        for index in 0..count {
            let open = !self.scopes[index].live && self.is_open(&self.scopes[index]);
            self.scopes[index].was_open |= open;
        }
        match step {
            Step::Wait(millis) => self.advance(self.now.saturating_add(ms(*millis))),
            Step::Stop(at) => self.stop(at % count),
            Step::Left(at) => {
                let scope = &mut self.scopes[at % count];
                // Only an empty scope is left.
                if !scope.live && scope.parent.is_some() {
                    scope.left = true;
                    let id = scope.id;
                    match self.retire(at % count, true) {
                        true => self.act(),
                        false => self.tell(left(id)),
                    }
                }
            }
            Step::Spawn(at, millis) => self.spawn(at % count, *millis),
            Step::Open(plan) => self.open_plan(plan),
            Step::CutOff => self.tell(Event::CutOff),
            Step::Deadline => self.tell(Event::Deadline),
            Step::EndsWithin(millis) => self.tell(Event::EndsWithin(ms(*millis))),
            Step::Force => self.tell(Event::Force),
        }
    }

    /// Spawns as a driver does: while the machine says that the scope drains, or before.
    pub fn spawn(&mut self, index: usize, millis: u64) {
        let scope = &mut self.scopes[index];
        let takes = scope.load.kept && !scope.left && !scope.graceful;
        if !takes || self.machine.phase(scope.id) > Phase::Draining {
            return;
        }
        // It may have come to be open since it was told: by the end of what was below it.
        let open = !self.scopes[index].live && self.is_open(&self.scopes[index]);
        let scope = &mut self.scopes[index];
        scope.was_open |= open;
        scope.live = true;
        if millis % 3 == 0 {
            scope.load.plain = true;
            if scope.fire.is_some() {
                self.say_tasks(index);
                self.act();
            }
            return;
        }
        scope.graceful = true;
        if scope.fire.is_none() {
            scope.load.graceful = millis.max(1);
            return;
        }
        self.at(millis.max(1), Later::Drained(index));
        self.say_tasks(index);
        self.act();
    }

    /// Stops the program, and checks that it is over by its deadline, once.
    pub fn run_to_the_end(&mut self) {
        self.stop(0);
        self.advance(self.now + self.limits.deadline.min(ms(1 << 40)));
        let finished = self.finished.expect("it never finished");
        if let (Some(start), false) = (self.machine.stop_time(), self.host_cut) {
            let own = start.saturating_add(self.limits.deadline);
            let ending = self.ending.map_or(own, |[_, deadline]| deadline.max(start));
            let deadline = own.min(ending);
            assert!(finished <= deadline, "finished at {finished:?}, not by {deadline:?}");
        }
        let finishes = self.log.iter().filter(|(_, action)| *action == Action::Finish);
        assert_eq!(finishes.count(), 1);
    }
}

/// A driver that says anything about any scope at any time.
#[derive(Debug)]
pub struct Nonsense {
    pub machine: Machine,
    /// Every scope that was ever opened, the root first.
    pub ids: Vec<ScopeId>,
    /// The step that each has taken, 1 to 5, and 16 once it was cut off.
    ranks: HashMap<ScopeId, u8>,
    phases: HashMap<ScopeId, Phase>,
    deadline: Option<Duration>,
    ends: bool,
    finished: bool,
}

impl Nonsense {
    pub fn new(limits: Limits) -> Nonsense {
        let machine = Machine::new(limits);
        let ids = vec![machine.root()];
        let (ranks, phases) = Default::default();
        Nonsense { machine, ids, ranks, phases, deadline: None, ends: false, finished: false }
    }

    pub fn open(&mut self, now: Duration, parent: ScopeId, needs: &[ScopeId]) {
        self.ids.extend(self.machine.open(now, parent, needs));
        self.look();
    }

    /// Ends a scope at once, if the machine agrees: no action of it comes any more.
    pub fn retire(&mut self, now: Duration, id: ScopeId, left: bool) {
        if self.machine.retire(now, id, left) {
            let rank = self.ranks.insert(id, 5).unwrap_or(0);
            assert!(rank == 3 || rank == 0 && left, "{id:?} at {rank}");
        }
        self.look();
    }

    pub fn say(&mut self, now: Duration, event: Event) {
        self.ends |= matches!(event, Event::EndsWithin(_));
        self.machine.handle(now, event);
        self.look();
    }

    /// Takes so many actions; checks that each scope's come once and in their order.
    pub fn take(&mut self, count: usize) {
        for _ in 0..count {
            let Some(action) = self.machine.next_action() else { break };
            if let Action::End(id) = action {
                self.machine.ended(id);
            }
            assert!(!self.finished, "{action:?} after the end");
            let (id, rank) = match action {
                Action::LameDuck => (self.ids[0], 1),
                Action::Fire(id) => (id, 2),
                Action::Cancel(id) => (id, 3),
                Action::CutOff(id) => {
                    // Anywhere between Cancel (or a natural Close) and the end, once.
                    let rank = self.ranks.entry(id).or_default();
                    assert!(*rank & 15 >= 3 && *rank < 16, "{action:?} after {rank}");
                    *rank += 16;
                    continue;
                }
                Action::Close(id) => (id, 4),
                Action::End(id) => (id, 5),
                Action::Finish => {
                    self.finished = true;
                    continue;
                }
            };
            let last = self.ranks.entry(id).or_default();
            assert!(*last & 15 < rank, "{action:?} after {last}");
            *last = (*last & 16) + rank;
        }
    }

    /// Phases only advance and limits are instants; the deadline, once set, stays, or comes nearer where
    /// the process ends.
    fn look(&mut self) {
        for &id in &self.ids {
            let phase = self.machine.phase(id);
            let before = self.phases.insert(id, phase).unwrap_or(Phase::Running);
            assert!(before <= phase, "{id:?}: from {before} to {phase}");
            assert!(before < Phase::Stopped || before == phase);
        }
        if let Some(limit) = self.machine.next_limit() {
            assert!(limit < Duration::MAX);
        }
        let deadline = self.machine.deadline();
        if self.deadline.is_some() && self.deadline != deadline {
            assert!(
                self.ends && deadline < self.deadline,
                "from {:?} to {deadline:?}",
                self.deadline
            );
        }
        assert_eq!(deadline.is_some(), self.machine.is_stopping());
        assert!(self.machine.cut_off() <= deadline);
        self.deadline = deadline;
    }

    /// The deadline ends it, whatever was said.
    pub fn run_to_the_end(&mut self, now: Duration) {
        self.take(usize::MAX);
        self.say(now, Event::Deadline);
        self.take(usize::MAX);
        assert!(self.finished);
        assert!(self.machine.phase(self.ids[0]) >= Phase::Stopped);
        assert_eq!(self.machine.next_limit(), None);
        assert_eq!(self.machine.open(now, self.ids[0], &[]), None);
    }
}
