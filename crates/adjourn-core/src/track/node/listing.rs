//! What a report tells of the tasks of a scope that are alive.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::Node;
use super::tasks::Tasks;
use crate::contract::error::Place;
use crate::contract::report::{
    MOST_LISTED, Site, Straggler, StragglerState, TaskKind, TaskLabel, Totals, bound,
};
use crate::sync::atomic::Ordering::SeqCst;
use crate::track::context;
use crate::track::table::{Entry, Name, Slots, TaskKey, TaskRef, Word, flag};
use crate::track::wakes::WakerId;

/// What of a scope is alive at a limit: the oldest tasks one by one, and all of them by the line that
/// spawned them.
#[derive(Default)]
pub(crate) struct Alive {
    /// With the waker that each is woken by, and which task it is.
    pub(crate) listed: Vec<(Straggler, WakerId, TaskKey)>,
    pub(crate) omitted: u64,
    pub(crate) sites: Vec<Site>,
}

/// What a scope's drain limit finds alive.
pub(crate) struct Late {
    pub(crate) graceful: Alive,
    pub(crate) plain: Alive,
}

impl Alive {
    pub(crate) fn stragglers(self) -> (Vec<Straggler>, u64, Vec<Site>) {
        let listed = self.listed.into_iter().map(|(straggler, ..)| straggler).collect();
        (listed, self.omitted, self.sites)
    }
}

/// Which task, for who may come to tell of it: a label is several texts, and of many tasks that are noted
/// few are told of.
#[derive(Clone)]
pub(crate) struct Which {
    name: Option<Name>,
    scope: Arc<str>,
    pub(crate) kind: TaskKind,
    place: Place,
}

impl Which {
    /// `scope` is the path of the node, once somebody has asked for it.
    fn new(node: &Node, scope: &mut Option<Arc<str>>, entry: &Entry) -> Which {
        let path = || bound::cut(&node.path(), bound::PATH).into();
        let name = entry.name.as_deref().map(|name| match name {
            Cow::Borrowed(name) => Box::new(bound::cut(name, bound::NAME)),
            Cow::Owned(name) => Box::new(bound::cut(name, bound::NAME).into_owned().into()),
        });
        let scope = scope.get_or_insert_with(path).clone();
        Which { name, scope, kind: entry.kind, place: entry.place() }
    }

    /// `last` is the place that was last put into words: mostly it is the same.
    pub(crate) fn label(&self, last: &mut Option<(Place, String)>) -> TaskLabel {
        if !last.as_ref().is_some_and(|(place, _)| std::ptr::eq(*place, self.place)) {
            *last = Some((self.place, self.place.to_string()));
        }
        TaskLabel {
            name: self.name.as_deref().map(|name| name.clone().into_owned()),
            scope: self.scope.as_ref().to_owned(),
            kind: self.kind,
            spawned_at: last.as_ref().map(|(_, text)| text.clone()).unwrap_or_default(),
        }
    }
}

/// Picks so many of all that are alive, evenly.
pub(crate) struct Picker {
    room: usize,
    count: usize,
    due: usize,
    /// How many more may be picked.
    pub(crate) left: usize,
}

impl Picker {
    /// For `room` of about `count`: of each `count` that it is shown, it picks so many.
    pub(crate) fn new(room: usize, count: usize) -> Picker {
        Picker { room: room.min(count), count, due: 0, left: room }
    }

    /// Passes over so many at once, if none of them is due.
    fn passes(&mut self, many: usize) -> bool {
        let due = self.due + self.room * many;
        let none = due < self.count;
        if none {
            self.due = due;
        }
        none
    }

    /// Looks at one. What cannot be picked leaves its turn to the next.
    fn picks(&mut self, can: bool) -> bool {
        self.due += self.room;
        let picked = self.due >= self.count && can && self.left > 0;
        if picked {
            self.due -= self.count;
            self.left -= 1;
        }
        picked
    }
}

/// Looks at tasks one by one, for the report.
struct Look {
    now: Duration,
    polling: Vec<usize>,
}

impl Look {
    fn new(node: &Node, now: Duration) -> Look {
        // By the clock that ages are counted with: `age_now`.
        let now = if node.is_hosted() { now } else { process_time() };
        Look { now, polling: context::polling() }
    }

    fn age(&self, entry: &Entry) -> Option<Duration> {
        entry.born().map(|born| self.now.saturating_sub(born))
    }

    fn describe(&self, node: &Node, task: TaskRef, slots: &mut Slots) -> Straggler {
        let entry = slots.at(&task);
        let state = match (entry.kind, entry.born()) {
            (TaskKind::Blocking, Some(_)) => StragglerState::Blocking,
            (TaskKind::Blocking, None) => StragglerState::Queued,
            _ if self.polling.contains(&task.seat()) => StragglerState::Polling,
            (_, None) => StragglerState::NeverPolled,
            _ if task.word().is_held() => StragglerState::Shielded,
            _ => StragglerState::Pending,
        };
        Straggler { task: node.label(entry), age: self.age(entry), state }
    }
}

impl Node {
    /// Returns what is to be cancelled though it was told to finish, and what else is. `None` where
    /// nothing was told so: of a scope whose graceful tasks are gone. Each of the former is noted as
    /// overdue: should it end by itself all the same, the program is told; `alone` is told with it.
    pub(crate) fn late(&self, now: Duration, alone: bool) -> Option<Late> {
        if self.graceful.load(SeqCst) == 0 {
            return None;
        }
        let tasks = self.lock();
        let alive = |graceful: bool| {
            let which = |word: Word| {
                !word.has(flag::SHIELDED | flag::CANCEL) && word.has(flag::ASKED) == graceful
            };
            tasks.survey_noting(self, now, which, |entry| {
                if graceful {
                    entry.set_overdue(alone);
                }
            })
        };
        Some(Late { graceful: alive(true), plain: alive(false) })
    }

    /// How many tasks are alive that are futures.
    pub(crate) fn count_futures(&self) -> usize {
        let mut count = 0;
        self.lock().each(|task, slots| {
            count += usize::from(slots.at(&task).kind != TaskKind::Blocking);
            true
        });
        count
    }

    /// Calls `found` for each live task of the scope whose handle is awaited, with the waker that
    /// waits for it.
    pub(crate) fn each_awaited(&self, mut found: impl FnMut(WakerId, &dyn Fn() -> TaskLabel)) {
        self.lock().each(|task, slots| {
            let entry = slots.at(&task);
            let [_, waits] = entry.waker_ids();
            if waits != WakerId::NONE {
                found(waits, &|| self.label(entry));
            }
            true
        });
    }

    fn label(&self, entry: &Entry) -> TaskLabel {
        TaskLabel {
            name: entry.name.as_ref().map(|name| bound::cut(name, bound::NAME).into_owned()),
            scope: bound::cut(&self.path(), bound::PATH).into_owned(),
            kind: entry.kind,
            spawned_at: entry.place().to_string(),
        }
    }

    /// Returns what a report calls this task.
    pub(crate) fn describe(&self, task: &TaskRef) -> String {
        match task.chunk().lock().entry(task) {
            Some((_, entry)) => self.label(entry).to_string(),
            None => format!("a task of {}", self.path()),
        }
    }
}

impl Tasks {
    /// Returns the tasks that are alive, as far as `which` says.
    pub(crate) fn survey(&self, node: &Node, now: Duration, which: impl Fn(Word) -> bool) -> Alive {
        self.survey_noting(node, now, which, |_| {})
    }

    /// The same; `note` is called for each that is counted, under the lock of its chunk.
    fn survey_noting(
        &self,
        node: &Node,
        now: Duration,
        which: impl Fn(Word) -> bool,
        note: impl Fn(&mut Entry),
    ) -> Alive {
        let look = Look::new(node, now);
        let mut ages = Vec::new();
        let mut sites: BTreeMap<(usize, TaskKind), (Place, u64, Option<Duration>)> =
            BTreeMap::new();
        self.each(|task, slots| {
            if which(task.word()) {
                let entry = slots.at(&task);
                let (place, age) = (entry.place(), look.age(entry));
                let key = (std::ptr::from_ref(place).addr(), entry.kind);
                let (_, count, oldest) = sites.entry(key).or_insert((place, 0, None));
                *count += 1;
                *oldest = (*oldest).max(age);
                ages.push(age);
                note(slots.at(&task));
            }
            true
        });
        // The oldest are listed one by one; of those that are as old, the first.
        let live = ages.len() as u64;
        let eldest = match ages.len().checked_sub(MOST_LISTED) {
            Some(younger) if younger > 0 => *ages.select_nth_unstable(younger).1,
            _ => None,
        };
        let older = ages.iter().filter(|age| **age > eldest).count();
        let mut as_old = MOST_LISTED.saturating_sub(older);
        let mut listed = Vec::new();
        self.each(|task, slots| {
            let age = look.age(slots.at(&task));
            let fits = age > eldest || age == eldest && as_old > 0;
            if fits && which(task.word()) {
                as_old -= usize::from(age == eldest);
                let straggler = look.describe(node, task, slots);
                listed.push((straggler, slots.at(&task).waker_ids()[0], task.key()));
            }
            listed.len() < MOST_LISTED
        });
        let scope = bound::cut(&node.path(), bound::PATH).into_owned();
        let sites = sites.into_iter().map(|((_, kind), (place, count, oldest))| Site {
            kind,
            scope: scope.clone(),
            spawned_at: place.to_string(),
            count,
            oldest,
        });
        let omitted = live.saturating_sub(listed.len() as u64);
        Alive { listed, omitted, sites: sites.collect() }
    }

    /// Returns the first tasks that are alive, how many more there are, and the totals, without
    /// waiting for a lock: what is locked is left out.
    pub(crate) fn peek(&self, node: &Node, now: Duration) -> (Vec<Straggler>, u64, Totals) {
        let look = Look::new(node, now);
        let mut stragglers = Vec::new();
        let (mut tally, mut live) = (self.tally(), 0);
        for chunk in self.chunks() {
            let Some(mut slots) = chunk.try_lock() else { continue };
            slots.add_to(&mut tally);
            live += slots.live();
            slots.each(chunk, |task, slots| {
                let room = stragglers.len() < MOST_LISTED;
                if room {
                    stragglers.push(look.describe(node, task, slots));
                }
                room
            });
        }
        let omitted = live.saturating_sub(stragglers.len() as u64);
        (stragglers, omitted, tally.totals(live))
    }

    /// Marks the first tasks as ones whose end the report wants, and the others as ones that it may come
    /// to want. Returns how many are alive.
    pub(crate) fn list(
        &mut self,
        node: &Node,
        left: &mut usize,
        mut tell: impl FnMut(Which) -> usize,
    ) -> u64 {
        let (mut listed, mut scope) = (self.take_listed(), None);
        listed.reserve((self.count_live() as usize).min(*left));
        let mut alive = 0;
        self.each(|task, slots| {
            alive += 1;
            let entry = slots.at(&task);
            entry.set_unlisted(*left == 0);
            if *left > 0 {
                *left -= 1;
                task.set(flag::LISTED);
                listed.push_back((task, tell(Which::new(node, &mut scope, entry))));
            }
            true
        });
        self.put_listed(listed);
        alive
    }

    /// How many tasks are alive. Looks at none of them.
    pub(crate) fn count_live(&self) -> u64 {
        self.chunks().map(|chunk| chunk.lock().live()).sum()
    }

    /// Marks those for which `picker` says so as ones whose end the report wants, of the tasks that were
    /// alive at the stop and that it does not list. Looks at no more than it has to.
    pub(crate) fn list_more(
        &mut self,
        node: &Node,
        picker: &mut Picker,
        mut tell: impl FnMut(Which) -> usize,
    ) {
        let (mut listed, mut scope) = (self.take_listed(), None);
        for chunk in self.chunks() {
            if picker.left == 0 {
                break;
            }
            let mut slots = chunk.lock();
            if picker.passes(slots.live() as usize) {
                continue;
            }
            slots.each(chunk, |task, slots| {
                let entry = slots.at(&task);
                if picker.picks(entry.is_unlisted()) {
                    entry.set_unlisted(false);
                    task.set(flag::LISTED);
                    listed.push_back((task, tell(Which::new(node, &mut scope, entry))));
                }
                true
            });
        }
        self.put_listed(listed);
    }

    fn take_listed(&mut self) -> VecDeque<(TaskRef, usize)> {
        self.extra.get_mut().map(|rest| mem::take(&mut rest.listed)).unwrap_or_default()
    }

    fn put_listed(&mut self, mut listed: VecDeque<(TaskRef, usize)>) {
        if !listed.is_empty() {
            listed.make_contiguous().sort_unstable_by_key(|(task, _)| task.key());
            self.extra.make().listed = listed;
        }
    }

    pub(super) fn unlist(&mut self, task: &TaskRef) -> Option<usize> {
        let listed = &mut self.extra.get_mut()?.listed;
        let at = listed.binary_search_by_key(&task.key(), |(listed, _)| listed.key()).ok()?;
        Some(listed.remove(at)?.1)
    }
}

/// The time by the clock that tasks' ages are counted with: the system's monotonic one, without a
/// look at the program, unless a host keeps the time.
pub(super) fn age_now(task: &TaskRef) -> Duration {
    if !task.chunk().is_hosted() {
        return process_time();
    }
    task.node().map_or(Duration::ZERO, |node| node.above().now())
}

/// The time since this was first asked in the process.
fn process_time() -> Duration {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    EPOCH.get_or_init(Instant::now).elapsed()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn of_many_few_are_looked_at_and_those_are_picked_evenly() {
        let mut picker = Picker::new(100, 64_000);
        let (mut looks, mut picked) = (0, Vec::new());
        for chunk in 0..1_000 {
            if !picker.passes(64) {
                looks += 1;
                (0..64).for_each(|_| picked.extend(picker.picks(true).then_some(chunk)));
            }
        }
        assert_eq!((looks, picked.len(), picker.left), (100, 100, 0));
        assert!(picked.windows(2).all(|two| two[1] - two[0] == 10), "{picked:?}");
    }

    #[test]
    fn what_cannot_be_picked_leaves_its_turn_to_the_next() {
        let mut picker = Picker::new(10, 100);
        let picked = |which: std::ops::Range<u32>, picker: &mut Picker| {
            which.filter(|number| picker.picks(number % 20 > 10)).count()
        };
        assert_eq!(picked(0..100, &mut picker), 10);
        assert_eq!((picker.left, picked(0..100, &mut picker)), (0, 0));
        let mut all = Picker::new(10, 3);
        assert_eq!((0..10).filter(|_| all.picks(true)).count(), 10, "room for more than there are");
    }
}
