//! Ends of tasks, scopes and programs, and what is used again after them.

use std::sync::Arc;

use loom::{model, thread};

use super::{end, program, scope, spawn};
use crate::contract::report::{Outcome, Reason, TaskKind};
use crate::phase::{Event, Phase};
use crate::track::node::Node;
use crate::track::table::flag;

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
        assert_eq!(node.lock().totals().spawned, 1 + u64::from(raced.is_some()));
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
fn a_listed_task_is_told_of_before_it_can_be_found_over() {
    model(|| {
        let program = program();
        let root = program.root();
        let task = spawn(&root, TaskKind::Shielded).unwrap();
        program.stop(Reason::Requested(None));
        let ends = thread::spawn(move || Node::deregister(task, Outcome::Finished));
        if !root.is_alive() {
            assert_eq!(program.peek().unwrap().tasks[0].outcome, Outcome::Finished);
        }
        ends.join().unwrap();
        end(&program);
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
