//! What was still alive at a limit: told to finish and past the drain limit, or past the cut-off.
//!
//! Only the program's own stop sets the exit code. What is cut off in a scope that was stopped alone
//! before that is a failure that the program isolates: it goes on.

use std::sync::Arc;
use std::time::Duration;

use super::Program;
use crate::contract::report::{
    Failure, FailureKind, MOST_LISTED, OverdueTask, Report, Site, Straggler, TaskLabel,
};
use crate::phase::Phase;
use crate::track::node::{Alive, Late, Node};
use crate::track::wakes::WakerId;

impl Program {
    /// Tells of what was alive at the cut-off of a scope.
    pub(crate) fn add_stragglers(&self, alive: Alive) {
        let (stragglers, omitted, sites) = alive.stragglers();
        let told = stragglers.clone();
        if self.is_isolated() {
            let lines = stragglers.iter().map(|straggler| format!("{straggler}, at the cut-off"));
            self.isolate(lines.collect(), omitted);
        } else {
            self.lock().report.add_stragglers(stragglers, omitted, sites);
        }
        told.iter().for_each(super::log::straggler);
    }

    /// Notes the graceful work that is about to be cancelled at the drain limit of a scope, if there is
    /// any, and for what it was waiting. What is cut off altogether is a straggler instead. Others are
    /// yet to be told of what it returns: what they do may block.
    pub(crate) fn note_overdue(&self, node: &Arc<Node>) -> Vec<OverdueTask> {
        let now = self.now();
        let Some(Late { graceful, plain }) = node.late(now) else { return Vec::new() };
        let state = self.lock();
        let limit = state.machine.drain_limit(node.id);
        let cut = state.machine.is_cut_off(node.id);
        drop(state);
        let Some(limit) = limit.filter(|_| !cut) else { return Vec::new() };
        let awaited = self.awaited_by(&graceful.listed);
        let Alive { listed, omitted, sites } = graceful;
        let work = listed.into_iter().zip(awaited).map(|((task, _), waiting_for)| OverdueTask {
            task,
            limit,
            waiting_for,
        });
        let work: Vec<_> = work.collect();
        if self.is_isolated() {
            let lines = work.iter().map(|overdue| format!("{overdue}, at its drain limit"));
            self.isolate(lines.collect(), omitted);
        } else {
            let mut state = self.lock();
            state.report.add_overdue(work.clone(), omitted, sites);
            state.report.add_beside(plain);
        }
        work
    }

    /// Whether what is cut off now belongs to the stop of a scope alone.
    fn is_isolated(&self) -> bool {
        let state = self.lock();
        let running = state.machine.phase(state.machine.root()) == Phase::Running;
        running && !state.machine.is_stopping()
    }

    fn isolate(&self, lines: Vec<String>, omitted: u64) {
        let at = self.now();
        let kind = FailureKind::CutOff;
        let mut state = self.lock();
        for origin in lines {
            let failure =
                Failure { at, kind, origin, messages: Vec::new(), fatal: false }.bounded();
            state.report.add_failure(failure);
        }
        state.report.failures_omitted += omitted;
    }

    /// Returns for each task the one whose handle it awaits with its own waker, if there is one.
    fn awaited_by(&self, tasks: &[(Straggler, WakerId)]) -> Vec<Option<TaskLabel>> {
        let mut awaited = vec![None; tasks.len()];
        // No more than the report has room for: many scopes, each with overdue work, would look at all
        // the others.
        let room = MOST_LISTED.saturating_sub(self.lock().report.overdue.len());
        let tasks = &tasks[..tasks.len().min(room)];
        if tasks.is_empty() {
            return awaited;
        }
        for node in self.nodes() {
            node.each_awaited(|waits, label| {
                for (place, _) in
                    awaited.iter_mut().zip(tasks).filter(|(_, (_, own))| *own == waits)
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

    fn add_overdue(&mut self, overdue: Vec<OverdueTask>, omitted: u64, sites: Vec<Site>) {
        self.overdue_omitted += omitted + add(&mut self.overdue, overdue, |work| work.task.age);
        add_sites(&mut self.overdue_sites, sites);
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
