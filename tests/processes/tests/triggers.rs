//! Programs that are stopped where no signal comes, by each trigger, on every backend.
//!
//! The bounds on time are wide: they tell an answer from none.

#![cfg(unix)]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use adjourn_processes::Process;
use libc::SIGKILL;
use tempfile::TempDir;

/// Far beyond what any answer takes.
const LONG: Duration = Duration::from_secs(20);

/// A program with a directory of its own.
struct Place {
    directory: TempDir,
    backend: &'static str,
}

impl Place {
    fn new(backend: &'static str) -> Place {
        Place { directory: tempfile::tempdir().expect("there is room"), backend }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn start(&self, trigger: &str, how: &str) -> Process {
        let directory = self.directory.path().to_str().expect("it is text");
        let args = [self.backend, trigger, directory, how];
        let program = Path::new(env!("CARGO_BIN_EXE_triggers"));
        Process::start("--default-signal=INT,TERM", program, &args, &[])
    }

    fn client(&self) -> UnixStream {
        let client = UnixStream::connect(self.path("control")).expect("it listens");
        client.set_read_timeout(Some(LONG)).expect("it is a time");
        client
    }

    fn says(&self, line: &str) -> String {
        answer(self.client(), line)
    }
}

fn answer(mut client: impl Read + Write, line: &str) -> String {
    client.write_all(line.as_bytes()).expect("it takes a line");
    let mut got = String::new();
    client.read_to_string(&mut got).expect("it answers");
    got
}

fn a_file_that_is_there_stops_the_program(backend: &'static str) {
    let place = Place::new(backend);
    let program = place.start("file", "").until("ready");
    fs::write(place.path("stop"), "").expect("there is room");
    let ended = program.end();
    let path = place.path("stop").canonicalize().expect("it stays");
    ended.code(0).said(&format!("stopped by a request: the file {}", path.display()));
    // It is still there, and the next start says so.
    let ended = place.start("file", "").end();
    ended.code(1).complained("it is there already").complained("File::remove_old");
    assert!(!ended.lines.contains(&"ready".to_owned()), "main was polled");
}

fn a_socket_takes_commands(backend: &'static str) {
    let place = Place::new(backend);
    let program = place.start("socket", "draining").until("ready");
    let status = place.says("status\n");
    assert!(status.starts_with("Running, not ready, up "), "{status}");
    assert!(status.ends_with(" s, 2 alive\n"), "{status}");
    assert_eq!(place.says("halt\n"), "error: no such command: say stop or status\n");
    assert_eq!(place.says("stop\n"), "stopping\n");
    let program = program.until("draining");
    let status = place.says("status\n");
    assert!(status.starts_with("Draining, up ") && status.contains(", at most "), "{status}");
    let ended = program.enter("go").end();
    ended.code(0);
    assert!(ended.lines.iter().any(|line| line.starts_with("stopped by a request: the socket ")));
    assert!(!place.path("control").exists(), "it goes with the program");
}

fn a_trigger_asks_once_and_is_looked_at_in_the_stop(backend: &'static str) {
    let place = Place::new(backend);
    let program = place.start("file+socket", "draining").until("ready");
    fs::write(place.path("stop"), "").expect("there is room");
    let program = program.until("draining");
    // Four looks at the file that is there.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(place.says("stop\n"), "stopping\n");
    assert_eq!(place.says("stop\n"), "stopping\n");
    program.enter("go").end().code(0).said("asked 2 times");
}

fn a_status_is_one_line_whatever_the_reason(backend: &'static str) {
    let place = Place::new(backend);
    let program = place.start("socket", "lines").until("draining");
    let status = place.says("status\n");
    assert!(status.contains(", stops: a request: two lines, at most "), "{status}");
    assert_eq!(status.matches('\n').count(), 1, "{status}");
    program.enter("go").end().code(0);
}

fn a_trigger_works_with_every_worker_stuck(backend: &'static str) {
    let place = Place::new(backend);
    let program = place.start("socket", "wedged").until("ready");
    assert!(place.says("status\n").contains(" alive"));
    assert_eq!(place.says("stop\n"), "stopping\n");
    program.end().code(124).complained("first cause: a request: the socket ");
}

/// A hundred at once: some say nothing, some never end their line, some talk rubbish, some hang up.
fn bad_clients_neither_stop_nor_stall_the_program(backend: &'static str) {
    let place = Place::new(backend);
    let program = place.start("socket", "").until("ready");
    let mut crowd = Vec::new();
    for number in 0..100 {
        let mut client = place.client();
        // Who was sent away already has nobody to talk to.
        let _: io::Result<()> = match number % 5 {
            0 => Ok(()),
            1 => client.write_all(b"st"),
            2 => client.write_all(&[b'x'; 10_000]),
            3 => client.write_all(b"\xff\xfe stop stop stop\n"),
            _ => client.shutdown(Shutdown::Both),
        };
        crowd.push(client);
    }
    assert_eq!(place.says("stop\n"), "stopping\n");
    program.end().code(0);
    drop(crowd);
}

fn what_a_killed_run_has_left_is_replaced(backend: &'static str) {
    let place = Place::new(backend);
    let killed = place.start("socket", "").until("ready").send(SIGKILL).end();
    assert!(!killed.status.success());
    assert!(place.path("control").exists());
    let program = place.start("socket", "").until("ready");
    // A living one is left alone.
    let second = place.start("socket", "").end();
    second.code(1).complained("a program answers there already");
    assert!(!second.lines.contains(&"ready".to_owned()), "main was polled");
    assert_eq!(place.says("stop\n"), "stopping\n");
    program.end().code(0);
}

fn a_port_takes_commands_from_who_knows_the_secret(backend: &'static str) {
    let place = Place::new(backend);
    // Free a moment ago: where somebody took it meanwhile, another one is tried.
    let (program, port) = (0..20)
        .find_map(|_| {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
            let port = free.local_addr().ok()?.port();
            drop(free);
            Some((place.start(&port.to_string(), "").until("ready"), port))
        })
        .expect("there is a port");
    let client = || {
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
        client.set_read_timeout(Some(LONG)).expect("it is a time");
        client
    };
    let secret = fs::read_to_string(place.path("secret")).expect("it was made");
    let secret = secret.trim();
    let wrong = "0".repeat(secret.len());
    assert_eq!(answer(client(), &format!("{wrong} stop\n")), "refused\n");
    assert!(answer(client(), &format!("{secret} status\n")).starts_with("Running"));
    assert_eq!(answer(client(), &format!("{secret} stop\n")), "stopping\n");
    program.end().code(0).said(&format!("stopped by a request: port {port}"));
}

fn the_end_of_standard_input_stops_the_program(backend: &'static str) {
    let place = Place::new(backend);
    let program = place.start("stdin", "").until("ready").enter("this is thrown away");
    let ended = program.close_input().end();
    ended.code(0).said("stopped by a request: the end of standard input");
}

fn input_that_never_blocks_is_not_at_its_end(backend: &'static str) {
    let place = Place::new(backend);
    let program = place.start("stdin", "nonblocking").until("still here");
    let program = program.enter("this is thrown away");
    let ended = program.close_input().end();
    ended.code(0).said("stopped by a request: the end of standard input");
}

fn programs_of_one_process_share_the_thread_that_waits_for_input(backend: &'static str) {
    let place = Place::new(backend);
    let program = place.start("stdin", "again").until_ending(" wait for input");
    if cfg!(target_os = "linux") {
        assert_eq!(program.last(), "1 wait for input");
    }
    let ended = program.until("ready").close_input().end();
    ended.code(0).said("stopped by a request: the end of standard input");
}

adjourn_processes::on_each_flavour! {
    a_file_that_is_there_stops_the_program
    a_socket_takes_commands
    a_trigger_asks_once_and_is_looked_at_in_the_stop
    a_status_is_one_line_whatever_the_reason
    a_trigger_works_with_every_worker_stuck
    bad_clients_neither_stop_nor_stall_the_program
    what_a_killed_run_has_left_is_replaced
    a_port_takes_commands_from_who_knows_the_secret
    the_end_of_standard_input_stops_the_program
    input_that_never_blocks_is_not_at_its_end
    programs_of_one_process_share_the_thread_that_waits_for_input
}
