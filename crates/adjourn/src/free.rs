//! The free functions that spawn, on the backends of the features by their own types.

use std::future::Future;

use adjourn_core::rt::{AnyBackend, AnyHandle, Spawner};
use adjourn_core::{Dispatch, JoinHandle, StopToken};

/// The backends of the features. Handles of Tokio and smol are kept in place, those of async-std in a box.
enum Backends {}

impl Dispatch for Backends {
    #[inline(always)]
    fn spawn_on<F, R>(
        any: &AnyBackend,
        future: F,
        then: impl FnOnce(AnyHandle<F::Output>) -> R,
    ) -> R
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        #[cfg(feature = "tokio")]
        if let Some(tokio) = any.downcast_ref::<adjourn_tokio::Tokio>() {
            return then(AnyHandle::own(tokio.spawn(future)));
        }
        #[cfg(feature = "tokio")]
        if let Some(local) = any.downcast_ref::<adjourn_tokio::TokioLocal>() {
            return then(AnyHandle::own(local.spawn(future)));
        }
        #[cfg(feature = "smol")]
        if let Some(smol) = any.downcast_ref::<adjourn_smol::Smol>() {
            return then(AnyHandle::own(smol.spawn(future)));
        }
        #[cfg(feature = "async-std")]
        if let Some(async_std) = any.downcast_ref::<adjourn_async_std::AsyncStd>() {
            return then(AnyHandle::own(async_std.spawn(future)));
        }
        then(any.spawn(future))
    }
}

/// Spawns a plain task into the current scope: dropped at its next yield once the scope is
/// cancelling. From its first ask about the stop on it is graceful:
/// [who asks](StopToken#who-asks-is-graceful).
///
/// The output, an `Err` too, is the handle's; [`or_stop`](crate::ResultFutureExt::or_stop) makes a
/// failure stop the program.
///
/// On Tokio and smol it costs no allocation beside the executor's own, on async-std one, whose handle is larger. One of
/// a [`task`](crate::task) with a name does.
///
/// # Panics
///
/// Outside of a program; [`Scope::try_current`](crate::Scope::try_current) asks first.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Backends::spawn(future)
}

/// Spawns a graceful task into the current scope: told at draining through its token, cancelled at
/// the drain limit.
///
/// A task of [`spawn`] comes to be graceful when it first asks about the stop. This one is so from the
/// start: it is told, though the stop comes before its first poll.
///
/// # Panics
///
/// Outside of a program; [`Scope::try_current`](crate::Scope::try_current) asks first.
#[track_caller]
pub fn spawn_graceful<F, Fut>(task: F) -> JoinHandle<Fut::Output>
where
    F: FnOnce(StopToken) -> Fut,
    Fut: Future + Send + 'static,
    Fut::Output: Send + 'static,
{
    Backends::spawn_graceful(task)
}

/// Spawns a shielded task into the current scope: eager, independent of its caller, never
/// cancelled; the program waits for it until the cut-off.
///
/// # Panics
///
/// Outside of a program; [`Scope::try_current`](crate::Scope::try_current) asks first.
#[track_caller]
pub fn spawn_shielded<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Backends::spawn_shielded(future)
}
