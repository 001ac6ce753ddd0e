//! Workers that take jobs from a queue: at Ctrl-C or SIGTERM each finishes the job in its hands and takes no
//! more, and what is left in the queue is told. To copy it, these dependencies are enough:
//!
//! ```toml
//! [dependencies]
//! adjourn = "0.1"
//! async-channel = "2"
//! tokio = { version = "1", features = ["time"] }
//! ```

#![allow(clippy::print_stdout)] // our libraries do not print, but an example does

use std::time::Duration;

use adjourn::{Exit, FutureExt, Scope, run, scope, task};
use async_channel::Receiver;

async fn work(number: u32, queue: Receiver<u32>) {
    // The stop ends the wait for a job, and never a job.
    while let Ok(Ok(job)) = queue.recv().until_stop().await {
        println!("worker {number}: begins job {job}");
        tokio::time::sleep(Duration::from_millis(300)).await;
        println!("worker {number}: finished job {job}");
    }
}

fn main() -> Exit {
    run(async {
        let (jobs, queue) = async_channel::bounded(8);
        let workers = scope("workers");
        for number in 1..=2 {
            workers
                .task(format!("worker {number}"))
                .spawn_graceful(|_| work(number, queue.clone()));
        }
        // It never asks about the stop: it is cancelled, and puts no more into the queue.
        task("producer").spawn(async move {
            for job in 1.. {
                if jobs.send(job).await.is_err() {
                    break;
                }
            }
        });
        // Runs when all tasks are over.
        Scope::current().on_stopped(async move { println!("left in the queue: {}", queue.len()) });
        println!("Ctrl-C ends it");
    })
}
