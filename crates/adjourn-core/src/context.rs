//! What the running thread is doing: the task that it polls, and the program that it belongs to.
//!
//! Two thread-locals. What each poll changes is plain data without a destructor, so that it costs
//! a few moves and is there to the thread's very end; the rest is rarely set.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Waker;

use crate::node::Node;
use crate::shield::Guard;
use crate::table::{Chunk, Mark, TaskRef, flag};

/// What every poll changes.
///
/// Single words, and those that are copied from one place are not side by side here: a processor
/// that reads two words at once which were written one by one just before has to wait.
#[repr(C)]
struct Hot {
    /// The task's own waker: its data, and below its vtable.
    data: Cell<usize>,
    /// The task that is polled, by its parts.
    mark: Cell<Option<&'static Mark>>,
    vtable: Cell<usize>,
    chunk: Cell<Option<&'static Chunk>>,
    state: Cell<State>,
    id: Cell<u64>,
    seat: Cell<Option<&'static AtomicUsize>>,
    /// The chunk that this thread spawned into last, and the number of its scope.
    roomy: Cell<Option<&'static Chunk>>,
    roomy_of: Cell<u32>,
}

/// What is around what is polled, in one word.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u32);

impl State {
    const NONE: State = State(0);
    /// The future is being dropped by the lifecycle, not by the user's code.
    const ENDING: u32 = 1;
    /// `Cold` has a scope or a guard for what is polled.
    const FURNISHED: u32 = 2;
    /// One shield; their number is above the flags.
    const SHIELD: u32 = 4;

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
    /// Polls that are interrupted by others, the innermost last.
    outer: RefCell<Vec<Outer>>,
}

/// The root of the program that owns a thread; set once the program has one, which may be after
/// its threads have started.
pub(crate) type ThreadRoot = Arc<OnceLock<Weak<Node>>>;

/// A waker by its parts, for comparing with one that is kept elsewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct WakerId {
    data: usize,
    vtable: usize,
}

impl WakerId {
    pub(crate) const NONE: WakerId = WakerId { data: 0, vtable: 0 };

    #[inline]
    pub(crate) fn of(waker: &Waker) -> WakerId {
        WakerId { data: waker.data().addr(), vtable: std::ptr::from_ref(waker.vtable()).addr() }
    }
}

thread_local! {
    static HOT: Hot = const {
        Hot {
            data: Cell::new(0),
            mark: Cell::new(None),
            vtable: Cell::new(0),
            chunk: Cell::new(None),
            state: Cell::new(State::NONE),
            id: Cell::new(0),
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
            outer: RefCell::new(Vec::new()),
        }
    };
}

// No destructor: it is never registered for one, and never gone.
const _: () = assert!(!std::mem::needs_drop::<Hot>());

/// Where a thread says which task it polls, for the report; 0 for none. Used again by other
/// threads once this one has ended.
struct Seat(&'static AtomicUsize);

/// All seats, and those that no thread has.
static SEATS: Mutex<(Vec<&'static AtomicUsize>, Vec<&'static AtomicUsize>)> =
    Mutex::new((Vec::new(), Vec::new()));

impl Seat {
    fn new() -> Seat {
        let mut seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, free) = &mut *seats;
        Seat(free.pop().unwrap_or_else(|| {
            let seat: &'static AtomicUsize = Box::leak(Box::default());
            all.push(seat);
            seat
        }))
    }

    /// Gives this thread one, unless it is at its end.
    #[cold]
    fn take() -> Option<&'static AtomicUsize> {
        let seat = COLD.try_with(|cold| cold.seat.get_or_init(Seat::new).0).ok();
        HOT.with(|hot| hot.seat.set(seat));
        seat
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

/// A poll that goes on. Ends when it is dropped.
pub(crate) struct Entered {
    /// It interrupts another one: a program may run inside a task of another.
    nested: bool,
}

/// What a poll interrupts.
struct Outer {
    task: Option<TaskRef>,
    waker: WakerId,
    state: State,
    scope: Option<Arc<Node>>,
    guard: Option<Arc<Guard>>,
}

/// Says that a task is polled, until what is returned is dropped; `waker` is the task's own.
#[inline]
pub(crate) fn enter(task: TaskRef, waker: WakerId) -> Entered {
    let nested = HOT.with(|hot| hot.mark.get().is_some() || hot.state.get() != State::NONE);
    if nested {
        Outer::save();
    }
    HOT.with(|hot| hot.put(task, waker));
    sit(task.seat());
    Entered { nested }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        HOT.with(|hot| {
            hot.mark.set(None);
            hot.state.set(State::NONE);
        });
        sit(0);
        if self.nested {
            Outer::put_back();
        }
    }
}

/// Says on this thread's seat which task it polls.
#[inline]
fn sit(task: usize) {
    if let Some(seat) = HOT.with(|hot| hot.seat.get()).or_else(Seat::take) {
        seat.store(task, Relaxed); // relaxed: read for a report only, long after
    }
}

impl Hot {
    #[inline]
    fn put(&self, task: TaskRef, waker: WakerId) {
        self.mark.set(Some(task.mark()));
        self.chunk.set(Some(task.chunk()));
        self.id.set(task.id());
        self.data.set(waker.data);
        self.vtable.set(waker.vtable);
    }

    #[inline]
    fn task(&self) -> Option<TaskRef> {
        match (self.mark.get(), self.chunk.get()) {
            (Some(mark), Some(chunk)) => Some(TaskRef::new(mark, chunk, self.id.get())),
            _ => None,
        }
    }
}

impl Outer {
    #[cold]
    fn save() {
        let (task, waker, state) = HOT.with(|hot| {
            let waker = WakerId { data: hot.data.get(), vtable: hot.vtable.get() };
            (hot.task(), waker, hot.state.replace(State::NONE))
        });
        // At the thread's end there is no place for it: what is polled then hides the rest.
        _ = COLD.try_with(|cold| {
            let (scope, guard) = (cold.scope.take(), cold.guard.take());
            cold.outer.borrow_mut().push(Outer { task, waker, state, scope, guard });
        });
    }

    #[cold]
    fn put_back() {
        let outer = COLD.try_with(|cold| cold.outer.borrow_mut().pop());
        let Ok(Some(Outer { task, waker, state, scope, guard })) = outer else { return };
        _ = COLD.try_with(|cold| (cold.scope.replace(scope), cold.guard.replace(guard)));
        HOT.with(|hot| hot.state.set(state));
        if let Some(task) = task {
            HOT.with(|hot| hot.put(task, waker));
            sit(task.seat());
        }
    }
}

/// Says that from here on the lifecycle drops the task's future.
pub(crate) fn begin_ending() {
    HOT.with(|hot| hot.state.set(State(hot.state.get().0 | State::ENDING)));
}

pub(crate) fn is_ending() -> bool {
    HOT.with(|hot| hot.state.get().has(State::ENDING))
}

/// Returns the task that is polled on this thread.
#[inline]
pub(crate) fn task() -> Option<TaskRef> {
    HOT.with(Hot::task)
}

/// Whether `waker` is the one that wakes the task itself, not a part of it.
#[inline]
pub(crate) fn is_own_waker(waker: &Waker) -> bool {
    let WakerId { data, vtable } = WakerId::of(waker);
    HOT.with(|hot| hot.data.get() == data && hot.vtable.get() == vtable)
}

/// Returns the chunk of the task that is polled, unless `in_scope` gives another scope.
#[inline]
pub(crate) fn own_chunk() -> Option<&'static Chunk> {
    HOT.with(|hot| {
        let own = hot.mark.get().is_some() && !hot.state.get().has(State::FURNISHED);
        if own { hot.chunk.get() } else { None }
    })
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
    is_shielded() || task().is_some_and(|task| task.word().has(flag::PRIVILEGED))
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
pub(crate) fn chunk_of(uid: u32) -> Option<&'static Chunk> {
    HOT.with(|hot| if hot.roomy_of.get() == uid { hot.roomy.get() } else { None })
}

pub(crate) fn set_chunk(uid: u32, chunk: &'static Chunk) {
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
