//! A program for each moment in which something of the user's or of the system's holds up the start,
//! the stop or the end: `guard BACKEND SCENARIO [MS]`. The timeout is MS, 1000 unless given.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use adjourn::rt::{Executor, Threads};
use adjourn::{
    Exit, Reraise, Scope, Signal, StartError, Stopper, spawn, spawn_blocking, spawn_shielded,
};
use adjourn_core::Runner;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Prints a line.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    _ = writeln!(out, "{line}");
    _ = out.flush();
}

fn block() -> ! {
    loop {
        std::thread::park();
    }
}

fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

struct Blocks;

impl Drop for Blocks {
    fn drop(&mut self) {
        say("dropped");
        block();
    }
}

async fn serve() {
    say("ready");
    std::future::pending::<()>().await;
}

fn builds_for_ever<E>() -> Result<E, StartError> {
    say("building");
    block()
}

fn builds_when_told<E: Executor>(threads: &Threads) -> Result<E, StartError> {
    say("building");
    let mut line = String::new();
    _ = std::io::stdin().read_line(&mut line);
    E::build(threads)
}

pub(crate) fn main() -> Exit {
    let mut args = std::env::args().skip(1);
    let backend = args.next().expect("a backend");
    let scenario = args.next().expect("a scenario");
    let timeout = args.next().map_or(1000, |arg| arg.parse().expect("a number"));
    let timeout = Duration::from_millis(timeout);
    match backend.as_str() {
        "tokio-current" => {
            scene(adjourn::tokio::Runner::new().current_thread(), &scenario, timeout)
        }
        "tokio-1" => scene(adjourn::tokio::Runner::new().worker_threads(1), &scenario, timeout),
        "tokio-n" => scene(adjourn::tokio::Runner::new().worker_threads(3), &scenario, timeout),
        "smol-current" => scene(adjourn::smol::Runner::new().current_thread(), &scenario, timeout),
        "smol-1" => scene(adjourn::smol::Runner::new().worker_threads(1), &scenario, timeout),
        "smol-n" => scene(adjourn::smol::Runner::new().worker_threads(3), &scenario, timeout),
        "async-std" => scene(adjourn::async_std::Runner::new(), &scenario, timeout),
        other => panic!("no such backend: {other}"),
    }
}

fn scene<E: Executor>(runner: Runner<E>, scenario: &str, timeout: Duration) -> Exit {
    let runner = runner.timeout(timeout);
    match scenario {
        // The start.
        "building" => runner.build_with(|_: &Threads| builds_for_ever()).run(serve()),
        "building-reaction" => {
            let runner = runner.on_signal(|_, stopper: &Stopper| stopper.stop());
            runner.build_with(|_: &Threads| builds_for_ever()).run(serve())
        }
        "building-slowly" => {
            runner.build_with(|threads: &Threads| builds_when_told(threads)).run(serve())
        }
        "building-slowly-peek" => {
            let main =
                async { say(&format!("requested {}", adjourn::StopToken::current().peek())) };
            runner.build_with(|threads: &Threads| builds_when_told(threads)).run(main)
        }
        "building-slowly-reaction" => {
            let react = |signal: Signal, stopper: &Stopper| {
                say(&format!("heard {signal}"));
                if signal == Signal::INTERRUPT {
                    stopper.stop();
                }
            };
            runner
                .on_signal(react)
                .build_with(|threads: &Threads| builds_when_told(threads))
                .run(serve())
        }
        "observer-ends" => {
            let observer = |event: &adjourn::Event, _: &adjourn::Inspector| {
                if let adjourn::Event::Ended(_) = event {
                    say("ended");
                    let mut line = String::new();
                    _ = std::io::stdin().read_line(&mut line);
                }
            };
            runner.observe(observer).run(serve())
        }
        "building-panics" => {
            runner.build_with(|_: &Threads| panic!("no threads left")).run(serve())
        }
        "serving" => runner.run(serve()),
        // Reactions.
        "reaction" => runner.on_signal(|_, stopper: &Stopper| stopper.stop()).run(wedged()),
        "reaction-blocks" => {
            let react = |signal: Signal, _: &Stopper| {
                say(&format!("{signal} blocks"));
                block()
            };
            runner.on_signal(react).run(serve())
        }
        "reaction-ignores" => {
            let react = |signal: Signal, stopper: &Stopper| {
                say(&format!("heard {signal}"));
                if signal == Signal::TERMINATE {
                    stopper.stop();
                }
            };
            runner.on_signal(react).run(serve())
        }
        "reaction-panics" => runner.on_signal(|_, _: &Stopper| panic!("a reaction")).run(serve()),
        "contexts" => contexts(runner),
        // Sinks and subscribers.
        "failure-blocks" => runner.on_failure(|_| block()).run(async { Err::<(), _>("it broke") }),
        "late-failure-blocks" => {
            let exit = runner
                .on_stopped(std::future::pending::<()>())
                .on_failure(|_| {
                    say("told");
                    block()
                })
                .on_report(|_| say("reported"))
                .run(async {});
            say("returned");
            exit
        }
        "subscriber-signal" => {
            subscribe("signal received");
            runner.run(serve())
        }
        "subscriber-phase" => {
            subscribe("enters a phase");
            runner.run(serve())
        }
        // The end.
        "report-blocks" => runner
            .on_report(|_| {
                say("reporting");
                block()
            })
            .run(serve()),
        // Something is dropped as the report is made, and raises a signal.
        "late-signal" => late_signal(runner).run(async {}),
        "late-signal-reported" => {
            let reported =
                |report: &adjourn::Report| say(&format!("given {}", report.signals.len()));
            let exit = late_signal(runner).on_report(reported).run(async {});
            say(&format!("at the end {}", exit.report().signals.len()));
            exit
        }
        "marks" => marks(runner),
        "destructor-blocks" => {
            let blocks = Blocks;
            runner.on_signal(move |_, _: &Stopper| _ = &blocks).run(async {})
        }
        // Dropped the last of all, whoever keeps a handle.
        "sink-destructor-blocks" => {
            let blocks = Blocks;
            let kept = async { std::mem::forget(Scope::current()) };
            runner.on_failure(move |_| _ = &blocks).run(kept)
        }
        "stderr-locked" => runner.run(async {
            spawn_blocking(|| {
                let _lock = std::io::stderr().lock();
                say("locked");
                block()
            });
            std::future::pending::<()>().await;
        }),
        "fails-when-told" => runner.run_graceful(|stop| async move {
            say("ready");
            stop.requested().await;
            Err::<(), _>("no database")
        }),
        // Reports of more text than a terminal that is nearly full has room for.
        "fails-at-length" => runner.run(async { Err::<(), _>("it broke\n".repeat(400)) }),
        "fails-at-length-and-blocks" => {
            runner.on_failure(|_| block()).run(async { Err::<(), _>("it broke\n".repeat(400)) })
        }
        "fails-and-raises" => runner.reraise(Reraise::Always).run_graceful(|stop| async move {
            // SAFETY: raise has no precondition.
            unsafe { libc::raise(libc::SIGTERM) };
            stop.requested().await;
            print!("not flushed");
            Err::<(), _>("no database")
        }),
        // After it.
        "above-the-echo" => above_the_echo(runner),
        "blocked-by-the-caller" => blocked_by_the_caller(runner),
        "survives" => {
            let urgent = Signal::from_raw(libc::SIGURG).expect("there is one");
            runner.signals([urgent]).reraise(Reraise::Always).run(serve())
        }
        // Surroundings.
        "taken-over" => {
            extern "C" fn theirs(_: libc::c_int) {}
            let theirs = theirs as extern "C" fn(libc::c_int) as libc::sighandler_t;
            runner.run(async move {
                // SAFETY: the handler does nothing.
                unsafe { libc::signal(libc::SIGINT, theirs) };
                say("taken");
                let mut line = String::new();
                _ = std::io::stdin().read_line(&mut line);
                if line.starts_with("look") {
                    adjourn::ready();
                    adjourn::ready();
                }
                serve().await;
            })
        }
        "thread-end" => thread_end(runner),
        #[cfg(target_os = "linux")]
        "no-teller" => no_teller(runner),
        // The calling thread cannot be woken, and is the one that the system gives signals to.
        "asleep" => runner.run(async {
            say("ready");
            // SAFETY: the child, which borrows the memory of this thread, calls nothing but these.
            #[allow(deprecated)]
            unsafe {
                if libc::vfork() == 0 {
                    (0..3).for_each(|fd| _ = libc::close(fd));
                    libc::sleep(8);
                    libc::_exit(0);
                }
            }
            std::future::pending::<()>().await;
        }),
        "threads" => runner.run(async {
            // A thread gives itself its name.
            let own = loop {
                let own = |name: &String| name.starts_with("adjourn-");
                let names: Vec<_> = threads().into_iter().filter(own).collect();
                if !names.is_empty() {
                    break names;
                }
            };
            say(&format!("threads {own:?}"));
            serve().await;
        }),
        other => panic!("no such scenario: {other}"),
    }
}

/// Every worker in a loop, and on a current-thread executor the calling thread.
async fn wedged() {
    static WEDGED: AtomicBool = AtomicBool::new(false);
    for _ in 0..16 {
        spawn(async {
            WEDGED.store(true, SeqCst);
            spin()
        });
    }
    if cfg!(unix) && std::env::args().nth(1).is_some_and(|backend| backend.ends_with("current")) {
        say("ready");
        spin();
    }
    while !WEDGED.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(200)); // the others, mostly
    serve().await;
}

/// Says in which scope each callback runs.
fn contexts<E: Executor>(runner: Runner<E>) -> Exit {
    fn here(what: &str) {
        let scope = Scope::try_current().map(|scope| scope.path());
        say(&format!("{what} in {}", scope.unwrap_or_else(|_| "none".to_owned())));
    }
    runner
        .on_signal(|_, stopper: &Stopper| {
            here("on_signal");
            spawn_shielded(async { here("its task") }); // the stop is next
            stopper.stop();
        })
        .on_stop(|| here("on_stop"))
        .on_stopped(|| here("on_stopped"))
        .on_failure(|_| here("on_failure"))
        .on_report(|_| here("on_report"))
        .run_graceful(|stop| async move {
            say("ready");
            stop.requested().await;
            Err::<(), _>("it broke")
        })
}

fn late_signal<E>(runner: Runner<E>) -> Runner<E> {
    struct Raises;
    impl Drop for Raises {
        fn drop(&mut self) {
            // SAFETY: raise has no precondition.
            unsafe { libc::raise(libc::SIGUSR1) };
        }
    }
    let raises = Raises;
    runner.signals([Signal::USER1]).on_signal(move |_, _: &Stopper| _ = &raises)
}

/// A thread of one program runs another, and is its own program's again after it.
fn marks<E: Executor>(runner: Runner<E>) -> Exit {
    // Of the inner one; on this thread no program is there.
    fn inner() -> Exit {
        adjourn::smol::Runner::new().signals([]).current_thread().run(async {})
    }
    let exit = runner.run(async {
        // What a framework spawns by itself, on the threads of the program.
        let path = || Scope::try_current().map_or("none".to_owned(), |scope| scope.path());
        let foreign = move || {
            let before = path();
            _ = inner();
            format!("{before} and {}", path())
        };
        if let Ok(tokio) = ::tokio::runtime::Handle::try_current() {
            say(&tokio.spawn_blocking(foreign).await.expect("no panic"));
        } else {
            say("root and root");
        }
    });
    say(&format!("after it {}", Scope::try_current().is_ok()));
    exit
}

/// Uses a scope in the destructor of a thread-local, when those of the executor may be gone.
fn thread_end<E: Executor>(runner: Runner<E>) -> Exit {
    use std::cell::RefCell;
    use std::future::{Future, pending, ready};
    use std::pin::{Pin, pin};
    use std::sync::mpsc::{Sender, channel};
    use std::task::{Context, Waker};

    use adjourn::FutureExt;
    use adjourn::rt::AnySleep;

    const SPAN: Duration = Duration::from_millis(1);
    /// With what is made before, and dropped there.
    struct Late(Scope, Vec<Pin<Box<dyn Future<Output = ()> + Send>>>, Sender<AnySleep>);
    fn poll<F: Future>(future: F) {
        _ = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    }
    impl Drop for Late {
        fn drop(&mut self) {
            let Late(scope, before, made) = self;
            drop(scope.spawn(async {}));
            drop(scope.spawn_blocking(|| ()));
            drop(scope.scope("child"));
            drop(scope.sleep(SPAN));
            poll(scope.sleep(SPAN));
            poll(scope.timeout(SPAN, pending::<()>()));
            let mut ticks = scope.interval(SPAN);
            poll(ticks.tick());
            poll(ticks.tick());
            poll(scope.spawn(async {}));
            poll(scope.stop_token().requested());
            poll(ready(()).until_stop());
            _ = scope.stop_token().wait_timeout(SPAN);
            _ = made.send(scope.sleep(SPAN));
            for future in before {
                poll(future);
            }
            drop(scope.stop());
        }
    }
    thread_local! { static KEPT: RefCell<Option<Late>> = const { RefCell::new(None) } }
    runner.run(async {
        let (make, made) = channel();
        let scope = adjourn::scope("late");
        let (sleep, handle) = (scope.sleep(SPAN), scope.spawn(pending::<()>()));
        let before: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> =
            vec![Box::pin(sleep), Box::pin(async { drop(handle.await) })];
        let late = Late(scope, before, make);
        let thread = std::thread::spawn(|| {
            KEPT.set(Some(late));
            // Whatever the executor keeps for a thread is made after ours, and gone before.
            KEPT.with_borrow_mut(|late| {
                let late = late.as_mut().expect("it is there");
                drop(late.0.spawn(async {}));
                poll(late.0.sleep(SPAN));
                late.1.iter_mut().for_each(poll);
            });
        });
        while !thread.is_finished() {
            Scope::current().sleep(SPAN).await;
        }
        say(&format!("ended {}", thread.join().is_ok()));
        made.recv().expect("it was sent").await;
        say("a sleep from there has ended");
    })
}

/// Installs a handler as signal-hook and Tokio do, while what came in the stop is still swallowed.
fn above_the_echo<E: Executor>(runner: Runner<E>) -> Exit {
    static HEARD: AtomicUsize = AtomicUsize::new(0);
    let exit = runner.run(serve());
    let heard = || _ = HEARD.fetch_add(1, SeqCst);
    // SAFETY: the action is async-signal-safe.
    unsafe { signal_hook_registry::register(libc::SIGTERM, heard) }.expect("it can be");
    until_nobody_watches();
    for _ in 0..2 {
        // SAFETY: raise has no precondition.
        unsafe { libc::raise(libc::SIGTERM) };
    }
    say(&format!("heard {}", HEARD.load(SeqCst)));
    exit
}

/// Says which signals are blocked after `run`, and sends them: they have to stay pending.
fn blocked_by_the_caller<E: Executor>(runner: Runner<E>) -> Exit {
    fn of(fill: unsafe extern "C" fn(*mut libc::sigset_t) -> libc::c_int) -> Vec<libc::c_int> {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: both fill in the set.
        let set = unsafe {
            fill(set.as_mut_ptr());
            set.assume_init()
        };
        // SAFETY: the set is initialised.
        let is_in = |signal: &libc::c_int| unsafe { libc::sigismember(&set, *signal) } == 1;
        [libc::SIGINT, libc::SIGTERM].into_iter().filter(is_in).collect()
    }
    unsafe extern "C" fn mask(set: *mut libc::sigset_t) -> libc::c_int {
        // SAFETY: with no new mask it only fills in the old one.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), set) }
    }
    // SAFETY: to send a signal to itself has no precondition.
    let send = |signal| _ = unsafe { libc::kill(libc::getpid(), signal) };
    let exit = runner.run(serve());
    say(&format!("blocked {:?}", of(mask)));
    send(libc::SIGINT); // not heard in the stop: nobody swallows it
    say(&format!("pending {:?}", of(libc::sigpending)));
    until_nobody_watches();
    send(libc::SIGTERM);
    say(&format!("pending {:?}", of(libc::sigpending)));
    exit
}

/// Waits until the last thread that was there for a program is gone.
fn until_nobody_watches() {
    if cfg!(not(target_os = "linux")) {
        return std::thread::sleep(Duration::from_secs(1));
    }
    while threads().iter().any(|name| name.starts_with("adjourn-")) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A service manager that takes nothing, and no thread to be had. Says which part of two seconds the
/// processor was used.
#[cfg(target_os = "linux")]
fn no_teller<E: Executor>(runner: Runner<E>) -> Exit {
    fn used() -> Duration {
        // SAFETY: all zeros is a rusage, which getrusage then fills in.
        let usage = unsafe {
            let mut usage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &mut usage);
            usage
        };
        let spans = [usage.ru_utime, usage.ru_stime];
        let span = |time: libc::timeval| {
            Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
        };
        spans.map(span).iter().sum()
    }
    runner.run(async {
        no_more_threads();
        assert!(std::thread::Builder::new().spawn(|| ()).is_err(), "a thread can be had");
        adjourn::ready();
        let before = used();
        Scope::current().sleep(Duration::from_secs(2)).await;
        let part = (used() - before).as_secs_f64() / 2.0;
        say(if part < 0.1 { "idle" } else { "busy" });
        serve().await;
    })
}

/// From here on no thread of the process can start another: the system says "try again" (EAGAIN), as
/// where the limit of threads is reached.
#[cfg(target_os = "linux")]
fn no_more_threads() {
    let number = std::mem::offset_of!(libc::seccomp_data, nr) as u32;
    let step = |code, k, jt| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let is = |call: libc::c_long, skipped| {
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, skipped)
    };
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, number, 0),
        is(libc::SYS_clone, 2),
        is(libc::SYS_clone3, 1),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EAGAIN as u32, 0),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the pointers are valid for the calls.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let (mode, all) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_TSYNC);
        let set = libc::syscall(libc::SYS_seccomp, mode, all, &program);
        // A number above zero is that of a thread that cannot have the filter.
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    }
}

/// The names of the process's threads.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has it");
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks.filter_map(name).map(|name| name.trim_end().to_owned()).collect()
}

/// Has a subscriber block for ever at the event with this text.
fn subscribe(text: &'static str) {
    struct Blocks(&'static str);
    struct Message(String);
    impl tracing::field::Visit for Message {
        fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }
    impl Subscriber for Blocks {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut message = Message(String::new());
            event.record(&mut message);
            if message.0.contains(self.0) {
                say("the subscriber blocks");
                block();
            }
        }
    }
    tracing::subscriber::set_global_default(Blocks(text)).expect("the first subscriber");
}
