//! A program that a file or a socket stops: `touch DIRECTORY/stop`, `echo stop | nc -U DIRECTORY/control`.
//!
//! The directory is the first argument, the working directory unless given.

use std::path::PathBuf;
use std::time::Duration;

use adjourn::triggers::{File, Triggers};
use adjourn::{Exit, FutureExt, Scope};
use adjourn_examples::on_backend;

async fn tick() {
    let mut ticks = Scope::current().interval(Duration::from_secs(1));
    while ticks.tick().until_stop().await.is_ok() {
        println!("tick");
    }
    println!("stopped in order");
}

fn main() -> Exit {
    let directory = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()));
    let (stop, control) = (directory.join("stop"), directory.join("control"));
    println!("touch {}", stop.display());
    println!("echo stop | nc -U {}", control.display());
    println!("echo status | nc -U {}", control.display());
    let triggers = Triggers::new().on(File::new(stop).remove_old());
    #[cfg(unix)]
    let triggers = triggers.socket(control);
    on_backend!(Runner => Runner::new().observe(triggers).run(tick()))
}
