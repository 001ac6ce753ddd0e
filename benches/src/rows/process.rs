//! Whole programs: their start and end, a signal, wedged workers, many stragglers.

use std::future::pending;
use std::hint::black_box;
use std::time::{Duration, Instant};

use adjourn::{Exit, FutureExt, Scope, Signal, async_std, smol, spawn, spawn_shielded, tokio};
use adjourn_core::rt::{Executor, Spawner};

use super::child;
use super::effort::Effort;
use crate::body::{asked, gone, gone_soon, parked, since_asked, until_parked};
use crate::host::{Config, in_order};
use crate::stats::{Quartiles, percentile_99};
use crate::table::{plain, time};
use crate::way::{FREE, TYPED, UNTYPED};

/// Runs `$body` with `$runner` as the runner of a configuration.
macro_rules! with_runner {
    ($config:expr, |$runner:ident| $body:expr) => {
        match $config {
            Config::TokioCurrentThread => {
                let $runner = tokio::Runner::new().current_thread();
                $body
            }
            Config::TokioMultiThread => {
                let $runner = tokio::Runner::new();
                $body
            }
            Config::Smol => {
                let $runner = smol::Runner::new().current_thread();
                $body
            }
            Config::AsyncStd => {
                let $runner = async_std::Runner::new();
                $body
            }
        }
    };
}

/// What an empty program may take on Tokio's current-thread runtime, in nanoseconds.
const EMPTY_BUDGET: f64 = 80e3;

/// Returns the table of all of it.
pub fn all(effort: Effort) -> String {
    let rounds = if effort == Effort::Full { 200 } else { 5 };
    let configs = Config::ALL.map(Config::name);
    let head = [&["what", "by hand on Tokio current-thread"][..], &configs].concat();
    let mut lines = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    let mut line = |what: String, by_hand: String, each: [String; 4]| {
        lines.push([vec![what, by_hand], each.to_vec()].concat());
    };
    let spread = |values: Vec<f64>| {
        let all = Quartiles::of(values);
        format!("{} ({}–{})", time(all.median), time(all.low), time(all.high))
    };
    line(
        format!("start and end of an empty program; budget on the first: {}", time(EMPTY_BUDGET)),
        spread(repeat(rounds, empty_by_hand)),
        Config::ALL.map(|config| {
            let all = repeat(rounds, || empty(config));
            let verdict = match Quartiles::of(all.clone()).median {
                _ if config != Config::TokioCurrentThread => "",
                nanos if nanos <= EMPTY_BUDGET => ": met",
                _ => ": **missed**",
            };
            format!("{}{verdict}", spread(all))
        }),
    );
    let heard = rounds.min(100); // each takes a third of a second
    let by_hand = signals_by_hand(heard);
    let ours = Config::ALL.map(|config| repeat(heard, || signal(config)));
    let both = |values: &Vec<f64>| {
        let median = Quartiles::of(values.clone()).median;
        format!("{}, p99 {}", time(median), time(percentile_99(values.clone())))
    };
    line(
        "SIGTERM to the first destructor; budget: p99 within 1 ms".to_owned(),
        both(&by_hand),
        std::array::from_fn(|index| {
            let met = percentile_99(ours[index].clone()) <= 1e6;
            format!("{}: {}", both(&ours[index]), if met { "met" } else { "**missed**" })
        }),
    );
    let sizes: &[usize] =
        if effort == Effort::Full { &[1_000, 10_000, 100_000, 1_000_000] } else { &[1_000] };
    for &count in sizes {
        let rounds = if count > 100_000 { 3 } else { 5 };
        let separately = |args: &[&str]| spread(repeat(rounds, || child::figure(args)));
        line(
            format!("stop request to `run` returned, {count} parked tasks"),
            separately(&["returned by hand", &count.to_string()]),
            Config::ALL.map(|config| separately(&["returned", config.name(), &count.to_string()])),
        );
    }
    let few = if effort == Effort::Full { 3 } else { 1 };
    line(
        "past the deadline (300 ms), every worker in a busy loop".to_owned(),
        "never returns".to_owned(),
        Config::ALL.map(|config| {
            let worst = repeat(few, || overshoot(config)).into_iter().fold(f64::MIN, f64::max);
            format!("{:+.1} ms at worst", worst / 1e6)
        }),
    );
    line(
        "past the cut-off (276 ms), 10000 tasks that refuse to end: report and `run` returned"
            .to_owned(),
        "–".to_owned(),
        Config::ALL.map(|config| spread(repeat(few, || stragglers(config)))),
    );
    plain(&lines)
}

fn repeat(rounds: usize, mut round: impl FnMut() -> f64) -> Vec<f64> {
    (0..rounds).map(|_| round()).collect()
}

fn nanos(span: Duration) -> f64 {
    span.as_nanos() as f64
}

fn empty(config: Config) -> f64 {
    let start = Instant::now();
    let exit = with_runner!(config, |runner| runner.run(async { black_box(()) }));
    let elapsed = start.elapsed();
    in_order(&exit);
    nanos(elapsed)
}

fn runtime() -> ::tokio::runtime::Runtime {
    ::tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn empty_by_hand() -> f64 {
    let start = Instant::now();
    runtime().block_on(async { black_box(()) });
    nanos(start.elapsed())
}

/// How long a program has been there when its signal comes: all its threads wait.
const SETTLES: Duration = Duration::from_millis(5);
/// By then the thread is gone that swallows repetitions of a program's signal.
const SWALLOWED: Duration = Duration::from_millis(300);

/// Parks one task, raises SIGTERM, and returns the time to the task's destructor.
fn signal(config: Config) -> f64 {
    let main = async {
        drop(spawn(parked()));
        until_parked(1).await;
        std::thread::sleep(SETTLES);
        asked();
        raise();
        pending::<()>().await;
    };
    in_order(&with_runner!(config, |runner| runner.run(main)));
    // Else the thread of this program wakes to the signal of the next one, beside it.
    std::thread::sleep(SWALLOWED);
    nanos(gone().0)
}

/// Returns the time from SIGTERM until `run` has returned, with so many parked tasks, spawned in one of
/// our ways.
pub fn terminated(config: Config, spawns: &str, count: usize) -> f64 {
    let main = async {
        match spawns {
            FREE => park_free(count).await,
            TYPED => park_typed(config, count).await,
            UNTYPED => park(&Scope::current(), count).await,
            other => panic!("no way {other}"),
        }
        asked();
        raise();
        pending::<()>().await;
    };
    let exit = with_runner!(config, |runner| runner.run(main));
    let elapsed = since_asked();
    in_order(&exit);
    gone();
    nanos(elapsed)
}

async fn park_free(count: usize) {
    (0..count).for_each(|_| drop(spawn(parked())));
    until_parked(count).await;
}

async fn park<B: Spawner>(scope: &Scope<B>, count: usize) {
    for _ in 0..count {
        drop(scope.spawn(parked()));
    }
    until_parked(count).await;
}

async fn park_typed(config: Config, count: usize) {
    async fn on<B: Spawner>(count: usize) {
        park(&Scope::current().typed::<B>().expect("the backend that runs it"), count).await;
    }
    match config {
        Config::TokioCurrentThread | Config::TokioMultiThread => on::<tokio::Tokio>(count).await,
        Config::Smol => on::<smol::Smol>(count).await,
        Config::AsyncStd => on::<async_std::AsyncStd>(count).await,
    }
}

/// Sends SIGTERM to this process.
#[cfg(unix)]
#[allow(unsafe_code)]
fn raise() {
    // SAFETY: kill has no preconditions; a handler is installed by whoever calls this.
    unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
}

/// A process sends itself a signal on Unix alone, and the tables are made there.
#[cfg(not(unix))]
fn raise() {
    panic!("the benchmarks are measured on Unix: they send signals");
}

fn signals_by_hand(rounds: usize) -> Vec<f64> {
    child::start(&["signal", &rounds.to_string()])
}

/// See there.
#[cfg(not(unix))]
pub fn signal_with(_: usize) -> Vec<f64> {
    raise();
    Vec::new()
}

/// The same as it is written by hand: Tokio's signal, a token, a tracker. In a process of its own,
/// since Tokio never gives the signal back.
#[cfg(unix)]
pub fn signal_with(rounds: usize) -> Vec<f64> {
    use ::tokio::signal::unix::{SignalKind, signal};
    use tokio_util::{sync::CancellationToken, task::TaskTracker};
    repeat(rounds, || {
        runtime().block_on(async {
            let mut terminate = signal(SignalKind::terminate()).expect("a listener");
            let (token, tracker) = (CancellationToken::new(), TaskTracker::new());
            let watched = token.clone();
            tracker.spawn(async move { watched.run_until_cancelled(parked()).await });
            until_parked(1).await;
            std::thread::sleep(SETTLES);
            asked();
            raise();
            terminate.recv().await;
            token.cancel();
            tracker.close();
            tracker.wait().await;
        });
        nanos(gone().0)
    })
}

/// Returns the time from a stop request inside `main` until `run` has returned.
pub fn returned(config: Config, count: usize) -> f64 {
    let main = async {
        park_free(count).await;
        asked();
        drop(Scope::current().stop());
        pending::<()>().await;
    };
    let exit = with_runner!(config, |runner| without_signals(runner).run(main));
    let elapsed = since_asked();
    in_order(&exit);
    gone();
    nanos(elapsed)
}

fn without_signals<E: Executor>(runner: adjourn_core::Runner<E>) -> adjourn_core::Runner<E> {
    runner.signals([] as [Signal; 0])
}

/// The same by a token and a tracker: until all tasks have ended and the runtime is gone.
pub fn returned_by_hand(count: usize) -> f64 {
    use tokio_util::{sync::CancellationToken, task::TaskTracker};
    let runtime = runtime();
    runtime.block_on(async {
        let (token, tracker) = (CancellationToken::new(), TaskTracker::new());
        for _ in 0..count {
            let watched = token.clone();
            tracker.spawn(async move { watched.run_until_cancelled(parked()).await });
        }
        until_parked(count).await;
        asked();
        token.cancel();
        tracker.close();
        tracker.wait().await;
    });
    drop(runtime);
    let elapsed = since_asked();
    gone();
    nanos(elapsed)
}

const DEADLINE: Duration = Duration::from_millis(300);

fn overshoot(config: Config) -> f64 {
    child::figure(&["wedged", config.name()])
}

/// Prints how long past its deadline a program has ended whose workers are all in a busy loop.
///
/// Where everything runs on the calling thread, that one would be stuck too: there the wedge is a
/// blocking job that never returns.
pub fn wedged(config: Config) -> ! {
    fn spin() {
        loop {
            std::hint::spin_loop();
        }
    }
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let one = matches!(config, Config::TokioCurrentThread | Config::Smol);
    let main = async {
        for _ in 0..if one { 1 } else { threads } {
            if one {
                drop(adjourn::spawn_blocking(spin));
            } else {
                drop(spawn(async { spin() }));
            }
        }
        // Time for them to begin, on threads that nothing of ours runs on.
        async_io::Timer::after(Duration::from_millis(50)).await;
        asked();
        drop(Scope::current().stop());
        pending::<()>().await;
    };
    let exit = with_runner!(config, |runner| without_signals(runner).timeout(DEADLINE).run(main));
    let late = nanos(since_asked()) - nanos(DEADLINE);
    assert_eq!(exit.exit_code(), 124, "{}", exit.report());
    println!("{late}");
    std::process::exit(0);
}

/// Returns the time from the cut-off until `run` has returned, with 10,000 tasks to be dropped and
/// reported then.
fn stragglers(config: Config) -> f64 {
    const STUCK: usize = 10_000;
    let main = async {
        for _ in 0..STUCK {
            drop(spawn_shielded(parked().shield()));
        }
        until_parked(STUCK).await;
        asked();
        drop(Scope::current().stop());
        pending::<()>().await;
    };
    let exit: Exit =
        with_runner!(config, |runner| without_signals(runner).timeout(DEADLINE).run(main));
    let elapsed = since_asked();
    assert_eq!(exit.exit_code(), 124, "{}", exit.report());
    black_box(exit.report().to_string());
    gone_soon(); // async-std's executor stays, and may be at it yet
    nanos(elapsed) - nanos(DEADLINE.mul_f64(0.92))
}
