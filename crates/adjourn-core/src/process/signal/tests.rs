use super::*;

#[test]
fn names_are_printed_and_read_back() {
    for (signal, name) in [(Signal::TERMINATE, "SIGTERM"), (Signal::HANGUP, "SIGHUP")] {
        assert_eq!(signal.to_string(), name);
        assert_eq!(signal.name(), Some(name));
        assert_eq!(name.parse::<Signal>().unwrap(), signal);
        assert_eq!(name[3..].parse::<Signal>().unwrap(), signal);
        assert_eq!(name.to_lowercase().parse::<Signal>().unwrap(), signal);
    }
    for number in 1..=Signal::HIGHEST {
        let signal = Signal::from_raw(number).unwrap();
        assert_eq!(signal.to_string().parse::<Signal>().unwrap(), signal);
    }
    assert_eq!(Signal::from_raw(42).unwrap().to_string(), "signal 42");
    assert_eq!(format!("{:>9}|", Signal::INTERRUPT), "   SIGINT|");
}

#[test]
fn what_is_no_signal_is_an_error_with_advice() {
    for number in [i32::MIN, -1, 0, 65, i32::MAX] {
        assert!(Signal::from_raw(number).is_err(), "{number}");
    }
    for name in
        ["", "SIG", "TERMINATE", "SIGSIGTERM", "15", "signal 0", "signal x", "S\u{e9}\u{e9}"]
    {
        let error = name.parse::<Signal>().unwrap_err();
        assert!(!error.is_forbidden() && !error.is_limit(), "{error}");
    }
    let error = "TEMR".parse::<Signal>().unwrap_err().to_string();
    assert_eq!(error, "\"TEMR\" is not the name of a signal: write it like TERM or SIGTERM");
}

#[test]
fn an_error_does_not_repeat_its_source() {
    let source = || io::Error::other("the source");
    for kind in [Kind::Refused(Signal::USER1, source()), Kind::NoDescriptors(source())] {
        let error = SignalError(kind);
        assert!(!error.to_string().contains("the source"));
        assert_eq!(error.source().unwrap().to_string(), "the source");
    }
}

#[cfg(feature = "serde")]
#[test]
fn it_is_serialized_as_its_name() {
    struct Serialized(Signal);
    impl fmt::Display for Serialized {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            serde::Serialize::serialize(&self.0, f) // A formatter is a serializer of strings.
        }
    }
    assert_eq!(Serialized(Signal::TERMINATE).to_string(), "SIGTERM");
}

#[cfg(unix)]
mod processes {
    use super::*;
    use std::env;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::Instant;

    const CHILD: &str = "ADJOURN_SIGNAL_CHILD";

    fn is_child(name: &str) -> bool {
        env::var(CHILD).is_ok_and(|child| child == name)
    }

    /// This test again, in a process of its own.
    fn again(name: &str) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        let (_, module) = module_path!().split_once("::").unwrap();
        command.args(["--exact", &format!("{module}::{name}"), "--nocapture"]);
        command.env(CHILD, name).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// Exits with 1 for a message that was written, with 2 for one that was given up.
    fn tell(bytes: &[u8], within: Duration) -> ! {
        exit_now(if write_stderr(bytes, within) { 1 } else { 2 })
    }

    #[test]
    fn exit_now_runs_no_destructor() {
        struct Loud;
        impl Drop for Loud {
            fn drop(&mut self) {
                std::process::abort();
            }
        }
        if is_child("exit_now_runs_no_destructor") {
            let _loud = Loud;
            exit_now(77);
        }
        let output = again("exit_now_runs_no_destructor").output().unwrap();
        assert_eq!(output.status.code(), Some(77));
    }

    #[test]
    fn standard_error_gets_all_bytes_past_a_held_lock() {
        const NAME: &str = "standard_error_gets_all_bytes_past_a_held_lock";
        let message: Vec<u8> = (0..200_000u32).map(|n| b'a' + (n % 26) as u8).collect();
        if is_child(NAME) {
            let (sender, receiver) = std::sync::mpsc::channel();
            thread::spawn(move || {
                let _lock = io::stderr().lock();
                sender.send(()).unwrap();
                loop {
                    thread::park();
                }
            });
            receiver.recv().unwrap();
            tell(&message, Duration::from_secs(60));
        }
        // A pipe, a socket, a file.
        let mut piped = again(NAME).stderr(Stdio::piped()).spawn().unwrap();
        let mut read = Vec::new();
        piped.stderr.take().unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(piped.wait().unwrap().code(), Some(1));
        assert!(read == message);

        let (mut here, there) = UnixStream::pair().unwrap();
        let there = Stdio::from(std::os::fd::OwnedFd::from(there));
        let mut command = again(NAME);
        let mut socketed = command.stderr(there).spawn().unwrap();
        drop(command); // It holds the other end.
        let mut read = Vec::new();
        here.read_to_end(&mut read).unwrap();
        assert_eq!(socketed.wait().unwrap().code(), Some(1));
        assert!(read == message);

        let path = env::temp_dir().join(format!("adjourn-stderr-{}", std::process::id()));
        std::fs::write(&path, "before ").unwrap();
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        let output = again(NAME).stderr(file).output().unwrap();
        let read = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(read.strip_prefix(b"before ").unwrap() == message);
    }

    #[test]
    fn a_full_standard_error_is_given_up_in_time_and_stays_blocking() {
        const NAME: &str = "a_full_standard_error_is_given_up_in_time_and_stays_blocking";
        if is_child(NAME) {
            let begun = Instant::now();
            let written = write_stderr(&[b'x'; 1 << 20], Duration::from_millis(100));
            let took = begun.elapsed();
            assert!(!written);
            assert!(took >= Duration::from_millis(100), "{took:?}");
            // The watchdog of the parent sees the other bound. Fill what is left in the way that
            // everybody writes: it must block, not fail.
            let more = io::stderr().write_all(&[b'y'; 1 << 20]);
            exit_now(if more.is_ok() { 3 } else { 4 });
        }
        let mut child = again(NAME).stderr(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stderr.take().unwrap();
        thread::sleep(Duration::from_secs(1));
        assert!(child.try_wait().unwrap().is_none(), "a write to the full pipe did not block");
        let mut read = Vec::new();
        pipe.read_to_end(&mut read).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3), "{}", String::from_utf8_lossy(&read));
        assert_eq!(read.iter().filter(|byte| **byte == b'y').count(), 1 << 20);
    }

    /// A thread that is stuck in a write to the same pipe, and a reader that takes a little at times:
    /// poll says that there is room, and the other writer has it first.
    #[cfg(target_os = "linux")]
    #[test]
    fn another_writer_to_a_full_standard_error_does_not_hold_it_up() {
        const NAME: &str = "another_writer_to_a_full_standard_error_does_not_hold_it_up";
        if is_child(NAME) {
            for _ in 0..4 {
                thread::spawn(|| {
                    let stderr = std::os::fd::AsFd::as_fd(&io::stderr()).try_clone_to_owned();
                    let mut stderr = std::fs::File::from(stderr.unwrap());
                    while stderr.write_all(&[b'y'; 1 << 16]).is_ok() {}
                });
            }
            thread::sleep(Duration::from_millis(200));
            tell(&[b'x'; 1 << 22], Duration::from_millis(300));
        }
        let mut child = again(NAME).stderr(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stderr.take().unwrap();
        let watchdog = Instant::now() + Duration::from_secs(30);
        let mut page = [0; 4096];
        for _ in 0..40 {
            if pipe.read_exact(&mut page).is_err() {
                break; // on a busy machine it is over before so much was read
            }
            thread::sleep(Duration::from_millis(5));
        }
        // From here on nobody reads.
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            } else if Instant::now() > watchdog {
                child.kill().unwrap();
                break None;
            }
            thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.and_then(|status| status.code()), Some(2));
    }

    #[test]
    fn a_standard_error_that_nobody_reads_or_that_is_closed_is_given_up_at_once() {
        const NAME: &str =
            "a_standard_error_that_nobody_reads_or_that_is_closed_is_given_up_at_once";
        if is_child(NAME) {
            // Until the parent has dropped its end.
            while write_stderr(b"x", Duration::ZERO) {
                thread::sleep(Duration::from_millis(1));
            }
            let begun = Instant::now();
            assert!(!write_stderr(b"x", Duration::from_secs(3600)));
            exit_now(if begun.elapsed() < Duration::from_secs(60) { 5 } else { 6 });
        }
        let mut child = again(NAME).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(5));
    }
}
