//! What the core asks of an executor: the traits that an adapter implements.
//!
//! [`Spawner`] and [`Timer`] are required. [`SpawnBlocking`], [`SpawnLocal`] and [`BlockOn`] are
//! capabilities that an executor may lack: on a typed backend that is a compile error, on
//! [`AnyBackend`] an `Err`. [`Executor`] is for those that `run` owns from start to end.
//!
//! Adapters of executors that lack one of it are made of [`Remote`], a handle for any future;
//! [`Queue`], for those that spawn on their own thread alone; and [`Fused`], a sleep that may be polled
//! again.
//!
//! # Contract
//!
//! * A handle that is dropped **detaches**: the future goes on. It leaves no waker behind: what awaited it
//!   is not kept by a task that goes on.
//! * A future is dropped by its executor only when it is finished or when the executor ends; then
//!   its handle resolves to [`ExecutorGone`].
//! * A spawned future is polled on the executor's threads, never inside `spawn`.
//! * The core catches panics around each poll and each drop: a future that it spawns never
//!   unwinds into the executor.
//! * `spawn` may be called from any thread, and after the executor's end: the future is dropped
//!   then, and the handle resolves to [`ExecutorGone`].

mod adapter;
mod any;
mod host;
mod time;

pub use adapter::{Fused, Queue};
pub use any::{AnyBackend, AnyHandle, AnySleep, Remote};

pub(crate) use host::Watched;
pub use host::{Host, Hosted};
pub use time::{Interval, Timeout};

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::contract::error::{ExecutorGone, StartError, Unsupported};
use crate::process::signal::Signal;

/// Starts futures on an executor.
///
/// Generic with an associated handle, so that a spawn costs nothing beyond the executor's own.
pub trait Spawner: Clone + Send + Sync + 'static {
    /// Resolves to the future's output. Dropped, it detaches.
    ///
    /// It asks for no `'static`, which a compiler that checks whether a task is `Send` could not prove of an
    /// output with a lifetime in its type: `Box<dyn Error + Send + Sync>`, `&'static str`.
    type Handle<T: Send>: Future<Output = Result<T, ExecutorGone>> + Send + Unpin;

    /// Starts `future`; it goes on whether or not its handle is kept.
    fn spawn<F>(&self, future: F) -> Self::Handle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static;
}

/// An executor's clock.
///
/// The soft limits of a stop (lame duck, drain, levels) are measured with it, so that a paused or
/// virtual clock works; the hard deadline is kept by a thread of its own, unless the clock brings a
/// [`host`](Timer::host).
pub trait Timer: Clone + Send + Sync + 'static {
    /// Resolves once its time has come, never before.
    ///
    /// `Sync`, since those who keep a sleep inside a shared type ask for it: `hyper::rt::Sleep`, for one.
    type Sleep: Future<Output = ()> + Send + Sync + 'static;

    /// Returns the instant that this clock shows, which a paused clock may hold still.
    fn now(&self) -> Instant;

    /// Returns a future that resolves after `span`; with [`Duration::MAX`], never.
    ///
    /// Dropping it forgets it.
    fn sleep(&self, span: Duration) -> Self::Sleep;

    /// Waits for `future`, but no longer than `span`; with [`Duration::MAX`], as long as it takes.
    /// Not for adapters to implement: this is [`Timeout`], over [`sleep`](Timer::sleep).
    ///
    /// The time begins with this call. `future` is polled at least once, and its output goes before
    /// the end of the time where both come at once.
    ///
    /// # Errors
    ///
    /// [`Elapsed`](crate::Elapsed) from the future that is returned, with `future` dropped.
    ///
    /// # Cancel safety
    ///
    /// That of `future`, which is dropped wherever it is pending when the time is over, or when this
    /// is dropped.
    fn timeout<F: Future>(&self, span: Duration, future: F) -> Timeout<F, Self::Sleep> {
        Timeout::new(future, self.sleep(span))
    }

    /// Returns ticks, one now and then one each `period`. Not for adapters to implement: this is
    /// [`Interval`], over [`sleep`](Timer::sleep) and [`now`](Timer::now).
    ///
    /// # Panics
    ///
    /// If `period` is zero.
    #[track_caller]
    fn interval(&self, period: Duration) -> Interval<Self> {
        Interval::new(self.clone(), period)
    }

    /// Returns who watches over programs in place of the core's threads and the monotonic clock:
    /// for a clock that has nothing to do with the system's. Default: nobody.
    fn host(&self) -> Option<Arc<dyn Host>> {
        None
    }
}

/// Runs closures where blocking is allowed.
pub trait SpawnBlocking: Spawner {
    /// Says whether there is a pool; only an erased backend can have none.
    ///
    /// # Errors
    ///
    /// [`Unsupported`], when there is none.
    fn can_block(&self) -> Result<(), Unsupported> {
        Ok(())
    }

    /// Queues `job` for the blocking pool. It runs even when its handle is dropped at once.
    fn spawn_blocking<F, T>(&self, job: F) -> Self::Handle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static;
}

/// Starts futures that are not `Send`, on one thread: the only one on which they are polled and
/// dropped.
pub trait SpawnLocal: Clone + 'static {
    /// Resolves to the future's output. Dropped, it detaches.
    type LocalHandle<T: 'static>: Future<Output = Result<T, ExecutorGone>> + Unpin + 'static;

    /// Returns whether the calling thread is the one that runs what is spawned here. Where it is not,
    /// [`Scope::spawn_local`](crate::Scope::spawn_local) gives an error and nothing is spawned.
    ///
    /// Default: true, which is right for a type that is not `Send`: it never leaves its thread.
    fn is_here(&self) -> bool {
        true
    }

    /// Starts `future` on the calling thread; it goes on whether or not its handle is kept. Called
    /// only where [`is_here`](SpawnLocal::is_here) is true.
    fn spawn_local<F>(&self, future: F) -> Self::LocalHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static;
}

/// Runs one future to its end on the calling thread, with the executor's context in place.
pub trait BlockOn {
    /// Runs `future` to its end.
    ///
    /// The future need be neither `Send` nor `'static`; what else is spawned is driven meanwhile,
    /// by this thread or by the executor's own.
    fn block_on<F: Future>(&self, future: F) -> F::Output;
}

/// Whatever has to be ended with a deadline: an executor, a scope, a pool, a component.
pub trait Shutdown {
    /// Ends it and resolves when it is over, or when `within` has passed.
    ///
    /// # Errors
    ///
    /// [`Unfinished`], when something of it still runs after `within`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the end requested.
    fn shutdown(self, within: Duration) -> impl Future<Output = Result<(), Unfinished>> + Send;
}

/// Something was not over when its time was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Unfinished;

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it was not over when its time was")
    }
}

impl Error for Unfinished {}

/// A stream of signals, for those who attach to an executor with signal handling of its own.
///
/// A program that `run` owns needs none: its signals come from [`signal`](crate::process::signal).
pub trait SignalSource: Send + 'static {
    /// Returns the next signal, or `None` when no more can come.
    fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<Option<Signal>>;

    /// Returns how long the process has after this signal, where it is ended then. The limits come
    /// forward to that, and the program stops whatever [`on_signal`](crate::Runner::on_signal) makes of
    /// it. Default: nothing says so.
    ///
    /// A source that hears the system's signals by other means returns
    /// [`signal::grace(signal)`](crate::signal::grace).
    fn grace(&self, signal: Signal) -> Option<Duration> {
        _ = signal;
        None
    }
}

/// A [`Spawner`] and [`Timer`] that can be erased to [`AnyBackend`].
pub trait Backend: Spawner + Timer {
    /// Returns this backend with its type erased, and with each capability that it has.
    fn erase(&self) -> AnyBackend;
}

/// An executor that `run` starts, drives and ends.
pub trait Executor: BlockOn + Shutdown + Sized {
    /// What spawns on it.
    type Backend: Backend;

    /// The backend's name: `"tokio"`.
    const NAME: &'static str;

    /// Whether its [`shutdown`](Shutdown::shutdown) drops what is left on it. Where it does not,
    /// `run` waits in the closing reserve until what it cut off has been dropped.
    const ENDS: bool = true;

    /// Whether its backend brings a [`host`](Timer::host). Then no signal handler is installed.
    const HOSTED: bool = false;

    /// Whether to wake a task of it waits for nobody and runs no code of the user's, whatever its threads
    /// are at. Then a signal is told to the program on the executor, with no other thread than the one that
    /// hears it; another helps where the executor does not come to that within some milliseconds.
    const WAKES_AT_ONCE: bool = false;

    /// Builds the executor, on the thread that will call [`block_on`](BlockOn::block_on).
    ///
    /// # Errors
    ///
    /// [`StartError`], when the executor cannot have these threads or the thread that calls is
    /// inside an executor already.
    fn build(threads: &Threads) -> Result<Self, StartError>;

    /// Returns what spawns on it.
    fn backend(&self) -> Self::Backend;

    /// Returns how many tasks on it are not over, whoever spawned them. `None` where it does not count
    /// them, which is the default.
    ///
    /// For [`Report::untracked`](crate::Report::untracked). Called once, on the thread that called
    /// [`block_on`](BlockOn::block_on), when that has returned; `own` of them are the program's. An
    /// executor that counts a task for a moment after its end waits until it counts no more than `own`,
    /// or some milliseconds are over, but no longer than `within`.
    fn count_tasks(&self, own: usize, within: Duration) -> Option<usize> {
        _ = (own, within);
        None
    }
}

/// An executor of which the caller may already be inside, so that a program can attach to it.
pub trait Inside: Executor {
    /// Returns the backend of the executor that the caller is inside.
    ///
    /// # Errors
    ///
    /// [`StartError`], when it is inside none.
    fn inside() -> Result<Self::Backend, StartError>;
}

/// The threads that an [`Executor`] is asked for.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Threads {
    /// Worker threads beside the calling one: `Some(0)` runs everything on the calling thread,
    /// `None` is the executor's own default.
    pub workers: Option<usize>,
    /// The most threads for blocking jobs; `None` is the executor's own default.
    pub blocking: Option<usize>,
    /// To be called first on each thread that the executor starts, where it can.
    pub on_start: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads")
            .field("workers", &self.workers)
            .field("blocking", &self.blocking)
            .finish_non_exhaustive()
    }
}
