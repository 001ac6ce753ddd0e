//! The executors, bare: how a task is spawned on each, and how many are ended without a library.

use std::future::Future;
use std::sync::Arc;

use adjourn::rt::{Backend, Executor};
use adjourn::{Exit, Scope, Signal};
use adjourn_core::Runner;
use async_executor::Executor as AsyncExecutor;
use tokio::runtime::Handle;

/// An executor that is measured, without Adjourn.
pub trait Host: Clone + Send + Sync + 'static {
    /// What Adjourn spawns with on it.
    type Backend: Backend;
    /// The executor's own handle.
    type Handle: Future<Output: Send> + Send + Unpin + 'static;

    /// Spawns as the executor's own documentation does.
    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, future: F) -> Self::Handle;

    /// Ends all and waits for it, as is done without a library.
    fn end(handles: Vec<Self::Handle>) -> impl Future<Output = ()> + Send;

    /// Returns what Adjourn spawns with here.
    fn backend(&self) -> Self::Backend;
}

/// Which executor, with which threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Config {
    /// Tokio, everything on the calling thread.
    TokioCurrentThread,
    /// Tokio, a worker for each core.
    TokioMultiThread,
    /// smol's executor on the calling thread.
    Smol,
    /// async-std, a thread for each core.
    AsyncStd,
}

impl Config {
    /// All of them, in the order of the tables.
    pub const ALL: [Config; 4] =
        [Config::TokioCurrentThread, Config::TokioMultiThread, Config::Smol, Config::AsyncStd];

    /// Returns the configuration of this name.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn named(name: &str) -> Config {
        let found = Config::ALL.into_iter().find(|config| config.name() == name);
        found.expect("the name of a configuration")
    }

    /// Returns its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Config::TokioCurrentThread => "Tokio current-thread",
            Config::TokioMultiThread => "Tokio multi-thread",
            Config::Smol => "smol, one thread",
            Config::AsyncStd => "async-std",
        }
    }
}

/// A Tokio runtime.
#[derive(Clone, Debug)]
pub struct OnTokio(Handle);

/// A smol executor.
#[derive(Clone, Debug)]
pub struct OnSmol(Arc<AsyncExecutor<'static>>);

/// async-std's executor, which is one for the process.
#[derive(Clone, Copy, Debug)]
pub struct OnAsyncStd;

impl OnTokio {
    /// Returns the runtime of a handle.
    pub fn new(handle: &Handle) -> OnTokio {
        OnTokio(handle.clone())
    }

    /// Returns the runtime that the caller is inside.
    pub fn current() -> OnTokio {
        OnTokio::new(&Handle::current())
    }
}

impl OnSmol {
    /// Runs `measure` as the main of a program attached to a new executor, on this thread.
    pub fn run<R>(measure: impl AsyncFnOnce(OnSmol, Scope) -> R) -> R {
        let host = OnSmol(Arc::new(AsyncExecutor::new()));
        let backend = host.backend();
        let mut result = None;
        let main = async { result = Some(measure(host.clone(), Scope::current()).await) };
        let exit = adjourn::smol::Runner::new().attach_to(&backend, main);
        in_order(&async_io::block_on(host.0.run(exit)));
        result.expect("main returned")
    }
}

/// Runs `measure` as the main of a program that owns its executor.
pub fn run<E: Executor, R>(runner: Runner<E>, measure: impl AsyncFnOnce(Scope) -> R) -> R {
    let mut result = None;
    let exit = runner.signals([] as [Signal; 0]).run(async {
        result = Some(measure(Scope::current()).await);
    });
    in_order(&exit);
    result.expect("main returned")
}

/// # Panics
///
/// When the program did not end in order: its figures would be of something else.
pub fn in_order(exit: &Exit) {
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
}

impl Host for OnTokio {
    type Backend = adjourn::tokio::Tokio;
    type Handle = tokio::task::JoinHandle<()>;

    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, future: F) -> Self::Handle {
        self.0.spawn(future)
    }

    async fn end(handles: Vec<Self::Handle>) {
        handles.iter().for_each(|handle| handle.abort());
        for handle in handles {
            _ = handle.await;
        }
    }

    fn backend(&self) -> adjourn::tokio::Tokio {
        self.0.clone().into()
    }
}

impl Host for OnSmol {
    type Backend = adjourn::smol::Smol;
    type Handle = async_executor::Task<()>;

    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, future: F) -> Self::Handle {
        self.0.spawn(future)
    }

    async fn end(handles: Vec<Self::Handle>) {
        for handle in handles {
            _ = handle.cancel().await;
        }
    }

    fn backend(&self) -> adjourn::smol::Smol {
        (&self.0).into()
    }
}

impl Host for OnAsyncStd {
    type Backend = adjourn::async_std::AsyncStd;
    type Handle = async_std::task::JoinHandle<()>;

    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, future: F) -> Self::Handle {
        async_std::task::spawn(future)
    }

    async fn end(handles: Vec<Self::Handle>) {
        for handle in handles {
            _ = handle.cancel().await;
        }
    }

    fn backend(&self) -> adjourn::async_std::AsyncStd {
        adjourn::async_std::AsyncStd
    }
}
