//! A program that uses the library, on Tokio. At Ctrl-C the last lines are written too.

#![allow(clippy::print_stdout)] // our libraries do not print, but an example does

use std::time::Duration;

use adjourn::{Exit, Scope, run, spawn};
use flusher::Lines;

fn main() -> Exit {
    run(async {
        // Hooks run in the reverse order of their registration: this one after the last flush.
        Scope::current().on_stopped(|| println!("all lines are written"));
        let lines =
            Lines::start(&Scope::current(), Duration::from_millis(300), |batch| async move {
                println!("wrote {}", batch.join(" "));
                Ok(())
            });
        spawn(async move {
            for line in 1.. {
                lines.push(line.to_string());
                Scope::current().sleep(Duration::from_millis(100)).await;
            }
        });
        println!("Ctrl-C ends it");
    })
}
