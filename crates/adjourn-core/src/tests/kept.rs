//! An await that is kept pending since its task is over, and what brings it back.

use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::contract::report::{Reason, TaskKind};
use crate::phase::Event;
use crate::program::Program;
use crate::program::driver::perform;
use crate::tests::nowhere::{Nowhere, program};
use crate::tests::wakeups::Wakeups;
use crate::track::node::{Node, Spawn};
use crate::track::scope::Scope;
use crate::track::shield::shield;
use crate::track::stop::StopToken;
use crate::track::table::TaskRef;
use crate::track::task::{JoinHandle, Tracked};

type Handle = JoinHandle<(), Nowhere>;

/// A plain task of the root that has been told, beside graceful work that has yet to end. It runs what
/// each poll gives it.
struct Told {
    program: Arc<Program>,
    beside: TaskRef,
    running: Pin<Box<dyn Future<Output = ()>>>,
    step: Arc<Mutex<Option<Step>>>,
}

type Step = Box<dyn FnMut(&mut Context<'_>)>;

impl Told {
    fn new() -> Told {
        let program = program(false);
        let root = program.root();
        let spawn = |kind| root.register(Spawn::new(kind, Location::caller())).unwrap();
        let (beside, task) = (spawn(TaskKind::Graceful), spawn(TaskKind::Plain));
        let step: Arc<Mutex<Option<Step>>> = Arc::default();
        let runs = step.clone();
        let future = poll_fn(move |cx| {
            if let Some(step) = &mut *runs.lock().unwrap() {
                step(cx);
            }
            Poll::<()>::Pending
        });
        let tracked = Tracked::new(task, future);
        program.stop(Reason::Requested(None));
        program.drive(perform);
        Told { program, beside, running: Box::pin(async { drop(tracked.await) }), step }
    }

    /// The handle of a task that the stop has refused.
    fn refused(&self) -> Handle {
        let node = self.program.open(&self.program.root(), "below".into(), &[]);
        let scope = Scope::from_node(node.clone(), Nowhere(drop));
        self.program.event(Event::Stop(node.id));
        self.program.drive(perform);
        let handle = scope.spawn(async {});
        assert!(handle.is_finished());
        handle
    }

    fn runs(&mut self, step: impl FnMut(&mut Context<'_>) + 'static) {
        *self.step.lock().unwrap() = Some(Box::new(step));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(self.running.as_mut().poll(&mut cx).is_pending());
        *self.step.lock().unwrap() = None;
    }

    fn waiting(&self) -> usize {
        self.program.root().lock().waiting()
    }

    fn end(self) {
        _ = self.program.conclude();
        drop(self.running);
        Node::deregister(self.beside, crate::contract::report::Outcome::Cancelled);
    }
}

type Kept = Arc<Mutex<Handle>>;

/// Polls a handle with this waker.
fn poll(handle: &Kept, waker: &Waker) -> Poll<bool> {
    let polled = Pin::new(&mut *handle.lock().unwrap()).poll(&mut Context::from_waker(waker));
    polled.map(|result| result.is_err_and(|error| error.is_refused()))
}

/// Something in the task's poll that keeps the task, and what has to live for that.
type Keeps = fn(&mut Context<'_>) -> Box<dyn Send>;

#[test]
fn what_keeps_the_task_wakes_the_await_that_was_kept_pending() {
    let ways: [Keeps; 3] = [
        |_| {
            assert!(StopToken::current().is_requested());
            Box::new(())
        },
        |cx| {
            let mut requested = Box::pin(StopToken::current().requested());
            assert!(requested.as_mut().poll(cx).is_ready());
            Box::new(requested)
        },
        |cx| {
            let mut section = Box::pin(shield(std::future::pending::<()>()));
            _ = section.as_mut().poll(cx); // the first poll may be no more than a yield
            assert!(section.as_mut().poll(cx).is_pending());
            Box::new(section)
        },
    ];
    for (way, keeps) in ways.into_iter().enumerate() {
        let mut told = Told::new();
        let handle: Kept = Arc::new(Mutex::new(told.refused()));
        let (stale, first) = Wakeups::new();
        let (wakeups, latest) = Wakeups::new();
        let kept = handle.clone();
        told.runs(move |_| {
            assert!(poll(&kept, &first).is_pending() && poll(&kept, &latest).is_pending());
        });
        assert_eq!(told.waiting(), 1, "way {way}: one, by the waker of the last poll");
        let alive = Arc::new(Mutex::new(None));
        let keep = alive.clone();
        told.runs(move |cx| *keep.lock().unwrap() = Some(keeps(cx)));
        assert_eq!((stale.take(), wakeups.take()), (0, 1), "way {way}");
        assert_eq!(told.waiting(), 0, "way {way}");
        told.runs(move |_| assert_eq!(poll(&handle, Waker::noop()), Poll::Ready(true)));
        drop(alive);
        told.end();
    }
}

#[test]
fn an_await_that_was_kept_pending_leaves_no_waiter() {
    let mut told = Told::new();
    let handles: Vec<Kept> = (0..100).map(|_| Arc::new(Mutex::new(told.refused()))).collect();
    let polled = handles.clone();
    told.runs(move |_| {
        for handle in &polled {
            for _ in 0..3 {
                assert!(poll(handle, Waker::noop()).is_pending());
            }
        }
    });
    assert_eq!(told.waiting(), 100);
    drop(handles);
    assert_eq!(told.waiting(), 0, "dropped");
    // Awaited elsewhere: outside of tasks the error is news.
    let handle: Kept = Arc::new(Mutex::new(told.refused()));
    let kept = handle.clone();
    told.runs(move |_| assert!(poll(&kept, Waker::noop()).is_pending()));
    assert_eq!(told.waiting(), 1);
    assert_eq!(poll(&handle, Waker::noop()), Poll::Ready(true));
    assert_eq!(told.waiting(), 0, "given");
    told.end();
}

#[test]
fn an_ask_for_the_task_from_elsewhere_wakes_it_too() {
    let mut told = Told::new();
    let handle: Kept = Arc::new(Mutex::new(told.refused()));
    let (wakeups, waker) = Wakeups::new();
    let kept = handle.clone();
    let requested = Arc::new(Mutex::new(None));
    let made = requested.clone();
    told.runs(move |_| {
        assert!(poll(&kept, &waker).is_pending());
        *made.lock().unwrap() = Some(Box::pin(StopToken::current().requested()));
    });
    // A framework polls it on its own: it counts for the task that made it.
    let mut requested = requested.lock().unwrap().take().unwrap();
    assert!(requested.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!((wakeups.take(), told.waiting()), (1, 0));
    told.end();
}
