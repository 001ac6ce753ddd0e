//! Natural programs as processes, with a real SIGTERM while work is in hand, on every backend: the
//! work is finished, nothing more is taken, and the end is in order. Every line that they print is
//! asserted.

#![cfg(unix)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use adjourn_processes::{Ended, Process};
use libc::SIGTERM;

fn start(backend: &str, shape: &str) -> Process {
    let natural = Path::new(env!("CARGO_BIN_EXE_natural"));
    Process::start("--default-signal=TERM", natural, &[backend, shape], &[])
}

/// What is cut at the stop is cut within this, mostly; what is finished waits for us.
const CUT: Duration = Duration::from_millis(200);

/// Stops it with work in hand, which is then let go on.
fn stopped(process: Process) -> Process {
    process.until("ready").send(SIGTERM).until("stopping").pause(CUT).enter("go")
}

#[track_caller]
fn ended_in_order(ended: &Ended, lines: &[&str]) {
    ended.code(0);
    assert_eq!(
        (&*ended.lines, &*ended.err),
        (&*lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>(), "")
    );
}

#[test]
fn axum_answers_the_request_in_hand() {
    for backend in ["tokio-current", "tokio-n"] {
        for shape in ["axum", "axum-block"] {
            axum_answers(backend, shape);
        }
    }
}

fn axum_answers(backend: &str, shape: &str) {
    let server = start(backend, shape).until_starting("at ");
    let at = server.last().strip_prefix("at ").expect("it was just read").to_owned();
    let mut client = TcpStream::connect(&at).expect("it listens");
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    client.write_all(request).expect("it is connected");
    let server = stopped(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it is answered");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer:?}");
    ended_in_order(&server.end(), &[&format!("at {at}"), "ready", "stopping"]);
}

fn a_queue_finishes_the_job_in_hand_and_takes_no_other(backend: &str) {
    let ended = stopped(start(backend, "queue")).end();
    ended_in_order(&ended, &["ready", "stopping", "did 0", "left 2"]);
}

fn a_loop_over_select_acts_once_more(backend: &str) {
    let ended = stopped(start(backend, "select")).end();
    ended_in_order(&ended, &["ready", "stopping", "flushed [0, 1, 2]"]);
}

fn a_main_that_unwraps_a_task_does_not_panic(backend: &str) {
    let ended = start(backend, "unwrap").until("ready").send(SIGTERM).end();
    ended_in_order(&ended, &["ready", "stopping", "dropped"]);
    let ended = stopped(start(backend, "unwrap-scope")).end();
    let stopped = ended.lines.get(1).map_or("", String::as_str);
    let order =
        if stopped == "dropped" { ["dropped", "stopping"] } else { ["stopping", "dropped"] };
    ended_in_order(&ended, &["ready", order[0], order[1], "did it"]);
}

fn workers_are_joined_after_the_stop(backend: &str) {
    let ended = stopped(start(backend, "pool")).end();
    ended_in_order(&ended, &["ready", "stopping", "did 3, left 7"]);
}

fn a_blocking_job_ends_between_two_steps(backend: &str) {
    let ended = stopped(start(backend, "job")).end();
    ended_in_order(&ended, &["ready", "stopping", "did 0", "1 of 3"]);
}

adjourn_processes::on_each_flavour! {
    a_queue_finishes_the_job_in_hand_and_takes_no_other
    a_loop_over_select_acts_once_more
    a_main_that_unwraps_a_task_does_not_panic
    workers_are_joined_after_the_stop
    a_blocking_job_ends_between_two_steps
}
