//! Restarts of whole programs, in each way in which a listener outlives one.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::HANGS;

/// A server that can be restarted under load.
pub trait Restarts {
    fn address(&self) -> SocketAddr;

    /// Puts a new program in the place of the current one, and waits until the old one has ended.
    fn restart(&mut self);

    /// Stops the last one.
    fn stop(&mut self);

    /// How many did not end within their time and were killed.
    fn killed(&self) -> u32;
}

/// How the listener outlives the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// It is inherited, and the new program is ready before the old one is told to stop.
    InheritedNewFirst,
    /// It is inherited, and the old program has ended before the new one is started.
    InheritedOldFirst,
    /// The old program hands it over.
    Handover,
    /// Each has one of its own at the same port.
    SharedPort,
}

pub const WAYS: [Way; 4] =
    [Way::InheritedNewFirst, Way::InheritedOldFirst, Way::Handover, Way::SharedPort];

/// A service manager: it may hold the listener, starts programs and tells them to stop.
pub struct Manager {
    program: PathBuf,
    backend: &'static str,
    way: Way,
    pub address: SocketAddr,
    /// What each program inherits.
    listener: Option<TcpListener>,
    pub path: PathBuf,
    /// Lines of all programs, which share one pipe.
    lines: Receiver<String>,
    /// Lines that nobody has asked for yet: two programs may print in either order.
    early: Vec<String>,
    out: OwnedFd,
    children: Vec<Child>,
    /// Set for each program.
    vars: Vec<(&'static str, String)>,
    /// The program that serves now.
    pub current: u32,
    /// How long a program may take to end before it is killed. `None`: it must end by itself.
    pub patience: Option<Duration>,
    killed: u32,
}

impl Manager {
    /// Starts the first program: `program BACKEND SOURCE`, as `served` takes it.
    pub fn start(program: &Path, backend: &'static str, way: Way) -> Manager {
        Manager::start_with(program, backend, way, Vec::new())
    }

    /// The same with these variables set for each program.
    pub fn start_with(
        program: &Path,
        backend: &'static str,
        way: Way,
        vars: Vec<(&'static str, String)>,
    ) -> Manager {
        let (reader, writer) = UnixStream::pair().unwrap();
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inherited = matches!(way, Way::InheritedNewFirst | Way::InheritedOldFirst);
        let name = format!("adjourn-handover-{}-{backend}-{}", std::process::id(), address.port());
        let mut manager = Manager {
            program: program.to_owned(),
            backend,
            way,
            address,
            listener: Some(listener).filter(|_| inherited),
            path: std::env::temp_dir().join(name),
            lines,
            early: Vec::new(),
            out: writer.into(),
            children: Vec::new(),
            vars,
            current: 0,
            patience: None,
            killed: 0,
        };
        manager.spawn(&[]);
        manager.until_ready();
        manager
    }

    /// Starts a program, with these variables set; does not wait for anything.
    pub fn spawn(&mut self, vars: &[(&str, &str)]) {
        // A shell sets the process id, which the program keeps by `exec`. The dispositions of the test
        // runner are anybody's: under nohup a SIGHUP would be ignored.
        let mut command = Command::new("env");
        command
            .arg("--default-signal=HUP,INT,TERM")
            .args(["sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh"])
            .arg(&self.program)
            .arg(self.backend);
        let address = self.address.to_string();
        match self.way {
            Way::InheritedNewFirst | Way::InheritedOldFirst => command.arg("inherited"),
            Way::Handover => command.arg("handover").arg(&self.path).arg(address),
            Way::SharedPort => command.args(["port", &address]),
        };
        if let Some(listener) = &self.listener {
            let socket = listener.as_raw_fd();
            command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "http");
            // SAFETY: both calls are allowed between fork and exec, and the number is the protocol's.
            unsafe {
                command.pre_exec(move || {
                    // Where it has the number already, dup2 would leave it to be closed by exec.
                    let passed = match socket {
                        3 => libc::fcntl(3, libc::F_SETFD, 0),
                        _ => libc::dup2(socket, 3),
                    };
                    if passed == -1 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
                });
            }
        }
        command.envs(self.vars.iter().map(|(name, value)| (name, value)));
        command.envs(vars.iter().copied()).stdin(Stdio::null());
        command.stdout(Stdio::from(self.out.try_clone().unwrap()));
        self.children.push(command.spawn().expect("the program starts"));
    }

    /// Waits for a line that begins so, and returns the rest of it.
    #[track_caller]
    pub fn line(&mut self, begin: &str) -> String {
        self.line_within(begin, HANGS).unwrap_or_else(|| panic!("no {begin:?}"))
    }

    fn line_within(&mut self, begin: &str, span: Duration) -> Option<String> {
        if let Some(index) = self.early.iter().position(|line| line.starts_with(begin)) {
            return Some(self.early.remove(index)[begin.len()..].to_owned());
        }
        let end = Instant::now() + span;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).ok()?;
            match line.strip_prefix(begin) {
                Some(rest) => return Some(rest.to_owned()),
                None => self.early.push(line),
            }
        }
    }

    pub fn until_ready(&mut self) {
        self.current = self.line("ready ").parse().unwrap();
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a plain system call; the process is one that was started here, or by such a one.
        assert_eq!(unsafe { libc::kill(self.current as i32, signal) }, 0);
    }

    /// Puts a new program in the place of the current one. Waits until the old one has ended, which must
    /// be in order.
    #[track_caller]
    pub fn restart(&mut self) {
        let old = self.current;
        match self.way {
            Way::InheritedNewFirst | Way::SharedPort => {
                self.spawn(&[]);
                self.until_ready();
                // The new one is the current one: it is the old one that is told.
                let new = std::mem::replace(&mut self.current, old);
                self.signal(libc::SIGTERM);
                self.current = new;
                self.ended(old);
            }
            Way::InheritedOldFirst => {
                self.signal(libc::SIGTERM);
                self.ended(old);
                self.spawn(&[]);
                self.until_ready();
            }
            Way::Handover => {
                self.signal(libc::SIGHUP);
                self.until_ready();
                self.ended(old);
            }
        }
    }

    /// Waits until this program has ended, which must be in order unless it is out of patience.
    #[track_caller]
    pub fn ended(&mut self, program: u32) {
        match self.line_within("ended ", self.patience.unwrap_or(HANGS)) {
            Some(line) => assert_eq!(line, format!("{program} 0")),
            None if self.patience.is_some() => {
                // SAFETY: a plain system call; the program was started here and was not waited for.
                _ = unsafe { libc::kill(program as i32, libc::SIGKILL) };
                self.killed += 1;
            }
            None => panic!("{program} does not end"),
        }
    }

    /// Stops the last one.
    #[track_caller]
    pub fn stop(mut self) {
        Restarts::stop(&mut self);
    }
}

impl Restarts for Manager {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn restart(&mut self) {
        Manager::restart(self);
    }

    #[track_caller]
    fn stop(&mut self) {
        self.signal(libc::SIGTERM);
        let current = self.current;
        self.ended(current);
        self.current = 0;
    }

    fn killed(&self) -> u32 {
        self.killed
    }
}

impl Drop for Manager {
    /// Ends what a test that failed has left, and what it had hang.
    fn drop(&mut self) {
        // One that a handover has started is no child of this process.
        if self.current != 0 {
            // SAFETY: a plain system call.
            _ = unsafe { libc::kill(self.current as i32, libc::SIGKILL) };
        }
        for child in &mut self.children {
            _ = child.kill();
            _ = child.wait();
        }
    }
}
