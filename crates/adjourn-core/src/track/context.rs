//! What the running thread is doing: the task that it polls, and the program that it belongs to.
//!
//! Two thread-locals. What each poll changes is plain data without a destructor, so that it costs
//! a few moves and is there to the thread's very end; the rest is rarely set.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Waker;

use crate::sync::StaticUsize;
use crate::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use crate::track::node::{CleanupId, Node};
use crate::track::table::{Chunk, Mark, TaskRef, flag};

/// The mark of a task and its chunk.
type Place = (&'static Mark, &'static Chunk);

/// What every poll changes: single words.
struct Hot {
    state: Cell<State>,
    /// Where the task is that is polled, where the state says that one is.
    place: Cell<Option<Place>>,
    /// Where the task's own waker is for the time of the poll; no other is there meanwhile.
    waker: Cell<usize>,
    /// None before the first poll, and where the thread is at its end.
    seat: Cell<Option<&'static StaticUsize>>,
    /// The chunk that this thread spawned into last, and the number of its scope.
    roomy: Cell<Option<&'static Chunk>>,
    roomy_of: Cell<u64>,
}

/// What is around what is polled, in one word.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct State(u32);

impl State {
    const NONE: State = State(0);
    const NEW: State = State(State::UNSEATED);
    /// A task is polled.
    const INSIDE: u32 = 1;
    /// The future is being dropped by the lifecycle, not by the user's code.
    const ENDING: u32 = 2;
    /// `Cold` has a scope or a guard for what is polled.
    const FURNISHED: u32 = 4;
    /// What is asked about the stop changes nothing.
    const QUIET: u32 = 8;
    /// The thread has had no seat yet: that of its first poll takes one.
    const UNSEATED: u32 = 16;
    /// One shield; their number is above the flags.
    const SHIELD: u32 = 32;

    fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

struct Cold {
    /// The scope given by `in_scope`, over the task's own.
    scope: RefCell<Option<Arc<Node>>>,
    /// The innermost cleanup around what is polled.
    guard: RefCell<Option<Arc<Guard>>>,
    root: RefCell<Option<ThreadRoot>>,
    seat: OnceCell<Seat>,
    /// For the next poll that interrupts one.
    spare: RefCell<Option<Box<Outer>>>,
}

/// How many sections hold what is inside a cleanup.
#[derive(Default)]
pub(crate) struct Guard {
    pub(super) holds: AtomicUsize,
    /// How many cleanups are around what is inside, this one included.
    pub(super) depth: AtomicU32,
}

impl Guard {
    /// The same for all who share it, and no other's while it is there.
    pub(crate) fn id(&self) -> CleanupId {
        CleanupId(std::ptr::from_ref(self).addr())
    }
}

/// The root of the program that owns a thread; set once the program has one, which may be after
/// its threads have started.
pub(crate) type ThreadRoot = Arc<OnceLock<Weak<Node>>>;

thread_local! {
    static HOT: Hot = const {
        Hot {
            state: Cell::new(State::NEW),
            place: Cell::new(None),
            waker: Cell::new(0),
            seat: Cell::new(None),
            roomy: Cell::new(None),
            roomy_of: Cell::new(0),
        }
    };
    static COLD: Cold = const {
        Cold {
            scope: RefCell::new(None),
            guard: RefCell::new(None),
            root: RefCell::new(None),
            seat: OnceCell::new(),
            spare: RefCell::new(None),
        }
    };
}

// No destructor: it is never registered for one, and never gone.
const _: () = assert!(!std::mem::needs_drop::<Hot>());

/// Where a thread says which task it polls, for the report; 0 for none. Used again by other
/// threads once this one has ended.
struct Seat(&'static StaticUsize);

/// All seats, and those that no thread has.
static SEATS: Mutex<(Vec<&'static StaticUsize>, Vec<&'static StaticUsize>)> =
    Mutex::new((Vec::new(), Vec::new()));

impl Seat {
    fn new() -> Seat {
        let mut seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, free) = &mut *seats;
        Seat(free.pop().unwrap_or_else(|| {
            let seat: &'static StaticUsize = Box::leak(Box::default());
            all.push(seat);
            seat
        }))
    }

    /// Gives this thread one, unless it is at its end.
    fn take() {
        if let Ok(seat) = COLD.try_with(|cold| cold.seat.get_or_init(Seat::new).0) {
            HOT.with(|hot| hot.seat.set(Some(seat)));
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        HOT.with(|hot| hot.seat.set(None));
        self.0.store(0, Relaxed);
        SEATS.lock().unwrap_or_else(PoisonError::into_inner).1.push(self.0);
    }
}

/// Returns the seats of the tasks that are inside a poll now, for a report.
pub(crate) fn polling() -> Vec<usize> {
    let seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
    seats.0.iter().map(|seat| seat.load(Relaxed)).filter(|seat| *seat != 0).collect()
}

/// What a poll interrupts.
#[derive(Default)]
struct Outer {
    state: State,
    place: Option<Place>,
    waker: usize,
    scope: Option<Arc<Node>>,
    guard: Option<Arc<Guard>>,
}

/// Whether something is polled on this thread that a poll would interrupt: a program may run
/// inside a task of another. Before the thread's first poll too, so that [`Aside`] gives it a seat.
#[inline]
fn is_busy() -> bool {
    HOT.with(|hot| hot.state.get() != State::NONE)
}

/// Puts aside what is polled, if something is, until it is dropped. In a box, so that a poll that interrupts
/// nothing has one word to look at.
#[must_use]
pub(crate) struct Aside(Option<Box<Outer>>);

impl Aside {
    #[inline]
    pub(crate) fn new() -> Aside {
        Aside(if is_busy() { Some(put_aside()) } else { None })
    }
}

impl Drop for Aside {
    #[inline]
    fn drop(&mut self) {
        if let Some(outer) = self.0.take() {
            take_up(outer);
        }
    }
}

#[cold]
fn put_aside() -> Box<Outer> {
    // At the thread's end there is no place for the furniture: what is polled then goes without.
    let cold = COLD.try_with(|cold| (cold.scope.take(), cold.guard.take(), cold.spare.take()));
    let (scope, guard, spare) = cold.unwrap_or_default();
    let mut outer = spare.unwrap_or_default();
    *outer = HOT.with(|hot| Outer {
        state: hot.state.replace(State::NONE),
        place: hot.place.get(),
        waker: hot.waker.get(),
        scope,
        guard,
    });
    if outer.state.has(State::UNSEATED) {
        Seat::take();
    }
    outer
}

/// Takes up again what was put aside.
#[cold]
fn take_up(mut outer: Box<Outer>) {
    let Outer { state, place, waker, scope, guard } = std::mem::take(&mut *outer);
    _ = COLD.try_with(|cold| {
        cold.spare.replace(Some(outer));
        (cold.scope.replace(scope), cold.guard.replace(guard))
    });
    HOT.with(|hot| {
        hot.place.set(place);
        hot.waker.set(waker);
        hot.state.set(State(state.0 & !State::UNSEATED));
    });
    let polled = place.filter(|_| state.has(State::INSIDE));
    sit(polled.map(|(mark, _)| mark));
}

/// Says that a task is polled, until [`leave`] is called; `waker` is the task's own. What was polled already has
/// to be [`Aside`].
#[inline]
pub(crate) fn enter(mark: &'static Mark, chunk: &'static Chunk, waker: Option<&Waker>) {
    HOT.with(|hot| {
        hot.state.set(State(State::INSIDE));
        hot.place.set(Some((mark, chunk)));
        hot.waker.set(waker.map_or(0, |waker| std::ptr::from_ref(waker).addr()));
    });
    sit(Some(mark));
}

/// Says that it is polled no more.
#[inline]
pub(crate) fn leave() {
    HOT.with(|hot| hot.state.set(State::NONE));
    sit(None);
}

/// Runs `work`, which must not unwind, as part of a task.
pub(crate) fn within<R>(task: TaskRef, work: impl FnOnce() -> R) -> R {
    let _aside = Aside::new();
    enter(task.mark(), task.chunk(), None);
    let result = work();
    leave();
    result
}

/// Says on this thread's seat which task it polls.
#[inline]
fn sit(task: Option<&'static Mark>) {
    if let Some(seat) = HOT.with(|hot| hot.seat.get()) {
        // Relaxed: read for a report only, of a poll that has lasted until the cut-off.
        seat.store(task.map_or(0, |mark| std::ptr::from_ref(mark).addr()), Relaxed);
    }
}

impl Hot {
    #[inline]
    fn place(&self) -> Option<Place> {
        if self.state.get().has(State::INSIDE) { self.place.get() } else { None }
    }
}

/// Says that from here on the lifecycle drops the task's future.
#[inline]
pub(crate) fn begin_ending() {
    HOT.with(|hot| hot.state.set(State(hot.state.get().0 | State::ENDING)));
}

pub(crate) fn is_ending() -> bool {
    HOT.with(|hot| hot.state.get().has(State::ENDING))
}

/// Returns where the task is that is polled on this thread.
#[inline]
pub(crate) fn place() -> Option<Place> {
    HOT.with(Hot::place)
}

/// Returns the task that is polled on this thread.
#[inline]
pub(crate) fn task() -> Option<TaskRef> {
    place().map(|(mark, chunk)| TaskRef::running(mark, chunk))
}

/// Returns the task that the running code would make graceful by asking about the stop. `None` inside
/// a shield, a cleanup, an `interruptible` future and a destructor, and outside of tasks.
#[inline]
pub(crate) fn asker() -> Option<Place> {
    HOT.with(|hot| {
        let plain = hot.state.get().0 & !State::FURNISHED == State::INSIDE;
        if plain { hot.place.get() } else { None }
    })
}

/// Whether what is asked about the stop changes nothing here: inside a shield, a cleanup, a hook, an
/// `interruptible` future or a destructor.
pub(crate) fn is_quiet() -> bool {
    let loud = State::INSIDE | State::FURNISHED | State::UNSEATED;
    HOT.with(|hot| hot.state.get().0 & !loud != 0)
}

/// Returns the task that is polled and how many cleanups are around the code that is running now,
/// unless that is shielded or dropped: what [`Node::is_over`] asks for.
pub(crate) fn unshielded() -> Option<(TaskRef, u32)> {
    if is_shielded() || is_ending() {
        return None;
    }
    let around = guard().map_or(0, |guard| guard.depth.load(Relaxed));
    Some((task()?, around))
}

/// Whether `waker` is the one that the task is polled with, not a part's or another's. A clone of it
/// is not: whoever has one registers it.
#[inline]
pub(crate) fn is_own_waker(waker: &Waker) -> bool {
    HOT.with(|hot| hot.waker.get() == std::ptr::from_ref(waker).addr())
}

/// Returns where the task is that is polled, unless `in_scope` gives another scope.
#[inline]
pub(crate) fn own_place() -> Option<Place> {
    HOT.with(|hot| {
        let own = hot.state.get().0 & (State::INSIDE | State::FURNISHED) == State::INSIDE;
        if own { hot.place.get() } else { None }
    })
}

/// Returns the number of the scope to which a spawn of the running task goes, and the chunk of it in which
/// there is most likely room. `None` outside of tasks, and where `in_scope` gives another scope.
#[inline]
pub(crate) fn roomy() -> Option<(u64, &'static Chunk)> {
    let (_, own) = own_place()?;
    let scope = own.owner();
    Some((scope, chunk_of(scope).unwrap_or(own)))
}

/// Whether there is a shield around what is polled.
#[inline]
pub(crate) fn is_shielded() -> bool {
    HOT.with(|hot| hot.state.get().0 >= State::SHIELD)
}

#[inline]
fn is_furnished() -> bool {
    HOT.with(|hot| hot.state.get().has(State::FURNISHED))
}

/// Whether a scope given by `in_scope` is over the task's own.
#[inline]
pub(crate) fn is_in_scope() -> bool {
    is_furnished() && COLD.try_with(|cold| cold.scope.borrow().is_some()).unwrap_or(false)
}

/// Returns the innermost cleanup around what is polled.
pub(crate) fn guard() -> Option<Arc<Guard>> {
    if is_furnished() {
        COLD.try_with(|cold| cold.guard.borrow().clone()).ok().flatten()
    } else {
        None
    }
}

/// Whether shielded work may still be spawned while the scope is cancelling.
pub(crate) fn is_privileged() -> bool {
    is_shielded() || task().is_some_and(|task| task.word().has(flag::SHIELDED))
}

/// Returns the scope that a spawn goes to.
pub(crate) fn scope() -> Option<Arc<Node>> {
    if is_in_scope() {
        return COLD.try_with(|cold| cold.scope.borrow().clone()).ok().flatten();
    }
    match task() {
        Some(task) => task.node(),
        None => thread_root(),
    }
}

/// Returns the scope that tracks the task that is being polled, whatever `in_scope` says.
pub(crate) fn task_node() -> Option<Arc<Node>> {
    task()?.node()
}

/// Returns the scope whose hook is being polled. A hook is no task: it has a scope and a shield.
pub(crate) fn hook_scope() -> Option<Arc<Node>> {
    if task().is_none() && is_in_scope() && is_shielded() { scope() } else { None }
}

/// Says that this thread belongs to a program: its free functions use the root scope.
pub(crate) fn mark_thread(root: Option<ThreadRoot>) -> Option<ThreadRoot> {
    COLD.try_with(|cold| cold.root.replace(root)).ok().flatten()
}

fn thread_root() -> Option<Arc<Node>> {
    let root = |cold: &Cold| cold.root.borrow().as_ref()?.get()?.upgrade();
    COLD.try_with(root).ok().flatten()
}

/// Returns the chunk into which this thread last spawned, if it is the scope's.
#[inline]
pub(crate) fn chunk_of(uid: u64) -> Option<&'static Chunk> {
    HOT.with(|hot| if hot.roomy_of.get() == uid { hot.roomy.get() } else { None })
}

pub(crate) fn set_chunk(uid: u64, chunk: &'static Chunk) {
    HOT.with(|hot| {
        hot.roomy.set(Some(chunk));
        hot.roomy_of.set(uid);
    });
}

/// Shields what is polled until it is dropped, by a panic too.
pub(crate) struct Shielded(());

#[inline]
pub(crate) fn inside_shield() -> Shielded {
    HOT.with(|hot| hot.state.set(State(hot.state.get().0 + State::SHIELD)));
    Shielded(())
}

impl Drop for Shielded {
    #[inline]
    fn drop(&mut self) {
        HOT.with(|hot| hot.state.set(State(hot.state.get().0 - State::SHIELD)));
    }
}

/// Lets nothing that is polled ask about the stop until it is dropped, by a panic too.
pub(crate) struct Quiet {
    before: bool,
}

#[inline]
pub(crate) fn inside_quiet() -> Quiet {
    let before = HOT.with(|hot| {
        let state = hot.state.get();
        hot.state.set(State(state.0 | State::QUIET));
        state.has(State::QUIET)
    });
    Quiet { before }
}

impl Drop for Quiet {
    #[inline]
    fn drop(&mut self) {
        if !self.before {
            HOT.with(|hot| hot.state.set(State(hot.state.get().0 & !State::QUIET)));
        }
    }
}

/// Puts a scope or a guard around what is polled until it is dropped, by a panic too.
pub(crate) struct Inside<T: 'static> {
    place: fn(&Cold) -> &RefCell<Option<T>>,
    outer: Option<T>,
    furnished: bool,
}

fn set_furnished(furnished: bool) -> bool {
    HOT.with(|hot| {
        let state = hot.state.get();
        let flag = if furnished { State::FURNISHED } else { 0 };
        hot.state.set(State(state.0 & !State::FURNISHED | flag));
        state.has(State::FURNISHED)
    })
}

pub(crate) fn inside_scope(node: Arc<Node>) -> Inside<Arc<Node>> {
    Inside::new(|cold| &cold.scope, node)
}

pub(crate) fn inside_guard(guard: Arc<Guard>) -> Inside<Arc<Guard>> {
    Inside::new(|cold| &cold.guard, guard)
}

impl<T> Inside<T> {
    fn new(place: fn(&Cold) -> &RefCell<Option<T>>, value: T) -> Inside<T> {
        let mut value = Some(value);
        // At the thread's end there is no place for it: what is polled then goes without.
        let outer = COLD.try_with(|cold| place(cold).replace(value.take())).ok().flatten();
        let furnished = set_furnished(value.is_none());
        Inside { place, outer, furnished }
    }
}

impl<T> Drop for Inside<T> {
    fn drop(&mut self) {
        let outer = self.outer.take();
        let inner = COLD.try_with(|cold| (self.place)(cold).replace(outer));
        set_furnished(self.furnished);
        drop(inner); // outside the borrow: it may be a scope's last reference
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::contract::report::{Outcome, TaskKind};
    use crate::track::node::Spawn;

    #[test]
    fn the_seat_of_a_thread_that_has_ended_is_taken_by_the_next() {
        let program = crate::tests::nowhere::program(false);
        let spawn = Spawn::new(TaskKind::Plain, std::panic::Location::caller());
        let task = program.root().register(spawn).unwrap();
        let seats = || SEATS.lock().unwrap_or_else(PoisonError::into_inner).0.len();
        let before = seats();
        for _ in 0..200 {
            let seen =
                std::thread::spawn(move || within(task, || polling().contains(&task.seat())));
            assert!(seen.join().unwrap(), "it is seen to be polled");
            assert!(!polling().contains(&task.seat()));
        }
        // Other tests' threads take some.
        assert!(seats() < before + 100, "{} and then {}", before, seats());
        Node::deregister(task, Outcome::Finished);
        program.conclude();
    }
}
