//! Ctrl-C cancels who waits at once, but not what is shielded: both counts still come to `done!`.
//!
//! aiorun's example of `shutdown_waits_for`, and the form in place beside it.

use std::time::Duration;

use adjourn::{Exit, FutureExt, shield, task};
use adjourn_examples::{on_backend, sleep};
use futures_lite::future;

async fn count(name: &'static str) {
    for number in 0..10 {
        println!("{name}: {number}");
        sleep(Duration::from_millis(200)).await;
    }
    println!("{name}: done!");
}

fn main() -> Exit {
    on_backend!(Runner => Runner::new().run(async {
        // In place: the task itself cannot be cancelled before the section is over.
        task("in place").spawn(async {
            shield(count("in place")).await;
            // Its first yield after it: cancelled meanwhile, it ends here.
            future::yield_now().await;
            println!("in place: not stopped");
        });

        // Apart: a task of its own, which goes on whatever becomes of the one that waits for it.
        let counting = task("apart").spawn_shielded(count("apart"));
        let waiting = async {
            counting.await.expect("a shielded task is never cancelled");
            println!("apart: waited for");
        };
        waiting.on_cancel(async { println!("oh noes!") }).await;
    }))
}
