//! Health checks of a real process: what an orchestrator sees from its start to its end, on every
//! backend. Bounds on time are wide: they tell an answer from none.

#![cfg(unix)]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use adjourn_processes::Process;
use libc::{SIGINT, SIGTERM};

/// Far beyond what any answer takes.
const LONG: Duration = Duration::from_secs(20);

fn start(backend: &str, how: &str) -> (Process, u16) {
    let program = Path::new(env!("CARGO_BIN_EXE_health"));
    let process = Process::start("--default-signal=INT,TERM", program, &[backend, "0", how], &[]);
    let process = process.until_starting("port ");
    let port = process.last()["port ".len()..].parse().expect("it is a number");
    (process.until("starts"), port)
}

fn client(port: u16) -> TcpStream {
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    client.set_read_timeout(Some(LONG)).expect("it is a time");
    client
}

/// Sends bytes, and returns all that comes back.
fn send(port: u16, request: &[u8]) -> String {
    let mut client = client(port);
    client.write_all(request).expect("it takes a request");
    let mut got = String::new();
    client.read_to_string(&mut got).expect("it answers");
    got
}

/// The status and the body of an answer.
fn get(port: u16, path: &str) -> (u16, String) {
    let got = send(port, format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n").as_bytes());
    let status = got.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).expect("a status");
    let (head, body) = got.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    (status.parse().expect("a number"), body.trim_end().to_owned())
}

fn readiness_goes_at_the_stop_and_life_at_the_end(backend: &str) {
    let (program, port) = start(backend, "");
    assert_eq!(get(port, "/livez"), (200, "ok".to_owned()));
    assert_eq!(get(port, "/readyz"), (503, "the program is not ready yet".to_owned()));
    let program = program.enter("go").until("ready");
    assert_eq!(get(port, "/readyz?verbose"), (200, "ok".to_owned()));
    let program = program.send(SIGTERM).until("draining");
    assert_eq!(get(port, "/readyz"), (503, "the program is stopping".to_owned()));
    assert_eq!(get(port, "/livez"), (200, "ok".to_owned()));
    let (status, body) = get(port, "/statusz");
    let json: serde_json::Value = serde_json::from_str(&body).expect("it is JSON");
    assert_eq!((status, &json["status"]["phase"]), (200, &"Draining".into()), "{json}");
    let names: Vec<_> = json["alive"].as_array().expect("a list").iter().collect();
    assert!(names.iter().any(|task| task["task"]["name"] == "server"), "{json}");
    program.enter("go").end().code(0);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "nobody answers any more");
}

fn a_stuck_executor_is_told_of_by_liveness_alone(backend: &str) {
    let (program, port) = start(backend, "wedged");
    let program = program.enter("go").until("ready");
    let end = Instant::now() + LONG;
    let why = loop {
        let (status, body) = get(port, "/livez");
        if status == 503 {
            break body;
        }
        assert!(Instant::now() < end, "it never says so");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(why.starts_with("the executor has been stuck for "), "{why}");
    assert_eq!(get(port, "/readyz").0, 200, "it said that it is");
    assert!(get(port, "/statusz").1.contains("\"stuck\":\"the executor"));
    // From the stop on, its deadline does what a restart would.
    program.send(SIGTERM).end().code(124);
}

fn a_forced_end_leaves_an_observer_the_time_that_it_needs(backend: &str) {
    // The time is short: on a machine with too much to do it may need more now and then.
    let mut said = String::new();
    for _ in 0..10 {
        let (program, port) = start(backend, "");
        let program = program.enter("go").until("ready").send(SIGINT).until("draining");
        std::thread::sleep(Duration::from_millis(400)); // past the debounce
        let ended = program.send(SIGINT).end();
        ended.code(130);
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "it is over");
        said.clone_from(&ended.err);
        if !said.contains("the health endpoint") {
            return;
        }
    }
    panic!("it is named each time: {said}");
}

fn bad_clients_neither_stop_nor_stall_the_answers(backend: &str) {
    let (program, port) = start(backend, "");
    let mut crowd = Vec::new();
    for number in 0..100 {
        let mut client = client(port);
        // Who was sent away already has nobody to talk to.
        let _: io::Result<()> = match number % 5 {
            0 => Ok(()),
            1 => client.write_all(b"GET /livez HTTP/1.1\r\n"),
            2 => client.write_all(&[b'x'; 100_000]),
            3 => client.write_all(b"\x16\x03\x01\x02\x00\x01\x00"),
            _ => client.shutdown(Shutdown::Both),
        };
        crowd.push(client);
    }
    assert_eq!(get(port, "/livez").0, 200);
    drop(crowd);
    for (request, status) in [
        (&b"POST /livez HTTP/1.1\r\nHost: here\r\n\r\n"[..], "405"),
        (b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n", "404"),
        (b"GET\r\n\r\n", "400"),
        (&[b"GET / HTTP/1.1\r\nX: ", &[b'x'; 5000][..], b"\r\n\r\n"].concat(), "431"),
    ] {
        let got = send(port, request);
        assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{got}");
    }
    let got = send(port, b"HEAD /livez HTTP/1.0\r\n\r\n");
    assert!(got.starts_with("HTTP/1.1 200 ") && got.ends_with("\r\n\r\n"), "{got}");
    let program = program.enter("go").until("ready").send(SIGTERM).until("draining");
    program.enter("go").end().code(0);
}

fn an_address_in_use_is_an_error_at_the_start(backend: &str) {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let program = Path::new(env!("CARGO_BIN_EXE_health"));
    let ended = Process::start("--default-signal=INT", program, &[backend, &port], &[]).end();
    ended.code(1).complained(&format!("the health endpoint 127.0.0.1:{port} could not start"));
    ended.complained("use another one");
    assert!(ended.lines.is_empty(), "main was polled");
}

adjourn_processes::on_each_flavour! {
    readiness_goes_at_the_stop_and_life_at_the_end
    a_stuck_executor_is_told_of_by_liveness_alone
    a_forced_end_leaves_an_observer_the_time_that_it_needs
    bad_clients_neither_stop_nor_stall_the_answers
    an_address_in_use_is_an_error_at_the_start
}
