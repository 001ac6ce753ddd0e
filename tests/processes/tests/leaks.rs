//! Memory is flat over any number of programs, scopes, tasks and tokens that have ended, by an
//! allocator that counts what is alive.
//!
//! Flat means: after a load that has been seen before. The first time tables, queues and pools get the
//! size that they keep. What is allowed is a few blocks in all, far below one for each thing that came
//! and went, so a leak of one block for each hundredth of them fails. A pool may need more than one
//! load to get its size (what one thread takes and another gives back is kept by each, up to a bound),
//! so a load is repeated until it adds nothing. A leak adds the same each time.
//!
//! One test, since the counters are the process's. It makes a tenth of each number; with
//! `ADJOURN_LEAKS=all`, all of them, as in 1,000 programs on each backend, 100,000 scopes of each
//! sort, 1 million tasks, 100,000 tokens.
#![cfg(unix)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::future::{Future, pending, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use adjourn::rt::Executor;
use adjourn::{
    Exit, FutureExt, JoinHandle, Reason, ResultFutureExt, Scope, Signal, StopToken, Stopper, scope,
    shield, spawn, spawn_blocking, spawn_graceful, spawn_shielded, task,
};
use adjourn_core::Runner;

struct Counting;

static BLOCKS: AtomicI64 = AtomicI64::new(0);
static BYTES: AtomicI64 = AtomicI64::new(0);

// SAFETY: forwards to the system's allocator; counting has no effect on what is returned.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BLOCKS.fetch_add(1, SeqCst);
        BYTES.fetch_add(layout.size() as i64, SeqCst);
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BLOCKS.fetch_sub(1, SeqCst);
        BYTES.fetch_sub(layout.size() as i64, SeqCst);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    blocks: i64,
    bytes: i64,
    threads: i64,
}

impl Held {
    fn now() -> Held {
        let threads = Process::now().threads;
        Held { blocks: BLOCKS.load(SeqCst), bytes: BYTES.load(SeqCst), threads }
    }

    /// Whether no more is held later than something like a queue that grew accounts for.
    fn allows(&self, later: &Held) -> bool {
        let allowed = SLACK + THREAD * (later.threads - self.threads).max(0);
        let (blocks, bytes) = (later.blocks - self.blocks, later.bytes - self.bytes);
        blocks <= allowed && bytes <= allowed * 1024
    }
}

/// Waits for what other threads have yet to drop, which takes its time on a busy machine: for as long
/// as what is held gets less.
struct Settling {
    before: Held,
    least: i64,
    looks: u32,
}

impl Settling {
    /// How long to wait before the next look.
    const BETWEEN: Duration = Duration::from_millis(5);

    fn new(before: Held) -> Settling {
        Settling { before, least: i64::MAX, looks: 0 }
    }

    /// Whether to look again. It is not, once enough is gone or none of it has gone for five seconds.
    fn goes_on(&mut self) -> bool {
        let now = Held::now();
        self.looks = if now.blocks < self.least { 0 } else { self.looks + 1 };
        self.least = self.least.min(now.blocks);
        !self.before.allows(&now) && self.looks < 1_000
    }
}

/// What the system says that the process has.
#[derive(Debug)]
struct Process {
    threads: i64,
    descriptors: usize,
    kilobytes: i64,
}

impl Process {
    fn now() -> Process {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let field = |name: &str| -> i64 {
            let line = status.lines().find(|line| line.starts_with(name)).expect("it has the line");
            let number = line.split_whitespace().nth(1).expect("it has a number");
            number.parse().expect("it is a number")
        };
        let descriptors = std::fs::read_dir("/proc/self/fd").expect("Linux has it").count();
        Process { threads: field("Threads:"), descriptors, kilobytes: field("VmRSS:") }
    }
}

/// How often a load is repeated, at the most. A pool of 128 on one thread is full before that, even if
/// each load adds to it as little as is too much.
const ROUNDS: usize = 5;

/// Blocks that may be there more than before: a queue that grew, a cache.
const SLACK: i64 = 40;

/// Blocks that a thread has: a blocking pool has as many threads as it came to need.
const THREAD: i64 = 16;

/// Says whether a number of things left nothing behind; prints what it measured.
fn flat(name: &str, times: usize, before: &Held, after: &Held) -> bool {
    let (blocks, bytes) = (after.blocks - before.blocks, after.bytes - before.bytes);
    println!("{name}: {blocks:+} blocks, {bytes:+} bytes after {times}");
    assert!(times as i64 >= 5 * SLACK, "{name}: too few to see a leak");
    before.allows(after)
}

/// How many are made: all of them, or a tenth.
fn many(times: usize) -> usize {
    match std::env::var("ADJOURN_LEAKS") {
        Ok(all) if all == "all" => times,
        _ => (times / 10).max(200),
    }
}

/// Counts the names that are given to one scope alone.
static NAMES: AtomicI64 = AtomicI64::new(0);

async fn join<T: Send + 'static>(handles: impl IntoIterator<Item = JoinHandle<T>>) {
    for handle in handles {
        _ = handle.await;
    }
}

async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        Scope::current().sleep(Duration::from_millis(1)).await;
    }
}

/// Polls once, with a waker that is no task's.
fn poll_once(future: impl Future) {
    let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
}

/// Polls once, with the waker of the task.
async fn touch(future: impl Future) {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// Made and ended inside one program: each load, many times over.
async fn inside(backend: &str, failed: &mut Vec<String>) {
    macro_rules! load {
        ($name:literal, $times:expr, async |$count:ident| $load:block) => {{
            let $count = many($times);
            $load
            let name = format!("{backend}: {}", $name);
            let mut is_flat = false;
            for _ in 0..ROUNDS {
                let mut settling = Settling::new(Held::now());
                $load
                while settling.goes_on() {
                    Scope::current().sleep(Settling::BETWEEN).await;
                }
                is_flat = flat(&name, $count, &settling.before, &Held::now());
                if is_flat {
                    break;
                }
            }
            if !is_flat {
                failed.push(name);
            }
        }};
    }
    const BATCH: usize = 100;
    let live = || Scope::current().totals().live;
    let alone = live();

    load!("tasks", 1_000_000, async |count| {
        for _ in 0..count / BATCH {
            let handles: Vec<_> = (0..BATCH).map(|_| spawn(ready(7))).collect();
            join(handles).await;
        }
    });
    load!("handles dropped", 100_000, async |count| {
        for _ in 0..count / BATCH {
            (0..BATCH).for_each(|_| drop(spawn(ready(7))));
            wait_until("tasks end", || live() == alone).await;
        }
    });
    load!("graceful and shielded tasks, with names", 100_000, async |count| {
        for _ in 0..count / BATCH {
            let handles = (0..BATCH).map(|at| match at % 3 {
                0 => spawn_graceful(|_| ready(())),
                1 => spawn_shielded(ready(())),
                _ => task(format!("task {at}")).background().spawn(ready(())),
            });
            join(handles.collect::<Vec<_>>()).await;
        }
    });
    load!("tasks aborted", 100_000, async |count| {
        for _ in 0..count / BATCH {
            let handles: Vec<_> = (0..BATCH).map(|_| spawn(pending::<()>())).collect();
            handles.iter().for_each(JoinHandle::abort);
            join(handles).await;
        }
    });
    load!("tasks that fail", 100_000, async |count| {
        for _ in 0..count / BATCH {
            let fail = || spawn(async { Err::<(), _>("it broke") }.or_report());
            let handles: Vec<_> = (0..BATCH).map(|_| fail()).collect();
            join(handles).await;
        }
    });
    load!("blocking jobs", 10_000, async |count| {
        // One after the other, so that the pool needs the same threads each time.
        for _ in 0..count {
            _ = spawn_blocking(|| ()).await;
        }
    });
    load!("shields and cleanups", 100_000, async |count| {
        for _ in 0..count {
            shield(ready(())).await;
            shield(async {}.on_cancel(async {})).await;
        }
    });
    load!("cleanups that ran", 10_000, async |count| {
        for _ in 0..count / BATCH {
            let work = || async { pending::<()>().await }.on_cancel(async {});
            let handles: Vec<_> = (0..BATCH).map(|_| spawn(work())).collect();
            handles.iter().for_each(JoinHandle::abort);
            join(handles).await;
        }
    });
    load!("shields dropped half-way", 10_000, async |count| {
        for _ in 0..count {
            let mut half = pin!(shield(pending::<()>()));
            // Entering is a yield of its own.
            std::future::poll_fn(|cx| {
                assert!(half.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
    });
    load!("timers", 100_000, async |count| {
        for _ in 0..count {
            touch(Scope::current().sleep(Duration::from_secs(3600))).await;
        }
    });

    load!("tokens dropped unread", 100_000, async |count| {
        (0..count).for_each(|_| drop(StopToken::current()));
    });
    load!("requests dropped unpolled", 100_000, async |count| {
        (0..count).for_each(|_| drop(StopToken::current().requested()));
    });
    load!("requests polled by their task and dropped", 100_000, async |count| {
        for _ in 0..count {
            touch(StopToken::current().requested()).await;
        }
    });
    load!("requests polled elsewhere and dropped", 100_000, async |count| {
        (0..count).for_each(|_| poll_once(StopToken::current().requested()));
    });
    load!("until_stop", 100_000, async |count| {
        for _ in 0..count {
            _ = ready(7).until_stop().await;
        }
    });

    load!("scopes without a task", 100_000, async |count| {
        (0..count).for_each(|_| drop(scope("empty")));
    });
    load!("scopes that end by themselves", 100_000, async |count| {
        for _ in 0..count / BATCH {
            let handles = (0..BATCH).map(|_| scope("connection").spawn(ready(())));
            join(handles.collect::<Vec<_>>()).await;
        }
    });
    load!("scopes with names of their own", 100_000, async |count| {
        (0..count).for_each(|_| {
            let number = NAMES.fetch_add(1, SeqCst);
            drop(scope(format!("connection {number}")));
        });
    });
    load!("scopes stopped, with a hook and a task", 100_000, async |count| {
        for _ in 0..count / BATCH {
            let scopes: Vec<_> = (0..BATCH).map(|_| scope("connection")).collect();
            for scope in &scopes {
                scope.on_stopped(|| ());
                drop(scope.spawn(pending::<()>()));
            }
            for stop in scopes.iter().map(Scope::stop).collect::<Vec<_>>() {
                _ = stop.await;
            }
        }
    });
    load!("scopes below scopes, stopped from above", 100_000, async |count| {
        for _ in 0..count / BATCH {
            let top = scope("top");
            let middle: Vec<_> = (0..9).map(|_| top.scope("middle")).collect();
            for at in 0..BATCH - 10 {
                drop(middle[at % 9].scope("leaf").spawn(pending::<()>()));
            }
            _ = top.stop().await;
        }
    });
    load!("scopes that depend on others", 100_000, async |count| {
        for _ in 0..count / BATCH {
            let mut last = scope("first");
            let first = last.clone();
            for _ in 1..BATCH / 2 {
                last = scope("next").depends_on(&last);
                drop(last.spawn(pending::<()>()));
            }
            _ = first.stop().await;
        }
    });
    load!("nurseries", 100_000, async |count| {
        for _ in 0..count {
            scope("nursery").run(async { drop(spawn(ready(()))) }).await;
        }
    });
    load!("tokens of scopes that have ended", 100_000, async |count| {
        for _ in 0..count / BATCH {
            let tokens: Vec<_> = (0..BATCH).map(|_| scope("gone").stop_token()).collect();
            tokens.iter().for_each(|token| drop(token.requested()));
        }
    });
}

/// A program in which something of everything happens.
fn program<E: Executor>(runner: Runner<E>) -> Exit {
    let runner = runner.on_stop(async || ()).on_stopped(|| ()).on_report(|_| ()).on_failure(|_| ());
    let stopper = runner.stopper();
    runner.run(async move {
        let db = scope("db");
        let http = scope("http").depends_on(&db);
        db.on_stopped(|| ());
        drop(db.spawn(pending::<()>()));
        drop(http.spawn_graceful(|stop: StopToken| async move { stop.requested().await }));
        spawn_shielded(Scope::current().sleep(Duration::ZERO));
        spawn(pending::<()>().on_cancel(async {}));
        // Before the stop, so that it does not set the exit code.
        _ = spawn(async { Err::<(), _>("it broke") }.or_report()).await;
        stopper.stop_because("enough");
        pending::<()>().await;
    })
}

/// One program after the other: memory, threads and descriptors.
fn runs(backend: &str, failed: &mut Vec<String>, run: &dyn Fn() -> Exit) {
    let count = many(1000);
    let all = || {
        for _ in 0..count {
            let exit = run();
            assert_eq!(exit.exit_code(), 0, "{}", exit.report());
            assert_eq!(exit.report().reason(), Some(&Reason::Requested(Some("enough".into()))));
        }
    };
    all();
    let name = format!("{backend}: programs");
    let (process, mut settling) = (Process::now(), Settling::new(Held::now()));
    all();
    while settling.goes_on() {
        std::thread::sleep(Settling::BETWEEN);
    }
    // A thread that was joined may be there a moment longer, for the system; one that supervised, too, and two
    // of those at the most leave a pipe each, which the process keeps for the next program.
    let descriptors = process.descriptors + 2 * 2;
    let mut now = Process::now();
    for _ in 0..1000 {
        if now.threads <= process.threads && now.descriptors <= descriptors {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
        now = Process::now();
    }
    let kept = flat(&name, count, &settling.before, &Held::now());
    println!("{name}: {process:?}, then {now:?}");
    // Resident memory also moves with what the allocator keeps: a page a run would be a leak.
    let grown = now.kilobytes - process.kilobytes;
    if !kept || now.threads > process.threads || now.descriptors > descriptors {
        failed.push(name);
    } else if grown > count as i64 {
        failed.push(format!("{name}, resident"));
    }
}

/// Asked to stop many times over, before and during the stop.
fn requests(failed: &mut Vec<String>) {
    let count = many(100_000);
    let ask = |stopper: &Stopper| (0..count).for_each(|_| stopper.stop_because("again"));
    let runner = adjourn::tokio::Runner::new().current_thread().signals([] as [Signal; 0]);
    let stopper = runner.stopper();
    let mut held = (Held::now(), Held::now());
    let exit = runner.run_graceful(async |_| {
        ask(&stopper);
        held.0 = Held::now();
        ask(&stopper);
        held.1 = Held::now();
    });
    assert_eq!(exit.report().reasons.len(), 100);
    if !flat("requests to stop", count, &held.0, &held.1) {
        failed.push("requests to stop".to_owned());
    }
}

#[test]
fn memory_is_flat() {
    std::env::set_current_dir("/").expect("there is a root");
    let mut failed = Vec::new();
    macro_rules! on {
        ($name:literal, $runner:expr) => {{
            let exit = $runner.signals([] as [Signal; 0]).run(inside($name, &mut failed));
            assert_eq!(exit.exit_code(), 0, "{}", exit.report());
            let wrong: BTreeMap<_, _> =
                exit.report().totals.iter().filter(|(_, totals)| totals.live > 0).collect();
            assert!(wrong.is_empty(), "{wrong:?}");
            runs($name, &mut failed, &|| program($runner));
        }};
    }
    on!("tokio, the calling thread", adjourn::tokio::Runner::new().current_thread());
    on!("tokio, two workers", adjourn::tokio::Runner::new().worker_threads(2));
    on!("smol, the calling thread", adjourn::smol::Runner::new().current_thread());
    on!("smol, two workers", adjourn::smol::Runner::new().worker_threads(2));
    on!("async-std", adjourn::async_std::Runner::new());
    requests(&mut failed);
    assert!(failed.is_empty(), "not flat: {failed:#?}");
}
