//! The course of a stop for the report: which scopes, hooks and tasks took how long.
//!
//! All of it is bounded, and what is left out is the quickest:
//!
//! - *Tasks.* Up to 200 of those that were alive at the stop are listed, which means that their end is
//!   noted. When no more than 100 of these are alive, others take the places of those that ended first. So
//!   the last hundred to end are listed when they end, whichever they are. The others are taken evenly
//!   from all that are left: where half of those end, half of all have ended, so that a stop of N tasks
//!   looks at N, N/2, N/4 .. of them, and at few of those: it passes over whole chunks.
//!   What a task is called is put into words at the end, of those that are left in the report.
//! - *Scopes.* The last hundred to end are those that end while no more than a hundred are there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::state::State;
use crate::contract::error::Place;
use crate::contract::report::{
    Failure, FailureKind, HookReport, MOST_LISTED, Outcome, Report, ScopeReport, TaskKind,
    TaskReport, bound, keep_greatest,
};
use crate::phase::{Action, Phase, ScopeId};
use crate::track::node::{Node, Picker, Which};

/// So many live tasks are listed at the most, and so many that have ended beside them.
const MOST_LIVE: usize = 2 * MOST_LISTED;

/// What is noted beside the report itself.
#[derive(Default)]
pub(super) struct Course {
    /// Of the last scope that was told of those that had this index.
    moments: Vec<Moments>,
    /// Of those that ended in the stop with tasks that are alive all the same.
    left: BTreeMap<ScopeId, Moments>,
    /// Scopes that have not ended.
    open: usize,
    /// The tasks of which some are to be in the report.
    pub(super) listed: Vec<Listed>,
    /// How many of them are alive.
    alive: usize,
    /// Which of them have ended and are still there, in that order.
    over: VecDeque<usize>,
    /// There are tasks that were alive at the stop and are not listed.
    more: bool,
}

/// A task that was alive at the stop.
pub(super) struct Listed {
    task: Which,
    scope: ScopeId,
    outcome: Outcome,
    /// Never, while it is alive.
    ended: Moment,
    cancelled: Moment,
}

// All that is noted at a stop is new memory, which costs more than to write it.
const _: () = assert!(size_of::<Listed>() <= 72);

impl Listed {
    fn new(task: Which, scope: ScopeId) -> Listed {
        let (ended, cancelled) = (Moment::NEVER, Moment::NEVER);
        Listed { task, scope, outcome: Outcome::Abandoned, ended, cancelled }
    }

    /// When it was over; those that are not over are the slowest.
    fn end(&self) -> Moment {
        if self.outcome == Outcome::Abandoned { Moment::NEVER } else { self.ended }
    }
}

/// When the stop came to a scope. There may be a million of them.
#[derive(Clone, Copy, Debug)]
struct Moments {
    scope: ScopeId,
    told: Moment,
    cancelled: Moment,
    /// Its drain limit, and until when it is waited for, of its first turn, since one that has become empty
    /// and takes work again may have another; nearer where the end has come nearer.
    limits: [Moment; 2],
}

const _: () = assert!(size_of::<Moments>() <= 40);

/// Nanoseconds since the start of `run`, or never; that is earlier than in 584 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Moment(u64);

impl Moment {
    const NEVER: Moment = Moment(u64::MAX);

    fn new(at: Duration) -> Moment {
        Moment(at.as_nanos().try_into().unwrap_or(u64::MAX))
    }

    fn get(self) -> Option<Duration> {
        (self != Moment::NEVER).then(|| Duration::from_nanos(self.0))
    }
}

impl Moments {
    const fn new(scope: ScopeId) -> Moments {
        let (never, limits) = (Moment::NEVER, [Moment::NEVER; 2]);
        Moments { scope, told: never, cancelled: never, limits }
    }

    fn limit(&mut self, limits: Option<[Duration; 2]>) {
        let Some(limits) = limits else { return };
        for (noted, limit) in self.limits.iter_mut().zip(limits) {
            *noted = Moment::new(limit).min(*noted);
        }
    }

    /// When a task was cancelled that has ended now, or goes on.
    fn cancelled_by(self, kind: TaskKind) -> Moment {
        if kind.is_cancelled() { self.cancelled } else { Moment::NEVER }
    }
}

impl Course {
    pub(super) fn opened(&mut self) {
        self.open += 1;
    }

    /// Notes when a scope is told, and when it is cancelled.
    pub(super) fn note(&mut self, now: Duration, action: &Action) {
        match *action {
            Action::Fire(id) => self.at(id).told = Moment::new(now),
            Action::Cancel(id) => self.at(id).cancelled = Moment::new(now),
            _ => {}
        }
    }

    /// The same of a scope that was told or cancelled in one step, or both.
    pub(super) fn note_small(
        &mut self,
        now: Duration,
        action: &Action,
        cancelled: bool,
        limits: Option<[Duration; 2]>,
    ) {
        let (Action::Fire(id) | Action::Cancel(id)) = *action else { return };
        let (moments, now) = (self.at(id), Moment::new(now));
        if matches!(action, Action::Fire(_)) {
            moments.told = now;
        }
        if cancelled || matches!(action, Action::Cancel(_)) {
            moments.cancelled = now;
        }
        moments.limit(limits);
    }

    fn at(&mut self, id: ScopeId) -> &mut Moments {
        if self.moments.len() <= id.index() {
            self.grow(id.index());
        }
        let moments = &mut self.moments[id.index()];
        if moments.scope != id {
            *moments = Moments::new(id);
        }
        moments
    }

    /// Makes room for this index, and for as many as there are scopes: a stop mostly comes to all of them.
    #[cold]
    fn grow(&mut self, index: usize) {
        let nobody = Moments::new(ScopeId::ROOT);
        self.moments.resize(self.open.max(index + 1), nobody);
    }

    /// A scope ends, and tasks of it are alive.
    pub(super) fn leave(&mut self, id: ScopeId) {
        self.left.insert(id, self.of(id));
    }

    fn of(&self, id: ScopeId) -> Moments {
        let last = self.moments.get(id.index()).filter(|moments| moments.scope == id);
        last.or_else(|| self.left.get(&id)).copied().unwrap_or(Moments::new(id))
    }
}

impl State {
    /// The stop is requested: lists what is alive.
    pub(super) fn list_alive(&mut self) {
        let (report, course) = (&mut self.report, &mut self.course);
        let mut left = MOST_LIVE;
        for node in self.nodes.iter().flatten() {
            report.alive_at_stop += node.lock().list(node, &mut left, |task| {
                if course.listed.len() == 16 {
                    course.listed.reserve_exact(MOST_LIVE + MOST_LISTED); // there may be more
                }
                course.listed.push(Listed::new(task, node.id));
                course.listed.len() - 1
            });
        }
        course.alive = course.listed.len();
        course.more = report.alive_at_stop > course.alive as u64;
    }

    /// Notes how a listed task ended.
    pub(super) fn note_end(&mut self, index: usize, ended: Duration, outcome: Outcome) {
        let Some(listed) = self.course.listed.get(index) else { return };
        let cancelled = self.course.of(listed.scope).cancelled_by(listed.task.kind);
        let listed = &mut self.course.listed[index];
        if listed.ended == Moment::NEVER {
            listed.cancelled = cancelled;
            self.course.alive -= 1;
            self.course.over.push_back(index);
        }
        (listed.outcome, listed.ended) = (outcome, Moment::new(ended));
        if self.course.more && self.course.alive <= MOST_LISTED {
            self.list_more();
        }
    }

    /// Lists others in the places of those that ended first.
    fn list_more(&mut self) {
        let State { nodes, lingering, course, .. } = self;
        let nodes = || nodes.iter().flatten().chain(lingering.values());
        // Some of these are listed already, or came after the stop. So a little less than there is room for
        // may be listed; where it is less than half, all are looked at.
        let count: u64 = nodes().map(|node| node.lock().count_live()).sum();
        let room = MOST_LIVE - course.alive;
        let mut list = |picker: &mut Picker| {
            for node in nodes() {
                node.lock().list_more(node, picker, |task| {
                    let task = Listed::new(task, node.id);
                    course.alive += 1;
                    let full = course.listed.len() >= MOST_LIVE + MOST_LISTED;
                    match if full { course.over.pop_front() } else { None } {
                        Some(at) => {
                            course.listed[at] = task;
                            at
                        }
                        None => {
                            course.listed.push(task);
                            course.listed.len() - 1
                        }
                    }
                });
            }
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut picker = Picker::new(room, count);
        list(&mut picker);
        let mut all = count <= room;
        if !all && picker.left > room / 2 {
            let mut each = Picker::new(picker.left, picker.left);
            list(&mut each);
            all = each.left > 0;
        }
        course.more = !all;
    }

    /// The machine was told of a scope's tasks, so that its turn may have begun, or is to be told, so that it
    /// may forget it.
    pub(super) fn note_limits(&mut self, id: ScopeId) {
        let moments = self.course.moments.get_mut(id.index());
        if let Some(moments) = moments.filter(|moments| moments.scope == id) {
            moments.limit(self.machine.own_limits(id));
        }
    }

    /// Whether the report lists the next scope that ends.
    pub(super) fn lists_next_end(&self) -> bool {
        self.machine.is_stopping() && self.course.open <= MOST_LISTED
    }

    /// A scope ends, and the machine still knows it.
    pub(super) fn note_scope_end(&mut self, now: Duration, id: ScopeId, node: &Node) {
        let listed = self.lists_next_end();
        self.course.open -= 1;
        if self.machine.is_stopping() {
            if listed {
                let times = self.times_of(id, node, Some(now));
                self.report.add_scope_times(times);
            } else {
                self.report.scopes_omitted += 1;
            }
        }
    }

    fn times_of(&self, id: ScopeId, node: &Node, ended: Option<Duration>) -> ScopeReport {
        let mut moments = self.course.of(id);
        moments.limit(self.machine.own_limits(id));
        let Moments { told, cancelled, limits, .. } = moments;
        let [told, cancelled, drain_limit, limit] =
            [told, cancelled, limits[0], limits[1]].map(Moment::get);
        let scope = bound::cut(&node.path(), bound::PATH).into_owned();
        ScopeReport { scope, told, cancelled, ended, drain_limit, limit }
    }

    /// Completes a copy of the report, as of now: what is not over, and no more than there is room for.
    pub(super) fn finish_course(&self, report: &mut Report, now: Duration, nodes: &[Arc<Node>]) {
        let mut listed: Vec<_> = self.course.listed.iter().collect();
        keep_greatest(&mut listed, |listed| listed.end());
        let mut place = None;
        report.tasks.extend(listed.into_iter().map(|listed| {
            let alive = || self.course.of(listed.scope).cancelled_by(listed.task.kind);
            TaskReport {
                task: listed.task.label(&mut place),
                outcome: listed.outcome.clone(),
                ended: listed.end().get().unwrap_or(now),
                cancelled: match listed.ended {
                    Moment::NEVER => alive().get(),
                    _ => listed.cancelled.get(),
                },
            }
        }));
        if self.machine.is_stopping() {
            let last = self.report.phases.last().filter(|last| last.phase >= Phase::Stopped);
            let over = last.map(|last| last.entered);
            report.scopes_omitted += nodes.len().saturating_sub(MOST_LISTED) as u64;
            for node in nodes.iter().take(MOST_LISTED) {
                let ended = over.filter(|_| node.is_root());
                report.scopes.push(self.times_of(node.id, node, ended));
            }
        }
        for (_, hook) in &self.hooks {
            report.add_hook_time(hook.times(None, Outcome::Abandoned));
        }
        report.bound_course();
    }
}

/// A hook that runs now.
pub(super) struct RunningHook {
    pub(super) hook: &'static str,
    /// The path of its scope.
    pub(super) path: String,
    pub(super) place: Place,
    pub(super) began: Duration,
    pub(super) scope: ScopeId,
    /// The report has it already: its scope was stopped alone, and ended without it.
    pub(super) told: bool,
}

impl RunningHook {
    /// It was cut off.
    pub(super) fn cut_off(&self, at: Duration, fatal: bool) -> Failure {
        let origin = format!("{} of {}, registered at {}", self.hook, self.path, self.place);
        let messages = vec!["it was cut off before it was over".to_owned()];
        Failure { at, kind: FailureKind::HookOverdue, origin, messages, fatal }.bounded()
    }

    fn times(&self, ended: Option<Duration>, outcome: Outcome) -> HookReport {
        HookReport {
            hook: self.hook,
            scope: bound::cut(&self.path, bound::PATH).into_owned(),
            registered_at: self.place.to_string(),
            began: self.began,
            ended,
            outcome,
        }
    }
}

impl State {
    /// A hook is over.
    pub(super) fn note_hook(&mut self, key: usize, ended: Duration, outcome: Outcome) {
        if let Some(hook) = self.hooks.try_remove(key) {
            self.report.add_hook_time(hook.times(Some(ended), outcome));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;
    use std::panic::Location;

    use super::*;
    use crate::contract::hook::Hook;
    use crate::contract::options::Options;
    use crate::contract::report::{Reason, TaskKind};
    use crate::program::Program;
    use crate::program::driver::perform;
    use crate::tests::nowhere::{program, program_with};
    use crate::track::node::Spawn;
    use crate::track::table::TaskRef;

    fn spawn(node: &Arc<Node>, number: usize) -> TaskRef {
        let mut spawn = Spawn::new(TaskKind::Shielded, Location::caller());
        spawn.name = Some(Box::new(number.to_string().into()));
        node.register(spawn).unwrap()
    }

    fn names(report: &Report) -> BTreeSet<usize> {
        let name = |task: &TaskReport| task.task.name.as_deref().unwrap().parse().unwrap();
        report.tasks.iter().map(name).collect()
    }

    /// Ends so many tasks in this order and returns the report, and the last hundred.
    fn stopped(
        count: usize,
        late: usize,
        order: impl Fn(usize) -> usize,
    ) -> (Report, BTreeSet<usize>) {
        let program = program(false);
        let nodes = [program.root(), program.open(&program.root(), "other".into(), &[])];
        let mut tasks: Vec<_> =
            (0..count).map(|number| Some(spawn(&nodes[number * 2 / count], number))).collect();
        program.stop(Reason::Requested(None));
        // They were not alive at the stop, whatever becomes of them.
        let late: Vec<_> = (0..late).map(|_| spawn(&nodes[0], usize::MAX)).collect();
        program.drive(perform);
        let order: Vec<_> = (0..count).map(order).collect();
        for number in &order {
            Node::deregister(tasks[*number].take().expect("each once"), Outcome::Finished);
        }
        let live = program.lock().course.alive;
        assert_eq!(live, 0, "all that were listed have ended");
        let report = program.conclude();
        late.into_iter().for_each(|task| Node::deregister(task, Outcome::Cancelled));
        let last = order.iter().rev().take(MOST_LISTED).copied().collect();
        (report, last)
    }

    #[test]
    fn the_last_hundred_to_end_are_listed_in_whatever_order_they_end() {
        for count in [1, 100, 152, 200, 201, 301, 5_003] {
            for stride in [1, 7, count / 2 + 1, count - 1] {
                if (1..=count).filter(|by| count % by == 0 && stride % by == 0).count() != 1 {
                    continue; // it would not come to each
                }
                for late in [1, 2_000] {
                    let (report, last) = stopped(count, late, |place| place * stride % count);
                    assert_eq!(report.alive_at_stop, count as u64);
                    assert_eq!(names(&report), last, "{count} by steps of {stride}");
                    let finished = |task: &TaskReport| task.outcome == Outcome::Finished;
                    assert!(report.tasks.iter().all(finished));
                }
            }
        }
    }

    #[test]
    fn a_stop_of_many_looks_at_them_few_times() {
        let program = program(false);
        let tasks: Vec<_> = (0..20_000).map(|number| spawn(&program.root(), number)).collect();
        program.stop(Reason::Requested(None));
        let (mut looks, mut alive) = (0, program.lock().course.alive);
        for task in tasks {
            Node::deregister(task, Outcome::Finished);
            let now = program.lock().course.alive;
            looks += usize::from(now > alive);
            alive = now;
        }
        assert!((1..=20).contains(&looks), "{looks} looks at 20,000 tasks");
        program.conclude();
    }

    /// The report of a program with so many scopes, which end in the order in which they were opened.
    fn with_scopes(count: usize, ends: impl Fn(&Arc<Program>, Vec<TaskRef>)) -> Report {
        let program = program(false);
        let mut tasks = Vec::new();
        let mut handles = Vec::new();
        for number in 0..count {
            let node = program.open(&program.root(), number.to_string().into(), &[]);
            tasks.push(spawn(&node, number));
            handles.push(node);
        }
        program.stop(Reason::Requested(None));
        program.drive(perform);
        handles.iter().for_each(Node::close_handle);
        ends(&program, tasks);
        program.conclude()
    }

    #[test]
    fn the_last_hundred_scopes_are_listed_with_their_times() {
        let report = with_scopes(250, |program, tasks| {
            for task in tasks {
                Node::deregister(task, Outcome::Finished);
                program.drive(perform);
            }
        });
        let paths: Vec<_> = report.scopes.iter().map(|scope| scope.scope.clone()).collect();
        let expected: Vec<_> = (151..250).map(|number| format!("root/{number}")).collect();
        assert_eq!(paths[..99], expected);
        assert_eq!((paths[99].as_str(), report.scopes_omitted), ("root", 151));
        let stop = report.reasons[0].at;
        for scope in &report.scopes {
            let times = [scope.told, scope.cancelled, scope.ended].map(Option::unwrap);
            assert!(times.is_sorted() && times[0] >= stop, "{scope:?}");
            assert!(scope.drain_limit <= scope.limit && scope.limit.is_some(), "{scope:?}");
        }
        let last = report.phases.last().unwrap();
        assert_eq!(report.scopes[99].ended, Some(last.entered), "{report}");
    }

    #[test]
    fn scopes_that_never_end_are_listed_and_counted() {
        let report = with_scopes(250, |program, tasks| {
            assert_eq!(program.peek().unwrap().scopes.len(), MOST_LISTED);
            program.force(crate::process::signal::Signal::INTERRUPT);
            for task in tasks {
                Node::deregister(task, Outcome::Cancelled);
            }
        });
        assert_eq!((report.scopes.len(), report.scopes_omitted), (100, 151));
        assert!(report.scopes[1..].iter().all(|scope| scope.ended.is_none()));
    }

    #[test]
    fn a_straggler_of_a_scope_that_has_ended_keeps_when_it_was_cancelled() {
        // The cut-off comes at once, and the end is far.
        let hour = Some(Duration::from_secs(3_600));
        let options = Options { timeout: hour, closing_reserve: hour, ..Options::default() };
        let program = program_with(options, false);
        program.root().add_hook(Hook::new(|| (), Location::caller())); // nobody runs it
        let node = program.open(&program.root(), "first".into(), &[]);
        let straggler = node.register(Spawn::new(TaskKind::Plain, Location::caller())).unwrap();
        program.stop(Reason::Requested(None));
        program.drive(perform);
        let cancelled = program.lock().course.of(node.id).cancelled.get();
        assert!(cancelled.is_some() && program.lock().node(node.id).is_none(), "it has ended");
        // A hook opens a scope that comes to have its index, and is told and cancelled later.
        std::thread::sleep(Duration::from_millis(1));
        let other = program.open(&program.root(), "other".into(), &[]);
        program.drive(perform);
        assert_eq!(other.id.index(), node.id.index());
        let others = program.lock().course.of(other.id);
        assert!(others.told.get() > cancelled, "{others:?}");
        let of = |report: &Report| report.tasks[0].cancelled;
        assert_eq!(of(&program.peek().unwrap()), cancelled);
        Node::deregister(straggler, Outcome::Cancelled);
        assert_eq!(of(&program.conclude()), cancelled);
        other.close_handle();
        node.close_handle();
    }

    #[test]
    fn the_limits_of_a_scope_are_those_that_came_to_apply() {
        let program = program(false);
        let node = program.open(&program.root(), "told".into(), &[]);
        let task = spawn(&node, 0);
        program.stop(Reason::Requested(None));
        program.drive(perform);
        let limits = || {
            let report = program.peek().unwrap();
            let told = report.scopes.iter().find(|scope| scope.scope == "root/told").unwrap();
            (told.drain_limit.unwrap(), told.limit.unwrap())
        };
        let before = limits();
        program.ends_within(Duration::from_secs(1));
        program.drive(perform);
        let after = limits();
        assert!(after.0 < before.0 && after.1 < before.1, "{before:?} {after:?}");
        Node::deregister(task, Outcome::Finished);
        node.close_handle();
        program.drive(perform);
        let report = program.conclude();
        let told = report.scopes.iter().find(|scope| scope.scope == "root/told").unwrap();
        assert_eq!((told.drain_limit, told.limit), (Some(after.0), Some(after.1)), "{report}");
    }

    #[test]
    fn scopes_that_end_before_the_stop_are_no_part_of_it() {
        let program = program(false);
        let node = program.open(&program.root(), "short".into(), &[]);
        node.close_handle();
        program.drive(perform);
        program.stop(Reason::Requested(None));
        program.drive(perform);
        let report = program.conclude();
        assert_eq!((report.scopes.len(), &*report.scopes[0].scope), (1, "root"));
    }
}
