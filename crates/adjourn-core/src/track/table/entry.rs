//! The entry of a task: what is known of it behind the lock of its chunk.

use std::borrow::Cow;
use std::task::Waker;
use std::time::Duration;

use super::mark::Mark;
use crate::contract::error::Place;
use crate::contract::report::TaskKind;
use crate::track::wakes::WakerId;

/// A task's name, in one word and without an allocation for those that have none.
pub(crate) type Name = Box<Cow<'static, str>>;

/// What is known of a task. `None` wakers: never pending yet, or taken to be woken.
pub(crate) struct Entry {
    pub(super) waker: Option<Waker>,
    /// The handle's.
    pub(super) join: Option<Waker>,
    pub(crate) name: Option<Name>,
    pub(super) place: Option<Place>,
    /// Microseconds by the clock that ages are counted with, at the first poll that was pending (for
    /// a job: at its start), plus one; 0 before that. A trivial task never reads the clock. 48 bits:
    /// nine years.
    pub(super) born_low: u32,
    pub(super) born_high: u16,
    pub(crate) kind: TaskKind,
    bits: u8,
}

/// The program does not stay alive for it.
const BACKGROUND: u8 = 1;
/// It was alive at its drain limit.
const OVERDUE: u8 = 2;
/// Its scope was stopped alone then.
const ALONE: u8 = 4;
/// It was alive when the program's stop was requested, and the report does not list it yet.
const UNLISTED: u8 = 8;

/// What was in a slot that was freed: to be dropped outside the lock.
pub(crate) struct Removed {
    _wakers: [Option<Waker>; 2],
    _name: Option<Name>,
}

impl Entry {
    pub(super) const VACANT: Entry = Entry {
        waker: None,
        join: None,
        name: None,
        place: None,
        born_low: 0,
        born_high: 0,
        kind: TaskKind::Plain,
        bits: 0,
    };

    /// Begins the life of a task.
    #[inline]
    pub(super) fn begin(&mut self, kind: TaskKind, place: Place, background: bool) {
        self.place = Some(place);
        (self.kind, self.bits) = (kind, if background { BACKGROUND } else { 0 });
        (self.born_low, self.born_high) = (0, 0);
    }

    pub(crate) fn is_background(&self) -> bool {
        self.bits & BACKGROUND != 0
    }

    /// Notes that the task is told of as overdue; `alone`: in a scope that was stopped alone.
    pub(crate) fn set_overdue(&mut self, alone: bool) {
        self.bits |= OVERDUE | if alone { ALONE } else { 0 };
    }

    pub(crate) fn is_overdue(&self) -> bool {
        self.bits & OVERDUE != 0
    }

    /// Takes that note back; returns whether its scope was stopped alone, if there was one.
    pub(crate) fn take_overdue(&mut self) -> Option<bool> {
        let alone = self.is_overdue().then_some(self.bits & ALONE != 0);
        self.bits &= !(OVERDUE | ALONE);
        alone
    }

    /// Notes that the report may come to list it, or that it does so now.
    pub(crate) fn set_unlisted(&mut self, unlisted: bool) {
        self.bits = self.bits & !UNLISTED | if unlisted { UNLISTED } else { 0 };
    }

    pub(crate) fn is_unlisted(&self) -> bool {
        self.bits & UNLISTED != 0
    }

    pub(super) fn set_born(&mut self, now: Duration) {
        if self.born().is_none() {
            let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
            let micros = micros.min((1 << 48) - 1);
            (self.born_low, self.born_high) = (micros as u32, (micros >> 32) as u16);
        }
    }

    /// Takes what is to be dropped outside the lock when the task is over.
    #[inline]
    pub(crate) fn vacate(&mut self) -> Option<Removed> {
        if self.waker.is_none() && self.join.is_none() && self.name.is_none() {
            return None;
        }
        let _wakers = [self.waker.take(), self.join.take()];
        Some(Removed { _wakers, _name: self.name.take() })
    }

    /// Which waker the task is woken by, and which one waits for its end.
    pub(crate) fn waker_ids(&self) -> [WakerId; 2] {
        [&self.waker, &self.join].map(|waker| waker.as_ref().map_or(WakerId::NONE, WakerId::of))
    }

    pub(crate) fn take_join_waker(&mut self) -> Option<Waker> {
        self.join.take()
    }

    pub(crate) fn born(&self) -> Option<Duration> {
        let micros = u64::from(self.born_high) << 32 | u64::from(self.born_low);
        micros.checked_sub(1).map(Duration::from_micros)
    }

    /// Where it was spawned.
    pub(crate) fn place(&self) -> Place {
        self.place.unwrap_or_else(std::panic::Location::caller)
    }
}

// The budget of the side table for a task: its entry and its mark.
const _: () = assert!(size_of::<Entry>() + size_of::<Mark>() <= 80);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_is_used_again_has_nothing_of_the_task_before() {
        let mut entry = Entry::VACANT;
        for (background, alone) in [(true, true), (false, true), (true, false), (false, false)] {
            entry.begin(TaskKind::Graceful, std::panic::Location::caller(), background);
            assert_eq!((entry.is_background(), entry.is_overdue()), (background, false));
            entry.set_overdue(alone);
            entry.set_born(Duration::from_secs(1));
            assert_eq!(entry.take_overdue(), Some(alone));
            assert_eq!((entry.is_background(), entry.take_overdue()), (background, None));
            entry.set_overdue(alone);
            entry.set_unlisted(true);
        }
        entry.begin(TaskKind::Plain, std::panic::Location::caller(), false);
        assert_eq!((entry.is_overdue(), entry.born()), (false, None));
        assert!(!entry.is_unlisted());
    }

    #[test]
    fn an_entry_keeps_the_first_time_that_it_is_told() {
        const MOST: u64 = (1 << 48) - 2; // in microseconds
        for micros in [0, 1, 0xffff_fffe, 0xffff_ffff, 0x1_0000_0000, 0x1234_5678_9abc, MOST] {
            let mut entry = Entry::VACANT;
            assert_eq!(entry.born(), None);
            entry.set_born(Duration::from_micros(micros) + Duration::from_nanos(999));
            assert_eq!(entry.born(), Some(Duration::from_micros(micros)));
            entry.set_born(Duration::from_micros(5));
            assert_eq!(entry.born(), Some(Duration::from_micros(micros)));
        }
        for span in [Duration::from_micros(MOST + 1), Duration::MAX] {
            let mut entry = Entry::VACANT;
            entry.set_born(span);
            assert_eq!(entry.born(), Some(Duration::from_micros(MOST)), "nine years");
        }
    }
}
