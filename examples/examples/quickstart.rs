//! Two named workers print their progress and clean up when they are cancelled; Ctrl-C ends it.

use std::time::Duration;

use adjourn::{Exit, FutureExt, task};
use adjourn_examples::{on_backend, sleep};

async fn work(name: &'static str, ticks: u32) {
    let counting = async {
        for tick in 1..=ticks {
            println!("{name}: tick {tick} of {ticks}");
            sleep(Duration::from_secs(1)).await;
        }
        println!("{name}: finished");
    };
    counting.on_cancel(async move { println!("{name}: cancelled, cleaned up") }).await;
}

fn main() -> Exit {
    on_backend!(Runner => Runner::new().run(async {
        println!("Ctrl-C ends it");
        task("short").spawn(work("short", 5));
        task("long").spawn(work("long", 10));
    }))
}
