//! What the running thread is doing: the task that it polls, and the program that it belongs to.
//!
//! Two thread-locals. What each poll changes is plain data without a destructor, so that it costs
//! a few moves and is there to the thread's very end; the rest is rarely set.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Waker;

use crate::node::Node;
use crate::shield::Guard;
use crate::table::{Chunk, TaskRef, flag};

/// What every poll changes.
struct Hot {
    task: Cell<Option<TaskRef>>,
    /// The task's own waker, by its parts.
    waker: Cell<Parts>,
    /// How many shields are around what is polled.
    shields: Cell<u32>,
    /// The future is being dropped by the lifecycle, not by the user's code.
    ending: Cell<bool>,
    /// `Cold` has a scope or a guard for what is polled.
    furnished: Cell<bool>,
    seat: Cell<Option<&'static AtomicU64>>,
    /// The chunk that this thread spawned into last, and the number of its scope.
    chunk: Cell<Option<(u32, &'static Chunk)>>,
}

struct Cold {
    /// The scope given by `in_scope`, over the task's own.
    scope: RefCell<Option<Arc<Node>>>,
    /// The innermost cleanup around what is polled.
    guard: RefCell<Option<Arc<Guard>>>,
    root: RefCell<Option<ThreadRoot>>,
    seat: OnceCell<Seat>,
}

/// The root of the program that owns a thread; set once the program has one, which may be after
/// its threads have started.
pub(crate) type ThreadRoot = Arc<OnceLock<Weak<Node>>>;

/// A waker by its parts, for comparing with one that is kept elsewhere. (0, 0) is none.
pub(crate) type Parts = (usize, usize);

pub(crate) fn parts(waker: &Waker) -> Parts {
    (waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr())
}

thread_local! {
    static HOT: Hot = const {
        Hot {
            task: Cell::new(None),
            waker: Cell::new((0, 0)),
            shields: Cell::new(0),
            ending: Cell::new(false),
            furnished: Cell::new(false),
            seat: Cell::new(None),
            chunk: Cell::new(None),
        }
    };
    static COLD: Cold = const {
        Cold {
            scope: RefCell::new(None),
            guard: RefCell::new(None),
            root: RefCell::new(None),
            seat: OnceCell::new(),
        }
    };
}

// No destructor: it is never registered for one, and never gone.
const _: () = assert!(!std::mem::needs_drop::<Hot>());

/// Where a thread says which task it polls, for the report; 0 for none. Used again by other
/// threads once this one has ended.
struct Seat(&'static AtomicU64);

/// All seats, and those that no thread has.
static SEATS: Mutex<(Vec<&'static AtomicU64>, Vec<&'static AtomicU64>)> =
    Mutex::new((Vec::new(), Vec::new()));

impl Seat {
    fn new() -> Seat {
        let mut seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, free) = &mut *seats;
        Seat(free.pop().unwrap_or_else(|| {
            let seat: &'static AtomicU64 = Box::leak(Box::default());
            all.push(seat);
            seat
        }))
    }

    /// Gives this thread one, unless it is at its end.
    #[cold]
    fn take() -> Option<&'static AtomicU64> {
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
pub(crate) fn polling() -> Vec<u64> {
    let seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
    seats.0.iter().map(|seat| seat.load(Relaxed)).filter(|seat| *seat != 0).collect()
}

/// Runs `work`, which must not unwind, as that of a task; `waker` is the task's own.
pub(crate) fn enter<R>(task: TaskRef, waker: Parts, work: impl FnOnce() -> R) -> R {
    HOT.with(|hot| {
        let outer = (
            hot.task.replace(Some(task)),
            hot.waker.replace(waker),
            hot.shields.replace(0),
            hot.ending.replace(false),
        );
        let furniture = hot.furnished.replace(false).then(take_furniture);
        let seat = hot.seat.get().or_else(Seat::take);
        // Relaxed: read for a report only, of a poll that has lasted until the cut-off.
        let seated = seat.map(|seat| (seat, seat.load(Relaxed)));
        if let Some(seat) = seat {
            seat.store(task.seat(), Relaxed);
        }
        let result = work();
        if let Some((seat, before)) = seated {
            seat.store(before, Relaxed);
        }
        hot.task.set(outer.0);
        hot.waker.set(outer.1);
        hot.shields.set(outer.2);
        hot.ending.set(outer.3);
        if let Some(furniture) = furniture {
            put_furniture(furniture);
            hot.furnished.set(true);
        }
        result
    })
}

type Furniture = (Option<Arc<Node>>, Option<Arc<Guard>>);

#[cold]
fn take_furniture() -> Furniture {
    COLD.try_with(|cold| (cold.scope.take(), cold.guard.take())).unwrap_or_default()
}

#[cold]
fn put_furniture((scope, guard): Furniture) {
    _ = COLD.try_with(|cold| (cold.scope.replace(scope), cold.guard.replace(guard)));
}

/// Says that from here on the lifecycle drops the task's future.
pub(crate) fn begin_ending() {
    HOT.with(|hot| hot.ending.set(true));
}

pub(crate) fn is_ending() -> bool {
    HOT.with(|hot| hot.ending.get())
}

/// Returns the task that is polled on this thread.
pub(crate) fn task() -> Option<TaskRef> {
    HOT.with(|hot| hot.task.get())
}

/// Whether `waker` is the one that wakes the task itself, not a part of it.
pub(crate) fn is_own_waker(waker: &Waker) -> bool {
    HOT.with(|hot| hot.waker.get() == parts(waker))
}

/// How many shields are around what is polled.
pub(crate) fn shields() -> u32 {
    HOT.with(|hot| hot.shields.get())
}

/// Whether a scope given by `in_scope` is over the task's own.
pub(crate) fn is_in_scope() -> bool {
    HOT.with(|hot| hot.furnished.get())
        && COLD.try_with(|cold| cold.scope.borrow().is_some()).unwrap_or(false)
}

/// Returns the innermost cleanup around what is polled.
pub(crate) fn guard() -> Option<Arc<Guard>> {
    if !HOT.with(|hot| hot.furnished.get()) {
        return None;
    }
    COLD.try_with(|cold| cold.guard.borrow().clone()).ok().flatten()
}

/// Whether shielded work may still be spawned while the scope is cancelling.
pub(crate) fn is_privileged() -> bool {
    shields() > 0 || task().is_some_and(|task| task.word().has(flag::PRIVILEGED))
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
pub(crate) fn chunk_of(uid: u32) -> Option<&'static Chunk> {
    HOT.with(|hot| hot.chunk.get()).filter(|(owner, _)| *owner == uid).map(|(_, chunk)| chunk)
}

pub(crate) fn set_chunk(uid: u32, chunk: &'static Chunk) {
    HOT.with(|hot| hot.chunk.set(Some((uid, chunk))));
}

/// Shields what is polled until it is dropped, by a panic too.
pub(crate) struct Shielded(());

pub(crate) fn inside_shield() -> Shielded {
    HOT.with(|hot| hot.shields.set(hot.shields.get() + 1));
    Shielded(())
}

impl Drop for Shielded {
    fn drop(&mut self) {
        HOT.with(|hot| hot.shields.set(hot.shields.get() - 1));
    }
}

/// Puts a scope or a guard around what is polled until it is dropped, by a panic too.
pub(crate) struct Inside<T: 'static> {
    place: fn(&Cold) -> &RefCell<Option<T>>,
    outer: Option<T>,
    furnished: bool,
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
        let furnished = HOT.with(|hot| hot.furnished.replace(value.is_none()));
        Inside { place, outer, furnished }
    }
}

impl<T> Drop for Inside<T> {
    fn drop(&mut self) {
        let outer = self.outer.take();
        let inner = COLD.try_with(|cold| (self.place)(cold).replace(outer));
        HOT.with(|hot| hot.furnished.set(self.furnished));
        drop(inner); // outside the borrow: it may be a scope's last reference
    }
}
