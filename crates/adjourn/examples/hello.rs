//! The smallest program: it ticks until Ctrl-C and cleans up. To copy it, these dependencies are enough:
//!
//! ```toml
//! [dependencies]
//! adjourn = "0.1"
//! tokio = { version = "1", features = ["time"] }
//! ```

#![allow(clippy::print_stdout)] // our libraries do not print, but an example does

use std::time::Duration;

use adjourn::{Exit, FutureExt, run, spawn};

fn main() -> Exit {
    run(async {
        let ticking = async {
            for tick in 1.. {
                println!("tick {tick}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        spawn(ticking.on_cancel(async { println!("cleaned up") }));
        println!("Ctrl-C ends it");
    })
}
