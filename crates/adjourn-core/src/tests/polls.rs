//! What a poll of a task sees: what is polled around it, its own waker, and the stop.

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use crate::contract::report::TaskKind;
use crate::phase::Event;
use crate::program::Program;
use crate::program::driver::perform;
use crate::tests::nowhere::program;
use crate::tests::wakeups::Wakeups;
use crate::track::context;
use crate::track::ext::FutureExt;
use crate::track::node::{Node, Spawn};
use crate::track::scope::Scope;
use crate::track::stop::StopToken;
use crate::track::table::TaskRef;
use crate::track::task::Tracked;

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

fn spawn(
    node: &Arc<Node>,
    future: impl Future<Output = ()> + Send + 'static,
) -> (TaskRef, Running) {
    let task = node.register(Spawn::new(TaskKind::Plain, Location::caller())).unwrap();
    let tracked = Tracked::new(task, future);
    (task, Box::pin(async { drop(tracked.await) }))
}

fn poll(running: &mut Running, waker: &Waker) -> bool {
    running.as_mut().poll(&mut Context::from_waker(waker)).is_ready()
}

fn stop(program: &Arc<Program>, node: &Node) {
    program.event(Event::Stop(node.id));
    program.drive(perform);
}

/// Another task may come to the slot of one that is over, and be polled with the same waker.
#[test]
fn a_slot_that_is_used_again_has_the_waker_of_its_task() {
    let program = program(false);
    let node = program.open(&program.root(), "scope".into(), &[]);
    let (wakeups, waker) = Wakeups::new();
    for round in 0..50 {
        let mut tasks: Vec<_> = (0..1 + round % 12).map(|_| spawn(&node, pending())).collect();
        assert!(!tasks.iter_mut().any(|(_, running)| poll(running, &waker)));
        for (task, _) in &tasks {
            Node::abort(task);
            assert_eq!(wakeups.take(), 1);
        }
        assert!(tasks.iter_mut().all(|(_, running)| poll(running, &waker)));
        drop(tasks);
        assert_eq!(Arc::strong_count(&wakeups), 2, "no waker is left");
    }
    program.conclude();
}

/// Polls a task in which others are polled, so deep, each in a program of its own; each second one panics.
fn nest(depth: usize) {
    let program = program(false);
    let root = program.root();
    let node = program.open(&root, "scope".into(), &[]);
    let given = Scope::from_node(program.open(&root, "given".into(), &[]), ());
    let panics = depth % 2 == 0;
    let inner = poll_fn(move |cx| {
        let (task, scope) = (context::task(), context::scope().unwrap().uid);
        assert!(context::is_own_waker(cx.waker()));
        let shield = context::inside_shield();
        for _ in 0..3 {
            if depth > 0 {
                nest(depth - 1);
            }
            assert!(context::task() == task && context::is_own_waker(cx.waker()));
            assert!(context::is_shielded() && context::is_in_scope());
            assert_eq!(context::scope().unwrap().uid, scope);
            assert!(context::polling().contains(&task.unwrap().seat()));
        }
        drop(shield);
        assert!(!context::is_shielded() && !panics, "this one panics");
        Poll::Pending
    });
    let (_, mut running) = spawn(&node, inner.in_scope(&given));
    assert_eq!(poll(&mut running, &Wakeups::new().1), panics);
    drop(running);
    program.conclude();
}

#[test]
fn a_poll_finds_all_as_it_was_after_others_inside_of_it() {
    for _ in 0..3 {
        let nested = thread::spawn(|| {
            nest(4);
            assert!(context::task().is_none());
            nest(3);
        });
        nested.join().unwrap();
    }
}

/// A waker that is woken outside of all tasks.
struct Outside(AtomicBool);

impl Wake for Outside {
    fn wake(self: Arc<Self>) {
        self.0.store(context::task().is_none(), SeqCst);
    }
}

/// What a poll does of itself, as to wake its task again, is the executor's doing: it belongs to no task.
#[test]
fn what_a_poll_does_inside_of_another_task_is_no_part_of_that() {
    let program = program(false);
    let node = program.open(&program.root(), "scope".into(), &[]);
    let outside = Arc::new(Outside(AtomicBool::new(false)));
    let waker = Waker::from(outside.clone());
    let inside = node.clone();
    let around = poll_fn(move |_| {
        let held = poll_fn(|_| {
            let task = context::task().unwrap();
            task.hold();
            Node::abort(&task);
            Poll::Pending
        });
        assert!(!poll(&mut spawn(&inside, held).1, &waker));
        assert!(context::task().is_some());
        Poll::Pending
    });
    assert!(!poll(&mut spawn(&node, around).1, Waker::noop()));
    assert!(outside.0.load(SeqCst), "woken, by no task");
    program.conclude();
}

/// Polls in a destructor of a thread's end.
struct Last(Vec<Running>);

impl Drop for Last {
    fn drop(&mut self) {
        for mut running in self.0.drain(..) {
            assert!(!poll(&mut running, &Wakeups::new().1));
        }
    }
}

#[test]
fn a_poll_finds_all_as_it_was_at_a_threads_end_too() {
    thread_local!(static LAST: RefCell<Option<Last>> = const { RefCell::new(None) });
    // What is dropped first, that or what we have of the thread, hangs on which was used first.
    for first in [true, false] {
        let program = program(false);
        let node = program.open(&program.root(), "scope".into(), &[]);
        let nested = {
            let node = node.clone();
            move || {
                let inside = node.clone();
                let polls = move |cx: &mut Context<'_>| {
                    let task = context::task();
                    assert!(!poll(&mut spawn(&inside, pending()).1, cx.waker()));
                    assert!(task.is_some() && context::task() == task);
                    assert!(context::is_own_waker(cx.waker()));
                    Poll::Pending
                };
                spawn(&node, poll_fn(polls)).1
            }
        };
        let ends = thread::spawn(move || {
            let last = Last(vec![nested(), nested()]);
            if first {
                LAST.set(Some(last));
                assert!(!poll(&mut nested(), Waker::noop()));
            } else {
                assert!(!poll(&mut nested(), Waker::noop()));
                LAST.set(Some(last));
            }
        });
        ends.join().unwrap();
        assert_eq!(node.lock().totals().live, 0);
        program.conclude();
    }
}

/// The stop of the task's own scope is one of those for which a token of a scope above is asked.
#[test]
fn who_waits_by_a_token_from_above_is_told_in_the_poll_that_its_stop_wakes() {
    let program = program(false);
    let node = program.open(&program.root(), "below".into(), &[]);
    let above = StopToken::new(program.root());
    let given = Scope::from_node(program.open(&program.root(), "other".into(), &[]), ());
    let (_, by_token) = spawn(&node, async move { above.requested().await });
    let inside = async { assert!(pending::<()>().until_stop().await.is_err()) };
    let (_, in_other) = spawn(&node, inside.in_scope(&given));
    let mut both = [by_token, in_other];
    let (wakeups, waker) = Wakeups::new();
    assert!(!both.iter_mut().any(|running| poll(running, &waker)));
    stop(&program, &node);
    assert_eq!(wakeups.take(), 2);
    node.cancel(); // the drain limit has come
    assert!(both.iter_mut().all(|running| poll(running, &waker)));
    assert_eq!(node.lock().totals().finished, 2, "told, and not cancelled");
    program.conclude();
}

#[test]
fn who_asks_a_token_from_above_late_is_told_at_once() {
    let program = program(false);
    let node = program.open(&program.root(), "below".into(), &[]);
    let (above, own) = (StopToken::new(program.root()), StopToken::new(node.clone()));
    let (_, mut running) = spawn(&node, async move {
        own.requested().await;
        let late = poll_fn(|cx| Poll::Ready(pin!(above.requested()).poll(cx))).await;
        assert!(above.is_requested() && late.is_ready());
    });
    let (_, waker) = Wakeups::new();
    assert!(!poll(&mut running, &waker));
    stop(&program, &node);
    assert!(poll(&mut running, &waker));
    assert_eq!(node.lock().totals().finished, 1);
    program.conclude();
}
