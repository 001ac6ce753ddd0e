//! What a report tells of the tasks of a scope that are alive.

use std::collections::BTreeMap;
use std::mem;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::Node;
use super::tasks::Tasks;
use crate::contract::error::Place;
use crate::contract::report::{
    MOST_LISTED, Site, Straggler, StragglerState, TaskKind, TaskLabel, Totals, bound,
};
use crate::sync::atomic::Ordering::SeqCst;
use crate::track::context;
use crate::track::table::{Entry, Slots, TaskKey, TaskRef, Word, flag};
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

/// Looks at tasks one by one, for the report.
struct Look {
    now: Duration,
    polling: Vec<usize>,
}

impl Look {
    fn new(node: &Node, now: Duration) -> Look {
        // By the clock that ages are counted with: `age_now`.
        let now = if node.above().is_hosted() { now } else { process_time() };
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
        let (mut tally, mut live) = (self.tally, 0);
        for chunk in self.chunks.iter() {
            let Some(mut slots) = chunk.try_lock() else { continue };
            tally.add(&slots.tally);
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
        mut tell: impl FnMut(TaskLabel) -> usize,
    ) -> u64 {
        let mut listed = self.take_listed();
        let mut alive = 0;
        self.each(|task, slots| {
            alive += 1;
            let entry = slots.at(&task);
            entry.set_unlisted(*left == 0);
            if *left > 0 {
                *left -= 1;
                task.set(flag::LISTED);
                listed.push((task, tell(node.label(entry))));
            }
            true
        });
        self.put_listed(listed);
        alive
    }

    /// Counts the tasks that were alive at the stop and still are, and that the report does not list.
    pub(crate) fn count_unlisted(&self) -> usize {
        let mut count = 0;
        self.each(|task, slots| {
            count += usize::from(slots.at(&task).is_unlisted());
            true
        });
        count
    }

    /// Marks those of them for which `pick` says so as ones whose end the report wants.
    pub(crate) fn list_more(
        &mut self,
        node: &Node,
        pick: &mut dyn FnMut() -> bool,
        mut tell: impl FnMut(TaskLabel) -> usize,
    ) {
        let mut listed = self.take_listed();
        self.each(|task, slots| {
            let entry = slots.at(&task);
            if entry.is_unlisted() && pick() {
                entry.set_unlisted(false);
                task.set(flag::LISTED);
                listed.push((task, tell(node.label(entry))));
            }
            true
        });
        self.put_listed(listed);
    }

    fn take_listed(&mut self) -> Vec<(TaskRef, usize)> {
        self.rest.as_mut().map(|rest| mem::take(&mut rest.listed)).unwrap_or_default()
    }

    fn put_listed(&mut self, listed: Vec<(TaskRef, usize)>) {
        if !listed.is_empty() {
            self.rest.get_or_insert_default().listed = listed;
        }
    }

    pub(super) fn unlist(&mut self, task: &TaskRef) -> Option<usize> {
        let listed = &mut self.rest.as_mut()?.listed;
        let at = listed.iter().position(|(listed, _)| listed == task)?;
        Some(listed.swap_remove(at).1)
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
