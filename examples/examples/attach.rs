//! A program inside an executor that is already there: `attach`, for each backend in its own way.
//!
//! An attached program leaves signals alone unless it is told which ones to hear.

use std::time::Duration;

use adjourn::{Exit, FutureExt, Signal, task};
use adjourn_examples::{backend, sleep};

const SIGNALS: [Signal; 2] = [Signal::INTERRUPT, Signal::TERMINATE];

async fn program() {
    let ticking = async {
        for tick in 1.. {
            println!("tick {tick}");
            sleep(Duration::from_millis(500)).await;
        }
    };
    task("ticker").spawn(ticking.on_cancel(async { println!("ticker: cleaned up") }));
    println!("Ctrl-C ends it");
}

#[cfg(feature = "tokio")]
#[tokio::main]
async fn on_tokio() -> Exit {
    use adjourn::tokio::Runner;

    let exit = Runner::new().signals(SIGNALS).attach(program()).await;
    tokio::spawn(async { println!("the executor goes on") }).await.expect("it does not panic");
    exit
}

#[cfg(feature = "smol")]
fn on_smol() -> Exit {
    use std::sync::Arc;

    use adjourn::smol::{Runner, Smol};

    let executor = Arc::new(smol::Executor::new());
    smol::block_on(executor.run(async {
        // smol has no current executor: the program is told which one is meant.
        let backend = Smol::from(&executor);
        let exit = Runner::new().signals(SIGNALS).attach_to(&backend, program()).await;
        executor.spawn(async { println!("the executor goes on") }).await;
        exit
    }))
}

#[cfg(feature = "async-std")]
fn on_async_std() -> Exit {
    use adjourn::async_std::Runner;

    async_std::task::block_on(async {
        let exit = Runner::new().signals(SIGNALS).attach(program()).await;
        async_std::task::spawn(async { println!("the executor goes on") }).await;
        exit
    })
}

fn main() -> Exit {
    match backend() {
        #[cfg(feature = "tokio")]
        "tokio" => on_tokio(),
        #[cfg(feature = "smol")]
        "smol" => on_smol(),
        #[cfg(feature = "async-std")]
        "async-std" => on_async_std(),
        other => {
            eprintln!("the backend {other:?} is not compiled in: add --features {other}");
            Exit::code(2)
        }
    }
}
