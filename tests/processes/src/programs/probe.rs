//! A program for each thing that only a whole process can show: `probe BACKEND SCENARIO [ARG]`.
//!
//! Prints `ready` once it has started, `returned` once `run` has, then the report as JSON.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use adjourn::rt::{Executor, Spawner, Threads};
use adjourn::{
    Exit, FutureExt, ResultFutureExt, Scope, Signal, StopToken, Until, shield, spawn,
    spawn_blocking, spawn_graceful, spawn_shielded, task,
};

/// Prints a line; standard output may be closed.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    _ = writeln!(out, "{line}");
    _ = out.flush();
}

fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// Whether the signal has its default action.
fn is_default(signal: i32) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with no new action, sigaction fills in the old one, which is valid for the call.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr());
        now.assume_init().sa_sigaction == libc::SIG_DFL
    }
}

async fn sleep(span: Duration) {
    Scope::current().sleep(span).await;
}

async fn forever() {
    std::future::pending::<()>().await;
}

macro_rules! runner {
    ($module:ident, $threads:expr) => {{
        let runner = adjourn::$module::Runner::new();
        let threads: Option<usize> = $threads;
        match threads {
            Some(threads) => runner.worker_threads(threads),
            None => runner,
        }
    }};
}

pub(crate) fn main() {
    let mut args = std::env::args().skip(1);
    let backend = args.next().expect("a backend");
    let scenario = args.next().expect("a scenario");
    let arg: u64 = args.next().map_or(1000, |arg| arg.parse().expect("a number"));
    let start = Instant::now();
    let go = || match backend.as_str() {
        "tokio-source" => attached_to_tokio(),
        "smol-source" => attached_to_smol(),
        "tokio-local" => wedged_by_a_local_task(Duration::from_millis(arg)),
        "tokio-current" => scene(runner!(tokio, Some(0)), &scenario, arg),
        "tokio-1" => scene(runner!(tokio, Some(1)), &scenario, arg),
        "tokio-n" => scene(runner!(tokio, Some(3)), &scenario, arg),
        "smol-current" => scene(runner!(smol, Some(0)), &scenario, arg),
        "smol-1" => scene(runner!(smol, Some(1)), &scenario, arg),
        "smol-n" => scene(runner!(smol, Some(3)), &scenario, arg),
        "async-std" => scene(runner!(async_std, None), &scenario, arg),
        other => panic!("no such backend: {other}"),
    };
    let mut exit = go();
    match scenario.as_str() {
        // What was heard in the stop comes again.
        // SAFETY: raise has no preconditions.
        "disposition" => _ = unsafe { libc::raise(libc::SIGTERM) },
        // What was not does at once what it did before.
        "fresh" => {
            assert!(is_default(libc::SIGINT), "it is given back");
            // SAFETY: as above.
            unsafe { libc::raise(libc::SIGINT) };
        }
        _ => {}
    }
    if scenario == "twice" {
        say(&format!("first {}", exit.exit_code()));
        exit = go();
    }
    say(&format!("returned after {} ms", start.elapsed().as_millis()));
    say(&serde_json::to_string(exit.report()).expect("a report serialises"));
    if scenario == "disposition" {
        while !is_default(libc::SIGTERM) {
            std::thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: raise has no preconditions.
        unsafe { libc::raise(libc::SIGTERM) };
    }
    exit.exit();
}

async fn attached() {
    say("ready");
    forever().on_cancel(async { say("cleaned up") }).await;
}

/// Attached, with the signals that Tokio hears.
fn attached_to_tokio() -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let signals = adjourn::tokio::Signals::new([Signal::TERMINATE, Signal::INTERRUPT]);
        let runner = adjourn::tokio::Runner::new().signal_source(signals.expect("not forbidden"));
        runner.attach(attached()).await
    })
}

/// Attached, with the signals that async-signal hears; it knows no forbidden ones.
fn attached_to_smol() -> Exit {
    let executor = std::sync::Arc::new(async_executor::Executor::new());
    let forbidden = adjourn::smol::Signals::new([Signal::from_raw(9).unwrap()]);
    say(&format!("{}", forbidden.expect_err("SIGKILL cannot be heard")));
    let signals = adjourn::smol::Signals::new([Signal::TERMINATE, Signal::INTERRUPT]);
    let runner = adjourn::smol::Runner::new().signal_source(signals.expect("not forbidden"));
    let backend = adjourn::smol::Smol::from(&executor);
    async_io::block_on(executor.run(runner.attach_to(&backend, attached())))
}

/// On workers, with a local task that keeps the calling thread.
fn wedged_by_a_local_task(timeout: Duration) -> Exit {
    let runner = adjourn::tokio::local::Runner::new().worker_threads(2).timeout(timeout);
    runner.on_stopped(|| say("the hook ran")).run(async {
        let scope = Scope::current().typed::<adjourn::tokio::TokioLocal>().expect("its backend");
        scope.task("local").spawn_local(async {
            say("ready");
            spin()
        });
        forever().await;
    })
}

fn scene<E: Executor>(runner: adjourn_core::Runner<E>, scenario: &str, arg: u64) -> Exit {
    let timeout = Duration::from_millis(arg);
    match scenario {
        "pending" | "twice" | "disposition" | "fresh" => runner.run(async {
            say("ready");
            forever().await;
        }),
        "serving" => runner.run(async move {
            for _ in 0..arg {
                adjourn::ready();
            }
            say("ready");
            forever().await;
        }),
        "parked" => runner.run(async move {
            for _ in 0..arg {
                spawn(forever());
            }
            say("ready");
            forever().await;
        }),
        "graceful" => runner.run(async {
            spawn_graceful(|stop: StopToken| async move {
                stop.requested().await;
                say("draining");
                sleep(Duration::from_millis(100)).await;
                say("drained");
            });
            say("ready");
        }),
        "shielded" => runner.run(async {
            spawn_shielded(async {
                sleep(Duration::from_millis(500)).await;
                say("shielded done");
            });
            spawn(async {
                shield(async {
                    say("ready");
                    sleep(Duration::from_millis(300)).await;
                })
                .await;
                say("in place done");
                forever().await;
            });
            forever().await;
        }),
        // Every worker in a loop, and a job that never ends; the calling thread is free.
        "wedge" => runner.timeout(timeout).run(async {
            static WEDGED: AtomicBool = AtomicBool::new(false);
            for _ in 0..32 {
                task("wedged").spawn(async {
                    WEDGED.store(true, SeqCst);
                    spin()
                });
            }
            spawn_blocking(|| spin());
            // Once the workers are taken: one for certain, the others after a while.
            while !WEDGED.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            std::thread::sleep(Duration::from_millis(200));
            say("ready");
            forever().await;
        }),
        // The calling thread itself is in a loop.
        "wedge-caller" => runner.timeout(timeout).run(async {
            spawn_blocking(|| spin());
            say("ready");
            spin()
        }),
        "wedge-idle" => runner.timeout(timeout).until(Until::MainReturns).run(async {
            spawn_blocking(|| spin());
            std::thread::sleep(Duration::from_millis(100));
            say("ready");
        }),
        // `main` returns and nothing is alive; a future that is nobody's task keeps a worker.
        "wedge-executor" => {
            static WEDGED: AtomicBool = AtomicBool::new(false);
            let build = |threads: &Threads| {
                let executor = E::build(threads)?;
                drop(executor.backend().spawn(async {
                    WEDGED.store(true, SeqCst);
                    spin()
                }));
                Ok(executor)
            };
            runner.timeout(timeout).build_with(build).run(async {
                while !WEDGED.load(SeqCst) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                say("ready");
            })
        }
        // A hook of a scope that is stopped alone never ends, past the scope's deadline.
        "wedge-hook" => runner.timeout(timeout).run(async {
            let scope = adjourn::scope("db");
            scope.on_stopped(|| spin());
            scope.stop().await.expect("not from inside");
            say("ready");
        }),
        "error" => runner.run(async { Err::<(), _>("it broke") }),
        "task-error" => runner.run(async {
            spawn(async { Err::<(), _>("the worker broke") }.or_stop());
            forever().await;
        }),
        "panic" => runner.run(async { panic!("main panics") }),
        "task-panic" => runner.stop_on_panic(true).run(async {
            spawn(async { panic!("a task panics") });
            forever().await;
        }),
        "code" => runner.run(async move { Exit::code(arg as u8) }),
        "forbidden" => runner.signals([Signal::from_raw(9).unwrap()]).run(async { say("polled") }),
        "nonsense" => runner
            .timeout(Duration::from_secs(1))
            .drain_limit(Duration::from_secs(2))
            .run(async { say("polled") }),
        // The environment comes first, although it is asked first.
        "from-env" => runner.limits_from_env().timeout(timeout).run(async {
            say("polled");
            forever().await;
        }),
        "hup" => runner.signals([Signal::HANGUP, Signal::TERMINATE]).run(async {
            say("ready");
            forever().await;
        }),
        "usr1" => runner
            .signals([Signal::USER1, Signal::TERMINATE])
            .on_signal(|signal, stopper| {
                if signal == Signal::TERMINATE {
                    stopper.stop();
                }
            })
            .run(async {
                say("ready");
                forever().await;
            }),
        "fork" => runner.run(async {
            // A child that has not exec'ed dies of SIGTERM and does not stop its parent.
            // SAFETY: the child calls async-signal-safe functions only.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: as above.
                unsafe {
                    libc::raise(libc::SIGTERM);
                    libc::_exit(7);
                }
            }
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            unsafe { libc::waitpid(child, &mut status, 0) };
            say(&format!("child died of {}", libc::WTERMSIG(status)));
            sleep(Duration::from_millis(50)).await;
            say("not stopped");
        }),
        "cleanup" => runner.run(async {
            let work = async {
                say("ready");
                forever().await;
            };
            work.on_cancel(async { say("cleaned up") }).await;
        }),
        "reraise" => runner.reraise(adjourn::Reraise::Always).run(async {
            say("ready");
            forever().await;
        }),
        other => panic!("no such scenario: {other}"),
    }
}
