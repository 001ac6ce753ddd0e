//! The transitions: what follows for each scope from what has happened and from the time.

use std::mem;

use super::limits::At;
use super::tree::{Armed, Asked, Node, ROOT};
use super::{Action, Due, Machine, Phase};

impl Machine {
    /// Does what is to do now: follows every consequence, and every limit that has come.
    pub(super) fn run(&mut self) {
        loop {
            self.settle_all();
            let Some((at, due)) = self.agenda.take_due(self.now) else {
                return;
            };
            let (mut cut, mut over) = (Vec::new(), Vec::new());
            // First, so that nobody takes back from the agenda what has been taken out of it.
            let comes = |node: &mut Node| {
                let comes = node.armed_at() == Some(at);
                if comes {
                    node.armed = Armed::Not;
                }
                comes
            };
            for due in due.iter() {
                match *due {
                    Due::Scope(id) => {
                        if let Some(index) = self.tree.find(id) {
                            if comes(&mut self.tree[index]) {
                                self.work.push_back(index);
                            }
                        }
                    }
                    Due::Leaves(id) => {
                        if let Some(index) = self.tree.find(id) {
                            self.tree.each_child(index, |node, child| {
                                if comes(node) {
                                    self.work.push_back(child);
                                }
                            });
                        }
                    }
                    _ => {}
                }
            }
            for due in due {
                match due {
                    Due::Scope(_) | Due::Leaves(_) => {}
                    Due::LameDuck => {
                        if self.lame_duck.take().is_some() {
                            self.proceed();
                        }
                    }
                    Due::CutOff(key) => {
                        if let Some(stop) = self.stops.get_mut(key) {
                            if stop.cut_off == at && !stop.cut {
                                stop.cut = true;
                                self.agenda.add(stop.deadline, Due::Deadline(key));
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

    pub(super) fn settle_all(&mut self) {
        loop {
            while let Some(index) = self.work.pop_front() {
                self.settle(index);
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
            self.fire_leaves(index);
            self.work.push_back(index);
        }
    }

    /// Takes one scope as far as it can go.
    pub(super) fn settle(&mut self, index: u32) {
        let node = &self.tree[index];
        if node.phase <= Phase::LameDuck {
            if node.stop().is_none() {
                // What others use stays until they have ended.
                let links = node.links();
                let alone = links.children.is_empty() && links.dependents.is_empty();
                if node.left && alone && index != ROOT {
                    self.tree[index].live = Some(false);
                    self.close(index);
                }
            } else if self.may_fire(index) {
                if node.links().blockers == 0 && !self.show_out_dependents(index) {
                    self.fire(index);
                    self.fire_leaves(index);
                    if self.begin_alone(index) {
                        return;
                    }
                } else if !self.tree[index].noted {
                    self.tree[index].noted = true;
                    self.blocked.push(index);
                }
            }
        }

        let now = self.now;
        let node = &self.tree[index];
        if node.phase < Phase::Draining || node.phase >= Phase::Stopped {
            return;
        }
        if self.keep_open(index) {
            let parent = self.tree[self.tree[index].parent].phase;
            if self.tree[index].phase == Phase::Draining && parent >= Phase::Cancelling {
                self.cancel(index);
                self.work.push_back(index);
            }
            return;
        }
        let node = &self.tree[index];
        let waits = node.share().is_some() || node.links().busy > 0 || node.released;
        if let (Some(stop), false) = (node.stop(), waits) {
            let levels = node.levels;
            let parents = self.tree[node.parent].share().filter(|_| node.was_open);
            let share = parents.unwrap_or_else(|| self.share(stop, levels));
            self.tree[index].set_share(share);
            self.active += 1;
        }
        let node = &self.tree[index];
        if node.phase == Phase::Draining && node.drained(now) {
            self.cancel(index);
        }
        let node = &self.tree[index];
        if node.phase == Phase::Cancelling && node.gone() && node.links().busy == 0 {
            // What has no task below it goes first. The root waits for those that are overdue too.
            let alone = index != ROOT || node.links().children.is_empty();
            if !self.show_out_children(index) && alone {
                self.close(index);
            }
        }
        let node = &mut self.tree[index];
        if node.gone() && mem::take(&mut node.postponed) {
            self.actions.push_back(Action::Close(self.tree.id(index)));
        }
        let node = &self.tree[index];
        if node.phase == Phase::Closing && node.closed && node.gone() {
            if node.links().children.is_empty() {
                self.end(index);
                return;
            }
            self.show_out_children(index);
        }
        if let Some(level) = self.overdue_at(index) {
            if now >= level {
                self.release(index);
            }
        }
        self.rearm(index);
    }

    /// Whether only dependents can keep the scope from firing.
    pub(super) fn may_fire(&self, index: u32) -> bool {
        let node = &self.tree[index];
        node.stop().is_some()
            && node.phase <= Phase::LameDuck
            && (node.asked == Asked::Alone
                || self.tree[self.tree[index].parent].phase >= Phase::Draining)
    }

    pub(super) fn fire(&mut self, index: u32) {
        let id = self.tree.id(index);
        let node = &mut self.tree[index];
        node.phase = Phase::Draining;
        node.graceful = None;
        node.live = None;
        if node.stop().is_some() {
            self.unfired -= 1;
        }
        self.actions.push_back(Action::Fire(id));
        // Where a cycle gives way there may be some that took work for as long as this was untold.
        for at in 0..self.tree[index].links().dependents.len() {
            let dependent = self.tree[index].links().dependents[at].node;
            if self.tree[dependent].open {
                self.work.push_back(dependent);
            }
        }
    }

    /// Fires the leaves below a scope that has just fired, and begins their turns: nothing follows from that
    /// but a limit, which they share. What else is below it is looked at.
    fn fire_leaves(&mut self, index: u32) {
        if self.tree[index].links().children.is_empty() {
            return;
        }
        let (id, now) = (self.tree.id(index), self.now);
        let own = self.tree[index].stop().map(|stop| (stop, self.tree[index].levels + 1));
        let share = own.map(|(stop, levels)| (self.share(stop, levels), stop, levels));
        // Where no time is left, each goes further at once.
        let share = share.filter(|(share, ..)| share.drain > now);
        let cut_off = share.map_or(now, |(_, stop, _)| self.stops[stop as usize].cut_off);
        let (mut fired, mut armed) = (0, 0);
        let (work, actions) = (&mut self.work, &mut self.actions);
        self.tree.each_child(index, |node, child| match share {
            Some((share, stop, levels))
                if node.asked == Asked::Along
                    && node.is_leaf()
                    && node.phase == Phase::Running
                    && (node.stop(), node.levels) == (Some(stop), levels) =>
            {
                node.phase = Phase::Draining;
                (node.graceful, node.live) = (None, None);
                node.set_share(share);
                if share.level < cut_off {
                    node.armed = Armed::Level;
                    armed += 1;
                }
                fired += 1;
                actions.push_back(Action::Fire(node.id(child)));
            }
            _ => work.push_back(child),
        });
        self.unfired -= fired;
        self.active += fired;
        if let Some((share, ..)) = share.filter(|_| armed > 0) {
            self.agenda.add_many(share.level, Due::Leaves(id), armed);
        }
    }

    /// Begins the turn of a leaf that has just fired, as most have: nothing follows from it but a limit. Returns
    /// false, and does nothing, where there is more to do.
    fn begin_alone(&mut self, index: u32) -> bool {
        let node = &self.tree[index];
        let (Some(stop), true) = (node.stop(), node.is_leaf()) else { return false };
        let share = self.share(stop, node.levels);
        if share.drain <= self.now {
            return false;
        }
        self.tree[index].set_share(share);
        self.active += 1;
        self.rearm(index);
        true
    }

    pub(super) fn cancel(&mut self, index: u32) {
        let node = &mut self.tree[index];
        node.phase = Phase::Cancelling;
        if node.links().open_children > 0 {
            self.work.extend(&node.links().children); // open ones follow it
        }
        self.actions.push_back(Action::Cancel(self.tree.id(index)));
    }

    fn close(&mut self, index: u32) {
        let program = self.program.map(|(_, stop)| stop as u32);
        let node = &mut self.tree[index];
        node.noted = node.stop().is_some() && node.stop() != program;
        node.phase = Phase::Closing;
        self.actions.push_back(Action::Close(self.tree.id(index)));
    }

    /// Lets those go ahead that wait for the scope: it has ended, or is overdue.
    pub(super) fn release(&mut self, index: u32) {
        let node = &mut self.tree[index];
        if node.released {
            return;
        }
        node.released = true;
        if node.share().is_some() {
            self.active -= 1;
        }
        if mem::take(&mut node.open) {
            let parent = node.parent;
            self.tree.links_mut(parent).open_children -= 1;
        } else {
            self.wait_no_more(index);
        }
    }

    /// Its parent and what it depends on do not wait for the scope any longer.
    #[inline]
    pub(super) fn wait_no_more(&mut self, index: u32) {
        let parent = self.tree[index].parent;
        if index != ROOT {
            let links = self.tree.links_mut(parent);
            links.busy -= 1;
            if links.busy == 0 {
                self.look_at(parent);
            }
        }
        for at in 0..self.tree[index].links().needs.len() {
            let need = self.tree[index].links().needs[at].node;
            let links = self.tree.links_mut(need);
            links.blockers -= 1;
            if links.blockers == 0 {
                self.look_at(need);
            }
        }
    }

    /// Something that a scope waited for is gone: looks at it, unless it waits for nothing.
    fn look_at(&mut self, index: u32) {
        if self.is_waiting(index) {
            self.work.push_back(index);
        }
    }

    /// Whether there is anything that the scope waits for.
    pub(super) fn is_waiting(&self, index: u32) -> bool {
        let node = &self.tree[index];
        node.stop().is_some() || node.left || node.phase > Phase::LameDuck
    }

    pub(super) fn end(&mut self, index: u32) {
        self.part(index);
        if index == ROOT {
            self.finish(Phase::Stopped);
        } else {
            self.actions.push_back(Action::End(self.tree.id(index)));
        }
    }

    /// Takes a scope out of all that it is part of: it has ended.
    pub(super) fn part(&mut self, index: u32) {
        debug_assert!(self.tree[index].links().children.is_empty());
        self.release(index);
        self.disarm(index);
        for at in 0..self.tree[index].links().needs.len() {
            let need = self.tree[index].links().needs[at].node;
            // It may end by itself once nobody depends on it, of those too that it does not wait for in a stop.
            if self.tree[need].links().dependents.len() == 1 && self.tree[need].left {
                self.work.push_back(need);
            }
        }
        self.tree.unlink(index);
        let node = &mut self.tree[index];
        node.phase = Phase::Stopped;
        let parent = node.parent;
        if let Some(stop) = node.stop() {
            self.leave(stop as usize);
        }
        // Those that it waited for alone are looked at by now.
        if index != ROOT && self.tree[parent].links().children.is_empty() {
            self.look_at(parent);
        }
    }

    /// The same of a leaf that is waited for, and frees it: nobody but its parent has to do with it.
    pub(super) fn part_leaf(&mut self, index: u32) {
        self.disarm(index);
        let node = &self.tree[index];
        debug_assert!(node.is_leaf() && !node.open && !node.released);
        let (parent, stop) = (node.parent, node.stop());
        if node.share().is_some() {
            self.active -= 1;
        }
        if let Some(stop) = stop {
            self.leave(stop as usize);
        }
        if self.tree.unlink_leaf(index) {
            self.look_at(parent);
        }
    }

    pub(super) fn finish(&mut self, phase: Phase) {
        self.tree[ROOT].phase = phase;
        self.actions.push_back(Action::Finish);
        self.finished = true;
        self.active = 0;
        self.unfired = 0;
        self.work.clear();
        self.agenda.clear();
    }
}

/// Limits of one scope.
impl Machine {
    /// When the scope becomes overdue, if it does before the cut-off.
    fn overdue_at(&self, index: u32) -> Option<At> {
        let node = &self.tree[index];
        let (stop, share) = (node.stop()?, node.share()?);
        let before = share.level < self.stops[stop as usize].cut_off;
        (before && !node.released).then_some(share.level)
    }

    pub(super) fn rearm(&mut self, index: u32) {
        let node = &self.tree[index];
        // Before what is alive is told the limit means nothing: `Cancel` is not performed before `Fire`.
        let asked = node.phase == Phase::Draining && node.graceful.is_some();
        let want = if asked && node.share().is_some() && node.links().busy == 0 {
            Armed::Drain
        } else if self.overdue_at(index).is_some() {
            Armed::Level
        } else {
            Armed::Not
        };
        if node.armed == want {
            return;
        }
        self.disarm(index);
        self.tree[index].armed = want;
        if let Some(at) = self.tree[index].armed_at() {
            self.agenda.add(at, Due::Scope(self.tree.id(index)));
        }
    }

    #[inline]
    pub(super) fn disarm(&mut self, index: u32) {
        let node = &mut self.tree[index];
        if let Some(at) = node.armed_at() {
            node.armed = Armed::Not;
            self.agenda.cancel(at);
        }
    }
}
