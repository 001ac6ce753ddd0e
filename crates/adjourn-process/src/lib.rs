//! Child processes that end with an Adjourn program.
//!
//! ```no_run
//! use adjourn_process::Child;
//! use std::process::Command;
//!
//! # async fn encode() -> std::io::Result<()> {
//! let mut encoder = Command::new("ffmpeg");
//! encoder.args(["-i", "in.mkv", "out.mp4"]);
//! let status = Child::new(encoder).stderr_lines(|line| eprintln!("ffmpeg: {line}")).run().await?;
//! # _ = status;
//! # Ok(())
//! # }
//! ```
//!
//! A `Child` is a process group of its own, so a Ctrl-C at the terminal goes to the program alone. At the
//! stop the whole group is sent SIGTERM, waited for, and killed at a limit. Whatever ends the task that
//! runs it, the group is killed.
//!
//! # What holds on which system
//!
//! | | Linux | other Unix systems | Windows |
//! |---|---|---|---|
//! | the group is told, waited for, killed | yes | yes | the crate is empty there |
//! | a number is never used after it may be another's | yes | see below | |
//! | the leader dies with a program that is killed | yes | no | |
//!
//! **Pid reuse.** A process's number is given away again once the process has been waited for, and a
//! group's once it is empty too. So on Linux the leader is waited for last: as long as it is a zombie the
//! number is its own, and who else is in the group is read from `/proc`, since `kill(2)` counts zombies. A
//! group that is handed on from parent to child again and again may be missed; then it is killed before the
//! number is given back, so that nobody is left.
//! Elsewhere, and without `/proc`, the leader is waited for first and `kill(-group, 0)` says when the
//! group is empty. A signal goes to a stranger there if the group became empty, and another one got its
//! number, between two looks (100 ms at most).
//!
//! **A program that is killed** cannot tell its children. On Linux the leader has SIGKILL as its
//! parent-death signal. The kernel sends that at the end of the *thread* that started the child: this is
//! a thread that lives as long as the child does. Other processes of the group get nothing, and a leader that
//! runs a set-user-ID program has no such signal (prctl(2)).
//!
//! # What it takes
//!
//! Plain std: `std::process::Command`, a thread that waits for the child, and one for each output that is
//! read. A process costs more than these. In return it is the same on every executor, brings none of
//! their process drivers, and goes on when the executor is stuck.

#![deny(unsafe_code)] // `sys` alone is allowed it, with a proof
#![cfg(unix)]

mod group;
mod lines;
mod members;
mod sys;
mod watch;

use std::error::Error;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use adjourn_core::{FutureExt, Scope, Signal, StopRequested, StopToken, Timer};

use rustix::process::Signal as Number;

use group::KillOnDrop;
use lines::Told;

/// A child process before its start, and the processes that it will start in its group.
///
/// The command's outputs are inherited unless it says otherwise, or their lines are asked for. What is
/// piped and not asked for is read and dropped, so that the child never blocks on a full pipe. Standard
/// input is inherited too; where that is a terminal a child that reads it is stopped by the system, since
/// its group is in the background: give it `Stdio::null()`. A piped input is closed at once.
///
/// What leaves the group (`setsid`, a shell with job control) is nobody's: it is neither waited for nor
/// ended.
#[must_use = "nothing is started until it is run"]
pub struct Child {
    command: Command,
    signal: Signal,
    limit: Option<Duration>,
    out: Option<Told>,
    err: Option<Told>,
}

impl Child {
    /// The process that the command starts, in a process group of its own.
    pub fn new(mut command: Command) -> Child {
        command.process_group(0);
        Child { command, signal: Signal::TERMINATE, limit: None, out: None, err: None }
    }

    /// The signal that asks the group to end. Default: SIGTERM. SIGCONT follows it, since a process
    /// that is stopped would not see it. A real-time signal is an error of [`run`](Child::run).
    pub fn signal(mut self, signal: Signal) -> Child {
        self.signal = signal;
        self
    }

    /// How long after that signal the group is sent SIGKILL. Default: nine tenths of what is left of the
    /// drain limit of the task's scope ([`StopToken::time_left`]), and all but 1 s of it where that is
    /// more. Without a drain limit it is never killed.
    pub fn limit(mut self, span: Duration) -> Child {
        self.limit = Some(span);
        self
    }

    /// Reads standard output, and calls `told` with each line, without its end.
    ///
    /// On a thread of its own: `told` may block, and the child does with it once the pipe is full. What is
    /// no UTF-8 is replaced. A line of more than 64 KiB comes in pieces. After a panic of `told` the
    /// output is read on and dropped, and the run is an error.
    pub fn stdout_lines(mut self, told: impl FnMut(&str) + Send + 'static) -> Child {
        self.command.stdout(Stdio::piped());
        self.out = Some(Box::new(told));
        self
    }

    /// The same for standard error.
    pub fn stderr_lines(mut self, told: impl FnMut(&str) + Send + 'static) -> Child {
        self.command.stderr(Stdio::piped());
        self.err = Some(Box::new(told));
        self
    }

    /// Starts it, and waits until its whole group is empty. At the stop of the task's scope it asks the
    /// group to end, and kills it at the [`limit`](Child::limit).
    ///
    /// It returns the status of the process that was started, the group's leader, though others may
    /// outlive that. Lines that are still in the pipe are told before it returns, however long that takes;
    /// a process that has left the group and keeps the pipe is not waited for, once nothing has come for 1 s.
    ///
    /// The start blocks the thread until the program is loaded, as in std, Tokio and async-process.
    ///
    /// It asks about the stop: the task is graceful, and has the time. In a shielded task, a shield or a
    /// cleanup it is told of the stop all the same.
    ///
    /// # Errors
    ///
    /// If it cannot be started; where the stop has been requested already, with
    /// [`StopRequested`] among the causes, and it is not started; if its status is lost, since the process
    /// ignores SIGCHLD or somebody else has waited for it; if a closure for its lines panicked. An exit
    /// code other than 0 is no error.
    ///
    /// # Panics
    ///
    /// Outside of a program.
    ///
    /// # Cancel safety
    ///
    /// Dropping it sends SIGKILL to the group, at once. Nobody waits for its end then. So does a
    /// cancellation, a panic of the task, and the end of the executor.
    pub async fn run(self) -> io::Result<ExitStatus> {
        let (timer, stop) = (Scope::current().backend().clone(), StopToken::current());
        if stop.is_requested() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, NotStarted));
        }
        let Child { command, signal, limit, out, err } = self;
        let signal = Number::from_named_raw(signal.as_raw()).ok_or(io::ErrorKind::InvalidInput)?;
        let group = KillOnDrop(watch::start(command, [out, err])?);
        if let Ok(ended) = group.ended().until_stop().await {
            return ended;
        }
        group.ask(signal);
        let limit = limit.or_else(|| stop.time_left().map(|left| left - reserve(left)));
        let limit = limit.unwrap_or(Duration::MAX);
        if let Ok(ended) = timer.timeout(limit, group.ended()).await {
            return ended;
        }
        group.kill();
        group.ended().await
    }

    /// Starts it, and waits until its whole group is empty, whatever is asked to stop meanwhile: for work
    /// that has to be finished, and for what runs in the stop, as in a hook or a cleanup.
    ///
    /// It does not ask. Cancelled it is killed, so run it shielded: in
    /// [`spawn_shielded`](adjourn_core::spawn_shielded), a [`shield`](adjourn_core::shield()) or a hook.
    ///
    /// # Errors
    ///
    /// As [`run`](Child::run), but that it starts during a stop too.
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Child::run): dropping it kills the group.
    pub async fn run_to_end(self) -> io::Result<ExitStatus> {
        let group = KillOnDrop(watch::start(self.command, [self.out, self.err])?);
        group.ended().await
    }
}

/// What is kept of the drain limit for the end of those that were killed.
fn reserve(left: Duration) -> Duration {
    (left / 10).min(Duration::from_secs(1))
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("command", &self.command).finish_non_exhaustive()
    }
}

/// The stop was there before the child.
#[derive(Debug)]
struct NotStarted;

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the child process was not started: a stop was requested. What has to run in a stop is \
             run with `Child::run_to_end`",
        )
    }
}

impl Error for NotStarted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&StopRequested)
    }
}
