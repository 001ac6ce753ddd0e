//! The executor-independent core of Adjourn: scopes, shields, phases and one deadline.
//!
//! Applications use the facade crate `adjourn`. A library depends on this crate alone and takes a
//! [`Scope`] or a [`Spawner`]; an adapter implements the traits of [`rt`].

#![deny(unsafe_code)] // `signal` alone is allowed it, with a proof at each site

mod context;
mod driver;
mod error;
mod ext;
mod hook;
mod host;
#[cfg(all(test, loom))]
mod interleavings;
mod log;
mod main_output;
mod node;
#[cfg(test)]
mod nowhere;
mod options;
pub mod phase;
mod program;
mod ready;
mod report;
pub mod rt;
mod run;
mod scope;
#[cfg(all(test, not(loom)))]
mod sequences;
mod shield;
pub mod signal;
mod stop;
mod supervise;
mod sync;
mod table;
mod task;

pub use error::{
    ExecutorGone, JoinError, NoScope, Payload, Reported, StartError, StopError, StopRequested,
    Unsupported,
};
pub use ext::{FutureExt, OrReport, ResultFutureExt};
pub use hook::{HookOutput, IntoHook};
pub use main_output::MainOutput;
pub use options::{Reraise, SecondInterrupt, Until};
pub use phase::Phase;
pub use ready::{is_ready, ready};
pub use report::{
    At, Exit, Failure, FailureKind, Outcome, PhaseSpan, Reason, Report, Straggler, StragglerState,
    TaskKind, TaskLabel, TaskReport, Totals,
};
pub use rt::{
    AnyBackend, Backend, BlockOn, Executor, Inside, Shutdown, SignalSource, SpawnBlocking,
    SpawnLocal, Spawner, Timer,
};
pub use run::Runner;
pub use scope::{InScope, Scope, ScopeStop, scope};
pub use shield::{OnCancel, Shield, on_cancel_with, shield};
pub use signal::Signal;
pub use stop::{Requested, StopToken, Stopper, UntilStop};
pub use task::{JoinHandle, Task, spawn, spawn_blocking, spawn_graceful, spawn_shielded, task};
