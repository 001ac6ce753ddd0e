//! Console events in whole processes: what each does, by which exit code.
//!
//! The system offers a way to send Ctrl-C and Ctrl-Break to a group of processes, and none for the other
//! events. So a thread is started in the child where the system starts its own for an event, at
//! `CtrlRoutine` of kernelbase: it calls the handlers as the system does, and ends the process when none
//! of them has. What is not seen so is the system's own end of the process after 5 s.
#![cfg(windows)]

use std::ffi::c_void;
use std::io::{BufRead, BufReader, Read};
use std::os::windows::io::AsRawHandle;
use std::os::windows::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::CloseHandle;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, CreateRemoteThread, DETACHED_PROCESS,
};

/// The code of a process that the system's own handler ended.
const CONTROL_C_EXIT: i32 = 0xC000_013A_u32 as i32;
/// As `run` waits without an event that ends the process: far beyond what is seen here.
const DRAIN: Duration = Duration::from_secs(20);

const TOKIO: &[&str] = &["tokio"];
const ALL: &[&str] = &["tokio", "tokio-local", "smol", "async-std"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    CtrlC,
    CtrlBreak,
    Close,
    LogOff,
    Shutdown,
}

use Event::{Close, CtrlBreak, CtrlC, LogOff, Shutdown};

impl Event {
    /// The number by which the system calls the handlers.
    fn number(self) -> usize {
        match self {
            CtrlC => 0,
            CtrlBreak => 1,
            Close => 2,
            LogOff => 5,
            Shutdown => 6,
        }
    }

    fn signal(self) -> &'static str {
        match self {
            CtrlC => "SIGINT",
            CtrlBreak => "SIGBREAK",
            Close => "SIGHUP",
            LogOff | Shutdown => "SIGTERM",
        }
    }
}

struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
    lines: Vec<String>,
    start: Instant,
}

struct Ended {
    code: i32,
    lines: Vec<String>,
    err: String,
    took: Duration,
}

impl Process {
    fn start(backend: &str, scenario: &str, flags: u32) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_console"))
            .args([backend, scenario])
            .creation_flags(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        Process { child, out, lines: Vec::new(), start: Instant::now() }
    }

    fn until(mut self, wanted: &str) -> Process {
        loop {
            let mut line = String::new();
            let read = self.out.read_line(&mut line).expect("it is text");
            assert_ne!(read, 0, "{wanted:?} never came, but {:?}", self.lines);
            self.lines.push(line.trim_end().to_owned());
            if line.trim_end() == wanted {
                self.start = Instant::now();
                return self;
            }
        }
    }

    fn send(self, event: Event) -> Process {
        type Routine = unsafe extern "system" fn(*mut c_void) -> u32;
        // SAFETY: the names end with a zero. The routine has this type, and is at the same address in
        // every process, since kernelbase is. The handle is the child's, which has not been waited for.
        unsafe {
            let module = GetModuleHandleA(c"kernelbase.dll".as_ptr().cast());
            let routine = GetProcAddress(module, c"CtrlRoutine".as_ptr().cast());
            let routine = routine.expect("the routine is there");
            let routine =
                std::mem::transmute::<unsafe extern "system" fn() -> isize, Routine>(routine);
            let (process, number) = (self.child.as_raw_handle(), event.number());
            let none = ptr::null_mut();
            let thread = CreateRemoteThread(
                process,
                ptr::null(),
                0,
                Some(routine),
                ptr::without_provenance(number),
                0,
                none,
            );
            assert!(!thread.is_null(), "{}", std::io::Error::last_os_error());
            CloseHandle(thread);
        }
        self
    }

    fn ends(mut self) -> Ended {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("it is text");
        self.lines.extend(rest.lines().map(str::to_owned));
        let mut err = String::new();
        self.child.stderr.take().expect("it is piped").read_to_string(&mut err).expect("text");
        let code = self.child.wait().expect("it ends").code().expect("it has a code");
        Ended { code, lines: self.lines, err, took: self.start.elapsed() }
    }
}

impl Ended {
    #[track_caller]
    fn is(&self, code: i32, lines: &[&str]) {
        let all = format!("{:#x} after {:?}: {:?}\n{}", self.code, self.took, self.lines, self.err);
        assert_eq!(self.code, code, "{all}");
        assert_eq!(self.lines, lines, "{all}");
        println!("exit code {code:#x} after {:.1} s", self.took.as_secs_f64());
    }

    /// It ended with this code, and not by the limits that there are without an event.
    #[track_caller]
    fn is_soon(&self, code: i32) {
        let all = format!("{:#x} after {:?}: {:?}\n{}", self.code, self.took, self.lines, self.err);
        assert!(self.code == code && self.took < DRAIN / 2, "{all}");
        println!("exit code {code} after {:.1} s", self.took.as_secs_f64());
    }
}

/// Each backend with each scenario; only some have workers that can be stuck without `main`.
fn each(scenarios: &[&'static str]) -> Vec<(&'static str, &'static str)> {
    let all = scenarios.iter().flat_map(|scenario| ALL.iter().map(move |name| (*name, *scenario)));
    all.filter(|(name, scenario)| *scenario != "wedged" || ["tokio", "smol"].contains(name))
        .collect()
}

/// One at a time: a few seconds are what is tested, and there may be few processors.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn each_event_ends_it_in_order() {
    let _alone = alone();
    for backend in ALL {
        for event in [CtrlC, CtrlBreak, Close, LogOff, Shutdown] {
            let ended = Process::start(backend, "in-order", 0).until("ready").send(event).ends();
            print!("{backend}, {event:?}: ");
            ended.is(0, &["ready", "told", &format!("heard {}, code 0", event.signal())]);
        }
    }
}

#[test]
fn an_event_that_ends_the_process_brings_the_limits_forward() {
    let _alone = alone();
    for backend in ALL {
        for event in [Close, LogOff, Shutdown] {
            let ended = Process::start(backend, "deaf", 0).until("ready").send(event).ends();
            print!("{backend}, {event:?}, deaf: ");
            ended.is(124, &["ready", &format!("heard {}, code 124", event.signal())]);
            assert!(ended.took < DRAIN / 2, "{:?}", ended.took);
            assert!(ended.err.contains("deaf"), "after {:?}: {:?}", ended.took, ended.err);
        }
    }
}

#[test]
fn a_stop_that_has_begun_has_less_time_too() {
    let _alone = alone();
    for backend in ALL {
        let process = Process::start(backend, "deaf", 0).until("ready").send(CtrlBreak);
        std::thread::sleep(Duration::from_millis(700));
        let ended = process.send(Close).ends();
        print!("{backend}, CtrlBreak, then Close: ");
        ended.is(124, &["ready", "heard SIGBREAK SIGHUP, code 124"]);
        assert!(ended.took < DRAIN / 2, "{:?}", ended.took);
    }
}

#[test]
fn a_second_ctrl_c_forces_the_end() {
    let _alone = alone();
    for (backend, scenario) in each(&["deaf", "wedged"]) {
        let process = Process::start(backend, scenario, 0).until("ready").send(CtrlC);
        std::thread::sleep(Duration::from_millis(700));
        let ended = process.send(CtrlC).ends();
        print!("{backend}, CtrlC twice, {scenario}: ");
        ended.is_soon(130);
    }
}

#[test]
fn what_is_stuck_is_left_before_the_system_ends_the_process() {
    let _alone = alone();
    for (backend, scenario) in each(&["wedged", "stuck-main"]) {
        let ended = Process::start(backend, scenario, 0).until("ready").send(Close).ends();
        print!("{backend}, Close, {scenario}: ");
        ended.is_soon(124);
    }
}

#[test]
fn who_reacts_to_signals_is_told_and_cannot_put_the_end_off() {
    let _alone = alone();
    let ended = Process::start("tokio", "reacts", 0).until("ready").send(Close).ends();
    ended.is(124, &["ready", "got SIGHUP", "heard SIGHUP, code 124"]);
    assert!(ended.took < DRAIN / 2, "{:?}", ended.took);
}

#[test]
fn a_tool_ends_with_the_systems_own_code() {
    let _alone = alone();
    for backend in TOKIO {
        let ended = Process::start(backend, "cli", 0).until("ready").send(CtrlC).ends();
        ended.is(CONTROL_C_EXIT, &["ready", "told", "heard SIGINT, code 0"]);
        let ended = Process::start(backend, "cli", 0).until("ready").send(CtrlBreak).ends();
        ended.is(0, &["ready", "told", "heard SIGBREAK, code 0"]);
    }
}

#[test]
fn a_second_program_hears_that_the_process_ends() {
    let _alone = alone();
    let ended = Process::start("tokio", "twice", 0).until("ready").send(Close).ends();
    let lines =
        ["ready", "told", "heard SIGHUP, code 0", "first 0", "ready", "heard SIGHUP, code 124"];
    assert_eq!(ended.code, 124, "{:?}", ended.lines);
    let lines: Vec<_> =
        lines.iter().filter(|line| ended.lines.iter().any(|had| had == *line)).collect();
    assert!(lines.len() >= 5, "its main may come to say that it is ready: {:?}", ended.lines);
    assert!(ended.took < DRAIN / 2, "{:?}", ended.took);
}

#[test]
fn two_programs_at_once_both_hear_it() {
    let _alone = alone();
    let ended = Process::start("tokio", "two-at-once", 0).until("ready").send(Close).ends();
    assert_eq!(ended.code, 0, "{:?}\n{}", ended.lines, ended.err);
    assert!(ended.lines.contains(&"other 124".to_owned()), "{:?}", ended.lines);
    assert!(ended.took < DRAIN / 2, "{:?}", ended.took);
}

#[test]
fn what_nobody_listens_to_is_the_systems() {
    let _alone = alone();
    for event in [CtrlC, Close] {
        let ended = Process::start("tokio", "nobody", 0).until("ready").send(event).ends();
        // Its code is 0xc000013a on Windows and 0 under Wine.
        println!("{event:?}, nobody listens: exit code {:#x}", ended.code);
        assert_eq!(ended.lines, ["heard , code 0", "ready"], "it went on");
        assert!(ended.took < DRAIN / 2, "{:?}", ended.took);
    }
}

#[test]
fn tokios_own_events_have_the_same_limits() {
    let _alone = alone();
    for event in [Close, LogOff, Shutdown] {
        let ended = Process::start("tokio", "source", 0).until("ready").send(event).ends();
        ended.is(124, &["ready", &format!("heard {}, code 124", event.signal())]);
        assert!(ended.took < DRAIN / 2, "{:?}", ended.took);
    }
}

#[test]
fn async_signals_ctrl_c_is_heard_and_nothing_else_is() {
    let _alone = alone();
    let ended = Process::start("smol", "smol-source", 0).until("ready").send(CtrlC).ends();
    let refused = "async-signal cannot listen to SIGUSR1: leave it out";
    ended.is(0, &[refused, "ready", "told", "heard SIGINT, code 0"]);
}

#[test]
fn without_a_console_it_runs_and_ends() {
    let _alone = alone();
    let ended = Process::start("tokio", "over-by-itself", DETACHED_PROCESS).ends();
    ended.is(0, &["heard , code 0"]);
    let process = Process::start("tokio", "deaf", DETACHED_PROCESS).until("ready");
    let ended = process.send(Close).ends();
    ended.is(124, &["ready", "heard SIGHUP, code 124"]);
}

#[test]
#[ignore = "Wine 8 lets such a child hang"]
fn a_child_in_a_group_of_its_own_hears_ctrl_break() {
    let _alone = alone();
    let process = Process::start("tokio", "in-order", CREATE_NEW_PROCESS_GROUP).until("ready");
    let ended = process.send(CtrlBreak).ends();
    ended.is(0, &["ready", "told", "heard SIGBREAK, code 0"]);
}
