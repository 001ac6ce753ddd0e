//! The running program started anew, to play a part in a scenario.
//!
//! What it says comes on lines of their own behind a `@`, since libtest writes beside it. What it
//! says is also how it moves: its own watchdog, and that of the process that started it, begin anew.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{self, Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use adjourn_core::Signal;

use crate::case::Case;
use crate::limits::{moved, watchdog};
use crate::sys;
use crate::tools::message;

/// Set for a process that a scenario started: which part of the scenario it plays.
const PART: &str = "ADJOURN_CONFORMANCE_PART";

/// The exit code of a part in which a check failed; none that a report has.
const FAILED: i32 = 70;

/// A process that plays a part. Killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
    err: Option<JoinHandle<String>>,
    said: Vec<String>,
}

/// A process that has ended.
pub(crate) struct Ended {
    status: ExitStatus,
    said: Vec<String>,
    err: String,
}

/// Returns which part this process plays; `None` in the test's own.
pub(crate) fn part() -> Option<String> {
    env::var(PART).ok()
}

/// Returns whether this process plays a part.
pub(crate) fn is_part() -> bool {
    part().is_some()
}

/// Says something to the process that started this one.
pub(crate) fn say(what: &str) {
    still_moves();
    let mut out = io::stdout().lock();
    _ = write!(out, "\n@{what}\n");
    _ = out.flush();
}

/// Sets this process's own watchdog anew. It ends the process, so a part that hangs is gone.
fn still_moves() {
    // Before the watchdog of the process that started this one, so that it can tell.
    sys::end_after((watchdog() * 4 / 5).as_secs().max(1) as u32);
}

/// Plays a part: runs it and ends the process.
pub(crate) fn play(part: impl FnOnce()) -> ! {
    // Whatever started this: a shell has a command with & ignore SIGINT, nohup SIGHUP.
    for signal in [Signal::INTERRUPT, Signal::TERMINATE, Signal::HANGUP, Signal::USER1] {
        sys::set_ignored(signal, false);
    }
    still_moves();
    match catch_unwind(AssertUnwindSafe(part)) {
        Ok(()) => {
            say("over");
            process::exit(0);
        }
        Err(payload) => {
            say(&format!("failed: {}", message(&*payload).replace('\n', " | ")));
            process::exit(FAILED);
        }
    }
}

/// Runs a body in a process of its own, since what it tests could end the process.
pub(crate) fn isolated(case: &Case, body: impl FnOnce()) {
    match case.part() {
        Some(_) => body(),
        None => Process::start(case, "isolated").end().code(0).said("over"),
    }
}

impl Process {
    /// Starts the part of a case.
    pub(crate) fn start(case: &Case, part: &str) -> Process {
        let program = env::current_exe().expect("the running program has a path");
        let mut child = Command::new(program)
            .args([case.test(), "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
            .env(PART, part)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the running program starts anew");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut err = child.stderr.take().expect("it is piped");
        let err = thread::spawn(move || {
            let mut all = Vec::new();
            _ = err.read_to_end(&mut all);
            String::from_utf8_lossy(&all).into_owned()
        });
        Process { child, out, err: Some(err), said: Vec::new() }
    }

    /// Reads what it says, up to this.
    pub(crate) fn until(mut self, what: &str) -> Process {
        while self.said.last().is_none_or(|said| said != what) {
            if !self.hear() {
                panic!("the process ended before it said {what:?}: {}", self.end());
            }
        }
        self
    }

    /// Reads a line. Returns whether there was one.
    fn hear(&mut self) -> bool {
        let mut line = String::new();
        let read = self.out.read_line(&mut line).expect("the process prints text");
        if let Some(said) = line.trim_end().strip_prefix('@') {
            moved();
            self.said.push(said.to_owned());
        }
        read > 0
    }

    /// Forgets what it has said, for what it says again.
    pub(crate) fn forget(mut self) -> Process {
        self.said.clear();
        self
    }

    /// Sends a signal.
    pub(crate) fn send(self, signal: i32) -> Process {
        sys::kill(self.child.id(), signal);
        self
    }

    /// Lets it run for a while.
    pub(crate) fn pause(self, span: Duration) -> Process {
        thread::sleep(span);
        self
    }

    /// Waits for its end for a while. Returns whether it has come.
    pub(crate) fn ends_within(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        let has_ended = |child: &mut Child| child.try_wait().is_ok_and(|status| status.is_some());
        while !has_ended(&mut self.child) {
            if start.elapsed() > limit {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Waits for its end; it ends itself if it hangs.
    pub(crate) fn end(mut self) -> Ended {
        while self.hear() {}
        let err = self.err.take().and_then(|err| err.join().ok()).unwrap_or_default();
        let status = self.child.wait().expect("the process can be waited for");
        Ended { status, said: std::mem::take(&mut self.said), err }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Ended {
    /// Checks its exit code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Ended {
        assert_eq!(self.status.code(), Some(code), "the exit code of the process: {self}");
        self
    }

    /// Checks that a signal ended it.
    #[track_caller]
    #[cfg(unix)]
    pub(crate) fn died_of(self, signal: i32) {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(self.status.signal(), Some(signal), "what the process died of: {self}");
    }

    #[cfg(not(unix))]
    pub(crate) fn died_of(self, _: i32) {}

    /// Checks that it said something, once.
    #[track_caller]
    pub(crate) fn said(&self, what: &str) {
        let times = self.said.iter().filter(|said| *said == what).count();
        assert_eq!(times, 1, "how often the process said {what:?}: {self}");
    }

    /// Checks what it wrote on standard error.
    #[track_caller]
    pub(crate) fn complained(&self, what: &str) {
        assert!(self.err.contains(what), "standard error lacks {what:?}: {self}");
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; it said {:?}", self.status, self.said)?;
        if !self.err.is_empty() {
            write!(f, "; on standard error:\n{}", self.err.trim_end())?;
        }
        Ok(())
    }
}
