//! Times of a stop: its spans, how levels share them, and which instant comes next.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use crate::few::Few;

/// An instant: nanoseconds since the machine's epoch. What would be later than in 584 years never comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct At(u64);

impl At {
    pub(super) const ZERO: At = At(0);
    pub(super) const NEVER: At = At(u64::MAX);

    pub(super) fn new(since_epoch: Duration) -> At {
        At(nanos(since_epoch))
    }

    /// So long after this instant.
    pub(super) fn after(self, span: Duration) -> At {
        At(self.0.saturating_add(nanos(span)))
    }

    /// The time since the epoch; [`Duration::MAX`] for what never comes.
    pub(super) fn since_epoch(self) -> Duration {
        if self == At::NEVER { Duration::MAX } else { Duration::from_nanos(self.0) }
    }

    /// An equal part of what is left from `start` to this instant.
    fn part(self, start: At, parts: u32) -> At {
        if self == At::NEVER {
            return At::NEVER;
        }
        At(start.0.saturating_add(self.0.saturating_sub(start.0) / u64::from(parts)))
    }
}

/// Its nanoseconds, or as many as there are.
fn nanos(span: Duration) -> u64 {
    let seconds = span.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(span.subsec_nanos().into())
}

/// The spans of a stop, all of them measured from the stop request.
///
/// Expected: `lame_duck <= drain <= cut_off <= deadline`. A machine that is given anything else
/// lowers the earlier span to the later one, so that the deadline is always kept.
/// [`Duration::MAX`] means never. There are no defaults here: the options have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// For how long only readiness is false; zero leaves that phase out. Programs only: a scope
    /// that is stopped alone has no such phase.
    pub(crate) lame_duck: Duration,
    /// When graceful tasks are cancelled like plain ones.
    pub(crate) drain: Duration,
    /// When waiting for tasks ends.
    pub(crate) cut_off: Duration,
    /// When waiting for anything ends.
    pub(crate) deadline: Duration,
}

/// The process ends by itself: instants that no stop outlasts.
///
/// Its spans have the proportions of the defaults, whatever those of the program are: who has set them
/// has set them for another length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) drain: At,
    pub(super) cut_off: At,
    pub(super) deadline: At,
}

/// The two instants of a scope whose turn has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) drain: At,
    pub(super) level: At,
}

impl Limits {
    pub(super) fn clamped(mut self) -> Limits {
        self.cut_off = self.cut_off.min(self.deadline);
        self.drain = self.drain.min(self.cut_off);
        self.lame_duck = self.lame_duck.min(self.drain);
        self
    }

    /// The spans of a stop after which the process ends: 0.8 for the drain, 0.92 until the cut-off.
    pub(crate) fn before_the_end(span: Duration) -> Limits {
        let part = |parts: u32| if span == Duration::MAX { span } else { span / 25 * parts };
        Limits { lame_duck: Duration::ZERO, drain: part(20), cut_off: part(23), deadline: span }
    }

    /// The same spans of a stop that began at `start`, none of them past the end of the process. There
    /// is no time left for a lame duck then.
    pub(super) fn until(self, ending: &Ending, start: At) -> Limits {
        let left = |span: Duration, end: At| match end {
            At::NEVER => span,
            _ => span.min(end.since_epoch().saturating_sub(start.since_epoch())),
        };
        Limits {
            lame_duck: Duration::ZERO,
            drain: left(self.drain, ending.drain),
            cut_off: left(self.cut_off, ending.cut_off),
            deadline: left(self.deadline, ending.deadline),
        }
    }

    /// Apportions the time from `start` to `cut_off` when `levels` are left.
    ///
    /// A level gets 1/levels of it, and the drain limit the same part of that as of the whole:
    /// drain / cut-off. Exact in nanoseconds, rounded down.
    pub(super) fn share(&self, start: At, cut_off: At, levels: u32) -> Share {
        let level = cut_off.part(start, levels);
        let (drain, whole) = (nanos(self.drain), nanos(self.cut_off));
        // Without a cut-off the drain span counts as it is.
        let drain = match cut_off {
            At::NEVER => drain,
            _ => {
                let left = u128::from(cut_off.0.saturating_sub(start.0));
                (u128::from(drain) * left).checked_div(whole.into()).unwrap_or(0) as u64
            }
        };
        let drain = At(start.0.saturating_add(drain)).part(start, levels);
        Share { drain: drain.min(level), level }
    }
}

impl Ending {
    pub(super) fn new(now: At, span: Duration) -> Ending {
        let Limits { drain, cut_off, deadline, .. } = Limits::before_the_end(span);
        let [drain, cut_off, deadline] = [drain, cut_off, deadline].map(|span| now.after(span));
        Ending { drain, cut_off, deadline }
    }

    /// The earlier of each: what was promised before comes no later for it.
    pub(super) fn min(self, other: Ending) -> Ending {
        Ending {
            drain: self.drain.min(other.drain),
            cut_off: self.cut_off.min(other.cut_off),
            deadline: self.deadline.min(other.deadline),
        }
    }

    /// What a level has of the time from `start` on, when so many are left.
    pub(super) fn share(&self, start: At, levels: u32) -> Share {
        Share { drain: self.drain.part(start, levels), level: self.cut_off.part(start, levels) }
    }
}

impl Share {
    pub(super) const NEVER: Share = Share { drain: At::NEVER, level: At::NEVER };

    pub(super) fn min(self, other: Share) -> Share {
        Share { drain: self.drain.min(other.drain), level: self.level.min(other.level) }
    }
}

/// What is due when.
///
/// Most scopes of one level share one instant, so items are kept by instant: adding and cancelling
/// cost a look-up among the distinct instants. A cancelled item stays where it is until its instant
/// comes or nothing else is left there; whoever takes items out asks whether they still hold.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    at: BTreeMap<At, Items<T>>,
    /// The first instant in it: what every event asks for.
    first: At,
}

#[derive(Debug)]
struct Items<T> {
    live: usize,
    list: Few<T>,
}

impl<T> Agenda<T> {
    pub(super) fn new() -> Agenda<T> {
        Agenda { at: BTreeMap::new(), first: At::NEVER }
    }

    pub(super) fn add(&mut self, at: At, item: T) {
        self.add_many(at, item, 1);
    }

    /// Adds one item that stands for so many, each of which is taken back by itself.
    pub(super) fn add_many(&mut self, at: At, item: T, count: usize) {
        if at == At::NEVER {
            return;
        }
        let items = self.at.entry(at).or_insert_with(|| Items { live: 0, list: Few::new() });
        items.live += count;
        items.list.push(item);
        self.first = self.first.min(at);
    }

    /// Takes back one item that was added for `at` and has not been taken out.
    pub(super) fn cancel(&mut self, at: At) {
        if let Entry::Occupied(mut items) = self.at.entry(at) {
            items.get_mut().live -= 1;
            if items.get().live == 0 {
                items.remove();
                self.look_for_first();
            }
        }
    }

    fn look_for_first(&mut self) {
        self.first = self.at.keys().next().copied().unwrap_or(At::NEVER);
    }

    pub(super) fn next(&self) -> Option<At> {
        (self.first != At::NEVER).then_some(self.first)
    }

    /// Takes out the earliest items if their instant has come; cancelled ones may be among them.
    pub(super) fn take_due(&mut self, now: At) -> Option<(At, Few<T>)> {
        if self.first > now {
            return None;
        }
        let (at, items) = self.at.pop_first()?;
        self.look_for_first();
        Some((at, items.list))
    }

    pub(super) fn clear(&mut self) {
        self.at.clear();
        self.first = At::NEVER;
    }
}
