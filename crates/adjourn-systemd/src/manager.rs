//! The service manager: sd_notify(3).

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use socket2::{Domain, SockAddr, Socket, Type};

/// The service manager that started this process. Nothing here waits, but for
/// [`barrier`](Manager::barrier).
#[derive(Clone, Debug)]
pub struct Manager {
    address: Address,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Path(OsString),
    Abstract(Vec<u8>),
    Vsock { kinds: &'static [Type], cid: u32, port: u32 },
}

impl Manager {
    /// The one that `NOTIFY_SOCKET` names, as sd_notify(3) says: an absolute path, `@` and a name, or
    /// `vsock:CID:PORT`. `None` where it names none, or in another way.
    pub fn from_env() -> Option<Manager> {
        let address = Address::parse(&env::var_os("NOTIFY_SOCKET")?)?;
        Some(Manager { address })
    }

    /// Tells it this: variables such as `STATUS=Running`, one a line.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](ErrorKind::WouldBlock) while its queue is full: nothing was told, try later. Others
    /// where it cannot be reached.
    pub fn send(&self, state: &str) -> io::Result<()> {
        match &self.address {
            Address::Vsock { kinds, cid, port } => send_vsock(kinds, *cid, *port, state.as_bytes()),
            _ => self.send_with(state.as_bytes(), None),
        }
    }

    /// Tells it which process the service is from now on: after a handover, say.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Manager::send).
    pub fn main_pid(&self, pid: u32) -> io::Result<()> {
        self.send(&format!("MAINPID={pid}"))
    }

    /// Waits until it has taken all that was sent before, for so long at the most: sd_notify_barrier(3).
    /// A process that ends right after it told something may be gone before the manager has seen whose
    /// word that was.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](ErrorKind::TimedOut) where it has not by then; [`Unsupported`](ErrorKind::Unsupported)
    /// on vsock, which passes no descriptors; those of [`send`](Manager::send).
    pub fn barrier(&self, within: Duration) -> io::Result<()> {
        if matches!(self.address, Address::Vsock { .. }) {
            return Err(ErrorKind::Unsupported.into());
        }
        let end = Instant::now().checked_add(within);
        let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        self.send_with(b"BARRIER=1", Some(&theirs))?;
        drop(theirs);
        // It closes its copy when it comes to the message.
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let limit = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds = [PollFd::new(&ours, PollFlags::empty())];
            match poll(&mut fds, limit.as_ref()) {
                Ok(0) => return Err(ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn send_with(&self, state: &[u8], descriptor: Option<&OwnedFd>) -> io::Result<()> {
        let address = match &self.address {
            Address::Path(path) => SocketAddr::from_pathname(path)?,
            Address::Abstract(name) => SocketAddr::from_abstract_name(name)?,
            Address::Vsock { .. } => return Err(ErrorKind::Unsupported.into()),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?; // a manager that does not read must not hold us up
        let Some(descriptor) = descriptor else {
            return socket.send_to_addr(state, &address).map(drop);
        };
        socket.connect_addr(&address)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let parts = [IoSlice::new(state)];
        rustix::net::sendmsg(&socket, &parts, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

fn send_vsock(kinds: &[Type], cid: u32, port: u32, state: &[u8]) -> io::Result<()> {
    let mut failed = io::Error::from(ErrorKind::Unsupported);
    for kind in kinds {
        let sent = Socket::new(Domain::VSOCK, *kind, None).and_then(|socket| {
            // The host answers a connection at once, or never: it is the kernel's own.
            socket.set_write_timeout(Some(Duration::from_secs(1)))?;
            socket.connect_timeout(&SockAddr::vsock(cid, port), Duration::from_secs(1))?;
            socket.send(state)
        });
        match sent {
            Ok(_) => return Ok(()),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

impl Address {
    fn parse(text: &OsStr) -> Option<Address> {
        let bytes = text.as_bytes();
        match bytes {
            [b'@', name @ ..] if !name.is_empty() => return Some(Address::Abstract(name.to_vec())),
            [b'/', _, ..] => return Some(Address::Path(text.to_owned())),
            _ => {}
        }
        let (kind, rest) = text.to_str()?.split_once(':')?;
        let kinds: &'static [Type] = match kind {
            // As sd_notify(3): what keeps messages apart first.
            "vsock" => &[Type::SEQPACKET, Type::STREAM],
            "vsock-seqpacket" => &[Type::SEQPACKET],
            "vsock-stream" => &[Type::STREAM],
            "vsock-dgram" => &[Type::DGRAM],
            _ => return None,
        };
        let (cid, port) = rest.split_once(':')?;
        // Without a number it is the host's.
        let cid = if cid.is_empty() { 2 } else { cid.parse().ok()? };
        Some(Address::Vsock { kinds, cid, port: port.parse().ok()? })
    }
}

/// `WatchdogSec=`, if the manager watches this process (sd_watchdog_enabled(3)).
pub(crate) fn watchdog_period() -> Option<Duration> {
    period(env::var("WATCHDOG_USEC").ok()?.as_str(), env::var("WATCHDOG_PID").ok().as_deref())
}

fn period(micros: &str, pid: Option<&str>) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(std::process::id())) {
        return None; // it is meant for the process that started this one
    }
    let period = Duration::from_micros(micros.parse().ok()?);
    (!period.is_zero()).then_some(period)
}

/// The time of the clock that the manager compares with.
pub(crate) fn monotonic_micros() -> u128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32);
    now.as_micros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound() -> (tempfile::TempDir, UnixDatagram, Manager) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        (directory, socket, Manager { address: Address::parse(path.as_os_str()).unwrap() })
    }

    #[test]
    fn a_socket_is_named_in_three_ways() {
        let parse = |text: &str| Address::parse(OsStr::new(text));
        assert_eq!(parse("/run/notify"), Some(Address::Path("/run/notify".into())));
        assert_eq!(parse("@notify"), Some(Address::Abstract(b"notify".to_vec())));
        let vsock = |text: &str| match parse(text) {
            Some(Address::Vsock { kinds, cid, port }) => Some((kinds.len(), cid, port)),
            _ => None,
        };
        assert_eq!(vsock("vsock:2:1234"), Some((2, 2, 1234)));
        assert_eq!(vsock("vsock-stream::1234"), Some((1, 2, 1234)));
        for wrong in ["", "@", "/", "run/notify", "vsock:2", "vsock:two:1", "tcp:1:2"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_sent_arrives_by_path_and_abstract_name() {
        let (_directory, socket, manager) = bound();
        manager.send("STATUS=here").unwrap();
        manager.main_pid(7).unwrap();
        let name = format!("adjourn-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let abstract_socket = UnixDatagram::bind_addr(&address).unwrap();
        let by_name = Manager { address: Address::Abstract(name.into_bytes()) };
        by_name.send("STATUS=there").unwrap();
        let mut bytes = [0; 64];
        for (socket, text) in
            [(&socket, "STATUS=here"), (&socket, "MAINPID=7"), (&abstract_socket, "STATUS=there")]
        {
            let count = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..count], text.as_bytes());
        }
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up() {
        let (_directory, _socket, manager) = bound();
        let full = (0..100_000).find_map(|_| manager.send("STATUS=again").err());
        assert_eq!(full.expect("its queue has an end").kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn a_barrier_waits_until_the_manager_has_come_to_it() {
        let (_directory, socket, manager) = bound();
        let error = manager.barrier(Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let reads = std::thread::spawn(move || {
            // Received without room for a descriptor: the system closes it, as a manager does.
            let mut bytes = [0; 64];
            let mut texts = Vec::new();
            for _ in 0..2 {
                let count = socket.recv(&mut bytes).unwrap();
                texts.push(bytes[..count].to_vec());
            }
            texts
        });
        manager.barrier(Duration::from_secs(60)).unwrap();
        assert_eq!(reads.join().unwrap(), [b"BARRIER=1", b"BARRIER=1"]);
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let own = std::process::id().to_string();
        assert_eq!(period("2000000", None), Some(Duration::from_secs(2)));
        assert_eq!(period("2000000", Some(&own)), Some(Duration::from_secs(2)));
        for (micros, pid) in [("2000000", Some("1")), ("0", None), ("soon", None), ("-1", None)] {
            assert_eq!(period(micros, pid), None);
        }
    }
}
