//! The macro that makes the tests.

/// Makes a test of each scenario, for one adapter in one configuration.
///
/// Called in a test file, once in a module; several configurations have a module each. A test is
/// named for its topic and scenario: `tasks::drop_is_detach`.
///
/// ```no_run
/// # mod doc {
/// # use adjourn_core::rt::{AnyBackend, Backend, BlockOn, Executor, Shutdown, Threads, Unfinished};
/// # use adjourn_core::StartError;
/// # type MyBackend = AnyBackend;
/// # pub struct MyExecutor;
/// # impl BlockOn for MyExecutor { fn block_on<F: Future>(&self, _: F) -> F::Output { loop {} } }
/// # impl Shutdown for MyExecutor {
/// #     async fn shutdown(self, _: std::time::Duration) -> Result<(), Unfinished> { Ok(()) }
/// # }
/// # impl Executor for MyExecutor {
/// #     type Backend = MyBackend;
/// #     const NAME: &'static str = "mine";
/// #     fn build(_: &Threads) -> Result<MyExecutor, StartError> { Ok(MyExecutor) }
/// #     fn backend(&self) -> MyBackend { loop {} }
/// # }
/// #[global_allocator]
/// static ALLOCATOR: adjourn_conformance::CountingAllocator = adjourn_conformance::CountingAllocator;
///
/// mod one_thread {
///     adjourn_conformance::conformance! { super::MyExecutor, workers: 0, allocations: counted }
/// }
///
/// mod workers {
///     adjourn_conformance::conformance! {
///         super::MyExecutor, workers: 4, except {
///             re_poll_after_ready: "its timers are fused by hand",
///         }
///     }
/// }
/// # }
/// # fn main() {}
/// ```
///
/// What may follow the executor's type, in this order:
///
/// | | |
/// |---|---|
/// | `workers: 0` | worker threads beside the calling one. Default: the executor's own number |
/// | `no_blocking_pool: "why"` | the backend has none: it need not be `SpawnBlocking`, and the scenarios about jobs are exceptions |
/// | `allocations: counted` | the test binary declares [`CountingAllocator`](crate::CountingAllocator). Without it the two scenarios about allocations are exceptions |
/// | `except { scenario: "why", .. }` | scenarios that this backend cannot meet |
///
/// A backend that programs attach to is given as `attached: MyHarness`, a type that implements
/// [`Attached`](crate::Attached), in place of the executor's type; it takes no `workers`, and the
/// scenarios about the number and the start of threads are exceptions.
///
/// # What comes first
///
/// Each test first runs the four scenarios of the topic `first`, once for all tests of a process. Where
/// one of them fails, the test says so, and which clause of the contract it is.
///
/// # Exceptions
///
/// An exception's test is there but ignored, with its reason in the test's output. `--include-ignored`
/// runs it all the same: one that passes then is no exception any more. A name that is no scenario's
/// does not compile.
///
/// # Processes
///
/// Scenarios about signals and exits start the test binary anew, for one test alone: they need
/// libtest, which is `cargo test`'s default, or nextest. They are ignored on other systems than
/// Unix, and so is `executor_end::stuck_worker_and_the_deadline_still_fires`.
#[macro_export]
macro_rules! conformance {
    (
        attached: $harness:ty
        $(, no_blocking_pool: $no_pool:literal)?
        $(, allocations: $counted:ident)?
        $(, except { $($scenario:ident: $why:literal),* $(,)? })?
        $(,)?
    ) => {
        fn adjourn_conformance_subject() -> $crate::Subject {
            $crate::__subject!(attached attached_without_pool $harness; $($no_pool)?)
        }
        $crate::__conformance! {
            ($) [$($no_pool)?] [$($counted)?] [
                $($($scenario: $why,)*)?
                worker_count_is_kept: "its threads are its own",
                on_start_called_first: "its threads are its own",
            ]
        }
    };
    (
        $executor:ty
        $(, workers: $workers:expr)?
        $(, no_blocking_pool: $no_pool:literal)?
        $(, allocations: $counted:ident)?
        $(, except { $($scenario:ident: $why:literal),* $(,)? })?
        $(,)?
    ) => {
        fn adjourn_conformance_subject() -> $crate::Subject {
            let subject = $crate::__subject!(owned owned_without_pool $executor; $($no_pool)?);
            $(let subject = subject.workers($workers);)?
            subject
        }
        $crate::__conformance! {
            ($) [$($no_pool)?] [$($counted)?] [$($($scenario: $why,)*)?]
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __subject {
    ($with:ident $without:ident $of:ty;) => {
        $crate::Subject::$with::<$of>()
    };
    ($with:ident $without:ident $of:ty; $no_pool:literal) => {
        $crate::Subject::$without::<$of>()
    };
}

/// Defines which scenarios are exceptions, then makes the tests.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance {
    ($d:tt [$($no_pool:literal)?] [] [$($exceptions:tt)*]) => {
        $crate::__conformance! {
            $d [$($no_pool)?] [counted] [
                $($exceptions)*
                allocations_equal_bare:
                    "needs `allocations: counted` and adjourn_conformance::CountingAllocator as \
                     the #[global_allocator]",
                erased_spawn_is_bare_plus_1:
                    "needs `allocations: counted` and adjourn_conformance::CountingAllocator as \
                     the #[global_allocator]",
            ]
        }
    };
    (($d:tt) [$($no_pool:literal)?] [counted] [$($scenario:ident: $why:literal,)*]) => {
        #[allow(unused_imports)]
        mod adjourn_conformance_exceptions {
            // A name that is no scenario's is an error here.
            $(use $crate::names::$scenario as _;)*
        }

        macro_rules! adjourn_conformance_test {
            $(($d topic:ident $scenario) => {
                $crate::__test! { [#[ignore = $why]] $d topic $scenario }
            };)*
            $((blocking $d name:ident) => {
                $crate::__test! { [#[ignore = $no_pool]] blocking $d name }
            };)?
            (processes $d name:ident) => {
                $crate::__test! {
                    [#[cfg_attr(not(unix), ignore = "about signals, which are not there")]]
                    processes $d name
                }
            };
            (executor_end stuck_worker_and_the_deadline_still_fires) => {
                $crate::__test! {
                    [#[cfg_attr(not(unix), ignore = "about signals, which are not there")]]
                    executor_end stuck_worker_and_the_deadline_still_fires
                }
            };
            ($d topic:ident $d name:ident) => {
                $crate::__test! { [] $d topic $d name }
            };
        }

        $crate::__scenarios! { [$crate::__tests] (adjourn_conformance_test) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    (($test:ident) $($topic:ident { $($name:ident: $rule:literal;)* })*) => {
        $(mod $topic {
            $($test! { $topic $name })*
        })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __test {
    ([$($attribute:tt)*] $topic:ident $name:ident) => {
        #[test]
        $($attribute)*
        fn $name() {
            $crate::__run(
                stringify!($topic),
                stringify!($name),
                super::adjourn_conformance_subject,
                concat!(module_path!(), "::", stringify!($name)),
            );
        }
    };
}
