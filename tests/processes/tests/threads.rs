//! How many threads a program starts from its start to its end, counted where they are started, and what
//! becomes of the last one. What runs beside a running program is counted in `guard.rs`.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::ffi::{c_int, c_void};
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use adjourn::rt::Executor;
use adjourn::{Until, async_std, smol, tokio};
use adjourn_core::Runner;

static STARTED: AtomicUsize = AtomicUsize::new(0);

type Main = extern "C" fn(*mut c_void) -> *mut c_void;
type Create = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Main,
    *mut c_void,
) -> c_int;

/// Takes the place of the C library's, which it calls.
///
/// # Safety
///
/// As for pthread_create(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    main: Main,
    argument: *mut c_void,
) -> c_int {
    static NEXT: OnceLock<usize> = OnceLock::new();
    STARTED.fetch_add(1, SeqCst);
    // SAFETY: the name is a C string; what is found by it is the function of that name and type, and
    // the caller's promises are the same.
    unsafe {
        let next =
            *NEXT.get_or_init(|| libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) as usize);
        assert_ne!(next, 0, "the C library has it");
        mem::transmute::<usize, Create>(next)(thread, attributes, main, argument)
    }
}

/// The counter and the signals are the process's: one test at a time.
static TURN: Mutex<()> = Mutex::new(());

const RUNS: usize = 40;

/// Has so many programs run, one after the other, and checks how many threads each started.
fn each_starts<E: Executor>(name: &str, threads: usize, runner: impl Fn() -> Runner<E>) {
    let run = || assert_eq!(runner().run(async {}).exit_code(), 0, "{name}");
    run(); // what an executor starts once for all
    let before = STARTED.load(SeqCst);
    (0..RUNS).for_each(|_| run());
    let started = STARTED.load(SeqCst) - before;
    // On a busy machine the calling thread may not come to run for 5 ms in the middle of the stop. Then
    // another is started that helps.
    let expected = RUNS * threads..RUNS * threads + RUNS / 4;
    assert!(expected.contains(&started), "{name}: {started} threads in {RUNS} programs");
}

/// The same of programs that are ended by a signal.
fn each_starts_until_a_signal<E: Executor>(
    name: &str,
    threads: usize,
    runner: impl Fn() -> Runner<E>,
) {
    let run = || {
        let exit = runner().run(async {
            // SAFETY: no precondition; the program has a handler.
            unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
            std::future::pending::<()>().await;
        });
        assert_eq!((exit.exit_code(), exit.report().signals.len()), (0, 1), "{name}");
    };
    run();
    let before = STARTED.load(SeqCst);
    (0..RUNS).for_each(|_| run());
    let started = STARTED.load(SeqCst) - before;
    let expected = RUNS * threads..RUNS * threads + RUNS / 4;
    assert!(expected.contains(&started), "{name}: {started} threads in {RUNS} programs");
}

#[test]
fn a_signal_to_a_program_in_order_starts_no_second_thread() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    each_starts_until_a_signal("Tokio", 1, || tokio::Runner::new().current_thread());
    each_starts_until_a_signal("Tokio with two workers", 3, || {
        tokio::Runner::new().worker_threads(2)
    });
    each_starts_until_a_signal("smol", 1, || smol::Runner::new().current_thread());
    each_starts_until_a_signal("async-std", 1, async_std::Runner::new);
}

#[test]
fn an_end_in_order_starts_no_second_thread() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let current = || tokio::Runner::new().current_thread();
    each_starts("Tokio", 1, current);
    each_starts("Tokio, with main's end", 1, || current().until(Until::MainReturns));
    each_starts("Tokio, asked to stop", 1, || {
        let runner = current();
        runner.stopper().stop();
        runner
    });
    each_starts("Tokio with two workers", 3, || tokio::Runner::new().worker_threads(2));
    each_starts("smol", 1, || smol::Runner::new().current_thread());
    each_starts("async-std", 1, async_std::Runner::new);
}

/// How many threads supervise, or are on their way out.
fn wardens() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has it");
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks.filter_map(name).filter(|name| name.trim_end() == "adjourn-warden").count()
}

/// Nobody waits until a thread is gone that has nothing left to do. So the next program may start before
/// it is.
#[test]
fn what_is_on_its_way_out_takes_nothing_from_the_next_program() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runner = || tokio::Runner::new().current_thread();
    for _ in 0..200 {
        assert_eq!(runner().run(async {}).exit_code(), 0);
        let exit = runner().run(async {
            // SAFETY: no precondition; somebody listens to it.
            unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
            std::future::pending::<()>().await; // for ever, where it is not heard
        });
        assert_eq!(exit.exit_code(), 0, "{}", exit.report());
        assert_eq!(exit.report().signals.len(), 1, "{:?}", exit.report().signals);
    }
    (0..1_000).for_each(|_| {
        assert_eq!(runner().run(async {}).exit_code(), 0);
        let there = wardens();
        assert!(there <= 5, "{there} of them: none is waited for");
    });
    let end = Instant::now() + Duration::from_secs(10);
    while wardens() > 0 {
        assert!(Instant::now() < end, "{} stay", wardens());
        std::thread::sleep(Duration::from_millis(1));
    }
}
