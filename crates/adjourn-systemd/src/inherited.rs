//! Sockets that the manager opened: sd_listen_fds(3).

use std::env;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::sys;

/// The first descriptor that is passed (sd_listen_fds(3)).
const FIRST: i32 = 3;

/// The sockets that a service manager passed to this program: systemd's socket activation
/// (sd_listen_fds(3), systemd.socket(5); `LISTEN_FDS`, `LISTEN_FDNAMES` and `LISTEN_PID`). Unix.
///
/// The manager keeps them too, so they are never closed: at a restart connections wait in the queue until
/// the new program takes them. So at the stop leave what is in the queue for that one, and never shut such
/// a socket down. The server of `adjourn-hyper` is told so with `shared(true)`.
///
/// Take them in the first lines of `fn main`, before `run` and before anything is opened: a thread or a
/// child that is started before may come to have the descriptors too. The variables stay set, since no
/// thread may change them. A child sees by `LISTEN_PID` that they are not meant for it; where it calls
/// `take` itself that is an error, so remove the three variables from its environment.
///
/// # Examples
///
/// ```no_run
/// use adjourn_systemd::Inherited;
///
/// # fn main() -> std::io::Result<()> {
/// let mut sockets = Inherited::take()?;
/// // `ListenStream=` and `ListenDatagram=`, each with its `FileDescriptorName=`. None do not block.
/// let http = sockets.tcp("http")?.ok_or(std::io::ErrorKind::NotFound)?;
/// let dns = sockets.udp("dns")?.ok_or(std::io::ErrorKind::NotFound)?;
/// # drop((http, dns));
/// # Ok(())
/// # }
/// ```
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
    /// - The variables do not add up or are no text, or a descriptor is not open or was opened by this
    ///   process.
    /// - `LISTEN_PID` names another process: the sockets were meant for the parent, a shell most often.
    ///   Let it `exec` this program.
    /// - They were taken before, or the caller is part of a program that runs already.
    pub fn take() -> io::Result<Inherited> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let var = |name| match env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(error) => Err(wrong(format!("{name}: {error}"))),
        };
        let names = var("LISTEN_FDNAMES")?;
        let passed = Passed::read(var("LISTEN_FDS")?, var("LISTEN_PID")?, names, process::id())?;
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

    /// Returns the names of those that are there (`FileDescriptorName=` in systemd.socket(5)), in the
    /// manager's order. One without a name is called `unknown`, as by sd_listen_fds_with_names(3).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sockets.iter().map(|(name, _)| name.as_str())
    }

    /// Takes out the first TCP listener of this name (`ListenStream=`); `None` if there is none of the
    /// name. It does not block.
    ///
    /// # Errors
    ///
    /// What has the name is no listener, or none of TCP. It is closed.
    pub fn tcp(&mut self, name: &str) -> io::Result<Option<TcpListener>> {
        let socket = self.remove(name, &INTERNET, SocketType::STREAM)?;
        let listener = socket.map(TcpListener::from);
        listener.as_ref().map_or(Ok(()), |listener| listener.set_nonblocking(true))?;
        Ok(listener)
    }

    /// Takes out the first listener of this name that is a Unix socket (`ListenStream=`); `None` if there
    /// is none of the name. It does not block.
    ///
    /// # Errors
    ///
    /// What has the name is no listener, or no Unix socket. It is closed.
    pub fn unix(&mut self, name: &str) -> io::Result<Option<UnixListener>> {
        let socket = self.remove(name, &[AddressFamily::UNIX], SocketType::STREAM)?;
        let listener = socket.map(UnixListener::from);
        listener.as_ref().map_or(Ok(()), |listener| listener.set_nonblocking(true))?;
        Ok(listener)
    }

    /// Takes out the first UDP socket of this name (`ListenDatagram=`); `None` if there is none of the
    /// name. It does not block.
    ///
    /// # Errors
    ///
    /// What has the name is no such socket. It is closed.
    pub fn udp(&mut self, name: &str) -> io::Result<Option<UdpSocket>> {
        let socket = self.remove(name, &INTERNET, SocketType::DGRAM)?.map(UdpSocket::from);
        socket.as_ref().map_or(Ok(()), |socket| socket.set_nonblocking(true))?;
        Ok(socket)
    }

    /// Takes out the first Unix socket for datagrams of this name (`ListenDatagram=`); `None` if there is
    /// none of the name. It does not block.
    ///
    /// # Errors
    ///
    /// What has the name is no such socket. It is closed.
    pub fn unix_datagram(&mut self, name: &str) -> io::Result<Option<UnixDatagram>> {
        let socket = self.remove(name, &[AddressFamily::UNIX], SocketType::DGRAM)?;
        let socket = socket.map(UnixDatagram::from);
        socket.as_ref().map_or(Ok(()), |socket| socket.set_nonblocking(true))?;
        Ok(socket)
    }

    /// Takes out the first of this name, whatever it is: a pipe (`ListenFIFO=`), a connection
    /// (`Accept=yes`), or what was kept with `FDSTORE=1` (sd_notify(3)).
    pub fn descriptor(&mut self, name: &str) -> Option<OwnedFd> {
        let index = self.sockets.iter().position(|(own, _)| own == name)?;
        Some(self.sockets.remove(index).1)
    }

    fn remove(
        &mut self,
        name: &str,
        families: &[AddressFamily],
        kind: SocketType,
    ) -> io::Result<Option<OwnedFd>> {
        let Some(socket) = self.descriptor(name) else { return Ok(None) };
        check(&socket, name, families, kind)?;
        Ok(Some(socket))
    }
}

/// Sockets that came in another way, such as a handover: taken out with the same checks.
impl FromIterator<(String, OwnedFd)> for Inherited {
    fn from_iter<I: IntoIterator<Item = (String, OwnedFd)>>(sockets: I) -> Inherited {
        Inherited { sockets: sockets.into_iter().collect() }
    }
}

const INTERNET: [AddressFamily; 2] = [AddressFamily::INET, AddressFamily::INET6];

/// Whether it is a socket of this kind and one of these families, and listens if it is a stream.
fn check(
    socket: &OwnedFd,
    name: &str,
    families: &[AddressFamily],
    kind: SocketType,
) -> io::Result<()> {
    let not = |what: &str| wrong(format!("the socket {name:?} that was passed is {what}"));
    let Ok(address) = rustix::net::getsockname(socket) else { return Err(not("no socket")) };
    if !families.contains(&address.address_family()) {
        return Err(not("of another family: Internet and Unix sockets were mixed up"));
    }
    let stream = kind == SocketType::STREAM;
    if sockopt::socket_type(socket.as_fd())? != kind {
        return Err(not(if stream {
            "of another type: a listener is a stream (`ListenStream=`)"
        } else {
            "of another type: datagrams were expected (`ListenDatagram=`)"
        }));
    }
    #[cfg(target_os = "linux")]
    if stream && !sockopt::socket_acceptconn(socket)? {
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
            Some(names) if names.is_empty() && count == 0 => Vec::new(),
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
        assert_eq!(read("0", "7", "").unwrap(), [""; 0]);
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

    fn of(socket: impl Into<OwnedFd>) -> Inherited {
        Inherited::from_iter([("http".to_owned(), socket.into())])
    }

    #[test]
    fn each_is_taken_out_once_by_its_name_in_order() {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = [bind(), bind(), bind()];
        let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let names = ["http", "admin", "http"].map(str::to_owned);
        let mut sockets: Inherited = names.into_iter().zip(listeners.map(OwnedFd::from)).collect();
        assert_eq!(sockets.names().collect::<Vec<_>>(), ["http", "admin", "http"]);
        assert!(sockets.tcp("other").unwrap().is_none());
        let mut at = |name| sockets.tcp(name).unwrap().map(|own| own.local_addr().unwrap());
        assert_eq!(at("http"), Some(addresses[0]));
        assert_eq!(at("http"), Some(addresses[2]));
        assert_eq!(at("http"), None);
        assert_eq!(at("admin"), Some(addresses[1]));
    }

    #[test]
    fn each_kind_comes_out_as_what_it_is_and_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        let blocks = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let tcp =
            of(TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap())
                .tcp("http");
        blocks(tcp.unwrap().unwrap().accept().unwrap_err());
        let unix = of(UnixListener::bind(path("stream")).unwrap()).unix("http");
        blocks(unix.unwrap().unwrap().accept().unwrap_err());
        let udp = of(UdpSocket::bind("127.0.0.1:0").unwrap()).udp("http");
        blocks(udp.unwrap().unwrap().recv(&mut [0]).unwrap_err());
        let datagram = of(UnixDatagram::bind(path("datagram")).unwrap()).unix_datagram("http");
        blocks(datagram.unwrap().unwrap().recv(&mut [0]).unwrap_err());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(of(file).descriptor("http").is_some());
    }

    #[test]
    fn what_is_something_else_is_told_apart() {
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let pair = || UnixDatagram::pair().unwrap().0;
        let says = |error: io::Error, part: &str| {
            let text = error.to_string();
            assert!(text.contains(part) && text.contains("\"http\""), "{text}");
        };
        let first = listener();
        let connection = std::net::TcpStream::connect(first.local_addr().unwrap()).unwrap();
        #[cfg(target_os = "linux")]
        says(of(connection).tcp("http").unwrap_err(), "no listener");
        says(of(udp()).tcp("http").unwrap_err(), "a listener is a stream");
        says(of(pair()).tcp("http").unwrap_err(), "of another family");
        says(of(listener()).unix("http").unwrap_err(), "of another family");
        says(of(pair()).unix("http").unwrap_err(), "a listener is a stream");
        says(of(listener()).udp("http").unwrap_err(), "ListenDatagram=");
        says(of(pair()).udp("http").unwrap_err(), "of another family");
        says(of(udp()).unix_datagram("http").unwrap_err(), "of another family");
        let stream = std::os::unix::net::UnixStream::pair().unwrap().0;
        says(of(stream).unix_datagram("http").unwrap_err(), "ListenDatagram=");
        let file = std::fs::File::open("/dev/null").unwrap();
        says(of(file).tcp("http").unwrap_err(), "no socket");
    }
}
