//! Who is woken, whatever comes in between.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loom::{model, thread};

use super::{cancel, end, program, scope, spawn};
use crate::contract::report::{Outcome, TaskKind};
use crate::contract::rt::{AnyBackend, Spawner};
use crate::sync::Mutex;
use crate::tests::nowhere::{Nowhere, Spawned};
use crate::tests::wakeups::Wakeups;
use crate::track::context;
use crate::track::ext::FutureExt;
use crate::track::node::{Awaited, CleanupId, Node};
use crate::track::shield::shield;
use crate::track::stop::StopToken;
use crate::track::table::flag;
use crate::track::task::Tracked;
use crate::track::wakes::Wakes;

#[test]
fn a_stop_wakes_whoever_stores_a_waker_meanwhile() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let task = spawn(&node, TaskKind::Plain).unwrap();
        let (wakeups, waker) = Wakeups::new();
        let poller = thread::spawn(move || {
            // What a poll that was pending does last.
            let missed = Node::store_waker(&task, waker.clone(), true);
            missed || task.word().has(flag::CANCEL | flag::FORCE)
        });
        cancel(&node);
        let looks = poller.join().unwrap();
        assert!(looks || wakeups.are_there(), "cancelled, and nobody polls it again");
        assert!(task.word().is_doomed());
        end(&program);
    });
}

#[test]
fn a_token_polled_with_the_tasks_own_waker_hears_the_stop() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let task = spawn(&node, TaskKind::Graceful).unwrap();
        let (wakeups, waker) = Wakeups::new();
        let poller = thread::spawn(move || {
            // A poll of `requested`, then the end of the task's own poll.
            task.set(flag::WATCH);
            if task.chunk().is_fired() {
                return true;
            }
            Node::store_waker(&task, waker.clone(), true)
        });
        node.fire();
        let told = poller.join().unwrap();
        assert!(told || wakeups.are_there());
        end(&program);
    });
}

#[test]
fn a_token_polled_with_another_waker_hears_the_stop() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let (wakeups, waker) = Wakeups::new();
        let poller = {
            let node = node.clone();
            thread::spawn(move || {
                let mut ticket = None;
                let waits = node.wait(&mut ticket, Awaited::Stop, waker, |_| node.is_fired());
                (waits, ticket)
            })
        };
        node.fire();
        let (waits, ticket) = poller.join().unwrap();
        assert!(!waits || wakeups.are_there());
        node.forget(ticket, Awaited::Stop); // of a waiter that is gone, or never was: nothing happens
        end(&program);
    });
}

#[test]
fn who_listens_for_a_cancellation_with_another_waker_hears_of_it() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let task = spawn(&node, TaskKind::Plain).unwrap();
        let awaited = Awaited::Cancel(task, CleanupId(1));
        let (wakeups, waker) = Wakeups::new();
        let poller = {
            let node = node.clone();
            thread::spawn(move || {
                // A cleanup listens first and looks at the mark then.
                let mut ticket = None;
                _ = node.wait(&mut ticket, awaited, waker, |_| false);
                (task.word().has(flag::CANCEL), ticket)
            })
        };
        node.cancel();
        let (seen, ticket) = poller.join().unwrap();
        assert!(seen || wakeups.are_there(), "cancelled, and it does not hear of it");
        node.forget(ticket, awaited);
        end(&program);
    });
}

#[test]
fn a_hold_and_a_cancellation_see_each_other() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let task = spawn(&node, TaskKind::Plain).unwrap();
        let (wakeups, waker) = Wakeups::new();
        _ = Node::store_waker(&task, waker, true);
        let poller = thread::spawn(move || {
            let before = task.hold();
            assert!(!task.word().is_doomed() || before.has(flag::CANCEL) || task.word().is_held());
            task.release().unwrap().has(flag::CANCEL)
        });
        cancel(&node);
        let seen = poller.join().unwrap();
        assert!(seen || wakeups.are_there());
        assert!(task.word().is_doomed(), "nothing holds it any more");
        end(&program);
    });
}

#[test]
fn a_handle_hears_that_its_task_is_abandoned() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let task = spawn(&node, TaskKind::Shielded).unwrap();
        let (wakeups, waker) = Wakeups::new();
        let handle = thread::spawn(move || task.store_join_waker(waker));
        let mut wakes = Wakes::default();
        node.lock().abandon(&mut wakes);
        wakes.wake();
        let waits = handle.join().unwrap();
        assert!(!waits || wakeups.are_there());
        let totals = node.lock().totals();
        assert_eq!((totals.spawned, totals.live, totals.abandoned), (1, 0, 1));
        end(&program);
    });
}

#[test]
fn an_erased_handle_hears_of_the_end_of_what_it_waits_for() {
    fn poll_once_on_a_thread(mut future: Spawned) {
        drop(thread::spawn(move || {
            _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }));
    }
    model(|| {
        let mut handle = AnyBackend::new("once", Nowhere(poll_once_on_a_thread)).spawn(async { 7 });
        let (wakeups, waker) = Wakeups::new();
        let mut cx = Context::from_waker(&waker);
        let mut polled = Pin::new(&mut handle).poll(&mut cx);
        if polled.is_pending() {
            while !wakeups.are_there() {
                thread::yield_now();
            }
            polled = Pin::new(&mut handle).poll(&mut cx);
        }
        assert_eq!(polled, Poll::Ready(Ok(7)));
    });
}

// The futures themselves, polled as part of a task.

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

fn task_of(node: &Arc<Node>, future: impl Future<Output = ()> + Send + 'static) -> Running {
    let task = spawn(node, TaskKind::Plain).unwrap();
    let tracked = Tracked::new(task, future);
    Box::pin(async { drop(tracked.await) })
}

fn poll(running: &mut Running, waker: &Waker) -> bool {
    running.as_mut().poll(&mut Context::from_waker(waker)).is_ready()
}

/// Polls a future the first time in its second poll, with a waker that is not the task's.
fn part_later(mut future: Running, waker: Waker) -> impl Future<Output = ()> + Send {
    let mut begun = false;
    poll_fn(move |_| {
        if !std::mem::replace(&mut begun, true) {
            return Poll::Pending;
        }
        future.as_mut().poll(&mut Context::from_waker(&waker))
    })
}

#[test]
fn a_token_polled_with_a_new_waker_wakes_that() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let requested = StopToken::new(node.clone()).requested();
        let mut running = task_of(&node, requested);
        let (wakeups, latest) = Wakeups::new();
        assert!(!poll(&mut running, Waker::noop()));
        let polls = thread::spawn(move || (poll(&mut running, &latest), running));
        node.fire();
        let (over, running) = polls.join().unwrap();
        assert!(over || wakeups.are_there(), "only the stale waker was woken");
        drop(running);
        end(&program);
    });
}

#[test]
fn a_token_first_polled_beside_a_stop_sees_it_or_is_woken() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let mut requested = StopToken::new(node.clone()).requested();
        let mut begun = false;
        // The first poll stores the waker; the second is the token's first.
        let later = poll_fn(move |cx| {
            if !std::mem::replace(&mut begun, true) {
                return Poll::Pending;
            }
            Pin::new(&mut requested).poll(cx)
        });
        let mut running = task_of(&node, later);
        let (wakeups, waker) = Wakeups::new();
        assert!(!poll(&mut running, &waker));
        let polls = thread::spawn(move || (poll(&mut running, &waker), running));
        node.fire();
        let (over, running) = polls.join().unwrap();
        assert!(over || wakeups.are_there(), "nobody tells it");
        drop(running);
        end(&program);
    });
}

#[test]
fn a_token_first_polled_by_a_part_beside_a_stop_sees_it_or_is_woken() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let requested = StopToken::new(node.clone()).requested();
        let (wakeups, waker) = Wakeups::new();
        let mut running = task_of(&node, part_later(Box::pin(requested), waker));
        assert!(!poll(&mut running, Waker::noop()));
        let polls = thread::spawn(move || (poll(&mut running, Waker::noop()), running));
        node.fire();
        let (over, running) = polls.join().unwrap();
        assert!(over || wakeups.are_there(), "nobody tells it");
        drop(running);
        end(&program);
    });
}

#[test]
fn a_cleanup_first_polled_by_a_part_beside_a_stop_sees_it_or_is_woken() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let (wakeups, waker) = Wakeups::new();
        let work = pending::<()>().on_cancel(async {});
        let mut running = task_of(&node, part_later(Box::pin(work), waker));
        assert!(!poll(&mut running, Waker::noop()));
        let polls = thread::spawn(move || (poll(&mut running, Waker::noop()), running));
        cancel(&node);
        let (over, running) = polls.join().unwrap();
        assert!(over || wakeups.are_there(), "its cleanup never runs");
        drop(running);
        end(&program);
    });
}

#[test]
fn a_cleanup_hears_that_nothing_inside_it_is_held_any_more() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let held = Arc::new(Mutex::new(Some(Box::pin(shield(pending::<()>())))));
        let inside = held.clone();
        let work = poll_fn(move |cx| {
            let mut held = inside.lock().unwrap();
            held.as_mut().map_or(Poll::Pending, |held| held.as_mut().poll(cx))
        });
        let ((wakeups, own), (part_wakeups, waker)) = (Wakeups::new(), Wakeups::new());
        let cleaned = Arc::new(AtomicBool::new(false));
        let cleans = cleaned.clone();
        let cleanup = async move { cleans.store(true, SeqCst) };
        let mut part: Running = Box::pin(work.on_cancel(cleanup));
        let part = poll_fn(move |_| part.as_mut().poll(&mut Context::from_waker(&waker)));
        let mut running = task_of(&node, part);
        assert!(!poll(&mut running, &own));
        node.cancel(); // takes both wakers: from here on only the release wakes them
        let before = (wakeups.count(), part_wakeups.count());
        let polls = thread::spawn(move || (poll(&mut running, &own), running));
        let released = held.lock().unwrap().take();
        drop(released);
        let (over, running) = polls.join().unwrap();
        assert!(over || wakeups.count() > before.0, "the task never ends");
        let heard = cleaned.load(SeqCst) || part_wakeups.count() > before.1;
        assert!(heard, "its cleanup never runs");
        drop(running);
        end(&program);
    });
}

#[test]
fn a_thread_that_blocks_hears_the_stop() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let token = StopToken::new(node.clone());
        // Not woken, it would wait for ever: loom says so.
        let waits = thread::spawn(move || assert!(token.wait_timeout(Duration::MAX)));
        node.fire();
        waits.join().unwrap();
        end(&program);
    });
}

#[test]
fn a_job_that_blocks_hears_its_own_scopes_stop_by_a_token_from_above() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let job = spawn(&node, TaskKind::Blocking).unwrap();
        let token = StopToken::new(program.root());
        let waits = thread::spawn(move || {
            context::within(job, || assert!(token.wait_timeout(Duration::MAX)));
        });
        node.fire();
        waits.join().unwrap();
        Node::deregister(job, Outcome::Finished);
        end(&program);
    });
}
