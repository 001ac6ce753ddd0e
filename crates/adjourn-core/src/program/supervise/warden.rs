//! The thread that hears and keeps the time.
//!
//! See the invariants of [`supervise`](super).

use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::last_words::{Facts, Fixed};
use super::watch::{Inner, Teller, Watch};
use super::{STALL, is_due, teller};
use crate::process::last;
use crate::process::signal::{self, Parker};

/// How long the last words may take.
const WRITE: Duration = Duration::from_secs(1);

/// Hears and keeps the time until `run` returns, and a little longer where a repetition may come.
pub(super) fn keep(watch: &Arc<Watch>, parker: &Parker) {
    let mut inner = watch.lock();
    if let Some(listener) = &inner.listener {
        listener.unblock();
    }
    let mut stall = None;
    while !inner.over {
        inner.take_signals(watch);
        let now = Instant::now();
        let mut next = None;
        let limits = inner.limits(&watch.limits);
        for (index, at) in limits.into_iter().enumerate() {
            let due = at.is_some_and(|at| !inner.seen[index] && is_due(at, now, &mut next));
            inner.seen[index] |= due;
            inner.due[index] |= due;
        }
        if watch.exits && inner.end(&watch.limits).is_some_and(|at| is_due(at, now, &mut next)) {
            end_process(watch, inner);
        }
        stall = if watch.is_pending() { stall.or(now.checked_add(STALL)) } else { None };
        if stall.is_some_and(|at| is_due(at, now, &mut next)) {
            stall = None;
            watch.settle();
            inner.stalled |= inner.program.as_ref().is_some_and(|program| program.is_left_alone());
        }
        inner.waits_for = next;
        drop(hand_over(watch, inner));
        parker.park(next.map(|next| next.saturating_duration_since(Instant::now())));
        inner = watch.lock();
        inner.note_pause();
    }
    drop(inner);
    swallow(watch, parker);
}

/// Sees to it that the teller does what there is to do; where there can be none, does it here.
fn hand_over<'a>(
    watch: &'a Arc<Watch>,
    mut inner: std::sync::MutexGuard<'a, Inner>,
) -> std::sync::MutexGuard<'a, Inner> {
    if !inner.has_work() {
        return inner;
    }
    match inner.teller {
        Teller::Waiting => watch.bell.notify_all(),
        Teller::Busy => {}
        Teller::Absent => {
            inner.teller = Teller::Busy;
            drop(inner);
            let thread = thread::Builder::new().name("adjourn-teller".to_owned());
            let told = watch.clone();
            let started = thread.spawn(move || teller::run(&told)).is_ok();
            if !started {
                teller::tell(watch);
            }
            inner = watch.lock();
            if !started {
                inner.teller = Teller::Absent;
            }
        }
    }
    inner
}

/// Listens for a while to the signals that were heard in the stop, and does nothing with them.
fn swallow(watch: &Watch, parker: &Parker) {
    let mut listener = watch.lock().listener.take();
    let Some(end) = Instant::now().checked_add(watch.echo()).filter(|_| listener.is_some()) else {
        return;
    };
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return; // dropping the listener gives the signals back
        }
        parker.park(Some(left));
        if let Some(listener) = &mut listener {
            listener.take(|_, _| ());
        }
    }
}

/// Ends the process with the report's code and, unless that is clean, the report on standard error.
fn end_process(watch: &Watch, mut inner: std::sync::MutexGuard<'_, Inner>) -> ! {
    inner.ending = true;
    let mut words = mem::take(&mut inner.last_words);
    let facts = Facts {
        stage: inner.stage,
        cause: inner.cause,
        forced: inner.forced.map(|(_, signal)| signal),
        signals: inner.signals,
        alive: inner.program.as_ref().and_then(|program| program.count_alive()),
        paused: inner.paused,
    };
    drop(inner);
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
