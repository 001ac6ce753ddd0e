//! A program that tells people what it is at: `told BACKEND HOW [MS] [NARRATE]`. It ends when it is given a
//! line. The timeout is MS, if it is given.
//!
//! HOW is one of these, for failures:
//! - `error`: a task fails, and one panics.
//! - `handler`: the same, with an `on_failure`.
//! - `listened`: the same, with a subscriber of `tracing` that listens.
//! - `unlistened`: the same, with one that does not.
//! - `locked`: a task fails while another thread has std's lock of standard error for ever.
//! - `many`: ten thousand tasks fail.
//! - `scope`: a scope that is stopped alone leaves work behind.
//!
//! And for a stop by SIGINT or SIGTERM, and the table that SIGUSR1 prints:
//! - `stop`: two tasks go on until a line is given.
//! - `failing`: the same, and a third fails when it is given the line `fail`.
//! - `quick`: nothing does.
//! - `wedged`: the same as `stop`, and no worker ever yields.
//! - `attached`: as `stop`, on a runtime that is there already (Tokio alone).

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use adjourn::rt::Executor;
use adjourn::{Exit, Narrate, ResultFutureExt, Scope, Signal, scope, spawn, task};
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
    if ["stop", "failing", "quick", "wedged", "attached"].contains(&how.as_str()) {
        let ms = args.next().map_or(60_000, |ms| ms.parse().expect("a number"));
        let narrate = match args.next().as_deref() {
            Some("never") => Narrate::Never,
            Some("always") => Narrate::Always,
            _ => Narrate::Automatic,
        };
        let stop = Stop { how, timeout: Duration::from_millis(ms), narrate };
        return match backend.as_str() {
            "tokio-current" => stop.run(adjourn::tokio::Runner::new().current_thread()),
            "tokio-n" if stop.how == "attached" => stop.attach(),
            "tokio-n" => stop.run(adjourn::tokio::Runner::new().worker_threads(2)),
            "smol-current" => stop.run(adjourn::smol::Runner::new().current_thread()),
            "smol-n" => stop.run(adjourn::smol::Runner::new().worker_threads(2)),
            "async-std" => stop.run(adjourn::async_std::Runner::new()),
            other => panic!("no such backend: {other}"),
        };
    }
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

/// A program that is stopped by a signal.
struct Stop {
    how: String,
    timeout: Duration,
    narrate: Narrate,
}

impl Stop {
    fn options<E>(&self, runner: Runner<E>) -> Runner<E> {
        let runner = runner.timeout(self.timeout).narrate(self.narrate);
        runner.signals([Signal::INTERRUPT, Signal::TERMINATE]).dump_on(Signal::USER1)
    }

    fn run<E: Executor>(self, runner: Runner<E>) -> Exit {
        self.options(runner).run(self.main())
    }

    fn attach(self) -> Exit {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runner = self.options(adjourn::tokio::Runner::new());
        runtime.expect("a Tokio runtime").block_on(runner.attach(self.main()))
    }

    async fn main(self) {
        let go = Arc::new(AtomicBool::new(self.how == "quick"));
        for (part, name) in [("http", "GET /export"), ("mailer", "flush")] {
            let go = go.clone();
            let goes_on = async move {
                while !go.load(SeqCst) {
                    Scope::current().sleep(Duration::from_millis(10)).await;
                }
            };
            let task = scope(part).task(name);
            if part == "http" {
                task.spawn_graceful(move |stop| async move {
                    stop.requested().await;
                    goes_on.await;
                });
            } else {
                task.spawn_shielded(goes_on);
            }
        }
        let fails = Arc::new(AtomicBool::new(false));
        if self.how == "failing" {
            let fails = fails.clone();
            let breaks = async move {
                while !fails.load(SeqCst) {
                    Scope::current().sleep(Duration::from_millis(10)).await;
                }
                Err::<(), _>("it broke")
            };
            task("breaks").spawn_shielded(breaks.or_report());
        }
        std::thread::spawn(move || {
            let mut line = String::new();
            while std::io::stdin().read_line(&mut line).is_ok() && line.trim() == "fail" {
                fails.store(true, SeqCst);
                line.clear();
            }
            go.store(true, SeqCst);
        });
        say("ready");
        if self.how == "wedged" {
            for _ in 0..16 {
                spawn(async { park() });
            }
            park();
        }
        std::future::pending::<()>().await;
    }
}

fn park() -> ! {
    loop {
        std::thread::park();
    }
}
