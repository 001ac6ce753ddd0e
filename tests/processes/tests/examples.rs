//! The examples, run as a user would: real signals, their output and exit codes, on every backend.
#![cfg(unix)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use adjourn_processes::{Ended, Process};
use libc::{SIGINT, SIGTERM};

/// Builds the examples once, whatever was asked of cargo, and returns where they are.
fn examples() -> &'static Path {
    static EXAMPLES: OnceLock<PathBuf> = OnceLock::new();
    EXAMPLES.get_or_init(|| {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "-p", "adjourn-examples", "--all-features", "--examples"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the examples do not build");
        let probe = Path::new(env!("CARGO_BIN_EXE_probe"));
        probe.parent().expect("it is in a directory").join("examples")
    })
}

fn start(backend: &str, example: &str, args: &[&str]) -> Process {
    let program = examples().join(example);
    let vars = [("ADJOURN_BACKEND", backend)];
    Process::start("--default-signal=INT,TERM", &program, args, &vars)
}

/// Runs what a signal is to interrupt; again where it came too late, as it may on a busy machine: then
/// the process says `late`.
#[track_caller]
fn in_time(late: &str, run: impl Fn() -> Ended) -> Ended {
    let is_late = |ended: &Ended| {
        ended.err.contains(late) || ended.lines.iter().any(|line| line.contains(late))
    };
    let mut runs = (0..10).map(|_| run());
    runs.find(|ended| !is_late(ended)).unwrap_or_else(|| panic!("each time it says {late:?}"))
}

#[track_caller]
fn in_order(ended: &Ended, lines: &[&str]) {
    let mut rest = ended.lines.iter();
    for line in lines {
        assert!(rest.any(|said| said == line), "no {line:?} in its place in {:?}", ended.lines);
    }
}

fn quickstart(backend: &str) {
    for signal in [SIGINT, SIGTERM] {
        let ended = in_time("short: finished", || {
            start(backend, "quickstart", &[]).until("long: tick 2 of 10").send(signal).end()
        });
        ended.code(0).said("short: cancelled, cleaned up").said("long: cancelled, cleaned up");
        assert_eq!(ended.err, "", "an orderly stop prints nothing");
    }
}

fn echo_server(backend: &str) {
    for signal in [SIGINT, SIGTERM] {
        let server = start(backend, "echo_server", &[]).until_starting("listening on ");
        let address = server.last().rsplit(' ').next().expect("an address").to_owned();
        let mut client = TcpStream::connect(&address).expect("it listens");
        client.write_all(b"before").expect("it is connected");
        let mut echoed = [0; 6];
        client.read_exact(&mut echoed).expect("it echoes");
        assert_eq!(&echoed, b"before");
        let server = server.send(signal).until("no more connections");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).expect("it closes in order");
        assert_eq!(rest, b"");
        let ended = server.end();
        ended.code(0).said("all connections closed");
        assert!(TcpStream::connect(&address).is_err(), "something still listens");
    }
    start(backend, "echo_server", &["nonsense"]).end().code(2).complained("not an address");
}

fn http_server(backend: &str) {
    for signal in [SIGINT, SIGTERM] {
        let server = start(backend, "http_server", &[]).until_starting("listening on ");
        let address = server.last().rsplit(' ').next().expect("an address").to_owned();
        let connect = || TcpStream::connect(&address).expect("it listens");
        let (mut used, mut clock) = (connect(), connect());
        let ask = |stream: &mut TcpStream, path: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("it is connected");
        };
        ask(&mut used, "/");
        let mut seen = String::new();
        let mut read = |stream: &mut TcpStream, end: &str| {
            seen.clear();
            while !seen.contains(end) {
                let mut bytes = [0; 1024];
                let count = stream.read(&mut bytes).expect("it answers");
                assert!(count > 0, "{seen:?} has no {end:?}");
                seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
            seen.clone()
        };
        assert!(!read(&mut used, "hello").contains("connection: close"));
        ask(&mut clock, "/clock");
        read(&mut clock, "tick 1");
        let server = server.send(signal);
        // Whatever the clock said before, it says goodbye: then the stop has been told.
        read(&mut clock, "event: bye\ndata: true");
        ask(&mut used, "/");
        assert!(read(&mut used, "hello").contains("connection: close"));
        drop((used, clock));
        server.end().code(0).said("all requests are answered");
    }
    start(backend, "http_server", &["nonsense"]).end().code(2).complained("not an address");
}

fn shield(backend: &str) {
    for signal in [SIGINT, SIGTERM] {
        let ended = in_time("apart: waited for", || {
            start(backend, "shield", &[]).until("apart: 1").send(signal).end()
        });
        ended.code(0).said("in place: done!");
        in_order(&ended, &["oh noes!", "apart: 9", "apart: done!"]);
        let line = "in place: not stopped".to_owned();
        assert!(!ended.lines.contains(&line), "{line:?} in {:?}", ended.lines);
    }
}

fn stop_on_error(backend: &str) {
    let ended = start(backend, "stop_on_error", &[]).end();
    ended.code(1).said("adder: 21 so far").said("first: cancelled").said("second: cancelled");
    ended.complained("row 2 cannot be read: invalid digit found in string");
    let ended = in_time("row 2 cannot be read", || {
        start(backend, "stop_on_error", &[]).until("adder: 1 so far").send(SIGINT).end()
    });
    ended.code(0).said("first: cancelled");
}

fn ordered(backend: &str) {
    for signal in [SIGINT, SIGTERM] {
        let mut program = start(backend, "ordered", &[]);
        for _ in 0..6 {
            program = program.until_ending(": started");
        }
        let ended = program.send(signal).end();
        ended.code(0);
        let parts = ["http", "workers", "db"];
        let lines: Vec<String> = parts
            .iter()
            .flat_map(|part| {
                ["1: finished", "2: finished"]
                    .map(|end| format!("{part} {end}"))
                    .into_iter()
                    .chain([format!("{part}: stopped")])
            })
            .collect();
        in_order(&ended, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        in_order(&ended, &["http: stopped", "workers 1: asked to stop"]);
        in_order(&ended, &["workers: stopped", "db 1: asked to stop"]);
    }
}

fn attach(backend: &str) {
    for signal in [SIGINT, SIGTERM] {
        let ended = start(backend, "attach", &[]).until("tick 2").send(signal).end();
        ended.code(0);
        in_order(&ended, &["ticker: cleaned up", "the executor goes on"]);
    }
}

fn tempfiles(backend: &str) {
    const DONE: &str = "60000 bytes, no file left";
    let run = |signal: Option<i32>| {
        let name = format!("adjourn-{backend}-{}-{signal:?}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).expect("a new directory");
        let path = directory.to_str().expect("it is text").to_owned();
        let mut tool = start(backend, "tempfiles", &[&path]).until_starting("created ");
        if let Some(signal) = signal {
            tool = tool.send(signal);
        }
        let ended = tool.end();
        let left = fs::read_dir(&directory).expect("it is there").count();
        fs::remove_dir_all(&directory).expect("it can be removed");
        assert_eq!(left, 0, "{signal:?} left files: {:?}\n{}", ended.lines, ended.err);
        ended
    };
    run(None).code(0).said(DONE);
    // So that `tempfiles && deploy` does not deploy.
    let interrupted = in_time(DONE, || run(Some(SIGINT)));
    assert_eq!(interrupted.status.signal(), Some(SIGINT));
    in_time(DONE, || run(Some(SIGTERM))).code(0);
}

fn timeline(backend: &str) {
    let file = std::env::temp_dir().join(format!("adjourn-{backend}-{}.svg", std::process::id()));
    let ended = start(backend, "timeline", &[file.to_str().expect("it is text")]).end();
    ended.code(0);
    let svg = fs::read_to_string(&file).expect("it was written");
    fs::remove_file(&file).expect("it is there");
    for part in ["root/http/request 17", "on_stopped of root/db", "root/workers/batch"] {
        assert!(svg.contains(part), "no {part} in {svg}");
        assert!(ended.lines.iter().any(|line| line.contains(part)), "{:?}", ended.lines);
    }
}

macro_rules! on_every_backend {
    ($($example:ident)*) => {
        on_every_backend! { @ "tokio" tokio $($example)* }
        on_every_backend! { @ "smol" smol $($example)* }
        on_every_backend! { @ "async-std" async_std $($example)* }
    };
    (@ $backend:literal $module:ident $($example:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $example() {
                    super::$example($backend);
                }
            )*
        }
    };
}

on_every_backend! {
    quickstart echo_server http_server shield stop_on_error ordered attach tempfiles timeline
}
