//! A program that something else than a signal stops: `triggers BACKEND TRIGGER DIRECTORY [HOW]`.
//!
//! HOW is one of these:
//! - `wedged`: no worker ever yields.
//! - `draining`: a task is told of the stop and stays.
//! - `lines`: the same, and it asks for the stop itself, with a reason of two lines.
//! - `nonblocking`: its input never blocks, and it says so when it is still there after a while.
//! - `again`: others have run before it, and it prints how many threads they left to wait for input.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use adjourn::rt::Executor;
use adjourn::triggers::{File, Port, Triggers};
use adjourn::{Exit, Scope, Signal, spawn, spawn_graceful};
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
        "file+socket" => {
            Triggers::new().file(directory.join("stop")).socket(directory.join("control"))
        }
        #[cfg(unix)]
        "socket" => Triggers::new().socket(directory.join("control")),
        "stdin" => Triggers::new().stdin(),
        port => {
            let port = port.parse().expect("a trigger, or a port");
            Triggers::new().on(Port::new(port, directory.join("secret")))
        }
    };
    #[cfg(unix)]
    match how.as_str() {
        "nonblocking" => never_block(),
        "again" => run_others(),
        _ => {}
    }
    match backend.as_str() {
        "tokio-current" => serve(adjourn::tokio::Runner::new().current_thread(), triggers, &how),
        "tokio-n" => serve(adjourn::tokio::Runner::new().worker_threads(2), triggers, &how),
        "smol-current" => serve(adjourn::smol::Runner::new().current_thread(), triggers, &how),
        "smol-n" => serve(adjourn::smol::Runner::new().worker_threads(2), triggers, &how),
        "async-std" => serve(adjourn::async_std::Runner::new(), triggers, &how),
        other => panic!("no such backend: {other}"),
    }
}

#[cfg(unix)]
fn never_block() {
    // SAFETY: it changes a flag of a descriptor that is open.
    let result = unsafe { libc::fcntl(0, libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(result, 0);
}

#[cfg(unix)]
fn run_others() {
    for _ in 0..20 {
        let runner = adjourn::smol::Runner::new().signals([] as [Signal; 0]);
        let exit = runner.observe(Triggers::new().stdin()).run(async {});
        assert_eq!(exit.exit_code(), 0);
    }
    let mut threads = 0;
    for thread in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        threads += u32::from(name.starts_with("adjourn-stdin"));
    }
    say(&format!("{threads} wait for input"));
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
            say(&format!("asked {} times", report.reasons.len()));
        });
    let (lines, never_blocks) = (how == "lines", how == "nonblocking");
    let draining = how == "draining" || lines;
    let stopper = runner.stopper();
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
        if never_blocks {
            // Several times what it takes to be looked at.
            Scope::current().sleep(Duration::from_millis(500)).await;
            say("still here");
        }
        if lines {
            stopper.stop_because("two\nlines");
        }
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
