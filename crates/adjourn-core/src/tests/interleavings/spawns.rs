//! Spawns beside a stop, a scope's end and the program's.

use std::sync::Arc;
use std::time::Duration;

use loom::{model, thread};

use super::{cancel, end, program, scope, spawn};
use crate::contract::report::{Outcome, TaskKind};
use crate::phase::{Event, Phase};
use crate::program::Rest;
use crate::program::driver::perform;
use crate::track::context;
use crate::track::node::Node;
use crate::track::table::flag;

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
        let accepted = u64::from(raced.is_some());
        let totals = node.lock().totals();
        assert_eq!(
            (totals.spawned, totals.live, totals.refused),
            (1 + accepted, 1 + accepted, 2 - accepted)
        );
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
        let _shield = context::inside_shield(); // shielded work of another scope spawns
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
        program.lock().end(Duration::ZERO, node.id, &mut rest);
        rest.finish(&program);
        if let Some(raced) = spawner.join().unwrap() {
            assert!(raced.word().has(flag::FORCE), "accepted by a scope that had ended");
        }
        end(&program);
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
fn a_shielded_spawn_that_races_its_scopes_end_is_refused_or_waited_for() {
    model(|| {
        let _shield = context::inside_shield(); // shielded work of another scope spawns
        let program = program();
        let node = scope(&program);
        let last = spawn(&node, TaskKind::Plain).unwrap();
        program.event(Event::Stop(node.id));
        program.drive(perform);
        let spawner = {
            let node = node.clone();
            thread::spawn(move || spawn(&node, TaskKind::Shielded))
        };
        Node::deregister(last, Outcome::Cancelled);
        program.drive(perform);
        let raced = spawner.join().unwrap();
        program.drive(perform);
        if let Some(task) = raced {
            assert!(!task.word().has(flag::FORCE), "accepted by a scope that had ended");
            assert!(program.lock().machine.phase(node.id) < Phase::Stopped);
            Node::deregister(task, Outcome::Finished);
            program.drive(perform);
        }
        assert_eq!(program.lock().machine.phase(node.id), Phase::Stopped);
        let refused = u64::from(raced.is_none());
        let totals = node.lock().totals();
        assert_eq!((totals.spawned, totals.live, totals.refused), (2 - refused, 0, refused));
        end(&program);
    });
}
