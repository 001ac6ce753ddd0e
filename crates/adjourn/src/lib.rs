//! One `run()` for async programs: start an executor, run the program, end it in order.
//!
//! A program is a tree of [scopes](Scope) with tasks in them. It is asked to stop by a signal, a
//! [`Stopper`], an error, or because it is idle. A task that
//! [asks about the stop](StopToken#who-asks-is-graceful) is then told, and waited for; all others are
//! cancelled at their next yield. Shielded work and blocking jobs are waited for, and hooks run. One
//! deadline bounds all of it. What comes out is an [`Exit`]: a [`Report`] and the exit code that
//! follows from it.
//!
//! ```no_run
//! use adjourn::{Exit, FutureExt, Scope, run, task};
//! use std::time::Duration;
//!
//! async fn work() {
//!     loop {
//!         Scope::current().sleep(Duration::from_secs(1)).await;
//!     }
//! }
//!
//! fn main() -> Exit {
//!     run(async {
//!         let worker = work().on_cancel(async { println!("cleaned up") });
//!         task("worker").spawn(worker); // its handle is not kept: it runs by itself
//!     })
//! }
//! ```
//!
//! # Process-wide effects
//!
//! While a program runs, `run` has handlers for its signals (SIGINT and SIGTERM) and gives them
//! back at its end; it has two threads that supervise. When the thread that called it is stuck past
//! the deadline, it ends the process. [`Runner`] has an option for each, and
//! [`attach`](adjourn_core::Runner::attach) does none of it unless asked.
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
//! A feature that a dependency turns on changes no program's executor: `run` at the root is Tokio's,
//! `smol::run` is smol's.
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
//! Libraries depend on `adjourn-core` alone.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

/// What each backend's module has: its `Runner`, `run` and `run_graceful`.
#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std"))]
macro_rules! backend {
    ($executor:ident, $name:literal) => {
        use std::future::Future;

        use adjourn_core::{Exit, MainOutput, StopToken};

        #[doc = concat!("A program on ", $name, " before its start.")]
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

/// Answers health checks: `/livez`, `/readyz`, `/statusz`.
#[cfg(feature = "health")]
pub use adjourn_health as health;

/// Child processes that end with the program.
#[cfg(all(feature = "process", unix))]
pub use adjourn_process as process;

/// Starts tasks again that end or fail.
#[cfg(feature = "supervise")]
pub use adjourn_supervise as supervise;

/// Tells systemd more than that a program is ready and stops, and takes the sockets that it passes.
#[cfg(feature = "systemd")]
pub use adjourn_systemd as systemd;

/// What stops a program where no signal comes.
#[cfg(feature = "triggers")]
pub use adjourn_triggers as triggers;

/// Adjourn on Tokio.
#[cfg(feature = "tokio")]
pub mod tokio {
    pub use adjourn_tokio::*;

    backend!(TokioExecutor, "Tokio");

    /// Adjourn on Tokio with a `LocalSet`, for tasks that are not `Send`:
    /// [`Scope::spawn_local`](adjourn_core::Scope::spawn_local) on
    /// `Scope::current().typed::<TokioLocal>()`.
    pub mod local {
        use adjourn_tokio::TokioLocalExecutor;

        backend!(TokioLocalExecutor, "Tokio with a `LocalSet`");
    }
}

/// Adjourn on smol.
#[cfg(feature = "smol")]
pub mod smol {
    pub use adjourn_smol::*;

    backend!(SmolExecutor, "smol");
}

/// Adjourn on async-std. Legacy: async-std is discontinued; use `adjourn::smol`.
#[cfg(feature = "async-std")]
pub mod async_std {
    pub use adjourn_async_std::*;

    backend!(AsyncStdExecutor, "async-std");
}

/// HTTP/1 and HTTP/2: [`Server`](hyper::Server), which stops and restarts without losing a request.
///
/// The features `tokio`, `smol` and `async-std` bring the listeners.
#[cfg(feature = "hyper")]
pub mod hyper {
    pub use adjourn_hyper::*;
}

#[cfg(feature = "tokio")]
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
