//! One `run()` for async programs: it starts an executor, runs your program on it, and ends both in order.
//!
//! ```no_run
//! use adjourn::{Exit, FutureExt, run, spawn};
//! use std::time::Duration;
//!
//! async fn tick() {
//!     loop {
//!         println!("tick");
//!         tokio::time::sleep(Duration::from_secs(1)).await;
//!     }
//! }
//!
//! fn main() -> Exit {
//!     run(async {
//!         spawn(tick().on_cancel(async { println!("cleaned up") }));
//!     })
//! }
//! ```
//!
//! Ctrl-C or SIGTERM drops `tick` where it waits, runs the cleanup, and ends the process with exit code 0.
//! It is the same on Tokio, on smol (`smol::run`) and on async-std.
//!
//! # What a stop does
//!
//! A signal, a [`Stopper`], an error of `main`, or that nothing is left to do: each of them asks the program
//! to stop. Then:
//!
//! 1. Tasks that have asked about the stop are told, and may end by themselves.
//! 2. All other tasks are cancelled at their next yield.
//! 3. Shielded work and blocking jobs are waited for.
//! 4. Hooks run, and the executor ends.
//!
//! One deadline bounds all of it: 25 s. What comes out is an [`Exit`]: a [`Report`], and the exit code that
//! follows from it.
//!
//! # Who may finish
//!
//! A task that never asks about the stop is cancelled. A task that
//! [asks](StopToken#who-asks-is-graceful) has until the drain limit, 20 s. To ask is to wait for the stop or to
//! look at it, so this server answers the requests it has:
//!
//! ```no_run
//! use adjourn::{Exit, StopToken, run};
//! use axum::{Router, routing::get};
//!
//! fn main() -> Exit {
//!     run(async {
//!         let app = Router::new().route("/", get(|| async { "hello" }));
//!         let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//!         let server = axum::serve(listener, app);
//!         server.with_graceful_shutdown(StopToken::current().requested()).await
//!     })
//! }
//! ```
//!
//! The [guide](https://github.com/adjourn-rs/adjourn/blob/main/docs/guide.md) has recipes for servers, workers,
//! tools, tests and child processes.
//!
//! # Where to go
//!
//! | to | see |
//! |---|---|
//! | set options | [`Runner`](adjourn_core::Runner) |
//! | set limits where the program is deployed | [`limits_from_env`](adjourn_core::Runner::limits_from_env) |
//! | run inside an executor that is there already | [`attach`](adjourn_core::Runner::attach), [`attach_to`](adjourn_core::Runner::attach_to) |
//! | spawn | [`spawn`], [`spawn_graceful`], [`spawn_shielded`], [`spawn_blocking`], [`task`] for names |
//! | spawn what is not `Send` | [`Scope::spawn_local`] |
//! | be told of the stop | [`StopToken`], [`until_stop`](FutureExt::until_stop) on futures, streams and [iterators](IteratorUntilStop) |
//! | limit a time, do something each period | [`Scope::timeout`], [`Scope::interval`] |
//! | keep a section from being cancelled | [`shield`], [`on_cancel`](FutureExt::on_cancel), [`on_cancel_with`] |
//! | let a failure stop the program | [`or_stop`](ResultFutureExt::or_stop) |
//! | start a task again that ends or fails | `supervise::Supervisor`, by the feature `supervise` |
//! | group tasks and order their ends | [`scope`], [`Scope::depends_on`], [`Scope::on_stopped`] |
//! | start a child process | `process::Child`, by the feature `process` |
//! | tell a service manager | [`ready`] |
//! | look on from outside, be told of each phase | [`Inspector`], [`Observer`] |
//! | adapt another executor | [`rt`] |
//!
//! A library depends on `adjourn-core` alone: [how to write
//! one](https://github.com/adjourn-rs/adjourn/blob/main/docs/library.md).
//!
//! # Features
//!
//! | feature | gives |
//! |---|---|
//! | `tokio` (default) | the module `tokio`; [`run`], [`run_graceful`] and [`Runner`] at the root |
//! | `smol` | the module `smol` |
//! | `async-std` | the module `async_std`; legacy, since async-std is discontinued |
//! | `hyper` | the module `hyper`: an HTTP server that stops and restarts without losing a request |
//! | `serde` | `Serialize` for [`Report`] and what it holds |
//! | `tracing` | an event for the start, each phase, signal, failure and straggler, what a long stop waits for, the end |
//! | `stream` | `until_stop` on streams (`StreamUntilStop`); an [`Interval`](rt::Interval) is one |
//! | `process` | the module `process`: child processes that end with the program (Unix) |
//! | `supervise` | the module `supervise`: tasks that are started again when they end or fail |
//! | `health` | the module `health`: `/livez`, `/readyz` and `/statusz`, also while the executor is stuck |
//! | `systemd` | the module `systemd`: status, more time while it stops, the watchdog, reloads, passed sockets |
//! | `triggers` | the module `triggers`: a file, a socket, a port or the end of standard input stops the program |
//! | `signal-sources` | `tokio::signal` and `async-signal` as a [`SignalSource`], for programs that attach |
//!
//! If a dependency turns a feature on, that changes no program's executor: `run` at the root is Tokio's,
//! `smol::run` is smol's.
//!
//! # Process-wide effects
//!
//! While a program runs, `run` has handlers for its signals (SIGINT and SIGTERM), and gives them back at its
//! end. It has a thread that supervises, and a second one once the executor does not come to something. A stop that takes
//! longer than 300 ms says on standard error whom it waits for. A failure that nobody else is told of is a line
//! there. If the thread that called `run` is stuck past the deadline, the process is ended.
//!
//! [`Runner`](adjourn_core::Runner) has an option for each, and [`attach`](adjourn_core::Runner::attach) does
//! none of it unless asked.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

/// What each backend's module has: its `Runner`, `run` and `run_graceful`.
#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std"))]
macro_rules! backend {
    ($executor:ident, $name:literal, $module:literal) => {
        use std::future::Future;

        use adjourn_core::{Exit, MainOutput, StopToken};

        #[doc = concat!("A program on ", $name, " before its start: its options, its hooks, and how to stop it.")]
        ///
        /// | to | methods |
        /// |---|---|
        /// | make one | [`new`](adjourn_core::Runner::new), [`cli`](adjourn_core::Runner::cli), [`aiorun`](adjourn_core::Runner::aiorun) |
        /// | start it | [`run`](adjourn_core::Runner::run), [`run_graceful`](adjourn_core::Runner::run_graceful), [`run_value`](adjourn_core::Runner::run_value), [`run_forever`](adjourn_core::Runner::run_forever) |
        /// | run it inside an executor that is there already | [`attach`](adjourn_core::Runner::attach), [`attach_graceful`](adjourn_core::Runner::attach_graceful), [`attach_value`](adjourn_core::Runner::attach_value), [`attach_to`](adjourn_core::Runner::attach_to), [`attach_to_graceful`](adjourn_core::Runner::attach_to_graceful) |
        /// | stop it | [`stopper`](adjourn_core::Runner::stopper) |
        /// | say when it ends by itself | [`until`](adjourn_core::Runner::until) |
        /// | limit the stop | [`timeout`](adjourn_core::Runner::timeout), [`drain_limit`](adjourn_core::Runner::drain_limit), [`closing_reserve`](adjourn_core::Runner::closing_reserve), [`lame_duck`](adjourn_core::Runner::lame_duck), [`limits_from_env`](adjourn_core::Runner::limits_from_env), [`overdue`](adjourn_core::Runner::overdue), [`exit_when_stuck`](adjourn_core::Runner::exit_when_stuck) |
        /// | hear signals | [`signals`](adjourn_core::Runner::signals), [`on_signal`](adjourn_core::Runner::on_signal), [`signal_source`](adjourn_core::Runner::signal_source), [`second_interrupt`](adjourn_core::Runner::second_interrupt), [`debounce`](adjourn_core::Runner::debounce), [`reraise`](adjourn_core::Runner::reraise), [`dump_on`](adjourn_core::Runner::dump_on) |
        /// | run something at the end | [`on_stop`](adjourn_core::Runner::on_stop), [`on_stopped`](adjourn_core::Runner::on_stopped), [`on_report`](adjourn_core::Runner::on_report) |
        /// | handle failures | [`on_failure`](adjourn_core::Runner::on_failure), [`stop_on_panic`](adjourn_core::Runner::stop_on_panic) |
        /// | look on | [`observe`](adjourn_core::Runner::observe), [`inspector`](adjourn_core::Runner::inspector), [`narrate`](adjourn_core::Runner::narrate) |
        /// | set up the executor | [`worker_threads`](adjourn_core::Runner::worker_threads), [`current_thread`](adjourn_core::Runner::current_thread), [`blocking_threads`](adjourn_core::Runner::blocking_threads), [`build_with`](adjourn_core::Runner::build_with) |
        ///
        /// # Examples
        ///
        /// ```
        #[doc = concat!("use adjourn::", $module, "::Runner;")]
        /// use std::time::Duration;
        ///
        /// let exit = Runner::new()
        ///     .timeout(Duration::from_secs(10))
        ///     .on_stopped(|| println!("all tasks are gone"))
        ///     .run(async { println!("it runs") });
        /// assert_eq!(exit.exit_code(), 0);
        /// ```
        pub type Runner = adjourn_core::Runner<$executor>;

        #[doc = concat!("Runs `main` on ", $name, " with the default options: [`Runner::run`].")]
        #[track_caller]
        pub fn run<F, K>(main: F) -> Exit
        where
            F: Future,
            F::Output: MainOutput<K>,
        {
            Runner::new().run(main)
        }

        #[doc = concat!("Runs a graceful `main` on ", $name, ": [`Runner::run_graceful`].")]
        #[track_caller]
        pub fn run_graceful<M, F, K>(main: M) -> Exit
        where
            M: FnOnce(StopToken) -> F,
            F: Future,
            F::Output: MainOutput<K>,
        {
            Runner::new().run_graceful(main)
        }
    };
}

pub use adjourn_core::rt;
pub use adjourn_core::signal;
pub use adjourn_core::{
    AnyBackend, At, Backend, Elapsed, Event, ExecutorGone, Exit, Failure, FailureKind, FutureExt,
    HookOutput, HookReport, InScope, Inspector, Interruptible, IntoHook, IteratorUntilStop,
    JoinError, JoinHandle, LocalJoinHandle, MainOutput, Narrate, NoScope, Observer, OnCancel,
    OrReport, Outcome, Overdue, OverdueTask, Payload, Phase, PhaseSpan, Reason, Report, Reported,
    Requested, Reraise, ResultFutureExt, Scope, ScopeReport, ScopeStop, SecondInterrupt, Shield,
    Shutdown, Signal, SignalSource, Site, SpawnBlocking, SpawnLocal, Spawner, StartError, Status,
    StopError, StopRequested, StopToken, Stopper, Straggler, StragglerState, Task, TaskKind,
    TaskLabel, TaskReport, Timeline, Timer, Totals, Unsupported, Until, UntilStop, UntilStopAnd,
    is_ready, on_cancel_with, ready, scope, shield, spawn_blocking, task,
};

mod free;

pub use free::{spawn, spawn_graceful, spawn_shielded};

#[cfg(feature = "stream")]
pub use adjourn_core::StreamUntilStop;

#[cfg(feature = "health")]
#[doc(inline)]
pub use adjourn_health as health;

#[cfg(all(feature = "process", unix))]
#[doc(inline)]
pub use adjourn_process as process;

#[cfg(feature = "supervise")]
#[doc(inline)]
pub use adjourn_supervise as supervise;

#[cfg(feature = "systemd")]
#[doc(inline)]
pub use adjourn_systemd as systemd;

#[cfg(feature = "triggers")]
#[doc(inline)]
pub use adjourn_triggers as triggers;

/// Adjourn on Tokio.
#[cfg(feature = "tokio")]
pub mod tokio {
    pub use adjourn_tokio::*;

    backend!(TokioExecutor, "Tokio", "tokio");

    /// Adjourn on Tokio with a `LocalSet`, for tasks that are not `Send`:
    /// [`Scope::spawn_local`](adjourn_core::Scope::spawn_local) on
    /// `Scope::current().typed::<TokioLocal>()`.
    pub mod local {
        use adjourn_tokio::TokioLocalExecutor;

        backend!(TokioLocalExecutor, "Tokio with a `LocalSet`", "tokio::local");
    }
}

/// Adjourn on smol.
#[cfg(feature = "smol")]
pub mod smol {
    pub use adjourn_smol::*;

    backend!(SmolExecutor, "smol", "smol");
}

/// Adjourn on async-std. Legacy: async-std is discontinued; use `adjourn::smol`.
#[cfg(feature = "async-std")]
pub mod async_std {
    pub use adjourn_async_std::*;

    backend!(AsyncStdExecutor, "async-std", "async_std");
}

/// HTTP/1 and HTTP/2: [`Server`](hyper::Server), which stops and restarts without losing a request.
///
/// The features `tokio`, `smol` and `async-std` bring the listeners.
#[cfg(feature = "hyper")]
pub mod hyper {
    pub use adjourn_hyper::*;
}

#[cfg(feature = "tokio")]
#[doc(inline)]
pub use crate::tokio::{Runner, run, run_graceful};

// The programs of these pages compile, and run unless they say otherwise. They are no part of the package.
#[cfg(all(doctest, feature = "tokio", feature = "smol"))]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(all(
    doctest,
    feature = "tokio",
    feature = "triggers",
    feature = "health",
    feature = "process",
    feature = "supervise",
    feature = "systemd"
))]
#[doc = include_str!("../../../docs/guide.md")]
#[doc = include_str!("../../adjourn-health/README.md")]
#[doc = include_str!("../../adjourn-process/README.md")]
#[doc = include_str!("../../adjourn-supervise/README.md")]
#[doc = include_str!("../../adjourn-systemd/README.md")]
#[doc = include_str!("../../adjourn-triggers/README.md")]
struct Guide;

#[cfg(all(doctest, feature = "tokio", feature = "hyper"))]
#[doc = include_str!("../../../docs/server.md")]
#[doc = include_str!("../../adjourn-hyper/README.md")]
struct AServer;

#[cfg(all(
    doctest,
    unix,
    feature = "tokio",
    feature = "health",
    feature = "hyper",
    feature = "systemd"
))]
#[doc = include_str!("../../../docs/deploy.md")]
struct Deployment;

#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../../../docs/aiorun.md")]
#[doc = include_str!("../../../docs/library.md")]
struct Aiorun;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/simulation.md")]
struct Simulation;
