//! Readiness: whether the program's start is over and its stop has not begun.

use crate::contract::error::NoScope;
use crate::track::context;

/// Says that the program's start is over: readiness is true until it is asked to stop.
///
/// Where a service manager gave a socket in `NOTIFY_SOCKET`, it is told `READY=1`
/// (sd_notify(3)); at the stop, `STOPPING=1`. Where it cannot take that at once, it is told again
/// until it has, and this does not wait. Calling it again changes nothing.
///
/// # Panics
///
/// Outside of a program; [`Scope::try_current`](crate::Scope::try_current) asks first.
#[track_caller]
pub fn ready() {
    match context::scope() {
        Some(node) => node.above.ready(),
        None => panic!("{NoScope}"),
    }
}

/// Returns whether [`ready`] was called and no stop has been requested since: what a readiness
/// endpoint answers. False outside of a program.
pub fn is_ready() -> bool {
    context::scope().is_some_and(|node| node.above.is_ready())
}

/// Tells the service manager, where there is one. Returns false where its queue is full for now: then
/// it has to be told again.
pub(crate) fn notify(state: &str) -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::io::ErrorKind;
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::net::{SocketAddr, UnixDatagram};

        let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return true };
        let address = match path.as_bytes().split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(&path),
        };
        let sent = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?; // a manager that does not read must not hold us up
            socket.send_to_addr(state.as_bytes(), &address)
        });
        // Best effort else, as sd_notify(3) recommends.
        sent.map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |_| true)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = state;
        true
    }
}
