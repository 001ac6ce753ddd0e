//! Restarts under load: nothing is lost; and restarts that go wrong: the old program goes on.
#![cfg(target_os = "linux")]
#![cfg(unix)]

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use adjourn_http_tests::Client;
use adjourn_http_tests::client::HANGS;
use adjourn_http_tests::load::{Kind, Load};
use adjourn_http_tests::restart::{Manager, Restarts, Way};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_served"))
}

/// Makes a test of each function for each backend.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            #[test]
            fn tokio() {
                super::$name("tokio");
            }

            #[test]
            fn smol() {
                super::$name("smol");
            }
        })*
    };
}

on_both![
    nothing_is_lost_when_the_new_program_comes_first,
    nothing_is_lost_when_the_old_program_goes_first,
    nothing_is_lost_in_a_handover,
    a_shared_port_loses_no_keep_alive_connection,
    a_new_program_that_dies_leaves_the_old_one_serving,
    a_new_program_that_hangs_is_given_up,
    the_path_is_for_its_user_alone_and_is_removed,
    the_manager_is_told_who_is_the_main_process,
];

/// Restarts five times under load; all kinds of clients at once.
fn nothing_is_lost(backend: &'static str, way: Way) {
    let mut manager = Manager::start(program(), backend, way);
    let clients = [(Kind::BackToBack, 4), (Kind::Pauses, 8), (Kind::OneEach, 4), (Kind::Http2, 2)];
    let load = Load::start(manager.address, &clients);
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(100));
        manager.restart();
    }
    let tally = load.stop();
    manager.stop();
    assert_eq!(tally.failed(), 0, "{tally:?}");
    assert!(tally.announced > 0 && tally.asked() > 100, "the load was one: {tally:?}");
    assert!(tally.late <= 5, "more than a busy machine explains: {tally:?}");
}

fn nothing_is_lost_when_the_new_program_comes_first(backend: &'static str) {
    nothing_is_lost(backend, Way::InheritedNewFirst);
}

fn nothing_is_lost_when_the_old_program_goes_first(backend: &'static str) {
    nothing_is_lost(backend, Way::InheritedOldFirst);
}

fn nothing_is_lost_in_a_handover(backend: &'static str) {
    nothing_is_lost(backend, Way::Handover);
}

/// What is lost there is said in the docs of `reuse_port`: connections in the queue of the old program.
/// Its open connections are none of those.
fn a_shared_port_loses_no_keep_alive_connection(backend: &'static str) {
    let mut manager = Manager::start(program(), backend, Way::SharedPort);
    let load = Load::start(manager.address, &[(Kind::BackToBack, 4), (Kind::Pauses, 4)]);
    thread::sleep(Duration::from_millis(100));
    manager.restart();
    let tally = load.stop();
    manager.stop();
    // A new connection may have been in the queue that was reset.
    let lost: u64 = tally
        .failed
        .iter()
        .filter(|((_, how), _)| !how.contains("ConnectionReset"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(lost, 0, "{tally:?}");
    assert!(tally.announced > 0, "{tally:?}");
}

/// Of others' servers some may not end by themselves: they cost their time, not the run.
#[test]
fn who_does_not_end_is_killed_where_patience_has_an_end() {
    let path = std::env::temp_dir().join(format!("adjourn-stubborn-{}", std::process::id()));
    let script = "#!/bin/sh\ntrap '' TERM\necho ready $$\nwhile :; do sleep 0.05; done\n";
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
    let mut manager = Manager::start(&path, "stubborn", Way::InheritedNewFirst);
    manager.patience = Some(Duration::from_millis(50));
    manager.restart();
    assert_eq!(manager.killed(), 1);
    manager.restart();
    assert_eq!(manager.killed(), 2);
    manager.stop();
    std::fs::remove_file(&path).unwrap();
}

fn pid(manager: &Manager) -> u32 {
    Client::to(manager.address).get("/pid").unwrap().text().parse().unwrap()
}

fn a_new_program_that_dies_leaves_the_old_one_serving(backend: &'static str) {
    let mut manager = Manager::start(program(), backend, Way::Handover);
    let old = manager.current;
    for _ in 0..3 {
        manager.spawn(&[("STUMBLE", "dies")]);
    }
    thread::sleep(Duration::from_millis(300));
    assert_eq!(pid(&manager), old);
    manager.restart();
    assert_ne!(pid(&manager), old);
    manager.stop();
}

fn a_new_program_that_hangs_is_given_up(backend: &'static str) {
    let vars = vec![("READY_WITHIN", "300".to_owned())];
    let mut manager = Manager::start_with(program(), backend, Way::Handover, vars);
    let old = manager.current;
    manager.spawn(&[("STUMBLE", "hangs")]);
    manager.line("begins"); // it has the listener
    // One that comes too late is told so, and ends.
    manager.spawn(&[("STUMBLE", "late")]);
    assert!(manager.line("ended ").ends_with(" 1"));
    assert_eq!(pid(&manager), old);
    manager.stop();
}

fn the_path_is_for_its_user_alone_and_is_removed(backend: &'static str) {
    let manager = Manager::start(program(), backend, Way::Handover);
    let mode = std::fs::metadata(&manager.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let path = manager.path.clone();
    manager.stop();
    assert!(!path.exists());
}

fn the_manager_is_told_who_is_the_main_process(backend: &'static str) {
    let path = temporary(&format!("notify-{backend}"));
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(HANGS)).unwrap();
    let vars = vec![("NOTIFY_SOCKET", path.display().to_string())];
    let mut manager = Manager::start_with(program(), backend, Way::Handover, vars);
    let next = || {
        let mut text = [0; 100];
        let length = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    assert_eq!(next(), "READY=1");
    manager.restart();
    // The new one says that it is ready while the old one says the rest.
    let mut said = [next(), next(), next()];
    said.sort();
    let expected = [format!("MAINPID={}", manager.current), "READY=1".into(), "STOPPING=1".into()];
    assert_eq!(said, expected);
    manager.stop();
    std::fs::remove_file(path).unwrap();
}

fn temporary(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("adjourn-{}-{name}", std::process::id()));
    _ = std::fs::remove_file(&path); // left by a run of the same number that was killed
    path
}

/// Runs a program that cannot start, and returns what it says.
#[track_caller]
fn refused(arguments: &[&str], vars: &[(&str, &str)]) -> String {
    let mut command = Command::new(program());
    let ended = command.args(arguments).envs(vars.iter().copied()).output().unwrap();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    String::from_utf8(ended.stderr).unwrap()
}

#[test]
fn what_does_not_add_up_is_said_at_the_start() {
    let says = |text: String, part: &str| assert!(text.contains(part), "{text}");
    let inherited = ["tokio", "inherited"];
    let of_another = refused(&inherited, &[("LISTEN_FDS", "1"), ("LISTEN_PID", "1")]);
    says(of_another, "LISTEN_PID is \"1\" and this process is");
    says(refused(&inherited, &[("LISTEN_FDS", "1")]), "LISTEN_PID is not");
    says(refused(&inherited, &[]), "no listener was passed");
    // Through a shell, which keeps its process id and has no descriptor 3.
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" tokio inherited 3>&-";
    let closed = Command::new("sh").args(["-c", script]).arg(program()).output().unwrap();
    assert_eq!(closed.status.code(), Some(2), "{closed:?}");
    says(String::from_utf8(closed.stderr).unwrap(), "descriptor 3 is open");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    says(refused(&["tokio", "bind", &address], &[]), "another program listens there");
}

#[test]
fn a_handover_path_that_is_none_of_ours_is_left_alone() {
    let path = temporary("foreign");
    let arguments = ["tokio", "handover", path.to_str().unwrap(), "127.0.0.1:0"];
    std::fs::write(&path, "precious").unwrap();
    let text = refused(&arguments, &[]);
    assert!(text.contains("it is no socket") && text.contains(arguments[2]), "{text}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();

    // Somebody is there who answers nothing that is right.
    let socket = UnixListener::bind(&path).unwrap();
    let stranger = thread::spawn(move || {
        let (mut stream, _) = socket.accept().unwrap();
        stream.write_all(b"hello").unwrap();
    });
    let text = refused(&arguments, &[]);
    assert!(text.contains("gives nothing"), "{text}");
    stranger.join().unwrap();

    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } == 0 {
        std::os::unix::fs::lchown(&path, Some(65534), None).unwrap();
        let text = refused(&arguments, &[]);
        assert!(text.contains("it belongs to the user 65534"), "{text}");
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_path_that_a_killed_program_left_is_taken() {
    let mut manager = Manager::start(program(), "tokio", Way::Handover);
    manager.signal(libc::SIGKILL);
    let path = manager.path.clone();
    // Until it is gone: its listener keeps the address as long.
    while UnixStream::connect(&path).is_ok() {
        thread::sleep(Duration::from_millis(5));
    }
    assert!(path.exists());
    manager.spawn(&[]);
    manager.until_ready();
    manager.restart();
    manager.stop();
    assert!(!path.exists());
}

#[test]
fn strangers_at_the_path_do_no_harm() {
    let mut manager = Manager::start(program(), "tokio", Way::Handover);
    let old = manager.current;
    for word in [&b""[..], b"X", b"stop\n", &[0; 4096]] {
        let mut stream = UnixStream::connect(&manager.path).unwrap();
        _ = stream.write_all(word);
    }
    assert_eq!(pid(&manager), old);
    manager.restart();
    manager.stop();
}
