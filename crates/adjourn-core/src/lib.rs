//! The core of Adjourn, with no executor in it: scopes and tasks, shields, phases, one deadline.
//!
//! - **An application** uses the facade crate `adjourn`, which has `run` for Tokio, smol and async-std.
//! - **A library** depends on this crate alone and takes a [`Scope`]:
//!   [a worked one](https://github.com/adjourn-rs/adjourn/blob/main/docs/library.md).
//! - **An adapter** for another executor implements the traits of [`rt`].
//!
//! # A library
//!
//! It spawns on the scope that it is given. So its tasks belong to its user's program: a stop tells them,
//! waits for them, and the report names them.
//!
//! ```
//! use adjourn_core::{FutureExt, Scope};
//! use std::time::Duration;
//!
//! /// Refreshes every ten seconds, until `scope` stops. A refresh that has begun is finished.
//! pub fn keep_fresh<F>(scope: &Scope, refresh: impl Fn() -> F + Send + 'static)
//! where
//!     F: Future<Output = ()> + Send + 'static,
//! {
//!     let mut ticks = scope.interval(Duration::from_secs(10));
//!     scope.task("refresher").background().spawn(async move {
//!         while ticks.tick().until_stop().await.is_ok() {
//!             refresh().await;
//!         }
//!     });
//! }
//! ```
//!
//! # Where to go
//!
//! | to | see |
//! |---|---|
//! | spawn | [`Scope`], or [`spawn`], [`spawn_graceful`], [`spawn_shielded`], [`spawn_blocking`], which use the running task's scope |
//! | name a task, keep a program from living for it | [`task`], [`Task`] |
//! | be told of the stop | [`StopToken`], [`until_stop`](FutureExt::until_stop) |
//! | look at the stop in a task that is not yours | [`StopToken::peek`] |
//! | sleep, limit a time, do something each period | [`Scope::sleep`], [`Scope::timeout`], [`Scope::interval`] |
//! | keep a section from being cancelled, clean up after it | [`shield`], [`on_cancel`](FutureExt::on_cancel), [`on_cancel_with`] |
//! | act when all tasks are gone | [`Scope::on_stopped`] |
//! | report a failure, let it stop the program | [`or_report`](ResultFutureExt::or_report), [`or_stop`](ResultFutureExt::or_stop) |
//! | start a program on an executor | [`Runner`] |
//! | read how it ended | [`Exit`], [`Report`] |
//! | look on | [`Observer`], [`Inspector`] |
//! | hear signals without a program | [`signal`] |

#![deny(unsafe_code)] // `signal` alone is allowed it, with a proof at each site
#![cfg_attr(docsrs, feature(doc_cfg))]

mod contract;
mod few;
mod phase;
mod process;
mod program;
mod sync;
#[cfg(test)]
mod tests;
mod track;

pub use contract::error::{
    Elapsed, ExecutorGone, JoinError, NoScope, Payload, Reported, StartError, StopError,
    StopRequested, Unsupported,
};
pub use contract::hook::{HookOutput, IntoHook};
pub use contract::inspect::{Inspector, Status};
pub use contract::main_output::MainOutput;
pub use contract::options::{Narrate, Overdue, Reraise, SecondInterrupt, Until};
pub use contract::report::{
    At, Exit, Failure, FailureKind, HookReport, Outcome, OverdueTask, PhaseSpan, Reason, Report,
    ScopeReport, Site, Straggler, StragglerState, TaskKind, TaskLabel, TaskReport, Timeline,
    Totals,
};
pub use contract::rt;
pub use contract::rt::{
    AnyBackend, Backend, BlockOn, Executor, Inside, Shutdown, SignalSource, SpawnBlocking,
    SpawnLocal, Spawner, Timer,
};
pub use phase::Phase;
pub use process::signal;
pub use process::signal::Signal;
pub use program::observe::{Event, Observer};
pub use program::run::Runner;
pub use program::stopper::Stopper;
pub use track::ext::{FutureExt, OrReport, ResultFutureExt};
pub use track::ready::{is_ready, ready};
pub use track::scope::{InScope, Scope, ScopeStop, scope};
pub use track::shield::{OnCancel, Shield, on_cancel_with, shield};
pub use track::stop::{Interruptible, Requested, StopToken};
pub use track::task::{
    Dispatch, JoinHandle, LocalJoinHandle, Task, spawn, spawn_blocking, spawn_graceful,
    spawn_shielded, task,
};
#[cfg(feature = "stream")]
pub use track::until_stop::StreamUntilStop;
pub use track::until_stop::{IteratorUntilStop, UntilStop, UntilStopAnd};

// Its program compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
