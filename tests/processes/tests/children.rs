//! Child processes of whole programs, with real signals, on every backend: none outlives its program,
//! each is told of the stop, and what they write is read.

#![cfg(target_os = "linux")] // who is alive is read from /proc

use std::fs;
use std::path::Path;
use std::time::Duration;

use adjourn_processes::{Ended, Process};
use libc::{SIGINT, SIGKILL, SIGTERM};

fn start(backend: &str, shape: &str) -> Process {
    marked(backend, shape, "no")
}

/// All that comes of it have this in their environment.
const MARK: &str = "ADJOURN_TEST_MARK";

fn marked(backend: &str, shape: &str, mark: &str) -> Process {
    let children = Path::new(env!("CARGO_BIN_EXE_children"));
    Process::start("--default-signal", children, &[backend, shape], &[(MARK, mark)])
}

/// Starts a program and waits until its child is up.
fn up(backend: &str, shape: &str) -> (Process, i32) {
    let (process, group) = next(start(backend, shape));
    assert!(lives(group), "{group} is there");
    (process, group)
}

/// The group of the child that comes up next.
fn next(process: Process) -> (Process, i32) {
    let process = process.until_starting("out: at ");
    let group = process.last().trim_start_matches("out: at ").parse().expect("a number");
    (process, group)
}

/// One of all processes.
struct Seen {
    number: i32,
    state: char,
    group: i32,
}

impl Seen {
    fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

fn processes() -> Vec<Seen> {
    let all = fs::read_dir("/proc").expect("it is there").flatten();
    let seen = all.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        Some(Seen { number, state, group: fields.nth(1)?.parse().ok()? })
    });
    seen.collect()
}

fn lives(group: i32) -> bool {
    processes().iter().any(|one| one.group == group && one.is_alive())
}

/// Waits until the leader is in this state.
#[track_caller]
fn until_state(leader: i32, state: char) {
    until("its state", || processes().iter().any(|one| one.number == leader && one.state == state));
}

#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not come");
}

/// Nobody is left that has the mark in its environment.
#[track_caller]
fn nobody_is_left(mark: &str) {
    let mark = format!("{MARK}={mark}").into_bytes();
    until("the end of all", || {
        let has = |number| fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
        let is_marked = |number| has(number).split(|byte| *byte == 0).any(|var| var == mark);
        !processes().iter().any(|one| one.is_alive() && is_marked(one.number))
    });
}

/// Whoever was killed needs a moment, on a busy machine.
#[track_caller]
fn is_gone(group: i32) {
    for _ in 0..1_000 {
        if !lives(group) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // SAFETY: it has a process in it, so the number is that of our child's group.
    unsafe { libc::kill(-group, SIGKILL) };
    panic!("{group} is still there");
}

/// The lines after the one that says where the child is.
#[track_caller]
fn says(ended: &Ended, lines: &[&str]) {
    let said = ended.lines.iter().skip_while(|line| !line.starts_with("out: at ")).skip(1);
    assert_eq!(said.collect::<Vec<_>>(), lines, "{}", ended.err);
    assert_eq!(ended.err, "");
}

fn one_that_listens_is_waited_for(backend: &str) {
    for shape in ["traps", "interrupts", "stopped"] {
        let (process, group) = up(backend, shape);
        if shape == "stopped" {
            until_state(group, 'T');
        }
        let ended = process.send(SIGTERM).end();
        says(ended.code(0), &["out: told", "ended: exit status: 7"]);
        assert!(!lives(group), "it was waited for");
    }
}

fn one_that_ignores_it_is_killed_at_the_limit(backend: &str) {
    let (process, group) = up(backend, "ignores");
    let ended = process.send(SIGTERM).end();
    says(ended.code(0), &["ended: signal: 9 (SIGKILL)"]);
    assert!(!lives(group), "it was waited for");
    if !matches!(backend, "tokio-current" | "smol-n") {
        return; // the rest takes seconds
    }
    for _ in 0..3 {
        let (process, group) = up(backend, "ignores-drain");
        let ended = process.send(SIGTERM).end();
        is_gone(group);
        // Its task was not overdue. On a busy machine what is left for its end may be too short.
        if ended.status.code() == Some(0) {
            return says(&ended, &["ended: signal: 9 (SIGKILL)"]);
        }
    }
    panic!("it is killed too late each time");
}

fn a_lost_status_is_an_error_and_leaves_nobody(backend: &str) {
    let children = Path::new(env!("CARGO_BIN_EXE_children"));
    let ignored = "--ignore-signal=CHLD";
    let process = Process::start(ignored, children, &[backend, "leaves"], &[(MARK, "no")]);
    let (process, group) = next(process);
    let ended = process.end();
    let told = ended.lines.iter().any(|line| line.contains("SIGCHLD is ignored"));
    assert!(told, "{:?} {}", ended.lines, ended.err);
    is_gone(group);
}

fn a_group_is_waited_for_when_its_leader_is_over(backend: &str) {
    let (process, group) = next(start(backend, "leaves"));
    let process = process.until("out: up");
    until_state(group, 'Z');
    let ended = process.pause(LATE).send(SIGTERM).end();
    says(ended.code(0), &["out: up", "out: told", "ended: exit status: 3"]);
    assert!(!lives(group), "it was waited for");
    let (process, group) = next(start(backend, "leaves-behind"));
    let process = process.until("out: up");
    until_state(group, 'Z');
    let ended = process.pause(LATE).send(SIGTERM).end();
    says(ended.code(0), &["out: up", "ended: exit status: 3"]);
    assert!(!lives(group), "it was killed, and waited for");
}

/// Longer than outputs are read when a group is taken for empty: it would be killed by then.
const LATE: Duration = Duration::from_millis(1500);

/// Each is the child of one that is over by the time that somebody looks.
fn a_group_that_is_handed_on_is_not_taken_for_empty(backend: &str) {
    for _ in 0..2 {
        let ended = start(backend, "hands-on").end();
        assert_eq!(ended.code(0).lines, ["out: end", "ended: exit status: 3"]);
    }
}

fn what_is_written_is_read(backend: &str) {
    let ended = start(backend, "writes").end();
    let lines = ["ended: exit status: 0", "101011 lines, 10000000 bytes", "ended: exit status: 0"];
    assert_eq!((&*ended.code(0).lines.join("\n"), &*ended.err), (&*lines.join("\n"), ""));
}

fn an_input_that_nobody_has_is_at_its_end(backend: &str) {
    let ended = start(backend, "reads").end();
    let lines = ["out: read", "ended: exit status: 0", "out: unread", "ended: exit status: 0"];
    assert_eq!((&*ended.code(0).lines.join("\n"), &*ended.err), (&*lines.join("\n"), ""));
}

fn a_pipe_that_somebody_else_keeps_is_not_waited_for(backend: &str) {
    let (process, daemon) = up(backend, "keeps-pipe");
    let ended = process.end();
    says(ended.code(0), &["out: last", "ended: exit status: 3"]);
    assert!(lives(daemon), "it has left the group, and is nobody's");
    // SAFETY: it is there, and a leader.
    unsafe { libc::kill(-daemon, SIGKILL) };
}

fn a_task_that_does_not_ask_is_cancelled_and_the_group_killed(backend: &str) {
    let (process, group) = up(backend, "plain");
    let ended = process.send(SIGTERM).end();
    says(ended.code(0), &[]);
    is_gone(group);
    // In a shield it is waited for, and not told.
    let (process, group) = up(backend, "shielded");
    let process = process.send(SIGTERM).pause(Duration::from_millis(300));
    assert!(lives(group), "nobody told it");
    // SAFETY: it is there, and the leader.
    unsafe { libc::kill(-group, SIGTERM) };
    says(process.end().code(0), &["out: told", "ended: exit status: 7"]);
}

fn a_future_that_is_dropped_kills_the_group(backend: &str) {
    let mark = format!("{backend} {}", std::process::id());
    let (process, aborted) = next(marked(backend, "drops", &mark));
    let (process, dropped) = next(process.until("aborted: true"));
    let process = process.until("dropped");
    is_gone(aborted);
    is_gone(dropped);
    process.send(SIGTERM).end().code(0);
    // Not even of those that were dropped before there was a process.
    nobody_is_left(&mark);
}

fn a_panic_of_the_owner_kills_the_group(backend: &str) {
    let (process, group) = next(start(backend, "panics"));
    let process = process.until("panicked: true");
    is_gone(group);
    process.send(SIGTERM).end().code(0);
}

fn a_forced_end_kills_the_group(backend: &str) {
    let (process, group) = up(backend, "forced");
    // It has heard the first one by then, and takes the second for another.
    let process = process.send(SIGINT).until("stopping");
    let ended = process.pause(Duration::from_millis(400)).insist(SIGINT);
    ended.code(130);
    is_gone(group);
}

/// Nobody is there to tell anybody: the kernel kills the leader.
fn a_program_that_is_killed_takes_the_leader_along(backend: &str) {
    let (process, leader) = up(backend, "endless");
    let ended = process.send(SIGKILL).end();
    assert_eq!(ended.status.code(), None);
    is_gone(leader); // what it starts ends by itself
    let (process, leader) = up(backend, "wedged");
    process.until("stuck").send(SIGTERM).end().code(124);
    until("the leader's end", || {
        !processes().iter().any(|one| one.number == leader && one.is_alive())
    });
    // What it started is left: no signal reaches that.
    if lives(leader) {
        // SAFETY: it has a process in it, so the number is that of our child's group.
        unsafe { libc::kill(-leader, SIGKILL) };
    }
}

fn one_is_started_in_a_stop_where_that_is_said(backend: &str) {
    let ended = start(backend, "hook").until("at 0").send(SIGTERM).end();
    ended.code(0);
    let error = "error: the child process was not started: a stop was requested. What has to run in a \
                 stop is run with `Child::run_to_end`";
    assert_eq!(ended.lines, ["at 0", error, "out: in the hook", "ended: exit status: 0"]);
}

fn what_goes_wrong_is_an_error(backend: &str) {
    let ended = start(backend, "errors").end();
    let lines = [
        "error: No such file or directory (os error 2)",
        "error: who is told of the child's lines panicked",
        "error: invalid input parameter",
        "ended: exit status: 3",
        "ended: signal: 9 (SIGKILL)",
    ];
    assert_eq!(ended.code(0).lines, lines);
}

/// Makes each of them a test on each backend configuration.
macro_rules! on_every_backend {
    ($($test:ident)*) => {
        on_every_backend! { @ "tokio-current" tokio_current $($test)* }
        on_every_backend! { @ "tokio-n" tokio_n $($test)* }
        on_every_backend! { @ "smol-current" smol_current $($test)* }
        on_every_backend! { @ "smol-n" smol_n $($test)* }
        on_every_backend! { @ "async-std" async_std $($test)* }
    };
    (@ $backend:literal $module:ident $($test:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    super::$test($backend);
                }
            )*
        }
    };
}

on_every_backend! {
    one_that_listens_is_waited_for
    one_that_ignores_it_is_killed_at_the_limit
    a_group_is_waited_for_when_its_leader_is_over
    a_lost_status_is_an_error_and_leaves_nobody
    a_group_that_is_handed_on_is_not_taken_for_empty
    what_is_written_is_read
    an_input_that_nobody_has_is_at_its_end
    a_pipe_that_somebody_else_keeps_is_not_waited_for
    a_task_that_does_not_ask_is_cancelled_and_the_group_killed
    a_future_that_is_dropped_kills_the_group
    a_panic_of_the_owner_kills_the_group
    a_forced_end_kills_the_group
    a_program_that_is_killed_takes_the_leader_along
    one_is_started_in_a_stop_where_that_is_said
    what_goes_wrong_is_an_error
}
