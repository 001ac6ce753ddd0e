//! One `run()` for async programs: start an executor, run the program, end it in order.

#![forbid(unsafe_code)]

/// What each backend's module has: its `Runner`, `run` and `run_graceful`.
macro_rules! backend {
    ($executor:ident, $name:literal) => {
        use std::future::Future;

        use adjourn_core::{Exit, MainOutput, StopToken};

        #[doc = concat!("A program on ", $name, " before its start.")]
        pub type Runner = adjourn_core::Runner<$executor>;

        #[doc = concat!("Runs `main` on ", $name, " with the default options: [`Runner::run`].")]
        #[track_caller]
        pub fn run<F>(main: F) -> Exit
        where
            F: Future,
            F::Output: MainOutput,
        {
            Runner::new().run(main)
        }

        #[doc = concat!("Runs a graceful `main` on ", $name, ": [`Runner::run_graceful`].")]
        #[track_caller]
        pub fn run_graceful<M, F>(main: M) -> Exit
        where
            M: FnOnce(StopToken) -> F,
            F: Future,
            F::Output: MainOutput,
        {
            Runner::new().run_graceful(main)
        }
    };
}

pub use adjourn_core::phase::Phase;
pub use adjourn_core::rt;
pub use adjourn_core::signal;
pub use adjourn_core::{
    AnyBackend, At, Backend, Exit, Failure, FailureKind, FutureExt, HookOutput, InScope, IntoHook,
    JoinError, JoinHandle, MainOutput, NoScope, OnCancel, OrReport, Outcome, PhaseSpan, Reason,
    Report, Reported, Requested, Reraise, ResultFutureExt, Scope, ScopeStop, SecondInterrupt,
    Shield, Shutdown, Signal, SignalSource, SpawnBlocking, SpawnLocal, Spawner, StartError,
    StopError, StopRequested, StopToken, Stopper, Straggler, StragglerState, Task, TaskKind,
    TaskLabel, TaskReport, Timer, Totals, Unsupported, Until, UntilStop, is_ready, on_cancel_with,
    ready, scope, shield, spawn, spawn_blocking, spawn_graceful, spawn_shielded, task,
};

/// Adjourn on Tokio.
#[cfg(feature = "tokio")]
pub mod tokio {
    pub use adjourn_tokio::*;

    backend!(TokioExecutor, "Tokio");
}

/// Adjourn on smol.
#[cfg(feature = "smol")]
pub mod smol {
    pub use adjourn_smol::*;

    backend!(SmolExecutor, "smol");
}

/// Adjourn on async-std. Legacy: async-std is discontinued; use [`smol`](crate::smol).
#[cfg(feature = "async-std")]
pub mod async_std {
    pub use adjourn_async_std::*;

    backend!(AsyncStdExecutor, "async-std");
}

#[cfg(feature = "tokio")]
pub use crate::tokio::{Runner, run, run_graceful};
