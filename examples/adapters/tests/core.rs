//! The adapter for a thread-per-core executor, by the conformance kit; and what is not `Send` on it.

#![cfg(target_os = "linux")]

use std::cell::Cell;
use std::rc::Rc;

use adjourn_adapter_examples::core::CoreExecutor;
use adjourn_core::{Runner, Scope, StopToken};

#[global_allocator]
static ALLOCATOR: adjourn_conformance::CountingAllocator = adjourn_conformance::CountingAllocator;

adjourn_conformance::conformance! { CoreExecutor, allocations: counted }

#[test]
fn what_is_not_send_is_tracked_on_its_own_thread() {
    let told = Rc::new(Cell::new(false));
    let tells = told.clone();
    let exit = Runner::<CoreExecutor>::new().signals([]).run(async move {
        let scope = Scope::current();
        let core = scope.backend().downcast_ref().cloned();
        let core: adjourn_adapter_examples::core::Core = core.expect("it runs on compio");
        scope.with_local(core).spawn_local(async move {
            StopToken::current().requested().await;
            tells.set(true);
        });
        compio::time::sleep(std::time::Duration::from_millis(5)).await;
        _ = scope.stop();
    });
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
    assert!(told.get(), "the local task was told:\n{}", exit.report());
    assert_eq!(exit.report().total().finished, 2, "{}", exit.report());
}
