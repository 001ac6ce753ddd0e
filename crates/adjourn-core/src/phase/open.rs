//! Empty is not over: scopes that have no task in a stop, and yet take work.
//!
//! A scope that has been told, has no task and still has a handle is **open** for as long as what it
//! follows takes work: its parent, once that has been told, or a scope that it depends on, that is
//! asked to stop too and that has yet to be told. One that was asked to stop itself follows nobody, whoever
//! is asked later. It holds up nobody: an open scope is left out of its parent's `busy` and of its
//! needs' `blockers`. With a graceful task in it, it is waited for again, with its parent's limits; a
//! plain one is cancelled when its parent's are.
//!
//! When its parent cancels, it cancels: it takes what the parent takes. (One whose own tasks were
//! cancelled in its turn, before its parent's, ends with them.) Before its parent closes, and
//! before a scope that it depends on is told, it is **shown out**: it closes, is waited for, and takes
//! no more.

use super::tree::{Node, ROOT};
use super::{Machine, Phase};

impl Machine {
    /// Notes whether the scope is open. Returns whether it is.
    pub(super) fn keep_open(&mut self, index: u32) -> bool {
        match (self.tree[index].open, self.may_be_open(index)) {
            (false, true) => self.leave_open(index),
            (true, false) => self.wait_again(index),
            _ => {}
        }
        self.tree[index].open
    }

    pub(super) fn may_be_open(&self, index: u32) -> bool {
        let node = &self.tree[index];
        let empty = node.live == Some(false);
        let idle = match node.phase {
            // Plain tasks that came into it are its parent's: they hold up nobody either.
            Phase::Draining => node.graceful == Some(false) && (empty || node.was_open),
            // It takes no more than its parent does; one that was cancelled in its own turn ends.
            Phase::Cancelling => empty && self.tree[node.parent].phase >= Phase::Cancelling,
            _ => false,
        };
        let kept = !node.left && !node.shown_out && !node.released && !node.cut;
        index != ROOT && idle && kept && node.links().busy == 0 && self.follows(index)
    }

    /// Whether there is something above that the scope takes work for.
    fn follows(&self, index: u32) -> bool {
        let node = &self.tree[index];
        let untold = |node: &Node| node.stop().is_some() && node.phase <= Phase::LameDuck;
        self.tree[node.parent].phase >= Phase::Draining
            || node.links().needs.iter().any(|edge| untold(&self.tree[edge.node]))
    }

    fn leave_open(&mut self, index: u32) {
        let node = &mut self.tree[index];
        (node.open, node.was_open) = (true, true);
        let parent = node.parent;
        if node.take_share() {
            self.active -= 1;
        }
        self.disarm(index);
        self.tree.links_mut(parent).open_children += 1;
        self.wait_no_more(index);
    }

    /// Something is in the scope again, or it is to close: it is waited for, and so is what it is in.
    pub(super) fn wait_again(&mut self, index: u32) {
        let mut index = index;
        while self.tree[index].open {
            let node = &mut self.tree[index];
            node.open = false;
            let parent = node.parent;
            for at in 0..self.tree[index].links().needs.len() {
                let need = self.tree[index].links().needs[at].node;
                self.tree.links_mut(need).blockers += 1;
            }
            let links = self.tree.links_mut(parent);
            links.open_children -= 1;
            links.busy += 1;
            self.work.push_back(index);
            index = parent;
        }
    }

    /// Lets an open scope close.
    pub(super) fn show_out(&mut self, index: u32) {
        // Once: a deep chain would be shown out level by level, each time by all above.
        if !std::mem::replace(&mut self.tree[index].shown_out, true) {
            self.work.push_back(index);
        }
    }

    /// The same for all that follow the scope and are open. Returns whether there were any.
    pub(super) fn show_out_children(&mut self, index: u32) -> bool {
        if self.tree[index].links().open_children == 0 {
            return false;
        }
        for at in 0..self.tree[index].links().children.len() {
            let child = self.tree[index].links().children[at];
            if self.tree[child].open {
                self.show_out(child);
            }
        }
        true
    }

    /// The same for all that depend on the scope and are open. Returns whether there were any.
    pub(super) fn show_out_dependents(&mut self, index: u32) -> bool {
        let mut any = false;
        for at in 0..self.tree[index].links().dependents.len() {
            let dependent = self.tree[index].links().dependents[at].node;
            if self.tree[dependent].open {
                self.show_out(dependent);
                any = true;
            }
        }
        any
    }
}
