//! The stops: what a request reaches, and what becomes of it at the cut-off and at the deadline.

use std::mem;
use std::time::Duration;

use super::limits::{At, Ending, Share};
use super::tree::{Asked, ROOT};
use super::{Action, Due, Machine, Phase, ScopeId};
use crate::few::Few;

/// One stop: of the program, or of one scope and what depends on it.
///
/// They come in the order of their requests and have the same spans, so an earlier one has limits that
/// are no later. Below a scope of a stop there are only scopes of the same or of earlier stops.
#[derive(Debug)]
pub(super) struct Stop {
    /// As it was asked for: what the levels share.
    asked: At,
    /// The same, or nearer where the process ends before.
    pub(super) cut_off: At,
    pub(super) deadline: At,
    /// The cut-off has been taken from the agenda, and the deadline, which is no earlier, put there.
    pub(super) cut: bool,
    /// The deadline has been taken from the agenda.
    pub(super) over: bool,
    alive: usize,
    /// Without those that were asked along with their parent, which is one.
    members: Few<ScopeId>,
}

/// Requests.
impl Machine {
    pub(super) fn stop_program(&mut self, lame_duck: Duration) {
        if self.program.is_some() {
            return;
        }
        self.program = Some((self.now, self.new_stop()));
        if lame_duck.is_zero() {
            self.proceed();
        } else {
            self.tree[ROOT].phase = Phase::LameDuck;
            self.actions.push_back(Action::LameDuck);
            let end = self.now.after(lame_duck);
            self.agenda.add(end, Due::LameDuck);
            self.lame_duck = Some(end);
        }
    }

    /// Starts the stop of the program itself, once it was requested and its lame duck phase is over.
    pub(super) fn proceed(&mut self) {
        if let Some((_, stop)) = self.program {
            if self.tree[ROOT].stop().is_none() {
                if let Some(end) = self.lame_duck.take() {
                    self.agenda.cancel(end);
                }
                self.request(ROOT, stop as u32);
            }
        }
    }

    pub(super) fn stop_scope(&mut self, index: u32) {
        // It may be open for others, or come to be, and is asked itself.
        if self.tree[index].stop().is_some() {
            return self.show_out(index);
        }
        self.tree[index].shown_out = true;
        let stop = match self.program {
            Some((_, stop)) => stop, // lame duck: the program's limits are the earlier ones
            None => self.new_stop(),
        };
        self.request(index, stop as u32);
    }

    fn new_stop(&mut self) -> usize {
        let asked = self.now.after(self.limits.cut_off);
        let cut_off = self.by_ending(asked, |ending| ending.cut_off);
        let deadline = self.now.after(self.limits.deadline);
        let deadline = self.by_ending(deadline, |ending| ending.deadline);
        let key = self.stops.insert(Stop {
            asked,
            cut_off,
            deadline,
            cut: false,
            over: false,
            alive: 0,
            members: Few::new(),
        });
        self.agenda.add(cut_off, Due::CutOff(key));
        key
    }

    /// Asks a scope to stop, with all that is below it or depends on it.
    ///
    /// Scopes that an earlier stop reached stay in that, but have more levels to the top now.
    fn request(&mut self, top: u32, stop: u32) {
        let node = &self.tree[top];
        if node.links().children.is_empty() && node.links().dependents.is_empty() {
            return self.ask(top, stop); // as most scopes that are stopped alone
        }
        // Breadth first: children come in the order of their age, nearly, so that there is little to sort.
        let mut found = vec![(node.born, top)];
        self.tree[top].marked = true;
        let (mut at, mut below) = (0, Vec::new());
        while let Some(&(_, index)) = found.get(at) {
            at += 1;
            let links = self.tree[index].links();
            // Leaves are asked with their parent.
            below.extend(links.children.iter().filter(|&&child| !self.tree[child].goes_along()));
            below.extend(links.dependents.iter().map(|edge| edge.node));
            for reached in below.drain(..) {
                let node = &mut self.tree[reached];
                if !mem::replace(&mut node.marked, true) {
                    found.push((node.born, reached));
                }
            }
        }
        found.sort_unstable();

        for (_, index) in found {
            self.tree[index].marked = false;
            self.ask(index, stop);
            self.ask_leaves(index, stop);
        }
    }

    /// Asks those below a scope, which was just asked, of which nobody need know anything else.
    fn ask_leaves(&mut self, index: u32, stop: u32) {
        let (levels, mut count) = (self.tree[index].levels + 1, 0);
        self.tree.each_child(index, |node, _| {
            if node.goes_along() {
                node.set_stop(stop);
                (node.levels, node.asked) = (levels, Asked::Along);
                count += 1;
            }
        });
        self.unfired += count;
        self.stops[stop as usize].alive += count;
    }

    /// Asks one scope to stop, those above it that are asked before it.
    fn ask(&mut self, index: u32, stop: u32) {
        let levels = self.tree.levels(index);
        let top = index == ROOT || self.tree[self.tree[index].parent].stop().is_none();
        let node = &mut self.tree[index];
        let more = levels > node.levels;
        node.levels = levels;
        match (node.stop(), node.share()) {
            (None, _) => {
                node.asked = if top { Asked::Alone } else { Asked::Below };
                // The others are looked at when their parent fires.
                if top || node.phase > Phase::LameDuck {
                    self.work.push_back(index);
                }
                self.join(index, stop);
            }
            (Some(own), Some(share)) if more => {
                let less = self.share(own, levels);
                self.limit(index, share.min(less));
            }
            _ => {}
        }
    }

    pub(super) fn join(&mut self, index: u32, stop: u32) {
        let id = self.tree.id(index);
        let node = &mut self.tree[index];
        node.set_stop(stop);
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

/// The end of the process.
impl Machine {
    /// Nothing has more than `span` from now.
    pub(super) fn ends_within(&mut self, span: Duration) {
        let new = Ending::new(self.now, span);
        let ending = self.ending.map_or(new, |old| old.min(new));
        if self.ending.replace(ending) == Some(ending) || self.finished {
            return;
        }
        self.proceed(); // whom a lame duck serves is not served by a process that is gone
        let mut keys = Vec::new();
        for (key, stop) in &mut self.stops {
            if !stop.cut && stop.cut_off > ending.cut_off {
                self.agenda.cancel(stop.cut_off);
                stop.cut_off = ending.cut_off;
                self.agenda.add(stop.cut_off, Due::CutOff(key));
            }
            if !stop.over && stop.deadline > ending.deadline {
                if stop.cut {
                    self.agenda.cancel(stop.deadline);
                    self.agenda.add(ending.deadline, Due::Deadline(key));
                }
                stop.deadline = ending.deadline;
            }
            keys.push(key);
        }
        // Parents first: what was open has its parent's limits.
        for index in self.members(&keys) {
            let node = &self.tree[index];
            let Some(share) = node.share() else { continue };
            let parents = self.tree[node.parent].share().filter(|_| node.was_open);
            let less = parents.unwrap_or_else(|| ending.share(self.now, node.levels));
            self.limit(index, share.min(less));
        }
    }

    /// Gives a scope whose turn has begun less time than it had.
    fn limit(&mut self, index: u32, share: Share) {
        self.disarm(index);
        self.tree[index].set_share(share);
        self.work.push_back(index);
    }

    /// An instant, or that of the process's end where it is the earlier one.
    pub(super) fn by_ending(&self, at: At, end: impl Fn(&Ending) -> At) -> At {
        self.ending.as_ref().map_or(at, |ending| at.min(end(ending)))
    }

    /// What a scope of this stop has, whose turn begins now, with so many levels to the top.
    pub(super) fn share(&mut self, stop: u32, levels: u32) -> Share {
        let asked = self.stops[stop as usize].asked;
        // Many scopes of a level have their turn in one instant, and to divide takes long.
        let of = (self.now, asked, levels);
        let own = match self.last_share {
            Some((last, share)) if last == of => share,
            _ => self.limits.share(self.now, asked, levels),
        };
        self.last_share = Some((of, own));
        self.ending.map_or(own, |ending| own.min(ending.share(self.now, levels)))
    }
}

/// Ends.
impl Machine {
    /// One scope of a stop has ended; a stop without scopes is over.
    pub(super) fn leave(&mut self, key: usize) {
        let stop = &mut self.stops[key];
        stop.alive -= 1;
        let program = self.program.is_some_and(|(_, stop)| stop == key);
        if stop.alive == 0 && !program {
            if !stop.cut {
                self.agenda.cancel(stop.cut_off);
            } else if !stop.over {
                self.agenda.cancel(stop.deadline);
            }
            self.stops.remove(key);
        }
    }

    pub(super) fn open_stops(&mut self, filter: impl Fn(&Stop) -> bool) -> Vec<usize> {
        let mut keys = Vec::new();
        for (key, stop) in &mut self.stops {
            if filter(stop) {
                if !stop.cut {
                    self.agenda.cancel(stop.cut_off);
                    self.agenda.add(stop.deadline, Due::Deadline(key));
                    stop.cut = true;
                }
                keys.push(key);
            }
        }
        keys
    }

    /// Takes the scopes of some stops past their tasks: nothing waits for tasks that live now.
    pub(super) fn sweep(&mut self, stops: &[usize]) {
        let members = self.members(stops);
        self.fire_all(&members);
        for &index in members.iter().rev() {
            self.abandon(index);
            self.release(index);
        }
        // In this order, which is not that of the work so far: dependents close first.
        for &index in members.iter().rev() {
            self.settle(index);
        }
    }

    /// Ends the scopes of some stops, whatever they are doing.
    pub(super) fn give_up(&mut self, stops: &[usize]) {
        let members = self.members(stops);
        self.fire_all(&members);
        for &index in members.iter().rev() {
            self.abandon(index);
            self.end(index);
        }
    }

    /// The scopes of some stops that have not ended, oldest first.
    fn members(&self, stops: &[usize]) -> Vec<u32> {
        let listed = stops.iter().filter_map(|&key| self.stops.get(key));
        let listed = listed.flat_map(|stop| stop.members.iter());
        let mut members = Vec::new();
        for index in listed.filter_map(|&id| self.tree.find(id)) {
            let along = |child: &&u32| self.tree[**child].asked == Asked::Along;
            members.push(index);
            members.extend(self.tree[index].links().children.iter().filter(along));
        }
        members.sort_unstable_by_key(|&index| self.tree[index].born);
        members
    }

    fn fire_all(&mut self, members: &[u32]) {
        for &index in members {
            if self.tree[index].phase <= Phase::LameDuck {
                self.fire(index);
                self.work.extend(&self.tree[index].links().children);
            }
        }
    }

    fn abandon(&mut self, index: u32) {
        if self.tree[index].phase == Phase::Draining {
            self.cancel(index);
        }
        let id = self.tree.id(index);
        let node = &mut self.tree[index];
        node.shown_out = true;
        if !node.gone() {
            node.cut = true;
            self.actions.push_back(Action::CutOff(id));
        }
    }
}
