//! Scopes that are opened into a stop, before anybody comes to perform what the machine decides of them.

use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::contract::options::Options;
use crate::contract::report::{Outcome, Reason, TaskKind};
use crate::phase::{Event, Phase};
use crate::program::Program;
use crate::program::driver::perform;
use crate::tests::nowhere::{Nowhere, program, program_with};
use crate::track::context;
use crate::track::node::{Node, Spawn};
use crate::track::scope::Scope;
use crate::track::stop::StopToken;
use crate::track::table::{TaskRef, flag};

const ALL: [TaskKind; 3] = [TaskKind::Plain, TaskKind::Graceful, TaskKind::Shielded];

fn spawn(node: &Arc<Node>, kind: TaskKind) -> Option<TaskRef> {
    node.register(Spawn::new(kind, Location::caller()))
}

fn open(program: &Arc<Program>, parent: &Arc<Node>) -> Arc<Node> {
    program.open(parent, "new".into(), &[])
}

/// A program that was asked to stop while these tasks of its root were alive.
fn stopped<const N: usize>(kinds: [TaskKind; N]) -> (Arc<Program>, Arc<Node>, [TaskRef; N]) {
    let program = program(false);
    let root = program.root();
    let tasks = kinds.map(|kind| spawn(&root, kind).unwrap());
    program.stop(Reason::Requested(None));
    program.drive(perform);
    (program, root, tasks)
}

/// Which kinds the scope takes from shielded work.
fn taken(node: &Arc<Node>, from: TaskRef) -> Vec<TaskKind> {
    let spawned = context::within(from, || ALL.map(|kind| (kind, spawn(node, kind))));
    let taken = spawned.into_iter().filter_map(|(kind, task)| {
        Node::deregister(task?, Outcome::Finished);
        Some(kind)
    });
    taken.collect()
}

#[track_caller]
fn ends_clean(program: &Arc<Program>, tasks: impl IntoIterator<Item = TaskRef>) {
    tasks.into_iter().for_each(|task| Node::deregister(task, Outcome::Finished));
    program.drive(perform);
    assert!(program.is_finished());
    let report = program.conclude();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn one_that_is_opened_below_what_drains_is_told_and_its_plain_tasks_are_its_parents() {
    for performed_first in [false, true] {
        let (program, root, [last]) = stopped([TaskKind::Graceful]);
        let new = open(&program, &root);
        assert!(new.is_fired(), "its parent was told");
        if performed_first {
            program.drive(perform);
        }
        let plain = spawn(&new, TaskKind::Plain).unwrap();
        program.drive(perform);
        assert!(!plain.word().has(flag::CANCEL), "first: {performed_first}");
        let graceful = spawn(&new, TaskKind::Graceful).unwrap();
        Node::deregister(last, Outcome::Finished);
        program.drive(perform);
        assert!(!plain.word().has(flag::CANCEL), "a graceful task is waited for");
        Node::deregister(graceful, Outcome::Finished);
        program.drive(perform);
        assert!(plain.word().has(flag::CANCEL));
        new.close_handle();
        ends_clean(&program, [plain]);
    }
}

#[test]
fn one_that_is_opened_below_what_cancels_takes_what_that_takes() {
    for performed_first in [false, true] {
        let (program, root, [last]) = stopped([TaskKind::Shielded]);
        assert_eq!(program.lock().machine.phase(root.id), Phase::Cancelling);
        let new = open(&program, &root);
        assert!(new.is_fired(), "its parent was told");
        if performed_first {
            program.drive(perform);
        }
        assert_eq!(taken(&root, last), [TaskKind::Shielded]);
        assert_eq!(taken(&new, last), [TaskKind::Shielded], "first: {performed_first}");
        let handle = Scope::from_node(new.clone(), Nowhere(drop));
        assert_eq!(handle.phase(), Phase::Cancelling);
        drop(handle);
        new.close_handle();
        ends_clean(&program, [last]);
    }
}

#[test]
fn one_that_is_opened_where_the_cancelling_is_decided_and_not_performed_takes_no_more_either() {
    let (program, root, [last, shielded]) = stopped([TaskKind::Graceful, TaskKind::Shielded]);
    Node::deregister(last, Outcome::Finished);
    assert_eq!(program.lock().machine.phase(root.id), Phase::Cancelling);
    assert!(root.lock().is_open(), "nobody has come to it");
    let new = open(&program, &root);
    assert_eq!(taken(&new, shielded), [TaskKind::Shielded]);
    new.close_handle();
    ends_clean(&program, [shielded]);
}

#[test]
fn one_that_is_opened_below_what_closes_or_has_ended_is_told() {
    let (program, root, [job, graceful]) = stopped([TaskKind::Shielded, TaskKind::Graceful]);
    let outer = open(&program, &root);
    outer.add_hook(crate::contract::hook::Hook::new(|| (), Location::caller()));
    let inside = spawn(&outer, TaskKind::Shielded).unwrap();
    outer.close_handle();
    program.event(Event::Stop(outer.id));
    Node::deregister(graceful, Outcome::Finished);
    program.drive(perform);
    Node::deregister(inside, Outcome::Finished);
    program.drive(perform); // its hooks are given to an executor that does not run them
    assert_eq!(program.lock().machine.phase(outer.id), Phase::Closing);
    let new = open(&program, &outer);
    assert!(new.is_fired());
    assert_eq!(taken(&new, job), [TaskKind::Shielded]);
    new.close_handle();
    program.event(Event::Closed(outer.id));
    program.drive(perform);
    assert_eq!(program.lock().machine.phase(outer.id), Phase::Stopped);
    let new = open(&program, &outer);
    assert!(new.is_fired() && new.lock().is_closed(), "born ended");
    assert_eq!(taken(&new, job), []);
    // A wait at its token is over, or would never be.
    let token = StopToken::new(new);
    let requested = std::pin::pin!(token.requested());
    assert!(requested.poll(&mut Context::from_waker(Waker::noop())).is_ready());
    ends_clean(&program, [job]);
}

#[test]
fn one_that_is_opened_into_the_stop_of_what_it_depends_on_is_told() {
    let program = program(false);
    let root = program.root();
    let [db, web] = [(); 2].map(|()| open(&program, &root));
    assert!(program.depend(&web, db.id).is_none());
    let busy = spawn(&web, TaskKind::Graceful).unwrap();
    program.event(Event::Stop(db.id));
    program.drive(perform);
    assert_eq!([&db, &web, &root].map(|node| node.is_fired()), [false, true, false]);
    let late = open(&program, &root);
    assert!(!late.is_fired(), "it has nothing to do with that yet");
    let old = late;
    let late = program.depend(&old, db.id).expect("it is opened anew");
    old.close_handle();
    assert!(late.is_fired() && !root.is_fired());
    let plain = spawn(&late, TaskKind::Plain).unwrap();
    program.drive(perform);
    Node::deregister(plain, Outcome::Finished);
    [&db, &web, &late].into_iter().for_each(Node::close_handle);
    Node::deregister(busy, Outcome::Finished);
    program.drive(perform);
    assert!(db.is_fired());
    program.stop(Reason::Requested(None));
    ends_clean(&program, []);
}

#[test]
fn one_that_is_opened_before_it_can_be_told_is_not() {
    let program = program(false);
    let root = program.root();
    let new = open(&program, &root);
    assert!(!new.is_fired() && new.lock().is_open());
    let below = open(&program, &new);
    new.close_handle();
    below.close_handle();
    // It has ended by itself, untold: what is opened below it is not told either.
    assert_eq!(program.lock().machine.phase(new.id), Phase::Stopped);
    assert!(!open(&program, &new).is_fired());
    program.stop(Reason::Requested(None));
    ends_clean(&program, []);
}

#[test]
fn nothing_is_overdue_whose_limit_has_not_come() {
    let (program, root, [deaf]) = stopped([TaskKind::Graceful]);
    let (overdue, untold) = program.note_overdue(&root);
    assert!(overdue.is_empty() && untold.is_empty());
    ends_clean(&program, [deaf]);
}

#[test]
fn one_that_is_opened_in_the_lame_duck_phase_is_not_told_yet() {
    let options = Options { lame_duck: Duration::from_secs(3), ..Options::default() };
    let program = program_with(options, false);
    program.stop(Reason::Requested(None));
    program.drive(perform);
    let root = program.root();
    assert_eq!(program.lock().machine.phase(root.id), Phase::LameDuck);
    let new = open(&program, &root);
    assert!(!new.is_fired());
    let graceful = spawn(&new, TaskKind::Graceful).unwrap();
    program.event(Event::Idle); // ends that phase
    program.drive(perform);
    assert!(new.is_fired() && !graceful.word().has(flag::CANCEL));
    new.close_handle();
    ends_clean(&program, [graceful]);
}
