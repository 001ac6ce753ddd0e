//! Sockets that a manager passes, LISTEN_FDS: by systemd's own tool, and made by hand.

#![cfg(unix)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use adjourn_processes::Process;
use libc::SIGTERM;

const PROGRAM: &str = env!("CARGO_BIN_EXE_activated");
/// Far beyond what any answer takes.
const LONG: Duration = Duration::from_secs(20);

/// Starts the program with these sockets, from descriptor 3 on. A shell sets LISTEN_PID, which the program
/// keeps by `exec`.
fn start(sockets: &[&dyn AsFd], vars: &[(&str, &str)], how: &str) -> Process {
    // First out of the way: a number that is to be taken may be another socket's.
    let copies: Vec<OwnedFd> = sockets.iter().map(|socket| above(&socket.as_fd(), 100)).collect();
    let numbers: Vec<i32> = copies.iter().map(AsRawFd::as_raw_fd).collect();
    let mut command = Command::new("env");
    command.args([
        "--default-signal=INT,TERM",
        "sh",
        "-c",
        "LISTEN_PID=${PID-$$} exec \"$@\"",
        "sh",
    ]);
    command.args([PROGRAM, how]).env("LISTEN_FDS", sockets.len().to_string());
    command.envs(vars.iter().copied());
    // SAFETY: dup2 is allowed between fork and exec, and the numbers are the protocol's.
    unsafe {
        command.pre_exec(move || {
            for (number, passed) in numbers.iter().zip(3..) {
                if libc::dup2(*number, passed) == -1 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// The same descriptor by a number that is not less than this.
fn above(of: &impl AsRawFd, number: i32) -> OwnedFd {
    // SAFETY: the descriptor is open, and what comes back is new.
    unsafe {
        let copy = libc::fcntl(of.as_raw_fd(), libc::F_DUPFD_CLOEXEC, number);
        assert!(copy >= number, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(copy)
    }
}

fn asks(mut stream: impl Read + Write) -> String {
    stream.write_all(b"hello").expect("it takes it");
    let mut bytes = [0; 64];
    let count = stream.read(&mut bytes).expect("it answers");
    String::from_utf8(bytes[..count].to_vec()).expect("text")
}

/// Asks until there is an answer: the tool tells nobody when it listens.
fn asks_again(connect: impl Fn() -> std::io::Result<UnixStream>) -> String {
    let end = Instant::now() + LONG;
    loop {
        match connect() {
            Ok(stream) => return asks(stream),
            Err(error) => assert!(Instant::now() < end, "nobody listens: {error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_the_program_has_opened_itself_is_not_taken() {
    let ended = start(&[], &[("LISTEN_FDS", "1")], "opens").end();
    ended.code(1).complained("descriptor 3 is open: this process has opened it itself");
}

#[test]
fn variables_that_are_no_text_are_an_error() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let mut command = Command::new(PROGRAM);
    command.env("LISTEN_FDS", OsStr::from_bytes(b"1\xff"));
    let ended = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped())).end();
    ended.code(1).complained("LISTEN_FDS");
}

#[test]
fn each_kind_of_socket_is_served_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let unix = UnixListener::bind(path("unix")).unwrap();
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let datagram = UnixDatagram::bind(path("datagram")).unwrap();
    // What comes before the program is up waits for it.
    let early = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let names = [("LISTEN_FDNAMES", "udp:tcp:datagram:unix")];
    let program = start(&[&udp, &tcp, &datagram, &unix], &names, "");
    let program = program.until("names udp tcp datagram unix").until("ready");
    assert_eq!(asks(early), "tcp: hello");
    assert_eq!(asks(TcpStream::connect(tcp.local_addr().unwrap()).unwrap()), "tcp: hello");
    assert_eq!(asks(UnixStream::connect(path("unix")).unwrap()), "unix: hello");
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.send_to(b"hello", udp.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    let mut bytes = [0; 64];
    let count = client.recv(&mut bytes).expect("it answers");
    assert_eq!(&bytes[..count], b"udp: hello");
    UnixDatagram::unbound().unwrap().send_to(b"hello", path("datagram")).unwrap();
    let ended = program.until("datagram: hello").send(SIGTERM).end();
    ended.code(0).said("cleaned up");
}

#[test]
fn a_child_does_not_get_them() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let program = start(&[&listener], &[], "child").until_starting("a child has");
    assert_eq!(program.last(), "a child has none");
    program.until("names unknown").until("ready").send(SIGTERM).end().code(0);
}

#[test]
fn without_a_manager_there_is_nothing() {
    let program = Path::new(PROGRAM);
    let program = Process::start("--default-signal=TERM", program, &[], &[]);
    program.until("names").until("ready").send(SIGTERM).end().code(0);
}

#[test]
fn what_does_not_add_up_is_said_at_the_start() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let says = |vars: &[(&str, &str)], how: &str, part: &str| {
        let ended = start(&[&listener], vars, how).end();
        ended.code(1).complained(part);
        assert!(!ended.lines.contains(&"ready".to_owned()), "{:?}", ended.lines);
    };
    says(&[("PID", "1")], "", "LISTEN_PID is \"1\" and this process is");
    says(&[("LISTEN_FDNAMES", "a:b")], "", "LISTEN_FDS is 1 and LISTEN_FDNAMES has 2 names");
    says(&[("LISTEN_FDNAMES", "udp")], "", "\"udp\" that was passed is of another type");
    says(&[("LISTEN_FDNAMES", "unix")], "", "\"unix\" that was passed is of another family");
    says(&[], "twice", "taken before");
    says(&[], "late", "before `run`");
}

#[test]
fn a_descriptor_that_is_not_open_is_said_at_the_start() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // One that nothing else has.
    let ended = start(&[&listener], &[("LISTEN_FDS", "90")], "").end();
    ended.code(1).complained("is open: Bad file descriptor");
}

/// By `systemd-socket-activate`, which waits for the first client and becomes the program then.
fn activated(args: &[&str]) -> Option<Process> {
    let there = Command::new("systemd-socket-activate").arg("--version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        eprintln!("systemd-socket-activate is not here: not tried");
        return None;
    }
    let tool = Path::new("systemd-socket-activate");
    Some(Process::start("--default-signal=INT,TERM", tool, &[args, &[PROGRAM]].concat(), &[]))
}

#[test]
fn systemds_own_tool_passes_listeners() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("unix");
    // Below the ports that systems give away by themselves.
    let port = 20_000 + (std::process::id() % 10_000) as u16;
    let address = format!("127.0.0.1:{port}");
    let args = ["-l", &address, "-l", path.to_str().unwrap(), "--fdname=tcp:unix"];
    let Some(program) = activated(&args) else { return };
    assert_eq!(asks_again(|| UnixStream::connect(&path)), "unix: hello");
    let program = program.until("names tcp unix").until("ready");
    assert_eq!(asks(TcpStream::connect(&address).unwrap()), "tcp: hello");
    program.send(SIGTERM).end().code(0).said("cleaned up");
}

#[test]
fn systemds_own_tool_passes_datagrams() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("datagram");
    let args = ["--datagram", "-l", path.to_str().unwrap(), "--fdname=datagram"];
    let Some(program) = activated(&args) else { return };
    let end = Instant::now() + LONG;
    while let Err(error) = UnixDatagram::unbound().unwrap().send_to(b"hello", &path) {
        assert!(Instant::now() < end, "nobody receives: {error}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let program = program.until("names datagram").until("datagram: hello");
    program.send(SIGTERM).end().code(0).said("cleaned up");
}
