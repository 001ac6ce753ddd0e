//! What the core's parts do together, step by step and without an executor.

use std::future::{Future, pending};
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use crate::contract::report::{Outcome, Reason, TaskKind};
use crate::contract::rt::AnyBackend;
use crate::phase::{Event, Phase};
use crate::process::signal::Signal;
use crate::program::driver::perform;
use crate::tests::nowhere;
use crate::track::ext::FutureExt;
use crate::track::node::{Awaited, Node, Spawn};
use crate::track::scope::Scope;
use crate::track::stop::StopToken;
use crate::track::table::TaskRef;
use crate::track::task::Tracked;

fn spawn(node: &Arc<Node>, kind: TaskKind) -> Option<TaskRef> {
    node.register(Spawn::new(kind, Location::caller()))
}

/// Calls a function when it is woken, once.
struct Calls(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        let call = self.0.lock().unwrap().take();
        if let Some(call) = call {
            call();
        }
    }
}

fn calls(call: impl FnOnce() + Send + 'static) -> Waker {
    Waker::from(Arc::new(Calls(Mutex::new(Some(Box::new(call))))))
}

#[test]
fn no_plain_task_is_taken_once_the_scope_says_that_it_is_cancelling() {
    let program = nowhere::program(false);
    let node = program.open(&program.root(), "scope".into(), &[]);
    let scope = Scope::from_node(node.clone(), program.backend.clone());
    // The first chunk is full, the second is this thread's and has room.
    let tasks: Vec<_> = (0..40).map(|_| spawn(&node, TaskKind::Plain).unwrap()).collect();
    let seen = Arc::new(Mutex::new(None));
    let (tell, inside) = (seen.clone(), scope.clone());
    let waker = calls(move || {
        // What a worker does that runs the first task while the driver goes on.
        let phase = inside.phase();
        let taken = spawn(inside.node(), TaskKind::Plain).is_some();
        *tell.lock().unwrap() = Some((phase, taken));
    });
    _ = Node::store_waker(&tasks[0], waker, true);
    program.stop(Reason::Requested(None));
    program.drive(perform);
    let seen = seen.lock().unwrap().take();
    drop(scope);
    _ = program.conclude();
    tasks.into_iter().for_each(|task| Node::deregister(task, Outcome::Cancelled));
    assert_eq!(seen, Some((Phase::Cancelling, false)));
}

#[test]
fn until_stop_looks_at_a_stop_that_its_task_was_told_of() {
    let program = nowhere::program(false);
    let node = program.open(&program.root(), "scope".into(), &[]);
    let others: Vec<_> = (0..40).map(|_| spawn(&node, TaskKind::Plain).unwrap()).collect();
    let own = spawn(&node, TaskKind::Plain).unwrap();
    let polled = Arc::new(AtomicBool::new(false));
    let (tell, token) = (polled.clone(), StopToken::new(node.clone()));
    let mut task: Pin<Box<dyn Future<Output = _> + Send>> =
        Box::pin(Tracked::new(own, async move {
            assert!(token.is_requested(), "told of the stop");
            let work = async {
                tell.store(true, SeqCst);
                pending::<()>().await;
            };
            work.until_stop().await
        }));
    // Told by a token that is polled with another waker: its task is woken.
    let waker = calls(move || {
        _ = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    });
    assert!(node.wait(&mut None, Awaited::Stop, waker, |_| false));
    program.stop(Reason::Requested(None));
    program.drive(perform);
    _ = program.conclude();
    others.into_iter().for_each(|task| Node::deregister(task, Outcome::Cancelled));
    assert!(!polled.load(SeqCst), "polled after the stop, which is to be looked at before");
}

#[test]
fn the_warden_tells_of_hooks_that_are_not_over_as_the_report_does() {
    let program = nowhere::program(false);
    let root = program.root();
    program.main_ended(Outcome::Finished, None);
    // A hook of a scope that was stopped alone, and ended at its own deadline.
    program.hook_begins("on_stopped", Location::caller(), &root, None);
    program.stop(Reason::MainReturned);
    program.drive(perform);
    assert!(program.is_finished());
    program.force(Signal::INTERRUPT);
    let by_the_warden = program.peek().unwrap();
    let report = program.conclude();
    assert_eq!(report.exit_code(), 124, "{report}");
    assert_eq!(by_the_warden.exit_code(), report.exit_code(), "{by_the_warden}");
}

#[test]
fn a_signal_after_the_end_in_order_ends_the_wait_for_what_was_cut_off() {
    let program = nowhere::program(false);
    let root = program.root();
    let straggler = spawn(&root, TaskKind::Shielded).unwrap();
    program.main_ended(Outcome::Finished, None);
    program.stop(Reason::MainReturned);
    program.drive(perform);
    program.event(Event::CutOff);
    program.drive(perform);
    assert!(program.is_finished() && program.awaits_drops());
    program.force(Signal::INTERRUPT);
    let awaits = program.awaits_drops();
    _ = program.conclude();
    Node::deregister(straggler, Outcome::Cancelled);
    assert!(!awaits, "the calling thread waits on, until the warden ends the process");
}

#[test]
fn a_sweep_leaves_a_chunk_alone_that_another_scope_has_by_now() {
    let program = nowhere::program(false);
    let node = program.open(&program.root(), "scope".into(), &[]);
    let tasks: Vec<_> = (0..5).map(|_| spawn(&node, TaskKind::Plain).unwrap()).collect();
    let next = nowhere::program(false);
    let root = next.root();
    Node::deregister(tasks[4], Outcome::Finished); // the second chunk is empty
    let (concluded, there) = (program.clone(), root.clone());
    let others = Arc::new(Mutex::new(Vec::new()));
    let tell = others.clone();
    _ = Node::store_waker(
        &tasks[0],
        calls(move || {
            // As when the future of an attached program is dropped while its driver cancels.
            _ = concluded.conclude();
            let mut others = tell.lock().unwrap();
            others.extend((0..5).map(|_| spawn(&there, TaskKind::Plain).unwrap()));
        }),
        true,
    );
    program.stop(Reason::Requested(None));
    program.drive(perform);
    let others = others.lock().unwrap();
    assert_eq!(others.len(), 5);
    let doomed = others.iter().any(|task| task.word().is_doomed());
    _ = next.conclude();
    tasks[..4].iter().chain(&*others).for_each(|task| Node::deregister(*task, Outcome::Cancelled));
    assert!(!doomed);
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a payload's destructor");
    }
}

#[test]
fn a_waker_that_panics_with_a_payload_that_panics_skips_no_action() {
    let program = nowhere::program(false);
    let node = program.open(&program.root(), "scope".into(), &[]);
    let waker = calls(|| std::panic::panic_any(Bomb));
    assert!(node.wait(&mut None, Awaited::End, waker, |_| false));
    program.stop(Reason::Requested(None));
    let driven = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| program.drive(perform)));
    program.drive(perform); // the calling thread in the driver's place
    let finished = program.is_finished();
    _ = program.conclude();
    assert!(driven.is_ok() && finished, "unwound: {}, finished: {finished}", driven.is_err());
}

#[test]
fn a_scope_is_typed_as_erased_too() {
    let program = nowhere::program(false);
    let scope = Scope::from_node(program.root(), program.backend.clone());
    let typed = scope.typed::<AnyBackend>().is_some();
    drop(scope);
    _ = program.conclude();
    assert!(typed);
}

#[test]
fn a_scope_of_another_program_is_no_dependency() {
    let [own, other] = [(); 2].map(|()| nowhere::program(false));
    let open = |program: &Arc<crate::program::Program>, name: &'static str| {
        Scope::from_node(program.root(), program.backend.clone()).scope(name)
    };
    let (first, foreign) = (open(&own, "first"), open(&other, "foreign"));
    let second = open(&own, "second").depends_on(&foreign);
    // Its number is that of a scope here.
    assert_eq!(foreign.node().id, first.node().id);
    assert_eq!(own.lock().machine.dependencies(second.node().id), []);
    drop((first, second, foreign));
    _ = (own.conclude(), other.conclude());
}
