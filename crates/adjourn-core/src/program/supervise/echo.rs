//! After `run`: a signal that was heard in the stop may come again, and is swallowed for a while.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::process::signal::{Listener, Nudger, Parker};

/// How long.
const ECHO: Duration = Duration::from_millis(250);

/// A warden that swallows.
struct Swallows {
    signals: u64,
    nudger: Nudger,
    over: AtomicBool,
}

/// Those of the process. A program that runs again and again needs one of them, not one for each time:
/// there is only room for so many listeners.
static ALL: Mutex<Vec<Arc<Swallows>>> = Mutex::new(Vec::new());

/// Listens to these signals, all that the listener has, and does nothing with them; until the while is
/// over, or another does it in its place.
pub(super) fn swallow(mut listener: Listener, parker: &Parker, signals: u64) {
    let Some(end) = Instant::now().checked_add(ECHO) else { return };
    let own = Swallows { signals, nudger: listener.nudger(), over: AtomicBool::new(false) };
    let own = Arc::new(own);
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|other| {
        let needless = other.signals & !signals == 0;
        if needless {
            other.over.store(true, SeqCst);
            other.nudger.nudge();
        }
        !needless
    });
    all.push(own.clone());
    drop(all);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || own.over.load(SeqCst) {
            break;
        }
        parker.park(Some(left));
        listener.look(|_, _| ());
    }
    ALL.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, &own));
    listener.pass_over();
    drop(listener); // gives the signals back
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::process::signal::Signal;

    #[test]
    fn of_those_that_swallow_the_same_signals_only_the_last_stays() {
        // Signals that no other test listens to.
        let [few, more] = [&[Signal::QUIT][..], &[Signal::QUIT, Signal::USER2]];
        let set = |signals: &[Signal]| signals.iter().fold(0, |set, signal| set | signal.bit());
        let start = |signals: &'static [Signal]| {
            let listener = Listener::new(signals).unwrap();
            std::thread::spawn(move || {
                let parker = listener.parker();
                swallow(listener, &parker, set(signals));
            })
        };
        let there = |signals: &[Signal]| {
            let all = ALL.lock().unwrap();
            all.iter().filter(|one| one.signals == set(signals)).count()
        };
        let mut threads = Vec::new();
        for signals in [few, few, more, few] {
            threads.push(start(signals));
            while there(signals) == 0 && !threads.last().is_some_and(|last| last.is_finished()) {
                std::thread::yield_now();
            }
        }
        // What the later one does not listen to stays the earlier one's.
        assert!(there(few) <= 1 && there(more) <= 1);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((there(few), there(more)), (0, 0));
    }
}
