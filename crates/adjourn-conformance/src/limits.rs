//! How long a scenario may take: as long as something moves.
//!
//! A limit on the whole of a scenario would fail right adapters on a busy machine. So the time is
//! limited in which nothing moves:
//!
//! 1. Whatever a scenario waits for says [`moved`] when it comes: a gate that opens, a line of a log
//!    or of a process, a program that ends. Each comes a bounded number of times, so what loops for
//!    ever is found out too.
//! 2. The count is the process's, not the scenario's: others that move in other threads show that
//!    the machine is slow, and they all come to an end.
//! 3. Time is counted in slices, each slept through by whoever waits. A process that was stopped, or
//!    given no processor, loses a slice by that and not its limit.

use std::env;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long nothing may move in a scenario: 30 s, or `ADJOURN_CONFORMANCE_WATCHDOG` in seconds.
pub(crate) fn watchdog() -> Duration {
    let asked = env::var("ADJOURN_CONFORMANCE_WATCHDOG").ok();
    let seconds = asked.and_then(|seconds| seconds.parse().ok()).unwrap_or(30);
    Duration::from_secs(seconds)
}

/// How long nothing may move in the scenarios that come first. They wait for next to nothing.
pub(crate) const FIRST: Duration = Duration::from_secs(1);

/// Whether this machine is so slow just now that a second means nothing: threads that hand a token to
/// each other, as an executor's do, take more than a hundredth of [`FIRST`] for each turn.
pub(crate) fn is_slow() -> bool {
    const TURNS: u32 = 20;
    let (there, taken) = mpsc::channel();
    let (back, given) = mpsc::channel();
    let start = Instant::now();
    let other = thread::spawn(move || taken.iter().all(|()| back.send(()).is_ok()));
    for _ in 0..TURNS {
        if there.send(()).is_err() || given.recv().is_err() {
            break;
        }
    }
    drop(there);
    _ = other.join();
    start.elapsed() > FIRST / 100 * TURNS
}

/// How long a scenario waits for what has to come, before it says that it did not: below the
/// watchdog, so that the message is the scenario's own.
pub(crate) fn patience() -> Duration {
    watchdog() / 3
}

/// Relaxed: it guards nothing, and a slice is long enough for it to be seen.
static MOVES: AtomicUsize = AtomicUsize::new(0);

/// Says that something has come which a scenario waited for.
pub(crate) fn moved() {
    MOVES.fetch_add(1, Relaxed);
}

/// In how many slices a limit is counted.
const SLICES: u32 = 32;

/// Counts for how long nothing has moved.
pub(crate) struct Stillness {
    limit: Duration,
    moves: usize,
    slices: u32,
    since: Instant,
}

impl Stillness {
    pub(crate) fn new(limit: Duration) -> Stillness {
        Stillness { limit, moves: MOVES.load(Relaxed), slices: 0, since: Instant::now() }
    }

    /// How long to sleep, at the most, before [`is_over`](Stillness::is_over) is asked again.
    pub(crate) fn slice(&self) -> Duration {
        self.limit / SLICES
    }

    /// Whether nothing has moved for as long as the limit says.
    pub(crate) fn is_over(&mut self) -> bool {
        let moves = MOVES.load(Relaxed);
        if moves != self.moves {
            *self = Stillness::new(self.limit);
        } else if self.since.elapsed() >= self.slice() {
            self.slices += 1;
            self.since = Instant::now();
        }
        self.slices >= SLICES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sleeps through slices until it is over; returns how many it took.
    fn slices(still: &mut Stillness, mut meanwhile: impl FnMut(u32)) -> u32 {
        (1..)
            .find(|slice| {
                thread::sleep(still.slice());
                meanwhile(*slice);
                still.is_over()
            })
            .expect("there is no end of numbers")
    }

    // One test: what moves is the process's.
    #[test]
    fn only_stillness_counts() {
        let limit = Duration::from_millis(64);
        assert_eq!(slices(&mut Stillness::new(limit), |_| ()), SLICES);
        let moves = |slice| {
            if slice <= 50 {
                moved();
            }
        };
        assert_eq!(slices(&mut Stillness::new(limit), moves), 50 + SLICES, "reset by each move");
        // As after a process that was stopped in the second slice.
        let stopped = |slice| {
            if slice == 2 {
                thread::sleep(4 * limit);
            }
        };
        assert_eq!(slices(&mut Stillness::new(limit), stopped), SLICES, "a stop costs a slice");
        let mut asked_often = Stillness::new(100 * limit);
        thread::sleep(asked_often.slice());
        assert!(!(0..10 * SLICES).any(|_| asked_often.is_over()), "asking takes no slice");
    }
}
