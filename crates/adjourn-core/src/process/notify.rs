//! The service manager: sd_notify(3).

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
