//! The service manager: sd_notify(3).

use std::ffi::{OsStr, OsString};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Says that the start is over.
pub(crate) const READY: &str = "READY=1";
/// Says that the stop has begun.
pub(crate) const STOPPING: &str = "STOPPING=1";

/// The service manager, if there is one.
#[derive(Default)]
pub(crate) struct Manager {
    /// `NOTIFY_SOCKET`, as it was when something was told first.
    socket: OnceLock<Option<OsString>>,
    /// Held while something is told: what is not true any more by then is not said after what has come
    /// of it. Nothing waits under it.
    turn: Mutex<()>,
}

impl Manager {
    /// Tells it `state`, if that is `still` so. Where its queue is full for now, `later` is called: it
    /// has to be told again.
    pub(crate) fn tell(&self, state: &str, still: impl FnOnce() -> bool, later: impl FnOnce()) {
        let socket = self.socket.get_or_init(|| std::env::var_os("NOTIFY_SOCKET"));
        let Some(socket) = socket else { return };
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if still() && !send(socket, state) {
            later();
        }
    }

    #[cfg(all(test, target_os = "linux", not(loom)))] // where there is a test
    pub(crate) fn set_socket(&self, socket: OsString) {
        self.socket.set(Some(socket)).expect("nothing was told yet");
    }
}

/// Returns false where its queue is full for now.
#[cfg(target_os = "linux")]
fn send(socket: &OsStr, state: &str) -> bool {
    use std::io::ErrorKind;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let address = match socket.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(socket),
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
fn send(_: &OsStr, _: &str) -> bool {
    true
}
