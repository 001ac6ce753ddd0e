//! Who waits for something of a scope with a waker that is not its task's own.
//!
//! Each kind of waiter has a map of its own, in the order in which it is taken. So an abort of one
//! task costs nothing for those who wait for others, and the memory goes with the waiters. One who
//! waits for the scope's end lies inline: for most scopes nobody else waits for anything.

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

/// Who waits for something of one scope.
pub(super) struct Waiters {
    last: Ticket,
    /// One of those who wait for the end.
    end: Option<(Ticket, Waker)>,
    more: Option<Box<More>>,
}

#[derive(Default)]
struct More {
    stop: BTreeMap<Ticket, Waker>,
    /// The others who wait for the end.
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
        let ticket = *ticket.get_or_insert_with(|| tasks.waiters.next_ticket());
        let old = tasks.waiters.put(ticket, awaited, waker);
        drop(tasks);
        drop(old);
        true
    }

    /// Removes a waiter, unless it was woken and so removed already.
    pub(crate) fn forget(&self, ticket: Option<Ticket>, awaited: Awaited) {
        let Some(ticket) = ticket else { return };
        let mut tasks = self.lock();
        let old = tasks.waiters.remove(ticket, awaited);
        drop(tasks);
        drop(old);
    }
}

impl Waiters {
    pub(super) fn new() -> Waiters {
        Waiters { last: Ticket(NonZeroU64::MIN), end: None, more: None }
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last = Ticket(self.last.0.saturating_add(1));
        self.last
    }

    fn put(&mut self, ticket: Ticket, awaited: Awaited, waker: Waker) -> Option<Waker> {
        if let Awaited::End = awaited {
            match &mut self.end {
                Some((own, stored)) if *own == ticket => return Some(mem::replace(stored, waker)),
                Some(_) => {}
                None => {
                    self.end = Some((ticket, waker));
                    return None;
                }
            }
        }
        let more = self.more.get_or_insert_default();
        match awaited {
            Awaited::Stop => more.stop.insert(ticket, waker),
            Awaited::End => more.end.insert(ticket, waker),
            Awaited::Cancel(task, cleanup) => {
                more.put_part((task.key(), Part::Cleanup(cleanup)), ticket, waker)
            }
            Awaited::Return(task) => {
                more.put_part((task.key(), Part::Return(ticket)), ticket, waker)
            }
        }
    }

    fn remove(&mut self, ticket: Ticket, awaited: Awaited) -> Option<Waker> {
        if let Some((_, waker)) = self.end.take_if(|(own, _)| *own == ticket) {
            return Some(waker);
        }
        match awaited {
            Awaited::Stop => self.take_from(|more| more.stop.remove(&ticket)),
            Awaited::End => self.take_from(|more| more.end.remove(&ticket)),
            Awaited::Cancel(task, cleanup) => self.take_cleanup(&task, cleanup),
            Awaited::Return(task) => {
                self.take_from(|more| more.take_part((task.key(), Part::Return(ticket))))
            }
        }
    }

    /// Takes from the maps, which go with the last that is in them.
    fn take_from<T>(&mut self, take: impl FnOnce(&mut More) -> Option<T>) -> Option<T> {
        let more = self.more.as_mut()?;
        let taken = take(more);
        if more.stop.is_empty() && more.end.is_empty() && more.tasks.is_empty() {
            self.more = None;
        }
        taken
    }

    /// Takes those who wait for the token.
    pub(super) fn take_stop(&mut self, wakes: &mut Wakes) {
        if let Some(more) = &mut self.more {
            wakes.0.extend(mem::take(&mut more.stop).into_values());
        }
    }

    /// Takes those who wait for the cancellation of any task.
    pub(super) fn take_cancel(&mut self, wakes: &mut Wakes) {
        if let Some(more) = &mut self.more {
            add_in_order(mem::take(&mut more.tasks).into_values().collect(), wakes);
        }
    }

    /// Takes those who wait for the cancellation of one task.
    pub(super) fn take_cancel_of(&mut self, task: &TaskRef, wakes: &mut Wakes) {
        let of = |cleanup| Part::Cleanup(CleanupId(cleanup));
        self.take_parts(task, of(0)..=of(usize::MAX), wakes);
    }

    /// Takes those awaits of one task that are kept pending.
    pub(super) fn take_return_of(&mut self, task: &TaskRef, wakes: &mut Wakes) {
        let of = |ticket| Part::Return(Ticket(ticket));
        self.take_parts(task, of(NonZeroU64::MIN)..=of(NonZeroU64::MAX), wakes);
    }

    fn take_parts(&mut self, task: &TaskRef, parts: RangeInclusive<Part>, wakes: &mut Wakes) {
        let Some(more) = &mut self.more else { return };
        let of = |part: &Part| (task.key(), *part);
        let range = of(parts.start())..=of(parts.end());
        let keys: Vec<_> = more.tasks.range(range).map(|(key, _)| *key).collect();
        add_in_order(keys.iter().filter_map(|key| more.tasks.remove(key)).collect(), wakes);
    }

    /// Takes the one cleanup of a task.
    pub(super) fn take_cleanup(&mut self, task: &TaskRef, cleanup: CleanupId) -> Option<Waker> {
        self.take_from(|more| more.take_part((task.key(), Part::Cleanup(cleanup))))
    }

    pub(super) fn take_all(&mut self, wakes: &mut Wakes) {
        self.take_stop(wakes);
        self.take_cancel(wakes);
        let first = self.end.take();
        let Some(mut more) = self.more.take() else {
            return wakes.add(first.map(|(_, waker)| waker));
        };
        more.end.extend(first);
        wakes.0.extend(more.end.into_values());
    }
}

impl More {
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
        let Waiters { end, more, .. } = &self.waiters;
        let more =
            more.as_ref().map_or(0, |more| more.stop.len() + more.end.len() + more.tasks.len());
        usize::from(end.is_some()) + more
    }
}

/// Adds wakers in the order in which they came, not in that of addresses.
fn add_in_order(mut taken: Vec<(Ticket, Waker)>, wakes: &mut Wakes) {
    taken.sort_unstable_by_key(|(ticket, _)| *ticket);
    wakes.0.extend(taken.into_iter().map(|(_, waker)| waker));
}
