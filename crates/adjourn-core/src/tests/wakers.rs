//! Whom a stop, an abort and a release wake, and in which order.

use std::future::{Future, pending, poll_fn};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::contract::report::{Outcome, Reason, TaskKind};
use crate::phase::Event;
use crate::program::Program;
use crate::program::driver::perform;
use crate::tests::nowhere::program;
use crate::tests::wakeups::Wakeups;
use crate::track::context;
use crate::track::ext::FutureExt;
use crate::track::node::{Awaited, CleanupId, Node, Spawn};
use crate::track::scope::Scope;
use crate::track::shield::shield;
use crate::track::stop::StopToken;
use crate::track::table::TaskRef;
use crate::track::task::Tracked;

fn spawn(node: &Arc<Node>, kind: TaskKind) -> TaskRef {
    node.register(Spawn::new(kind, Location::caller())).unwrap()
}

fn stop(program: &Arc<Program>) {
    program.stop(Reason::Requested(None));
    program.drive(perform);
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

fn task_of(node: &Arc<Node>, kind: TaskKind, future: Running) -> (TaskRef, Running) {
    let task = spawn(node, kind);
    let tracked = Tracked::new(task, future);
    (task, Box::pin(async { drop(tracked.await) }))
}

/// Polls its future with a waker of its own, as a combinator does.
struct Part<F> {
    future: F,
    waker: Option<Arc<Forward>>,
    /// Counts the wakes of this part and others.
    all: Arc<Wakeups>,
}

/// Wakes the task around a part, and counts.
struct Forward {
    task: Waker,
    own: Wakeups,
    all: Arc<Wakeups>,
}

impl Wake for Forward {
    fn wake(self: Arc<Self>) {
        self.own.add();
        self.all.add();
        self.task.wake_by_ref();
    }
}

impl<F> Part<F> {
    fn new(future: F) -> Part<F> {
        Part { future, waker: None, all: Arc::default() }
    }

    /// How often the part was woken since it was polled with this task's waker first.
    fn wakes(&self) -> usize {
        self.waker.as_ref().map_or(0, |waker| waker.own.take())
    }
}

impl<F: Future + Unpin> Future for Part<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let kept = this.waker.take().filter(|waker| waker.task.will_wake(cx.waker()));
        let (task, all) = (cx.waker().clone(), this.all.clone());
        let forward =
            kept.unwrap_or_else(|| Arc::new(Forward { task, own: Wakeups::default(), all }));
        let waker = Waker::from(this.waker.insert(forward).clone());
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&waker))
    }
}

// A waker that changes: `Future::poll` says that only the one of the last poll is to be woken.

/// Polls a task with one waker and then with another, and lets `event` come when its future has
/// been polled the second time, before that poll is over. The new waker has to be woken.
#[track_caller]
fn hears_with_a_new_waker(
    what: &str,
    node: &Arc<Node>,
    kind: TaskKind,
    mut future: Running,
    event: impl FnOnce() + Send + 'static,
) -> Option<Running> {
    let mut polls = 0;
    let mut event = Some(event);
    let inner = poll_fn(move |cx| {
        let polled = future.as_mut().poll(cx);
        polls += 1;
        if polls == 2 {
            assert!(polled.is_pending());
            event.take().unwrap()();
        }
        polled
    });
    let (_, mut running) = task_of(node, kind, Box::pin(inner));
    let (_, stale) = Wakeups::new();
    let (wakeups, latest) = Wakeups::new();
    assert!(running.as_mut().poll(&mut Context::from_waker(&stale)).is_pending());
    let over = running.as_mut().poll(&mut Context::from_waker(&latest)).is_ready();
    assert!(over || wakeups.take() > 0, "{what}: only the stale waker was woken");
    (!over).then_some(running)
}

/// Polls a task that was woken, unless it is over: it has to be then.
#[track_caller]
fn is_over(running: Option<Running>) {
    if let Some(mut running) = running {
        assert!(running.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}

#[test]
fn a_stop_wakes_the_new_waker_of_whoever_waits_for_it() {
    type Waits = fn(StopToken) -> Running;
    let ways: [Waits; 6] = [
        |stop| Box::pin(async move { stop.requested().await }),
        |stop| Box::pin(Part::new(Box::pin(async move { stop.requested().await }))),
        |_| Box::pin(async { assert!(pending::<()>().until_stop().await.is_err()) }),
        |_| {
            let waits = async { assert!(pending::<()>().until_stop().await.is_err()) };
            Box::pin(Part::new(Box::pin(waits)))
        },
        |_| Box::pin(async { assert!(shield(pending::<()>()).until_stop().await.is_err()) }),
        // Polled as a part first, and then with the task's own waker.
        |stop| {
            let mut part = Part::new(Box::pin(async move { stop.requested().await }));
            let mut first = true;
            Box::pin(poll_fn(move |cx| {
                if std::mem::take(&mut first) {
                    return Pin::new(&mut part).poll(cx);
                }
                part.future.as_mut().poll(cx)
            }))
        },
    ];
    for (way, waits) in ways.into_iter().enumerate() {
        for below in [false, true] {
            let what = format!("way {way}, below: {below}");
            let program = program(false);
            let root = program.root();
            // Of a scope below the token's, which is told in its turn.
            let node = if below { program.open(&root, "below".into(), &[]) } else { root.clone() };
            let waits = waits(StopToken::new(root.clone()));
            let stopped = program.clone();
            is_over(hears_with_a_new_waker(&what, &node, TaskKind::Plain, waits, move || {
                stop(&stopped)
            }));
            drop(program.conclude());
        }
    }
}

#[test]
fn a_cancellation_wakes_the_new_waker_of_what_it_cancels() {
    type Work = fn() -> Running;
    let ways: [Work; 3] = [
        || Box::pin(pending()),
        || Box::pin(pending::<()>().on_cancel(async {})),
        || Box::pin(Part::new(Box::pin(pending::<()>().on_cancel(async {})))),
    ];
    for (way, work) in ways.into_iter().enumerate() {
        for aborts in [false, true] {
            let what = format!("way {way}, aborts: {aborts}");
            let program = program(false);
            let node = program.root();
            let (task, of) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(work())));
            let (tell, stopped) = (task.clone(), program.clone());
            let running: Running = Box::pin(poll_fn(move |cx| {
                *tell.lock().unwrap() = context::task();
                of.lock().unwrap().as_mut().poll(cx)
            }));
            is_over(hears_with_a_new_waker(&what, &node, TaskKind::Plain, running, move || {
                if aborts {
                    Node::abort(&task.lock().unwrap().unwrap());
                } else {
                    stop(&stopped);
                }
            }));
            drop(program.conclude());
        }
    }
}

#[test]
fn a_release_elsewhere_wakes_the_new_waker_of_what_was_held() {
    let program = program(false);
    let node = program.root();
    let held = Arc::new(Mutex::new(Some(Box::pin(shield(pending::<()>())))));
    let (work, task) = (held.clone(), Arc::new(Mutex::new(None)));
    let tell = task.clone();
    let running: Running = Box::pin(poll_fn(move |cx| {
        *tell.lock().unwrap() = context::task();
        if let Some(work) = &mut *work.lock().unwrap() {
            return work.as_mut().poll(cx);
        }
        Poll::Pending
    }));
    let mut running = hears_with_a_new_waker("held", &node, TaskKind::Plain, running, move || {
        Node::abort(&task.lock().unwrap().unwrap());
    })
    .expect("it is held");
    let (wakeups, third) = Wakeups::new();
    assert!(running.as_mut().poll(&mut Context::from_waker(&third)).is_pending());
    wakeups.take();
    drop(held.lock().unwrap().take());
    assert_eq!(wakeups.take(), 1);
    is_over(Some(running));
    _ = program.conclude();
}

#[test]
fn the_end_of_a_scope_wakes_the_new_waker_of_whoever_waits_for_it() {
    let program = program(false);
    let node = program.open(&program.root(), "scope".into(), &[]);
    let scope = Scope::from_node(node.clone(), ());
    let kept = spawn(&node, TaskKind::Shielded);
    let mut end = scope.stop();
    program.drive(perform);
    let (stale, first) = Wakeups::new();
    let (wakeups, latest) = Wakeups::new();
    for waker in [first, latest] {
        assert!(Pin::new(&mut end).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    Node::deregister(kept, Outcome::Finished);
    program.drive(perform);
    assert_eq!((stale.take(), wakeups.take()), (0, 1));
    assert!(Pin::new(&mut end).poll(&mut Context::from_waker(Waker::noop())).is_ready());
    drop(scope);
    _ = program.conclude();
}

#[test]
fn the_end_of_the_program_wakes_the_new_waker_of_a_handle() {
    let program = program(false);
    let task = spawn(&program.root(), TaskKind::Shielded);
    let (stale, first) = Wakeups::new();
    let (wakeups, latest) = Wakeups::new();
    assert!(task.store_join_waker(first) && task.store_join_waker(latest));
    _ = program.conclude();
    assert_eq!((stale.take(), wakeups.take()), (0, 1));
    Node::deregister(task, Outcome::Cancelled);
}

// Who is woken, and in which order.

/// Writes its number down when it is woken.
struct Numbered(usize, Arc<Mutex<Vec<usize>>>);

impl Wake for Numbered {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0);
    }
}

#[test]
fn who_waits_is_woken_in_the_order_in_which_it_came() {
    let program = program(false);
    let node = program.open(&program.root(), "scope".into(), &[]);
    // From the last to the first, so that no order of addresses is that of the waiters.
    let tasks: Vec<_> = (0..100).map(|_| spawn(&node, TaskKind::Plain)).rev().collect();
    let woken = Arc::new(Mutex::new(Vec::new()));
    let waker = |number| Waker::from(Arc::new(Numbered(number, woken.clone())));
    let mut tickets = vec![None; tasks.len()];
    // The second time with a new waker, in another order: they keep their places.
    for round in [0, 1] {
        for number in 0..tasks.len() {
            let (number, stale) = [(number, 1000), (number * 7 % tasks.len(), 0)][round];
            let awaited = Awaited::Cancel(tasks[number], CleanupId(number % 3));
            let waker = waker(number + stale);
            assert!(node.wait(&mut tickets[number], awaited, waker, |_| false));
        }
    }
    // Two of one task, the first of which has the greater address.
    for (number, cleanup) in [(100, 9), (101, 8)] {
        let awaited = Awaited::Cancel(tasks[50], CleanupId(cleanup));
        assert!(node.wait(&mut None, awaited, waker(number), |_| false));
    }
    Node::abort(&tasks[50]);
    assert_eq!(std::mem::take(&mut *woken.lock().unwrap()), [50, 100, 101], "no other task's");
    node.forget(tickets[20], Awaited::Cancel(tasks[20], CleanupId(20 % 3)));
    node.cancel();
    let all = std::mem::take(&mut *woken.lock().unwrap());
    assert_eq!(all, (0..100).filter(|number| ![20, 50].contains(number)).collect::<Vec<_>>());
    drop(program.conclude());
    tasks.into_iter().for_each(|task| Node::deregister(task, Outcome::Cancelled));
}

#[test]
fn who_waits_for_the_end_of_a_scope_is_woken_in_the_order_in_which_it_came() {
    let program = program(false);
    let node = program.open(&program.root(), "scope".into(), &[]);
    let woken = Arc::new(Mutex::new(Vec::new()));
    let mut tickets = [None; 5];
    let mut wait = |place: usize, number| {
        let waker = Waker::from(Arc::new(Numbered(number, woken.clone())));
        let waits = node.wait(&mut tickets[place], Awaited::End, waker, |tasks| tasks.is_closed());
        waits.then_some(tickets[place]).flatten()
    };
    let first = wait(0, 0);
    assert!(wait(1, 1).is_some() && wait(2, 2).is_some());
    node.forget(first, Awaited::End);
    assert!(wait(3, 3).is_some(), "after those who were there before, though the first is gone");
    assert!(wait(1, 11).is_some(), "with a new waker it keeps its place");
    assert_eq!(node.lock().waiting(), 3);
    node.close_handle();
    assert_eq!(std::mem::take(&mut *woken.lock().unwrap()), [11, 2, 3]);
    assert!(wait(4, 4).is_none(), "it has ended");
    tickets.into_iter().for_each(|ticket| node.forget(ticket, Awaited::End));
    // One alone, again and again.
    let node = program.open(&program.root(), "scope".into(), &[]);
    for _ in 0..3 {
        let mut ticket = None;
        assert!(node.wait(&mut ticket, Awaited::End, Waker::noop().clone(), |_| false));
        assert_eq!(node.lock().waiting(), 1);
        node.forget(ticket, Awaited::End);
        assert_eq!(node.lock().waiting(), 0);
    }
    drop(program.conclude());
}

/// A task of so many parts, each a cleanup inside a cleanup, and how often the parts are woken.
fn nested_cleanups(parts: usize) -> usize {
    let (program, all) = (program(false), Arc::new(Wakeups::default()));
    let mut sections: Vec<_> = (0..parts)
        .map(|_| {
            let mut yielded = false;
            let inner_cleanup = poll_fn(move |cx| {
                if std::mem::replace(&mut yielded, true) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            });
            let nested = pending::<()>().on_cancel(inner_cleanup).on_cancel(async {});
            Part { all: all.clone(), ..Part::new(Box::pin(nested)) }
        })
        .collect();
    let (task, mut running) = task_of(
        &program.root(),
        TaskKind::Plain,
        Box::pin(poll_fn(move |cx| {
            // Polls those parts alone that were woken, as a combinator does.
            for section in &mut sections {
                if section.wakes() > 0 || section.waker.is_none() {
                    assert!(Pin::new(section).poll(cx).is_pending());
                }
            }
            Poll::Pending
        })),
    );
    let (wakeups, waker) = Wakeups::new();
    let mut cx = Context::from_waker(&waker);
    assert!(running.as_mut().poll(&mut cx).is_pending());
    Node::abort(&task);
    while wakeups.take() > 0 {
        if running.as_mut().poll(&mut cx).is_ready() {
            _ = program.conclude();
            return all.take();
        }
    }
    panic!("nobody woke a task with cleanups that wait for nothing");
}

#[test]
fn the_end_of_a_cleanup_wakes_the_one_around_it_and_no_other() {
    // Each part: by the abort the inner and the outer one, by the inner one's yield, by its end.
    for parts in [1, 10, 100] {
        assert_eq!(nested_cleanups(parts), 4 * parts);
    }
}

#[test]
fn a_hold_that_is_not_counted_wakes_the_cleanup_around_it_all_the_same() {
    let program = program(false);
    let held = Arc::new(Mutex::new(Some(Box::pin(shield(pending::<()>())))));
    let work = held.clone();
    let inside = poll_fn(move |cx| {
        let mut work = work.lock().unwrap();
        work.as_mut().map_or(Poll::Pending, |work| work.as_mut().poll(cx))
    });
    let mut part = Part::new(Box::pin(inside.on_cancel(pending())));
    let wakes = Arc::new(Mutex::new(0));
    let tell = wakes.clone();
    let (task, mut running) = task_of(
        &program.root(),
        TaskKind::Plain,
        Box::pin(poll_fn(move |cx| {
            *tell.lock().unwrap() += part.wakes();
            Pin::new(&mut part).poll(cx)
        })),
    );
    while !task.word().is_full() {
        task.hold();
    }
    let mut cx = Context::from_waker(Waker::noop());
    assert!(running.as_mut().poll(&mut cx).is_pending());
    Node::abort(&task);
    assert!(running.as_mut().poll(&mut cx).is_pending());
    *wakes.lock().unwrap() = 0;
    drop(held.lock().unwrap().take());
    assert!(running.as_mut().poll(&mut cx).is_pending());
    assert_eq!(*wakes.lock().unwrap(), 1);
    _ = program.conclude();
}

// Threads that block.

#[test]
fn a_job_that_waits_for_a_token_from_above_hears_that_its_own_scope_is_stopped() {
    let program = program(false);
    let root = program.root();
    let node = program.open(&root, "scope".into(), &[]);
    let job = spawn(&node, TaskKind::Blocking);
    let (tell, told) = mpsc::channel();
    let token = StopToken::new(root);
    let waits = std::thread::spawn(move || {
        context::within(job, || {
            assert!(!token.wait_timeout(Duration::ZERO));
            tell.send(false).unwrap();
            tell.send(token.wait_timeout(Duration::MAX)).unwrap();
        });
    });
    assert!(!told.recv().unwrap());
    std::thread::sleep(Duration::from_millis(20)); // mostly it waits by then
    program.event(Event::Stop(node.id));
    program.drive(perform);
    assert_eq!(told.recv_timeout(Duration::from_secs(30)), Ok(true));
    waits.join().unwrap();
    Node::deregister(job, Outcome::Finished);
    _ = program.conclude();
}

#[test]
fn a_wait_that_is_over_leaves_no_waiter() {
    let program = program(false);
    let (wakeups, waker) = Wakeups::new();
    let token = StopToken::new(program.root());
    assert!(!token.wait_timeout(Duration::from_millis(1)));
    {
        let mut requested = pin!(token.requested());
        let mut cx = Context::from_waker(&waker);
        assert!(requested.as_mut().poll(&mut cx).is_pending());
        assert_eq!(program.root().lock().waiting(), 1);
    }
    assert_eq!(program.root().lock().waiting(), 0);
    stop(&program);
    _ = program.conclude();
    assert_eq!(wakeups.take(), 0);
}
