//! For the core's own tests: a program on a backend without an executor.

use std::future::{Future, Pending, Ready, pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::contract::error::ExecutorGone;
use crate::contract::inspect::Inspector;
use crate::contract::options::Options;
use crate::contract::rt::{AnyBackend, Spawner, Timer};
use crate::program::Program;
use crate::program::supervise::{Rules, Watch};

pub(crate) type Spawned = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Gives what it is to spawn to a function: to `drop`, mostly.
#[derive(Clone)]
pub(crate) struct Nowhere(pub(crate) fn(Spawned));

impl Spawner for Nowhere {
    type Handle<T: Send> = Ready<Result<T, ExecutorGone>>;

    fn spawn<F>(&self, future: F) -> Self::Handle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        (self.0)(Box::pin(async { drop(future.await) }));
        ready(Err(ExecutorGone))
    }
}

impl Timer for Nowhere {
    type Sleep = Pending<()>;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, _: Duration) -> Pending<()> {
        pending()
    }
}

/// A program; `hands_over` as with a handler for signals.
pub(crate) fn program(hands_over: bool) -> Arc<Program> {
    program_with(Options::default(), hands_over)
}

/// The same with other options.
pub(crate) fn program_with(options: Options, hands_over: bool) -> Arc<Program> {
    let limits = options.limits().unwrap();
    let watch = Arc::new(Watch::new(limits, Rules::new(&options, hands_over)));
    Program::new(
        AnyBackend::new("nowhere", Nowhere(drop)),
        options,
        limits,
        None,
        watch,
        Inspector::default(),
    )
}

#[cfg(not(loom))] // no model has a use for it
pub(crate) use poolless::Poolless;

#[cfg(not(loom))]
mod poolless {
    use super::*;
    use crate::contract::rt::SpawnBlocking;

    /// Has a blocking pool, which drops the jobs.
    #[derive(Clone)]
    pub(crate) struct Poolless;

    impl Spawner for Poolless {
        type Handle<T: Send> = Ready<Result<T, ExecutorGone>>;

        fn spawn<F>(&self, future: F) -> Self::Handle<F::Output>
        where
            F: Future + Send + 'static,
            F::Output: Send + 'static,
        {
            Nowhere(drop).spawn(future)
        }
    }

    impl Timer for Poolless {
        type Sleep = Pending<()>;

        fn now(&self) -> Instant {
            Nowhere(drop).now()
        }

        fn sleep(&self, span: Duration) -> Pending<()> {
            Nowhere(drop).sleep(span)
        }
    }

    impl SpawnBlocking for Poolless {
        fn spawn_blocking<F, T>(&self, _: F) -> Self::Handle<T>
        where
            F: FnOnce() -> T + Send + 'static,
            T: Send + 'static,
        {
            ready(Err(ExecutorGone))
        }
    }
}
