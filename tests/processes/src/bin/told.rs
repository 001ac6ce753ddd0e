//! A program that tells people what it is at: `told BACKEND HOW`. It ends when it is given a line.
//!
//! HOW is one of these:
//! - `error`: a task fails, and one panics.
//! - `handler`: the same, with an `on_failure`.
//! - `listened`: the same, with a subscriber of `tracing` that listens.
//! - `unlistened`: the same, with one that does not.
//! - `locked`: a task fails while another thread has std's lock of standard error for ever.
//! - `many`: ten thousand tasks fail.
//! - `scope`: a scope that is stopped alone leaves work behind.

use std::io::Write;
use std::time::Duration;

use adjourn::rt::Executor;
use adjourn::{Exit, ResultFutureExt, Signal, scope, spawn, task};
use adjourn_core::Runner;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Prints a line.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    _ = writeln!(out, "{line}");
    _ = out.flush();
}

/// Says that an event of ours came, if it listens at all.
struct Listens(bool);

impl Subscriber for Listens {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0 && metadata.target() == "adjourn"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        say(&format!("{} event", event.metadata().level()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn main() -> Exit {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().expect("BACKEND HOW");
    let (backend, how) = (next(), next());
    match backend.as_str() {
        "tokio-current" => fails(adjourn::tokio::Runner::new().current_thread(), &how),
        "tokio-n" => fails(adjourn::tokio::Runner::new().worker_threads(2), &how),
        "smol-current" => fails(adjourn::smol::Runner::new().current_thread(), &how),
        "smol-n" => fails(adjourn::smol::Runner::new().worker_threads(2), &how),
        "async-std" => fails(adjourn::async_std::Runner::new(), &how),
        other => panic!("no such backend: {other}"),
    }
}

fn fails<E: Executor>(runner: Runner<E>, how: &str) -> Exit {
    let mut runner = runner.signals([] as [Signal; 0]).timeout(Duration::MAX);
    match how {
        "scope" => runner = runner.timeout(Duration::from_millis(500)),
        "handler" => runner = runner.on_failure(|failure| say(&format!("told of {failure}"))),
        "listened" | "unlistened" => {
            let subscriber = Listens(how == "listened");
            tracing::subscriber::set_global_default(subscriber).expect("the first subscriber");
        }
        "locked" => {
            let (locked, is_locked) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let _lock = std::io::stderr().lock();
                _ = locked.send(());
                loop {
                    std::thread::park();
                }
            });
            _ = is_locked.recv();
        }
        _ => {}
    }
    let (how, many) = (how.to_owned(), how == "many");
    runner.run(async move {
        if how == "scope" {
            let alone = scope("alone");
            alone.task("deaf").spawn_graceful(|_| std::future::pending::<()>());
            _ = alone.stop().await;
        } else {
            for _ in 0..if many { 10_000 } else { 1 } {
                let fails = async { Err::<(), _>("it broke") }.or_report();
                _ = task("worker").spawn(fails).await;
            }
        }
        if !many && how != "locked" {
            _ = spawn(async { panic!("it burst") }).await;
        }
        say("waiting");
        let mut line = String::new();
        _ = std::io::stdin().read_line(&mut line);
    })
}
