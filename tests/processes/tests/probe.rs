//! What only a whole process can show, on every backend configuration: real signals, real exits.
//!
//! Order and outcome are asserted, never speed, but for the deadline's own bounds, and those only
//! where the process must not have lived for ever.
#![cfg(unix)]

#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adjourn_processes::Process;

struct Probe;

impl Probe {
    fn start(args: &[&str]) -> Process {
        Probe::start_with("--default-signal=INT,TERM,HUP,USR1", args)
    }

    fn start_in(vars: &[(&str, &str)], args: &[&str]) -> Process {
        let program = Path::new(env!("CARGO_BIN_EXE_probe"));
        Process::start("--default-signal=INT,TERM", program, args, vars)
    }

    fn start_with(dispositions: &str, args: &[&str]) -> Process {
        Process::start(dispositions, Path::new(env!("CARGO_BIN_EXE_probe")), args, &[])
    }
}

use libc::{SIGCONT, SIGHUP, SIGINT, SIGSTOP, SIGTERM, SIGUSR1};

fn stops_on(backend: &str, signal: i32, name: &str) {
    let ended = Probe::start(&[backend, "pending"]).until("ready").send(signal).end();
    ended.code(0).reason(serde_json::json!({ "Signal": name }));
    assert_eq!(ended.report["main"], "Cancelled");
    assert_eq!(ended.err, "", "an orderly stop prints nothing");
}

fn sigterm_stops(backend: &str) {
    stops_on(backend, SIGTERM, "SIGTERM");
}

fn sigint_stops(backend: &str) {
    stops_on(backend, SIGINT, "SIGINT");
}

fn a_burst_is_one_request(backend: &str) {
    let mut probe = Probe::start(&[backend, "graceful"]).until("ready");
    for _ in 0..50 {
        probe = probe.send(SIGTERM);
    }
    let ended = probe.end();
    ended.code(0).said("drained");
}

fn graceful_work_is_drained(backend: &str) {
    let ended = Probe::start(&[backend, "graceful"]).until("ready").send(SIGTERM).end();
    ended.code(0).said("draining").said("drained");
}

fn shielded_work_is_waited_for(backend: &str) {
    let ended = Probe::start(&[backend, "shielded"]).until("ready").send(SIGINT).end();
    ended.code(0).said("shielded done").said("in place done");
}

fn cleanup_runs(backend: &str) {
    Probe::start(&[backend, "cleanup"])
        .until("ready")
        .send(SIGTERM)
        .end()
        .code(0)
        .said("cleaned up");
}

fn a_signal_at_the_start_is_not_lost(backend: &str) {
    // Sent as early as it can be: before the handlers are in place it kills, after it stops.
    let ended = Probe::start(&[backend, "pending"]).send(SIGTERM).end();
    assert!(ended.status.code() == Some(0) || ended.status.signal() == Some(SIGTERM));
}

/// Less than 25 s, the limit of a program that sets none: what ended sooner has kept the one that was
/// set, however busy the machine.
const UNSET: Duration = Duration::from_secs(20);

/// Held by tests whose processes take every processor, so that they do not starve each other.
static BUSY: Mutex<()> = Mutex::new(());

fn busy() -> MutexGuard<'static, ()> {
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often what a starved machine may prevent is tried.
const TRIES: usize = 10;

fn wedged_workers_do_not_outlast_the_deadline(backend: &str) {
    let _busy = busy();
    if backend.ends_with("current") {
        return; // the calling thread is the worker: another test
    }
    // On a starved machine the process may be ended before `run` has returned; not each time.
    let returned = (0..TRIES).any(|_| {
        let ended = Probe::start(&[backend, "wedge", "2000"]).until("ready").send(SIGTERM).end();
        ended.code(124).complained("probe.rs").complained("inside a poll");
        assert!(ended.took < UNSET, "{:?}", ended.took);
        ended.lines.iter().any(|line| line.starts_with("returned"))
    });
    assert!(returned, "run never returned by itself");
}

fn a_wedged_caller_is_ended_with_the_report(backend: &str) {
    let _busy = busy();
    let ended = Probe::start(&[backend, "wedge-caller", "2000"]).until("ready").send(SIGTERM).end();
    ended.code(124).complained("the thread that called `run`").complained("\"main\"");
    assert!(ended.took < UNSET, "{:?}", ended.took);
}

fn a_second_sigint_forces(backend: &str) {
    let _busy = busy();
    for scenario in ["wedge", "wedge-caller"] {
        if scenario == "wedge" && backend.ends_with("current") {
            continue;
        }
        let probe = Probe::start(&[backend, scenario, "100000"]).until("ready").send(SIGINT);
        // The deadline is further away than this waits.
        let ended = probe.pause(Duration::from_millis(1000)).insist(SIGINT);
        ended.code(130).complained("forced by SIGINT");
    }
}

fn sigint_hurries_the_executor_after_the_end_in_order(backend: &str) {
    let _busy = busy();
    if backend.ends_with("current") || backend == "async-std" {
        return; // the calling thread is the worker, or nothing ends the executor
    }
    let probe = Probe::start(&[backend, "wedge-executor", "100000"]).until("ready").send(SIGINT);
    // The deadline is further away than this waits.
    let ended = probe.pause(Duration::from_millis(1000)).insist(SIGINT);
    ended.code(0);
    assert_eq!(ended.err, "", "the program was over: nothing was forced");
}

fn sigint_after_the_end_does_not_hide_a_hook_that_was_cut_off(backend: &str) {
    let _busy = busy();
    if backend.ends_with("current") || backend.ends_with("-1") || backend == "async-std" {
        return;
    }
    let probe = Probe::start(&[backend, "wedge-hook", "3000"]).until("ready").send(SIGINT);
    let ended = probe.pause(Duration::from_millis(500)).send(SIGINT).end();
    assert!(ended.err.contains("on_stopped of root/db"), "{:?}: {:?}", ended.status, ended.err);
    ended.code(0); // of a scope that was stopped alone: it is named, and no more
}

fn a_stuck_job_does_not_outlast_the_deadline(backend: &str) {
    let _busy = busy();
    let returned = (0..TRIES).any(|_| {
        let ended = Probe::start(&[backend, "wedge-idle", "2000"]).until("ready").end();
        ended.code(124).complained("blocking job").complained("first cause: main returned");
        ended.lines.iter().any(|line| line.starts_with("returned"))
    });
    assert!(returned, "run never returned by itself");
}

fn exit_codes(backend: &str) {
    let code = |args: &[&str]| Probe::start(&[&[backend], args].concat()).end();
    code(&["error"]).code(1).complained("it broke");
    code(&["task-error"]).code(1).complained("the worker broke");
    code(&["panic"]).code(101).complained("main panics");
    code(&["task-panic"]).code(101).complained("a task panics");
    code(&["code", "7"]).code(7);
    code(&["code", "0"]).code(0);
    let forbidden = code(&["forbidden"]);
    forbidden.code(1).complained("SIGKILL");
    let nonsense = code(&["nonsense"]);
    nonsense.code(1).complained("drain limit");
    for ended in [forbidden, nonsense] {
        assert!(!ended.lines.contains(&"polled".to_owned()), "main was polled");
    }
}

fn run_twice_and_then_signals_act_as_before(backend: &str) {
    let probe = Probe::start(&[backend, "twice"]).until("ready").send(SIGTERM);
    let ended = probe.until("first 0").until("ready").send(SIGTERM).end();
    ended.code(0);
    let ended = Probe::start(&[backend, "fresh"]).until("ready").send(SIGTERM).end();
    assert_eq!(ended.status.signal(), Some(SIGINT), "it was not heard in the stop");
}

fn a_repetition_after_the_end_is_swallowed_for_a_while(backend: &str) {
    // On a starved machine the while may be over before the process comes to raise it.
    let swallowed = (0..3).any(|_| {
        let ended = Probe::start(&[backend, "disposition"]).until("ready").send(SIGTERM).end();
        assert_eq!(ended.status.signal(), Some(SIGTERM), "then it acts as before");
        ended.lines.iter().any(|line| line.starts_with("returned"))
    });
    assert!(swallowed, "it ended the process each time");
}

fn an_ignored_signal_stays_ignored(backend: &str) {
    // SIGHUP, as nohup(1) leaves it.
    let probe = Probe::start_with("--ignore-signal=HUP", &[backend, "hup"]).until("ready");
    let ended = probe.send(SIGHUP).pause(Duration::from_millis(50)).send(SIGTERM).end();
    ended.code(0).reason(serde_json::json!({ "Signal": "SIGTERM" }));
    let probe = Probe::start(&[backend, "hup"]).until("ready").send(SIGHUP);
    probe.end().code(0).reason(serde_json::json!({ "Signal": "SIGHUP" }));
}

fn many_unread_signals_lose_none(backend: &str) {
    let mut probe = Probe::start(&[backend, "usr1"]).until("ready");
    for _ in 0..2000 {
        probe = probe.send(SIGUSR1);
    }
    probe.send(SIGTERM).end().code(0);
}

fn a_forked_child_does_not_stop_the_parent(backend: &str) {
    let ended = Probe::start(&[backend, "fork"]).end();
    ended.code(0).said("child died of 15").said("not stopped");
}

fn a_stopped_process_ends_in_order(backend: &str) {
    let probe = Probe::start(&[backend, "cleanup"]).until("ready").send(SIGSTOP);
    let probe = probe.send(SIGTERM).pause(Duration::from_millis(50)).send(SIGCONT);
    probe.end().code(0).said("cleaned up");
}

fn the_signal_is_raised_again_by_option(backend: &str) {
    let ended = Probe::start(&[backend, "reraise"]).until("ready").send(SIGTERM).end();
    assert_eq!(ended.status.signal(), Some(SIGTERM));
}

fn ten_thousand_parked_tasks_end(backend: &str) {
    let ended = Probe::start(&[backend, "parked", "10000"]).until("ready").send(SIGTERM).end();
    ended.code(0);
    let root = &ended.report["totals"]["root"];
    assert_eq!((&root["spawned"], &root["cancelled"]), (&10_001.into(), &10_001.into()), "{root}");
}

fn the_environment_sets_the_limits(backend: &str) {
    let vars =
        [("ADJOURN_GRACE_PERIOD", "40"), ("ADJOURN_PRE_STOP", "5"), ("ADJOURN_MARGIN", "2.5")];
    let ended = Probe::start_in(&vars, &[backend, "from-env", "100000"]).until("polled");
    let ended = ended.send(SIGTERM).end();
    ended.code(0);
    assert_eq!(ended.timeout(), Duration::from_millis(32_500), "{}", ended.report);
}

fn nonsense_in_the_environment_is_an_error_at_the_start(backend: &str) {
    for (vars, said) in [
        (&[("ADJOURN_GRACE_PERIOD", "30s")][..], "ADJOURN_GRACE_PERIOD is \"30s\": it has to be a"),
        (&[("ADJOURN_TIMEOUT", "2"), ("ADJOURN_DRAIN_LIMIT", "3")], "ADJOURN_DRAIN_LIMIT=\"3\""),
    ] {
        let ended = Probe::start_in(vars, &[backend, "from-env", "100000"]).end();
        ended.code(1).complained(said);
        assert!(!ended.lines.contains(&"polled".to_owned()), "{:?}", ended.lines);
    }
}

adjourn_processes::on_every_backend! {
    sigterm_stops
    sigint_stops
    a_burst_is_one_request
    graceful_work_is_drained
    shielded_work_is_waited_for
    cleanup_runs
    a_signal_at_the_start_is_not_lost
    wedged_workers_do_not_outlast_the_deadline
    a_wedged_caller_is_ended_with_the_report
    a_second_sigint_forces
    sigint_hurries_the_executor_after_the_end_in_order
    sigint_after_the_end_does_not_hide_a_hook_that_was_cut_off
    a_stuck_job_does_not_outlast_the_deadline
    exit_codes
    run_twice_and_then_signals_act_as_before
    a_repetition_after_the_end_is_swallowed_for_a_while
    an_ignored_signal_stays_ignored
    many_unread_signals_lose_none
    a_forked_child_does_not_stop_the_parent
    a_stopped_process_ends_in_order
    the_signal_is_raised_again_by_option
    ten_thousand_parked_tasks_end
    the_environment_sets_the_limits
    nonsense_in_the_environment_is_an_error_at_the_start
}

#[test]
fn a_local_task_that_keeps_the_calling_thread_holds_up_no_hook() {
    let _busy = busy();
    let ended = Probe::start(&["tokio-local", "wedge", "3000"]).until("ready").send(SIGTERM).end();
    ended.code(124).said("the hook ran").complained("task \"local\"").complained("inside a poll");
    assert!(ended.took < Duration::from_secs(20), "{:?}", ended.took);
}

fn a_source_of_signals_stops(backend: &str) {
    for (signal, name) in [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT")] {
        let probe = Probe::start(&[backend, "attached"]).until("ready").send(signal);
        let ended = probe.end();
        ended.code(0).said("cleaned up").reason(serde_json::json!({ "Signal": name }));
    }
}

#[test]
fn tokio_signal_is_a_source() {
    a_source_of_signals_stops("tokio-source");
}

#[test]
fn async_signal_is_a_source_and_refuses_what_is_forbidden() {
    a_source_of_signals_stops("smol-source");
    let ended = Probe::start(&["smol-source", "attached"]).until("ready").send(SIGTERM).end();
    ended.code(0).said("async-signal cannot listen to SIGKILL: leave it out");
}

#[cfg(target_os = "linux")]
#[test]
fn a_service_manager_is_told_of_the_start_and_of_the_stop() {
    let name = format!("adjourn-probe-{}", std::process::id());
    let path = std::env::temp_dir().join(&name);
    _ = std::fs::remove_file(&path);
    for (address, var, times) in [
        (SocketAddr::from_pathname(&path), path.to_str().expect("it is text").to_owned(), "1"),
        (SocketAddr::from_abstract_name(&name), format!("@{name}"), "3"),
    ] {
        let manager = UnixDatagram::bind_addr(&address.expect("an address")).expect("it is free");
        // Only keeps a broken test from hanging.
        manager.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let hear = || {
            let mut told = [0; 64];
            let length = manager.recv(&mut told).expect("it is told");
            String::from_utf8_lossy(&told[..length]).into_owned()
        };
        let probe = Process::start(
            "--default-signal=TERM",
            Path::new(env!("CARGO_BIN_EXE_probe")),
            &["tokio-1", "serving", times],
            &[("NOTIFY_SOCKET", &var)],
        );
        let probe = probe.until("ready");
        assert_eq!(hear(), "READY=1");
        probe.send(SIGTERM).end().code(0);
        assert_eq!(hear(), "STOPPING=1");
        manager.set_nonblocking(true).expect("it can be");
        assert!(manager.recv(&mut [0; 64]).is_err(), "it is told nothing twice");
    }
    std::fs::remove_file(&path).expect("it is there");
}
