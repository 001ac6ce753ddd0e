//! Attached to a runtime that was built without a timer.

use adjourn_core::Runner;
use adjourn_tokio::TokioExecutor;

#[test]
fn a_runtime_without_a_timer_is_a_start_error_with_advice() {
    for io in [false, true] {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        if io {
            builder.enable_io();
        }
        let runtime = builder.build().expect("a runtime");
        let main = async { panic!("main was polled") };
        let exit = runtime.block_on(Runner::<TokioExecutor>::new().attach(main));
        let error = exit.report().start_error.as_deref().expect("it is not started");
        assert!(error.contains("keeps no time") && error.contains("enable_time"), "{error}");
        assert_eq!((exit.exit_code(), &exit.report().main), (1, &None));
    }
}
