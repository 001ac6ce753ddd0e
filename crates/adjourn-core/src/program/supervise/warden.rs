//! The thread that hears and keeps the time.
//!
//! See the invariants of [`supervise`](super).

use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::last_words::{Facts, Fixed};
use super::watch::{Inner, Teller, Watch};
use super::{STALL, echo, is_due, teller};
use crate::contract::error::forget_payload;
use crate::process::last;
use crate::process::signal::{self, Listener, Parker};

/// The name of its thread, which the teller keeps.
pub(super) const NAME: &str = "adjourn-warden";
/// How long the last words may take.
const WRITE: Duration = Duration::from_secs(1);

/// Hears and keeps the time until `run` returns, and a little longer where a repetition may come; or
/// until there is something to tell. Then another thread is the warden, and this one the teller.
pub(super) fn keep(watch: &Arc<Watch>, parker: &Arc<Parker>) {
    let mut inner = watch.lock();
    unblock(&inner);
    let mut stall = None;
    while !inner.over {
        if inner.given_back && !inner.let_go {
            let echoes = inner.echoes;
            drop(inner);
            leave_to_others(parker, echoes);
            inner = watch.lock();
            inner.let_go = true;
            watch.bell.notify_all();
            continue; // `run` may be over by now
        }
        inner.look_for_signals(watch);
        let now = Instant::now();
        let mut next = None;
        let limits = inner.limits(&watch.limits);
        for (index, at) in limits.into_iter().enumerate() {
            let due = at.is_some_and(|at| !inner.seen[index] && is_due(at, now, &mut next));
            inner.seen[index] |= due;
            inner.due[index] |= due;
        }
        if let (Some(armed), Some(begins), [false, _]) =
            (inner.armed, watch.narration.begins(), inner.narration)
        {
            inner.narration[0] = is_due(armed + begins, now, &mut next);
        }
        if watch.exits && inner.end(&watch.limits).is_some_and(|at| is_due(at, now, &mut next)) {
            end_process(watch, inner);
        }
        if let Some(driver) = inner.ask_driver(watch) {
            drop(inner);
            // Invariant 1. Were an executor to panic there, the deadline would be kept all the same.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| driver.wake())) {
                forget_payload(payload);
            }
            inner = watch.lock();
            continue;
        }
        stall = if watch.is_pending() { stall.or(now.checked_add(STALL)) } else { None };
        if stall.is_some_and(|at| is_due(at, now, &mut next)) {
            stall = None;
            watch.settle();
            inner.give_up_driver();
            inner.stalled |= inner.program.as_ref().is_some_and(|program| program.is_left_alone());
        }
        inner.waits_for = next;
        if inner.has_work() {
            match inner.teller {
                Teller::Waiting => watch.bell.notify_all(),
                Teller::Busy => {}
                Teller::Absent => {
                    inner.teller = Teller::Busy;
                    // As it was where `run` was called: this thread takes no more of these, and its
                    // successor begins so. Until that takes them they stay pending.
                    signal::block(inner.blocked);
                    drop(inner);
                    if succeed(watch, parker) {
                        return teller::run(watch);
                    }
                    unblock(&watch.lock());
                    // Late help is better than none.
                    if !teller::tell(watch) {
                        watch.lock().asleep = true;
                        parker.park(Some(teller::AGAIN));
                    }
                    inner = watch.lock();
                    inner.asleep = false;
                    inner.teller = Teller::Absent;
                    watch.bell.notify_all();
                    continue;
                }
            }
        }
        inner.asleep = true;
        drop(inner);
        parker.park(next.map(|next| next.saturating_duration_since(Instant::now())));
        inner = watch.lock();
        inner.asleep = false;
        inner.note_pause();
    }
    let echoes = inner.echoes;
    let listener = inner.listener.take();
    drop(inner);
    if let Some(listener) = listener.filter(Listener::hears_any) {
        leave_to_others(parker, echoes);
        echo::swallow(listener, parker, echoes);
    }
}

/// Takes the signals that the caller of `run` does not take.
fn unblock(inner: &Inner) {
    if let Some(listener) = inner.listener.as_ref().filter(|_| inner.blocked != 0) {
        listener.unblock();
    }
}

/// Takes no more signals than these: the others were given back, to whom the process had them.
fn leave_to_others(parker: &Parker, echoes: u64) {
    signal::block(!echoes);
    parker.keep_only(echoes);
}

/// Starts another warden, so that this thread can tell: it is awake, and a new one may have to wait for
/// its first turn. Until there is one, this thread runs nothing but its start.
fn succeed(watch: &Arc<Watch>, parker: &Arc<Parker>) -> bool {
    let (kept, parks) = (watch.clone(), parker.clone());
    let successor = start(move || keep(&kept, &parks));
    let there = successor.is_ok();
    watch.lock().successor = successor.ok();
    there
}

/// Starts a warden.
pub(super) fn start(keeps: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(NAME.to_owned()).spawn(keeps)
}

/// How many threads are on their way out for which nobody waits.
static LEAVING: AtomicUsize = AtomicUsize::new(0);
/// The most of them: a program that runs again and again on a busy machine would have as many as it runs,
/// and each has a pipe.
const MOST: usize = 2;

/// What a warden and `run` share of the end of that thread.
#[derive(Default)]
pub(super) struct Leaving(AtomicBool);

impl Leaving {
    /// Whether the thread, which has nothing left to do, may go by itself. It is counted until it has gone.
    pub(super) fn may_go_alone(&self) -> bool {
        let one_more = |count| (count < MOST).then_some(count + 1);
        let goes = LEAVING.fetch_update(SeqCst, SeqCst, one_more).is_ok();
        if goes {
            self.one_is_done();
        }
        goes
    }

    /// The second of the two takes the thread off the count.
    fn one_is_done(&self) {
        if self.0.swap(true, SeqCst) {
            LEAVING.fetch_sub(1, SeqCst);
        }
    }
}

/// Says at a thread's end that it has gone.
pub(super) struct Gone(pub(super) Arc<Watch>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.leaving.one_is_done();
    }
}

/// Ends the process with the report's code and, unless that is clean, the report on standard error.
fn end_process(watch: &Watch, mut inner: std::sync::MutexGuard<'_, Inner>) -> ! {
    inner.ending = true;
    let mut words = mem::take(&mut inner.last_words);
    let facts = Facts {
        stage: inner.stage,
        cause: inner.first_cause(),
        forced: inner.forced.map(|(_, signal)| signal),
        signals: inner.signals,
        alive: inner.program.as_ref().and_then(|program| program.count_alive()),
        paused: inner.paused,
    };
    drop(inner);
    watch.narration.erase();
    let words = words[usize::from(facts.forced.is_some())].take();
    let (code, raise) = match &words {
        Some(words) => {
            signal::write_stderr(words.text.as_bytes(), WRITE);
            (words.code, words.raise)
        }
        None => {
            let mut text = Fixed::new();
            facts.write(&mut text);
            signal::write_stderr(text.as_bytes(), WRITE);
            (facts.code(), watch.rules.raises(facts.forced.flatten().or(facts.cause)))
        }
    };
    if let Some(signal) = raise {
        signal::raise_default(signal);
        // Survived, as by the first process of a PID namespace.
        signal::exit_now(last::survived(signal).into());
    }
    signal::exit_now(code.into())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::contract::options::Options;
    use crate::phase::Limits;
    use crate::program::supervise::Rules;

    /// The warden leaves the signals to others without its lock, and `run` may be over meanwhile.
    #[test]
    fn a_warden_that_lets_go_of_signals_hears_that_run_is_over() {
        let long = Duration::from_secs(3_600);
        let limits = Limits { lame_duck: long, drain: long, cut_off: long, deadline: long };
        for round in 0..4_000_u32 {
            let rules = Rules::new(&Options::default(), false);
            let listener = Listener::new(&[]).unwrap();
            let parker = Arc::new(listener.parker());
            let watch = Arc::new(Watch::kept(limits, rules, listener, false));
            let kept = watch.clone();
            let warden = start(move || keep(&kept, &parker)).unwrap();
            while !watch.lock().asleep {
                thread::yield_now();
            }
            watch.give_back();
            watch.arm(); // as `on_report` does where no stop has begun, and each stop
            let wait = Instant::now() + Duration::from_nanos(u64::from(round % 200) * 500);
            while Instant::now() < wait {
                std::hint::spin_loop();
            }
            watch.finish();
            // One that has missed it waits for an hour; another may have to wait for its turn.
            let end = Instant::now() + Duration::from_secs(30);
            while !warden.is_finished() {
                assert!(Instant::now() < end, "it waits for a limit of a program that is over");
                thread::yield_now();
            }
        }
    }
}
