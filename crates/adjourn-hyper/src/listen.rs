//! Listeners: bound here, or inherited from whoever started this program.

use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::sys;

/// The first descriptor that is passed (sd_listen_fds(3)).
const FIRST: i32 = 3;

/// Binds a listener, which does not block.
///
/// While a program is restarted nobody has the address: what connects meanwhile is refused. For a
/// restart that nobody sees let the listener outlive the program: [`Inherited`], or a handover.
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

/// The listeners that a service manager passed to this program: systemd's socket activation
/// (sd_listen_fds(3); `LISTEN_FDS`, `LISTEN_FDNAMES` and `LISTEN_PID`).
///
/// The manager keeps them too, so they are never closed: at a restart connections wait in the queue until
/// the new program takes them. Tell the server so: [`Server::shared`](crate::Server::shared).
///
/// Take them in the first lines of `fn main`, before `run`: a thread or a child that is started before
/// may come to have the descriptors too.
#[derive(Debug, Default)]
#[must_use = "what is not taken out is closed with it"]
pub struct Inherited {
    sockets: Vec<(String, OwnedFd)>,
}

impl Inherited {
    /// Takes what was passed to this process. Nothing, where no manager passed anything.
    ///
    /// # Errors
    ///
    /// - The variables do not add up, or a descriptor is not open.
    /// - `LISTEN_PID` names another process: the sockets were meant for the parent, a shell most often.
    ///   Let it `exec` this program.
    /// - They were taken before, or a program is running already.
    pub fn take() -> io::Result<Inherited> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let var = |name| env::var(name).ok();
        let names = var("LISTEN_FDNAMES");
        let passed = Passed::read(var("LISTEN_FDS"), var("LISTEN_PID"), names, process::id())?;
        if passed.names.is_empty() {
            return Ok(Inherited::default());
        }
        if adjourn_core::Scope::try_current().is_ok() {
            return Err(wrong(
                "take the inherited sockets before `run`, in the first lines of `main`",
            ));
        }
        if TAKEN.swap(true, SeqCst) {
            return Err(wrong("the inherited sockets were taken before"));
        }
        let mut sockets = Vec::new();
        for (name, descriptor) in passed.names.into_iter().zip(FIRST..) {
            let socket = sys::inherited(descriptor).map_err(|error| {
                wrong(format!("LISTEN_FDS says that descriptor {descriptor} is open: {error}"))
            })?;
            rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
            sockets.push((name, socket));
        }
        Ok(Inherited { sockets })
    }

    /// Returns the names of those that are there (`FileDescriptorName=` in systemd.socket(5)). One without
    /// a name is called `unknown`, as by sd_listen_fds_with_names(3).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sockets.iter().map(|(name, _)| name.as_str())
    }

    /// Takes out the first TCP listener of this name; `None` if there is none of the name. It does not
    /// block.
    ///
    /// # Errors
    ///
    /// What has the name is no listener, or none of TCP.
    pub fn tcp(&mut self, name: &str) -> io::Result<Option<TcpListener>> {
        let Some(socket) = self.remove(name) else { return Ok(None) };
        tcp_listener(socket, name).map(Some)
    }

    /// Takes out the first listener of this name that is a Unix socket; `None` if there is none of the
    /// name. It does not block.
    ///
    /// # Errors
    ///
    /// What has the name is no listener, or no Unix socket.
    pub fn unix(&mut self, name: &str) -> io::Result<Option<UnixListener>> {
        let Some(socket) = self.remove(name) else { return Ok(None) };
        check(&socket, name, &[AddressFamily::UNIX])?;
        let listener = UnixListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok(Some(listener))
    }

    fn remove(&mut self, name: &str) -> Option<OwnedFd> {
        let index = self.sockets.iter().position(|(own, _)| own == name)?;
        Some(self.sockets.remove(index).1)
    }
}

/// Makes a TCP listener of a socket that came from elsewhere.
pub(crate) fn tcp_listener(socket: OwnedFd, name: &str) -> io::Result<TcpListener> {
    check(&socket, name, &[AddressFamily::INET, AddressFamily::INET6])?;
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Whether it is a listener of one of these families.
fn check(socket: &OwnedFd, name: &str, families: &[AddressFamily]) -> io::Result<()> {
    let not = |what: &str| wrong(format!("the socket {name:?} that was passed is {what}"));
    let Ok(address) = rustix::net::getsockname(socket) else { return Err(not("no socket")) };
    if !families.contains(&address.address_family()) {
        return Err(not("of another family: TCP and Unix sockets were mixed up"));
    }
    if sockopt::socket_type(socket.as_fd())? != SocketType::STREAM {
        return Err(not("of another type: a listener is a stream (`ListenStream=`)"));
    }
    #[cfg(target_os = "linux")]
    if !sockopt::socket_acceptconn(socket)? {
        return Err(not("no listener, but a connection (`Accept=no` is needed)"));
    }
    Ok(())
}

/// What the variables say.
#[derive(Debug, PartialEq, Eq)]
struct Passed {
    /// A name for each descriptor.
    names: Vec<String>,
}

impl Passed {
    fn read(
        count: Option<String>,
        pid: Option<String>,
        names: Option<String>,
        own: u32,
    ) -> io::Result<Passed> {
        let Some(count) = count else {
            return match names {
                Some(_) => Err(wrong("LISTEN_FDNAMES is set and LISTEN_FDS is not")),
                None => Ok(Passed { names: Vec::new() }),
            };
        };
        let count: usize = match count.parse() {
            Ok(count) if count < 1024 => count,
            _ => {
                return Err(wrong(format!("LISTEN_FDS is {count:?}: it has to be a small number")));
            }
        };
        let Some(pid) = pid else {
            return Err(wrong(
                "LISTEN_FDS is set and LISTEN_PID is not: it has to be this process's id",
            ));
        };
        if pid.parse() != Ok(own) {
            return Err(wrong(format!(
                "LISTEN_PID is {pid:?} and this process is {own}: the sockets were passed to another \
                 one. Where that is a shell, let it start this program with `exec`"
            )));
        }
        let names = match names {
            Some(names) => names.split(':').map(str::to_owned).collect(),
            None => vec!["unknown".to_owned(); count],
        };
        if names.len() != count {
            let named = names.len();
            return Err(wrong(format!(
                "LISTEN_FDS is {count} and LISTEN_FDNAMES has {named} names"
            )));
        }
        Ok(Passed { names })
    }
}

fn wrong(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(count: &str, pid: &str, names: &str) -> Result<Vec<String>, String> {
        let set = |text: &str| Some(text.to_owned()).filter(|text| text != "-");
        let passed = Passed::read(set(count), set(pid), set(names), 7);
        passed.map(|passed| passed.names).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_that_add_up() {
        assert_eq!(read("-", "-", "-").unwrap(), [""; 0]);
        assert_eq!(read("0", "7", "-").unwrap(), [""; 0]);
        assert_eq!(read("2", "7", "-").unwrap(), ["unknown", "unknown"]);
        assert_eq!(read("2", "7", "http:admin").unwrap(), ["http", "admin"]);
    }

    #[test]
    fn variables_that_do_not() {
        let says = |text: &str, part: &str| assert!(text.contains(part), "{text}");
        says(&read("-", "-", "http").unwrap_err(), "LISTEN_FDS is not");
        says(&read("x", "7", "-").unwrap_err(), "a small number");
        says(&read("4096", "7", "-").unwrap_err(), "a small number");
        says(&read("1", "-", "-").unwrap_err(), "LISTEN_PID is not");
        says(&read("1", "8", "-").unwrap_err(), "this process is 7");
        says(&read("1", "x", "-").unwrap_err(), "this process is 7");
        says(&read("1", "7", "a:b").unwrap_err(), "has 2 names");
    }

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

    #[test]
    fn what_is_no_listener_is_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let says = |socket: OwnedFd, part: &str| {
            let text = tcp_listener(socket, "http").unwrap_err().to_string();
            assert!(text.contains(part) && text.contains("\"http\""), "{text}");
        };
        let connection = std::net::TcpStream::connect(address).unwrap();
        #[cfg(target_os = "linux")]
        says(connection.into(), "no listener");
        says(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into(), "of another type");
        says(std::os::unix::net::UnixStream::pair().unwrap().0.into(), "of another family");
        says(std::fs::File::open("/dev/null").unwrap().into(), "no socket");
        assert_eq!(tcp_listener(listener.into(), "http").unwrap().local_addr().unwrap(), address);
    }
}
