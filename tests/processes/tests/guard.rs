//! Guarded from the first instruction of `run` to the end of the process: whatever blocks, the
//! process ends by its deadline, or at the second SIGINT, with the right code. On every backend
//! configuration, with real signals. A row of docs/design.md's table each.
//!
//! The bounds on time are wide: they tell an end by the deadline from no end.
#![cfg(unix)]

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
#[cfg(target_os = "linux")]
use std::os::unix::fs::OpenOptionsExt;
#[cfg(target_os = "linux")]
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adjourn_processes::{Ended, Process};
use libc::{SIGCONT, SIGINT, SIGSTOP, SIGTERM};

/// Far beyond every deadline here, on any machine that is not broken.
const LONG: Duration = Duration::from_secs(20);
/// More than the debounce, and than a reaction is waited for.
const APART: Duration = Duration::from_millis(600);

fn start(backend: &str, scenario: &str, more: &[&str]) -> Process {
    start_with("--default-signal=INT,TERM,URG", &[&[backend, scenario], more].concat(), &[])
}

fn start_with(signals: &str, args: &[&str], vars: &[(&str, &str)]) -> Process {
    Process::start(signals, Path::new(env!("CARGO_BIN_EXE_guard")), args, vars)
}

fn start_to(outputs: [Stdio; 2], args: &[&str]) -> Process {
    let guard = Path::new(env!("CARGO_BIN_EXE_guard"));
    Process::start_to(outputs, "--default-signal=INT,TERM", guard, args, &[])
}

fn in_time(ended: &Ended) -> &Ended {
    assert!(ended.took < LONG, "{:?}: {:?}", ended.took, ended.err);
    ended
}

/// Held by tests whose processes take every processor.
static BUSY: Mutex<()> = Mutex::new(());

fn busy() -> MutexGuard<'static, ()> {
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

// The start.

fn a_start_that_blocks_ends_by_the_deadline(backend: &str) {
    let ended = start(backend, "building", &[]).until("building").send(SIGTERM).end();
    in_time(&ended).code(124).complained("still being built").complained("SIGTERM");
    // What the handler would make of it nobody knows, as there is no program yet.
    let ended = start(backend, "building-reaction", &[]).until("building").send(SIGTERM).end();
    in_time(&ended).code(124).complained("still being built").complained("first cause: SIGTERM");
}

fn a_start_that_blocks_is_forced_by_a_second_sigint(backend: &str) {
    let building = start(backend, "building", &["100000"]).until("building").send(SIGINT);
    let ended = building.pause(APART).send(SIGINT).end();
    in_time(&ended).code(130).complained("forced by SIGINT").complained("still being built");
}

fn a_stop_during_the_start_is_not_lost(backend: &str) {
    let building = start(backend, "building-slowly", &["100000"]).until("building");
    let ended = building.send(SIGTERM).pause(Duration::from_millis(100)).enter("go").end();
    in_time(&ended).code(0);
    assert_eq!(ended.err, "", "it ends in order");
}

fn a_stop_during_the_start_has_begun_when_main_is_polled(backend: &str) {
    let building = start(backend, "building-slowly-peek", &["100000"]).until("building");
    let ended = building.send(SIGTERM).pause(Duration::from_millis(20)).enter("go").end();
    in_time(&ended).code(0).said("requested true");
}

fn a_signal_during_the_start_is_the_reactions_once_there_is_one(backend: &str) {
    let building = start(backend, "building-slowly-reaction", &["3000"]).until("building");
    let serving = building.send(SIGTERM).pause(Duration::from_millis(100)).enter("go");
    // Far past the deadline that the start had.
    let serving = serving.until("heard SIGTERM").pause(Duration::from_secs(4));
    let ended = serving.send(SIGINT).end();
    in_time(&ended).code(0).said("ready").said("heard SIGINT");
    assert_eq!(ended.err, "", "the handler had passed over the first");
}

fn a_start_that_panics_is_an_error_with_the_cause(backend: &str) {
    let ended = start(backend, "building-panics", &[]).end();
    ended.code(1).complained("not started").complained("no threads left");
    assert!(!ended.lines.contains(&"ready".to_owned()), "main was polled");
}

fn a_signal_that_the_parent_blocked_is_heard(backend: &str) {
    let serving = start_with("--block-signal=TERM", &[backend, "serving"], &[]).until("ready");
    in_time(&serving.send(SIGTERM).end()).code(0);
}

// Reactions.

fn reactions_run_with_every_worker_stuck(backend: &str) {
    let _busy = busy();
    let ended = start(backend, "reaction", &[]).until("ready").send(SIGTERM).end();
    in_time(&ended).code(124).complained("first cause: a request");
    ended.complained("inside a poll");
}

fn a_second_sigint_forces_past_a_reaction_that_blocks(backend: &str) {
    let blocked = start(backend, "reaction-blocks", &["100000"]).until("ready").send(SIGINT);
    let ended = blocked.until("SIGINT blocks").pause(APART).send(SIGINT).end();
    in_time(&ended).code(130).complained("forced by SIGINT");
}

fn sigint_that_was_reacted_to_forces_nothing(backend: &str) {
    let mut ignoring = start(backend, "reaction-ignores", &["100000"]).until("ready");
    for _ in 0..3 {
        ignoring = ignoring.send(SIGINT).until("heard SIGINT").pause(APART);
    }
    in_time(&ignoring.send(SIGTERM).end()).code(0).said("heard SIGTERM");
}

fn a_reaction_that_panics_is_101(backend: &str) {
    let ended = start(backend, "reaction-panics", &[]).until("ready").send(SIGTERM).end();
    in_time(&ended).code(101).complained("on_signal(SIGTERM): a reaction");
}

fn callbacks_find_the_program(backend: &str) {
    let ended = start(backend, "contexts", &[]).until("ready").send(SIGTERM).end();
    in_time(&ended).code(1).said("its task in root");
    for callback in ["on_signal", "on_stop", "on_stopped", "on_failure", "on_report"] {
        ended.said(&format!("{callback} in root"));
    }
}

fn a_signal_while_an_observer_is_told_of_the_end_is_heard(backend: &str) {
    let serving = start(backend, "observer-ends", &["100000"]).until("ready");
    // Another one than that of the stop, which would be swallowed as a repetition.
    let ended = serving.send(SIGTERM).until("ended").send(SIGINT);
    let ended = ended.pause(Duration::from_millis(50)).enter("go").end();
    in_time(&ended).code(0);
}

// Sinks and subscribers.

fn a_failure_sink_that_blocks_ends_by_the_deadline(backend: &str) {
    // Between the cut-off and the deadline a busy machine has to come to rendering the report.
    let ended = start(backend, "failure-blocks", &["4000"]).end();
    in_time(&ended).code(124).complained("it broke");
}

fn a_failure_sink_that_blocks_at_the_end_is_left_to_itself(backend: &str) {
    let ended = start(backend, "late-failure-blocks", &[]).end();
    in_time(&ended).code(124).said("told").said("reported").said("returned");
    ended.complained("it was cut off before it was over");
    assert!(!ended.err.contains("stuck"), "{}", ended.err);
}

fn a_subscriber_that_blocks_ends_by_the_deadline(backend: &str) {
    let send = |scenario| start(backend, scenario, &[]).until("ready").send(SIGTERM).end();
    in_time(&send("subscriber-phase")).code(124).complained("SIGTERM");
    let twice = |scenario| {
        let blocked = start(backend, scenario, &["100000"]).until("ready").send(SIGINT);
        blocked.pause(APART).send(SIGINT).end()
    };
    in_time(&twice("subscriber-phase")).code(130).complained("forced by SIGINT");
    // Where another thread than the only one of the executor tells of it, the stop goes on meanwhile: one of
    // its others, or the teller's, where the driver does not come to it in time. Then it ends in order, but
    // perhaps for the executor itself.
    let [stopped, forced] = [send("subscriber-signal"), twice("subscriber-signal")];
    let code = |ended| in_time(ended).said("the subscriber blocks").status.code();
    let [stopped, forced] = [&stopped, &forced].map(code);
    assert!(matches!(stopped, Some(124 | 0 | 1)), "{stopped:?}");
    assert!(matches!(forced, Some(130 | 0 | 1)), "{forced:?}");
}

// The end.

fn a_report_sink_that_blocks_ends_by_the_deadline(backend: &str) {
    let ended = start(backend, "report-blocks", &[]).until("ready").send(SIGTERM).end();
    in_time(&ended).code(124).said("reporting").complained("on_report has not returned");
    assert_eq!(ended.err.matches("stuck").count(), 1, "{}", ended.err);
}

fn a_second_sigint_ends_a_report_sink_that_blocks(backend: &str) {
    let blocked = start(backend, "report-blocks", &["100000"]).until("ready").send(SIGINT);
    let ended = blocked.until("reporting").pause(APART).send(SIGINT).end();
    in_time(&ended).code(0);
    assert_eq!(ended.err, "", "the program was over in order");
}

fn a_destructor_that_blocks_ends_by_the_deadline(backend: &str) {
    let ended = start(backend, "destructor-blocks", &[]).end();
    in_time(&ended).code(124).said("dropped").complained("the thread that called `run`");
}

fn what_the_program_was_given_is_dropped_under_the_deadline(backend: &str) {
    let ended = start(backend, "sink-destructor-blocks", &[]).end();
    in_time(&ended).code(124).said("dropped").complained("the thread that called `run`");
}

fn a_signal_during_the_report_acts_as_before_or_is_in_it(backend: &str) {
    let ended = start_with("--default-signal=USR1", &[backend, "late-signal"], &[]).end();
    assert_eq!(ended.status.signal(), Some(libc::SIGUSR1), "{:?}", ended.err);
    // With a sink they are heard until it returns.
    let reported = [backend, "late-signal-reported"];
    let ended = start_with("--default-signal=USR1", &reported, &[]).end();
    ended.code(0).said("given 0").said("at the end 1");
}

fn a_thread_is_its_own_programs_again_after_another(backend: &str) {
    let ended = start(backend, "marks", &["100000"]).end();
    in_time(&ended).code(0).said("root and root").said("after it false");
}

fn a_report_passes_a_lock_of_standard_error(backend: &str) {
    let ended = start(backend, "stderr-locked", &[]).until("locked").send(SIGTERM).end();
    in_time(&ended).code(124).complained("blocking job");
}

fn a_signal_that_comes_twice_does_not_hide_the_report(backend: &str) {
    for _ in 0..5 {
        let told = start(backend, "fails-when-told", &["100000"]).until("ready").send(SIGTERM);
        in_time(&told.send(SIGTERM).end()).code(1).complained("no database");
    }
}

fn a_raised_signal_that_is_survived_is_the_exit_code(backend: &str) {
    // As for the first process of a container, whom no signal's default action ends.
    let ended = start(backend, "survives", &[]).until("ready").send(libc::SIGURG).end();
    in_time(&ended).code(128 + libc::SIGURG);
}

#[cfg(target_os = "linux")]
fn a_terminal_that_nobody_reads_holds_nothing_up(backend: &str) {
    let cases = [
        (false, "fails-at-length", 1),
        (false, "fails-at-length-and-blocks", 124),
        (true, "fails-at-length-and-blocks", 124), // as another process may have set it
    ];
    for (nonblocking, scenario, code) in cases {
        let (_unread, terminal) = nearly_full_terminal(nonblocking);
        let ended = start_to([Stdio::piped(), terminal.into()], &[backend, scenario]).end();
        in_time(&ended).code(code);
    }
}

/// A terminal with less room than a long report needs, after its other end, which nobody reads.
#[cfg(target_os = "linux")]
fn nearly_full_terminal(nonblocking: bool) -> (File, File) {
    let unread = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open("/dev/ptmx")
        .expect("there are terminals");
    let (mut number, unlocked) = (0, 0);
    // SAFETY: both calls are given what they want: a number to fill in, and one to read.
    unsafe {
        assert_eq!(libc::ioctl(unread.as_raw_fd(), libc::TIOCGPTN, &mut number), 0);
        assert_eq!(libc::ioctl(unread.as_raw_fd(), libc::TIOCSPTLCK, &unlocked), 0);
    }
    let mut terminal = File::options()
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(format!("/dev/pts/{number}"))
        .expect("it is there");
    // It takes 13 KiB or more before it is full. poll(2) calls it writable until then.
    for _ in 0..26 {
        terminal.write_all(&[b'x'; 500]).expect("there is room");
    }
    set_nonblocking(&terminal, nonblocking);
    (unread, terminal)
}

/// A pipe that is full, after its other end, which nobody reads.
fn full_pipe() -> (OwnedFd, File) {
    let mut ends = [0; 2];
    // SAFETY: pipe fills in the two descriptors, which are ours then.
    let (unread, written) = unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        ends.iter().for_each(|end| _ = libc::fcntl(*end, libc::F_SETFD, libc::FD_CLOEXEC));
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    };
    let mut written = File::from(written);
    fill(&mut written);
    set_nonblocking(&written, false);
    (unread, written)
}

/// Writes what there is room for, and leaves it non-blocking.
fn fill(file: &mut File) {
    set_nonblocking(file, true);
    for chunk in [512, 1] {
        while file.write(&[b'x'; 512][..chunk]).is_ok() {}
    }
}

fn set_nonblocking(file: &File, nonblocking: bool) {
    let flags = libc::O_WRONLY | if nonblocking { libc::O_NONBLOCK } else { 0 };
    // SAFETY: the descriptor is open.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) }, 0);
}

fn a_signal_is_raised_past_what_nobody_reads(backend: &str) {
    let args = [backend, "fails-and-raises", "100000"];
    // On a starved machine the guard may be first; not each time.
    let raised = (0..3).any(|_| {
        let (_unread_out, out) = full_pipe();
        let (_unread_err, err) = full_pipe();
        let ended = start_to([out.into(), err.into()], &args).end();
        let signal = in_time(&ended).status.signal();
        assert!(signal == Some(SIGTERM) || ended.status.code() == Some(143), "{}", ended.status);
        signal == Some(SIGTERM)
    });
    assert!(raised, "it exited each time");
}

// After it.

fn a_handler_that_is_installed_over_the_echo_is_left_in_place(backend: &str) {
    let ended = start(backend, "above-the-echo", &[]).until("ready").send(SIGTERM).end();
    in_time(&ended).code(0).said("heard 2");
}

fn signals_that_the_caller_blocked_are_heard_and_stay_blocked(backend: &str) {
    let args = [backend, "blocked-by-the-caller"];
    let ended =
        start_with("--block-signal=TERM,INT", &args, &[]).until("ready").send(SIGTERM).end();
    let (int, both) = (format!("[{SIGINT}]"), format!("[{SIGINT}, {SIGTERM}]"));
    in_time(&ended).code(0).said(&format!("blocked {both}"));
    ended.said(&format!("pending {int}")).said(&format!("pending {both}"));
}

// Surroundings.

fn a_process_that_was_paused_past_its_deadline_says_so(backend: &str) {
    let locked = start(backend, "stderr-locked", &[]).until("locked").send(SIGTERM);
    let told = Instant::now();
    let locked = locked.pause(Duration::from_millis(200));
    let stopped = Instant::now();
    let paused = locked.send(SIGSTOP).pause(Duration::from_secs(4));
    let most_seen = told.elapsed();
    let ended = paused.send(SIGCONT).end();
    in_time(&ended).code(124);
    let (_, text) =
        ended.err.split_once("the process did not run for at least ").expect(&ended.err);
    let least: f64 = text.split(' ').next().and_then(|n| n.parse().ok()).expect(&ended.err);
    // It cannot know of the pause before its next limit, which is within the timeout of a second.
    assert!(least >= most_seen.as_secs_f64() - 1.1, "{least} of {most_seen:?}");
    assert!(least <= stopped.elapsed().as_secs_f64() + 0.1, "{least} of {:?}", stopped.elapsed());
}

fn a_handler_that_takes_a_signal_over_is_told_of_once(backend: &str) {
    let taken = start(backend, "taken-over", &[]).until("taken").enter("look").until("ready");
    let ended = taken.send(SIGTERM).end();
    assert_eq!(ended.err.matches("SIGINT was taken over").count(), 1, "{}", ended.err);
    ended.code(0);
    // Who never says that it is ready is told when another signal is heard.
    let taken = start(backend, "taken-over", &["100000"]).until("taken").enter("go").until("ready");
    let ended = taken.send(SIGTERM).end();
    assert_eq!(ended.err.matches("SIGINT was taken over").count(), 1, "{}", ended.err);
}

fn a_scope_in_a_thread_local_is_no_harm(backend: &str) {
    let ended = start(backend, "thread-end", &["100000"]).end();
    in_time(&ended).code(0).said("ended true").said("a sleep from there has ended");
}

#[cfg(target_os = "linux")]
fn a_signal_for_a_thread_that_cannot_be_woken_is_heard(backend: &str) {
    let asleep = start(backend, "asleep", &[]).until("ready").pause(Duration::from_millis(300));
    // Heard only once the thread goes on, it would be the end in order.
    in_time(&asleep.send(SIGTERM).end()).code(124).complained("inside a poll");
}

#[cfg(target_os = "linux")]
fn one_thread_watches_over_a_running_program(backend: &str) {
    let ended = start(backend, "threads", &[]).until("ready").send(SIGTERM).end();
    ended.code(0).said("threads [\"adjourn-warden\"]");
}

/// A service manager that takes nothing, its address, and how much it has to read first.
#[cfg(target_os = "linux")]
fn full_manager(name: &str) -> (UnixDatagram, PathBuf, usize) {
    let name = format!("adjourn-guard-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(name);
    _ = std::fs::remove_file(&path); // left by a run of the same number that was killed
    let manager = UnixDatagram::bind(&path).expect("it is free");
    let filler = UnixDatagram::unbound().expect("a socket");
    filler.set_nonblocking(true).expect("it can be");
    let filled = (0..).take_while(|_| filler.send_to(b"full", &path).is_ok()).count();
    (manager, path, filled)
}

#[cfg(target_os = "linux")]
fn a_manager_that_cannot_take_ready_yet_is_told_again(backend: &str) {
    let (manager, path, filled) = full_manager(backend);
    let vars = [("NOTIFY_SOCKET", path.to_str().expect("it is text"))];
    let taken = start_with("--default-signal=TERM,INT", &[backend, "taken-over"], &vars);
    let taken = taken.until("taken").enter("look").until("ready");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let hear = || {
        let mut told = [0; 64];
        let length = manager.recv(&mut told).expect("it is told");
        told[..length].to_vec()
    };
    for _ in 0..filled {
        assert_eq!(hear(), b"full");
    }
    assert_eq!(hear(), b"READY=1");
    taken.send(SIGTERM).end().code(0);
    assert_eq!(hear(), b"STOPPING=1");
    std::fs::remove_file(&path).expect("it is there");
}

#[cfg(target_os = "linux")]
fn where_no_teller_can_be_had_the_warden_does_its_work_and_rests(backend: &str) {
    let (manager, path, _) = full_manager(&format!("resting-{backend}"));
    let vars = [("NOTIFY_SOCKET", path.to_str().expect("it is text"))];
    let scarce = start_with("--default-signal=TERM,INT", &[backend, "no-teller"], &vars);
    let ended = scarce.until("ready").send(SIGTERM).end();
    in_time(&ended).code(0).said("idle");
    drop(manager);
    std::fs::remove_file(&path).expect("it is there");
}

adjourn_processes::on_every_backend! {
    a_start_that_blocks_ends_by_the_deadline
    a_start_that_blocks_is_forced_by_a_second_sigint
    a_stop_during_the_start_is_not_lost
    a_stop_during_the_start_has_begun_when_main_is_polled
    a_signal_during_the_start_is_the_reactions_once_there_is_one
    a_start_that_panics_is_an_error_with_the_cause
    a_signal_that_the_parent_blocked_is_heard
    reactions_run_with_every_worker_stuck
    a_second_sigint_forces_past_a_reaction_that_blocks
    sigint_that_was_reacted_to_forces_nothing
    a_reaction_that_panics_is_101
    callbacks_find_the_program
    a_signal_while_an_observer_is_told_of_the_end_is_heard
    a_failure_sink_that_blocks_ends_by_the_deadline
    a_failure_sink_that_blocks_at_the_end_is_left_to_itself
    a_subscriber_that_blocks_ends_by_the_deadline
    a_report_sink_that_blocks_ends_by_the_deadline
    a_second_sigint_ends_a_report_sink_that_blocks
    a_destructor_that_blocks_ends_by_the_deadline
    what_the_program_was_given_is_dropped_under_the_deadline
    a_signal_during_the_report_acts_as_before_or_is_in_it
    a_thread_is_its_own_programs_again_after_another
    a_report_passes_a_lock_of_standard_error
    a_signal_that_comes_twice_does_not_hide_the_report
    a_raised_signal_that_is_survived_is_the_exit_code
    #[cfg(target_os = "linux")] a_terminal_that_nobody_reads_holds_nothing_up
    a_signal_is_raised_past_what_nobody_reads
    a_handler_that_is_installed_over_the_echo_is_left_in_place
    signals_that_the_caller_blocked_are_heard_and_stay_blocked
    a_process_that_was_paused_past_its_deadline_says_so
    a_handler_that_takes_a_signal_over_is_told_of_once
    a_scope_in_a_thread_local_is_no_harm
    #[cfg(target_os = "linux")] a_signal_for_a_thread_that_cannot_be_woken_is_heard
    #[cfg(target_os = "linux")] one_thread_watches_over_a_running_program
    #[cfg(target_os = "linux")] where_no_teller_can_be_had_the_warden_does_its_work_and_rests
    #[cfg(target_os = "linux")] a_manager_that_cannot_take_ready_yet_is_told_again
}
