//! Listeners that are bound here.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, sockopt};

/// Binds a listener, which does not block.
///
/// While a program is restarted nobody has the address: what connects meanwhile is refused. For a
/// restart that nobody sees let the listener outlive the program: [`Inherited`](crate::Inherited), or a
/// handover.
///
/// # Errors
///
/// The system's, with the address and, where it is in use, with what to do.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| cannot_bind(address, &error))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Binds a listener at an address that others who do the same may have too (`SO_REUSEPORT`, socket(7)).
/// It does not block.
///
/// With this a new program can listen before the old one has stopped, without anything that is handed
/// over. But each listener has a queue of its own. When one is closed, the system resets the connections
/// that are in its queue or were half open, so a restart under load loses some. On Linux 5.14 and later
/// `sysctl net.ipv4.tcp_migrate_req=1` gives them to the others' queues, and nothing is lost.
///
/// # Errors
///
/// The system's, with the address. Every program that listens there must have asked for this, as the
/// same user.
pub fn reuse_port(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = || -> rustix::io::Result<OwnedFd> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, 4096)?; // the system lowers it to its own limit
        Ok(socket)
    };
    let socket = listener().map_err(|error| cannot_bind(address, &error.into()))?;
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn cannot_bind(address: SocketAddr, error: &io::Error) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            ": another program listens there. End it, choose another address, or take its listener \
             over (a handover, or LISTEN_FDS)"
        }
        io::ErrorKind::PermissionDenied => {
            ": ports below 1024 need CAP_NET_BIND_SERVICE, or a listener that a service manager passes"
        }
        io::ErrorKind::AddrNotAvailable => ": no interface of this machine has that address",
        _ => "",
    };
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_says_what_to_do() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(text.contains(&address.to_string()) && text.contains("a handover"), "{text}");
        assert!(reuse_port(address).is_err(), "the first one has not asked for it");
    }

    #[test]
    fn a_port_is_shared_by_those_who_ask() {
        let first = reuse_port("127.0.0.1:0".parse().unwrap()).unwrap();
        let second = reuse_port(first.local_addr().unwrap()).unwrap();
        assert_eq!(first.local_addr().unwrap(), second.local_addr().unwrap());
    }
}
