//! Cycles through parents: which scope of one goes ahead.

use super::{Machine, Phase};

impl Machine {
    /// Nothing is active and some scope waits to fire: finds one of a cycle, its dependents being
    /// what it is that keeps it.
    pub(super) fn in_cycle(&mut self) -> Option<u32> {
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
        let waited = |&index: &u32| !self.tree[index].released && !self.tree[index].open;
        if self.may_fire(index) {
            let mut dependents = node.links().dependents.iter().map(|edge| edge.node);
            dependents.find(waited)
        } else if node.phase <= Phase::LameDuck {
            Some(node.parent)
        } else {
            node.links().children.iter().copied().find(waited)
        }
    }
}
