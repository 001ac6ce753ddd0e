//! A Unix socket that takes commands.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use adjourn_clients::Clients;
use adjourn_core::Inspector;
use socket2::{Domain, SockAddr, Type};

use crate::{BoxError, Look, Trigger, command, place, sys};

/// Takes commands at a Unix socket: `echo stop | nc -U /run/app/control`.
///
/// | command | does | answer |
/// |---|---|---|
/// | `stop` | stops the program | `stopping` |
/// | `status` | | the program in one line: [`Status`](adjourn_core::Status) |
///
/// A command is one line of at most 64 bytes. Up to 16 clients are served at once, each for one second;
/// while others wait, for 50 ms. The socket's mode is 0600, and a peer has to be this program's user or
/// root: others are sent away unheard.
///
/// A socket that a killed run has left is replaced once it was seen that nobody answers there. At the
/// end of the program the file is removed, if it is still this one.
///
/// Errors at the start: the directory is not there or everybody may write to it; a living program
/// answers at the path; what is there is no socket, a link, or another user's.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    live: Option<Live>,
}

struct Live {
    listener: UnixListener,
    clients: Clients<UnixStream>,
    /// Which file is ours.
    file: (u64, u64),
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.listener.fmt(f)
    }
}

impl Socket {
    /// Listens at this path.
    pub fn new(path: impl Into<PathBuf>) -> Socket {
        Socket { path: path.into(), live: None }
    }
}

impl Trigger for Socket {
    fn name(&self) -> String {
        format!("the socket {}", self.path.display())
    }

    fn open(&mut self) -> Result<(), BoxError> {
        self.path = place::check(&self.path)?;
        // Two that start at once: else one would remove the socket that the other has just made.
        let _alone = place::lock(&self.path)?;
        make_room(&self.path)?;
        let listener = bind(&self.path)?;
        let file = identity(&self.path)?;
        self.live = Some(Live { listener, clients: command::clients(command::LONGEST), file });
        Ok(())
    }

    fn look(&mut self, program: &Inspector) -> Look {
        let Some(Live { listener, clients, .. }) = &mut self.live else { return Look::NEVER };
        let mut stop = false;
        let accept = || {
            let (peer, _) = listener.accept()?;
            // The mode keeps others out already, where the system looks at it.
            if !may_command(&peer) {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            peer.set_nonblocking(true)?;
            Ok(peer)
        };
        let again = clients.look(accept, |said, words| {
            command::line(said, words, |line| command::obey(line, program, &mut stop))
        });
        Look { stop, again: again.unwrap_or(command::IDLE) }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(live) = self.live.take() else { return };
        // Whoever came too late is told so by the end of the connection.
        if identity(&self.path).is_ok_and(|file| file == live.file) {
            _ = fs::remove_file(&self.path);
        }
    }
}

fn may_command(peer: &UnixStream) -> bool {
    sys::user_of(peer).is_ok_and(|user| user == 0 || user == sys::own_user())
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = path.symlink_metadata()?;
    Ok((found.dev(), found.ino()))
}

/// Removes what a killed run of this program has left, and nothing else.
fn make_room(path: &Path) -> Result<(), BoxError> {
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !found.file_type().is_socket() {
        return Err(
            "something else is there, which is no socket: remove it, or use another path".into()
        );
    }
    if found.uid() != sys::own_user() {
        let user = found.uid();
        return Err(format!("user {user} has a socket there: use another path").into());
    }
    match try_connect(path) {
        Ok(()) => Err("a program answers there already: stop it, or use another path".into()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        // Its queue is full: somebody has it.
        Err(error) => {
            Err(format!("a socket is there, and who has it cannot be asked: {error}").into())
        }
    }
}

/// Sees whether somebody answers there. Waits for nobody: one that is stuck takes nobody from its queue.
fn try_connect(path: &Path) -> io::Result<()> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

fn bind(path: &Path) -> Result<UnixListener, BoxError> {
    let address = SockAddr::unix(path)
        .map_err(|_| "the path is too long for a socket (unix(7): 107 bytes): use a shorter one")?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let socket = fs::File::from(OwnedFd::from(socket));
    // Before there is a file: on Linux it gets this mode. Elsewhere it may not work, and need not: what
    // counts is who the peer is.
    _ = socket.set_permissions(fs::Permissions::from_mode(0o600));
    let socket = socket2::Socket::from(OwnedFd::from(socket));
    socket.bind(&address)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(128)?;
    let listener = UnixListener::from(OwnedFd::from(socket));
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::symlink;

    use super::*;

    fn opened(path: &Path) -> Socket {
        let mut socket = Socket::new(path);
        socket.open().unwrap();
        socket
    }

    fn error(path: &Path) -> String {
        Socket::new(path).open().unwrap_err().to_string()
    }

    #[test]
    fn it_is_private_and_goes_with_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let socket = opened(&path);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
        // Another's file in its place stays.
        let socket = opened(&path);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        drop(socket);
        assert!(path.exists());
    }

    #[test]
    fn a_client_is_answered_and_stop_stops() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let mut socket = opened(&path);
        let program = Inspector::default();
        for (says, stops, gets) in [
            ("stop\n", true, "stopping\n"),
            ("status\n", false, "not running\n"),
            ("kill\n", false, "error: no such command: say stop or status\n"),
        ] {
            let mut client = UnixStream::connect(&path).unwrap();
            client.write_all(says.as_bytes()).unwrap();
            assert_eq!(socket.look(&program).stop, stops);
            let mut got = String::new();
            client.read_to_string(&mut got).unwrap();
            assert_eq!(got, gets);
        }
    }

    #[test]
    fn of_many_that_start_at_once_one_has_the_socket() {
        const MANY: usize = 8;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        for _ in 0..100 {
            drop(UnixListener::bind(&path).unwrap()); // left by a killed run
            let start = std::sync::Barrier::new(MANY);
            let open = || {
                let mut socket = Socket::new(&path);
                start.wait();
                socket.open().map(|()| socket).ok()
            };
            let sockets: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..MANY).map(|_| scope.spawn(open)).collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(sockets.len(), 1);
            UnixStream::connect(&path).unwrap();
        }
    }

    #[test]
    fn one_that_takes_nobody_from_its_queue_has_the_socket_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let listener = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let mut queue = Vec::new();
        loop {
            let client = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            match client.connect(&SockAddr::unix(&path).unwrap()) {
                Ok(()) => queue.push(client),
                Err(_) => break,
            }
        }
        // Where the system refuses whom it has no room for (BSD), that looks like nobody at all.
        if cfg!(any(target_os = "linux", target_os = "android")) {
            assert!(error(&path).contains("who has it cannot be asked"));
            assert!(path.exists());
        }
    }

    #[test]
    fn only_what_a_killed_run_has_left_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let socket = opened(&path);
        assert!(error(&path).contains("a program answers there already"));
        std::mem::forget(socket); // killed: but its descriptor is open, in this process
        assert!(error(&path).contains("a program answers there already"));
        fs::remove_file(&path).unwrap();
        drop(UnixListener::bind(&path).unwrap()); // its file stays
        opened(&path);

        fs::write(&path, "").unwrap();
        assert!(error(&path).contains("no socket"));
        fs::remove_file(&path).unwrap();
        let other = directory.path().join("other");
        let _other = UnixListener::bind(&other).unwrap();
        symlink(&other, &path).unwrap();
        assert!(error(&path).contains("no socket"), "not through a link");
        assert!(other.exists());

        fs::remove_file(&path).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        // Only root can give files away: elsewhere this part is not tried.
        if sys::own_user() == 0 {
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            assert!(error(&path).contains("user 65534 has a socket there"));
            assert!(path.exists());
        }

        let long = directory.path().join("x".repeat(200));
        assert!(error(&long).contains("too long"));
    }
}
