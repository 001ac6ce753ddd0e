//! Ends the process when a test hangs: when nothing has moved in it for a minute.
//!
//! A limit on the whole of a test would fail right ones on a busy machine. What a test waits for says
//! [`moved`] when it comes: a gate that opens, a line of a log, a program that ends. Each comes a
//! bounded number of times, so a test that loops for ever is found out too. Other tests of the
//! process count as well: while they move, the machine is slow, and they all come to an end.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::abort;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How often in a row it has to be seen that nothing has moved. A process that was stopped for a
/// while, or given no processor, is late for one look and not for all.
const LOOKS: u32 = 60;
const BETWEEN: Duration = Duration::from_secs(1);

/// Relaxed: it guards nothing, and there is a second for it to be seen.
static MOVES: AtomicUsize = AtomicUsize::new(0);

/// Says that something has come which a test waited for.
pub fn moved() {
    MOVES.fetch_add(1, Relaxed);
}

/// Says so when it is dropped.
pub struct MovesOnDrop;

impl Drop for MovesOnDrop {
    fn drop(&mut self) {
        moved();
    }
}

/// Runs a test; ends the process, with the test's name, should it hang.
pub fn unless_it_hangs(name: &'static str, test: impl FnOnce()) {
    let (over, ended) = mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        if hangs(&ended, BETWEEN, || MOVES.load(Relaxed)) {
            let stderr = OpenOptions::new().append(true).open("/dev/stderr");
            _ = writeln!(stderr.expect("standard error"), "test {name} hangs");
            abort();
        }
    });
    test();
    moved();
    drop(over);
    watch.join().expect("the watchdog does not panic");
}

/// Returns whether nothing moves for so many looks, before the other end of the channel is dropped.
fn hangs(ended: &Receiver<()>, between: Duration, moves: impl Fn() -> usize) -> bool {
    let (mut before, mut looks) = (moves(), 0);
    while looks < LOOKS {
        if ended.recv_timeout(between) != Err(RecvTimeoutError::Timeout) {
            return false;
        }
        let now = moves();
        looks = if now == before { looks + 1 } else { 0 };
        before = now;
    }
    true
}

#[test]
fn what_moves_does_not_hang() {
    let (over, ended) = mpsc::channel::<()>();
    let looked = AtomicUsize::new(0);
    // It moves at every 50th look, ten times, and then no more.
    let moves = || (looked.fetch_add(1, Relaxed) / 50).min(10);
    assert!(hangs(&ended, Duration::from_micros(100), moves));
    assert_eq!(looked.into_inner(), 500 + 1 + LOOKS as usize);
    drop(over);
    assert!(!hangs(&ended, BETWEEN, || 0), "what is over does not hang");
}
