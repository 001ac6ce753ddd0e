//! How events come to the observers.

use std::collections::VecDeque;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::{Event, Observer};
use crate::contract::error::{StartError, drop_quietly, take_message};
use crate::contract::inspect::Inspector;
use crate::contract::report::{Failure, FailureKind, Report};
use crate::program::Program;
use crate::program::stopper::Stopper;

/// The most events that wait for one observer.
pub(super) const MOST: usize = 1_000;
/// How long observers may take after the program's end.
const PATIENCE: Duration = Duration::from_secs(1);
/// What they have at the least, where the end is forced or the deadline is there: `run` may take 75 ms
/// past it. With nothing, the quickest would be named as late, and leave its socket's file behind.
const LEAST: Duration = Duration::from_millis(25);

/// How long the user's code is waited for at the program's end, of which so much is left.
pub(crate) fn patience(within: Option<Duration>) -> Duration {
    within.map_or(PATIENCE, |within| within.clamp(LEAST, PATIENCE))
}

/// Where the program puts its events: under its lock, so in their order. Nothing waits here.
#[derive(Clone, Default)]
pub(crate) struct Feed {
    queues: Vec<Arc<Queue>>,
}

impl Feed {
    /// Nothing is made where nobody looks.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        let Some((last, others)) = self.queues.split_last() else { return };
        let event = event();
        others.iter().for_each(|queue| queue.put(event.clone()));
        last.put(event);
    }

    /// Tells those that have no thread of what came.
    pub(crate) fn tell_here(&self, program: &Arc<Program>) {
        for queue in &self.queues {
            while let Some((event, mut observer)) = queue.take_with_observer() {
                let told = tell(queue, &mut *observer, &event, program);
                if told.is_ok() && !matches!(event, Event::Ended(_)) {
                    queue.lock().observer = Some(observer);
                } else {
                    drop_quietly(observer);
                    queue.close();
                }
            }
        }
    }
}

/// The observers of a program, from before its start to after its end.
#[derive(Default)]
pub(crate) struct Observing {
    observers: Vec<Box<dyn Observer>>,
    feed: Feed,
}

/// The events that wait for one observer.
#[derive(Default)]
pub(super) struct Queue {
    name: String,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    events: VecDeque<Event>,
    /// One that the program's driver calls: it has no thread.
    observer: Option<Box<dyn Observer>>,
    /// It is told no more: it has seen the end or has panicked, and is dropped, or nobody waits for it
    /// any longer.
    over: bool,
    /// What it said when it panicked.
    panicked: Option<String>,
}

impl Observing {
    /// Nobody looks on.
    pub(crate) fn is_empty(&self) -> bool {
        self.feed.queues.is_empty()
    }

    pub(crate) fn add(&mut self, observer: impl Observer) {
        self.observers.push(Box::new(observer));
    }

    /// Has each make ready. An error ends the start.
    pub(crate) fn start(
        &mut self,
        inspector: &Inspector,
        stopper: &Stopper,
    ) -> Result<(), StartError> {
        for observer in &mut self.observers {
            let start = AssertUnwindSafe(|| observer.start(inspector, stopper));
            let error = match catch_unwind(start) {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error,
                Err(payload) => format!("it panicked: {}", take_message(payload)).into(),
            };
            return Err(StartError::observer(name_of(&**observer), error));
        }
        Ok(())
    }

    /// Starts their threads, and has the program tell them.
    pub(crate) fn open(&mut self, program: &Arc<Program>) -> Result<(), StartError> {
        for observer in self.observers.drain(..) {
            let queue = Arc::new(Queue { name: name_of(&*observer), ..Queue::default() });
            self.feed.queues.push(queue.clone());
            if program.is_hosted() {
                queue.lock().observer = Some(observer);
                continue;
            }
            let program = Arc::downgrade(program);
            let watches = move || watch(&queue, observer, &program);
            let started = thread::Builder::new().name("adjourn-observer".into()).spawn(watches);
            started.map_err(StartError::threads)?;
        }
        self.feed.tell(|| Event::Started);
        program.lock().feed = self.feed.clone();
        Ok(())
    }

    /// Tells all of the end and waits for them, for a while. Adds to the report who panicked and who
    /// was not done in time.
    pub(crate) fn end(self, program: &Arc<Program>, report: &mut Report, within: Option<Duration>) {
        self.feed.tell(|| Event::Ended(Arc::new(report.clone())));
        self.feed.tell_here(program);
        let end = Instant::now() + patience(within);
        let at = program.now();
        for queue in &self.feed.queues {
            let left = end.saturating_duration_since(Instant::now());
            let looks = |inner: &mut Inner| !inner.over;
            let waited = queue.changed.wait_timeout_while(queue.lock(), left, looks);
            let mut inner = waited.map_or_else(|poison| poison.into_inner().0, |(inner, _)| inner);
            let why = match inner.panicked.take() {
                Some(message) => format!("it panicked: {message}"),
                None if inner.over => continue,
                None => "it was not done with the end in time, and is left to itself".to_owned(),
            };
            drop(inner);
            let (kind, origin) = (FailureKind::Observer, queue.name.clone());
            let failure = Failure { at, kind, origin, messages: vec![why], fatal: false };
            program.fail_late(report, failure);
        }
    }
}

impl Drop for Observing {
    /// Nobody waits for them any longer.
    fn drop(&mut self) {
        self.feed.queues.iter().for_each(|queue| queue.close());
        self.observers.drain(..).for_each(drop_quietly);
    }
}

fn name_of(observer: &dyn Observer) -> String {
    catch_unwind(AssertUnwindSafe(|| observer.name())).unwrap_or_else(take_message)
}

/// The life of an observer's thread.
fn watch(queue: &Queue, mut observer: Box<dyn Observer>, program: &Weak<Program>) {
    let mut again = None;
    while let Some(event) = queue.next(again) {
        let Some(program) = program.upgrade() else { break };
        match tell(queue, &mut *observer, &event, &program) {
            Ok(_) if matches!(event, Event::Ended(_)) => break,
            Ok(span) => again = span.and_then(|span| Instant::now().checked_add(span)),
            Err(()) => break,
        }
    }
    // The program is let go of by now, and so is the observer: who waits for the end finds nothing of
    // either alive.
    drop_quietly(observer);
    queue.close();
}

/// Tells an observer of one event. An error: it has panicked.
fn tell(
    queue: &Queue,
    observer: &mut dyn Observer,
    event: &Event,
    program: &Arc<Program>,
) -> Result<Option<Duration>, ()> {
    let inspector = &program.inspector;
    let told = program.as_part(|| {
        catch_unwind(AssertUnwindSafe(|| observer.observe(event, inspector))).map_err(take_message)
    });
    told.map_err(|message| queue.lock().panicked = Some(message))
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, event: Event) {
        let mut inner = self.lock();
        if inner.over {
            return;
        }
        // The end is always told.
        if inner.events.len() < MOST || matches!(event, Event::Ended(_)) {
            inner.events.push_back(event);
        } else if let Some(Event::Lost(lost)) = inner.events.back_mut() {
            *lost += 1;
        } else {
            inner.events.push_back(Event::Lost(1));
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// Waits for an event, until `again` at the most; `None` once there are no more.
    pub(super) fn next(&self, again: Option<Instant>) -> Option<Event> {
        let mut inner = self.lock();
        loop {
            if inner.over {
                return None;
            }
            if let Some(event) = inner.events.pop_front() {
                return Some(event);
            }
            let Some(again) = again else {
                inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = again.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(Event::Again);
            }
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.map_or_else(|poison| poison.into_inner().0, |(inner, _)| inner);
        }
    }

    /// Takes an event, and the observer that has no thread to be told of it.
    fn take_with_observer(&self) -> Option<(Event, Box<dyn Observer>)> {
        let mut inner = self.lock();
        if inner.over || inner.events.is_empty() {
            return None;
        }
        let observer = inner.observer.take()?;
        Some((inner.events.pop_front()?, observer))
    }

    fn close(&self) {
        let mut inner = self.lock();
        inner.over = true;
        let rest = (mem::take(&mut inner.events), inner.observer.take());
        drop(inner);
        self.changed.notify_all();
        drop_quietly(rest);
    }
}
