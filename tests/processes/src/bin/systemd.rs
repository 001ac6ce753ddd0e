//! A service that tells systemd: `systemd BACKEND [HOW]`. A line of input ends its drain.
//!
//! HOW is `wedged`: at a line of input, no worker ever yields again; or `reload`: at a line of input it
//! reads its configuration anew.

use std::io::{BufRead, Write};
use std::time::Duration;

use adjourn::rt::Executor;
use adjourn::systemd::{Systemd, reload};
use adjourn::{Exit, ready, spawn, spawn_blocking, task};
use adjourn_core::Runner;

/// Prints a line.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    _ = writeln!(out, "{line}");
    _ = out.flush();
}

/// Waits for a line of input.
async fn line() {
    _ = spawn_blocking(|| std::io::stdin().lock().lines().next()).await;
}

fn main() -> Exit {
    let mut args = std::env::args().skip(1);
    let backend = args.next().expect("BACKEND");
    let how = args.next().unwrap_or_default();
    match backend.as_str() {
        "tokio-current" => serve(adjourn::tokio::Runner::new().current_thread(), &how),
        "tokio-n" => serve(adjourn::tokio::Runner::new().worker_threads(2), &how),
        "smol-current" => serve(adjourn::smol::Runner::new().current_thread(), &how),
        "smol-n" => serve(adjourn::smol::Runner::new().worker_threads(2), &how),
        "async-std" => serve(adjourn::async_std::Runner::new(), &how),
        other => panic!("no such backend: {other}"),
    }
}

fn serve<E: Executor>(runner: Runner<E>, how: &str) -> Exit {
    let (wedged, reloads) = (how == "wedged", how == "reload");
    let timeout = Duration::from_secs(if wedged { 1 } else { 100 });
    runner.observe(Systemd::new()).timeout(timeout).run(async move {
        ready();
        say("ready");
        if wedged {
            line().await;
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
        if reloads {
            line().await;
            reload(|| say("reads"));
        }
        task("export").spawn_graceful(|stop| async move {
            say("serving");
            stop.requested().await;
            say("draining");
            line().await;
        });
        std::future::pending::<()>().await;
    })
}
