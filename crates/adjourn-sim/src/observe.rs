//! What is counted during a run, and where stops are injected.
//!
//! The same for the simulated executor and for Tokio's: whoever polls says so before each poll.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adjourn_core::rt::{Host, Hosted};
use adjourn_core::{Exit, Report, Signal, Stopper};

use crate::spy::{Spy, Standing};

/// Polls after which a run that was asked to stop, or that nobody asks, is given up.
const ENDLESS: u64 = 10_000_000;
/// How long after it was forced a program may take, on the virtual clock.
const FORCED_WITHIN: Duration = Duration::from_millis(100);

/// Numbers the futures of one executor in the order in which they were spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskId(pub(crate) u64);

impl TaskId {
    pub(crate) const MAIN: TaskId = TaskId(0);
}

/// What a run is to be watched for.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Before which polls the stop and the second signal are injected.
    pub(crate) inject: Vec<u64>,
    /// The second signal ends the process within so long, in place of a SIGINT.
    pub(crate) ends: Option<Duration>,
    /// A stop is injected when nothing can go on, and after this many polls.
    pub(crate) explore: Option<u64>,
    /// Tasks are named, and each poll is noted.
    pub(crate) trace: bool,
}

/// One poll of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Its number, from 1.
    pub poll: u64,
    /// When, since the executor's start, on the virtual clock.
    pub at: Duration,
    /// Which task: its label as the report has it, or `adjourn itself` for the driver and for
    /// `on_stopped` hooks.
    pub task: String,
    /// How often that task had been polled with this poll.
    pub nth: u64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "poll {} at {:?}: {} (its poll {})", self.poll, self.at, self.task, self.nth)
    }
}

/// A stop, or second signal, that was injected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Injection {
    /// The poll before which it came.
    pub poll: u64,
    /// When, since the executor's start, on the virtual clock.
    pub at: Duration,
    /// What was polled next; `None` where nothing could be, or the run was not traced.
    pub before: Option<Step>,
    /// The line at which that task stood, outside of libraries: an `.await`, as a rule. In a build
    /// without debug information, the function in which it stood. `None` where it had not been polled
    /// or the run was not traced.
    pub stood: Option<String>,
    /// Whether it forced the end.
    pub forces: bool,
}

#[derive(Default)]
pub struct Observer {
    plan: Plan,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    hosted: Vec<Hosted>,
    stopper: Option<Stopper>,
    polls: u64,
    /// Of each poll's task and time: two runs that agree in it were the same.
    fingerprint: u64,
    injected: Vec<Injection>,
    /// Where the next is due in the plan.
    planned: usize,
    cut: bool,
    gave_up: bool,
    forced_at: Option<Duration>,
    /// When the process is ended.
    ends_at: Option<Duration>,
    elapsed: Duration,
    problems: Vec<String>,
    /// The reports so far, with the exit codes that came out.
    exits: Vec<(Report, u8)>,
    trace: Vec<Step>,
    names: BTreeMap<TaskId, (String, u64)>,
    standings: BTreeMap<TaskId, Standing>,
    /// Whether a fault that was asked for has come.
    faulted: bool,
    /// How many tasks of each label are alive.
    known: BTreeMap<String, usize>,
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl Observer {
    pub(crate) fn new(plan: Plan) -> Arc<Observer> {
        Arc::new(Observer { plan, seen: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_stopper(&self, stopper: Stopper) {
        let old = self.lock().stopper.replace(stopper);
        drop(old);
    }

    /// Returns the program that runs: the last one that started.
    fn program(&self) -> Option<Hosted> {
        let hosted = self.lock().hosted.clone();
        hosted.into_iter().rev().find(|program| program.inspector().phase().is_some())
    }

    /// A future is about to be spawned.
    pub(crate) fn spawned(&self, id: TaskId) {
        if !self.plan.trace {
            return;
        }
        // The core has registered it already: it is the label that has become more.
        let known = self.take_stock();
        let mut seen = self.lock();
        let old = std::mem::replace(&mut seen.known, known);
        let new = seen.known.iter().find(|(label, count)| old.get(*label) < Some(count));
        let name = new.map_or_else(|| "adjourn itself".to_owned(), |(label, _)| label.clone());
        seen.names.insert(id, (name, 0));
    }

    fn take_stock(&self) -> BTreeMap<String, usize> {
        let mut known = BTreeMap::new();
        let alive =
            self.program().map(|program| program.inspector().alive(usize::MAX)).unwrap_or_default();
        for straggler in alive {
            *known.entry(straggler.task.to_string()).or_default() += 1;
        }
        known
    }

    /// Counts a poll that is about to be made, and injects what is due before it. Returns its
    /// number.
    pub(crate) fn before_poll(&self, id: TaskId, now: Duration) -> u64 {
        let first = self.plan.trace && id == TaskId::MAIN && !self.lock().names.contains_key(&id);
        let known = first.then(|| self.take_stock());
        let mut seen = self.lock();
        if let Some(known) = known {
            let main = known.keys().next().cloned();
            seen.names.insert(id, (main.unwrap_or_else(|| "the main future".to_owned()), 0));
            seen.known = known;
        }
        seen.polls += 1;
        let poll = seen.polls;
        for word in [id.0, now.as_nanos() as u64] {
            seen.fingerprint =
                (seen.fingerprint.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        if self.plan.trace {
            let unknown = || ("a task".to_owned(), 0);
            let (task, nth) = seen.names.entry(id).or_insert_with(unknown);
            *nth += 1;
            let step = Step { poll, at: now, task: task.clone(), nth: *nth };
            seen.trace.push(step);
        }
        let due = self.plan.inject.get(seen.planned) == Some(&poll);
        let uninjected = seen.injected.is_empty();
        let cut = uninjected && self.plan.explore.is_some_and(|most| poll > most);
        let endless = poll > ENDLESS && !seen.gave_up;
        seen.cut |= cut;
        drop(seen);
        if due || cut {
            self.inject(poll, now, Some(id));
        }
        if endless {
            self.give_up(format!("the program is not over after {ENDLESS} polls"));
        }
        poll
    }

    /// A poll is over.
    pub(crate) fn polled(&self) {
        if self.plan.trace {
            let known = self.take_stock();
            self.lock().known = known;
        }
    }

    /// `next` is what is polled next, if anything can be.
    fn inject(&self, poll: u64, at: Duration, next: Option<TaskId>) {
        let mut seen = self.lock();
        let second = !seen.injected.is_empty();
        seen.planned += 1;
        let stopper = seen.stopper.clone();
        let before = next.and_then(|_| seen.trace.last().cloned());
        let standing = next.and_then(|id| seen.standings.get(&id).cloned());
        drop(seen);
        let stood = standing.and_then(|standing| standing.place());
        let program = self.program();
        let mut forces = false;
        if let Some(span) = self.plan.ends.filter(|_| second) {
            if let Some(stopper) = stopper {
                stopper.stop_within(span);
            }
            self.lock().ends_at = Some(at.saturating_add(span));
        } else if let Some(program) = program.as_ref().filter(|_| second) {
            forces = program.interrupt_again();
        } else if !program.is_some_and(|program| program.signal(Signal::INTERRUPT)) {
            if let Some(stopper) = stopper {
                stopper.stop_because("injected by the simulation");
            }
        }
        let mut seen = self.lock();
        if forces {
            seen.forced_at = Some(at);
        }
        seen.injected.push(Injection { poll, at, before, stood, forces });
    }

    /// Nothing is ready and no timer is set. Returns whether there is something to do now.
    pub(crate) fn at_rest(&self, now: Duration) -> bool {
        let seen = self.lock();
        let planned = seen.planned < self.plan.inject.len();
        let due = planned || self.plan.explore.is_some() && seen.injected.is_empty();
        let poll = seen.polls + 1;
        drop(seen);
        if due {
            self.inject(poll, now, None);
        }
        due
    }

    /// Nothing can ever go on.
    pub(crate) fn deadlocked(&self) {
        self.give_up("deadlock: no task can go on and no timer is set".to_owned());
    }

    fn give_up(&self, why: String) {
        let again = std::mem::replace(&mut self.lock().gave_up, true);
        let program = self.program().filter(|_| !again);
        let Some(program) = program else {
            panic!("{why}, outside of a program or after its end was forced");
        };
        let waits = |straggler: adjourn_core::Straggler| format!("waits: {}", straggler.task);
        let waiting: Vec<String> =
            program.inspector().alive(usize::MAX).into_iter().map(waits).collect();
        self.lock().problems.push(format!("{why}; {}", waiting.join("; ")));
        program.give_up(why, waiting);
    }

    /// The program has ended, as far as the calling thread can tell. `pushed`: by how much the
    /// clock was moved so that nobody could be on time.
    pub(crate) fn main_over(&self, now: Duration, pushed: Duration) {
        let deadline = self.program().and_then(|program| program.inspector().deadline());
        let mut seen = self.lock();
        seen.elapsed = now;
        let deadline = deadline.into_iter().chain(seen.ends_at).min();
        let late = too_late(now, pushed, deadline, seen.forced_at);
        seen.problems.extend(late);
    }

    /// A program has ended, with this.
    pub(crate) fn keep(&self, exit: Exit) -> Exit {
        self.lock().exits.push((exit.report().clone(), exit.exit_code()));
        exit
    }

    pub(crate) fn exits(&self) -> Vec<(Report, u8)> {
        self.lock().exits.clone()
    }

    pub(crate) fn polls(&self) -> u64 {
        self.lock().polls
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.lock().fingerprint
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.lock().elapsed
    }

    pub(crate) fn was_cut(&self) -> bool {
        self.lock().cut
    }

    pub(crate) fn injected(&self) -> Vec<Injection> {
        self.lock().injected.clone()
    }

    pub(crate) fn trace(&self) -> Vec<Step> {
        self.lock().trace.clone()
    }

    /// Whoever polls a task looks where it stands, if the run is traced.
    pub(crate) fn spy(&self, id: TaskId) -> Option<Spy> {
        let standing = self.plan.trace.then(Standing::default)?;
        self.lock().standings.insert(id, standing.clone());
        Some(Spy::new(standing))
    }

    /// A fault that the test asked for comes now.
    pub(crate) fn fault(&self) {
        self.lock().faulted = true;
    }

    pub(crate) fn was_faulted(&self) -> bool {
        self.lock().faulted
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        self.lock().problems.clone()
    }
}

/// Says so when a program ended later than it may; `pushed` is nobody's fault.
fn too_late(
    now: Duration,
    pushed: Duration,
    deadline: Option<Duration>,
    forced: Option<Duration>,
) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(late) = deadline.and_then(|deadline| now.checked_sub(deadline)) {
        if late > pushed {
            found.push(format!("it ended {late:?} after its deadline"));
        }
    }
    if let Some(took) = forced.map(|forced| now.saturating_sub(forced)) {
        if took > pushed.saturating_add(FORCED_WITHIN) {
            found.push(format!("it ended {took:?} after it was forced"));
        }
    }
    found
}

impl Host for Observer {
    fn starts(&self, program: Hosted) {
        let mut seen = self.lock();
        seen.hosted.retain(|program| program.inspector().phase().is_some());
        seen.hosted.push(program);
    }

    fn untold(&self, task: &str) {
        let broken = format!("{task} had asked about the stop, and was dropped before it was told");
        self.lock().problems.push(broken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_was_dropped_before_it_was_told_is_a_problem() {
        let observer = Observer::new(Plan::default());
        observer.untold("task \"worker\" of root");
        let [problem] = &observer.problems()[..] else { panic!("one problem") };
        assert!(problem.starts_with("task \"worker\" of root had asked"), "{problem}");
    }

    #[test]
    fn an_end_after_the_deadline_or_long_after_the_force_is_told() {
        let secs = Duration::from_secs;
        let none = Duration::ZERO;
        assert_eq!(too_late(secs(9), none, None, None), [""; 0]);
        assert_eq!(too_late(secs(9), none, Some(secs(9)), Some(secs(9))), [""; 0]);
        assert_eq!(too_late(secs(9), none, Some(secs(8)), None).len(), 1);
        assert_eq!(too_late(secs(9), secs(1), Some(secs(8)), None), [""; 0]);
        assert_eq!(too_late(secs(9), none, None, Some(secs(8))).len(), 1);
        assert_eq!(too_late(secs(9), secs(1), None, Some(secs(8))), [""; 0]);
    }
}
