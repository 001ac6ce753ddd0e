//! A process under test: its lines, its signals, its end.
#![cfg(unix)]

pub mod storm;
pub mod terminal;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A process that runs. Killed when dropped, so that a failed test leaves nothing behind.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// What is read of it, unless it was given something else.
    out: Option<BufReader<ChildStdout>>,
    err: Option<ChildStderr>,
    lines: Vec<String>,
    /// What was read of standard error.
    complaints: String,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub lines: Vec<String>,
    pub report: serde_json::Value,
    pub err: String,
    pub took: Duration,
}

impl Process {
    /// Starts a program with the dispositions that env(1) sets: those of the test runner are
    /// anybody's.
    pub fn start(
        dispositions: &str,
        program: &Path,
        args: &[&str],
        vars: &[(&str, &str)],
    ) -> Process {
        let outputs = [Stdio::piped(), Stdio::piped()];
        Process::start_to(outputs, dispositions, program, args, vars)
    }

    /// The same with outputs of the caller's.
    pub fn start_to(
        [out, err]: [Stdio; 2],
        dispositions: &str,
        program: &Path,
        args: &[&str],
        vars: &[(&str, &str)],
    ) -> Process {
        let mut command = Process::command(dispositions, program, args, vars);
        Process::spawn(command.stdout(out).stderr(err))
    }

    /// The same on a terminal of its own, which is its standard error: what is typed there reaches it.
    pub fn start_on(
        terminal: &terminal::Terminal,
        dispositions: &str,
        program: &Path,
        args: &[&str],
        vars: &[(&str, &str)],
    ) -> Process {
        let mut command = Process::command(dispositions, program, args, vars);
        command.stdout(Stdio::piped()).stderr(terminal.end());
        let number = terminal.number();
        let takes = move || {
            // SAFETY: both are async-signal-safe system calls, and the descriptor is open in the child.
            let taken =
                unsafe { libc::setsid() > 0 && libc::ioctl(number, libc::TIOCSCTTY, 0) == 0 };
            if taken { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        };
        // SAFETY: it does nothing between fork and exec but two system calls.
        unsafe { command.pre_exec(takes) };
        Process::spawn(&mut command)
    }

    fn command(
        dispositions: &str,
        program: &Path,
        args: &[&str],
        vars: &[(&str, &str)],
    ) -> Command {
        let mut command = Command::new("env");
        command.arg(dispositions).arg(program).args(args).envs(vars.iter().copied());
        command
    }

    /// Starts a command whose outputs are set.
    pub fn spawn(command: &mut Command) -> Process {
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the command starts");
        let out = child.stdout.take().map(BufReader::new);
        let err = child.stderr.take();
        Process { child, out, err, lines: Vec::new(), complaints: String::new() }
    }

    /// Reads lines up to one.
    pub fn until(self, wanted: &str) -> Process {
        self.until_it(wanted, |line| line == wanted)
    }

    /// Reads lines up to one that starts so.
    pub fn until_starting(self, wanted: &str) -> Process {
        self.until_it(wanted, |line| line.starts_with(wanted))
    }

    /// Reads lines up to one that ends so.
    pub fn until_ending(self, wanted: &str) -> Process {
        self.until_it(wanted, |line| line.ends_with(wanted))
    }

    /// Returns the line that was read last.
    pub fn last(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }

    fn until_it(mut self, wanted: &str, is_it: impl Fn(&str) -> bool) -> Process {
        loop {
            let mut line = String::new();
            let out = self.out.as_mut().expect("it is piped");
            let read = out.read_line(&mut line).expect("the process prints text");
            if read == 0 {
                let ended = self.end();
                panic!(
                    "the process ended before it said {wanted:?}: {}, {:?}\n{}",
                    ended.status, ended.lines, ended.err
                );
            }
            let line = line.trim_end().to_owned();
            let found = is_it(&line);
            self.lines.push(line);
            if found {
                return self;
            }
        }
    }

    /// Reads standard error until it has said this, a minute at the most between two pieces.
    pub fn until_complaint(mut self, wanted: &str) -> Process {
        let err = self.err.as_mut().expect("it is piped");
        while !self.complaints.contains(wanted) {
            let mut bytes = [0; 1024];
            let fd = std::os::fd::AsRawFd::as_raw_fd(err);
            let mut ready = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            // SAFETY: the pointer leads to one such entry.
            let any = unsafe { libc::poll(&mut ready, 1, 60_000) };
            assert!(any != 0, "no complaint of {wanted:?}: {}", self.complaints);
            let read = err.read(&mut bytes).expect("it is open");
            let said = &self.complaints;
            assert!(read > 0, "the process ended before it complained of {wanted:?}: {said}");
            self.complaints += &String::from_utf8_lossy(&bytes[..read]);
        }
        self
    }

    /// Sends a signal.
    pub fn send(self, signal: i32) -> Process {
        // SAFETY: the child has not been waited for, so the number is its own.
        unsafe { libc::kill(self.child.id() as i32, signal) };
        self
    }

    /// Sends a signal to its only child.
    #[cfg(target_os = "linux")]
    pub fn send_to_child(self, signal: i32) -> Process {
        let children = children(self.child.id());
        let [child] = children[..] else { panic!("it has not one child: {children:?}") };
        // SAFETY: kill has no preconditions. While its parent lives the number is its own: whoever waits
        // for it there ends with it.
        assert_eq!(unsafe { libc::kill(child as i32, signal) }, 0);
        self
    }

    /// The number that the system knows it by.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives it a line to read.
    pub fn enter(mut self, line: &str) -> Process {
        let input = self.child.stdin.as_mut().expect("it is piped");
        writeln!(input, "{line}").expect("it reads");
        self
    }

    /// Ends its standard input.
    pub fn close_input(mut self) -> Process {
        self.child.stdin = None;
        self
    }

    /// Lets it run for a while.
    pub fn pause(self, span: Duration) -> Process {
        std::thread::sleep(span);
        self
    }

    /// Sends a signal, and again while it has not ended ten seconds later: on a busy machine the
    /// process may take it and one that came before for the same.
    pub fn insist(mut self, signal: i32) -> Ended {
        for _ in 0..3 {
            self = self.send(signal);
            for _ in 0..1_000 {
                if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                    return self.end();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.end()
    }

    /// Waits for its end, a minute at the most.
    pub fn end(mut self) -> Ended {
        let start = Instant::now();
        let child = self.child.id() as i32;
        let (over, watchdog) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            if watchdog.recv_timeout(Duration::from_secs(60)).is_err() {
                // SAFETY: the test still waits for this child.
                unsafe { libc::kill(child, libc::SIGKILL) };
            }
        });
        let mut rest = String::new();
        if let Some(out) = &mut self.out {
            out.read_to_string(&mut rest).expect("the process prints text");
        }
        let mut err = std::mem::take(&mut self.complaints);
        if let Some(from) = &mut self.err {
            from.read_to_string(&mut err).expect("the process prints text");
        }
        let status = self.child.wait().expect("the process can be waited for");
        let took = start.elapsed();
        _ = over.send(());
        self.lines.extend(rest.lines().map(str::to_owned));
        let report = self.lines.last().and_then(|line| serde_json::from_str(line).ok());
        let lines = std::mem::take(&mut self.lines);
        Ended { status, lines, report: report.unwrap_or_default(), err, took }
    }
}

/// The children of a process (proc_pid_children(5)): of all its threads.
#[cfg(target_os = "linux")]
pub fn children(of: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{of}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let lists = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")));
    let numbers = lists.map(|list| {
        let list = list.unwrap_or_default();
        list.split_whitespace().filter_map(|number| number.parse().ok()).collect::<Vec<u32>>()
    });
    numbers.flatten().collect()
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Ended {
    #[track_caller]
    pub fn code(&self, code: i32) -> &Ended {
        assert_eq!(
            self.status.code(),
            Some(code),
            "{}: {:?}\n{}",
            self.status,
            self.lines,
            self.err
        );
        self
    }

    /// The time that its stop had, by its report.
    #[track_caller]
    pub fn timeout(&self) -> Duration {
        let time = |json: &serde_json::Value| {
            let time: Duration = serde_json::from_value(json.clone()).expect("it is a time");
            time
        };
        let phases = self.report["phases"].as_array().expect("there is a report");
        let closing =
            phases.iter().find(|phase| phase["phase"] == "Closing").expect("it has ended");
        // Both since the start of `run`.
        time(&closing["limit"]) - time(&self.report["reasons"][0]["at"])
    }

    #[track_caller]
    pub fn said(&self, line: &str) -> &Ended {
        assert!(self.lines.iter().any(|said| said == line), "no {line:?} in {:?}", self.lines);
        self
    }

    #[track_caller]
    pub fn complained(&self, text: &str) -> &Ended {
        assert!(self.err.contains(text), "no {text:?} in {}", self.err);
        self
    }

    #[track_caller]
    pub fn reason(&self, reason: serde_json::Value) -> &Ended {
        assert_eq!(self.report["reasons"][0]["what"], reason, "{}", self.report);
        self
    }
}

/// Makes tests of functions that take a backend's name: for each one, in each of these configurations.
#[macro_export]
macro_rules! on_every_backend {
    ($($scenarios:tt)*) => {
        $crate::on_backends! { "tokio-current" tokio_current $($scenarios)* }
        $crate::on_backends! { "tokio-1" tokio_1 $($scenarios)* }
        $crate::on_backends! { "tokio-n" tokio_n $($scenarios)* }
        $crate::on_backends! { "smol-current" smol_current $($scenarios)* }
        $crate::on_backends! { "smol-1" smol_1 $($scenarios)* }
        $crate::on_backends! { "smol-n" smol_n $($scenarios)* }
        $crate::on_backends! { "async-std" async_std $($scenarios)* }
    };
}

/// The same without those of one worker: where a number of workers says nothing new.
#[macro_export]
macro_rules! on_each_flavour {
    ($($scenarios:tt)*) => {
        $crate::on_backends! { "tokio-current" tokio_current $($scenarios)* }
        $crate::on_backends! { "tokio-n" tokio_n $($scenarios)* }
        $crate::on_backends! { "smol-current" smol_current $($scenarios)* }
        $crate::on_backends! { "smol-n" smol_n $($scenarios)* }
        $crate::on_backends! { "async-std" async_std $($scenarios)* }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! on_backends {
    ($backend:literal $module:ident $($(#[$attribute:meta])* $scenario:ident)*) => {
        mod $module {
            $(
                #[test]
                $(#[$attribute])*
                fn $scenario() {
                    super::$scenario($backend);
                }
            )*
        }
    };
}
