//! Programs as process 1, and under what is process 1 in their place: tini, s6, runit. All of it in a pid
//! namespace of its own, which takes with it whatever a failed test leaves.
//!
//! What is not here, or is forbidden here, is said and not tried: `ci/supervisors.sh` installs it.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use adjourn_processes::{Process, children};
use libc::{SIGINT, SIGTERM};

const PROBE: &str = env!("CARGO_BIN_EXE_probe");
/// Far beyond what any of it takes.
const LONG: Duration = Duration::from_secs(30);

/// The first way to a pid namespace that is allowed here.
fn namespace() -> Option<&'static [&'static str]> {
    static WAY: OnceLock<Option<&'static [&'static str]>> = OnceLock::new();
    let ways: [&[&str]; 3] = [
        &["-Urpf", "--mount-proc", "--kill-child"],
        &["-Urpf", "--kill-child"],
        &["-pf", "--kill-child"],
    ];
    let allowed = |way: &&[&str]| {
        let tried = Command::new("unshare").args(*way).arg("true").stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    let way = *WAY.get_or_init(|| ways.into_iter().find(allowed));
    if way.is_none() {
        eprintln!("a pid namespace is forbidden here: not tried");
    }
    way
}

/// Starts this as process 1. The process that is returned is its parent, which ends as it does.
fn first(command: &[&str]) -> Option<Process> {
    let args = [namespace()?, command].concat();
    Some(Process::start("--default-signal=INT,TERM", Path::new("unshare"), &args, &[]))
}

fn has(tool: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&paths).any(|path| path.join(tool).is_file());
    if !there {
        eprintln!("{tool} is not here: not tried");
    }
    there
}

/// Waits until it is so.
#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < end, "not {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn as_process_1_it_ends_in_order(backend: &str) {
    for signal in [SIGTERM, SIGINT] {
        let Some(program) = first(&[PROBE, backend, "cleanup"]) else { return };
        let ended = program.until("ready").send_to_child(signal).end();
        ended.code(0).said("cleaned up");
    }
}

/// The system drops a signal for process 1 that has no handler there.
fn as_process_1_a_raised_signal_is_a_code(backend: &str) {
    let Some(program) = first(&[PROBE, backend, "reraise"]) else { return };
    program.until("ready").send_to_child(SIGTERM).end().code(128 + SIGTERM);
}

fn as_process_1_it_ends_by_the_deadline(backend: &str) {
    let Some(program) = first(&[PROBE, backend, "wedge-caller", "500"]) else { return };
    let ended = program.until("ready").send_to_child(SIGTERM).end();
    ended.code(124).complained("the thread that called `run`");
}

fn under_tini_it_ends_in_order(backend: &str) {
    if !has("tini") {
        return;
    }
    for (scenario, code) in [("cleanup", 0), ("reraise", 128 + SIGTERM)] {
        let Some(tini) = first(&["tini", "--", PROBE, backend, scenario]) else { return };
        tini.until("ready").send_to_child(SIGTERM).end().code(code);
    }
}

/// Leaves an orphan and becomes the program. The orphan waits for a word by a pipe, since a shell might
/// collect it, says one, and ends.
const ORPHAN: &str =
    "pipe=$1; shift; (sh -c 'read word <\"$0\"; echo orphan' \"$pipe\" &); exec \"$@\"";

/// Starts the program with an orphan, as the child of process 1 or as that one; returns it once the orphan
/// has ended.
fn with_an_orphan(under: &[&str]) -> Option<Process> {
    let directory = tempfile::tempdir().expect("there is room");
    let pipe = directory.path().join("pipe");
    succeeds(Command::new("mkfifo").arg(&pipe));
    let path = pipe.to_str().expect("text");
    let command = ["sh", "-c", ORPHAN, "sh", path, PROBE, "tokio-n", "cleanup"];
    let program = first(&[under, &command].concat())?.until("ready");
    fs::write(&pipe, "go\n").expect("the orphan reads");
    Some(program.until("orphan"))
}

fn is_zombie(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// What the guide says: a program does not collect the children of others, so what is to be process 1 of
/// a program that leaves some is tini or the like.
#[test]
fn orphans_stay_with_a_program_that_is_process_1() {
    let Some(program) = with_an_orphan(&[]) else { return };
    let [first] = children(program.id())[..] else { panic!("unshare has one child") };
    until("a zombie", || children(first).into_iter().any(is_zombie));
    program.send_to_child(SIGTERM).end().code(0).said("cleaned up");
}

#[test]
fn orphans_are_collected_by_tini() {
    if !has("tini") {
        return;
    }
    let Some(program) = with_an_orphan(&["tini", "--"]) else { return };
    let [tini] = children(program.id())[..] else { panic!("unshare has one child") };
    until("the program alone", || children(tini).len() == 1);
    program.send_to_child(SIGTERM).end().code(0).said("cleaned up");
}

/// A directory with a service in it: its program, and what says how that has ended.
fn service(backend: &str, scenario: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("there is room");
    let service = directory.path().join("program");
    fs::create_dir(&service).unwrap();
    let script = |name: &str, text: &str| {
        let path = service.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("run", &format!("exec '{PROBE}' {backend} {scenario} 2>&1"));
    script("finish", "echo \"finished $1 $2\"");
    (directory, service)
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command.output().expect("it is here");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn under_s6_it_ends_in_order(backend: &str) {
    if !has("s6-svscan") {
        return;
    }
    // What s6 says where a signal has killed.
    for (scenario, finished) in [("cleanup", "finished 0 0"), ("reraise", "finished 256 15")] {
        let (directory, service) = service(backend, scenario);
        let scan = directory.path().to_str().expect("text");
        let Some(program) = first(&["s6-svscan", scan]) else { return };
        let program = program.until("ready");
        // Down, and waited for until that is so.
        let svc = ["-wD", "-T", "20000", "-d"];
        succeeds(Command::new("s6-svc").args(svc).arg(&service));
        let program = program.until(finished);
        // Up again, and then all of it ends.
        succeeds(Command::new("s6-svc").arg("-u").arg(&service));
        let ended = program.until("ready").send_to_child(SIGTERM).end();
        ended.code(0);
        assert_eq!(ended.lines.iter().filter(|line| *line == finished).count(), 2);
    }
}

fn under_runit_it_ends_in_order(backend: &str) {
    if !has("runsv") {
        return;
    }
    for (scenario, finished) in [("cleanup", "finished 0 0"), ("reraise", "finished -1 15")] {
        let (_directory, service) = service(backend, scenario);
        let path = service.to_str().expect("text");
        let Some(program) = first(&["runsv", path]) else { return };
        let program = program.until("ready");
        succeeds(Command::new("sv").args(["-w", "20", "stop", path]));
        let program = program.until(finished);
        succeeds(Command::new("sv").args(["-w", "20", "start", path]));
        let ended = program.until("ready").send_to_child(SIGTERM).end();
        ended.code(0);
        assert_eq!(ended.lines.iter().filter(|line| *line == finished).count(), 2);
    }
}

macro_rules! on_two_backends {
    ($($scenario:ident)*) => {
        on_two_backends! { @ "tokio-n" tokio_n $($scenario)* }
        on_two_backends! { @ "smol-current" smol_current $($scenario)* }
    };
    (@ $backend:literal $module:ident $($scenario:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $scenario() {
                    super::$scenario($backend);
                }
            )*
        }
    };
}

// What is tried is the process, and not the executor.
on_two_backends! {
    as_process_1_it_ends_in_order
    as_process_1_a_raised_signal_is_a_code
    as_process_1_it_ends_by_the_deadline
    under_tini_it_ends_in_order
    under_s6_it_ends_in_order
    under_runit_it_ends_in_order
}
