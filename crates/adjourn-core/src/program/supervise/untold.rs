//! What was heard and the program has yet to be told of, and who is asked to tell it.
//!
//! First the driver, where to wake it holds up nobody ([`asks_driver`](super::Rules::asks_driver)): the warden
//! wakes it once it has armed. What it has not taken in time ([`STALL`](super::STALL)), what it cannot be woken
//! for, and what forces the end is the teller's. Both may be at it: each takes one after the other
//! ([`Watch::next_heard`]), so nothing is told twice.

use std::sync::atomic::Ordering::SeqCst;
use std::task::Waker;

use super::Heard;
use super::watch::{Inner, Teller, Watch};

/// So many turns from one kind of signal to another are kept for the teller. Past that their order
/// goes, not their number.
const TURNS: usize = 64;

/// Whether the driver is asked to tell the program of what was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    No,
    /// It was woken for that just now.
    Waits,
    /// It has not come, or could not be woken: it is the teller's.
    InVain,
}

/// What the program has yet to be told of.
pub(super) struct Untold {
    /// Oldest first.
    heard: Vec<Heard>,
    asked: Asked,
}

impl Untold {
    /// Nothing, and no room: no signal is heard.
    pub(super) const fn new() -> Untold {
        Untold { heard: Vec::new(), asked: Asked::No }
    }

    /// Nothing, and room for all that there can be.
    pub(super) fn with_room() -> Untold {
        Untold { heard: Vec::with_capacity(TURNS + 64), ..Untold::new() } // no more: see `note`
    }

    /// Keeps what was heard for the teller. Past so many turns what is of one kind is put together,
    /// so that there are never more than one of each kind beyond.
    pub(super) fn note(&mut self, heard: Heard) {
        let full = self.heard.len() >= TURNS;
        let mut latest = self.heard.iter_mut().rev().take(if full { usize::MAX } else { 1 });
        match latest.find(|last| last.signal == heard.signal) {
            Some(last) => {
                last.count += heard.count;
                last.fresh += heard.fresh;
                last.stops |= heard.stops;
                last.forces |= heard.forces;
                last.ends = last.ends.or(heard.ends);
            }
            None => self.heard.push(heard),
        }
    }

    fn forces(&self) -> bool {
        self.heard.iter().any(|heard| heard.forces)
    }
}

impl Watch {
    /// Returns what the program has yet to be told of.
    pub(crate) fn next_heard(&self) -> Option<Heard> {
        let mut inner = self.lock();
        let untold = &mut inner.untold;
        let next = (!untold.heard.is_empty()).then(|| untold.heard.remove(0));
        if untold.heard.is_empty() {
            untold.asked = Asked::No;
            self.has_heard.store(false, SeqCst);
        }
        next
    }

    /// Whether there is something for the driver to tell, where it is asked to.
    pub(crate) fn asks_driver(&self) -> bool {
        self.rules.asks_driver && self.has_heard.load(SeqCst)
    }
}

impl Inner {
    pub(super) fn has_heard(&self) -> bool {
        !self.untold.heard.is_empty()
    }

    /// Has the driver tell the program of what was heard, where that may be asked: returns what wakes it.
    /// It has as long as for all that it is to do. A forced end is nothing for it.
    pub(super) fn ask_driver(&mut self, watch: &Watch) -> Option<Waker> {
        let asks = watch.rules.asks_driver
            && (self.untold.asked, self.teller) == (Asked::No, Teller::Absent)
            && self.has_heard()
            && !self.untold.forces();
        let program = self.program.as_ref().filter(|_| asks)?;
        let Some(driver) = program.try_take_driver() else {
            self.untold.asked = Asked::InVain;
            return None;
        };
        self.untold.asked = Asked::Waits;
        watch.pending.store(true, SeqCst);
        driver // where there is none it is woken already, or has yet to be polled at all
    }

    /// The driver has had its time.
    pub(super) fn give_up_driver(&mut self) {
        if self.untold.asked == Asked::Waits {
            self.untold.asked = Asked::InVain;
        }
    }

    /// Whether something was heard that the driver is not at.
    pub(super) fn has_untold(&self) -> bool {
        self.has_heard() && (self.untold.asked != Asked::Waits || self.untold.forces())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::contract::options::Options;
    use crate::phase::Limits;
    use crate::process::signal::{Listener, Signal};
    use crate::program::supervise::Rules;

    fn kept() -> Watch {
        let long = Duration::from_secs(100);
        let limits = Limits { lame_duck: long, drain: long, cut_off: long, deadline: long };
        let rules = Rules::new(&Options::default(), false);
        Watch::kept(limits, rules, Listener::new(&[]).unwrap(), false)
    }

    #[test]
    fn the_driver_is_asked_once_and_in_vain_where_it_cannot_be_or_does_not_come() {
        let program = crate::tests::nowhere::program(false);
        let mut watch = kept();
        let heard = |forces| {
            let (signal, stops) = (Signal::TERMINATE, true);
            Heard { signal, count: 1, fresh: 1, stops, forces, ends: None }
        };
        let ask = |watch: &Watch| watch.lock().ask_driver(watch).is_some();
        let untold = |watch: &Watch| watch.lock().has_untold();
        watch.open(&program);
        program.set_driver(Waker::noop());
        watch.lock().untold.note(heard(false));
        assert!(!ask(&watch) && untold(&watch), "of this executor nobody said that it may be");
        watch.rules.asks_driver = true;
        assert!(ask(&watch) && !untold(&watch) && watch.is_pending());
        watch.lock().untold.note(heard(false));
        assert!(!ask(&watch) && !untold(&watch), "it comes to that too");
        watch.lock().give_up_driver();
        assert!(!ask(&watch) && untold(&watch), "it has not come");
        assert!(watch.next_heard().is_some_and(|heard| heard.count == 2));
        assert_eq!(watch.next_heard(), None);
        // It is woken already, or was never polled yet.
        watch.lock().untold.note(heard(false));
        assert!(!ask(&watch) && !untold(&watch));
        watch.lock().untold.note(heard(true));
        assert!(untold(&watch), "a forced end is not left to it");
        assert!(watch.next_heard().is_some());
        program.set_driver(Waker::noop());
        watch.lock().untold.note(heard(true));
        assert!(!ask(&watch) && untold(&watch));
        assert!(watch.next_heard().is_some());
        watch.lock().untold.note(heard(false));
        let state = program.lock();
        assert!(!ask(&watch) && untold(&watch), "nobody waits for the program's lock");
        drop(state);
        watch.part();
        program.conclude();
    }

    #[test]
    fn what_the_teller_does_not_come_to_is_bounded_and_counted() {
        let watch = kept();
        let mut inner = watch.lock();
        let untold = &mut inner.untold;
        let capacity = untold.heard.capacity();
        for round in 0..1_000 {
            for number in 1..=64 {
                let signal = Signal::from_raw(number).unwrap();
                let (fresh, stops) = (1, round == 999);
                untold.note(Heard { signal, count: 1, fresh, stops, forces: false, ends: None });
            }
        }
        assert_eq!(untold.heard.capacity(), capacity, "nothing is allocated");
        assert_eq!(untold.heard.iter().map(|heard| heard.count).sum::<u64>(), 64_000);
        assert!(untold.heard.last().is_some_and(|heard| heard.stops));
        drop(inner);
        assert_eq!(watch.next_heard().map(|heard| heard.signal.as_raw()), Some(1));
    }
}
