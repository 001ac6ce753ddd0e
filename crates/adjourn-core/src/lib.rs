//! The executor-independent core of Adjourn: scopes, shields, phases and one deadline.
//!
//! Applications use the facade crate `adjourn`. A library depends on this crate alone and takes a
//! [`Scope`] or a [`Spawner`]; an adapter implements the traits of [`rt`].

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
