//! Who asks, and who is spawned graceful, beside what the machine decides.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::{model, thread};

use super::{cancel, end, program, scope, spawn};
use crate::contract::report::{Outcome, TaskKind};
use crate::phase::{Event, Phase};
use crate::program::Program;
use crate::program::driver::perform;
use crate::sync::atomic::Ordering::SeqCst;
use crate::tests::nowhere::Nowhere;
use crate::tests::wakeups::Wakeups;
use crate::track::context;
use crate::track::node::Node;
use crate::track::scope::Scope;
use crate::track::table::{TaskRef, flag};
use crate::track::task::Tracked;

fn phase(program: &Arc<Program>, node: &Arc<Node>) -> Phase {
    program.lock().machine.phase(node.id)
}

/// Asks the scope to stop, and does what the machine decides.
fn stop(program: &Arc<Program>, node: &Arc<Node>) {
    program.event(Event::Stop(node.id));
    program.drive(perform);
}

/// Nothing graceful is waited for in vain, and nothing graceful is cancelled as if it were not there.
#[track_caller]
fn is_waited_for(program: &Arc<Program>, node: &Arc<Node>, task: &TaskRef) {
    assert!(!task.word().has(flag::CANCEL), "graceful, and cancelled before its drain limit");
    assert_eq!(phase(program, node), Phase::Draining);
    assert_eq!(node.graceful.load(SeqCst), 1);
}

#[test]
fn a_graceful_spawn_that_races_the_last_graceful_end_is_refused_or_waited_for() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let last = spawn(&node, TaskKind::Graceful).unwrap();
        let plain = spawn(&node, TaskKind::Plain).unwrap();
        stop(&program, &node);
        let spawner = {
            let node = node.clone();
            thread::spawn(move || spawn(&node, TaskKind::Graceful))
        };
        Node::deregister(last, Outcome::Finished);
        program.drive(perform);
        let raced = spawner.join().unwrap();
        program.drive(perform);
        match raced {
            Some(task) => is_waited_for(&program, &node, &task),
            None => {
                assert!(phase(&program, &node) == Phase::Cancelling && plain.word().is_doomed())
            }
        }
        end(&program);
    });
}

#[test]
fn a_graceful_spawn_that_races_its_scopes_stop_is_refused_or_waited_for() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let plain = spawn(&node, TaskKind::Plain).unwrap();
        let spawner = {
            let node = node.clone();
            thread::spawn(move || spawn(&node, TaskKind::Graceful))
        };
        stop(&program, &node);
        let raced = spawner.join().unwrap();
        program.drive(perform);
        match raced {
            Some(task) => is_waited_for(&program, &node, &task),
            None => {
                assert!(phase(&program, &node) == Phase::Cancelling && plain.word().is_doomed())
            }
        }
        end(&program);
    });
}

#[test]
fn an_ask_that_races_the_last_graceful_end_is_heard_or_too_late() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let last = spawn(&node, TaskKind::Graceful).unwrap();
        let task = spawn(&node, TaskKind::Plain).unwrap();
        stop(&program, &node);
        let asks = thread::spawn(move || Node::asked(&task));
        Node::deregister(last, Outcome::Finished);
        program.drive(perform);
        asks.join().unwrap();
        program.drive(perform);
        heard_or_too_late(&program, &node, &task);
        end(&program);
    });
}

#[test]
fn an_ask_that_races_its_scopes_stop_is_heard_or_too_late() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let task = spawn(&node, TaskKind::Plain).unwrap();
        let asks = thread::spawn(move || Node::asked(&task));
        stop(&program, &node);
        asks.join().unwrap();
        program.drive(perform);
        heard_or_too_late(&program, &node, &task);
        end(&program);
    });
}

#[test]
fn a_graceful_spawn_into_a_new_scope_beside_a_stop_is_refused_or_waited_for() {
    model(|| {
        let program = program();
        let outer = scope(&program);
        let last = spawn(&outer, TaskKind::Graceful).unwrap();
        stop(&program, &outer);
        let opener = {
            let (program, outer) = (program.clone(), outer.clone());
            thread::spawn(move || {
                let new = program.open(&outer, "new".into(), &[]);
                let task = spawn(&new, TaskKind::Graceful);
                (new, task)
            })
        };
        // Its parent comes to be cancelled.
        Node::deregister(last, Outcome::Finished);
        program.drive(perform);
        let (new, raced) = opener.join().unwrap();
        program.drive(perform);
        assert!(new.is_fired(), "its parent was told before it was there");
        match raced {
            Some(task) => is_waited_for(&program, &new, &task),
            None => assert!(phase(&program, &new) >= Phase::Cancelling),
        }
        end(&program);
    });
}

#[test]
fn what_comes_of_a_first_poll_beside_a_stop_is_heard() {
    for asks in [false, true] {
        model(move || {
            let program = program();
            let node = scope(&program);
            let task = spawn(&node, TaskKind::Plain).unwrap();
            node.begins(&task);
            let polls = {
                let node = node.clone();
                thread::spawn(move || {
                    if asks {
                        Node::asked(&task);
                    }
                    node.has_begun();
                })
            };
            stop(&program, &node);
            polls.join().unwrap();
            program.drive(perform);
            if asks {
                is_waited_for(&program, &node, &task);
            } else {
                assert_eq!(phase(&program, &node), Phase::Cancelling);
                assert!(task.word().has(flag::CANCEL) && !task.word().is_doomed());
            }
            end(&program);
        });
    }
}

#[track_caller]
fn heard_or_too_late(program: &Arc<Program>, node: &Arc<Node>, task: &TaskRef) {
    if task.word().has(flag::ASKED) {
        is_waited_for(program, node, task);
    } else {
        assert!(task.word().is_doomed());
        assert_eq!(phase(program, node), Phase::Cancelling);
        assert_eq!(node.graceful.load(SeqCst), 0);
    }
}

#[test]
fn the_ask_and_the_end_of_one_task_count_it_once() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let task = spawn(&node, TaskKind::Plain).unwrap();
        // A framework's future asks for it on another thread.
        let asks = thread::spawn(move || Node::asked(&task));
        Node::deregister(task, Outcome::Finished);
        asks.join().unwrap();
        assert_eq!(node.graceful.load(SeqCst), 0);
        end(&program);
    });
}

#[test]
fn whoever_gets_the_error_of_a_task_that_the_stop_cancelled_is_told_already() {
    model(|| {
        let program = program();
        let node = scope(&program);
        // In two chunks, and one beside the first, so that its end needs no lock of the scope's: the
        // driver has that while it goes from chunk to chunk.
        let [_, cancelled, beside, awaits, _] =
            [(); 5].map(|()| spawn(&node, TaskKind::Plain).unwrap());
        Node::deregister(beside, Outcome::Finished);
        let beside = spawn(&node, TaskKind::Plain).unwrap();
        assert!(std::ptr::eq(cancelled.chunk(), beside.chunk()));
        assert!(!std::ptr::eq(cancelled.chunk(), awaits.chunk()));
        let runs = thread::spawn(move || {
            let mut running = pin!(Tracked::new(cancelled, pending::<()>()));
            let mut cx = Context::from_waker(Waker::noop());
            let Poll::Ready(given) = running.as_mut().poll(&mut cx) else { return };
            let error = given.take().unwrap_err();
            let over = context::within(awaits, is_over);
            assert!(error.is_by_stop());
            assert!(over, "what the stop took away comes back");
        });
        cancel(&node);
        runs.join().unwrap();
        end(&program);
    });
}

#[test]
fn what_abort_cancels_in_a_drain_is_told_apart_from_what_the_stop_does() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let task = spawn(&node, TaskKind::Plain).unwrap();
        let runs = thread::spawn(move || {
            let mut running = pin!(Tracked::new(task, pending::<()>()));
            let mut cx = Context::from_waker(Waker::noop());
            let Poll::Ready(given) = running.as_mut().poll(&mut cx) else { return };
            assert!(!given.take().unwrap_err().is_by_stop());
        });
        node.fire();
        Node::abort(&task);
        runs.join().unwrap();
        end(&program);
    });
}

/// Whether the task that is polled here does not come back.
fn is_over() -> bool {
    context::unshielded().is_some_and(|(task, around)| Node::is_over(&task, around))
}

#[test]
fn an_ask_from_elsewhere_is_seen_by_the_await_or_wakes_it() {
    model(|| {
        let program = program();
        let node = scope(&program);
        _ = spawn(&node, TaskKind::Graceful).unwrap(); // so long the scope drains
        let task = spawn(&node, TaskKind::Plain).unwrap();
        stop(&program, &node);
        let other = scope(&program);
        stop(&program, &other);
        let mut handle = Scope::from_node(other, Nowhere(drop)).spawn(async {});
        let asks = thread::spawn(move || Node::asked(&task)); // a framework's future, for it
        let (wakeups, waker) = Wakeups::new();
        let polled =
            context::within(task, || Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)));
        asks.join().unwrap();
        assert!(task.word().has(flag::ASKED));
        assert!(polled.is_ready() || wakeups.are_there(), "nobody polls the handle again");
        drop(handle);
        end(&program);
    });
}

#[test]
fn who_asked_before_it_was_told_is_never_over() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let task = spawn(&node, TaskKind::Plain).unwrap();
        // The error came from a scope that was stopped alone.
        let awaits = thread::spawn(move || {
            assert!(!context::within(task, is_over), "it asked before its scope was told");
        });
        Node::asked(&task); // a framework's future, for it
        node.fire();
        awaits.join().unwrap();
        end(&program);
    });
}
