//! Adjourn's adapters, in every configuration, by the conformance kit.
//!
//! A configuration is a module.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adjourn_conformance::{Attached, CountingAllocator};
use adjourn_core::rt::{AnyBackend, Backend, BlockOn, Spawner, Timer};
use adjourn_smol::{Smol, SmolHandle};
use adjourn_tokio::Tokio;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// A Tokio runtime that somebody else built.
struct TokioRuntime(Option<tokio::runtime::Runtime>);

impl TokioRuntime {
    fn runtime(&self) -> &tokio::runtime::Runtime {
        self.0.as_ref().expect("it is there until the drop")
    }
}

impl BlockOn for TokioRuntime {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime().block_on(future)
    }
}

impl Attached for TokioRuntime {
    type Backend = Tokio;

    fn start() -> TokioRuntime {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        TokioRuntime(Some(builder.worker_threads(2).enable_all().build().expect("a runtime")))
    }

    fn backend(&self) -> Tokio {
        Tokio::from(self.runtime().handle().clone())
    }
}

impl Drop for TokioRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background(); // what is stuck is left
        }
    }
}

/// A smol executor that somebody else runs, on the calling thread.
struct SmolExecutor(Arc<async_executor::Executor<'static>>);

impl BlockOn for SmolExecutor {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        async_io::block_on(self.0.run(future))
    }
}

impl Attached for SmolExecutor {
    type Backend = Smol;

    fn start() -> SmolExecutor {
        SmolExecutor(Arc::new(async_executor::Executor::new()))
    }

    fn backend(&self) -> Smol {
        Smol::from(&self.0)
    }
}

/// The same, of which no job can be asked.
struct WithoutPool(SmolExecutor);

#[derive(Clone)]
struct Poolless(Smol);

impl BlockOn for WithoutPool {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

impl Attached for WithoutPool {
    type Backend = Poolless;

    fn start() -> WithoutPool {
        WithoutPool(SmolExecutor::start())
    }

    fn backend(&self) -> Poolless {
        Poolless(self.0.backend())
    }
}

impl Spawner for Poolless {
    type Handle<T: Send> = SmolHandle<T>;

    fn spawn<F>(&self, future: F) -> SmolHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn(future)
    }
}

impl Timer for Poolless {
    type Sleep = adjourn_smol::Sleep;

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn sleep(&self, span: Duration) -> adjourn_smol::Sleep {
        self.0.sleep(span)
    }
}

impl Backend for Poolless {
    fn erase(&self) -> AnyBackend {
        AnyBackend::new("poolless", self.clone())
    }
}

macro_rules! configurations {
    ($($name:ident { $($call:tt)* } except { $($exceptions:tt)* })*) => {
        $(mod $name {
            adjourn_conformance::conformance! {
                $($call)*, except { $($exceptions)* }
            }
        })*
    };
}

configurations! {
    tokio_current_thread {
        adjourn_tokio::TokioExecutor, workers: 0, allocations: counted
    } except {}
    tokio_1_worker {
        adjourn_tokio::TokioExecutor, workers: 1, allocations: counted
    } except {}
    tokio_n_workers {
        adjourn_tokio::TokioExecutor, workers: 3, allocations: counted
    } except {}
    tokio_attached { attached: super::TokioRuntime, allocations: counted } except {}
    smol_current_thread {
        adjourn_smol::SmolExecutor, workers: 0, allocations: counted
    } except {}
    smol_1_worker {
        adjourn_smol::SmolExecutor, workers: 1, allocations: counted
    } except {}
    smol_n_workers {
        adjourn_smol::SmolExecutor, workers: 3, allocations: counted
    } except {}
    smol_attached { attached: super::SmolExecutor, allocations: counted } except {}
    async_std { adjourn_async_std::AsyncStdExecutor, allocations: counted } except {
        drop_drops_futures: "its executor is the process's and never ends",
        handles_resolve_to_executor_gone: "its executor is the process's and never ends",
        spawn_after_the_end_refused: "its executor is the process's and never ends",
        on_start_called_first: "its threads are the process's, and start with the first task",
    }
    sim { adjourn_sim::SimExecutor, workers: 0, allocations: counted } except {
        running_job_reported: "a job takes the only thread, and the clock stands still meanwhile",
        stuck_job_does_not_outlast_the_deadline: "a job takes the only thread, and the clock stands still meanwhile",
        job_leaves_the_executor_free: "a job takes the only thread, and the clock stands still meanwhile",
        shutdown_keeps_its_time: "a job takes the only thread, and the clock stands still meanwhile",
        worker_count_is_kept: "it takes any number, and has the calling thread alone",
        stuck_worker_and_the_deadline_still_fires:
            "no thread keeps a deadline beside the one that is stuck",
        sigterm_and_sigint_stop: "no signal of the system's reaches it",
        a_burst_is_one_request: "no signal of the system's reaches it",
        two_thousand_sigusr1_then_sigterm_not_lost: "no signal of the system's reaches it",
        second_sigint_with_wedged_workers: "no signal of the system's reaches it",
        exit_codes: "no signal of the system's reaches it",
        a_second_listener_coexists: "no signal of the system's reaches it",
        handler_before_the_first_poll: "no signal of the system's reaches it",
        forbidden_signal_is_an_err: "no signal of the system's reaches it",
        run_twice: "no signal of the system's reaches it",
        nohups_ignored_sighup_stays_ignored: "no signal of the system's reaches it",
        stopped_process_ends_cleanly: "no signal of the system's reaches it",
    }
    without_a_pool {
        attached: super::WithoutPool, no_blocking_pool: "that is what is tested"
    } except {}
}
