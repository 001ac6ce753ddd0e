//! Who waits for something of a scope with a waker that is not its task's own.
//!
//! Each kind of waiter has a map of its own, in the order in which it is taken. So an abort of one
//! task costs nothing for those who wait for others, and the memory goes with the waiters. One who
//! waits for the scope's end lies inline: for most scopes nobody else waits for anything. It is the first
//! of those, and its ticket is always the same: who is woken there is woken since the scope has ended,
//! and then nobody waits for that any more.

use std::collections::BTreeMap;
use std::mem;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::task::Waker;

use super::Node;
use super::tasks::Tasks;
use crate::track::table::{TaskKey, TaskRef};
use crate::track::wakes::Wakes;

/// What somebody waits for.
#[derive(Clone, Copy)]
pub(crate) enum Awaited {
    /// The token.
    Stop,
    /// The end of the scope.
    End,
    /// The cancellation of this task, and the last hold inside this cleanup.
    Cancel(TaskRef, CleanupId),
    /// That code of this task comes back though the stop has taken away what it awaits: the task asks
    /// about the stop, or a section holds it.
    Return(TaskRef),
}

/// Tells a cleanup from all others that are there: the address of what it shares with its holders.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CleanupId(pub(crate) usize);

/// Which waiter of a task it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Return(Ticket),
    Cleanup(CleanupId),
}

/// A waiter's place in the order of wakes. It keeps it when its waker changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(NonZeroU64);

/// Who waits for something of one scope, but for one.
#[derive(Default)]
pub(super) struct Waiters {
    /// How many tickets there were, beside [`Ticket::INLINE`]. It stays when the maps go: who was woken may
    /// still have one.
    tickets: u64,
    maps: Option<Box<Maps>>,
}

#[derive(Default)]
struct Maps {
    stop: BTreeMap<Ticket, Waker>,
    /// Those who wait for the end, but for the one whose waker lies inline.
    end: BTreeMap<Ticket, Waker>,
    /// Of single tasks. A scope's cancellation takes them all: who waits for another thing then waits
    /// anew.
    tasks: BTreeMap<(TaskKey, Part), (Ticket, Waker)>,
}

impl Node {
    /// Registers a waiter, or changes its waker. Returns false when what it waits for is there.
    pub(crate) fn wait(
        &self,
        ticket: &mut Option<Ticket>,
        awaited: Awaited,
        waker: Waker,
        is_there: impl FnOnce(&mut Tasks) -> bool,
    ) -> bool {
        let mut tasks = self.lock();
        if is_there(&mut tasks) {
            drop(tasks); // before the waker
            return false;
        }
        let ticket = *ticket.get_or_insert_with(|| tasks.next_ticket(awaited));
        let old = tasks.put_waiter(ticket, awaited, waker);
        drop(tasks);
        drop(old);
        true
    }

    /// Removes a waiter, unless it was woken and so removed already.
    pub(crate) fn forget(&self, ticket: Option<Ticket>, awaited: Awaited) {
        let Some(ticket) = ticket else { return };
        let mut tasks = self.lock();
        let old = tasks.remove_waiter(ticket, awaited);
        drop(tasks);
        drop(old);
    }
}

impl Ticket {
    /// That of the one whose waker lies inline.
    const INLINE: Ticket = Ticket(NonZeroU64::MIN);
}

impl Tasks {
    fn next_ticket(&mut self, awaited: Awaited) -> Ticket {
        let first = |tasks: &Tasks| tasks.maps().is_none_or(|maps| maps.end.is_empty());
        if matches!(awaited, Awaited::End) && !self.extra.has_end() && first(self) {
            return Ticket::INLINE;
        }
        let tickets = &mut self.extra.make().waiters.tickets;
        *tickets += 1;
        Ticket(Ticket::INLINE.0.saturating_add(*tickets))
    }

    fn maps(&self) -> Option<&Maps> {
        self.extra.get()?.waiters.maps.as_deref()
    }

    fn maps_mut(&mut self) -> Option<&mut Maps> {
        self.extra.get_mut()?.waiters.maps.as_deref_mut()
    }

    fn put_waiter(&mut self, ticket: Ticket, awaited: Awaited, waker: Waker) -> Option<Waker> {
        if ticket == Ticket::INLINE {
            return self.extra.put_end(waker);
        }
        let maps = self.extra.make().waiters.maps.get_or_insert_default();
        match awaited {
            Awaited::Stop => maps.stop.insert(ticket, waker),
            Awaited::End => maps.end.insert(ticket, waker),
            Awaited::Cancel(task, cleanup) => {
                maps.put_part((task.key(), Part::Cleanup(cleanup)), ticket, waker)
            }
            Awaited::Return(task) => {
                maps.put_part((task.key(), Part::Return(ticket)), ticket, waker)
            }
        }
    }

    fn remove_waiter(&mut self, ticket: Ticket, awaited: Awaited) -> Option<Waker> {
        if ticket == Ticket::INLINE {
            return self.extra.take_end();
        }
        match awaited {
            Awaited::Stop => self.take_from(|maps| maps.stop.remove(&ticket)),
            Awaited::End => self.take_from(|maps| maps.end.remove(&ticket)),
            Awaited::Cancel(task, cleanup) => self.take_cleanup(&task, cleanup),
            Awaited::Return(task) => {
                self.take_from(|maps| maps.take_part((task.key(), Part::Return(ticket))))
            }
        }
    }

    /// Takes from the maps, which go with the last that is in them.
    fn take_from<T>(&mut self, take: impl FnOnce(&mut Maps) -> Option<T>) -> Option<T> {
        let waiters = &mut self.extra.get_mut()?.waiters;
        let maps = waiters.maps.as_mut()?;
        let taken = take(maps);
        if maps.stop.is_empty() && maps.end.is_empty() && maps.tasks.is_empty() {
            waiters.maps = None;
        }
        taken
    }

    /// Takes those who wait for the token.
    pub(super) fn take_stop(&mut self, wakes: &mut Wakes) {
        if let Some(maps) = self.maps_mut() {
            wakes.0.extend(mem::take(&mut maps.stop).into_values());
        }
    }

    /// Takes those who wait for the cancellation of any task.
    pub(super) fn take_cancel(&mut self, wakes: &mut Wakes) {
        if let Some(maps) = self.maps_mut() {
            add_in_order(mem::take(&mut maps.tasks).into_values().collect(), wakes);
        }
    }

    /// Takes those who wait for the cancellation of one task.
    pub(super) fn take_cancel_of(&mut self, task: &TaskRef, wakes: &mut Wakes) {
        if self.maps().is_some() {
            let of = |cleanup| Part::Cleanup(CleanupId(cleanup));
            self.take_parts(task, of(0)..=of(usize::MAX), wakes);
        }
    }

    /// Takes those awaits of one task that are kept pending.
    pub(super) fn take_return_of(&mut self, task: &TaskRef, wakes: &mut Wakes) {
        let of = |ticket| Part::Return(Ticket(ticket));
        self.take_parts(task, of(NonZeroU64::MIN)..=of(NonZeroU64::MAX), wakes);
    }

    fn take_parts(&mut self, task: &TaskRef, parts: RangeInclusive<Part>, wakes: &mut Wakes) {
        let Some(maps) = self.maps_mut() else { return };
        let of = |part: &Part| (task.key(), *part);
        let range = of(parts.start())..=of(parts.end());
        let keys: Vec<_> = maps.tasks.range(range).map(|(key, _)| *key).collect();
        add_in_order(keys.iter().filter_map(|key| maps.tasks.remove(key)).collect(), wakes);
    }

    /// Takes the one cleanup of a task.
    pub(super) fn take_cleanup(&mut self, task: &TaskRef, cleanup: CleanupId) -> Option<Waker> {
        self.take_from(|maps| maps.take_part((task.key(), Part::Cleanup(cleanup))))
    }

    pub(super) fn take_waiters(&mut self, wakes: &mut Wakes) {
        let maps = self.extra.get_mut().and_then(|rest| rest.waiters.maps.take());
        let Some(Maps { stop, end, tasks }) = maps.map(|maps| *maps) else {
            return wakes.add(self.extra.take_end());
        };
        wakes.0.extend(stop.into_values());
        add_in_order(tasks.into_values().collect(), wakes);
        wakes.add(self.extra.take_end());
        wakes.0.extend(end.into_values());
    }
}

impl Maps {
    fn put_part(&mut self, key: (TaskKey, Part), ticket: Ticket, waker: Waker) -> Option<Waker> {
        self.tasks.insert(key, (ticket, waker)).map(|(_, waker)| waker)
    }

    fn take_part(&mut self, key: (TaskKey, Part)) -> Option<Waker> {
        self.tasks.remove(&key).map(|(_, waker)| waker)
    }
}

#[cfg(all(test, not(loom)))]
impl Tasks {
    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        let maps =
            self.maps().map_or(0, |maps| maps.stop.len() + maps.end.len() + maps.tasks.len());
        usize::from(self.extra.has_end()) + maps
    }
}

/// Adds wakers in the order in which they came, not in that of addresses.
fn add_in_order(mut taken: Vec<(Ticket, Waker)>, wakes: &mut Wakes) {
    taken.sort_unstable_by_key(|(ticket, _)| *ticket);
    wakes.0.extend(taken.into_iter().map(|(_, waker)| waker));
}
