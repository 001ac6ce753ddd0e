//! The phases of a program and of its scopes: a pure state machine.
//!
//! [`Machine`] decides what happens when, and does nothing itself: [`Event`]s and the time go in,
//! [`Action`]s come out. It has no clock, no thread and no executor. One driver runs its actions:
//!
//! 1. tell it what happened: [`Machine::handle`], [`Machine::open`];
//! 2. take every action, in order, and do it: [`Machine::next_action`]. An action may be answered
//!    from within (a scope that fires and has no tasks says so at once);
//! 3. send [`Event::Tick`] when [`Machine::next_limit`] has come.
//!
//! # One scope
//!
//! ```text
//!  Running ── Fire ──▶ Draining ── Cancel ──▶ Cancelling ── Close ──▶ Closing ── End ──▶ Stopped
//!     └───────────────── Left: it ends by itself ──── Close ────────────▲
//! ```
//!
//! The root has LameDuck between Running and Draining, if that span is not zero; it says `Finish`
//! where others say `End`; and it can be Forced from anywhere. `CutOff` may come once anywhere
//! between `Cancel` and the end.
//!
//! # A tree of scopes
//!
//! A scope *fires* once its parent has fired and its dependents have ended: tokens fire at once in
//! every scope that nothing still running depends on, a parent's together with its children's. Its
//! *turn* begins once its children have ended too; until then its tasks go on. From the start of
//! its turn it has a share of the time that is left: with k levels from it to the top of the stop,
//! 1/k of the time to the cut-off, and its drain limit in proportion. What it leaves unused passes
//! on. A scope that is still there when its share is over is *overdue*: its parent and what it
//! depends on go ahead, but its tasks have until the cut-off.
//!
//! Whoever stops a scope also stops the scopes that depend on it, since they need it.
//!
//! Dependencies are declared when a scope is opened, so they have no cycle of their own. With the
//! tree they can: a child of A that depends on B beside a child of B that depends on A. A cycle
//! through parents is treated as no order: when nothing else is going on, one scope of the cycle
//! fires although its dependents have not ended.
//!
//! # Invariants
//!
//! 1. Phases only advance; Stopped and Forced are absorbing.
//! 2. Every scope sees `Fire`, `Cancel`, `Close`, `End` at most once each and in this order
//!    (`Close` again where it was answered with `Occupied`), and `End` whatever happens, unless the
//!    program is forced. (`Close` alone if it ends by itself; no `Close` after the deadline.)
//! 3. Within a stop a scope fires after the scopes that depend on it have ended or are overdue.
//! 4. `Close` comes when no task of the scope is alive or after its `CutOff`; `End` when its hooks
//!    are over and its children have ended, or at the deadline.
//! 5. `Finish` comes exactly once, as the last action, by the deadline if the time is told.
//! 6. No event can make it panic: a stale id, an answer given twice and a clock that goes backwards
//!    are ignored.
//!
//! # Cost
//!
//! Constant for each event and each scope that it moves (amortised), whatever the depth: nothing
//! recurses. A stop sorts the scopes that it reaches by age, which is their order of levels. While
//! the root waits for nothing but empty scopes that were opened during the stop, each event looks at
//! all scopes; it then goes ahead of them, so that this does not last.

mod limits;
mod tree;

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::time::Duration;

use slab::Slab;

pub use self::limits::Limits;
use self::limits::{Agenda, NEVER};
use self::tree::{Node, ROOT, Tree};

/// Names one scope of one machine.
///
/// An index that is used again, and a serial number by which a stale id is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ScopeId {
    index: u32,
    serial: u32,
}

impl ScopeId {
    /// Returns the index of the scope: small, the root's 0, and not used for another scope before
    /// the driver has said that this one has [`ended`](Machine::ended).
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// How far a scope, or the program, has come. The order is the rank: phases only advance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Phase {
    /// At work. A scope that was asked to stop and waits for its dependents is still running.
    Running,
    /// Readiness is false, everything else goes on. The root only.
    LameDuck,
    /// Stop tokens have fired; graceful tasks are waited for.
    Draining,
    /// Plain and overdue graceful tasks are dropped; the rest is waited for.
    Cancelling,
    /// `on_stopped` hooks run.
    Closing,
    /// It is over.
    Stopped,
    /// It was over at once, by a second request to interrupt. The root only.
    Forced,
}

/// What the driver tells the machine. Events about a scope that has ended are ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The scope shall stop, and whatever depends on it; the root is the program. Asking again
    /// changes nothing.
    Stop(ScopeId),
    /// Whether a graceful task of the scope is alive. Told after [`Action::Fire`] and, from then
    /// on, at each change; before `Live` where both change.
    Graceful(ScopeId, bool),
    /// Whether any task or blocking job of the scope is alive. Told after [`Action::Fire`] and,
    /// from then on, at each change. `true` also takes back a `Left`.
    Live(ScopeId, bool),
    /// The `on_stopped` hooks of the scope are over: the answer to [`Action::Close`].
    Closed(ScopeId),
    /// The answer to [`Action::Close`] when a task has been spawned since that was decided: it is
    /// said again once the scope's tasks are gone, or cut off.
    Occupied(ScopeId),
    /// Nobody can spawn into the scope any more: it has no handle and no task. While it is running
    /// it then ends by itself, after its children. Not for the root, whose end is a stop.
    Left(ScopeId),
    /// Time has passed. Every event looks at the limits; this one does nothing else.
    Tick,
    /// The host's clock says that the cut-off of the program's stop has come, whatever `now` says.
    /// Ignored while no stop of the program is requested.
    CutOff,
    /// The host's clock says that the deadline has come: everything ends now.
    Deadline,
    /// Forced at once.
    Force,
}

/// What the machine tells the driver to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Turn readiness false. Once, and only if there is a lame duck phase.
    LameDuck,
    /// The scope is Draining: fire its stop token (and run the root's `on_stop` hooks), then answer
    /// [`Event::Graceful`] and [`Event::Live`].
    Fire(ScopeId),
    /// The scope is Cancelling: drop its plain tasks and its graceful ones that are left.
    Cancel(ScopeId),
    /// The time of the scope is over with tasks alive: record them as stragglers and drop those
    /// that the executor can. They are not waited for any longer.
    CutOff(ScopeId),
    /// The scope is Closing: run its `on_stopped` hooks, then answer [`Event::Closed`]. Answer
    /// [`Event::Occupied`] instead if it has a task again.
    Close(ScopeId),
    /// The scope is Stopped, its children before it: forget it, then say that it has
    /// [`ended`](Machine::ended). Never said of the root.
    End(ScopeId),
    /// The root is Stopped or Forced. Exactly once, and the last action.
    Finish,
}

/// The state machine of one program. See the [module](self).
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    /// The latest time told.
    now: Duration,
    tree: Tree,
    stops: Slab<Stop>,
    /// T0 of the program, and its stop.
    program: Option<(Duration, usize)>,
    agenda: Agenda<Due>,
    /// Scopes to be looked at; empty between calls.
    work: VecDeque<u32>,
    actions: VecDeque<Action>,
    /// Scopes whose turn has begun and that are still waited for.
    active: usize,
    /// Scopes that were asked to stop and have not fired.
    unfired: usize,
    /// Scopes that only their dependents kept from firing when they were looked at; some may have
    /// fired since.
    blocked: Vec<u32>,
    /// Scopes below the root in which something goes on.
    occupied: usize,
    /// Scopes that were opened during a stop and have not ended.
    newcomers: usize,
    finished: bool,
}

/// One stop: of the program, or of one scope and what depends on it.
///
/// They come in the order of their requests and have the same spans, so an earlier one has the
/// earlier limits. Below a scope of a stop there are only scopes of the same or of earlier stops.
#[derive(Debug)]
struct Stop {
    cut_off: Duration,
    deadline: Duration,
    /// The cut-off has been taken from the agenda.
    cut: bool,
    /// The deadline has been taken from the agenda.
    over: bool,
    alive: usize,
    members: Vec<ScopeId>,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    Scope(ScopeId),
    LameDuck,
    CutOff(usize),
    Deadline(usize),
}

impl Action {
    /// Returns the scope that it is about.
    pub(crate) fn scope(self) -> Option<ScopeId> {
        match self {
            Action::Fire(id)
            | Action::Cancel(id)
            | Action::CutOff(id)
            | Action::Close(id)
            | Action::End(id) => Some(id),
            Action::LameDuck | Action::Finish => None,
        }
    }
}

impl Machine {
    /// Returns a machine whose root is running. Time starts at zero.
    pub fn new(limits: Limits) -> Machine {
        Machine {
            limits: limits.clamped(),
            now: Duration::ZERO,
            tree: Tree::new(),
            stops: Slab::new(),
            program: None,
            agenda: Agenda::new(),
            work: VecDeque::new(),
            actions: VecDeque::new(),
            active: 0,
            unfired: 0,
            blocked: Vec::new(),
            occupied: 0,
            newcomers: 0,
            finished: false,
        }
    }

    /// Returns the root: the program.
    pub fn root(&self) -> ScopeId {
        self.tree.id(ROOT)
    }

    /// Opens a scope, or returns `None` if `parent` has ended.
    ///
    /// The new scope stops before the scopes that it depends on. Left out of these: those that have
    /// ended or fired, and its own ancestors, which stop after it anyway.
    ///
    /// A scope that is opened into a stop joins it. If its parent has fired, it fires at once; if
    /// its parent is Cancelling or Closing, so is it cancelled at once. Being empty does not end
    /// such a scope, so that a cleanup can spawn into it: it goes on until it has had a task
    /// ([`Event::Live`]), is left ([`Event::Left`]), or its time is over. It also joins the stop of
    /// a scope that it depends on and that waits to fire.
    ///
    /// A parent that is still Draining keeps its limits and is not cancelled before the new scope
    /// has ended or is overdue. The exception: when nothing goes on in the program but tasks
    /// that are yet to be cancelled, scopes that have had no task so far are passed over.
    pub fn open(
        &mut self,
        now: Duration,
        parent: ScopeId,
        depends_on: &[ScopeId],
    ) -> Option<ScopeId> {
        self.now = self.now.max(now);
        if self.finished {
            return None;
        }
        let parent = self.tree.find(parent)?;
        let index = self.tree.open(parent, depends_on)?;
        let levels = self.tree.levels(index);
        let (phase, stop) = (self.tree[parent].phase, self.tree[parent].stop);
        let node = &self.tree[index];
        let stops = node.needs.iter().map(|edge| self.tree[edge.node].stop);
        let earliest = stops.chain([stop]).flatten().min_by_key(|&stop| {
            let stop = &self.stops[stop as usize];
            (stop.cut_off, stop.deadline)
        });
        let node = &mut self.tree[index];
        node.levels = levels;
        node.top = stop.is_none();
        node.fresh = phase >= Phase::Draining || (node.top && earliest.is_some());
        node.newcomer = node.fresh;
        self.newcomers += usize::from(node.fresh);
        if let Some(stop) = earliest {
            self.join(index, stop);
        }
        if phase >= Phase::Cancelling {
            self.fire(index);
            self.cancel(index);
        }
        self.work.push_back(index);
        self.work.push_back(parent);
        self.settle_all();
        Some(self.tree.id(index))
    }

    /// Takes in what happened at `now`, the time since the machine's epoch.
    ///
    /// A time before the latest one told counts as that one. The event is looked at before the
    /// limits: what ended in the instant of its limit was in time.
    pub fn handle(&mut self, now: Duration, event: Event) {
        self.handle_all(now, [event]);
    }

    /// The same for several events of one instant, of which each is seen before the consequences of
    /// any.
    pub fn handle_all(&mut self, now: Duration, events: impl IntoIterator<Item = Event>) {
        self.now = self.now.max(now);
        for event in events {
            if self.finished {
                return;
            }
            self.take_in(event);
        }
        self.run();
    }

    /// Takes the next action, in the order in which they were decided.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Says that [`Action::End`] was performed: the scope's place may be used again.
    pub fn ended(&mut self, scope: ScopeId) {
        self.tree.free(scope);
    }

    /// Returns the next instant at which [`Event::Tick`] changes something, limits of the cut-off
    /// and the deadline among them; `None` if none will come. Constant time, nearly.
    pub fn next_limit(&self) -> Option<Duration> {
        self.agenda.next()
    }

    /// Returns the phase of a scope: Stopped if it has ended.
    pub fn phase(&self, scope: ScopeId) -> Phase {
        self.tree.get(scope).map_or(Phase::Stopped, |node| node.phase)
    }

    /// Tells whether the program was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.program.is_some()
    }

    /// Returns T0: when the program was asked to stop.
    pub fn stop_time(&self) -> Option<Duration> {
        self.program.map(|(start, _)| start)
    }

    /// Returns the cut-off of the program's stop, [`Duration::MAX`] if it never comes.
    pub fn cut_off(&self) -> Option<Duration> {
        let start = self.stop_time()?;
        Some(start.saturating_add(self.limits.cut_off))
    }

    /// Returns the deadline of the program's stop, [`Duration::MAX`] if it never comes.
    pub fn deadline(&self) -> Option<Duration> {
        let start = self.stop_time()?;
        Some(start.saturating_add(self.limits.deadline))
    }

    /// Tells whether the tasks of a scope are not waited for any longer, since its cut-off.
    pub fn is_cut_off(&self, scope: ScopeId) -> bool {
        self.tree.get(scope).is_none_or(|node| node.cut)
    }

    /// Returns when the graceful tasks of a scope are cancelled, once its turn has begun;
    /// [`Duration::MAX`] if never.
    pub fn drain_limit(&self, scope: ScopeId) -> Option<Duration> {
        let share = self.tree[self.tree.find(scope)?].share?;
        Some(share.drain)
    }

    /// Returns when a scope is overdue, once its turn has begun; [`Duration::MAX`] if never.
    pub fn level_limit(&self, scope: ScopeId) -> Option<Duration> {
        let share = self.tree[self.tree.find(scope)?].share?;
        Some(share.level)
    }
}

/// Requests.
impl Machine {
    fn take_in(&mut self, event: Event) {
        match event {
            Event::Tick => {}
            Event::Stop(id) => {
                if id == self.root() {
                    self.stop_program(self.limits.lame_duck);
                } else if let Some(index) = self.tree.find(id) {
                    self.stop_scope(index);
                }
            }
            Event::Graceful(id, alive) => self.change(id, |node| node.graceful = Some(alive)),
            Event::Live(id, alive) => self.change(id, |node| {
                node.live = Some(alive);
                node.left &= !alive;
                node.fresh &= !alive;
            }),
            Event::Closed(id) => self.change(id, |node| node.closed = node.phase == Phase::Closing),
            Event::Occupied(id) => self.change(id, |node| {
                if node.phase == Phase::Closing && !node.cut {
                    (node.live, node.postponed) = (Some(true), true);
                }
            }),
            Event::Left(id) => self.change(id, |node| {
                node.left = true;
                node.fresh = false;
            }),
            Event::CutOff => {
                if self.program.is_some() {
                    self.proceed();
                    let stops = self.open_stops(|stop| !stop.cut);
                    self.sweep(&stops);
                }
            }
            Event::Deadline => {
                self.stop_program(Duration::ZERO);
                self.proceed();
                let stops = self.open_stops(|_| true);
                self.give_up(&stops);
            }
            Event::Force => {
                self.actions.clear();
                self.finish(Phase::Forced);
            }
        }
    }

    fn change(&mut self, id: ScopeId, change: impl FnOnce(&mut Node)) {
        if let Some(index) = self.tree.find(id) {
            change(&mut self.tree[index]);
            if self.work.back() != Some(&index) {
                self.work.push_back(index);
            }
        }
    }

    fn stop_program(&mut self, lame_duck: Duration) {
        if self.program.is_some() {
            return;
        }
        self.program = Some((self.now, self.new_stop()));
        if lame_duck.is_zero() {
            self.proceed();
        } else {
            self.tree[ROOT].phase = Phase::LameDuck;
            self.actions.push_back(Action::LameDuck);
            let end = self.now.saturating_add(lame_duck);
            self.agenda.add(end, Due::LameDuck);
            self.tree[ROOT].armed = Some(end);
        }
    }

    /// Starts the stop of the program itself, once it was requested and its lame duck phase is over.
    fn proceed(&mut self) {
        if let Some((_, stop)) = self.program {
            if self.tree[ROOT].stop.is_none() {
                self.disarm(ROOT);
                self.request(ROOT, stop as u32);
            }
        }
    }

    fn stop_scope(&mut self, index: u32) {
        if self.tree[index].stop.is_some() {
            return;
        }
        let stop = match self.program {
            Some((_, stop)) => stop, // lame duck: the program's limits are the earlier ones
            None => self.new_stop(),
        };
        self.request(index, stop as u32);
    }

    fn new_stop(&mut self) -> usize {
        let cut_off = self.now.saturating_add(self.limits.cut_off);
        let deadline = self.now.saturating_add(self.limits.deadline);
        let key = self.stops.insert(Stop {
            cut_off,
            deadline,
            cut: false,
            over: false,
            alive: 0,
            members: Vec::new(),
        });
        self.agenda.add(cut_off, Due::CutOff(key));
        self.agenda.add(deadline, Due::Deadline(key));
        key
    }

    /// Asks a scope to stop, with all that is below it or depends on it.
    ///
    /// Scopes that an earlier stop reached stay in that, but have more levels to the top now.
    fn request(&mut self, top: u32, stop: u32) {
        let mut found = Vec::new();
        let mut next = vec![top];
        self.tree[top].marked = true;
        while let Some(index) = next.pop() {
            let node = &self.tree[index];
            found.push((node.born, index));
            let start = next.len();
            next.extend(&node.children);
            next.extend(node.dependents.iter().map(|edge| edge.node));
            let mut kept = start;
            for at in start..next.len() {
                let reached = &mut self.tree[next[at]];
                if !reached.marked {
                    reached.marked = true;
                    next[kept] = next[at];
                    kept += 1;
                }
            }
            next.truncate(kept);
        }
        found.sort_unstable();

        for (_, index) in found {
            let levels = self.tree.levels(index);
            let top = index == ROOT || self.tree[self.tree[index].parent].stop.is_none();
            let node = &mut self.tree[index];
            node.marked = false;
            let more = levels > node.levels;
            node.levels = levels;
            match (node.stop, node.share) {
                (None, _) => {
                    node.top = top;
                    // The others are looked at when their parent fires.
                    if top || node.phase > Phase::LameDuck {
                        self.work.push_back(index);
                    }
                    self.join(index, stop);
                }
                (Some(own), Some(share)) if more => {
                    let cut_off = self.stops[own as usize].cut_off;
                    let less = self.limits.share(self.now, cut_off, levels);
                    node.share = Some(share.min(less));
                    self.work.push_back(index);
                }
                _ => {}
            }
        }
    }

    fn join(&mut self, index: u32, stop: u32) {
        let id = self.tree.id(index);
        let node = &mut self.tree[index];
        node.stop = Some(stop);
        if node.phase <= Phase::LameDuck {
            self.unfired += 1;
        }
        let stop = &mut self.stops[stop as usize];
        stop.alive += 1;
        // Scopes that come and go during a long stop leave nothing behind.
        if stop.members.len() >= 64 && stop.members.len() / 2 > stop.alive {
            stop.members.retain(|&id| self.tree.find(id).is_some());
        }
        stop.members.push(id);
    }
}

/// Transitions.
impl Machine {
    /// Does what is to do now: follows every consequence, and every limit that has come.
    fn run(&mut self) {
        loop {
            self.settle_all();
            let Some((at, due)) = self.agenda.take_due(self.now) else {
                return;
            };
            let (mut cut, mut over) = (Vec::new(), Vec::new());
            for due in due {
                match due {
                    Due::Scope(id) => {
                        if let Some(index) = self.tree.find(id) {
                            let node = &mut self.tree[index];
                            if node.armed == Some(at) {
                                node.armed = None;
                                self.work.push_back(index);
                            }
                        }
                    }
                    Due::LameDuck => {
                        let root = &mut self.tree[ROOT];
                        if root.stop.is_none() {
                            root.armed = None;
                            self.proceed();
                        }
                    }
                    Due::CutOff(key) => {
                        if let Some(stop) = self.stops.get_mut(key) {
                            if stop.cut_off == at && !stop.cut {
                                stop.cut = true;
                                // Late: the deadline does all of it, and closes nothing.
                                if stop.deadline > self.now {
                                    cut.push(key);
                                }
                            }
                        }
                    }
                    Due::Deadline(key) => {
                        if let Some(stop) = self.stops.get_mut(key) {
                            if stop.deadline == at && !stop.over {
                                stop.over = true;
                                over.push(key);
                            }
                        }
                    }
                }
            }
            // A scope's own limit comes before a cut-off of the same instant.
            self.settle_all();
            self.sweep(&cut);
            self.settle_all();
            self.give_up(&over);
        }
    }

    fn settle_all(&mut self) {
        loop {
            while let Some(index) = self.work.pop_front() {
                self.settle(index);
                self.count(index);
            }
            if self.waits_for_fresh_only() && self.pass_over_fresh() {
                continue;
            }
            if self.unfired == 0 {
                self.blocked.clear();
                return;
            }
            if self.active > 0 {
                return;
            }
            let Some(index) = self.in_cycle() else {
                return;
            };
            self.fire(index);
            self.work.push_back(index);
        }
    }

    /// Notes whether something goes on in a scope.
    fn count(&mut self, index: u32) {
        if index == ROOT || !self.tree.contains(index) {
            return;
        }
        let node = &mut self.tree[index];
        let occupied = node.is_occupied();
        if occupied != mem::replace(&mut node.counted, occupied) {
            match occupied {
                true => self.occupied += 1,
                false => self.occupied -= 1,
            }
        }
    }

    /// Whether nothing but empty scopes that were opened during the stop keeps the root draining.
    /// Who could spawn into them is a task above, perhaps, which is cancelled only after them: to
    /// wait for one another would take until the limit.
    fn waits_for_fresh_only(&self) -> bool {
        let root = &self.tree[ROOT];
        root.phase == Phase::Draining
            && root.busy > 0
            && root.graceful == Some(false)
            && self.occupied == 0
            && self.newcomers > 0
    }

    /// Cancels such scopes, as if they had been opened a little later, and goes ahead of them and of
    /// what only waits for them. They are still waited for at the end. Returns whether there were
    /// any.
    fn pass_over_fresh(&mut self) -> bool {
        let mut any = false;
        // Children before their parents: what has a scope in it that still has its turn waits for it.
        let mut indices = self.tree.indices();
        indices.sort_unstable_by_key(|&index| std::cmp::Reverse(self.tree[index].born));
        for index in indices {
            let node = &self.tree[index];
            if index == ROOT || node.released || node.busy > 0 || node.is_occupied() {
                continue;
            }
            match node.phase {
                Phase::Draining if node.fresh => self.cancel(index),
                Phase::Cancelling if node.fresh => {}
                Phase::Closing => {} // its hooks are over
                _ => continue,
            }
            self.release(index);
            any = true;
        }
        any
    }

    /// Takes one scope as far as it can go.
    fn settle(&mut self, index: u32) {
        let node = &self.tree[index];
        if node.phase <= Phase::LameDuck {
            if node.stop.is_none() {
                if node.left && node.children.is_empty() && index != ROOT {
                    self.tree[index].live = Some(false);
                    self.close(index);
                }
            } else if self.may_fire(index) {
                if self.tree[index].blockers == 0 {
                    self.fire(index);
                } else if !node.listed {
                    self.tree[index].listed = true;
                    self.blocked.push(index);
                }
            }
        }

        let now = self.now;
        let node = &mut self.tree[index];
        if node.phase < Phase::Draining || node.phase >= Phase::Stopped {
            return;
        }
        if let (Some(stop), None, 0, false) = (node.stop, node.share, node.busy, node.released) {
            let cut_off = self.stops[stop as usize].cut_off;
            node.share = Some(self.limits.share(now, cut_off, node.levels));
            self.active += 1;
        }
        if node.phase == Phase::Draining && node.drained(now) {
            self.cancel(index);
        }
        let node = &self.tree[index];
        if node.phase == Phase::Cancelling && node.gone() && !node.fresh {
            let alone = match index {
                ROOT => node.children.is_empty(),
                _ => node.busy == 0,
            };
            if alone {
                self.close(index);
            }
        }
        let node = &mut self.tree[index];
        if node.gone() && mem::take(&mut node.postponed) {
            self.actions.push_back(Action::Close(self.tree.id(index)));
        }
        let node = &self.tree[index];
        if node.phase == Phase::Closing && node.closed && node.gone() && node.children.is_empty() {
            self.end(index);
            return;
        }
        if let Some(level) = self.overdue_at(index) {
            if now >= level {
                self.release(index);
            }
        }
        self.rearm(index);
    }

    /// Whether only dependents can keep the scope from firing.
    fn may_fire(&self, index: u32) -> bool {
        let node = &self.tree[index];
        node.stop.is_some()
            && node.phase <= Phase::LameDuck
            && (node.top || self.tree[self.tree[index].parent].phase >= Phase::Draining)
    }

    fn fire(&mut self, index: u32) {
        let id = self.tree.id(index);
        let node = &mut self.tree[index];
        node.phase = Phase::Draining;
        node.graceful = None;
        node.live = None;
        if node.stop.is_some() {
            self.unfired -= 1;
        }
        self.work.extend(&node.children);
        self.actions.push_back(Action::Fire(id));
    }

    fn cancel(&mut self, index: u32) {
        self.tree[index].phase = Phase::Cancelling;
        self.actions.push_back(Action::Cancel(self.tree.id(index)));
    }

    fn close(&mut self, index: u32) {
        self.tree[index].phase = Phase::Closing;
        self.actions.push_back(Action::Close(self.tree.id(index)));
    }

    /// Lets those go ahead that wait for the scope: it has ended, or is overdue.
    fn release(&mut self, index: u32) {
        let node = &mut self.tree[index];
        if node.released {
            return;
        }
        node.released = true;
        if node.share.is_some() {
            self.active -= 1;
        }
        let parent = node.parent;
        if index != ROOT {
            let parent_node = &mut self.tree[parent];
            parent_node.busy -= 1;
            if parent_node.busy == 0 {
                self.work.push_back(parent);
            }
        }
        for at in 0..self.tree[index].needs.len() {
            let need = self.tree[index].needs[at].node;
            let need_node = &mut self.tree[need];
            need_node.blockers -= 1;
            if need_node.blockers == 0 {
                self.work.push_back(need);
            }
        }
    }

    fn end(&mut self, index: u32) {
        debug_assert!(self.tree[index].children.is_empty());
        self.release(index);
        self.disarm(index);
        self.tree.unlink(index);
        let id = self.tree.id(index);
        let node = &mut self.tree[index];
        node.phase = Phase::Stopped;
        let parent = node.parent;
        self.count(index);
        let node = &mut self.tree[index];
        self.newcomers -= usize::from(mem::take(&mut node.newcomer));
        if let Some(stop) = node.stop {
            self.leave(stop as usize);
        }
        if index == ROOT {
            self.finish(Phase::Stopped);
        } else {
            self.work.push_back(parent);
            self.actions.push_back(Action::End(id));
        }
    }

    /// One scope of a stop has ended; a stop without scopes is over.
    fn leave(&mut self, key: usize) {
        let stop = &mut self.stops[key];
        stop.alive -= 1;
        let program = self.program.is_some_and(|(_, stop)| stop == key);
        if stop.alive == 0 && !program {
            if !stop.cut {
                self.agenda.cancel(stop.cut_off);
            }
            if !stop.over {
                self.agenda.cancel(stop.deadline);
            }
            self.stops.remove(key);
        }
    }

    fn finish(&mut self, phase: Phase) {
        self.tree[ROOT].phase = phase;
        self.actions.push_back(Action::Finish);
        self.finished = true;
        self.active = 0;
        self.unfired = 0;
        self.work.clear();
        self.agenda.clear();
    }

    fn open_stops(&mut self, filter: impl Fn(&Stop) -> bool) -> Vec<usize> {
        let mut keys = Vec::new();
        for (key, stop) in &mut self.stops {
            if filter(stop) {
                if !stop.cut {
                    self.agenda.cancel(stop.cut_off);
                    stop.cut = true;
                }
                keys.push(key);
            }
        }
        keys
    }

    /// Takes the scopes of some stops past their tasks: nothing waits for tasks that live now.
    fn sweep(&mut self, stops: &[usize]) {
        let members = self.members(stops);
        self.fire_all(&members);
        for &index in members.iter().rev() {
            self.abandon(index);
            self.release(index);
        }
        // In this order, which is not that of the work so far: dependents close first.
        for &index in members.iter().rev() {
            self.settle(index);
            self.count(index);
        }
    }

    /// Ends the scopes of some stops, whatever they are doing.
    fn give_up(&mut self, stops: &[usize]) {
        let members = self.members(stops);
        self.fire_all(&members);
        for &index in members.iter().rev() {
            self.abandon(index);
            self.end(index);
        }
    }

    /// The scopes of some stops that have not ended, oldest first.
    fn members(&self, stops: &[usize]) -> Vec<u32> {
        let mut members: Vec<(u64, u32)> = stops
            .iter()
            .filter_map(|&key| self.stops.get(key))
            .flat_map(|stop| &stop.members)
            .filter_map(|&id| self.tree.find(id))
            .map(|index| (self.tree[index].born, index))
            .collect();
        members.sort_unstable();
        members.into_iter().map(|(_, index)| index).collect()
    }

    fn fire_all(&mut self, members: &[u32]) {
        for &index in members {
            if self.tree[index].phase <= Phase::LameDuck {
                self.fire(index);
            }
        }
    }

    fn abandon(&mut self, index: u32) {
        if self.tree[index].phase == Phase::Draining {
            self.cancel(index);
        }
        let id = self.tree.id(index);
        let node = &mut self.tree[index];
        node.fresh = false;
        if !node.gone() {
            node.cut = true;
            self.actions.push_back(Action::CutOff(id));
        }
    }

    /// Nothing is active and some scope waits to fire: finds one of a cycle, its dependents being
    /// what it is that keeps it.
    fn in_cycle(&mut self) -> Option<u32> {
        let start = loop {
            let &last = self.blocked.last()?;
            if self.tree.contains(last) && self.may_fire(last) {
                break last;
            }
            self.blocked.pop();
        };
        Some(self.cycle_from(start).unwrap_or(start))
    }

    fn cycle_from(&self, start: u32) -> Option<u32> {
        // Floyd's: one walks at twice the speed of the other, and they meet in the cycle.
        let (mut slow, mut fast) = (start, start);
        loop {
            slow = self.waits_for(slow)?;
            fast = self.waits_for(self.waits_for(fast)?)?;
            if slow == fast {
                break;
            }
        }
        // Parents and children alone make no cycle: somewhere in it only dependents are waited for.
        let mut at = slow;
        while !self.may_fire(at) {
            at = self.waits_for(at)?;
            if at == slow {
                return None;
            }
        }
        Some(at)
    }

    /// One of those that the scope waits for in order to fire or to have its turn.
    fn waits_for(&self, index: u32) -> Option<u32> {
        let node = &self.tree[index];
        let waited = |&index: &u32| !self.tree[index].released;
        if self.may_fire(index) {
            let mut dependents = node.dependents.iter().map(|edge| edge.node);
            dependents.find(waited)
        } else if node.phase <= Phase::LameDuck {
            Some(node.parent)
        } else {
            node.children.iter().copied().find(waited)
        }
    }
}

/// Limits of one scope.
impl Machine {
    /// When the scope becomes overdue, if it does before the cut-off.
    fn overdue_at(&self, index: u32) -> Option<Duration> {
        let node = &self.tree[index];
        let (stop, share) = (node.stop?, node.share?);
        let before = share.level < self.stops[stop as usize].cut_off;
        (before && !node.released).then_some(share.level)
    }

    fn rearm(&mut self, index: u32) {
        let node = &self.tree[index];
        let mut want = self.overdue_at(index);
        if let (Phase::Draining, 0, Some(share)) = (node.phase, node.busy, node.share) {
            want = Some(share.drain);
        }
        let want = want.filter(|&at| at != NEVER);
        if node.armed != want {
            self.disarm(index);
            if let Some(at) = want {
                self.agenda.add(at, Due::Scope(self.tree.id(index)));
                self.tree[index].armed = want;
            }
        }
    }

    fn disarm(&mut self, index: u32) {
        if let Some(at) = self.tree[index].armed.take() {
            self.agenda.cancel(at);
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Phase::Running => "Running",
            Phase::LameDuck => "LameDuck",
            Phase::Draining => "Draining",
            Phase::Cancelling => "Cancelling",
            Phase::Closing => "Closing",
            Phase::Stopped => "Stopped",
            Phase::Forced => "Forced",
        })
    }
}
