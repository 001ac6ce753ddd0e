//! A program for each thing that a console event can meet: `console BACKEND SCENARIO`.
//!
//! It prints `ready` once it can be asked to end, and what happens from then on.

use std::future::pending;
use std::io::Write;
use std::time::Duration;

use adjourn::rt::Executor;
use adjourn::{Exit, Report, Scope, Signal, StopToken, spawn_graceful, task};

/// Prints a line; standard output may be closed.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    _ = writeln!(out, "{line}");
    _ = out.flush();
}

fn main() -> Exit {
    let mut args = std::env::args().skip(1);
    let backend = args.next().expect("a backend");
    let scenario = args.next().expect("a scenario");
    match backend.as_str() {
        "tokio" => run::<adjourn::tokio::TokioExecutor>(&scenario),
        "tokio-local" => run::<adjourn::tokio::TokioLocalExecutor>(&scenario),
        "smol" => run::<adjourn::smol::SmolExecutor>(&scenario),
        "async-std" => run::<adjourn::async_std::AsyncStdExecutor>(&scenario),
        _ => panic!("no such backend: {backend}"),
    }
}

type Runner<E> = adjourn_core::Runner<E>;

/// What came, and how the report says it.
fn told(report: &Report) {
    let signals: Vec<_> = report.signals.iter().map(|at| at.what.to_string()).collect();
    say(&format!("heard {}, code {}", signals.join(" "), report.exit_code()));
}

fn ends<E>() -> Runner<E> {
    Runner::new().on_report(told)
}

async fn ready() {
    say("ready");
    pending::<()>().await;
}

/// A graceful task that says so when it is told.
async fn told_and_over() {
    spawn_graceful(|stop| async move {
        stop.requested().await;
        Scope::current().sleep(Duration::from_millis(50)).await;
        say("told");
    });
    ready().await;
}

async fn deaf() {
    task("deaf").spawn_graceful(|_| pending::<()>());
    ready().await;
}

/// Blocks the thread that polls it, for good.
async fn stuck() {
    Scope::current().sleep(Duration::from_millis(50)).await;
    say("ready");
    loop {
        std::thread::park();
    }
}

fn run<E: Executor>(scenario: &str) -> Exit {
    match scenario {
        "in-order" => ends::<E>().run(told_and_over()),
        "over-by-itself" => ends::<E>().run(async {}),
        "deaf" => ends::<E>().run(deaf()),
        "cli" => Runner::<E>::cli().on_report(told).run(told_and_over()),
        "stuck-main" => ends::<E>().run(stuck()),
        "wedged" => ends::<E>().worker_threads(2).run(async {
            for _ in 0..4 {
                task("wedged").spawn(stuck());
            }
            pending::<()>().await;
        }),
        // The handler does nothing: it means to read its configuration.
        "reacts" => ends::<E>().on_signal(|signal, _| say(&format!("got {signal}"))).run(deaf()),
        "twice" => {
            let first = ends::<E>().run(told_and_over());
            say(&format!("first {}", first.exit_code()));
            // On Windows the process ends in any case, so the second one hears of it too.
            ends::<E>().run(deaf())
        }
        // What nobody listens to is the system's.
        "nobody" => {
            _ = ends::<E>().signals([Signal::INTERRUPT]).run(async {});
            std::thread::sleep(Duration::from_secs(1)); // longer than a repetition is swallowed
            say("ready");
            std::thread::sleep(Duration::from_secs(20));
            ends::<E>().run(async {})
        }
        "two-at-once" => {
            let other = std::thread::spawn(|| ends::<E>().run(deaf()));
            let exit = ends::<E>().run(async { StopToken::current().requested().await });
            let other = other.join().expect("it ends in order");
            say(&format!("other {}", other.exit_code()));
            exit
        }
        "source" => source(),
        "smol-source" => smol_source(),
        _ => panic!("no such scenario: {scenario}"),
    }
}

/// Attached, and told by Tokio.
fn source() -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let all = [Signal::INTERRUPT, Signal::TERMINATE, Signal::HANGUP];
        let source = adjourn::tokio::Signals::new(all).expect("they are there");
        let runner = adjourn::tokio::Runner::new().signal_source(source).on_report(told);
        runner.attach(deaf()).await
    })
}

/// Attached to smol, and told by async-signal.
fn smol_source() -> Exit {
    let executor = std::sync::Arc::new(async_executor::Executor::new());
    let forbidden = adjourn::smol::Signals::new([Signal::USER1]);
    if cfg!(windows) {
        say(&forbidden.expect_err("it is not there").to_string());
    }
    let source = adjourn::smol::Signals::new([Signal::INTERRUPT]).expect("it is there");
    let runner = adjourn::smol::Runner::new().signal_source(source).on_report(told);
    let main = runner.attach_to(&adjourn::smol::Smol::from(&executor), told_and_over());
    async_io::block_on(executor.run(main))
}
