//! A restart by handover: the old program gives its listeners to the new one over a Unix socket.
//!
//! ```text
//!   old                                  new
//!    │◀──────────── connects ─────────────│   Handover::join
//!    │  listeners (SCM_RIGHTS) ──────────▶│
//!    │                                    │   opens what it needs
//!    │◀────────────── ready ──────────────│   Handover::ready
//!    │  leaves the path, says so ────────▶│   takes the path: it is the old one of the next
//!    │  MAINPID, stops                    │   serves
//! ```
//!
//! The listeners are open in one of the two at each instant, in both for a while. So no connection is
//! refused or reset. A new program that dies before it is ready is only seen as a closed stream.

mod wire;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use adjourn_core::Stopper;
use adjourn_systemd::Inherited;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long the old program has to answer. It answers from a thread that does nothing else.
const ANSWER: Duration = Duration::from_secs(10);

/// What all listeners are called that the old program gave.
const HANDED_OVER: &str = "handed over";

/// A place where a program gives its listeners to the next one, and what it got there itself. Linux.
///
/// # Examples
///
/// ```no_run
/// use adjourn_core::Stopper;
/// use adjourn_hyper::{Handover, Server, bind};
/// use std::io;
/// use std::net::{SocketAddr, TcpListener};
///
/// /// In the first lines of `fn main`.
/// fn listen(at: SocketAddr) -> io::Result<(TcpListener, Handover)> {
///     let mut handover = Handover::join("/run/shop/handover")?;
///     let listener = match handover.tcp()? {
///         Some(listener) => listener,
///         None => bind(at)?,
///     };
///     Ok((listener, handover))
/// }
///
/// # #[cfg(feature = "tokio")]
/// /// The program's `main`. Once everything is open, the old program may stop.
/// async fn program(listener: TcpListener, handover: Handover, own: Stopper) -> io::Result<()> {
/// #   let app = hyper::service::service_fn(async |_| Ok::<_, io::Error>(http::Response::new(String::new())));
///     let _next = handover.ready(&[&listener], own)?; // `own` is the runner's `stopper()`
///     adjourn_core::ready();
///     Server::new(tokio::net::TcpListener::from_std(listener)?).serve_hyper(app).await
/// }
/// ```
#[must_use = "the old program goes on until this one is `ready`"]
pub struct Handover {
    path: PathBuf,
    program: PathBuf,
    patience: Duration,
    old: Option<UnixStream>,
    listeners: Inherited,
}

impl Handover {
    /// Asks the program that is at `path` for its listeners, if there is one. Blocks until it answers,
    /// 10 s at most; a path that was left by a program that is gone counts as none.
    ///
    /// # Errors
    ///
    /// What is at the path is no socket or another user's, or the program does not answer. It goes on in
    /// each case.
    pub fn join(path: impl Into<PathBuf>) -> io::Result<Handover> {
        let path = path.into();
        let old = connect(&path).map_err(|error| says(&path, &error))?;
        let listeners = match &old {
            Some(old) => wire::receive(old).map_err(|error| {
                says(&path, &format!("the program there gives nothing: {error}"))
            })?,
            None => Vec::new(),
        };
        // The path of now: whoever replaces a program replaces the file, and `/proc` follows the old one.
        let program = std::env::current_exe()?;
        let patience = Duration::from_secs(60);
        let listeners = listeners.into_iter().map(|socket| (HANDED_OVER.to_owned(), socket));
        Ok(Handover { path, program, patience, old, listeners: listeners.collect() })
    }

    /// How long a new program may take from its start until it is ready. After that it is given up, and
    /// told so. Default: 60 s.
    pub fn ready_within(mut self, span: Duration) -> Handover {
        self.patience = span;
        self
    }

    /// Returns whether there is an old program.
    pub fn is_successor(&self) -> bool {
        self.old.is_some()
    }

    /// Takes the next listener, in the order in which the old program gave them; `None` when there is no
    /// more, or no old program. It does not block.
    ///
    /// # Errors
    ///
    /// It is no TCP listener.
    pub fn tcp(&mut self) -> io::Result<Option<TcpListener>> {
        self.listeners.tcp(HANDED_OVER)
    }

    /// Says that this program is ready: the old one stops. Then waits, in a thread of its own, for the
    /// next program, gives it `listeners`, and asks `stopper` for the stop once that one is ready. Where
    /// a service manager was named, it is told who is the main process then (`MAINPID`, sd_notify(3)).
    ///
    /// Blocks until the old program has left the path, which takes microseconds.
    ///
    /// # Errors
    ///
    /// The old program is gone or has given this one up: end then, there may be another. Or the path
    /// cannot be taken, or there are more than 16 listeners.
    pub fn ready(mut self, listeners: &[&dyn AsFd], stopper: Stopper) -> io::Result<Successor> {
        if listeners.len() > wire::MOST {
            let text = format!("{} listeners: 16 can be handed over", listeners.len());
            return Err(io::Error::new(ErrorKind::InvalidInput, text));
        }
        let listeners: io::Result<Vec<OwnedFd>> =
            listeners.iter().map(|listener| listener.as_fd().try_clone_to_owned()).collect();
        let listeners = listeners?;
        if let Some(mut old) = self.old.take() {
            let mut answer = [0];
            let told = old.write_all(&[wire::READY]).and_then(|()| old.read_exact(&mut answer));
            if told.is_err() || answer != [wire::LEFT] {
                let text = "the old program has given this one up, or is gone";
                return Err(says(&self.path, &text));
            }
        }
        let socket = take_path(&self.path).map_err(|error| says(&self.path, &error))?;
        let (wake, woken) = UnixStream::pair()?;
        let own = identity(&self.path)?;
        let waits =
            Waits { socket, woken, listeners, own, path: self.path, patience: self.patience };
        let thread = thread::Builder::new().name("handover".to_owned());
        let thread = thread.spawn(move || waits.run(&stopper))?;
        Ok(Successor { wake: Some(wake), thread: Some(thread), program: self.program })
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handover")
            .field("path", &self.path)
            .field("is_successor", &self.is_successor())
            .finish_non_exhaustive()
    }
}

/// Waits for the next program. From [`Handover::ready`].
///
/// Dropped, it waits no longer, and the path is removed.
#[must_use = "dropped, it waits for no next program"]
pub struct Successor {
    wake: Option<UnixStream>,
    thread: Option<thread::JoinHandle<()>>,
    program: PathBuf,
}

impl Successor {
    /// Starts the next program: this one's file, as it is by now, with the same arguments and
    /// environment. Call it on SIGHUP or whatever else is the sign for a restart. Returns its process id.
    ///
    /// Where that program ends before it is ready, this one goes on.
    ///
    /// # Errors
    ///
    /// The system's: the file is gone or cannot be run.
    pub fn start(&self) -> io::Result<u32> {
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null());
        // They name this process.
        command.env_remove("LISTEN_PID").env_remove("LISTEN_FDS").env_remove("LISTEN_FDNAMES");
        let mut child = command.spawn().map_err(|error| says(&self.program, &error))?;
        let id = child.id();
        // So that one that fails does not stay as a zombie.
        thread::Builder::new().name("handover-child".to_owned()).spawn(move || child.wait())?;
        Ok(id)
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        self.wake = None; // closed: the thread sees it
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

impl fmt::Debug for Successor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Successor").field("program", &self.program).finish_non_exhaustive()
    }
}

/// Connects to the program that is at `path`; `None` where there is nobody.
fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is no socket"));
        }
        Ok(file) if file.uid() != rustix::process::geteuid().as_raw() && file.uid() != 0 => {
            let text = format!("it belongs to the user {}", file.uid());
            return Err(io::Error::new(ErrorKind::PermissionDenied, text));
        }
        Ok(_) => {}
    }
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        // Left by a program that was killed, or removed just now.
        Err(error)
            if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    wire::trusted(&stream)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    Ok(Some(stream))
}

/// Binds the socket at `path`, for this user alone; takes away what a program that is gone has left.
fn take_path(path: &Path) -> io::Result<UnixListener> {
    if connect(path)?.is_some() {
        return Err(io::Error::new(
            ErrorKind::AddrInUse,
            "another program has come there meanwhile",
        ));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // Before it has a name: there is no instant in which others could connect.
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, 16)?;
    Ok(UnixListener::from(socket))
}

/// Which file it is, whatever its name.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

fn says(path: &Path, what: &dyn fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {what}", path.display()))
}

/// The thread that waits for the next program.
struct Waits {
    socket: UnixListener,
    /// Closed at the other end: nobody is to be waited for any more.
    woken: UnixStream,
    listeners: Vec<OwnedFd>,
    own: (u64, u64),
    path: PathBuf,
    patience: Duration,
}

impl Waits {
    fn run(self, stopper: &Stopper) {
        // An error of a client is its own: the next one may be well.
        while self.is_ready(self.socket.as_fd(), None) {
            let Ok((stream, _)) = self.socket.accept() else { continue };
            if let Ok(next) = self.give(stream) {
                tell_manager(next);
                stopper.stop_because(format!("the next program, process {next}, is ready"));
                return;
            }
        }
        self.leave();
    }

    /// Gives the listeners away and waits until their taker is ready. Returns its process id.
    fn give(&self, mut stream: UnixStream) -> io::Result<u32> {
        let next = wire::trusted(&stream)?;
        stream.set_write_timeout(Some(ANSWER))?;
        let listeners: Vec<BorrowedFd<'_>> = self.listeners.iter().map(AsFd::as_fd).collect();
        wire::send(&stream, &listeners)?;
        if !self.is_ready(stream.as_fd(), Some(self.patience)) {
            return Err(ErrorKind::TimedOut.into());
        }
        let mut word = [0];
        stream.read_exact(&mut word)?;
        if word != [wire::READY] {
            return Err(ErrorKind::InvalidData.into());
        }
        self.leave();
        stream.write_all(&[wire::LEFT])?;
        Ok(next)
    }

    /// Removes the path, if it is still this program's.
    fn leave(&self) {
        if identity(&self.path).is_ok_and(|file| file == self.own) {
            _ = fs::remove_file(&self.path);
        }
    }

    /// Waits until something can be read there. False where it takes longer than `span`, or nobody is to
    /// be waited for any more.
    fn is_ready(&self, from: BorrowedFd<'_>, span: Option<Duration>) -> bool {
        let limit = span.and_then(|span| Timespec::try_from(span).ok());
        loop {
            let mut both =
                [PollFd::new(&from, PollFlags::IN), PollFd::new(&self.woken, PollFlags::IN)];
            match poll(&mut both, limit.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Err(_) | Ok(0) => return false,
                Ok(_) => return both[1].revents().is_empty(),
            }
        }
    }
}

/// Tells the service manager that another process is the main one from now on. It comes from this
/// process, since the manager believes no other yet.
fn tell_manager(next: u32) {
    // Best effort, as sd_notify(3) recommends.
    if let Some(manager) = adjourn_systemd::Manager::from_env() {
        _ = manager.main_pid(next);
    }
}
