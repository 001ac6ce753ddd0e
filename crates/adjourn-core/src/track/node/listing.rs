//! What a report tells of the tasks of a scope that are alive.

use std::mem;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::Node;
use super::tasks::Tasks;
use crate::contract::report::{
    MOST_LISTED, Straggler, StragglerState, TaskKind, TaskLabel, Totals,
};
use crate::sync::atomic::Ordering::SeqCst;
use crate::track::context;
use crate::track::table::{Entry, Slots, TaskRef, flag};
use crate::track::wakes::WakerId;

/// The first tasks that are alive, as the report tells of them.
struct Listing {
    now: Duration,
    polling: Vec<usize>,
    stragglers: Vec<Straggler>,
}

impl Listing {
    fn new(node: &Node, now: Duration) -> Listing {
        // By the clock that ages are counted with: `age_now`.
        let now = if node.above.is_hosted() { now } else { process_time() };
        Listing { now, polling: context::polling(), stragglers: Vec::new() }
    }

    /// Adds a task; false once no more are wanted.
    fn add(&mut self, node: &Node, task: TaskRef, slots: &mut Slots) -> bool {
        if self.stragglers.len() == MOST_LISTED {
            return false;
        }
        let entry = slots.at(&task);
        let state = match (entry.kind, entry.born()) {
            (TaskKind::Blocking, Some(_)) => StragglerState::Blocking,
            (TaskKind::Blocking, None) => StragglerState::Queued,
            _ if self.polling.contains(&task.seat()) => StragglerState::Polling,
            (_, None) => StragglerState::NeverPolled,
            _ if task.word().is_held() => StragglerState::Shielded,
            _ => StragglerState::Pending,
        };
        let age = entry.born().map(|born| self.now.saturating_sub(born));
        self.stragglers.push(Straggler { task: node.label(entry), age, state });
        true
    }

    fn end(self, live: u64) -> (Vec<Straggler>, u64) {
        let omitted = live.saturating_sub(self.stragglers.len() as u64);
        (self.stragglers, omitted)
    }
}

/// What a scope's drain limit finds alive.
pub(crate) struct Late {
    /// The graceful tasks, and by which waker each is woken.
    pub(crate) graceful: Vec<(Straggler, WakerId)>,
    pub(crate) graceful_omitted: u64,
    /// The plain tasks.
    pub(crate) plain: Vec<Straggler>,
    pub(crate) plain_omitted: u64,
}

impl Node {
    /// Returns what is to be cancelled though it was told to finish, and what else is. `None` where
    /// nothing was told so: of a scope whose graceful tasks are gone.
    pub(crate) fn late(&self, now: Duration) -> Option<Late> {
        if self.graceful.load(SeqCst) == 0 {
            return None;
        }
        let (mut graceful, mut plain) = (Listing::new(self, now), Listing::new(self, now));
        let (mut wakers, mut omitted) = (Vec::new(), [0; 2]);
        self.lock().each(|task, slots| {
            let word = task.word();
            if word.has(flag::SHIELDED | flag::CANCEL) {
                return true;
            }
            let asked = word.has(flag::ASKED);
            let listing = if asked { &mut graceful } else { &mut plain };
            if !listing.add(self, task, slots) {
                omitted[usize::from(asked)] += 1;
            } else if asked {
                wakers.push(slots.at(&task).waker_ids()[0]);
            }
            true
        });
        let listed = graceful.stragglers.into_iter().zip(wakers);
        Some(Late {
            graceful: listed.collect(),
            graceful_omitted: omitted[1],
            plain: plain.stragglers,
            plain_omitted: omitted[0],
        })
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
            name: entry.name.as_ref().map(|name| name.to_string()),
            scope: self.path(),
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
    /// Returns the first tasks that are alive, and how many more there are.
    pub(crate) fn stragglers(&mut self, node: &Node, now: Duration) -> (Vec<Straggler>, u64) {
        let mut listing = Listing::new(node, now);
        self.each(|task, slots| listing.add(node, task, slots));
        listing.end(self.totals().live)
    }

    /// The same, and the totals, without waiting for a lock: what is locked is left out.
    pub(crate) fn peek(&self, node: &Node, now: Duration) -> (Vec<Straggler>, u64, Totals) {
        let mut listing = Listing::new(node, now);
        let mut totals = self.totals;
        for chunk in &self.chunks {
            let Some(mut slots) = chunk.try_lock() else { continue };
            totals.add(&slots.totals);
            slots.each(chunk, |task, slots| listing.add(node, task, slots));
        }
        let (stragglers, omitted) = listing.end(totals.live);
        (stragglers, omitted, totals)
    }

    /// Marks the first tasks as ones whose end the report wants. Returns how many are alive.
    pub(crate) fn list(
        &mut self,
        node: &Node,
        left: &mut usize,
        mut tell: impl FnMut(TaskLabel) -> usize,
    ) -> u64 {
        let mut listed = mem::take(&mut self.listed);
        self.each(|task, slots| {
            if *left == 0 {
                return false;
            }
            *left -= 1;
            task.set(flag::LISTED);
            listed.push((task, tell(node.label(slots.at(&task)))));
            true
        });
        self.listed = listed;
        self.totals().live
    }

    pub(super) fn unlist(&mut self, task: &TaskRef) -> Option<usize> {
        let at = self.listed.iter().position(|(listed, _)| listed == task)?;
        Some(self.listed.swap_remove(at).1)
    }
}

/// The time by the clock that tasks' ages are counted with: the system's monotonic one, without a
/// look at the program, unless a host keeps the time.
pub(super) fn age_now(task: &TaskRef) -> Duration {
    if !task.chunk().is_hosted() {
        return process_time();
    }
    task.node().map_or(Duration::ZERO, |node| node.above.now())
}

/// The time since this was first asked in the process.
fn process_time() -> Duration {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    EPOCH.get_or_init(Instant::now).elapsed()
}
