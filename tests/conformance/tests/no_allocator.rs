//! What a test binary hears that says `allocations: counted` and declares no allocator.

use std::panic::catch_unwind;

use adjourn_conformance::{Subject, scenarios};
use adjourn_tokio::TokioExecutor;

#[test]
fn the_scenario_says_how_to_declare_it() {
    let own = "the_scenario_says_how_to_declare_it";
    let is_it = |name| name == "allocations_equal_bare";
    let scenario = scenarios().iter().find(|scenario| is_it(scenario.name())).expect("it is there");
    let run = || scenario.run(|| Subject::owned::<TokioExecutor>().workers(0), own);
    let payload = catch_unwind(run).expect_err("nothing was counted, and it passed");
    let text = payload.downcast_ref::<String>().expect("a message");
    assert!(text.contains("#[global_allocator] static ALLOCATOR"), "{text}");
}
