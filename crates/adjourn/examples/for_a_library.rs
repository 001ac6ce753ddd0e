//! A library that runs on whichever executor its user has, and ends with its user's program. To copy it, the
//! library depends on the core alone, and the program on a backend:
//!
//! ```toml
//! [dependencies]            # the library's
//! adjourn-core = "0.1"
//!
//! [dependencies]            # the program's
//! adjourn = "0.1"
//! ```

#![allow(clippy::print_stdout)] // our libraries do not print, but an example does

use std::time::Duration;

use adjourn::{Exit, run, scope};

/// What would be a crate of its own.
mod metrics {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::time::Duration;

    use adjourn_core::{FutureExt, Scope};

    /// Counts, and prints the count now and then.
    #[derive(Clone)]
    pub(crate) struct Counter(Arc<AtomicU64>);

    impl Counter {
        /// Prints the count each `period`, and once more when `scope` is asked to stop. Its task is `scope`'s:
        /// the caller says where that stands in the order of the stop.
        pub(crate) fn start(scope: &Scope, period: Duration) -> Counter {
            let counter = Counter(Arc::default());
            let count = counter.clone();
            let mut ticks = scope.interval(period);
            scope.task("printer").spawn_graceful(|_| async move {
                while ticks.tick().until_stop().await.is_ok() {
                    println!("count: {}", count.0.load(Relaxed));
                }
                println!("last count: {}", count.0.load(Relaxed));
            });
            counter
        }

        pub(crate) fn add(&self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
}

fn main() -> Exit {
    run(async {
        let metrics = scope("metrics");
        let counter = metrics::Counter::start(&metrics, Duration::from_millis(200));
        // It depends on the metrics: so it ends before they do, and the last count has all of it.
        let work = scope("work").depends_on(&metrics);
        let mut ticks = work.interval(Duration::from_millis(50));
        work.spawn(async move {
            loop {
                ticks.tick().await;
                counter.add();
            }
        });
        println!("Ctrl-C ends it");
    })
}
