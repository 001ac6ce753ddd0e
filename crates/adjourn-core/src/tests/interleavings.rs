//! Models of what threads share, each tried by loom in every interleaving (up to a number of
//! preemptions that `ci/loom.sh` sets).
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p adjourn-core --lib --release interleavings`

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::model;
use loom::thread;

use crate::contract::report::{Outcome, Reason, TaskKind, Totals};
use crate::contract::rt::{AnyBackend, Spawner};
use crate::phase::{Event, Phase};
use crate::program::{Program, Rest};
use crate::tests::nowhere::{self, Nowhere, Spawned};
use crate::tests::wakeups::Wakeups;
use crate::track::node::{Awaited, CleanupId, Node, Spawn};
use crate::track::table::{TaskRef, flag};
use crate::track::wakes::Wakes;

fn program() -> Arc<Program> {
    nowhere::program(false)
}

/// A scope with a handle, below the root.
fn scope(program: &Arc<Program>) -> Arc<Node> {
    program.open(&program.root(), "scope".into(), &[])
}

fn spawn(node: &Arc<Node>, kind: TaskKind) -> Option<TaskRef> {
    node.register(Spawn::new(kind, Location::caller()))
}

fn end(program: &Arc<Program>) {
    _ = program.conclude(); // its scopes refer to it
}

#[track_caller]
fn adds_up(totals: Totals) {
    let Totals { spawned, live, finished, failed, panicked, cancelled, abandoned, .. } = totals;
    assert_eq!(spawned, live + finished + failed + panicked + cancelled + abandoned);
}

/// The driver's part of a cancellation.
fn cancel(node: &Arc<Node>) {
    node.fire();
    node.cancel();
}

#[test]
fn a_spawn_that_races_a_stop_is_refused_or_cancelled() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let kept = spawn(&node, TaskKind::Plain).unwrap();
        let spawner = {
            let node = node.clone();
            thread::spawn(move || spawn(&node, TaskKind::Plain))
        };
        cancel(&node);
        let raced = spawner.join().unwrap();
        assert!(kept.word().is_doomed());
        if let Some(task) = &raced {
            assert!(task.word().is_doomed(), "accepted, and not cancelled");
        }
        assert!(spawn(&node, TaskKind::Plain).is_none());
        let totals = node.lock().totals();
        assert_eq!(
            (totals.live, totals.refused),
            (1 + u64::from(raced.is_some()), 1 + u64::from(raced.is_none()))
        );
        adds_up(totals);
        end(&program);
    });
}

#[test]
fn who_sees_that_a_scope_is_cancelled_spawns_nothing_plain_there() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let kept = spawn(&node, TaskKind::Plain).unwrap();
        let spawner = {
            let node = node.clone();
            thread::spawn(move || {
                let open = node.lock().is_open(); // what `Scope::phase` looks at
                (open, spawn(&node, TaskKind::Plain).is_some())
            })
        };
        cancel(&node);
        let (open, taken) = spawner.join().unwrap();
        assert!(open || !taken, "told that it is cancelling, and its spawn was taken");
        assert!(kept.word().is_doomed());
        end(&program);
    });
}

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
fn a_late_release_does_not_reach_the_slots_next_task() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let task = spawn(&node, TaskKind::Plain).unwrap();
        task.hold();
        let late = thread::spawn(move || task.release());
        Node::deregister(task, Outcome::Finished);
        let next = spawn(&node, TaskKind::Plain).unwrap();
        assert_eq!(next.seat(), task.seat(), "the same slot");
        next.hold();
        _ = late.join().unwrap();
        assert!(next.word().is_held());
        assert!(task.live_word().is_none() && next.live_word().is_some());
        end(&program);
    });
}

#[test]
fn the_last_end_and_a_spawn_leave_the_machine_with_the_truth() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let last = spawn(&node, TaskKind::Plain).unwrap();
        node.close_handle(); // only its task keeps the scope
        let spawner = {
            let node = node.clone();
            thread::spawn(move || spawn(&node, TaskKind::Plain))
        };
        Node::deregister(last, Outcome::Finished);
        let raced = spawner.join().unwrap();
        let phase = program.lock().machine.phase(node.id);
        match raced {
            Some(task) if phase == Phase::Stopped => {
                // It ended in the instant between: the task is told, and counts as a straggler.
                assert!(task.word().has(flag::FORCE) || node.lock().totals().live == 1);
            }
            Some(task) => {
                // In time: the scope goes on, or waits for it with its end.
                assert!(!task.word().is_doomed());
                Node::deregister(task, Outcome::Finished);
                assert_eq!(program.lock().machine.phase(node.id), Phase::Stopped);
            }
            None => assert_eq!(phase, Phase::Stopped),
        }
        adds_up(node.lock().totals());
        end(&program);
    });
}

#[test]
fn the_program_is_idle_only_when_its_last_task_is_gone() {
    model(|| {
        let program = program();
        program.main_ended(Outcome::Finished, None);
        let root = program.root();
        let first = spawn(&root, TaskKind::Plain).unwrap();
        let other = {
            let root = root.clone();
            thread::spawn(move || {
                let second = spawn(&root, TaskKind::Plain)?;
                Node::deregister(second, Outcome::Finished);
                Some(())
            })
        };
        Node::deregister(first, Outcome::Finished);
        let accepted = other.join().unwrap();
        assert!(program.lock().machine.is_stopping(), "nothing is alive, and nobody noticed");
        let totals = root.lock().totals();
        assert_eq!((totals.spawned, totals.live), (1 + u64::from(accepted.is_some()), 0));
        end(&program);
    });
}

/// Ends one task of a scope while the driver fires its token; returns the scope's phase after both.
fn phase_after_the_end_of_a(kind: TaskKind, beside: Option<TaskKind>) -> Phase {
    let program = program();
    let node = scope(&program);
    let task = spawn(&node, kind).unwrap();
    _ = beside.map(|kind| spawn(&node, kind).unwrap());
    program.event(Event::Stop(node.id));
    let task = thread::spawn(move || Node::deregister(task, Outcome::Finished));
    // The driver's part.
    node.fire();
    program.sync(&node);
    task.join().unwrap();
    let phase = program.lock().machine.phase(node.id);
    end(&program);
    phase
}

#[test]
fn a_scope_that_drains_hears_of_its_last_graceful_task() {
    model(|| {
        let phase = phase_after_the_end_of_a(TaskKind::Graceful, Some(TaskKind::Plain));
        assert!(phase >= Phase::Cancelling, "nothing graceful is alive in it, and it is {phase}");
    });
}

#[test]
fn a_scope_that_drains_hears_of_its_last_task() {
    model(|| {
        let phase = phase_after_the_end_of_a(TaskKind::Shielded, None);
        assert!(phase >= Phase::Closing, "nothing is alive in it, and it is {phase}");
    });
}

#[test]
fn a_spawn_takes_back_that_nobody_is_left() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let last = spawn(&node, TaskKind::Plain).unwrap();
        let child = program.open(&node, "child".into(), &[]);
        node.close_handle();
        let spawner = {
            let node = node.clone();
            thread::spawn(move || spawn(&node, TaskKind::Plain))
        };
        Node::deregister(last, Outcome::Finished);
        assert!(spawner.join().unwrap().is_some(), "it has not ended");
        child.close_handle();
        let phase = program.lock().machine.phase(node.id);
        assert_eq!(phase, Phase::Running, "its task is alive");
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
        adds_up(node.lock().totals());
        end(&program);
    });
}

#[test]
fn a_straggler_that_ends_with_its_program_gives_its_chunk_back_once() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let task = spawn(&node, TaskKind::Shielded).unwrap();
        let straggler = thread::spawn(move || Node::deregister(task, Outcome::Cancelled));
        let report = program.conclude();
        straggler.join().unwrap();
        let totals = report.totals["scope"];
        assert_eq!((totals.spawned, totals.live), (1, 0));
        assert_eq!(totals.cancelled + totals.abandoned, 1);
        assert!(task.live_word().is_none());
        // The chunk was the last to refer to the scope; here only this thread does.
        assert_eq!(Arc::strong_count(&node), 1);
    });
}

#[test]
fn two_threads_never_get_one_slot() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let first = spawn(&node, TaskKind::Plain).unwrap();
        let other = {
            let node = node.clone();
            thread::spawn(move || spawn(&node, TaskKind::Plain).unwrap())
        };
        Node::deregister(first, Outcome::Finished);
        let mine = spawn(&node, TaskKind::Plain).unwrap();
        let others = other.join().unwrap();
        assert_ne!(mine.seat(), others.seat());
        let totals = node.lock().totals();
        assert_eq!((totals.spawned, totals.live, totals.finished), (3, 2, 1));
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

#[test]
fn a_spawn_that_races_the_programs_end_is_refused_or_abandoned() {
    model(|| {
        let program = program();
        let node = scope(&program);
        let kept = spawn(&node, TaskKind::Plain).unwrap();
        let spawner = {
            let node = node.clone();
            thread::spawn(move || spawn(&node, TaskKind::Plain))
        };
        _ = program.conclude();
        if let Some(raced) = spawner.join().unwrap() {
            assert!(raced.word().has(flag::ABANDONED), "alive, and of no program");
            Node::deregister(raced, Outcome::Cancelled);
        }
        Node::deregister(kept, Outcome::Cancelled);
        assert_eq!(Arc::strong_count(&node), 1);
    });
}

#[test]
fn a_spawn_that_races_its_scopes_end_is_refused_or_cut_off() {
    model(|| {
        let _shield = crate::track::context::inside_shield(); // shielded work of another scope spawns
        let program = program();
        let node = scope(&program);
        let last = spawn(&node, TaskKind::Plain).unwrap();
        Node::deregister(last, Outcome::Cancelled);
        cancel(&node);
        let spawner = {
            let node = node.clone();
            thread::spawn(move || spawn(&node, TaskKind::Shielded))
        };
        let mut rest = Rest::default();
        program.lock().end(node.id, &mut rest);
        rest.finish();
        if let Some(raced) = spawner.join().unwrap() {
            assert!(raced.word().has(flag::FORCE), "accepted by a scope that had ended");
        }
        end(&program);
    });
}

#[test]
fn a_listed_task_is_told_of_before_it_can_be_found_over() {
    model(|| {
        let program = program();
        let root = program.root();
        let task = spawn(&root, TaskKind::Shielded).unwrap();
        program.stop(Reason::Requested(None));
        let ends = thread::spawn(move || Node::deregister(task, Outcome::Finished));
        if !root.is_alive() {
            assert_eq!(program.lock().report.tasks[0].outcome, Outcome::Finished);
        }
        ends.join().unwrap();
        end(&program);
    });
}
