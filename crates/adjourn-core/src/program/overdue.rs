//! What was still alive at a limit: told to finish and past the drain limit, or past the cut-off.
//!
//! Only the program's own stop sets the exit code. What is cut off in a scope that was stopped alone
//! before that is a failure that the program isolates: it goes on.
//!
//! Work that was past its drain limit, but in a shield or in a poll, may end by itself all the same. It
//! was not cut off then: what the report says of it is taken back, and with it exit code 124.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::state::State;
use super::{Program, Untold, observe};
use crate::contract::error::Place;
use crate::contract::report::{
    Failure, FailureKind, MOST_LISTED, OverdueTask, Report, Site, Straggler, TaskLabel, bound,
};
use crate::sync::atomic::Ordering::SeqCst;
use crate::track::node::{Alive, Late, Node};
use crate::track::table::TaskKey;
use crate::track::wakes::WakerId;

impl Program {
    /// Tells of what was alive at the cut-off of a scope.
    pub(crate) fn add_stragglers(&self, alive: Alive) {
        let (stragglers, omitted, sites) = alive.stragglers();
        let told = stragglers.clone();
        let now = self.now();
        let mut state = self.lock();
        if state.is_isolated() {
            let line = |straggler: &Straggler| format!("{straggler}, at the cut-off");
            let lines = stragglers.iter().map(line).collect();
            let untold = state.isolate(now, lines, Vec::new(), omitted);
            drop(state);
            return self.tell_failures(untold);
        }
        state.report.add_stragglers(stragglers, omitted, sites);
        drop(state);
        told.iter().for_each(super::log::straggler);
    }

    /// Tells of what a drain limit found alive.
    pub(crate) fn tell_overdue(&self, (overdue, untold): (Vec<OverdueTask>, Untold)) {
        if untold.is_empty() {
            overdue.iter().for_each(super::log::overdue);
        }
        self.tell_failures(untold);
    }

    /// Notes the graceful work that is about to be cancelled at the drain limit of a scope, if there is
    /// any, and for what it was waiting. Nothing is whose limit has not come: what is cut off before its
    /// drain limit is a straggler instead.
    /// Others are yet to be told of what it returns: what they do may block.
    ///
    /// The program's lock is held all the while: work that ends by itself meanwhile takes back what the
    /// report says by then.
    pub(crate) fn note_overdue(&self, node: &Arc<Node>) -> (Vec<OverdueTask>, Untold) {
        if node.graceful.load(SeqCst) == 0 {
            return Default::default(); // mostly
        }
        let now = self.now();
        let mut state = self.lock();
        // Of a scope that the machine has cut off and ended by now, the whole program's is known.
        let whole = || Some(state.machine.stop_time()?.saturating_add(state.machine.spans().drain));
        let limit = state.machine.drain_limit(node.id).or_else(whole);
        // Late as we may be, past the cut-off too: what was past its drain limit may be dropped before
        // the cut-off is performed, and would be in neither list.
        let Some(limit) = limit.filter(|limit| *limit <= now) else {
            return Default::default();
        };
        let alone = state.is_isolated();
        let late = node.late(now, alone).filter(|late| !late.graceful.listed.is_empty());
        let Some(Late { graceful, plain }) = late else { return Default::default() };
        let awaited = state.awaited_by(&graceful.listed);
        let Alive { listed, omitted, sites } = graceful;
        let keys = listed.iter().map(|(.., key)| *key).collect();
        let work = listed.into_iter().zip(awaited).map(|((task, ..), waiting_for)| OverdueTask {
            task,
            limit,
            waiting_for,
        });
        let work: Vec<_> = work.collect();
        if alone {
            let line = |overdue: &OverdueTask| format!("{overdue}, at its drain limit");
            let untold = state.isolate(now, work.iter().map(line).collect(), keys, omitted);
            return (work, untold);
        }
        state.add_overdue(work.clone(), keys, omitted, sites);
        state.report.add_beside(plain);
        (work, Untold::default())
    }

    /// A task that the report has as overdue has ended by itself: it was not cut off.
    pub(super) fn not_overdue(&self, node: &Node, task: TaskKey, place: Place, alone: bool) {
        let mut state = self.lock();
        if alone {
            state.take_back_isolated(task);
        } else {
            let scope = bound::cut(&node.path(), bound::PATH).into_owned();
            state.take_back_overdue(task, &scope, &place.to_string());
        }
    }
}

impl State {
    /// Notes what was cut off as failures; with its tasks, where they may have to be taken back.
    fn isolate(
        &mut self,
        at: Duration,
        lines: Vec<String>,
        tasks: Vec<TaskKey>,
        omitted: u64,
    ) -> Untold {
        let mut failures = Vec::new();
        let kind = FailureKind::CutOff;
        let mut tasks = tasks.into_iter();
        for origin in lines {
            let failure =
                Failure { at, kind, origin, messages: Vec::new(), fatal: false }.bounded();
            let task = tasks.next().filter(|_| self.report.failures.len() < MOST_LISTED);
            if let Some(task) = task {
                self.isolated.push((task, failure.origin.clone()));
            }
            self.report.add_failure(failure.clone());
            self.feed.tell(|| observe::Event::Failure(failure.clone()));
            failures.push(failure);
        }
        self.report.failures_omitted += omitted;
        self.untold(failures)
    }

    fn take_back_isolated(&mut self, task: TaskKey) {
        let report = &mut self.report;
        let Some(at) = self.isolated.iter().position(|(isolated, _)| *isolated == task) else {
            report.failures_omitted = report.failures_omitted.saturating_sub(1);
            return;
        };
        let (_, origin) = self.isolated.swap_remove(at);
        let is_it =
            |failure: &Failure| failure.kind == FailureKind::CutOff && failure.origin == origin;
        if let Some(at) = report.failures.iter().position(is_it) {
            report.failures.remove(at);
        }
    }

    fn add_overdue(
        &mut self,
        overdue: Vec<OverdueTask>,
        tasks: Vec<TaskKey>,
        omitted: u64,
        sites: Vec<Site>,
    ) {
        let report = &mut self.report;
        let before = mem::take(&mut self.overdue);
        let mut list: Vec<_> = mem::take(&mut report.overdue).into_iter().zip(before).collect();
        let more = overdue.into_iter().zip(tasks).collect();
        report.overdue_omitted += omitted + add(&mut list, more, |(work, _)| work.task.age);
        (report.overdue, self.overdue) = list.into_iter().unzip();
        add_sites(&mut report.overdue_sites, sites);
    }

    /// Takes back one that was added, of this scope and line.
    fn take_back_overdue(&mut self, task: TaskKey, scope: &str, spawned_at: &str) {
        let report = &mut self.report;
        match self.overdue.iter().position(|overdue| *overdue == task) {
            Some(at) => _ = (self.overdue.remove(at), report.overdue.remove(at)),
            None => report.overdue_omitted = report.overdue_omitted.saturating_sub(1),
        }
        let is_of = |site: &Site| (&*site.scope, &*site.spawned_at) == (scope, spawned_at);
        if let Some(at) = report.overdue_sites.iter().position(is_of) {
            let site = &mut report.overdue_sites[at];
            site.count = site.count.saturating_sub(1);
            // The oldest of all are listed. Where none of this line is, all that is known of the
            // others is that they are no older.
            let of_it =
                report.overdue.iter().map(|work| &work.task).filter(|work| {
                    (&*work.task.scope, &*work.task.spawned_at) == (scope, spawned_at)
                });
            site.oldest = of_it.map(|work| work.age).max().unwrap_or(site.oldest);
            if site.count == 0 {
                report.overdue_sites.remove(at);
            }
        }
        if report.overdue.is_empty() && report.overdue_omitted == 0 {
            (report.beside_overdue, report.beside_overdue_sites) = (Vec::new(), Vec::new());
            report.beside_overdue_omitted = 0;
        }
    }

    /// Returns for each task the one whose handle it awaits with its own waker, if there is one.
    fn awaited_by(&self, tasks: &[(Straggler, WakerId, TaskKey)]) -> Vec<Option<TaskLabel>> {
        let mut awaited = vec![None; tasks.len()];
        // No more than the report has room for: many scopes, each with overdue work, would look at all
        // the others.
        let room = MOST_LISTED.saturating_sub(self.report.overdue.len());
        let tasks = &tasks[..tasks.len().min(room)];
        if tasks.is_empty() {
            return awaited;
        }
        for node in self.nodes.iter().flatten() {
            node.each_awaited(|waits, label| {
                for (place, _) in
                    awaited.iter_mut().zip(tasks).filter(|(_, (_, own, _))| *own == waits)
                {
                    place.get_or_insert_with(label);
                }
            });
        }
        awaited
    }
}

impl Report {
    /// Adds what was alive at the cut-off.
    pub(super) fn add_stragglers(
        &mut self,
        stragglers: Vec<Straggler>,
        omitted: u64,
        sites: Vec<Site>,
    ) {
        self.stragglers_omitted += omitted + add(&mut self.stragglers, stragglers, |task| task.age);
        add_sites(&mut self.straggler_sites, sites);
    }

    fn add_beside(&mut self, plain: Alive) {
        let (plain, omitted, sites) = plain.stragglers();
        self.beside_overdue_omitted +=
            omitted + add(&mut self.beside_overdue, plain, |task| task.age);
        add_sites(&mut self.beside_overdue_sites, sites);
    }
}

/// Adds to a list of which the oldest are kept, in their order; returns how many were left out.
fn add<T>(list: &mut Vec<T>, more: Vec<T>, age: impl Fn(&T) -> Option<Duration>) -> u64 {
    list.extend(more);
    let Some(surplus) = list.len().checked_sub(MOST_LISTED).filter(|surplus| *surplus > 0) else {
        return 0;
    };
    let mut ages: Vec<_> = list.iter().map(&age).collect();
    let eldest = *ages.select_nth_unstable(surplus).1;
    // Of those that are as old as the youngest that is kept, the first.
    let older = list.iter().filter(|item| age(item) > eldest).count();
    let mut as_old = MOST_LISTED - older;
    list.retain(|item| {
        let kept = age(item) > eldest || age(item) == eldest && as_old > 0;
        as_old -= usize::from(age(item) == eldest && kept);
        kept
    });
    surplus as u64
}

fn add_sites(list: &mut Vec<Site>, more: Vec<Site>) {
    for site in more {
        let place = |site: &Site| (site.scope.clone(), site.spawned_at.clone(), site.kind);
        match list.iter().position(|known| place(known) == place(&site)) {
            Some(at) => {
                let known = &mut list[at];
                known.count += site.count;
                known.oldest = known.oldest.max(site.oldest);
            }
            None if list.len() < MOST_LISTED => list.push(site),
            None => {}
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;
    use std::panic::Location;

    use super::*;
    use crate::contract::options::Options;
    use crate::contract::report::{Outcome, Reason, TaskKind};
    use crate::phase::{Action, Event};
    use crate::program::Answer;
    use crate::program::driver::perform;
    use crate::tests::nowhere::program_with;
    use crate::track::node::Spawn;
    use crate::track::table::TaskRef;

    /// Does what the machine decides, but for what a limit does.
    fn perform_but_cancel(
        program: &Arc<Program>,
        action: Action,
        node: Option<Arc<Node>>,
    ) -> Answer {
        if matches!(action, Action::Cancel(_)) {
            return Answer::Nothing;
        }
        perform(program, action, node)
    }

    /// Graceful tasks of two lines, and one plain task beside them, told to stop; the limit has come.
    fn told(alone: bool) -> (Arc<Program>, Arc<Node>, [Vec<TaskRef>; 2], TaskRef) {
        let limit = Some(Duration::from_nanos(1));
        let program = program_with(Options { drain_limit: limit, ..Options::default() }, false);
        let node = program.open(&program.root(), "scope".into(), &[]);
        let spawn = |kind, place| node.register(Spawn::new(kind, place)).unwrap();
        let [one, other] = [Location::caller(), line_of_the_other()];
        let first = (0..150).map(|_| spawn(TaskKind::Graceful, one)).collect();
        let second = (0..7).map(|_| spawn(TaskKind::Graceful, other)).collect();
        let plain = spawn(TaskKind::Plain, one);
        if alone {
            program.event(Event::Stop(node.id));
        } else {
            program.stop(Reason::Requested(None));
        }
        program.drive(perform_but_cancel);
        (program, node, [first, second], plain)
    }

    fn line_of_the_other() -> &'static Location<'static> {
        Location::caller()
    }

    fn end(program: &Program, tasks: impl IntoIterator<Item = TaskRef>) {
        _ = program.conclude();
        tasks.into_iter().for_each(|task| Node::deregister(task, Outcome::Cancelled));
    }

    #[test]
    fn what_returns_after_its_limit_is_taken_back_from_list_and_counts() {
        let (program, node, [mut first, mut second], plain) = told(false);
        assert_eq!(program.note_overdue(&node).0.len(), MOST_LISTED);
        node.cancel();
        let counts = || {
            let report = &program.lock().report;
            let mut sites: Vec<_> = report.overdue_sites.iter().map(|site| site.count).collect();
            sites.sort_unstable(); // their order is that of addresses
            let beside = report.beside_overdue.len() + report.beside_overdue_sites.len();
            (report.overdue.len() as u64 + report.overdue_omitted, sites, beside)
        };
        assert_eq!(counts(), (157, vec![7, 150], 2));
        // From both ends: listed ones and others.
        for at in [0, 0, 140, 140] {
            Node::deregister(first.remove(at), Outcome::Finished);
        }
        assert_eq!(counts(), (153, vec![7, 146], 2));
        // Cut off, and panicked: it stays.
        Node::deregister(first.remove(0), Outcome::Cancelled);
        Node::deregister(second.remove(0), Outcome::Panicked);
        assert_eq!(counts(), (153, vec![7, 146], 2));
        assert_eq!(program.lock().report.exit_code(), 124);
        second.drain(..).for_each(|task| Node::deregister(task, Outcome::Finished));
        assert_eq!(counts(), (147, vec![1, 146], 2));
        end(&program, first.into_iter().chain([plain]));
    }

    #[test]
    fn nothing_was_overdue_where_all_of_it_returns() {
        for alone in [false, true] {
            let (program, node, [first, second], plain) = told(alone);
            program.note_overdue(&node);
            node.cancel();
            let tasks = program.lock().course.listed.len();
            assert!(!program.lock().report.is_clean());
            first.into_iter().chain(second).for_each(|task| {
                Node::deregister(task, Outcome::Finished);
            });
            let report = program.lock().report.clone();
            assert!(report.is_clean() && report.failures_omitted == 0, "alone: {alone}: {report}");
            assert!(report.beside_overdue.is_empty() && report.overdue_sites.is_empty());
            assert_eq!(program.lock().course.listed.len(), tasks);
            assert!(program.lock().isolated.is_empty());
            end(&program, [plain]);
        }
    }

    #[test]
    fn what_ends_before_its_limit_takes_nothing_back() {
        let (program, node, [mut first, second], plain) = told(false);
        let early = first.remove(0);
        Node::deregister(early, Outcome::Finished);
        program.note_overdue(&node);
        let report = || program.lock().report.overdue_sites.iter().map(|site| site.count).sum();
        assert_eq!((report(), program.lock().report.is_clean()), (156_u64, false));
        Node::deregister(plain, Outcome::Finished);
        assert_eq!(report(), 156);
        end(&program, first.into_iter().chain(second));
    }

    thread_local! {
        static TASK: Cell<Option<TaskRef>> = const { Cell::new(None) };
    }

    /// Performs an action; what is cancelled is dropped at once, as by a worker that is quick.
    fn perform_and_drop(program: &Arc<Program>, action: Action, node: Option<Arc<Node>>) -> Answer {
        let cancels = matches!(action, Action::Cancel(_));
        let answer = perform(program, action, node);
        if let Some(task) = TASK.take().filter(|_| cancels) {
            Node::deregister(task, Outcome::Cancelled);
        }
        answer
    }

    #[test]
    fn work_that_is_cut_off_by_a_driver_that_comes_late_is_named_all_the_same() {
        let ms = Duration::from_millis;
        let options = Options { timeout: Some(ms(30)), ..Options::default() };
        let program = program_with(options, false);
        let deaf = Spawn::new(TaskKind::Graceful, Location::caller());
        let deaf = program.root().register(deaf).unwrap();
        program.stop(Reason::Requested(None));
        program.drive(perform);
        // Past the drain limit and the cut-off, before anybody comes to perform either.
        std::thread::sleep(ms(60));
        TASK.set(Some(deaf));
        program.drive(perform_and_drop);
        assert!(TASK.take().is_none(), "it was cancelled");
        let report = program.conclude();
        assert_eq!((report.overdue.len(), report.exit_code()), (1, 124), "{report}");
    }
}
