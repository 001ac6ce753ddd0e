//! Signals, each test in a process of its own: dispositions belong to the process.
#![cfg(unix)]

use adjourn_core::signal::{self, Listener, Received, Signal};
use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

// ---- processes

const CHILD: &str = "ADJOURN_SIGNAL_CHILD";
const INHERITS: &str = "ADJOURN_SIGNAL_INHERITS";
/// Never the proof of anything: it only keeps a broken test from hanging. A process hangs when it has
/// used no processor time for so long, or when it has used so much of it: on a busy machine a test takes
/// its time.
const WATCHDOG: Duration = Duration::from_secs(60);

fn again(name: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(CHILD, name).stdin(Stdio::null());
    command
}

/// Whether this is the process of that test; if so, it starts with default dispositions, whatever
/// started it (a shell has a command with & ignore SIGINT), and `nohup` aside.
fn is_child(name: &str) -> bool {
    let is_child = env::var(CHILD).is_ok_and(|child| child == name);
    if is_child {
        watch_over_myself();
    }
    if is_child && env::var_os(INHERITS).is_none() {
        for signal in [INT, TERM, HUP, USR1, USR2, Signal::QUIT] {
            install(signal, libc::SIG_DFL, 0);
        }
    }
    is_child
}

/// Lets the system end this process when it loops for ever, or should the one that waits for it be
/// gone.
fn watch_over_myself() {
    let limit = libc::rlimit { rlim_cur: WATCHDOG.as_secs(), rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the pointer is valid; alarm has no precondition.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CPU, &limit);
        libc::alarm(10 * WATCHDOG.as_secs() as u32);
    }
}

fn end(mut child: Child) -> ExitStatus {
    let (mut used, mut since) = (processor_time(&child), Instant::now());
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if since.elapsed() > WATCHDOG {
            let now = processor_time(&child);
            if now.is_none() || now == used {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the process of the test hangs");
            }
            (used, since) = (now, Instant::now());
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// How much processor time a child has used, in the system's ticks; `None` where that is not told.
fn processor_time(child: &Child) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).ok()?;
    // Behind the name, which may have spaces in it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
}

/// A test whose whole body runs in a process of its own.
macro_rules! isolated {
    ($(#[$attribute:meta])* fn $name:ident() $body:block) => {
        $(#[$attribute])*
        #[test]
        fn $name() {
            if is_child(stringify!($name)) {
                $body
                return;
            }
            let status = end(again(stringify!($name)).spawn().unwrap());
            assert!(status.success(), "{status}");
        }
    };
}

/// The process of a test that is in `is_child`, once it has called `ready`.
fn start(name: &str) -> (Child, BufReader<process::ChildStdout>) {
    start_as(&mut again(name))
}

fn start_as(command: &mut Command) -> (Child, BufReader<process::ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.ends_with("@ready\n") {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "ended before it was ready");
    }
    (child, output)
}

fn ready() {
    io::stdout().write_all(b"\n@ready\n").unwrap();
    io::stdout().flush().unwrap();
}

fn kill(child: &Child, signal: i32) {
    // SAFETY: kill has no precondition, and the child has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

/// Sent to this process, to whichever thread takes it.
fn kill_self(signal: Signal) {
    // SAFETY: kill has no precondition.
    assert_eq!(unsafe { libc::kill(libc::getpid(), signal.as_raw()) }, 0);
}

/// Delivered to this thread before it returns.
fn raise(signal: Signal) {
    // SAFETY: raise has no precondition.
    assert_eq!(unsafe { libc::raise(signal.as_raw()) }, 0);
}

/// Runs `body` in a forked child and returns its wait status.
fn forked(body: impl FnOnce()) -> ExitStatus {
    wait_for(fork_off(body), 0)
}

/// Runs `body` in a forked child and returns its id.
fn fork_off(body: impl FnOnce()) -> i32 {
    // SAFETY: the child goes on in this thread alone; glibc and musl make malloc usable there, and
    // nothing else of what bodies use is held by libtest's main thread, which waits.
    match unsafe { libc::fork() } {
        0 => {
            watch_over_myself();
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: no precondition.
            unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) }
        }
        child => {
            assert!(child > 0, "{}", io::Error::last_os_error()); // To -1, kill means everybody.
            child
        }
    }
}

fn wait_for(child: i32, options: i32) -> ExitStatus {
    assert!(child > 0);
    let mut status = 0;
    loop {
        // SAFETY: the pointer is valid for the call.
        let waited = unsafe { libc::waitpid(child, &mut status, options) };
        if waited == child {
            return ExitStatus::from_raw(status);
        }
        assert_eq!(io::Error::last_os_error().kind(), io::ErrorKind::Interrupted);
    }
}

// ---- other people's handlers

type Action = libc::sigaction;

fn action(signal: Signal, new: Option<&Action>) -> Action {
    let new = new.map_or(ptr::null(), ptr::from_ref);
    let mut old = MaybeUninit::uninit();
    // SAFETY: the pointers are valid; the handlers in this file are async-signal-safe.
    unsafe {
        assert_eq!(libc::sigaction(signal.as_raw(), new, old.as_mut_ptr()), 0);
        old.assume_init()
    }
}

fn made(handler: usize, flags: i32) -> Action {
    // SAFETY: all zeros is a sigaction: the default, no flags, an empty mask.
    let mut made: Action = unsafe { MaybeUninit::zeroed().assume_init() };
    (made.sa_sigaction, made.sa_flags) = (handler, flags);
    made
}

fn install(signal: Signal, handler: usize, flags: i32) -> Action {
    action(signal, Some(&made(handler, flags)))
}

fn disposition(signal: Signal) -> usize {
    action(signal, None).sa_sigaction
}

static HITS: AtomicU64 = AtomicU64::new(0);
static SENDER: AtomicU32 = AtomicU32::new(0);
static BELOW: AtomicUsize = AtomicUsize::new(0);

/// Does not chain.
extern "C" fn plain(_: i32) {
    HITS.fetch_add(1, SeqCst);
}

/// A handler of its own for each `N`.
extern "C" fn numbered<const N: u64>(_: i32) {
    std::hint::black_box(N); // Else the linker may make one of all.
    HITS.fetch_add(1, SeqCst);
}

/// Notes who sent the signal.
extern "C" fn informed(_: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    assert!(!context.is_null());
    // SAFETY: the handler has SA_SIGINFO, so the pointer is to what kill and raise fill in.
    SENDER.store(unsafe { (*info).si_pid() } as u32, SeqCst);
    HITS.fetch_add(1, SeqCst);
}

/// Chains as signal-hook-registry does: calls what was there, and nothing for default and ignored.
extern "C" fn chaining(number: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    HITS.fetch_add(1, SeqCst);
    let below = BELOW.load(SeqCst);
    if below != libc::SIG_DFL && below != libc::SIG_IGN {
        // SAFETY: in these tests it is only installed over handlers of this type.
        let below: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
            unsafe { std::mem::transmute(below) };
        below(number, info, context);
    }
}

fn install_chaining(signal: Signal) -> Action {
    let old = install(signal, chaining as *const () as usize, libc::SA_SIGINFO | libc::SA_RESTART);
    BELOW.store(old.sa_sigaction, SeqCst);
    old
}

fn hits() -> u64 {
    HITS.swap(0, SeqCst)
}

// ---- shorthands

const INT: Signal = Signal::INTERRUPT;
const TERM: Signal = Signal::TERMINATE;
const USR1: Signal = Signal::USER1;
const USR2: Signal = Signal::USER2;
const HUP: Signal = Signal::HANGUP;

fn listen(signals: &[Signal]) -> Listener {
    Listener::new(signals).unwrap()
}

fn now(listener: &mut Listener) -> Vec<(Signal, u64)> {
    listener.wait(Some(Duration::ZERO)).into_iter().collect()
}

fn next(listener: &mut Listener) -> Received {
    let received = listener.wait(Some(WATCHDOG));
    assert!(!received.is_empty(), "nothing came");
    received
}

#[cfg(target_os = "linux")]
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

// ---- hearing

isolated! {
    fn signals_are_returned_with_counts_first_come_first() {
        let mut listener = listen(&[USR1, USR2, TERM, USR2]); // Twice is once.
        for signal in [USR2, USR1, USR2, TERM, USR2] {
            raise(signal);
        }
        let received = next(&mut listener);
        assert_eq!(received.count(USR2), 3);
        assert_eq!(received.count(INT), 0);
        assert_eq!(received.iter().collect::<Vec<_>>(), [(USR2, 3), (USR1, 1), (TERM, 1)]);
        assert_eq!(now(&mut listener), [], "nothing is heard twice");
        raise(TERM);
        raise(USR1);
        assert_eq!(now(&mut listener), [(TERM, 1), (USR1, 1)]);
    }
}

isolated! {
    fn the_order_holds_while_the_listener_reads() {
        const ROUNDS: usize = 1_000;
        let mut listener = listen(&[USR1, USR2]);
        let told = AtomicUsize::new(0);
        thread::scope(|scope| {
            let raises = scope.spawn(|| {
                for round in 0..ROUNDS {
                    raise(USR1);
                    raise(USR2);
                    while told.load(SeqCst) == round {
                        thread::yield_now();
                    }
                }
            });
            for round in 0..ROUNDS {
                let mut order = Vec::new();
                while order.len() < 2 {
                    // It reads all the time, so that the two come in the middle of reading.
                    order.extend(listener.wait(Some(Duration::ZERO)));
                }
                assert_eq!(order, [(USR1, 1), (USR2, 1)], "round {round}");
                told.fetch_add(1, SeqCst);
            }
            raises.join().unwrap(); // what sanitizers see, as not the end of a scope
        });
    }
}

isolated! {
    fn terminate_is_not_lost_behind_two_thousand_others() {
        let mut listener = listen(&[USR1, TERM]);
        for _ in 0..2_000 {
            raise(USR1);
        }
        raise(TERM);
        assert_eq!(now(&mut listener), [(USR1, 2_000), (TERM, 1)]);
        // Spurious bytes are left in the pipe; they are no signals.
        let begun = Instant::now();
        assert!(listener.wait(Some(Duration::from_millis(50))).is_empty());
        assert!(begun.elapsed() >= Duration::from_millis(50));
    }
}

#[test]
fn a_burst_from_another_process_is_heard() {
    const NAME: &str = "a_burst_from_another_process_is_heard";
    if is_child(NAME) {
        // One that a thread has taken but not begun to handle may be too late for the listener.
        install(USR1, libc::SIG_IGN, 0);
        let mut listener = listen(&[USR1, TERM]);
        ready();
        let (mut bursts, mut ends) = (0, 0);
        // Pending together and taken by two threads, they may come in either order.
        while bursts == 0 || ends == 0 {
            let received = next(&mut listener);
            bursts += received.count(USR1);
            ends += received.count(TERM);
        }
        assert_eq!(ends, 1);
        return;
    }
    let (child, _output) = start(NAME);
    for _ in 0..2_000 {
        kill(&child, libc::SIGUSR1);
    }
    kill(&child, libc::SIGTERM);
    let status = end(child);
    assert!(status.success(), "{status}");
}

#[test]
fn a_stopped_process_hears_what_came_meanwhile() {
    const NAME: &str = "a_stopped_process_hears_what_came_meanwhile";
    if is_child(NAME) {
        let mut listener = listen(&[TERM]);
        ready();
        assert_eq!(next(&mut listener).count(TERM), 1);
        return;
    }
    let (child, _output) = start(NAME);
    kill(&child, libc::SIGSTOP);
    assert!(wait_for(child.id() as i32, libc::WUNTRACED).stopped_signal().is_some());
    kill(&child, libc::SIGTERM);
    kill(&child, libc::SIGCONT);
    let status = end(child);
    assert!(status.success(), "{status}");
}

isolated! {
    fn each_of_many_listeners_hears_each_signal() {
        let mut listeners: Vec<_> = (0..64).map(|_| listen(&[USR1, TERM])).collect();
        let mut other = listen(&[USR2]);
        raise(USR1);
        raise(TERM);
        raise(USR1);
        for listener in &mut listeners {
            assert_eq!(now(listener), [(USR1, 2), (TERM, 1)]);
        }
        assert_eq!(now(&mut other), []);
        let mut last = listeners.pop().unwrap();
        drop(listeners);
        raise(TERM);
        assert_eq!(now(&mut last), [(TERM, 1)]);
    }
}

isolated! {
    fn too_many_listeners_are_an_error_until_some_are_gone() {
        let mut listeners = Vec::new();
        let error = loop {
            match Listener::new(&[USR1]) {
                Ok(listener) => listeners.push(listener),
                Err(error) => break error,
            }
        };
        assert!(error.is_limit() && !error.is_forbidden());
        assert!(listeners.len() >= 32);
        assert!(Listener::new(&[]).is_ok(), "parking alone needs no slot");
        raise(USR1);
        assert!(listeners.iter_mut().all(|listener| now(listener) == [(USR1, 1)]));
        listeners.pop();
        listeners.push(listen(&[USR1]));
        drop(listeners);
        assert_eq!(disposition(USR1), libc::SIG_DFL);
    }
}

isolated! {
    fn another_thread_may_be_the_one_that_receives() {
        let mut listener = listen(&[USR1]);
        thread::scope(|scope| {
            scope.spawn(|| {
                block(USR1);
                raise(USR1); // Stays pending here.
                kill_self(USR1); // Goes to a thread that does not block it.
                assert_eq!(next(&mut listener).count(USR1), 1);
            });
        });
    }
}

fn block(signal: Signal) {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset fills in the set before it is read.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal.as_raw());
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
    }
}

isolated! {
    fn the_handler_keeps_errno() {
        let _listener = listen(&[USR1]);
        for _ in 0..5_000 {
            raise(USR1); // The pipe is full long before the end, and write says EAGAIN.
        }
        // SAFETY: closing a descriptor that nobody can have is an error and nothing else.
        assert_eq!(unsafe { libc::close(-1) }, -1);
        raise(USR1);
        assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EBADF));
    }
}

isolated! {
    fn interrupted_system_calls_are_restarted() {
        let mut listener = listen(&[USR1]);
        let (mut read, mut write) = std::os::unix::net::UnixStream::pair().unwrap();
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            let reader = scope.spawn(move || {
                // SAFETY: no precondition.
                sender.send(unsafe { libc::pthread_self() } as usize).unwrap();
                read.read(&mut [0; 8])
            });
            let thread = receiver.recv().unwrap();
            for _ in 0..100 {
                thread::sleep(Duration::from_millis(1));
                // SAFETY: the thread is alive: it reads what has not been written.
                unsafe { libc::pthread_kill(thread as libc::pthread_t, libc::SIGUSR1) };
            }
            while now(&mut listener).is_empty() {}
            write.write_all(b"x").unwrap();
            assert_eq!(reader.join().unwrap().unwrap(), 1);
        });
    }
}

// ---- waiting

isolated! {
    fn a_wait_ends_by_its_timeout_and_not_before() {
        for signals in [&[][..], &[USR1]] {
            let mut listener = listen(signals);
            for timeout in [Duration::from_nanos(1), Duration::from_micros(1_500), Duration::from_millis(30)] {
                let begun = Instant::now();
                assert!(listener.wait(Some(timeout)).is_empty());
                assert!(begun.elapsed() >= timeout);
            }
            assert!(listener.wait(Some(Duration::ZERO)).is_empty());
        }
    }
}

#[cfg(target_os = "linux")]
isolated! {
    fn a_wait_takes_no_processor_time() {
        let spent = || {
            let mut usage = MaybeUninit::<libc::rusage>::uninit();
            // SAFETY: the pointer is valid, and getrusage has filled it in where it returns 0.
            let usage = unsafe {
                assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()), 0);
                usage.assume_init()
            };
            let time = |time: libc::timeval| {
                Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
            };
            time(usage.ru_utime) + time(usage.ru_stime)
        };
        let mut listener = listen(&[USR1]);
        raise(USR1);
        assert_eq!(now(&mut listener), [(USR1, 1)]); // its byte is taken out of the pipe too
        let before = spent();
        assert!(listener.wait(Some(Duration::from_millis(500))).is_empty());
        assert!(spent() - before < Duration::from_millis(100), "{:?}", spent() - before);
    }
}

isolated! {
    fn an_interruption_by_a_foreign_handler_does_not_end_a_wait() {
        install(USR2, plain as *const () as usize, 0);
        let mut listener = listen(&[USR1]);
        // SAFETY: no precondition.
        let waiting = unsafe { libc::pthread_self() } as usize;
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    // SAFETY: the scope keeps that thread alive.
                    unsafe { libc::pthread_kill(waiting as libc::pthread_t, libc::SIGUSR2) };
                    thread::sleep(Duration::from_micros(200));
                }
            });
            let begun = Instant::now();
            assert!(listener.wait(Some(Duration::from_millis(100))).is_empty());
            assert!(begun.elapsed() >= Duration::from_millis(100));
            done.store(true, SeqCst);
        });
        assert!(hits() > 0);
    }
}

isolated! {
    fn a_nudge_ends_a_wait_for_ever_and_is_kept_until_one() {
        for signals in [&[][..], &[USR1]] {
            let mut listener = listen(signals);
            let nudger = listener.nudger();
            nudger.nudge();
            nudger.clone().nudge();
            assert!(listener.wait(None).is_empty());
            let begun = Instant::now();
            assert!(listener.wait(Some(Duration::from_millis(20))).is_empty());
            assert!(begun.elapsed() >= Duration::from_millis(20), "two nudges are one");
            for timeout in [None, Some(Duration::MAX)] {
                thread::scope(|scope| {
                    let nudges = scope.spawn(|| {
                        thread::sleep(Duration::from_millis(20));
                        nudger.nudge();
                    });
                    assert!(listener.wait(timeout).is_empty());
                    nudges.join().unwrap(); // as above
                });
            }
        }
    }
}

isolated! {
    fn a_signal_ends_a_wait_for_ever() {
        let mut listener = listen(&[TERM]);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(20));
                kill_self(TERM);
            });
            assert_eq!(listener.wait(Some(Duration::MAX)).count(TERM), 1);
        });
    }
}

isolated! {
    fn nudging_a_listener_that_is_gone_does_nothing() {
        for signals in [&[][..], &[USR1]] {
            let nudger = listen(signals).nudger();
            // Whatever takes the numbers of its descriptors, if they are free, gets no stray byte.
            let pipes: Vec<_> = (0..8).map(|_| std::os::unix::net::UnixStream::pair().unwrap()).collect();
            let mut heir = listen(signals);
            for _ in 0..3 {
                nudger.nudge();
            }
            let begun = Instant::now();
            assert!(heir.wait(Some(Duration::from_millis(30))).is_empty());
            assert!(begun.elapsed() >= Duration::from_millis(30));
            for (one, other) in &pipes {
                for mut end in [one, other] {
                    end.set_nonblocking(true).unwrap();
                    assert!(end.read(&mut [0]).is_err());
                }
            }
        }
    }
}

// ---- errors

isolated! {
    fn a_forbidden_signal_is_an_error_that_says_what_to_do_and_changes_nothing() {
        let forbidden = [
            libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL,
        ];
        for number in forbidden {
            let signal = Signal::from_raw(number).unwrap();
            let before = disposition(signal);
            let error = Listener::new(&[TERM, signal]).unwrap_err();
            assert!(error.is_forbidden());
            let text = error.to_string();
            assert!(text.contains(signal.name().unwrap()) && text.contains("leave it out"), "{text}");
            assert_eq!(disposition(TERM), libc::SIG_DFL);
            assert_eq!(disposition(signal), before);
        }
    }
}

isolated! {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn what_the_c_library_keeps_is_an_error_after_which_all_is_as_before() {
        install(INT, plain as *const () as usize, libc::SA_NODEFER);
        let kept = Signal::from_raw(33).unwrap();
        let mut other = listen(&[USR1]);
        for _ in 0..1_000 {
            let error = Listener::new(&[INT, TERM, kept, USR1]).unwrap_err();
            assert!(error.source().is_some());
            assert_eq!(disposition(INT), plain as *const () as usize);
            assert_eq!(disposition(TERM), libc::SIG_DFL);
        }
        raise(USR1);
        assert_eq!(now(&mut other), [(USR1, 1)]);
    }
}

isolated! {
    #[cfg(target_os = "linux")]
    fn running_out_of_descriptors_is_an_error_after_which_all_is_as_before() {
        fn limit(rlim_cur: u64) {
            let limit = libc::rlimit { rlim_cur, rlim_max: 1_024 };
            // SAFETY: the pointer is valid for the call.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        }
        let before = descriptors();
        for most in [3, 4] {
            for signals in [&[][..], &[TERM]] {
                limit(most);
                let failed = Listener::new(signals);
                limit(1_024);
                let error = failed.unwrap_err();
                assert!(error.is_limit() && error.source().is_some());
                assert_eq!((descriptors(), disposition(TERM)), (before, libc::SIG_DFL));
            }
        }
        let mut listener = listen(&[TERM]);
        raise(TERM);
        assert_eq!(now(&mut listener), [(TERM, 1)]);
    }
}

// ---- giving back

#[test]
fn after_the_last_listener_a_default_action_ends_the_process_again() {
    const NAME: &str = "after_the_last_listener_a_default_action_ends_the_process_again";
    if is_child(NAME) {
        let (mut one, other) = (listen(&[TERM, INT]), listen(&[TERM]));
        drop(other);
        raise(TERM);
        assert_eq!(now(&mut one), [(TERM, 1)]);
        drop(one);
        ready();
        thread::sleep(WATCHDOG);
        return;
    }
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let (child, _output) = start(NAME);
        kill(&child, signal);
        assert_eq!(end(child).signal(), Some(signal));
    }
}

isolated! {
    fn the_previous_action_comes_back_with_its_mask_and_flags() {
        let mut before = made(plain as *const () as usize, libc::SA_NODEFER | libc::SA_RESTART);
        // SAFETY: the set is initialised.
        unsafe { libc::sigaddset(&mut before.sa_mask, libc::SIGUSR2) };
        action(TERM, Some(&before));
        for _ in 0..3 {
            drop(listen(&[TERM]));
            let after = action(TERM, None);
            assert_eq!(after.sa_sigaction, plain as *const () as usize);
            assert_eq!(after.sa_flags & !0x0400_0000, before.sa_flags); // Less SA_RESTORER.
            // SAFETY: the sets are initialised.
            let is_member = |signal| unsafe { libc::sigismember(&after.sa_mask, signal) };
            assert_eq!((is_member(libc::SIGUSR2), is_member(libc::SIGUSR1)), (1, 0));
        }
    }
}

isolated! {
    fn what_is_below_says_how_a_handler_over_it_is_installed() {
        let (info, restart, stack) = (libc::SA_SIGINFO, libc::SA_RESTART, libc::SA_ONSTACK);
        let children = libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT;
        let plain = plain as *const () as usize;
        let child = Signal::from_raw(libc::SIGCHLD).unwrap();
        for (handler, flags, kept) in [
            (libc::SIG_DFL, 0, stack),
            (libc::SIG_DFL, libc::SA_NOCLDSTOP, stack | libc::SA_NOCLDSTOP),
            (libc::SIG_IGN, 0, stack | libc::SA_NOCLDWAIT),
            (plain, 0, 0),
            (plain, restart | libc::SA_NODEFER, 0),
            (plain, stack | children, stack | children),
            (plain, libc::SA_NOCLDWAIT, libc::SA_NOCLDWAIT),
        ] {
            install(child, handler, flags);
            let listener = listen(&[child]);
            let over = action(child, None).sa_flags & !0x0400_0000; // Less SA_RESTORER.
            assert_eq!(over, info | restart | kept, "over {handler:#x} with {flags:#x}");
            drop(listener);
            assert_eq!(action(child, None).sa_flags & !0x0400_0000, flags);
        }
    }
}

isolated! {
    fn an_ignored_signal_is_heard_and_then_ignored_again() {
        install(INT, libc::SIG_IGN, 0);
        assert!(signal::ignored(INT) && !signal::ignored(TERM));
        for _ in 0..3 {
            let mut listener = listen(&[INT]);
            raise(INT);
            assert_eq!(now(&mut listener), [(INT, 1)]);
            drop(listener);
            assert!(signal::ignored(INT));
            raise(INT);
        }
    }
}

isolated! {
    fn a_hangup_that_nohup_ignores_stays_ignored() {
        install(HUP, libc::SIG_IGN, 0);
        let mut listener = listen(&[HUP, TERM]);
        assert!(signal::ignored(HUP));
        raise(HUP);
        raise(TERM);
        assert_eq!(now(&mut listener), [(TERM, 1)]);
        drop(listener);
        assert!(signal::ignored(HUP));
        install(HUP, libc::SIG_DFL, 0);
        let mut listener = listen(&[HUP]);
        raise(HUP);
        assert_eq!(now(&mut listener), [(HUP, 1)]);
    }
}

#[test]
fn a_process_under_nohup_goes_on_after_a_hangup() {
    const NAME: &str = "a_process_under_nohup_goes_on_after_a_hangup";
    if is_child(NAME) {
        let mut listener = listen(&[HUP, TERM]);
        ready();
        assert_eq!(next(&mut listener).into_iter().collect::<Vec<_>>(), [(TERM, 1)]);
        return;
    }
    // trap '' is what nohup does, without its redirections.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(env::current_exe().unwrap());
    command.args(["--exact", NAME, "--nocapture"]).env(CHILD, NAME).env(INHERITS, "1");
    let (child, _output) = start_as(&mut command);
    kill(&child, libc::SIGHUP);
    kill(&child, libc::SIGTERM);
    let status = end(child);
    assert!(status.success(), "{status}");
}

isolated! {
    #[cfg(target_os = "linux")]
    fn ten_thousand_registrations_take_no_more_than_one() {
        fn pages() -> usize {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').nth(1).unwrap().parse().unwrap()
        }
        install(INT, plain as *const () as usize, 0);
        let round = || {
            let (mut one, mut other) = (listen(&[TERM, INT]), listen(&[INT]));
            let parking = listen(&[]);
            parking.nudger().nudge();
            raise(INT);
            assert_eq!((now(&mut one), now(&mut other)), (vec![(INT, 1)], vec![(INT, 1)]));
        };
        (0..100).for_each(|_| round());
        let before = (descriptors(), pages());
        (0..10_000).for_each(|_| round());
        let after = (descriptors(), pages());
        assert_eq!(after.0, before.0);
        assert!(after.1 <= before.1 + 64, "{} pages more", after.1 - before.1);
        assert_eq!((disposition(TERM), disposition(INT)), (libc::SIG_DFL, plain as *const () as usize));
        assert_eq!(hits(), 10_100);
    }
}

// ---- other handlers

isolated! {
    fn the_handlers_that_were_there_are_still_called() {
        install(USR1, informed as *const () as usize, libc::SA_SIGINFO);
        install(USR2, plain as *const () as usize, 0);
        let mut listener = listen(&[USR1, USR2]);
        raise(USR1);
        assert_eq!((hits(), SENDER.load(SeqCst)), (1, process::id()));
        raise(USR2);
        assert_eq!(hits(), 1);
        assert_eq!(now(&mut listener), [(USR1, 1), (USR2, 1)]);
        drop(listener);
        raise(USR1);
        raise(USR2);
        assert_eq!(hits(), 2);
        assert_eq!((disposition(USR1), disposition(USR2)), (informed as *const () as usize, plain as *const () as usize));
    }
}

isolated! {
    fn a_handler_on_top_that_chains_lets_everybody_hear_once() {
        let mut one = listen(&[TERM]);
        install_chaining(TERM);
        raise(TERM);
        assert_eq!((hits(), now(&mut one)), (1, vec![(TERM, 1)]));
        // On top of it, and below it.
        let mut other = listen(&[TERM]);
        raise(TERM);
        assert_eq!((hits(), now(&mut one), now(&mut other)), (1, vec![(TERM, 1)], vec![(TERM, 1)]));
        // Each may go first.
        drop(one);
        raise(TERM);
        assert_eq!((hits(), now(&mut other)), (1, vec![(TERM, 1)]));
        let mut one = listen(&[TERM]);
        drop(other);
        raise(TERM);
        assert_eq!((hits(), now(&mut one)), (1, vec![(TERM, 1)]));
        drop(one);
        assert_eq!(disposition(TERM), chaining as *const () as usize);
    }
}

isolated! {
    fn a_handler_on_top_that_does_not_chain_does_not_keep_a_new_listener_from_hearing() {
        for round in 0..1_000 {
            let mut old = listen(&[TERM]);
            install(TERM, plain as *const () as usize, 0);
            raise(TERM);
            assert_eq!((hits(), now(&mut old)), (1, vec![]), "round {round}");
            let mut new = listen(&[TERM]);
            raise(TERM);
            assert_eq!((hits(), now(&mut new)), (1, vec![(TERM, 1)]));
            drop(new);
            drop(old);
            assert_eq!(disposition(TERM), plain as *const () as usize);
        }
        install(TERM, libc::SIG_DFL, 0);
        drop(listen(&[TERM]));
        assert_eq!(disposition(TERM), libc::SIG_DFL);
    }
}

isolated! {
    fn a_handler_that_is_installed_anew_in_each_round_closes_no_ring() {
        let mut listener = listen(&[TERM]);
        install_chaining(TERM);
        for _ in 0..1_000 {
            let mut another = listen(&[TERM]);
            raise(TERM);
            assert_eq!((hits(), now(&mut another), now(&mut listener)), (1, vec![(TERM, 1)], vec![(TERM, 1)]));
            // It goes on top once more, over what it was over at first.
            install(TERM, chaining as *const () as usize, libc::SA_SIGINFO);
        }
    }
}

isolated! {
    fn below_a_handler_that_stays_the_default_is_the_default_again() {
        let listener = listen(&[TERM]);
        install_chaining(TERM);
        drop(listener);
        assert_eq!(disposition(TERM), chaining as *const () as usize);
        let status = forked(|| raise(TERM));
        assert_eq!(status.signal(), Some(libc::SIGTERM));
        // And a second registration takes.
        let mut listener = listen(&[TERM]);
        raise(TERM);
        assert_eq!((hits(), now(&mut listener)), (1, vec![(TERM, 1)]));
    }
}

#[test]
fn a_pass_through_acts_as_the_default_in_the_process_itself() {
    const NAME: &str = "a_pass_through_acts_as_the_default_in_the_process_itself";
    if is_child(NAME) {
        let listener = listen(&[TERM]);
        let below = install_chaining(TERM);
        drop(listener);
        // That handler goes away as it came: by putting back what it saved.
        if env::var_os("UNWIND").is_some() {
            action(TERM, Some(&below));
        }
        ready();
        thread::sleep(WATCHDOG);
        return;
    }
    let (child, _output) = start(NAME);
    kill(&child, libc::SIGTERM);
    assert_eq!(end(child).signal(), Some(libc::SIGTERM));
    let (child, _output) = start_as(again(NAME).env("UNWIND", "1"));
    kill(&child, libc::SIGTERM);
    assert_eq!(end(child).signal(), Some(libc::SIGTERM));
}

isolated! {
    /// A thread can be kept from running between the moment in which the system calls the handler
    /// and its first instruction, for as long as the last listener takes to go.
    fn a_handler_that_comes_too_late_does_not_end_the_process() {
        let listener = listen(&[TERM]);
        let address = disposition(TERM);
        drop(listener);
        assert_eq!(disposition(TERM), libc::SIG_DFL);
        // SAFETY: it was installed with SA_SIGINFO, for which this is the type; it reads neither.
        let handler = unsafe {
            std::mem::transmute::<usize, extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void)>(address)
        };
        handler(libc::SIGTERM, ptr::null_mut(), ptr::null_mut());
        assert_eq!(disposition(TERM), libc::SIG_DFL);
    }
}

isolated! {
    fn a_pass_through_over_an_ignored_signal_ignores() {
        install(INT, libc::SIG_IGN, 0);
        let listener = listen(&[INT]);
        install_chaining(INT);
        drop(listener);
        raise(INT);
        assert_eq!(hits(), 1);
    }
}

isolated! {
    fn a_pass_through_leaves_alone_what_is_nothing_by_default() {
        let child = Signal::from_raw(libc::SIGCHLD).unwrap();
        let listener = listen(&[child]);
        install_chaining(child);
        drop(listener);
        raise(child);
        raise(child);
        assert_eq!((hits(), disposition(child)), (2, chaining as *const () as usize));
    }
}

isolated! {
    fn a_handler_that_puts_back_what_it_saved_leaves_a_clean_chain() {
        let listener = listen(&[TERM]);
        let below = install_chaining(TERM);
        drop(listener);
        action(TERM, Some(&below));
        let mut listener = listen(&[TERM]);
        raise(TERM);
        assert_eq!((hits(), now(&mut listener)), (0, vec![(TERM, 1)]));
        drop(listener);
        assert_eq!(disposition(TERM), libc::SIG_DFL);
    }
}

isolated! {
    fn a_handler_that_takes_a_level_of_ours_away_with_it_deafens_nobody() {
        let mut lower = listen(&[TERM]);
        let below = install_chaining(TERM);
        let mut upper = listen(&[TERM]);
        action(TERM, Some(&below));
        raise(TERM);
        assert_eq!((now(&mut lower), now(&mut upper)), (vec![(TERM, 1)], vec![(TERM, 1)]));
        drop(lower);
        raise(TERM);
        assert_eq!(now(&mut upper), [(TERM, 1)]);
        let mut another = listen(&[TERM]);
        drop(upper);
        raise(TERM);
        assert_eq!((hits(), now(&mut another)), (0, vec![(TERM, 1)]));
        drop(another);
        assert_eq!(disposition(TERM), libc::SIG_DFL);
    }
}

isolated! {
    fn a_default_put_back_by_hand_does_not_keep_a_second_registration_from_taking() {
        for _ in 0..1_000 {
            let mut first = listen(&[TERM]);
            install(TERM, libc::SIG_DFL, 0);
            let mut second = listen(&[TERM]);
            raise(TERM);
            assert_eq!((now(&mut first), now(&mut second)), (vec![(TERM, 1)], vec![(TERM, 1)]));
            install_chaining(TERM);
            install(TERM, libc::SIG_DFL, 0);
            drop(first);
            drop(second);
            assert_eq!(disposition(TERM), libc::SIG_DFL);
        }
    }
}

isolated! {
    fn too_many_kinds_of_handlers_below_are_an_error_that_leaves_listeners_hearing() {
        let mut buried = vec![listen(&[TERM])]; // Over the default.
        macro_rules! over {
            ($($number:literal)*) => {$(
                install(TERM, numbered::<$number> as *const () as usize, 0);
                buried.push(listen(&[TERM]));
            )*};
        }
        over!(1 2 3 4 5 6 7);
        install(TERM, numbered::<8> as *const () as usize, 0);
        let error = Listener::new(&[USR1, TERM]).unwrap_err();
        assert!(error.is_limit());
        assert!(error.to_string().contains("SIGTERM"), "{error}");
        assert_eq!((disposition(USR1), disposition(TERM)), (libc::SIG_DFL, numbered::<8> as *const () as usize));
        // A handler that was met before is no new one.
        install(TERM, numbered::<3> as *const () as usize, 0);
        let mut listener = listen(&[TERM]);
        raise(TERM);
        assert_eq!((hits(), now(&mut listener)), (1, vec![(TERM, 1)]));
        // The one that was made over that handler hears again, the others are below it.
        let hear: Vec<_> = buried.iter_mut().map(|listener| now(listener).len()).collect();
        assert_eq!(hear, [0, 0, 0, 1, 0, 0, 0, 0]);
    }
}

// ---- forks

isolated! {
    fn a_signal_to_a_forked_child_ends_the_child_and_does_not_reach_the_parent() {
        let mut listener = listen(&[TERM, USR1]);
        assert_eq!(forked(|| raise(TERM)).signal(), Some(libc::SIGTERM));
        assert_eq!(forked(|| raise(USR1)).signal(), Some(libc::SIGUSR1));
        assert_eq!(now(&mut listener), []);
        raise(TERM);
        assert_eq!(now(&mut listener), [(TERM, 1)]);
    }
}

isolated! {
    fn in_a_forked_child_the_previous_handlers_go_on() {
        install(TERM, plain as *const () as usize, 0);
        install(INT, libc::SIG_IGN, 0);
        let mut listener = listen(&[TERM, INT]);
        let status = forked(|| {
            raise(INT);
            raise(TERM);
            assert_eq!(hits(), 1);
        });
        assert!(status.success());
        assert_eq!(now(&mut listener), []);
    }
}

isolated! {
    fn a_forked_child_can_listen_for_itself() {
        let mut listener = listen(&[TERM]);
        let idle = listen(&[USR1]);
        drop(idle); // A free slot, whose pipe the child must not take over.
        let status = forked(|| {
            for _ in 0..3 {
                let (mut own, mut other) = (listen(&[TERM, USR1]), listen(&[TERM]));
                raise(TERM);
                assert_eq!((now(&mut own), now(&mut other)), (vec![(TERM, 1)], vec![(TERM, 1)]));
                assert!(forked(|| raise(TERM)).signal() == Some(libc::SIGTERM));
                assert_eq!(now(&mut own), []);
                drop((own, other));
                assert_eq!(disposition(TERM), libc::SIG_DFL);
            }
        });
        assert!(status.success());
        let begun = Instant::now();
        assert!(listener.wait(Some(Duration::from_millis(20))).is_empty());
        assert!(begun.elapsed() >= Duration::from_millis(20));
        raise(TERM);
        assert_eq!(now(&mut listener), [(TERM, 1)]);
    }
}

isolated! {
    fn a_forked_child_that_listens_does_not_take_the_parents_wakes() {
        let mut inherited = listen(&[USR2]);
        drop(listen(&[USR1])); // Leaves a pipe, which the child must not take for its own.
        let (mut here, mut there) = std::os::unix::net::UnixStream::pair().unwrap();
        let child = fork_off(|| {
            let mut own = listen(&[TERM]);
            there.write_all(b"x").unwrap();
            loop {
                own.wait(Some(Duration::ZERO));
                inherited.wait(Some(Duration::ZERO));
            }
        });
        here.read_exact(&mut [0]).unwrap();
        let mut heir = listen(&[USR1]);
        for (listener, signal) in [(&mut heir, USR1), (&mut inherited, USR2)] {
            let (sender, heard) = mpsc::channel();
            thread::scope(|scope| {
                scope.spawn(move || {
                    for () in heard {
                        // Time to be in poll, where a byte that somebody else takes is a wake lost.
                        thread::sleep(Duration::from_millis(1));
                        raise(signal);
                    }
                });
                for _ in 0..100 {
                    sender.send(()).unwrap();
                    assert_eq!(next(listener).count(signal), 1);
                }
                drop(sender);
            });
        }
        // SAFETY: no precondition; the child has not been waited for.
        unsafe { libc::kill(child, libc::SIGKILL) };
        wait_for(child, 0);
    }
}

isolated! {
    fn what_a_forked_child_inherits_is_inert() {
        let mut listener = Some(listen(&[TERM]));
        let nudger = listener.as_ref().unwrap().nudger();
        raise(TERM); // Its byte is in the pipe: the parent's, not the child's.
        let status = forked(|| {
            nudger.nudge();
            let mut inherited = listener.take().unwrap();
            assert_eq!(now(&mut inherited), []);
            assert!(inherited.wait(Some(Duration::from_millis(1))).is_empty());
            nudger.nudge();
            assert!(inherited.wait(None).is_empty(), "a nudge within the child");
            drop(inherited);
            drop(listen(&[TERM]));
            raise(TERM);
        });
        assert_eq!(status.signal(), Some(libc::SIGTERM));
        let listener = listener.as_mut().unwrap();
        assert_eq!(now(listener), [(TERM, 1)]);
        let begun = Instant::now();
        assert!(listener.wait(Some(Duration::from_millis(20))).is_empty(), "the child's nudge");
        assert!(begun.elapsed() >= Duration::from_millis(20));
    }
}

isolated! {
    fn a_program_that_is_started_meets_the_default_action() {
        let mut listener = listen(&[TERM]);
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        kill(&child, libc::SIGTERM);
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        assert_eq!(now(&mut listener), []);
    }
}

// ---- storms

isolated! {
    fn in_a_storm_one_who_stays_hears_everything_while_others_come_and_go() {
        const ROUNDS: u64 = 3_000;
        const THREADS: u64 = 3;
        // One that a thread has taken but not begun to handle may be too late for the listener.
        install(USR2, libc::SIG_IGN, 0);
        let mut stays = listen(&[USR1, USR2]);
        install(INT, plain as *const () as usize, 0);
        let storming = AtomicU64::new(THREADS);
        let barrier = Barrier::new(2 * THREADS as usize + 1);
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for _ in 0..THREADS {
                threads.push(scope.spawn(|| {
                    barrier.wait();
                    for round in 0..ROUNDS {
                        raise(USR1);
                        raise(INT);
                        if round % 3 == 0 {
                            kill_self(USR2);
                        }
                    }
                    storming.fetch_sub(1, SeqCst);
                }));
                threads.push(scope.spawn(|| {
                    barrier.wait();
                    while storming.load(SeqCst) > 0 {
                        let mut passing = listen(&[INT, USR1]);
                        passing.nudger().nudge();
                        raise(USR1);
                        assert!(passing.wait(None).count(USR1) > 0);
                        raise(INT);
                        assert!(passing.wait(None).count(INT) > 0);
                    }
                }));
            }
            barrier.wait();
            let (mut first, mut second) = (0, 0);
            while storming.load(SeqCst) > 0 {
                let received = stays.wait(Some(Duration::from_millis(10)));
                first += received.count(USR1);
                second += received.count(USR2);
            }
            let received = stays.wait(Some(Duration::ZERO));
            first += received.count(USR1);
            second += received.count(USR2);
            assert!(first >= THREADS * ROUNDS, "{first} heard");
            assert!(second > 0);
            threads.into_iter().for_each(|thread| thread.join().unwrap()); // as above
        });
        assert!(hits() >= THREADS * ROUNDS, "the previous handler missed some");
        assert_eq!(disposition(INT), plain as *const () as usize);
        drop(stays);
        assert_eq!(disposition(USR1), libc::SIG_DFL);
    }
}

isolated! {
    #[cfg(target_os = "linux")]
    fn many_kinds_at_once_fit_on_the_small_stack_for_signals() {
        let kinds: Vec<_> = (libc::SIGRTMIN()..=libc::SIGRTMAX().min(64))
            .map(|number| Signal::from_raw(number).unwrap())
            .collect();
        let mut listener = listen(&kinds);
        thread::scope(|scope| {
            scope.spawn(|| {
                // All of them pend, and are delivered at once.
                kinds.iter().for_each(|signal| block(*signal));
                for _ in 0..10 {
                    kinds.iter().for_each(|signal| raise(*signal));
                }
                let mut none = MaybeUninit::uninit();
                // SAFETY: sigemptyset fills in the set before it is read.
                unsafe {
                    libc::sigemptyset(none.as_mut_ptr());
                    libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
                }
            });
        });
        let received = next(&mut listener);
        assert!(kinds.iter().all(|signal| received.count(*signal) == 10), "{received:?}");
    }
}

isolated! {
    fn every_raise_is_counted_exactly_once_by_several_readers() {
        const ROUNDS: u64 = 5_000;
        let (done, barrier) = (&AtomicU64::new(3), &Barrier::new(6));
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for _ in 0..3 {
                let mut listener = listen(&[USR1]);
                threads.push(scope.spawn(move || {
                    barrier.wait();
                    let mut heard = 0;
                    loop {
                        let over = done.load(SeqCst) == 0;
                        heard += listener.wait(Some(Duration::from_millis(1))).count(USR1);
                        if over {
                            break;
                        }
                    }
                    assert_eq!(heard, 3 * ROUNDS);
                }));
                threads.push(scope.spawn(move || {
                    barrier.wait();
                    (0..ROUNDS).for_each(|_| raise(USR1));
                    done.fetch_sub(1, SeqCst);
                }));
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap()); // as above
        });
    }
}

isolated! {
    fn listeners_come_and_go_while_another_library_takes_and_gives_back() {
        let done = AtomicBool::new(false);
        install(USR1, plain as *const () as usize, 0);
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                // On a busy machine each turn may take long: as many as there is time for.
                let end = Instant::now() + Duration::from_secs(10);
                for _ in (0..2_000).take_while(|_| Instant::now() < end) {
                    let below = install(USR1, numbered::<1> as *const () as usize, 0);
                    thread::yield_now();
                    action(USR1, Some(&below));
                }
                done.store(true, SeqCst);
            });
            while !done.load(SeqCst) {
                drop(listen(&[USR1]));
                raise(USR1);
            }
            other.join().unwrap(); // as above
        });
        // Two who change one disposition at one moment may leave either on top: there is no
        // compare-and-exchange for it. Whatever they left, registering works.
        let mut listener = listen(&[USR1]);
        raise(USR1);
        assert_eq!(now(&mut listener), [(USR1, 1)]);
    }
}

// ---- the default again

isolated! {
    fn raising_the_default_ends_the_process_by_that_signal() {
        for signal in [TERM, INT, HUP, USR1, Signal::QUIT, Signal::from_raw(libc::SIGKILL).unwrap()] {
            let status = forked(|| {
                let _listener = (signal.as_raw() != libc::SIGKILL).then(|| listen(&[signal]));
                signal::raise_default(signal);
            });
            assert_eq!(status.signal(), Some(signal.as_raw()));
            let status = forked(|| {
                if signal.as_raw() != libc::SIGKILL {
                    install(signal, libc::SIG_IGN, 0);
                }
                block(signal);
                signal::raise_default(signal);
            });
            assert_eq!(status.signal(), Some(signal.as_raw()));
        }
    }
}

isolated! {
    fn raising_a_default_that_does_not_end_the_process_returns_and_changes_nothing() {
        let winch = Signal::from_raw(libc::SIGWINCH).unwrap();
        let mut listener = listen(&[winch]);
        signal::raise_default(winch);
        assert_eq!(now(&mut listener), []);
        raise(winch);
        assert_eq!(now(&mut listener), [(winch, 1)]);
    }
}

isolated! {
    fn raising_the_default_of_stop_stops_and_goes_on() {
        let stop = Signal::from_raw(libc::SIGSTOP).unwrap();
        let child = fork_off(|| signal::raise_default(stop));
        assert_eq!(wait_for(child, libc::WUNTRACED).stopped_signal(), Some(libc::SIGSTOP));
        // SAFETY: no precondition; the child is there.
        unsafe { libc::kill(child, libc::SIGCONT) };
        assert_eq!(wait_for(child, 0).code(), Some(0));
    }
}
