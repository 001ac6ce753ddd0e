//! A backend with a `LocalSet`: where it spawns, and what is left when the set is gone.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use adjourn_core::rt::{BlockOn, Executor, Shutdown, SpawnLocal, Spawner, Threads};
use adjourn_core::{ExecutorGone, Runner, Scope};
use adjourn_tokio::{Tokio, TokioLocal, TokioLocalExecutor};
use tokio::task::LocalSet;

struct Says(Rc<std::cell::Cell<bool>>);

impl Drop for Says {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn a_backend_finds_its_own_set_among_several() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let tokio = Tokio::from(runtime.handle().clone());
    let (one, other) = (Rc::new(LocalSet::new()), Rc::new(LocalSet::new()));
    let [first, second] = [&one, &other].map(|set| TokioLocal::new(tokio.clone(), set));
    let on_second = second.spawn_local(async { 2 });
    let on_first = first.spawn_local(async { Rc::new(1) });
    // Only the first is run.
    assert_eq!(runtime.block_on(one.run_until(on_first)), Ok(Rc::new(1)));
    drop(other);
    assert_eq!(runtime.block_on(on_second), Err(ExecutorGone));
    assert_eq!(runtime.block_on(second.spawn_local(async { 3 })), Err(ExecutorGone));
    assert_eq!(runtime.block_on(second.spawn(async { 4 })), Ok(4), "the runtime is there");
    assert!(first.is_here() && second.is_here());
    let elsewhere = first.clone();
    assert!(!thread::spawn(move || elsewhere.is_here()).join().unwrap());
}

#[test]
fn the_end_drops_what_is_left_on_the_calling_thread() {
    let executor = TokioLocalExecutor::build(&Threads::default()).unwrap();
    let backend = executor.backend();
    let dropped = Rc::new(std::cell::Cell::new(false));
    let says = Says(dropped.clone());
    let left = backend.spawn_local(async move {
        let _says = says;
        std::future::pending::<()>().await;
    });
    executor.block_on(tokio::task::yield_now());
    let end = executor.shutdown(Duration::from_secs(20));
    assert!(dropped.get());
    assert_eq!(at_once(end), Ok(()));
    assert_eq!(at_once(left), Err(ExecutorGone));
}

/// Outside of every runtime: in one, another could not be shut down.
fn at_once<F: Future>(future: F) -> F::Output {
    let future = std::pin::pin!(future);
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not at once"),
    }
}

#[test]
fn it_is_the_backend_only_where_it_was_asked_for() {
    let plain = Runner::<adjourn_tokio::TokioExecutor>::new().signals([]).run(async {
        assert!(Scope::current().typed::<TokioLocal>().is_none());
    });
    assert_eq!(plain.exit_code(), 0, "{}", plain.report());
    let local = Runner::<TokioLocalExecutor>::new().signals([]).run(async {
        assert!(Scope::current().typed::<TokioLocal>().is_some());
        // A framework may spawn on the set by itself.
        assert_eq!(tokio::task::spawn_local(async { 5 }).await.unwrap(), 5);
    });
    assert_eq!(local.exit_code(), 0, "{}", local.report());
}
