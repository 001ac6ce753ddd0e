//! The process in a storm of signals: `storm SEED`. See `adjourn_processes::storm`.
//!
//! Prints `ready` once it has started, and `heard KIND TIMES` for what its own listener was told. A
//! line on standard input, which says how many of each kind must come, ends the storm: it prints
//! `counts` and all of them as JSON once they agree, and lets the program end. Then one line for each thing that happens in order, and the report.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use adjourn::rt::Executor;
use adjourn::{
    Exit, FutureExt, Reraise, Scope, SecondInterrupt, Signal, Stopper, scope, spawn, spawn_graceful,
};
use adjourn_core::Runner;
use adjourn_core::signal::Listener;
use adjourn_processes::storm::{
    END, NEIGHBOUR, Neighbour, Plan, RAISED as RAISED_KINDS, Reraises, kinds,
};

type Counts = [AtomicU64; 65];

/// What the kernel called handlers for: counted by one that was there before.
static WITNESSED: Counts = [const { AtomicU64::new(0) }; 65];
/// What the listener beside the program returned.
static HEARD: Counts = [const { AtomicU64::new(0) }; 65];
/// What the program's `on_signal` was called for.
static TOLD: Counts = [const { AtomicU64::new(0) }; 65];
/// What `tokio::signal` beside the program returned.
static NEIGHBOURS: Counts = [const { AtomicU64::new(0) }; 65];
/// What threads of this process raised.
static RAISED: Counts = [const { AtomicU64::new(0) }; 65];

static RETURNED: AtomicBool = AtomicBool::new(false);
static OVER: AtomicBool = AtomicBool::new(false);

extern "C" fn witness(signal: i32) {
    WITNESSED[signal as usize].fetch_add(1, SeqCst);
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    _ = writeln!(out, "{line}");
    _ = out.flush();
}

fn disposition(signal: i32) -> usize {
    let mut now = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the pointers are valid or null, and the call that succeeds fills in `now`.
    unsafe {
        assert_eq!(libc::sigaction(signal, ptr::null(), now.as_mut_ptr()), 0);
        now.assume_init().sa_sigaction
    }
}

fn install(signal: i32, handler: usize) {
    // SAFETY: all zeros is a sigaction, and the set is filled before it is used; the handlers here are
    // the default and an atomic's increment.
    unsafe {
        let mut new: libc::sigaction = MaybeUninit::zeroed().assume_init();
        new.sa_sigaction = handler;
        new.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        // Handlers that interrupt each other would overflow std's 8 KiB for signals: three do, with
        // AVX-512. Ours blocks all for that reason, and tokio's, which does not, has one kind only.
        libc::sigfillset(&mut new.sa_mask);
        assert_eq!(libc::sigaction(signal, &new, ptr::null_mut()), 0);
    }
}

/// Waits for what must come, until ten seconds have passed in which nothing was counted: on a busy
/// machine a storm takes its time.
fn until(what: &str, came: impl Fn() -> bool) {
    let all = [&WITNESSED, &HEARD, &TOLD, &NEIGHBOURS, &RAISED];
    let counted = || all.into_iter().flatten().map(|count| count.load(SeqCst)).sum::<u64>();
    let (mut before, mut looks) = (counted(), 0);
    while !came() {
        thread::sleep(Duration::from_millis(1));
        let now = counted();
        looks = if now == before { looks + 1 } else { 0 };
        before = now;
        if looks == 10_000 {
            say(&format!("never: {what}: {}", counts()));
            std::process::exit(99);
        }
    }
}

fn counts() -> serde_json::Value {
    let of = |counts: &Counts| -> BTreeMap<String, u64> {
        kinds()
            .into_iter()
            .map(|kind| (kind.to_string(), counts[kind as usize].load(SeqCst)))
            .collect()
    };
    serde_json::json!({
        "heard": of(&HEARD),
        "witnessed": of(&WITNESSED),
        "told": of(&TOLD),
        "raised": of(&RAISED),
    })
}

pub(crate) fn main() {
    let seed = std::env::args().nth(1).and_then(|seed| seed.parse().ok()).expect("a seed");
    let plan = Plan::of(seed);
    let before = if plan.witness { witness as *const () as usize } else { libc::SIG_DFL };
    kinds().into_iter().for_each(|kind| install(kind, before));
    if plan.neighbour == Neighbour::Before {
        be_neighbours();
    }
    let signals: Vec<Signal> =
        kinds().into_iter().map(|kind| Signal::from_raw(kind).expect("it is one")).collect();
    let listener = Listener::new(&signals).expect("none is forbidden");
    let beside = thread::spawn(move || listen(listener));

    let exit = match plan.backend {
        "tokio-current" => run(adjourn::tokio::Runner::new().worker_threads(0), signals, plan),
        "tokio-1" => run(adjourn::tokio::Runner::new().worker_threads(1), signals, plan),
        "tokio-n" => run(adjourn::tokio::Runner::new().worker_threads(3), signals, plan),
        "smol-current" => run(adjourn::smol::Runner::new().worker_threads(0), signals, plan),
        "smol-1" => run(adjourn::smol::Runner::new().worker_threads(1), signals, plan),
        "smol-n" => run(adjourn::smol::Runner::new().worker_threads(3), signals, plan),
        "async-std" => run(adjourn::async_std::Runner::new(), signals, plan),
        other => panic!("no such backend: {other}"),
    };
    RETURNED.store(true, SeqCst);
    until("the end of the storm", || OVER.load(SeqCst));
    beside.join().expect("it does not panic");
    say("returned");
    let plan = Plan::of(seed);
    for kind in kinds() {
        // The registry under tokio::signal never takes its handler away.
        let stays = plan.neighbour != Neighbour::Nobody && NEIGHBOUR.contains(&kind);
        if !stays {
            // What was heard in the stop is swallowed for a while.
            until(&format!("signal {kind} acts as before"), || disposition(kind) == before);
        }
    }
    say(&serde_json::to_string(exit.report()).expect("a report serialises"));
    exit.exit();
}

/// Beside the program: counts everything exactly, until the storm is over.
fn listen(mut listener: Listener) {
    while !OVER.load(SeqCst) {
        for (signal, count) in listener.wait(Some(Duration::from_millis(20))) {
            HEARD[signal.as_raw() as usize].fetch_add(count, SeqCst);
            say(&format!("heard {} {count}", signal.as_raw()));
        }
    }
}

fn be_neighbours() {
    let (there, ready) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            for kind in NEIGHBOUR {
                let number = tokio::signal::unix::SignalKind::from_raw(kind);
                let mut signals = tokio::signal::unix::signal(number).expect("not forbidden");
                tokio::spawn(async move {
                    while signals.recv().await.is_some() {
                        NEIGHBOURS[kind as usize].fetch_add(1, SeqCst);
                    }
                });
            }
            _ = there.send(());
            std::future::pending::<()>().await;
        });
    });
    ready.recv().expect("it listens");
}

fn run<E: Executor>(runner: Runner<E>, signals: Vec<Signal>, plan: Plan) -> Exit {
    let day = Duration::from_secs(86_400);
    let mut runner = runner
        .signals(signals)
        .timeout(day)
        // A starved machine is not what is tested.
        .exit_when_stuck(false)
        .debounce(if plan.each_interrupt_counts { Duration::ZERO } else { day })
        .second_interrupt(match plan.forces {
            true => SecondInterrupt::Force,
            false => SecondInterrupt::Record,
        })
        .reraise(match plan.reraises {
            Reraises::Never => Reraise::Never,
            Reraises::Interrupt => Reraise::Interrupt,
            Reraises::Always => Reraise::Always,
        })
        .lame_duck(Duration::from_millis(if plan.lame_duck { 50 } else { 0 }))
        .on_stopped(|| say("first"))
        .on_stopped(|| say("second"));
    if plan.reacts {
        runner = runner.on_signal(|signal: Signal, stopper: &Stopper| {
            TOLD[signal.as_raw() as usize].fetch_add(1, SeqCst);
            if signal.as_raw() == END {
                stopper.stop();
                say("stopping");
            }
        });
    }
    runner.run(program(plan))
}

/// Goes on until the storm is over, in order.
async fn program(plan: Plan) {
    let (gate, over) = async_channel::bounded::<()>(1);
    spawn_graceful(|_| async move {
        _ = over.recv().await;
        say("drained");
    });
    let parked = scope("parked");
    for _ in 0..plan.tasks {
        drop(parked.spawn(std::future::pending::<()>()));
        drop(spawn(async {
            loop {
                Scope::current().sleep(Duration::from_micros(300)).await;
            }
        }));
    }
    if plan.neighbour == Neighbour::After {
        be_neighbours();
    }
    let beside = plan.neighbour != Neighbour::Nobody;
    let threads = vec![
        thread::spawn(move || raise(plan.raises)),
        thread::spawn(move || (0..plan.forks).for_each(|_| fork(plan.witness))),
    ];
    thread::spawn(move || {
        let mut line = String::new();
        _ = std::io::stdin().read_line(&mut line);
        threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
        // A thread may have been kept from running since it took the signal.
        let least: BTreeMap<usize, u64> = serde_json::from_str(&line).unwrap_or_default();
        until(&format!("as many are heard as must be, {line}"), || {
            let raised = |kind: usize| RAISED[kind].load(SeqCst);
            least.iter().all(|(&kind, least)| HEARD[kind].load(SeqCst) >= least + raised(kind))
        });
        let heard = |kind: i32| HEARD[kind as usize].load(SeqCst);
        until("every kind reaches on_signal", || {
            let reached = |kind: i32| heard(kind) == 0 || TOLD[kind as usize].load(SeqCst) > 0;
            !plan.reacts || RETURNED.load(SeqCst) || kinds().into_iter().all(reached)
        });
        until("every kind reaches tokio::signal", || {
            let reached = |kind| heard(kind) == 0 || NEIGHBOURS[kind as usize].load(SeqCst) > 0;
            !beside || NEIGHBOUR.into_iter().all(reached)
        });
        // What is on its way may come between any two looks, and two listeners hear it: one may be behind the
        // other just now. So what is told is one look, at which they agree.
        let over = RefCell::new(serde_json::Value::Null);
        until("every signal is heard, and once, and on_signal is told of no more", || {
            let now = counts();
            let count = |of: &str, kind: i32| now[of][kind.to_string()].as_u64();
            let agree = kinds().into_iter().all(|kind| {
                let heard = count("heard", kind);
                (!plan.witness || heard == count("witnessed", kind)) && count("told", kind) <= heard
            });
            over.replace(now);
            agree
        });
        say(&format!("counts {}", over.into_inner()));
        OVER.store(true, SeqCst);
        _ = gate.send_blocking(());
    });
    let parked = async {
        say("ready");
        std::future::pending::<()>().await;
    };
    parked.on_cancel(async { say("cleaned up") }).await;
}

/// Raises signals in this thread: each is delivered before the next.
fn raise(times: usize) {
    let mut rng = fastrand::Rng::with_seed(times as u64);
    for _ in 0..times {
        let kind = rng.choice(RAISED_KINDS).expect("there are some");
        // Counted before, since the signal may end what waits for these threads.
        RAISED[kind as usize].fetch_add(1, SeqCst);
        // SAFETY: raise has no precondition.
        unsafe { libc::raise(kind) };
        thread::sleep(Duration::from_micros(rng.u64(..200)));
    }
}

/// Forks a child that does not exec. What it raises acts in it as it did before there were
/// listeners, and is not heard here.
fn fork(witnessed: bool) {
    // SAFETY: the child calls async-signal-safe functions only.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork fails: {}", std::io::Error::last_os_error());
    if child == 0 {
        const TIMES: u64 = 50;
        // SAFETY: as above.
        unsafe {
            let start = WITNESSED[libc::SIGHUP as usize].load(SeqCst);
            for _ in 0..TIMES {
                libc::raise(libc::SIGHUP);
            }
            let count = WITNESSED[libc::SIGHUP as usize].load(SeqCst) - start;
            libc::_exit(if count == TIMES { 7 } else { 8 });
        }
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call; the child is ours and has not been waited for.
    while unsafe { libc::waitpid(child, &mut status, 0) } < 0 {}
    let right = match witnessed {
        true => libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7,
        false => libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGHUP,
    };
    if !right {
        say(&format!("never: a forked child's signals act as before: {status}"));
        std::process::exit(99);
    }
}
