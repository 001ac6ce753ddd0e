//! Every way does the work that it is measured by.
//!
//! One test: what the tasks do is counted for the process.

use std::time::Duration;

use adjourn::{Scope, Signal};
use adjourn_benches::body::{gone, open_gate, through};
use adjourn_benches::host::{Host, OnTokio};
use adjourn_benches::rows::ways::tokio_ways;
use adjourn_benches::way::{Size, Work};
use tokio::time::timeout;

/// A test that hangs says nothing; this one names the way.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn each_way_finishes_and_cancels_all() {
    let exit =
        adjourn::tokio::Runner::new().current_thread().signals([] as [Signal; 0]).run(async {
            let host = OnTokio::current();
            for way in tokio_ways(&host, &Scope::current()) {
                let before = through();
                if let Some(all) = way.finish(Size { count: 300, batch: 300 }, Work::Gate) {
                    let opener = host.spawn(open_gate(300));
                    // The gate waits for ever for tasks that are not run.
                    assert!(timeout(LIMIT, all).await.is_ok(), "{} does not finish", way.name());
                    let opened = timeout(LIMIT, opener).await;
                    assert!(matches!(opened, Ok(Ok(()))), "{} does not run its tasks", way.name());
                    assert_eq!(through() - before, 300, "{}", way.name());
                }
                if let Some(all) = way.cancel(300, Box::pin(async {})) {
                    all.await;
                    gone();
                }
                if let Some(watching) = way.watch(Size::of(130)) {
                    watching.await;
                }
            }
        });
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
}
