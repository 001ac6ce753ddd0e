//! The tree of scopes and the dependencies between them.

use std::mem;
use std::ops::{Index, IndexMut};

use slab::Slab;

use super::limits::{At, Share};
use super::{Phase, ScopeId};
use crate::few::room;

pub(super) const ROOT: u32 = 0;

/// All scopes, by index; an ended one stays until it is freed.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Slab<Node>,
    /// Number of scopes ever opened.
    born: u64,
}

/// One scope. The links are indices: a node outlives what is linked to it.
///
/// Most scopes are leaves, and there may be a million of them: what a leaf does not have is in its `links`.
#[derive(Debug)]
pub(super) struct Node {
    /// Position in the order of opening. Parents are older than their children, dependencies older
    /// than their dependents: the order of age is an order of levels.
    pub(super) born: u64,
    links: Option<Box<Links>>,
    /// Means something once `has_turn`.
    share: Share,
    /// Root: itself.
    pub(super) parent: u32,
    /// Position in the parent's `children`.
    place: u32,
    /// The stop that it belongs to, once asked to stop; `NO_STOP` before.
    stop: u32,
    /// Levels from here to the top of the stop, at least 1 in a stop.
    pub(super) levels: u32,
    pub(super) phase: Phase,
    /// Its turn has begun.
    has_turn: bool,
    /// Which of its instants it is in the agenda for.
    pub(super) armed: Armed,
    /// As told since it fired.
    pub(super) graceful: Option<bool>,
    /// As told since it fired.
    pub(super) live: Option<bool>,
    pub(super) asked: Asked,
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
    /// While it has not fired: it was put into `blocked`. Once it closes: it ends in a stop from before the
    /// program's. One byte for both: there is none left.
    pub(super) noted: bool,
    /// Belongs to the work of `request`.
    pub(super) marked: bool,
}

const _: () = assert!(size_of::<Node>() <= 64, "there may be a million of them");

const NO_STOP: u32 = u32::MAX;

/// What a scope has that has others below it, or an order.
#[derive(Debug)]
pub(super) struct Links {
    /// An ancestor further up (jump pointers), so that ancestry takes logarithmic time. Root: itself.
    jump: u32,
    depth: u32,
    /// Those that have not ended.
    pub(super) children: Vec<u32>,
    pub(super) needs: Vec<Edge>,
    pub(super) dependents: Vec<Edge>,
    /// Children that are still waited for: neither ended, nor overdue, nor open.
    pub(super) busy: u32,
    /// Children that are open.
    pub(super) open_children: u32,
    /// Dependents that are still waited for: neither ended, nor overdue, nor open.
    pub(super) blockers: u32,
}

/// With whom a scope was asked to stop, once it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// Its parent was not, by then.
    Alone,
    /// Its parent was before it.
    Below,
    /// It was a leaf, and its parent's request was its own too.
    Along,
}

/// The instant for which a scope is in the agenda.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Armed {
    Not,
    /// Its drain limit.
    Drain,
    /// When it is overdue.
    Level,
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
        let links = Some(Box::new(Links::new(ROOT, 0)));
        nodes.insert(Node { links, ..Node::new(0, ROOT) });
        Tree { nodes, born: 1 }
    }

    pub(super) fn id(&self, index: u32) -> ScopeId {
        self[index].id(index)
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
        self.born += 1;
        let above = self.links_mut(parent);
        node.place = above.children.len() as u32;
        above.children.push(index);
        above.busy += 1;
        if self.nodes.len() == self.nodes.capacity() {
            self.nodes.reserve_exact(room(self.nodes.len()));
        }
        self.nodes.insert(node);
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
        let above = (node.links().needs.iter().map(|edge| edge.node))
            .chain((index != ROOT).then_some(node.parent))
            .map(|index| &self[index])
            .filter(|node| node.stop().is_some())
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
        let depth = self.depth(ancestor);
        while self.depth(index) > depth {
            let jump = self[index].links.as_ref().map(|links| links.jump);
            let near = |jump: &u32| self.depth(*jump) >= depth;
            index = jump.filter(near).unwrap_or(self[index].parent);
        }
        index == ancestor
    }

    fn depth(&self, index: u32) -> u32 {
        let node = &self[index];
        node.links.as_ref().map_or_else(|| self[node.parent].links().depth + 1, |links| links.depth)
    }

    /// What the scope has that others do not; from now on it is no leaf.
    #[inline]
    pub(super) fn links_mut(&mut self, index: u32) -> &mut Links {
        let links = self[index].links.take().unwrap_or_else(|| self.new_links(index));
        self[index].links.insert(links)
    }

    #[cold]
    fn new_links(&self, index: u32) -> Box<Links> {
        let parent = self[index].parent;
        // Skew-binary jump pointers: two jumps of the same length make a longer one.
        let above = self[parent].links();
        let near = self[above.jump].links();
        let far = self[near.jump].links();
        let same = above.depth - near.depth == near.depth - far.depth;
        let jump = if same { near.jump } else { parent };
        Box::new(Links::new(jump, above.depth + 1))
    }

    /// Calls `each` with every scope below this one, and its index.
    pub(super) fn each_child(&mut self, index: u32, mut each: impl FnMut(&mut Node, u32)) {
        let Some(links) = &mut self[index].links else { return };
        let children = mem::take(&mut links.children);
        children.iter().for_each(|&child| each(&mut self[child], child));
        self.links_mut(index).children = children;
    }

    pub(super) fn link(&mut self, dependent: u32, need: u32) {
        let place = self[dependent].links().needs.len() as u32;
        let links = self.links_mut(need);
        let back = links.dependents.len() as u32;
        links.blockers += 1;
        links.dependents.push(Edge { node: dependent, back: place });
        self.links_mut(dependent).needs.push(Edge { node: need, back });
    }

    /// Takes a leaf that has ended, and was waited for, out of its parent, and frees its slot. Returns whether
    /// that parent waits for none any more.
    pub(super) fn unlink_leaf(&mut self, index: u32) -> bool {
        let Node { parent, place, .. } = self.nodes.remove(index as usize);
        let links = self.links_mut(parent);
        links.busy -= 1;
        links.children.swap_remove(place as usize);
        let (waits, moved) = (links.busy > 0, links.children.get(place as usize).copied());
        if let Some(moved) = moved {
            self[moved].place = place;
        }
        !waits
    }

    /// Takes an ended scope out of its parent and out of all dependencies.
    ///
    /// Each list closes its gap with its last element, whose other end is told its new place.
    pub(super) fn unlink(&mut self, index: u32) {
        let node = &mut self[index];
        let (parent, place, leaf) = (node.parent, node.place, node.links.is_none());
        if index != ROOT {
            let children = &mut self.links_mut(parent).children;
            children.swap_remove(place as usize);
            if let Some(&moved) = children.get(place as usize) {
                self[moved].place = place;
            }
        }
        if leaf {
            return;
        }
        // One after the other: two edges may lead to the same scope.
        while let Some(need) = self.links_mut(index).needs.pop() {
            let edges = &mut self.links_mut(need.node).dependents;
            edges.swap_remove(need.back as usize);
            if let Some(&moved) = edges.get(need.back as usize) {
                self.links_mut(moved.node).needs[moved.back as usize].back = need.back;
            }
        }
        while let Some(dependent) = self.links_mut(index).dependents.pop() {
            let edges = &mut self.links_mut(dependent.node).needs;
            edges.swap_remove(dependent.back as usize);
            if let Some(&moved) = edges.get(dependent.back as usize) {
                self.links_mut(moved.node).dependents[moved.back as usize].back = dependent.back;
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
            links: None,
            share: Share::NEVER,
            parent,
            place: 0,
            stop: NO_STOP,
            levels: 1,
            phase: Phase::Running,
            has_turn: false,
            armed: Armed::Not,
            graceful: None,
            live: None,
            asked: Asked::Alone,
            left: false,
            open: false,
            was_open: false,
            shown_out: false,
            cut: false,
            closed: false,
            postponed: false,
            released: false,
            noted: false,
            marked: false,
        }
    }

    /// Its name, where it is at this index.
    #[inline]
    pub(super) fn id(&self, index: u32) -> ScopeId {
        ScopeId { index, serial: self.born as u32 }
    }

    #[inline]
    pub(super) fn links(&self) -> &Links {
        static NONE: Links = Links::new(ROOT, 0);
        self.links.as_deref().unwrap_or(&NONE)
    }

    /// It has nothing below it and no order, and never had.
    pub(super) fn is_leaf(&self) -> bool {
        self.links.is_none()
    }

    /// It does in a stop what its parent does: nothing is known of it but that it is there.
    #[inline]
    pub(super) fn goes_along(&self) -> bool {
        self.is_leaf() && self.phase == Phase::Running && self.stop == NO_STOP
    }

    /// The stop that it belongs to, once asked to stop.
    #[inline]
    pub(super) fn stop(&self) -> Option<u32> {
        (self.stop != NO_STOP).then_some(self.stop)
    }

    pub(super) fn set_stop(&mut self, stop: u32) {
        self.stop = stop;
    }

    /// Since its turn.
    #[inline]
    pub(super) fn share(&self) -> Option<Share> {
        self.has_turn.then_some(self.share)
    }

    /// Begins its turn, or has it end sooner. It is not in the agenda.
    pub(super) fn set_share(&mut self, share: Share) {
        debug_assert!(self.armed == Armed::Not);
        (self.share, self.has_turn) = (share, true);
    }

    /// Takes back that its turn has begun; returns whether it had.
    pub(super) fn take_share(&mut self) -> bool {
        mem::take(&mut self.has_turn)
    }

    /// The instant for which it is in the agenda.
    pub(super) fn armed_at(&self) -> Option<At> {
        match self.armed {
            Armed::Not => None,
            Armed::Drain => Some(self.share.drain),
            Armed::Level => Some(self.share.level),
        }
    }

    /// Its turn has begun, its children have gone, and so have its graceful tasks or their time.
    pub(super) fn drained(&self, now: At) -> bool {
        let idle = self.graceful == Some(false);
        let late = self.share.drain != At::NEVER && now >= self.share.drain;
        self.has_turn && self.links().busy == 0 && (idle || late)
    }

    /// No task is waited for.
    pub(super) fn gone(&self) -> bool {
        self.cut || self.live == Some(false)
    }
}

impl Links {
    const fn new(jump: u32, depth: u32) -> Links {
        Links {
            jump,
            depth,
            children: Vec::new(),
            needs: Vec::new(),
            dependents: Vec::new(),
            busy: 0,
            open_children: 0,
            blockers: 0,
        }
    }
}
