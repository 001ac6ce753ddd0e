//! The tracking of one task, from its spawn to its end.

use std::sync::Arc;
use std::task::Waker;

use super::listing::age_now;
use super::{CleanupId, Node, Tasks};
use crate::contract::error::Place;
use crate::contract::report::{Outcome, TaskKind};
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering::SeqCst;
use crate::track::context;
use crate::track::table::{
    self, Chunk, Entry, Insert, Mark, Name, Removed, Slots, TaskRef, Word, flag,
};
use crate::track::wakes::Wakes;

/// What a spawn asks for.
pub(crate) struct Spawn {
    pub(crate) kind: TaskKind,
    pub(crate) name: Option<Name>,
    pub(crate) place: Place,
    pub(crate) background: bool,
}

/// What a task's end means to others.
struct Departure {
    /// The report wants to know, since just now perhaps.
    listed: bool,
    /// Its chunk has room again and is in no list of such.
    unlisted: bool,
    /// It was cut off before.
    cut_off: bool,
    /// It was the last graceful one of a scope that drains.
    drained: bool,
    /// It was the last one of its scope.
    emptied: bool,
    /// It was the last one that kept the program alive.
    idle: bool,
}

impl Spawn {
    pub(crate) fn new(kind: TaskKind, place: Place) -> Spawn {
        Spawn { kind, name: None, place, background: false }
    }
}

impl Departure {
    fn matters(&self) -> bool {
        self.listed | self.unlisted | self.cut_off | self.drained | self.emptied | self.idle
    }
}

impl Node {
    /// Registers a task, or refuses it.
    #[inline]
    pub(crate) fn register(self: &Arc<Node>, spawn: Spawn) -> Option<TaskRef> {
        let (mark, chunk) = self.register_at(spawn)?;
        Some(TaskRef::running(mark, chunk))
    }

    /// The same; what it returns fits into registers.
    fn register_at(self: &Arc<Node>, mut spawn: Spawn) -> Option<(&'static Mark, &'static Chunk)> {
        let last = context::chunk_of(self.uid);
        let task = match last.and_then(|chunk| chunk.insert_unnoted(self.uid, &mut spawn)) {
            Some(task) => task,
            None => self.register_noted(last, spawn)?,
        };
        Some((task.mark(), task.chunk()))
    }

    /// The same where others may have to hear of it, or another chunk is needed.
    #[cold]
    fn register_noted(
        self: &Arc<Node>,
        chunk: Option<&'static Chunk>,
        mut spawn: Spawn,
    ) -> Option<TaskRef> {
        let (mut insert, mut full) = (Insert::Full, None);
        if let Some((chunk, mut slots)) = chunk.and_then(|chunk| Some((chunk, chunk.try_lock()?))) {
            insert = chunk.insert(&mut slots, self.uid, &mut spawn, false);
            full = Some(chunk);
        }
        if matches!(insert, Insert::Full) {
            insert = self.lock().insert(self, &mut spawn, false, full);
        }
        if matches!(insert, Insert::Ask) {
            insert = self.insert_admitted(spawn);
        }
        let Insert::Done { task, tell } = insert else { return None };
        context::set_chunk(self.uid, task.chunk());
        if tell {
            self.above().sync(self);
        }
        Some(task)
    }

    /// Registers the first task, or the first graceful one, of a scope that has been told, unless the
    /// program has decided by now that it takes no more of its kind.
    fn insert_admitted(self: &Arc<Node>, mut spawn: Spawn) -> Insert {
        let mut insert = Insert::Refused;
        let admitted = self.above().admit(self, spawn.kind, &mut || {
            insert = self.lock().insert(self, &mut spawn, true, None);
        });
        if !admitted {
            self.lock().refuse();
        }
        insert
    }

    /// Counts a task: whether it is the first of its chunk, and whether it is graceful. Returns
    /// whether it is the first of its scope in either way, or `None`, with nothing counted, where that
    /// would be so in a scope that has been told and the program has yet to admit it. The lock of the
    /// chunk is held.
    ///
    /// So a scope that has been told comes to have work again only while the program's lock is held:
    /// what the machine decides upon is what there is.
    pub(crate) fn count(
        &self,
        chunk: &Chunk,
        first: bool,
        graceful: bool,
        admitted: bool,
    ) -> Option<bool> {
        if admitted || !chunk.is_fired() {
            let one = first && self.live.add();
            return Some(graceful && self.graceful.fetch_add(1, SeqCst) == 0 || one);
        }
        let one_more = |count: u32| (count > 0).then_some(count + 1);
        if graceful && self.graceful.fetch_update(SeqCst, SeqCst, one_more).is_err() {
            return None;
        }
        if first && !self.live.add_to_others() {
            if graceful {
                // The program looks at the counts before it says whether it admits it.
                self.graceful.fetch_sub(1, SeqCst);
            }
            return None;
        }
        Some(false)
    }

    /// A task asked about the stop: it is graceful from now on, unless it is decided already that it
    /// is cancelled. Called from its own poll, or for it by what a framework polls elsewhere.
    #[cold]
    pub(crate) fn asked(task: &TaskRef) {
        let mut slots = task.chunk().lock();
        let Some((word, _)) = slots.entry(task) else { return };
        let Some(node) = slots.node.as_ref().filter(|_| !word.has(flag::PAST_ASKING)) else {
            return;
        };
        if node.count(task.chunk(), false, true, false).is_some() {
            let told = task.chunk().is_fired().then(|| node.clone());
            task.make_graceful(&mut slots);
            drop(slots);
            if let Some(node) = told {
                node.wake_returning(task);
            }
            return;
        }
        let node = node.clone();
        drop(slots);
        node.above().admit(&node, TaskKind::Graceful, &mut || {
            let mut slots = task.chunk().lock();
            let Some((word, _)) = slots.entry(task) else { return };
            if !word.has(flag::PAST_ASKING) {
                _ = node.count(task.chunk(), false, true, true);
                task.make_graceful(&mut slots);
            }
        });
        node.wake_returning(task);
    }

    /// Keeps the scope draining as a graceful task does, until [`has_begun`](Node::has_begun): this task is
    /// plain, and is polled once before it is decided what becomes of it, so that it can ask.
    pub(crate) fn begins(&self, task: &TaskRef) {
        self.graceful.fetch_add(1, SeqCst);
        task.set(flag::UNTOLD);
    }

    /// The first poll of that task is over.
    pub(crate) fn has_begun(self: &Arc<Node>) {
        // Under the lock that whoever fires the token takes after that, and to read the count then.
        let tasks = self.lock();
        let tell = self.graceful.fetch_sub(1, SeqCst) == 1 && self.is_fired();
        drop(tasks);
        if tell {
            self.above().sync(self);
        }
    }

    /// Whether the code of this task that is running now does not come back from an await whose
    /// result the stop has taken away: the task is to be cancelled, or has been told and is plain.
    /// `held` is how many of its holds are cleanups around that code, which end with it.
    pub(crate) fn is_over(task: &TaskRef, held: u32) -> bool {
        // Under the lock under which the stop changes its flags, and others ask for it.
        let mut slots = task.chunk().lock();
        let Some((word, _)) = slots.entry(task) else { return false };
        word.holds() == held && Node::is_to_go(task, word)
    }

    /// The same, whatever holds the task.
    fn is_to_go(task: &TaskRef, word: Word) -> bool {
        let told = || task.chunk().is_fired() && !word.has(flag::ASKED);
        !word.has(flag::SHIELDED) && (word.has(flag::CANCEL) || told())
    }

    /// A section has come to hold the task, from its own poll: what it awaits and was kept pending comes
    /// back.
    pub(crate) fn held(task: &TaskRef) {
        if let Some(node) = task.node().filter(|_| Node::is_to_go(task, task.word())) {
            node.wake_returning(task);
        }
    }

    /// Wakes those awaits of a task that were kept pending, and are so no more: [`Node::is_over`].
    fn wake_returning(&self, task: &TaskRef) {
        let mut wakes = Wakes::default();
        self.lock().take_return_of(task, &mut wakes);
        wakes.wake();
    }

    /// Whether "nobody is left" was told and is taken back by the first task since.
    pub(crate) fn takes_back_left(&self) -> bool {
        self.live.take_back_left()
    }

    /// Ends a task's tracking, on its executor.
    pub(crate) fn deregister(task: TaskRef, outcome: Outcome) {
        let chunk = task.chunk();
        if task.word().has(flag::LISTED) {
            Node::tell_end(&task, outcome.clone());
        }
        let mut guard = chunk.lock();
        let slots = &mut *guard;
        let Some((word, slot, entry)) = slots.place(&task) else { return };
        if entry.is_overdue() && outcome == Outcome::Finished {
            drop(guard);
            Node::tell_not_overdue(&task);
            return Node::deregister(task, outcome);
        }
        let (kind, background) = (entry.kind, entry.is_background());
        let removed = entry.vacate();
        slots.free(&task, slot);
        // Where it keeps the program alive, the last task of the chunk is also the last that does.
        let last = if background { slots.is_empty() } else { slots.foreground == 1 };
        if last || slots.was_full() || kind == TaskKind::Graceful || word.has(flag::MARKED) {
            let what = (kind, background, word, outcome);
            return Node::deregister_noted(task, guard, removed, what);
        }
        slots.count(&outcome);
        slots.foreground -= u8::from(!background);
        drop(guard);
        drop(removed);
    }

    /// Tells the report how a task ends that it lists, before it can be found to have ended.
    #[cold]
    fn tell_end(task: &TaskRef, outcome: Outcome) {
        let Some(node) = task.node() else { return };
        let listed = node.lock().unlist(task);
        task.clear(flag::LISTED); // told: as far as that goes its end is a plain one
        if let Some(index) = listed {
            node.above().listed(index, noted(outcome, task.word()));
        }
    }

    /// Tells the report that a task was not cut off which it has as overdue, before it can be found to
    /// have ended.
    #[cold]
    fn tell_not_overdue(task: &TaskRef) {
        let mut slots = task.chunk().lock();
        let Some((_, entry)) = slots.entry(task) else { return };
        let (place, alone) = (entry.place(), entry.take_overdue());
        let node = slots.node.clone();
        drop(slots);
        if let (Some(node), Some(alone)) = (node, alone) {
            node.above().not_overdue(&node, task, place, alone);
        }
    }

    /// The same where others may have to hear of it.
    #[cold]
    fn deregister_noted(
        task: TaskRef,
        mut guard: MutexGuard<'_, Slots>,
        removed: Option<Removed>,
        (kind, background, word, outcome): (TaskKind, bool, Word, Outcome),
    ) {
        let chunk = task.chunk();
        let slots = &mut *guard;
        if word.has(flag::ABANDONED) {
            slots.forget_abandoned(); // counted already; the program is over
            let rest = table::give_back(chunk, guard);
            drop((rest, removed));
            return;
        }
        let outcome = noted(outcome, word);
        slots.count(&outcome);
        let Some(node) = &slots.node else {
            drop(guard); // before what is dropped outside it
            return;
        };
        let graceful = kind == TaskKind::Graceful;
        let what = Departure {
            listed: word.has(flag::LISTED),
            unlisted: slots.was_full() && !slots.listed,
            cut_off: word.has(flag::FORCE) && kind != TaskKind::Blocking,
            drained: graceful && node.graceful.fetch_sub(1, SeqCst) == 1 && chunk.is_fired(),
            emptied: slots.is_empty() && node.live.remove(),
            idle: !background && slots.foreground == 1 && node.above().let_go(),
        };
        slots.foreground -= u8::from(!background);
        slots.listed |= what.unlisted;
        let node = if what.matters() { Some(node.clone()) } else { None };
        drop(guard);
        drop(removed);
        if let Some(node) = node {
            node.departed(&task, outcome, what);
        }
    }

    /// The rest of a task's end, where it matters to others.
    #[cold]
    fn departed(self: &Arc<Node>, task: &TaskRef, outcome: Outcome, what: Departure) {
        let mut tasks = self.lock();
        if what.unlisted && task.chunk().belongs_to(self.uid) {
            tasks.list_roomy(task.chunk());
        }
        let listed = if what.listed { tasks.unlist(task) } else { None };
        let over = what.emptied && !self.is_alive();
        let tell = what.drained || what.emptied && self.is_fired() || over && tasks.is_left(self);
        let folds = over && tasks.is_closed();
        drop(tasks);
        if let Some(index) = listed {
            self.above().listed(index, outcome);
        }
        if tell {
            self.above().sync(self);
        }
        if folds {
            self.above().fold(self);
        }
        if what.cut_off {
            self.above().cut_off_ended();
        }
        if what.idle {
            self.above().idle();
        }
    }

    /// Stores a task's waker after a poll that was pending. Returns whether to wake it at once:
    /// what it waits for came before there was a waker to wake.
    pub(crate) fn store_waker(task: &TaskRef, waker: Waker, first: bool) -> bool {
        let born = first.then(|| age_now(task));
        let Some((told, old)) = task.store_waker(waker, born) else { return false };
        drop(old);
        told
    }

    /// Notes that a blocking job runs. False if it was aborted before.
    pub(crate) fn starts(task: &TaskRef) -> bool {
        task.begin_job(age_now(task))
    }

    /// Asks one task to end at its next yield, unless it is shielded, or a job that runs already.
    pub(crate) fn abort(task: &TaskRef) {
        let flags = flag::CANCEL | flag::ABORTED;
        let which = |entry: &Entry| match entry.kind {
            TaskKind::Shielded => false,
            TaskKind::Blocking => entry.born().is_none(),
            TaskKind::Plain | TaskKind::Graceful => true,
        };
        Node::wake_to_look(task, flags, which, |tasks, wakes| {
            tasks.take_cancel_of(task, wakes);
        });
    }

    /// Wakes a cancelled task that something has ceased to hold, and the cleanup whose last hold that
    /// was: no other cleanup of the task has a reason to look.
    pub(crate) fn wake_released(task: &TaskRef, cleanup: Option<CleanupId>) {
        Node::wake_to_look(
            task,
            0,
            |_| true,
            |tasks, wakes| {
                wakes.add(cleanup.and_then(|cleanup| tasks.take_cleanup(task, cleanup)));
            },
        );
    }

    /// Sets flags of a live task and wakes it, and those of its scope's waiters that `take` takes.
    fn wake_to_look(
        task: &TaskRef,
        flags: u64,
        which: impl Fn(&Entry) -> bool,
        take: impl FnOnce(&mut Tasks, &mut Wakes),
    ) {
        let mut slots = task.chunk().lock();
        let Some((_, entry)) = slots.entry(task) else { return };
        if !which(entry) {
            return;
        }
        let mut wakes = Wakes::default();
        wakes.add(task.mark().take_waker(entry, flags));
        let node = slots.node.clone();
        drop(slots);
        if let Some(node) = node {
            take(&mut node.lock(), &mut wakes);
        }
        wakes.wake();
    }
}

/// How a task ended, by what was noted on its mark.
fn noted(outcome: Outcome, word: Word) -> Outcome {
    match outcome {
        Outcome::Finished if word.has(flag::FAILED) => Outcome::Failed,
        Outcome::Finished if word.has(flag::STOPPED) => Outcome::Cancelled,
        outcome => outcome,
    }
}
