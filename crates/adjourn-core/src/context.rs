//! What the running thread is doing: the task that it polls, and the program that it belongs to.
//!
//! The task's reference is moved here for the time of a poll and back after it, so that neither a
//! reference count nor a pointer without a lifetime is needed.

use std::cell::{OnceCell, RefCell};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Waker;

use crate::node::Node;
use crate::shield::Guard;
use crate::table::{TaskRef, flag};

/// What is being polled on this thread.
#[derive(Default)]
pub(crate) struct Current {
    pub(crate) task: Option<TaskRef>,
    /// The scope given by `in_scope`, over the task's own.
    pub(crate) scope: Option<Arc<Node>>,
    /// The innermost cleanup around what is polled.
    pub(crate) guard: Option<Arc<Guard>>,
    /// The task's own waker, by its parts.
    waker: Option<(*const (), usize)>,
    /// How many shields are around what is polled.
    pub(crate) shields: u32,
    /// The future is being dropped by the lifecycle, not by the user's code.
    pub(crate) ending: bool,
}

struct Local {
    current: RefCell<Current>,
    root: RefCell<Option<ThreadRoot>>,
    seat: OnceCell<Seat>,
}

/// Where a thread says which task it polls, for the report: scope (32), slot (32), 0 for none.
struct Seat(Arc<AtomicU64>);

/// The root of the program that owns a thread; set once the program has one, which may be after
/// its threads have started.
pub(crate) type ThreadRoot = Arc<OnceLock<Weak<Node>>>;

static SEATS: Mutex<Vec<Arc<AtomicU64>>> = Mutex::new(Vec::new());

thread_local! {
    static LOCAL: Local = const {
        Local {
            current: RefCell::new(Current {
                task: None,
                scope: None,
                guard: None,
                waker: None,
                shields: 0,
                ending: false,
            }),
            root: RefCell::new(None),
            seat: OnceCell::new(),
        }
    };
}

impl Seat {
    fn new() -> Seat {
        let seat = Arc::new(AtomicU64::new(0));
        SEATS.lock().unwrap_or_else(PoisonError::into_inner).push(seat.clone());
        Seat(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|seat| !Arc::ptr_eq(seat, &self.0));
    }
}

fn parts(waker: &Waker) -> (*const (), usize) {
    (waker.data(), std::ptr::from_ref(waker.vtable()).addr())
}

impl Current {
    pub(crate) fn of_task(task: TaskRef, waker: Option<&Waker>) -> Current {
        Current { task: Some(task), waker: waker.map(parts), ..Current::default() }
    }

    /// Whether `waker` is the one that wakes the task itself, not a part of it.
    pub(crate) fn is_own_waker(&self, waker: &Waker) -> bool {
        self.waker == Some(parts(waker))
    }

    /// The scope that a spawn goes to.
    fn node(&self) -> Option<&Arc<Node>> {
        self.scope.as_ref().or_else(|| self.task.as_ref().map(TaskRef::node))
    }

    /// Whether shielded work may still be spawned while the scope is cancelling.
    fn is_privileged(&self) -> bool {
        self.shields > 0 || self.task.as_ref().is_some_and(|task| task.word().has(flag::PRIVILEGED))
    }
}

/// Runs `poll` with `current` in place and returns both.
pub(crate) fn enter<R>(current: Current, poll: impl FnOnce() -> R) -> (R, Current) {
    let id = current
        .task
        .as_ref()
        .map_or(0, |task| u64::from(task.node().uid) << 32 | u64::from(task.index()));
    let mut work = Some((current, poll));
    let done = LOCAL.try_with(|local| {
        let (current, poll) = work.take()?;
        let seat = &local.seat.get_or_init(Seat::new).0;
        // Relaxed: read for a report only, of a poll that has lasted until the cut-off.
        let seated = seat.load(Relaxed);
        seat.store(id, Relaxed);
        let outer = local.current.replace(current);
        let result = poll();
        seat.store(seated, Relaxed);
        Some((result, local.current.replace(outer)))
    });
    match (done, work) {
        (Ok(Some(done)), _) => done,
        // A destructor of another thread-local polls or drops a task at the thread's end.
        (_, Some((current, poll))) => (poll(), current),
        (_, None) => unreachable!("taken only where a result is returned"),
    }
}

/// Looks at or changes what is being polled. `look` must run no code but ours.
pub(crate) fn with<R>(look: impl FnOnce(&mut Current) -> R) -> R {
    // A destructor of another thread-local may call when this one is gone: nothing is polled then.
    let mut look = Some(look);
    let result =
        LOCAL.try_with(|local| look.take().map(|look| look(&mut local.current.borrow_mut())));
    match (result, look) {
        (Ok(Some(result)), _) => result,
        (_, Some(look)) => look(&mut Current::default()),
        (_, None) => unreachable!("taken only where a result is returned"),
    }
}

/// Changes a field of what is being polled until the guard is dropped, by a panic too.
pub(crate) struct Restore<T: 'static> {
    field: fn(&mut Current) -> &mut T,
    old: Option<T>,
}

pub(crate) fn replace<T>(field: fn(&mut Current) -> &mut T, value: T) -> Restore<T> {
    let old = with(|current| mem::replace(field(current), value));
    Restore { field, old: Some(old) }
}

impl<T> Drop for Restore<T> {
    fn drop(&mut self) {
        if let Some(old) = self.old.take() {
            let inner = with(|current| mem::replace((self.field)(current), old));
            drop(inner); // outside the borrow: it may be a scope's last reference
        }
    }
}

/// Returns the scope that a spawn goes to, and whether shielded work is accepted to the last.
pub(crate) fn scope() -> Option<(Arc<Node>, bool)> {
    with(|current| current.node().cloned().map(|node| (node, current.is_privileged())))
        .or_else(|| thread_root().map(|node| (node, false)))
}

/// Whether the running code may still spawn shielded work while a scope is cancelling.
pub(crate) fn is_privileged() -> bool {
    with(|current| current.is_privileged())
}

/// Whether a task of some program is being polled on this thread.
pub(crate) fn is_in_task() -> bool {
    with(|current| current.task.is_some())
}

/// Returns the scope that tracks the task that is being polled, whatever `in_scope` says.
pub(crate) fn task_node() -> Option<Arc<Node>> {
    with(|current| current.task.as_ref().map(|task| task.node().clone()))
}

/// Says that this thread belongs to a program: its free functions use the root scope.
pub(crate) fn mark_thread(root: Option<ThreadRoot>) -> Option<ThreadRoot> {
    LOCAL.try_with(|local| local.root.replace(root)).ok().flatten()
}

fn thread_root() -> Option<Arc<Node>> {
    let root = |local: &Local| local.root.borrow().as_ref()?.get()?.upgrade();
    LOCAL.try_with(root).ok().flatten()
}

/// Returns the tasks that are inside a poll now, as scope and slot, for a report.
pub(crate) fn polling() -> Vec<(u32, u32)> {
    let seats = SEATS.lock().unwrap_or_else(PoisonError::into_inner);
    let ids = seats.iter().map(|seat| seat.load(Relaxed)).filter(|id| *id != 0);
    ids.map(|id| ((id >> 32) as u32, id as u32)).collect()
}
