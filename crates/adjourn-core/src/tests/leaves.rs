//! Small scopes: what is told, cancelled and ended in one step, and what is not.

use std::future::{Future, Pending, Ready, pending};
use std::panic::Location;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::contract::inspect::Inspector;
use crate::contract::options::Options;
use crate::contract::report::{Outcome, TaskKind};
use crate::contract::rt::{AnyBackend, Spawner, Timer};
use crate::phase::{Event, Phase};
use crate::program::Program;
use crate::program::driver::{Driver, perform};
use crate::program::supervise::{Rules, Watch};
use crate::tests::nowhere::{self, Nowhere};
use crate::track::context;
use crate::track::node::{Node, Spawn};
use crate::track::table::{TaskRef, flag};

fn scope(program: &Arc<Program>, parent: &Arc<Node>) -> Arc<Node> {
    program.open(parent, "scope".into(), &[])
}

fn try_spawn(node: &Arc<Node>, kind: TaskKind) -> Option<TaskRef> {
    node.register(Spawn::new(kind, Location::caller()))
}

fn spawn(node: &Arc<Node>, kind: TaskKind) -> TaskRef {
    try_spawn(node, kind).unwrap()
}

fn stop(program: &Arc<Program>, node: &Node) {
    program.event(Event::Stop(node.id));
    program.drive(perform);
}

fn phase(program: &Program, node: &Node) -> Phase {
    program.lock().machine.phase(node.id)
}

fn end(program: &Program, tasks: impl IntoIterator<Item = TaskRef>) {
    _ = program.conclude();
    tasks.into_iter().for_each(|task| Node::deregister(task, Outcome::Cancelled));
}

/// How many tasks fill a slot, the first chunk, begin a second, fill that, and begin a third: with two at the most
/// a scope is small.
const SIZES: [usize; 5] = [1, 2, 3, MOST_SMALL, MOST_SMALL + 1];
/// What two chunks have room for.
const MOST_SMALL: usize = 10;

#[test]
fn a_cancelled_scope_ends_with_its_last_task_and_no_sooner() {
    for count in SIZES {
        let program = nowhere::program(false);
        let node = scope(&program, &program.root());
        let tasks: Vec<_> = (0..count).map(|_| spawn(&node, TaskKind::Plain)).collect();
        stop(&program, &node);
        assert!(tasks.iter().all(|task| task.word().has(flag::CANCEL)), "in one step");
        for task in tasks {
            program.sync(&node);
            let closed = node.lock().is_closed();
            assert_eq!((phase(&program, &node), closed), (Phase::Cancelling, false));
            Node::deregister(task, Outcome::Cancelled);
        }
        program.drive(perform);
        assert_eq!((phase(&program, &node), node.lock().is_closed()), (Phase::Stopped, true));
        assert_eq!(node.lock().totals().cancelled, count as u64);
        end(&program, []);
    }
}

#[test]
fn a_scope_that_nobody_has_ends_with_its_last_task() {
    for count in SIZES {
        let program = nowhere::program(false);
        let node = scope(&program, &program.root());
        let tasks: Vec<_> = (0..count).map(|_| spawn(&node, TaskKind::Plain)).collect();
        node.close_handle();
        for task in &tasks {
            assert!(!node.lock().is_closed());
            Node::deregister(*task, Outcome::Finished);
        }
        assert_eq!((node.lock().is_closed(), phase(&program, &node)), (true, Phase::Stopped));
        let totals = node.lock().totals();
        assert_eq!((totals.spawned, totals.live), (count as u64, 0));
        assert!(tasks.iter().all(|task| task.chunk().owner() != node.uid), "all given back");
        end(&program, []);
    }
}

#[test]
fn plain_tasks_wait_for_graceful_ones_of_their_scope() {
    for count in SIZES {
        let program = nowhere::program(false);
        let node = scope(&program, &program.root());
        let plain: Vec<_> = (1..count).map(|_| spawn(&node, TaskKind::Plain)).collect();
        let graceful = spawn(&node, TaskKind::Graceful);
        stop(&program, &node);
        assert_eq!(phase(&program, &node), Phase::Draining);
        let cancelled = |task: &TaskRef| task.word().has(flag::CANCEL);
        assert!(!plain.iter().any(cancelled) && !cancelled(&graceful));
        Node::deregister(graceful, Outcome::Finished);
        program.drive(perform);
        assert!(plain.iter().all(cancelled));
        end(&program, plain);
    }
}

#[test]
fn the_last_graceful_task_of_a_small_scope_takes_the_plain_ones_along_in_one_step() {
    for count in &SIZES[2..] {
        let program = nowhere::program(false);
        let node = scope(&program, &program.root());
        let plain: Vec<_> = (2..*count).map(|_| spawn(&node, TaskKind::Plain)).collect();
        let mut graceful = [(); 2].map(|()| spawn(&node, TaskKind::Graceful)).into_iter();
        stop(&program, &node);
        graceful.by_ref().take(1).for_each(|task| Node::deregister(task, Outcome::Finished));
        let cancelled = |task: &TaskRef| task.word().has(flag::CANCEL);
        assert_eq!(phase(&program, &node), Phase::Draining, "one is left");
        assert!(!plain.iter().any(cancelled));
        graceful.for_each(|task| Node::deregister(task, Outcome::Finished));
        assert_eq!(phase(&program, &node), Phase::Cancelling);
        assert!(*count > MOST_SMALL || plain.iter().all(cancelled), "{count}");
        assert_eq!(node.lock().is_open(), *count > MOST_SMALL, "no more are taken");
        program.drive(perform);
        assert!(plain.iter().all(cancelled));
        end(&program, plain);
    }
}

#[test]
fn no_scope_is_cancelled_before_what_was_decided_before_that() {
    let program = nowhere::program(false);
    let [first, second] = [(); 2].map(|()| scope(&program, &program.root()));
    let [plain, graceful] = [TaskKind::Plain, TaskKind::Graceful].map(|kind| spawn(&first, kind));
    let other = spawn(&second, TaskKind::Plain);
    stop(&program, &first);
    program.event(Event::Stop(second.id)); // nobody has performed it
    Node::deregister(graceful, Outcome::Finished);
    let cancelled = |task: &TaskRef| task.word().has(flag::CANCEL);
    assert!(!cancelled(&plain) && !second.is_fired());
    program.drive(perform);
    assert!(cancelled(&plain) && cancelled(&other));
    end(&program, [plain, other]);
}

#[test]
fn a_scope_waits_for_a_child_that_came_before_it_was_told() {
    let program = nowhere::program(false);
    let parent = scope(&program, &program.root());
    let plain = spawn(&parent, TaskKind::Plain);
    program.event(Event::Stop(parent.id)); // it has its turn, and nobody has told it yet
    let child = scope(&program, &parent);
    let graceful = spawn(&child, TaskKind::Graceful);
    program.drive(perform);
    assert_eq!([&parent, &child].map(|node| phase(&program, node)), [Phase::Draining; 2]);
    assert!(!plain.word().has(flag::CANCEL), "before its child");
    end(&program, [plain, graceful]);
}

#[test]
fn an_empty_scope_takes_work_for_as_long_as_its_parent_though_it_was_cancelled() {
    let program = nowhere::program(false);
    let parent = scope(&program, &program.root());
    let shielded = spawn(&parent, TaskKind::Shielded);
    let child = scope(&program, &parent);
    stop(&program, &parent);
    assert_eq!([&parent, &child].map(|node| phase(&program, node)), [Phase::Cancelling; 2]);
    let _shield = context::inside_shield();
    for _ in 0..2 {
        let task = try_spawn(&child, TaskKind::Shielded).expect("its parent takes it, so it does");
        Node::deregister(task, Outcome::Finished);
        program.drive(perform);
    }
    Node::deregister(shielded, Outcome::Finished);
    program.drive(perform);
    assert_eq!([&parent, &child].map(|node| phase(&program, node)), [Phase::Stopped; 2]);
    end(&program, []);
}

#[test]
fn a_sealed_scope_ends_at_once_if_it_is_empty_and_else_with_its_last_task() {
    let program = nowhere::program(false);
    let [empty, full] = [(); 2].map(|()| scope(&program, &program.root()));
    let task = spawn(&full, TaskKind::Plain);
    empty.seal();
    full.seal();
    let phases = || [&empty, &full].map(|node| phase(&program, node));
    assert_eq!(phases(), [Phase::Stopped, Phase::Running]);
    Node::deregister(task, Outcome::Finished);
    assert_eq!(phases(), [Phase::Stopped; 2]);
    end(&program, []);
}

#[test]
fn once_a_stop_has_begun_what_happens_in_scopes_has_its_time() {
    let options = Options { timeout: Some(Duration::from_millis(40)), ..Options::default() };
    let program = nowhere::program_with(options, false);
    let node = scope(&program, &program.root());
    let deaf = spawn(&node, TaskKind::Graceful);
    stop(&program, &node);
    assert_eq!(phase(&program, &node), Phase::Draining);
    thread::sleep(Duration::from_millis(80));
    program.sync(&node); // no tick: what is told brings its time along
    assert!(phase(&program, &node) > Phase::Draining, "past its drain limit");
    end(&program, [deaf]);
}

/// Counts the sleeps that it is asked for, and how often its clock is read.
#[derive(Clone, Default)]
struct Sleeps(Arc<Mutex<Vec<Duration>>>, Arc<AtomicUsize>);

impl Sleeps {
    fn program(&self) -> Arc<Program> {
        let options = Options::default();
        let limits = options.limits().unwrap();
        let watch = Arc::new(Watch::new(limits, Rules::new(&options, false)));
        let backend = AnyBackend::new("sleeps", self.clone());
        Program::new(backend, options, limits, None, watch, Inspector::default())
    }
}

impl Spawner for Sleeps {
    type Handle<T: Send> = Ready<Result<T, crate::ExecutorGone>>;

    fn spawn<F>(&self, future: F) -> Self::Handle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Nowhere(drop).spawn(future)
    }
}

impl Timer for Sleeps {
    type Sleep = Pending<()>;

    fn now(&self) -> Instant {
        self.1.fetch_add(1, SeqCst);
        Instant::now()
    }

    fn sleep(&self, span: Duration) -> Pending<()> {
        self.0.lock().unwrap().push(span);
        pending()
    }
}

#[test]
fn a_driver_that_sleeps_until_an_earlier_limit_asks_for_no_other_sleep() {
    let sleeps = Sleeps::default();
    let program = sleeps.program();
    let mut driver = pin!(Driver::new(&program, Vec::new()));
    let mut drive = || {
        let polled = driver.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Pending);
        sleeps.0.lock().unwrap().clone()
    };
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let node = scope(&program, &program.root());
        tasks.push(spawn(&node, TaskKind::Plain));
        program.event(Event::Stop(node.id));
        assert_eq!(drive().len(), 1, "one after the other, each limit is later");
    }
    let node = scope(&program, &program.root());
    tasks.push(spawn(&node, TaskKind::Graceful));
    program.event(Event::Stop(node.id));
    let asked = drive();
    assert!(asked.len() == 2 && asked[1] < asked[0], "a drain limit is earlier: {asked:?}");
    end(&program, tasks);
}

#[test]
fn the_clock_is_read_for_the_end_that_others_go_on_by() {
    let sleeps = Sleeps::default();
    let program = sleeps.program();
    let parent = scope(&program, &program.root());
    let leaves: Vec<_> = (0..10).map(|_| scope(&program, &parent)).collect();
    let tasks: Vec<_> = leaves.iter().map(|leaf| spawn(leaf, TaskKind::Plain)).collect();
    leaves.iter().for_each(|leaf| leaf.close_handle());
    stop(&program, &parent);
    let reads: Vec<_> = tasks
        .into_iter()
        .map(|task| {
            let before = sleeps.1.load(SeqCst);
            Node::deregister(task, Outcome::Cancelled);
            sleeps.1.load(SeqCst) - before
        })
        .collect();
    assert_eq!(reads, [[0; 9].as_slice(), &[1]].concat(), "the parent's turn begins with the last");
    end(&program, []);
}
