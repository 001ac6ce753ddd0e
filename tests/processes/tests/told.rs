//! What a program tells people while it runs, as processes: failures when they happen.

#![cfg(unix)]

use std::path::Path;
use std::time::Duration;

use adjourn_processes::{Ended, Process};

/// What a failure's line begins with.
const BROKE: &str = "adjourn: error: task \"worker\" of root, spawned at ";

fn start(backend: &str, how: &str) -> Process {
    let program = Path::new(env!("CARGO_BIN_EXE_told"));
    Process::start("--default-signal=INT,TERM", program, &[backend, how], &[])
}

/// Lets it end.
fn end(process: Process) -> Ended {
    let ended = process.until("waiting").enter("").end();
    ended.code(0);
    ended
}

fn said(ended: &Ended, what: &str) -> usize {
    ended.err.lines().filter(|line| line.starts_with(what)).count()
}

fn a_failure_is_a_line_on_standard_error_when_it_happens(backend: &str) {
    // It runs on for as long as it is not given a line.
    let process = start(backend, "error").until_complaint(BROKE).until_complaint(": it broke\n");
    let ended = end(process.until_complaint("it burst"));
    assert_eq!(said(&ended, BROKE), 1, "{}", ended.err);
    // Rust's panic hook has told that one. The report tells both at the end.
    assert_eq!(said(&ended, "adjourn: "), 2, "{}", ended.err);
    ended.complained("\n  failure  error: ").complained("\n  failure  panic: ");
}

fn with_a_handler_or_a_listener_it_is_not(backend: &str) {
    for (how, told) in [("handler", "told of "), ("listened", "ERROR event")] {
        let ended = end(start(backend, how));
        assert_eq!(said(&ended, "adjourn: "), 1, "the report alone: {}", ended.err);
        let lines = ended.lines.iter().filter(|line| line.starts_with(told)).count();
        assert_eq!(lines, 2, "{how}: {:?}", ended.lines);
    }
    let ended = end(start(backend, "unlistened"));
    assert_eq!(said(&ended, BROKE), 1, "{}", ended.err);
}

fn what_a_scope_leaves_behind_is_told_when_it_does(backend: &str) {
    let cut_off = "adjourn: cut off: graceful task \"deaf\" of root/alone, spawned at ";
    let process = start(backend, "scope").until_complaint(cut_off);
    let ended = end(process);
    let mut told: Vec<_> = ended.err.lines().filter(|line| line.starts_with(cut_off)).collect();
    let count = told.len();
    told.dedup();
    // On a busy machine it is still there at the cut-off, too.
    assert!(count <= 2 && told.len() == count, "{}", ended.err);
}

fn it_is_told_past_the_lock_of_standard_error(backend: &str) {
    // The report is, too.
    let process = start(backend, "locked").until_complaint(BROKE);
    assert_eq!(said(&end(process), BROKE), 1);
}

fn who_does_not_read_holds_nobody_up(backend: &str) {
    // Each would wait for 20 ms: more than three minutes, and the test's own limit is one.
    let ended = end(start(backend, "many"));
    assert!(said(&ended, BROKE) >= 1 && ended.took < Duration::from_secs(60), "{:?}", ended.took);
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
    a_failure_is_a_line_on_standard_error_when_it_happens
    with_a_handler_or_a_listener_it_is_not
    what_a_scope_leaves_behind_is_told_when_it_does
    it_is_told_past_the_lock_of_standard_error
    who_does_not_read_holds_nobody_up
}
