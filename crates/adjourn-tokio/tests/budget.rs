//! Tokio makes tasks yield by a budget, and its sleeps are not ready for one that has used it up.

use std::time::Duration;

use adjourn_core::{Runner, Scope};
use adjourn_tokio::TokioExecutor;

#[test]
fn a_future_that_uses_up_its_budget_has_a_limit_of_time_all_the_same() {
    let runner = Runner::<TokioExecutor>::new().signals([]).current_thread();
    let exit = runner.run(async {
        let busy = async {
            loop {
                tokio::task::consume_budget().await;
            }
        };
        assert!(Scope::current().timeout(Duration::from_millis(5), busy).await.is_err());
    });
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
}
