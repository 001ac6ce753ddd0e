//! A program with a health endpoint: `health BACKEND PORT [HOW]`. PORT 0 is one that the system chooses;
//! it is printed. A line of input makes it ready; the next one ends its drain.
//!
//! HOW is `wedged`: once it is ready, no worker ever yields.

use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use adjourn::health::Health;
use adjourn::rt::Executor;
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
    let mut next = || args.next().expect("BACKEND PORT");
    let (backend, port) = (next(), next().parse::<u16>().expect("a port"));
    let wedged = args.next().as_deref() == Some("wedged");
    let health = if port == 0 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a port");
        let address = listener.local_addr().expect("it is bound");
        say(&format!("port {}", address.port()));
        Health::with_listener(listener)
    } else {
        Health::on((Ipv4Addr::LOCALHOST, port))
    };
    match backend.as_str() {
        "tokio-current" => serve(adjourn::tokio::Runner::new().current_thread(), health, wedged),
        "tokio-n" => serve(adjourn::tokio::Runner::new().worker_threads(2), health, wedged),
        "smol-current" => serve(adjourn::smol::Runner::new().current_thread(), health, wedged),
        "smol-n" => serve(adjourn::smol::Runner::new().worker_threads(2), health, wedged),
        "async-std" => serve(adjourn::async_std::Runner::new(), health, wedged),
        other => panic!("no such backend: {other}"),
    }
}

fn serve<E: Executor>(runner: Runner<E>, health: Health, wedged: bool) -> Exit {
    let limit = Duration::from_millis(if wedged { 300 } else { 60_000 });
    let timeout = Duration::from_secs(if wedged { 1 } else { 100 });
    runner.observe(health.heartbeat_limit(limit)).timeout(timeout).run(async move {
        say("starts");
        line().await;
        ready();
        task("server").spawn_graceful(|stop| async move {
            stop.requested().await;
            say("draining");
            line().await;
        });
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
