//! The tree of scopes and the dependencies between them.

use std::ops::{Index, IndexMut};
use std::time::Duration;

use slab::Slab;

use super::limits::{NEVER, Share};
use super::{Phase, ScopeId};

pub(super) const ROOT: u32 = 0;

/// All scopes, by index; an ended one stays until it is freed.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Slab<Node>,
    /// Number of scopes ever opened.
    born: u64,
}

/// One scope. The links are indices: a node outlives what is linked to it.
#[derive(Debug)]
pub(super) struct Node {
    /// Position in the order of opening. Parents are older than their children, dependencies older
    /// than their dependents: the order of age is an order of levels.
    pub(super) born: u64,
    pub(super) phase: Phase,
    /// Root: itself, as in `jump`.
    pub(super) parent: u32,
    /// An ancestor further up (jump pointers), so that ancestry takes logarithmic time.
    jump: u32,
    depth: u32,
    /// Position in the parent's `children`.
    place: u32,
    /// Those that have not ended.
    pub(super) children: Vec<u32>,
    /// Children that are still waited for: neither ended, nor overdue, nor open.
    pub(super) busy: u32,
    pub(super) needs: Vec<Edge>,
    pub(super) dependents: Vec<Edge>,
    /// Children that are open.
    pub(super) open_children: u32,
    /// Dependents that are still waited for: neither ended, nor overdue, nor open.
    pub(super) blockers: u32,
    /// The stop that it belongs to, once asked to stop.
    pub(super) stop: Option<u32>,
    /// Levels from here to the top of the stop, at least 1 in a stop.
    pub(super) levels: u32,
    /// Since its turn.
    pub(super) share: Option<Share>,
    /// The instant for which it is in the agenda.
    pub(super) armed: Option<Duration>,
    /// As told since it fired.
    pub(super) graceful: Option<bool>,
    /// As told since it fired.
    pub(super) live: Option<bool>,
    /// Its parent was not asked to stop when it was.
    pub(super) top: bool,
    pub(super) left: bool,
    /// Empty in a stop, and yet it takes work: nobody waits for it. See `open.rs`.
    pub(super) open: bool,
    /// It was open once: its limits are its parent's.
    pub(super) was_open: bool,
    /// Nothing keeps it open: it was asked to stop itself, or what it follows is about to.
    pub(super) shown_out: bool,
    /// Its tasks are not waited for any longer.
    pub(super) cut: bool,
    pub(super) closed: bool,
    /// It was found with a task when its hooks were to run: they are to run once that is gone.
    pub(super) postponed: bool,
    /// Ended or overdue: nobody waits for it to go ahead.
    pub(super) released: bool,
    /// Was put into `blocked`.
    pub(super) listed: bool,
    /// Belongs to the work of `request`.
    pub(super) marked: bool,
}

/// One end of a dependency: the scope at the other end, and where its edge back is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) node: u32,
    back: u32,
}

impl Tree {
    pub(super) fn new() -> Tree {
        let mut nodes = Slab::new();
        nodes.insert(Node::new(0, ROOT));
        Tree { nodes, born: 1 }
    }

    pub(super) fn id(&self, index: u32) -> ScopeId {
        let serial = self[index].born as u32;
        ScopeId { index, serial }
    }

    /// Finds a scope that has not been freed.
    pub(super) fn get(&self, id: ScopeId) -> Option<&Node> {
        let node = self.nodes.get(id.index())?;
        (node.born as u32 == id.serial).then_some(node)
    }

    /// Finds a scope that has not ended.
    pub(super) fn find(&self, id: ScopeId) -> Option<u32> {
        let node = self.get(id)?;
        (node.phase != Phase::Stopped).then_some(id.index)
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        self.nodes.contains(index as usize)
    }

    /// Adds a scope, or returns `None` if there are 4 billion already.
    ///
    /// Of the dependencies those are left out that have ended or fired, and its ancestors.
    pub(super) fn open(&mut self, parent: u32, depends_on: &[ScopeId]) -> Option<u32> {
        let index = u32::try_from(self.nodes.vacant_key()).ok()?;
        let needs = self.dependencies(parent, depends_on);
        let mut node = Node::new(self.born, parent);
        let above = &self[parent];
        node.depth = above.depth + 1;
        // Skew-binary jump pointers: two jumps of the same length make a longer one.
        let near = &self[above.jump];
        let far = &self[near.jump];
        let same = above.depth - near.depth == near.depth - far.depth;
        node.jump = if same { near.jump } else { parent };
        node.place = above.children.len() as u32;
        self.born += 1;
        self.nodes.insert(node);

        let above = &mut self[parent];
        above.children.push(index);
        above.busy += 1;
        for need in needs {
            self.link(index, need);
        }
        Some(index)
    }

    /// Frees the slot of an ended scope.
    pub(super) fn free(&mut self, id: ScopeId) {
        if self.get(id).is_some_and(|node| node.phase == Phase::Stopped) && id.index != ROOT {
            self.nodes.remove(id.index());
        }
    }

    /// 1 + the most levels of the scopes that wait for this one: parent and dependencies.
    pub(super) fn levels(&self, index: u32) -> u32 {
        let node = &self[index];
        let above = (node.needs.iter().map(|edge| edge.node))
            .chain((index != ROOT).then_some(node.parent))
            .map(|index| &self[index])
            .filter(|node| node.stop.is_some())
            .map(|node| node.levels);
        above.max().unwrap_or(0) + 1
    }

    fn dependencies(&self, parent: u32, depends_on: &[ScopeId]) -> Vec<u32> {
        let mut needs: Vec<u32> = depends_on
            .iter()
            .filter_map(|&id| self.find(id))
            .filter(|&need| self[need].phase <= Phase::LameDuck)
            .filter(|&need| !self.is_ancestor(need, parent))
            .collect();
        needs.sort_unstable();
        needs.dedup();
        needs
    }

    /// Whether `ancestor` is `index` or above it.
    pub(super) fn is_ancestor(&self, ancestor: u32, mut index: u32) -> bool {
        let depth = self[ancestor].depth;
        loop {
            let node = &self[index];
            if node.depth <= depth {
                return index == ancestor;
            }
            index = match self[node.jump].depth >= depth {
                true => node.jump,
                false => node.parent,
            };
        }
    }

    pub(super) fn link(&mut self, dependent: u32, need: u32) {
        let place = self[dependent].needs.len() as u32;
        let node = &mut self[need];
        let back = node.dependents.len() as u32;
        node.blockers += 1;
        node.dependents.push(Edge { node: dependent, back: place });
        let node = &mut self[dependent];
        node.needs.push(Edge { node: need, back });
    }

    /// Takes an ended scope out of its parent and out of all dependencies.
    ///
    /// Each list closes its gap with its last element, whose other end is told its new place.
    pub(super) fn unlink(&mut self, index: u32) {
        let node = &mut self[index];
        let (parent, place) = (node.parent, node.place);
        if index != ROOT {
            let children = &mut self[parent].children;
            children.swap_remove(place as usize);
            if let Some(&moved) = children.get(place as usize) {
                self[moved].place = place;
            }
        }
        // One after the other: two edges may lead to the same scope.
        while let Some(need) = self[index].needs.pop() {
            let edges = &mut self[need.node].dependents;
            edges.swap_remove(need.back as usize);
            if let Some(&moved) = edges.get(need.back as usize) {
                self[moved.node].needs[moved.back as usize].back = need.back;
            }
        }
        while let Some(dependent) = self[index].dependents.pop() {
            let edges = &mut self[dependent.node].needs;
            edges.swap_remove(dependent.back as usize);
            if let Some(&moved) = edges.get(dependent.back as usize) {
                self[moved.node].dependents[moved.back as usize].back = dependent.back;
            }
        }
    }
}

impl Index<u32> for Tree {
    type Output = Node;

    fn index(&self, index: u32) -> &Node {
        &self.nodes[index as usize]
    }
}

impl IndexMut<u32> for Tree {
    fn index_mut(&mut self, index: u32) -> &mut Node {
        &mut self.nodes[index as usize]
    }
}

impl Node {
    fn new(born: u64, parent: u32) -> Node {
        Node {
            born,
            phase: Phase::Running,
            parent,
            jump: ROOT,
            depth: 0,
            place: 0,
            children: Vec::new(),
            busy: 0,
            open_children: 0,
            needs: Vec::new(),
            dependents: Vec::new(),
            blockers: 0,
            stop: None,
            levels: 1,
            share: None,
            armed: None,
            graceful: None,
            live: None,
            top: true,
            left: false,
            open: false,
            was_open: false,
            shown_out: false,
            cut: false,
            closed: false,
            postponed: false,
            released: false,
            listed: false,
            marked: false,
        }
    }

    /// Its turn has begun, its children have gone, and so have its graceful tasks or their time.
    pub(super) fn drained(&self, now: Duration) -> bool {
        let Some(share) = self.share else {
            return false;
        };
        let idle = self.graceful == Some(false);
        let late = share.drain != NEVER && now >= share.drain;
        self.busy == 0 && (idle || late)
    }

    /// No task is waited for.
    pub(super) fn gone(&self) -> bool {
        self.cut || self.live == Some(false)
    }
}
