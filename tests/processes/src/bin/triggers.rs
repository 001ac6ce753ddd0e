//! A program that something else than a signal stops: `triggers BACKEND TRIGGER DIRECTORY [HOW]`.
//!
//! HOW is `wedged`: no worker ever yields; or `draining`: a task is told of the stop and stays.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use adjourn::rt::Executor;
use adjourn::triggers::{File, Port, Triggers};
use adjourn::{Exit, Signal, spawn, spawn_graceful};
use adjourn_core::Runner;

/// Prints a line.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    _ = writeln!(out, "{line}");
    _ = out.flush();
}

fn main() -> Exit {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().expect("BACKEND TRIGGER DIRECTORY");
    let (backend, trigger, directory) = (next(), next(), next());
    let how = args.next().unwrap_or_default();
    let directory = Path::new(&directory);
    let triggers = match trigger.as_str() {
        "file" => Triggers::new().on(File::new(directory.join("stop"))),
        #[cfg(unix)]
        "socket" => Triggers::new().socket(directory.join("control")),
        "stdin" => Triggers::new().stdin(),
        port => {
            let port = port.parse().expect("a trigger, or a port");
            Triggers::new().on(Port::new(port, directory.join("secret")))
        }
    };
    match backend.as_str() {
        "tokio-current" => serve(adjourn::tokio::Runner::new().current_thread(), triggers, &how),
        "tokio-n" => serve(adjourn::tokio::Runner::new().worker_threads(2), triggers, &how),
        "smol-current" => serve(adjourn::smol::Runner::new().current_thread(), triggers, &how),
        "smol-n" => serve(adjourn::smol::Runner::new().worker_threads(2), triggers, &how),
        "async-std" => serve(adjourn::async_std::Runner::new(), triggers, &how),
        other => panic!("no such backend: {other}"),
    }
}

fn serve<E: Executor>(runner: Runner<E>, triggers: Triggers, how: &str) -> Exit {
    let wedged = how == "wedged";
    let runner = runner
        .signals([] as [Signal; 0])
        .observe(triggers)
        .timeout(Duration::from_secs(if wedged { 1 } else { 100 }))
        .on_report(|report| {
            if let Some(reason) = report.reason() {
                say(&format!("stopped by {reason}"));
            }
        });
    let draining = how == "draining";
    runner.run(async move {
        if draining {
            spawn_graceful(|stop| async move {
                stop.requested().await;
                say("draining");
                let mut line = String::new();
                // In the poll: the stop stays where it is until the test says so.
                _ = std::io::stdin().read_line(&mut line);
            });
        }
        say("ready");
        if wedged {
            for _ in 0..16 {
                spawn(async {
                    loop {
                        std::thread::park();
                    }
                });
            }
            loop {
                std::thread::park();
            }
        }
        std::future::pending::<()>().await;
    })
}
