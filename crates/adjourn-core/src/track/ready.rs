//! Readiness: whether the program's start is over and its stop has not begun.

use crate::contract::error::NoScope;
use crate::track::context;

/// Says that the program's start is over: readiness is true until it is asked to stop.
///
/// Where a service manager gave a socket in `NOTIFY_SOCKET`, it is told `READY=1`
/// (sd_notify(3)); at the stop, `STOPPING=1`. Where it cannot take that at once, it is told again
/// until it has, and this does not wait; a `READY=1` that has not been taken at the stop is left out.
/// Calling it again changes nothing.
///
/// # Panics
///
/// Outside of a program; [`Scope::try_current`](crate::Scope::try_current) asks first.
#[track_caller]
pub fn ready() {
    match context::scope() {
        Some(node) => node.above().ready(),
        None => panic!("{NoScope}"),
    }
}

/// Returns whether [`ready`] was called and no stop has been requested since: what a readiness
/// endpoint answers. False outside of a program.
pub fn is_ready() -> bool {
    context::scope().is_some_and(|node| node.above().is_ready())
}
