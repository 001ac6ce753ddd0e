//! What a service manager's socket sees of a service's life, with a real socket, on every backend.

#![cfg(target_os = "linux")]

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use adjourn_processes::Process;
use libc::SIGTERM;
use tempfile::TempDir;

/// Far beyond what any message takes.
const LONG: Duration = Duration::from_secs(20);

/// A manager that reads.
struct Manager {
    directory: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Manager {
        let directory = tempfile::tempdir().expect("there is room");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("it can be bound");
        Manager { directory, socket }
    }

    fn start(&self, backend: &str, how: &str, vars: &[(&str, &str)]) -> Process {
        let path = self.directory.path().join("notify");
        let path = path.to_str().expect("it is text");
        let vars = [&[("NOTIFY_SOCKET", path)], vars].concat();
        let program = Path::new(env!("CARGO_BIN_EXE_systemd"));
        Process::start("--default-signal=INT,TERM", program, &[backend, how], &vars)
    }

    /// The next message, if there is one for so long.
    fn next(&self, within: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(within)).expect("it is a time");
        let mut bytes = [0; 4096];
        let count = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..count].to_vec()).expect("it is text"))
    }

    /// Reads messages up to one that is like this, and returns them.
    #[track_caller]
    fn until(&self, what: &str, is_it: impl Fn(&str) -> bool) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            match self.next(LONG) {
                Some(message) => all.push(message),
                None => panic!("no {what}: {all:?}"),
            }
            if is_it(all.last().expect("there is one")) {
                return all;
            }
        }
    }
}

fn a_service_tells_of_its_life(backend: &str) {
    let manager = Manager::new();
    // The task that the watchdog looks for waits too, and nobody for it.
    let watched = [("WATCHDOG_USEC", "60000000")];
    let service = manager.start(backend, "", &watched).until("serving");
    // Two threads tell: the core's of readiness, ours of all else.
    let ready = std::cell::Cell::new(0);
    let start = manager.until("readiness", |message| {
        ready.set(ready.get() + u8::from(["READY=1", "STATUS=Running"].contains(&message)));
        ready.get() == 2
    });
    let at = |what: &str| start.iter().position(|message| message == what);
    assert!(at("STATUS=Starting") < at("STATUS=Running"), "{start:?}");
    assert!(at("STATUS=Starting").is_some() && at("READY=1").is_some(), "{start:?}");
    let service = service.send(SIGTERM).until("draining");
    let (stopping, waiting) = (std::cell::Cell::new(false), std::cell::Cell::new(false));
    let stop = manager.until("who is waited for", |message| {
        stopping.set(stopping.get() || message == "STOPPING=1");
        waiting.set(waiting.get() || message.contains("root/export"));
        stopping.get() && waiting.get()
    });
    let mut told = stop.iter().filter(|message| message.contains("root/export"));
    let last = told.next().expect("there is one");
    assert!(last.starts_with("STATUS=Stopping (SIGTERM), at most "), "{last}");
    assert!(last.contains(": waiting for ") && !last.contains("watchdog"), "{last}");
    let more = last.split_once("\nEXTEND_TIMEOUT_USEC=").expect("it asks for time").1;
    assert_eq!(more, "10000000", "ten seconds more, of a hundred");
    service.enter("go").end().code(0);
    let rest =
        manager.until("the end", |message| message == "STATUS=Stopped in order, exit code 0");
    assert!(rest.iter().all(|message| message != "READY=1"), "{rest:?}");
}

fn the_watchdog_stops_with_the_executor(backend: &str) {
    let manager = Manager::new();
    let service = manager.start(backend, "wedged", &[("WATCHDOG_USEC", "400000")]).until("ready");
    for _ in 0..3 {
        manager.until("watchdog", |message| message == "WATCHDOG=1");
    }
    let service = service.enter("now");
    // What was sent before it was stuck, and then nothing.
    let end = Instant::now() + LONG;
    while manager.next(Duration::from_secs(2)).is_some() {
        assert!(Instant::now() < end, "it goes on");
    }
    // From the stop on, the deadline does what the watchdog would.
    let service = service.send(SIGTERM);
    manager.until("the stop", |message| message.starts_with("STATUS=Stopping"));
    service.end().code(124);
}

fn a_watchdog_for_another_process_is_left_alone(backend: &str) {
    let manager = Manager::new();
    let vars = [("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")];
    let service = manager.start(backend, "", &vars).until("serving").send(SIGTERM).enter("go");
    service.end().code(0);
    let all = manager.until("the end", |message| message.starts_with("STATUS=Stopped"));
    assert!(!all.contains(&"WATCHDOG=1".to_owned()), "{all:?}");
}

fn a_reload_is_told_before_and_after(backend: &str) {
    let manager = Manager::new();
    let service = manager.start(backend, "reload", &[]).until("ready");
    manager.until("readiness", |message| message == "STATUS=Running");
    let service = service.enter("now").until("serving");
    let all = manager.until("readiness again", |message| message == "READY=1");
    let all = if all.iter().any(|message| message.starts_with("RELOADING=1")) {
        all
    } else {
        manager.until("readiness again", |message| message == "READY=1")
    };
    let reloading = &all[all.len() - 2];
    let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("its form");
    assert!(micros.parse::<u64>().is_ok_and(|micros| micros > 0), "{micros}");
    service.send(SIGTERM).until("draining").enter("go").end().code(0);
}

#[test]
fn a_service_without_a_manager_runs_all_the_same() {
    let program = Path::new(env!("CARGO_BIN_EXE_systemd"));
    let vars = [("NOTIFY_SOCKET", ""), ("WATCHDOG_USEC", "1000")];
    let service = Process::start("--default-signal=TERM", program, &["tokio-n"], &vars);
    service.until("serving").send(SIGTERM).until("draining").enter("go").end().code(0);
}

/// What systemd's own tool sends arrives at the socket as ours does: the form is the same.
#[test]
fn the_form_is_that_of_systemds_own_tool() {
    let manager = Manager::new();
    let sent = Command::new("systemd-notify")
        .args(["--status=Running", "--no-block"])
        .env("NOTIFY_SOCKET", manager.directory.path().join("notify"))
        .status();
    match sent {
        Ok(status) if status.success() => {
            manager.until("its word", |message| message == "STATUS=Running");
        }
        _ => eprintln!("systemd-notify is not here: not tried"),
    }
}

adjourn_processes::on_each_flavour! {
    a_service_tells_of_its_life
    the_watchdog_stops_with_the_executor
    a_watchdog_for_another_process_is_left_alone
    a_reload_is_told_before_and_after
}
