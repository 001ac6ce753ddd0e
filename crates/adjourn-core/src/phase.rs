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
//! This file and its folder use nothing else of the crate than `few.rs`: the fuzz target compiles them
//! by themselves. The tests are in `tests/phase.rs`.
//!
//! # One scope
//!
//! ```text
//!  Running ── Fire ──▶ Draining ── Cancel ──▶ Cancelling ── Close ──▶ Closing ── End ──▶ Stopped
//!     │└──────────────── left: it ends by itself ──── Close ────────────▲                    ▲
//!     └───────────────── retired: the same at once, without hooks ───────────────────────────┘
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
//! A scope that has no task, but a handle, is *open*: it takes work for as long as its parent does,
//! and nobody waits for it (`phase/open.rs`). It closes before its parent does, and before a scope that it
//! depends on fires.
//!
//! Whoever stops a scope also stops the scopes that depend on it, since they need it.
//!
//! Where others are to end the process, all limits come forward to what that leaves, of stops that have
//! begun too: each scope keeps the earlier of its share and of one of the time that is left.
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
//!    program is forced. (`Close` alone if it ends by itself, nothing if it is retired; no `Close`
//!    after the deadline.)
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
//! recurses. A stop sorts the scopes that it reaches by age, which is their order of levels.
//!
//! Most scopes are *leaves*: nothing was ever below them, and they have no order. Those of one parent are asked
//! with it, and told with it, in one go over its children: they have one share, and one item in the agenda. They are
//! scopes as any others from then on. `tests/phase/twins.rs` holds that this makes no difference.

mod cycle;
mod limits;
mod open;
mod stops;
mod transitions;
mod tree;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use slab::Slab;

pub(crate) use self::limits::Limits;
use self::limits::{Agenda, At, Ending, Share};
use self::stops::Stop;
use self::tree::{Armed, Asked, Node, ROOT, Tree};

/// Names one scope of one machine.
///
/// An index that is used again, and a serial number by which a stale id is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct ScopeId {
    index: u32,
    serial: u32,
}

impl ScopeId {
    /// The root of every machine.
    pub(crate) const ROOT: ScopeId = ScopeId { index: ROOT, serial: 0 };

    /// Returns the index of the scope: small, the root's 0, and not used for another scope before
    /// the driver has said that this one has [`ended`](Machine::ended).
    pub(crate) fn index(self) -> usize {
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
pub(crate) enum Event {
    /// The scope shall stop, and whatever depends on it; the root is the program. Asking again
    /// changes nothing.
    Stop(ScopeId),
    /// What is alive in the scope. Told after [`Action::Fire`] and, from then on, at each change; in a
    /// scope that is opened into a stop, at each change from its opening on.
    Tasks(ScopeId, Alive),
    /// The `on_stopped` hooks of the scope are over: the answer to [`Action::Close`].
    Closed(ScopeId),
    /// The answer to [`Action::Close`] when a task has been spawned since that was decided: it is
    /// said again once the scope's tasks are gone, or cut off.
    Occupied(ScopeId),
    /// Nothing is left to do in the program: it shall stop, without a lame duck phase, since there is
    /// nobody whom that would serve. Ends such a phase too.
    Idle,
    /// Time has passed. Every event looks at the limits; this one does nothing else.
    Tick,
    /// The host's clock says that the cut-off of the program's stop has come, whatever `now` says.
    /// Ignored while no stop of the program is requested.
    CutOff,
    /// The host's clock says that the deadline has come: everything ends now.
    Deadline,
    /// The system ends the process after this span, whatever we do: nothing may take longer, in stops
    /// that have begun and in those to come. Limits only come nearer: a later end changes nothing.
    EndsWithin(Duration),
    /// Forced at once.
    Force,
}

/// What is alive in a scope; `None`: what was told before holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Alive {
    /// Whether a graceful task is.
    pub(crate) graceful: Option<bool>,
    /// Whether any task or blocking job is. `true` also takes back `left`.
    pub(crate) live: Option<bool>,
    /// Nobody can spawn into the scope any more: it has no handle and no task. While it is running
    /// it then ends by itself, after its children and those that depend on it. Not for the root, whose end is a stop.
    pub(crate) left: bool,
}

/// What the machine tells the driver to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Turn readiness false. Once, and only if there is a lame duck phase.
    LameDuck,
    /// The scope is Draining: fire its stop token (and run the root's `on_stop` hooks), then answer
    /// [`Event::Tasks`].
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
pub(crate) struct Machine {
    limits: Limits,
    /// When the system ends the process, where it has said so.
    ending: Option<Ending>,
    /// The latest time told.
    now: At,
    tree: Tree,
    stops: Slab<Stop>,
    /// T0 of the program, and its stop.
    program: Option<(At, usize)>,
    /// When the lame duck phase is over, while there is one.
    lame_duck: Option<At>,
    agenda: Agenda<Due>,
    /// The share that was apportioned last, and to what: from when, until when, levels.
    last_share: Option<((At, At, u32), Share)>,
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
    finished: bool,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    Scope(ScopeId),
    /// All that it holds of the leaves below this scope, which were told together.
    Leaves(ScopeId),
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
    pub(crate) fn new(limits: Limits) -> Machine {
        Machine {
            limits: limits.clamped(),
            ending: None,
            now: At::ZERO,
            tree: Tree::new(),
            stops: Slab::new(),
            program: None,
            lame_duck: None,
            agenda: Agenda::new(),
            last_share: None,
            work: VecDeque::new(),
            actions: VecDeque::new(),
            active: 0,
            unfired: 0,
            blocked: Vec::new(),
            finished: false,
        }
    }

    /// Returns the root: the program.
    pub(crate) fn root(&self) -> ScopeId {
        ScopeId::ROOT
    }

    /// Opens a scope, or returns `None` if `parent` has ended.
    ///
    /// The new scope stops before the scopes that it depends on. Left out of these: those that have
    /// ended or fired, and its own ancestors, which stop after it anyway.
    ///
    /// A scope that is opened into a stop joins it. If its parent has fired, it fires at once; if
    /// its parent is Cancelling or Closing, so is it cancelled at once. It also joins the stop of a
    /// scope that it depends on and that waits to fire. The driver has to have it told, or cancelled,
    /// before anybody sees it, and tells each change of what is alive in it from then on: that nothing
    /// is alive is known. While it is empty it is open, as any scope with a handle: it takes work, and
    /// holds up nobody.
    ///
    /// A parent that is still Draining keeps its limits and is not cancelled before a new scope with
    /// a task in it has ended or is overdue.
    pub(crate) fn open(
        &mut self,
        now: Duration,
        parent: ScopeId,
        depends_on: &[ScopeId],
    ) -> Option<ScopeId> {
        self.now = self.now.max(At::new(now));
        if self.finished {
            return None;
        }
        let parent = self.tree.find(parent)?;
        let index = self.tree.open(parent, depends_on)?;
        if self.tree[parent].open {
            self.wait_again(parent);
        }
        let (phase, stop) = (self.tree[parent].phase, self.tree[parent].stop());
        let node = &self.tree[index];
        let stops = node.links().needs.iter().map(|edge| self.tree[edge.node].stop());
        let earliest = stops.chain([stop]).flatten().min_by_key(|&stop| {
            let stop = &self.stops[stop as usize];
            (stop.cut_off, stop.deadline)
        });
        if earliest.is_none() && phase <= Phase::LameDuck {
            return Some(self.tree.id(index)); // nothing follows from it
        }
        let levels = self.tree.levels(index);
        let node = &mut self.tree[index];
        node.levels = levels;
        node.asked = if stop.is_none() { Asked::Alone } else { Asked::Below };
        if let Some(stop) = earliest {
            self.join(index, stop);
        }
        if phase >= Phase::Draining || self.may_fire(index) {
            self.fire(index);
            let node = &mut self.tree[index];
            (node.graceful, node.live) = (Some(false), Some(false));
        }
        if phase >= Phase::Cancelling {
            self.cancel(index);
        }
        self.work.push_back(index);
        self.work.push_back(parent);
        self.settle_all();
        Some(self.tree.id(index))
    }

    /// Ends a scope at once in which nothing is alive, and which has no hooks; `left`: nobody can spawn into
    /// it any more. Returns false, and does nothing, where it does not end yet, or more than that is to be
    /// thought of: a scope below it, one that depends on it where it ends by itself, actions that are yet to be
    /// taken. Then the driver tells what is alive.
    ///
    /// As if that were told, `Close` and `End` performed, and `Closed` and [`ended`](Machine::ended) said.
    /// That is how most scopes end.
    pub(crate) fn retire(&mut self, now: Duration, scope: ScopeId, left: bool) -> bool {
        let Some(index) = self.tree.find(scope).filter(|_| self.actions.is_empty()) else {
            return false;
        };
        let node = &self.tree[index];
        let alone = node.links().children.is_empty() && index != ROOT && !self.finished;
        let ends = match node.phase {
            Phase::Running => node.stop().is_none() && left && node.links().dependents.is_empty(),
            // One that takes work for as long as its parent does goes on.
            Phase::Cancelling => {
                left || node.shown_out || self.tree[node.parent].phase < Phase::Cancelling
            }
            _ => false,
        };
        if !alone || !ends || node.open || node.released || node.cut {
            return false;
        }
        self.now = self.now.max(At::new(now));
        if node.is_leaf() {
            self.part_leaf(index);
        } else {
            self.part(index);
            self.tree.free(scope);
        }
        self.run();
        true
    }

    /// Whether something may follow from the end of this scope: its parent, or a scope that it depends on, may
    /// wait for it alone. Else the time of that end means nothing.
    pub(crate) fn is_awaited(&self, scope: ScopeId) -> bool {
        let Some(node) = self.tree.get(scope) else { return false };
        // A cycle waits for all that goes on.
        self.unfired > 0
            || !node.links().needs.is_empty()
            || self.tree[node.parent].links().busy <= 1 && self.is_waiting(node.parent)
    }

    /// Cancels a leaf as its [`Action::Fire`] is performed, in which plain tasks are alive and no graceful
    /// one. Returns false, and does nothing, where it is not its turn, or there is more to be thought of: the
    /// `End` of a scope below it may be yet to be taken. Then the driver tells what is alive.
    ///
    /// As if that were told and `Cancel` were the next action, which the driver performs at once, before it
    /// tells anything else.
    pub(crate) fn cancel_at_once(&mut self, now: Duration, scope: ScopeId) -> bool {
        let Some(index) = self.tree.find(scope) else { return false };
        let node = &self.tree[index];
        let turn = node.phase == Phase::Draining && node.share().is_some();
        if !turn || !node.is_leaf() || node.was_open || node.released || self.finished {
            return false;
        }
        self.now = self.now.max(At::new(now));
        let node = &mut self.tree[index];
        (node.graceful, node.live) = (Some(false), Some(true));
        node.phase = Phase::Cancelling;
        // Its drain limit means nothing any more; the other one stays as it is.
        if node.armed == Armed::Drain {
            self.rearm(index);
        }
        true
    }

    /// The same once the last graceful task of the scope has ended, which was told of before: as if that were told
    /// now. Not where actions are yet to be taken, which come before it.
    pub(crate) fn cancel_drained(&mut self, now: Duration, scope: ScopeId) -> bool {
        let told = self.tree.get(scope).is_some_and(|node| node.graceful == Some(true));
        if !told || self.has_actions() || !self.cancel_at_once(now, scope) {
            return false;
        }
        self.run();
        true
    }

    /// Notes, as the [`Action::Fire`] of a leaf is performed, that a graceful task is alive in it, which has until
    /// its drain limit. Returns false, and does nothing, where more than that follows. Then the driver tells what
    /// is alive.
    pub(crate) fn drains(&mut self, now: Duration, scope: ScopeId) -> bool {
        let Some(index) = self.tree.find(scope) else { return false };
        let now = self.now.max(At::new(now));
        let node = &mut self.tree[index];
        let turn = node.phase == Phase::Draining && node.share().is_some_and(|own| own.drain > now);
        if !turn || !node.is_leaf() || node.released || self.finished {
            return false;
        }
        self.now = now;
        (node.graceful, node.live, node.left) = (Some(true), Some(true), false);
        self.rearm(index);
        true
    }

    /// Returns the latest time that it was told.
    pub(crate) fn now(&self) -> Duration {
        self.now.since_epoch()
    }

    /// Whether time means anything to what comes next: there are limits, or there may be some.
    pub(crate) fn is_timed(&self) -> bool {
        !self.stops.is_empty() || self.ending.is_some()
    }

    /// Whether an action is to be taken.
    pub(crate) fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// Has a scope stop before another one, which is older. Returns false, and does nothing, where that
    /// one is not the older, or where either has been asked to stop.
    ///
    /// Dependencies lead to older scopes only, so they have no cycle of their own.
    pub(crate) fn depend(&mut self, scope: ScopeId, on: ScopeId) -> bool {
        let (Some(index), Some(need)) = (self.tree.find(scope), self.tree.find(on)) else {
            return false;
        };
        let (node, other) = (&self.tree[index], &self.tree[need]);
        let runs = |node: &Node| node.stop().is_none() && node.phase <= Phase::LameDuck;
        let fits = runs(node) && runs(other) && other.born < node.born;
        if fits && !self.tree.is_ancestor(need, index) {
            self.tree.link(index, need);
        }
        fits
    }

    /// Returns the scopes that this one stops before, as far as they have not ended.
    pub(crate) fn dependencies(&self, scope: ScopeId) -> Vec<ScopeId> {
        let index = self.tree.find(scope);
        let needs = index.map(|index| &self.tree[index].links().needs).into_iter().flatten();
        needs.map(|edge| self.tree.id(edge.node)).collect()
    }

    /// Takes in what happened at `now`, the time since the machine's epoch.
    ///
    /// A time before the latest one told counts as that one. The event is looked at before the
    /// limits: what ended in the instant of its limit was in time.
    pub(crate) fn handle(&mut self, now: Duration, event: Event) {
        self.handle_all(now, [event]);
    }

    /// The same for several events of one instant, of which each is seen before the consequences of
    /// any.
    pub(crate) fn handle_all(&mut self, now: Duration, events: impl IntoIterator<Item = Event>) {
        self.now = self.now.max(At::new(now));
        for event in events {
            // The executor has yet to end, in the time that is left.
            if self.finished && !matches!(event, Event::EndsWithin(_)) {
                return;
            }
            self.take_in(event);
        }
        self.run();
    }

    /// Takes the next action, in the order in which they were decided.
    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns all that [`next_action`](Machine::next_action) would, for who takes all of it at once.
    pub(crate) fn actions(&mut self) -> &mut VecDeque<Action> {
        &mut self.actions
    }

    /// Says that [`Action::End`] was performed: the scope's place may be used again.
    pub(crate) fn ended(&mut self, scope: ScopeId) {
        self.tree.free(scope);
    }

    /// Returns the next instant at which [`Event::Tick`] changes something, limits of the cut-off
    /// and the deadline among them; `None` if none will come. Constant time, nearly.
    pub(crate) fn next_limit(&self) -> Option<Duration> {
        self.agenda.next().map(At::since_epoch)
    }

    /// Returns the phase of a scope: Stopped if it has ended.
    pub(crate) fn phase(&self, scope: ScopeId) -> Phase {
        self.tree.get(scope).map_or(Phase::Stopped, |node| node.phase)
    }

    /// Tells whether the program was asked to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.program.is_some()
    }

    /// Returns T0: when the program was asked to stop.
    pub(crate) fn stop_time(&self) -> Option<Duration> {
        self.program.map(|(start, _)| start.since_epoch())
    }

    /// Returns the deadline of the program's stop, [`Duration::MAX`] if it never comes.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let (start, _) = self.program?;
        let deadline = self.by_ending(start.after(self.limits.deadline), |ending| ending.deadline);
        Some(deadline.since_epoch())
    }

    /// Returns the spans of the program's stop, each counted from its request, as far as the end of the
    /// process leaves them; without a stop, as if it were requested now.
    pub(crate) fn spans(&self) -> Limits {
        let Some(ending) = &self.ending else { return self.limits };
        self.limits.until(ending, self.program.map_or(self.now, |(start, _)| start))
    }

    /// Tells whether the tasks of a scope are not waited for any longer, since its cut-off.
    pub(crate) fn is_cut_off(&self, scope: ScopeId) -> bool {
        self.tree.get(scope).is_none_or(|node| node.cut)
    }

    /// Tells whether the end of a scope that has come to close is none of the program's: it was asked to stop
    /// before the program was.
    pub(crate) fn ends_apart(&self, scope: ScopeId) -> bool {
        self.tree.get(scope).is_some_and(|node| node.phase >= Phase::Closing && node.noted)
    }

    /// Returns when the graceful tasks of a scope are cancelled, once its turn has begun;
    /// [`Duration::MAX`] if never.
    pub(crate) fn drain_limit(&self, scope: ScopeId) -> Option<Duration> {
        let share = self.tree[self.tree.find(scope)?].share()?;
        Some(share.drain.since_epoch())
    }
}

/// What the report tells of a scope that may have ended.
impl Machine {
    /// Returns a scope's drain limit and until when it is waited for, once its turn has begun and until
    /// it was said to have [`ended`](Machine::ended); [`Duration::MAX`] for what never comes.
    pub(crate) fn own_limits(&self, scope: ScopeId) -> Option<[Duration; 2]> {
        let share = self.tree.get(scope)?.share()?;
        Some([share.drain, share.level].map(At::since_epoch))
    }
}

/// What only the machine's tests and its fuzz target ask.
#[allow(dead_code, reason = "the library does not ask")]
impl Machine {
    /// Returns the cut-off of the program's stop, [`Duration::MAX`] if it never comes.
    pub(crate) fn cut_off(&self) -> Option<Duration> {
        let (start, _) = self.program?;
        let cut_off = self.by_ending(start.after(self.limits.cut_off), |ending| ending.cut_off);
        Some(cut_off.since_epoch())
    }

    /// Returns when a scope is overdue, once its turn has begun; [`Duration::MAX`] if never.
    pub(crate) fn level_limit(&self, scope: ScopeId) -> Option<Duration> {
        let share = self.tree[self.tree.find(scope)?].share()?;
        Some(share.level.since_epoch())
    }
}

/// Events.
impl Machine {
    fn take_in(&mut self, event: Event) {
        match event {
            Event::Tick => {}
            Event::Stop(id) => {
                if id == self.root() {
                    self.stop_program(self.spans().lame_duck);
                } else if let Some(index) = self.tree.find(id) {
                    self.stop_scope(index);
                }
            }
            Event::Tasks(id, alive) => {
                if let Some(index) = self.tree.find(id) {
                    self.change_tasks(index, alive);
                }
            }
            Event::Closed(id) => self.change(id, |node| node.closed = node.phase == Phase::Closing),
            Event::Occupied(id) => self.change(id, |node| {
                if node.phase == Phase::Closing && !node.cut {
                    (node.live, node.postponed) = (Some(true), true);
                }
            }),
            Event::Idle => {
                self.stop_program(Duration::ZERO);
                self.proceed();
            }
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
            Event::EndsWithin(span) => self.ends_within(span),
            Event::Force => {
                self.actions.clear();
                self.finish(Phase::Forced);
            }
        }
    }

    fn change_tasks(&mut self, index: u32, alive: Alive) {
        let node = &mut self.tree[index];
        node.graceful = alive.graceful.or(node.graceful);
        node.live = alive.live.or(node.live);
        node.left = alive.left || node.left && alive.live != Some(true);
        // Before anything follows from it: a scope that is not idle any more is waited for.
        let more = alive.graceful == Some(true) || alive.live == Some(true);
        if more && node.open && !self.may_be_open(index) {
            self.wait_again(index);
        }
        self.work.push_back(index);
    }

    fn change(&mut self, id: ScopeId, change: impl FnOnce(&mut Node)) {
        if let Some(index) = self.tree.find(id) {
            change(&mut self.tree[index]);
            if self.work.back() != Some(&index) {
                self.work.push_back(index);
            }
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
