//! Hooks: what a program runs at its stop and its end.

use std::future::Future;
use std::pin::Pin;

use crate::contract::error::{Place, drop_quietly, error_chain};
use crate::contract::main_output::Never;

/// A hook's future, with its output as the report wants it.
#[doc(hidden)]
pub(crate) type HookFuture = Pin<Box<dyn Future<Output = Result<(), Vec<String>>> + Send>>;

/// What starts a hook.
#[doc(hidden)]
pub(crate) type Start = Box<dyn FnOnce() -> HookFuture + Send>;

/// A hook that was registered, and where.
pub(crate) struct Hook {
    pub(crate) place: Place,
    start: Option<Start>,
}

impl Hook {
    pub(crate) fn new<M>(hook: impl IntoHook<M>, place: Place) -> Hook {
        Hook { place, start: Some(hook.into_hook()) }
    }

    /// Calls the closure, if it is one, and returns the future of the rest.
    pub(crate) fn start(mut self) -> HookFuture {
        match self.start.take() {
            Some(start) => start(),
            None => Box::pin(std::future::ready(Ok(()))),
        }
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        // Never run: what it captured is the user's, and its destructors may panic.
        drop_quietly(self.start.take());
    }
}

/// What can be a hook: a closure, an async closure, or a future.
///
/// Its output is `()` or a `Result<(), E>`; an error is recorded and skips no later hook.
#[diagnostic::on_unimplemented(
    message = "this is no hook",
    label = "a hook is a future, a closure or an async closure, and returns `()` or a `Result<(), E>`",
    note = "it is `Send` and `'static`: an `async move` block, and `Arc` in place of `Rc`",
    note = "an error has to convert into `Box<dyn Error + Send + Sync>`"
)]
pub trait IntoHook<Marker>: sealed::Sealed<Marker> {
    #[doc(hidden)]
    fn into_hook(self) -> Start;
}

/// What a hook may return: `()`, or a `Result` of it with an error.
pub trait HookOutput: sealed::Output {
    #[doc(hidden)]
    fn into_result(self) -> Result<(), Vec<String>>;
}

impl HookOutput for () {
    fn into_result(self) -> Result<(), Vec<String>> {
        Ok(())
    }
}

impl HookOutput for Never {
    fn into_result(self) -> Result<(), Vec<String>> {
        self
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> HookOutput for Result<(), E> {
    fn into_result(self) -> Result<(), Vec<String>> {
        self.map_err(|error| error_chain(&*error.into()).0)
    }
}

/// Markers that tell the three kinds of hook apart for the compiler.
mod sealed {
    pub trait Sealed<Marker> {}
    pub trait Output {}
    impl Output for () {}
    impl Output for super::Never {}
    impl<E> Output for Result<(), E> {}

    #[derive(Debug)]
    pub struct Closure;
    #[derive(Debug)]
    pub struct AsyncClosure;
    #[derive(Debug)]
    pub struct Value;
}

impl<F, R> sealed::Sealed<(sealed::Closure, R)> for F where F: FnOnce() -> R {}
impl<F, R> IntoHook<(sealed::Closure, R)> for F
where
    F: FnOnce() -> R + Send + 'static,
    R: HookOutput,
{
    fn into_hook(self) -> Start {
        Box::new(|| {
            let result = self().into_result();
            Box::pin(std::future::ready(result))
        })
    }
}

impl<F, Fut> sealed::Sealed<(sealed::AsyncClosure, Fut)> for F where F: FnOnce() -> Fut {}
impl<F, Fut> IntoHook<(sealed::AsyncClosure, Fut)> for F
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: HookOutput,
{
    fn into_hook(self) -> Start {
        Box::new(|| {
            let future = self();
            Box::pin(async move { future.await.into_result() })
        })
    }
}

impl<F: Future> sealed::Sealed<sealed::Value> for F {}
impl<F> IntoHook<sealed::Value> for F
where
    F: Future + Send + 'static,
    F::Output: HookOutput,
{
    fn into_hook(self) -> Start {
        Box::new(|| Box::pin(async move { self.await.into_result() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_is_never_run_is_dropped_quietly() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("a destructor");
            }
        }
        let bomb = Bomb;
        drop(Hook::new(move || _ = &bomb, std::panic::Location::caller()));
        drop(Hook::new(std::future::ready(()), std::panic::Location::caller()));
    }
}
