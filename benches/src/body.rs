//! What the tasks do, the same in every way and on every executor.

use std::future::{Future, pending, poll_fn};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Yields once, by the task's own waker: as a channel or a socket would wake it. Tokio's own
/// `yield_now` costs the bare runtime more, and so makes what is added to it look like less.
pub async fn yield_now() {
    let mut woken = false;
    poll_fn(|cx| {
        if woken {
            return Poll::Ready(());
        }
        woken = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Yields so many times.
pub async fn yields(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

static ARRIVED: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);
static ASKED: AtomicU64 = AtomicU64::new(0);
static FIRST: AtomicU64 = AtomicU64::new(0);
static LAST: AtomicU64 = AtomicU64::new(0);

/// Returns nanoseconds of the monotonic clock since the first call.
fn now() -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    let since = EPOCH.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Says in its destructor that the future around it is gone.
struct Gone;

impl Drop for Gone {
    fn drop(&mut self) {
        if FIRST.load(SeqCst) == 0 {
            FIRST.store(now(), SeqCst);
        }
        if LIVE.fetch_sub(1, SeqCst) == 1 {
            LAST.store(now(), SeqCst);
        }
    }
}

/// Counts the task that runs as parked.
fn arrive() -> Gone {
    LIVE.fetch_add(1, SeqCst);
    ARRIVED.fetch_add(1, SeqCst);
    Gone
}

/// Pending for ever. Its first poll and its destructor are counted.
pub async fn parked() {
    let _gone = arrive();
    pending().await
}

/// As [`parked`], until it is told to stop.
pub async fn parked_until(told: impl Future) {
    let _gone = arrive();
    _ = told.await;
}

/// Returns how many parked tasks are there now.
pub fn parked_now() -> usize {
    LIVE.load(SeqCst)
}

/// Waits until `count` tasks are parked.
pub async fn until_parked(count: usize) {
    while ARRIVED.load(SeqCst) < count {
        yield_now().await;
    }
}

static GATE: Notify = Notify::const_new();
static THROUGH: AtomicUsize = AtomicUsize::new(0);

/// Waits for the gate. Its first poll is counted.
pub async fn gated() {
    let opened = GATE.notified();
    ARRIVED.fetch_add(1, SeqCst);
    opened.await;
    THROUGH.fetch_add(1, SeqCst);
}

/// Returns how many tasks have gone through the gate so far.
pub fn through() -> usize {
    THROUGH.load(SeqCst)
}

/// Waits until `count` tasks are at the gate and lets all of them through at once.
pub async fn open_gate(count: usize) {
    until_parked(count).await;
    asked();
    ARRIVED.store(0, SeqCst);
    GATE.notify_waiters();
}

/// Notes that the tasks are asked to end now.
pub fn asked() {
    FIRST.store(0, SeqCst);
    ASKED.store(now(), SeqCst);
}

/// Returns the times from [`asked`] to the first and to the last destructor, and forgets the count.
///
/// # Panics
///
/// When a parked task is still there: whatever was to end it did not.
pub fn gone() -> (Duration, Duration) {
    assert_eq!(LIVE.load(SeqCst), 0, "a task that should have ended is there");
    ARRIVED.store(0, SeqCst);
    let since = |at: u64| Duration::from_nanos(at.saturating_sub(ASKED.load(SeqCst)));
    (since(FIRST.load(SeqCst)), since(LAST.load(SeqCst)))
}

/// As [`gone`], where they may still be ending on an executor that goes on without the program.
pub fn gone_soon() {
    let start = Instant::now();
    while LIVE.load(SeqCst) > 0 && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(1));
    }
    gone();
}

/// Returns the time since [`asked`].
pub fn since_asked() -> Duration {
    Duration::from_nanos(now() - ASKED.load(SeqCst))
}
