//! What a person sees of a stop, as processes: on a terminal, in place; elsewhere, in lines.
//!
//! How long something takes is only ever a limit on how soon it may come.

#![cfg(unix)]

use std::path::Path;

use adjourn_processes::Process;
use adjourn_processes::terminal::{Terminal, screen};
use libc::{SIGTERM, SIGUSR1};

const CTRL_C: &str = "\x03";
const AGAIN: &str = "Ctrl-C again ends it now.";

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_told"))
}

fn start(args: &[&str]) -> Process {
    Process::start("--default-signal=INT,TERM,USR1", program(), args, &[]).until("ready")
}

fn start_on(terminal: &Terminal, args: &[&str], vars: &[(&str, &str)]) -> Process {
    // What the machine that tests is like is no part of it.
    let vars = [&[("TERM", "xterm"), ("NO_COLOR", "")], vars].concat();
    let dispositions = "--default-signal=INT,TERM,USR1";
    Process::start_on(terminal, dispositions, program(), args, &vars).until("ready")
}

/// What is shown at the end, without empty lines and the `^C` of the terminal's echo.
fn shown(sent: &str, columns: usize) -> Vec<String> {
    let lines = screen(sent, columns).into_iter().map(|line| line.replace("^C", ""));
    lines.filter(|line| !line.is_empty()).collect()
}

fn a_line_says_whom_the_stop_waits_for_and_is_gone_at_the_end(backend: &str) {
    let mut terminal = Terminal::new(120);
    let process = start_on(&terminal, &[backend, "stop"], &[]);
    terminal.press(CTRL_C);
    let sent = terminal.until(AGAIN);
    let line = shown(sent, 120).pop().expect("there is one");
    assert!(line.starts_with("Stopping, at most "), "{line}");
    assert!(line.contains(" s: waiting for ") && !line.contains(" more."), "{line}");
    // Of two that are as old, either comes first.
    assert!(line.contains("http/GET /export") && line.contains("mailer/flush"), "{line}");
    // It is renewed in place.
    terminal.until("Stopping");
    let sent = terminal.until(AGAIN);
    assert_eq!(shown(sent, 120).len(), 1, "{sent:?}");
    assert!(sent.contains("\x1b[33mStopping\x1b[0m"), "{sent:?}");
    process.enter("go").end().code(0);
    let sent = terminal.rest();
    assert!(shown(&sent, 120).is_empty(), "{sent:?}");
}

fn on_a_narrow_terminal_names_are_left_out_first(backend: &str) {
    let mut terminal = Terminal::new(64);
    let process = start_on(&terminal, &[backend, "stop"], &[("NO_COLOR", "1")]);
    terminal.press(CTRL_C);
    let sent = terminal.until(AGAIN);
    let lines = shown(sent, 64);
    let [line] = &lines[..] else { panic!("{sent:?}") };
    let time = line.strip_prefix("Stopping, at most ").and_then(|line| line.strip_suffix(AGAIN));
    assert!(time.is_some_and(|time| time.ends_with(" s. ") && time.len() == 6), "{line}");
    assert!(!sent.contains("\x1b[3"), "no color: {sent:?}");
    process.enter("go").end().code(0);
    assert!(shown(&terminal.rest(), 64).is_empty());
}

fn other_lines_come_in_place_of_the_line_that_stands_there(backend: &str) {
    let mut terminal = Terminal::new(120);
    let process = start_on(&terminal, &[backend, "failing"], &[]);
    terminal.press(CTRL_C);
    terminal.until(AGAIN);
    let process = process.send(SIGUSR1);
    terminal.until("root/mailer  flush");
    terminal.until(AGAIN); // the line is there again
    let process = process.enter("fail");
    terminal.until("it broke");
    terminal.until(AGAIN);
    process.enter("go").end();
    let lines = shown(&terminal.rest(), 120);
    assert!(lines[0].starts_with("adjourn: Draining, "), "{lines:?}");
    let failure = lines.iter().find(|line| line.contains("it broke")).expect("it is told");
    assert!(failure.starts_with("adjourn: error: shielded task \"breaks\" of root"), "{lines:?}");
    let lines: Vec<_> = lines.iter().filter(|line| line.contains("Stopping")).collect();
    assert!(lines.is_empty(), "{lines:?}");
}

fn a_second_ctrl_c_says_what_had_not_finished(backend: &str) {
    let mut terminal = Terminal::new(120);
    let process = start_on(&terminal, &[backend, "stop"], &[]);
    terminal.press(CTRL_C);
    terminal.until(AGAIN);
    terminal.press(CTRL_C);
    process.end().code(130);
    let lines = shown(&terminal.rest(), 120);
    assert!(lines[0].starts_with("Ended by Ctrl-C after "), "{lines:?}");
    assert!(
        lines[0].contains(" s. Not finished: ") && lines[0].contains("mailer/flush"),
        "{lines:?}"
    );
    assert!(lines[0].ends_with(" Exit code 130."), "{lines:?}");
    assert!(lines[1].starts_with("adjourn: exit code 130, forced by SIGINT"), "{lines:?}");
}

fn after_sigterm_it_says_how_often_ctrl_c_is_to_be_pressed(backend: &str) {
    let mut terminal = Terminal::new(120);
    let process = start_on(&terminal, &[backend, "stop"], &[]).send(SIGTERM);
    terminal.until("Ctrl-C twice ends it now.");
    terminal.press(CTRL_C);
    terminal.until(AGAIN);
    terminal.press(CTRL_C);
    process.end().code(130);
}

fn a_stop_that_is_over_soon_says_nothing(backend: &str) {
    let mut terminal = Terminal::new(120);
    let process = start_on(&terminal, &[backend, "quick"], &[]);
    terminal.press(CTRL_C);
    process.end().code(0);
    assert!(shown(&terminal.rest(), 120).is_empty());
}

fn with_every_worker_wedged_it_works_and_tears_no_report(backend: &str) {
    let mut terminal = Terminal::new(120);
    let process = start_on(&terminal, &[backend, "wedged", "2000"], &[]);
    terminal.press(CTRL_C);
    terminal.until(", at most ");
    process.end().code(124);
    let sent = terminal.rest();
    let lines = shown(&sent, 120);
    assert!(lines[0].starts_with("adjourn: exit code 124, "), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("Stopping")), "{lines:?}");
}

/// The terminal stops a background job that writes, where it is told to (`stty tostop`).
fn a_background_job_goes_on_and_writes_over_nothing(backend: &str) {
    let terminal = Terminal::new(120);
    // The shell hands SIGTERM on, and ends with the job's code.
    let shell = "stty tostop <&2; set -m; \"$@\" <&0 & trap \"kill -TERM $!\" TERM; \
                 wait $!; wait $!; exit $?";
    let program = program().to_str().expect("text");
    let args = ["-c", shell, "sh", program, backend, "stop", "1500"];
    let vars = [("TERM", "xterm")];
    let dispositions = "--default-signal=INT,TERM,TTOU";
    let process = Process::start_on(&terminal, dispositions, Path::new("sh"), &args, &vars);
    process.until("ready").send(SIGTERM).end().code(124);
    let sent = terminal.rest();
    assert!(sent.contains("adjourn: exit code 124") && !sent.contains("\x1b["), "{sent:?}");
}

fn a_terminal_that_takes_nothing_holds_nobody_up(backend: &str) {
    let mut terminal = Terminal::new(120);
    let process = start_on(&terminal, &[backend, "stop"], &[]);
    terminal.press(CTRL_C);
    terminal.until(AGAIN);
    terminal.hold();
    // It would wait for ever, and the test's own limit is a minute.
    process.enter("go").end().code(0);
}

fn elsewhere_there_is_a_line_at_half_of_the_time_and_each_quarter_after(backend: &str) {
    let ended = start(&[backend, "stop", "2000"]).send(SIGTERM).end();
    ended.code(124);
    let told: Vec<_> =
        ended.err.lines().filter(|line| line.starts_with("adjourn: stopping for ")).collect();
    // On a machine that is busy the first may come when three quarters are over.
    assert!((1..=2).contains(&told.len()), "{}", ended.err);
    for line in told {
        assert!(line.contains(" s (SIGTERM), at most ") && line.contains(" s more; "), "{line}");
        assert!(line.contains("waiting for ") && line.contains("mailer/flush"), "{line}");
    }
    assert!(!ended.err.contains('\x1b'), "{:?}", ended.err);
}

fn it_is_silent_where_it_is_asked_to_be(backend: &str) {
    let ended = start(&[backend, "stop", "1000", "never"]).send(SIGTERM).end();
    ended.code(124);
    assert!(ended.err.starts_with("adjourn: exit code 124"), "{}", ended.err);
}

#[test]
fn an_attached_program_tells_nothing_unless_it_is_asked_to() {
    let attached = |narrate| {
        let ended = start(&["tokio-n", "attached", "1000", narrate]).send(SIGTERM).end();
        ended.code(124);
        ended.err.contains("adjourn: stopping for ")
    };
    assert_eq!([attached("automatic"), attached("always")], [false, true]);
}

fn a_signal_prints_what_is_alive_with_every_worker_wedged_too(backend: &str) {
    for how in ["stop", "wedged"] {
        let process = start(&[backend, how, "1000"]).send(SIGUSR1);
        let process = process.until_complaint("adjourn: Running, not ready, up ");
        let process = process.until_complaint("mailer").until_complaint("\n  root/mailer  flush");
        // It goes on, and may be asked again.
        let process = process.send(SIGTERM).until_complaint("adjourn: ");
        let ended = process.end();
        ended.code(124);
        let line = ended.err.lines().find(|line| line.contains("GET /export")).expect("a line");
        for part in ["root/http", "graceful task", "src/bin/told.rs:"] {
            assert!(line.contains(part), "no {part} in {line}");
        }
    }
}

macro_rules! on {
    ($($test:ident)*) => {
        on! { @ "tokio-current" tokio_current $($test)* }
        on! { @ "tokio-n" tokio_n $($test)* }
        on! { @ "smol-current" smol_current $($test)* }
        on! { @ "smol-n" smol_n $($test)* }
        on! { @ "async-std" async_std $($test)* }
    };
    (@ $backend:literal $module:ident $($test:ident)*) => {
        mod $module {
            $(#[test]
            fn $test() {
                super::$test($backend);
            })*
        }
    };
}

on! {
    a_line_says_whom_the_stop_waits_for_and_is_gone_at_the_end
    on_a_narrow_terminal_names_are_left_out_first
    other_lines_come_in_place_of_the_line_that_stands_there
    a_second_ctrl_c_says_what_had_not_finished
    after_sigterm_it_says_how_often_ctrl_c_is_to_be_pressed
    a_stop_that_is_over_soon_says_nothing
    with_every_worker_wedged_it_works_and_tears_no_report
    a_background_job_goes_on_and_writes_over_nothing
    a_terminal_that_takes_nothing_holds_nobody_up
    elsewhere_there_is_a_line_at_half_of_the_time_and_each_quarter_after
    it_is_silent_where_it_is_asked_to_be
    a_signal_prints_what_is_alive_with_every_worker_wedged_too
}
