//! What the threads of a program share with its warden: when it was armed, what was heard. Who tells the
//! program of that is said in [`untold`](super::untold).
//!
//! One lock, the last that anybody takes: under it words are copied and system calls made that do
//! not wait. Nothing of the user's runs, no other lock of the program is taken.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::untold::Untold;
use super::warden::Leaving;
use super::{GRACE, Heard, LastWords, MARGIN, Rules, near_deadline};
use crate::contract::options::SecondInterrupt;
use crate::contract::report::Report;
use crate::phase::Limits;
use crate::process::signal::{self, Listener, Nudger, Signal};
use crate::program::narrate::Narration;
use crate::program::{Program, log};

/// How long an interrupt may wait for its reaction before the next one forces the end.
const UNANSWERED: Duration = Duration::from_millis(250);
/// A wait that took so much longer than it should have: the process did not run.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the warden may take to let go of signals. It does so at once, unless the machine is busy.
const LET_GO: Duration = Duration::from_secs(1);

/// What the calling thread is at, for the warden's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It builds the executor.
    Starting,
    Running,
    /// `on_report` has been called.
    Reporting,
}

/// Whether there is a teller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Teller {
    Absent,
    Waiting,
    Busy,
}

pub(crate) struct Watch {
    pub(super) limits: Limits,
    pub(crate) rules: Rules,
    pub(super) exits: bool,
    epoch: Instant,
    /// `None`: no thread keeps the time.
    nudger: Option<Nudger>,
    /// There is something to do that the executor may not come to.
    pub(super) pending: AtomicBool,
    /// Something was heard of which the program is to be told.
    pub(super) has_heard: AtomicBool,
    pub(crate) narration: Narration,
    pub(super) bell: Condvar,
    pub(super) leaving: Leaving,
    inner: Mutex<Inner>,
}

/// What is behind the lock.
pub(super) struct Inner {
    pub(super) listener: Option<Listener>,
    pub(super) stage: Stage,
    /// Set where the program can be told.
    pub(super) program: Option<Arc<Program>>,
    stopping: bool,
    /// When the stop began.
    pub(super) armed: Option<Instant>,
    /// The process is ended by others: since when that is known, and the spans that are left.
    leaves: Option<(Instant, Limits)>,
    /// The signal that asked for it.
    pub(super) cause: Option<Signal>,
    /// The first signal that came before the program was there, and when. What the user's handler will
    /// make of it nobody knows yet; until somebody does, the deadline counts from it.
    early: Option<(Instant, Signal)>,
    pub(super) forced: Option<(Instant, Option<Signal>)>,
    first_interrupt: Option<Duration>,
    /// Since when an interrupt waits for its reaction.
    unanswered: Option<Duration>,
    pub(super) untold: Untold,
    /// How many signals came.
    pub(super) signals: u64,
    /// Those that came since the stop began.
    pub(super) echoes: u64,
    /// Those that were blocked where `run` was called, and are so again once they are given back.
    pub(super) blocked: u64,
    pub(super) given_back: bool,
    /// The warden takes no others any more than the echoes.
    pub(super) let_go: bool,
    /// Which limits the teller has yet to tell: cut-off, near the deadline, deadline.
    pub(super) due: [bool; 3],
    /// Which the warden has seen come.
    pub(super) seen: [bool; 3],
    pub(super) stalled: bool,
    /// The stop takes so long that people are to be told; that they are.
    pub(super) narration: [bool; 2],
    /// What the service manager has not taken yet.
    pub(super) notice: Option<&'static str>,
    /// A signal that was taken over, to be said, and whether it was.
    pub(super) taken_over: Option<Signal>,
    looked: bool,
    pub(super) teller: Teller,
    /// The second warden. The first one is the teller then.
    pub(super) successor: Option<JoinHandle<()>>,
    /// What the warden waits for.
    pub(super) waits_for: Option<Instant>,
    /// The warden waits, or is about to and does not look again before. Who changes what it waits for
    /// wakes it, once. Else it comes to see the change by itself, and to wake it would be a system call
    /// and a turn of its thread for nothing.
    pub(super) asleep: bool,
    /// How long the process did not run, in its stop.
    pub(super) paused: Duration,
    /// Since when it runs again.
    pub(super) resumed: Option<Instant>,
    /// What is written should the deadline pass, and should the end be forced.
    pub(super) last_words: [Option<Box<LastWords>>; 2],
    /// `run` returns.
    pub(super) over: bool,
    /// The process is being ended.
    pub(super) ending: bool,
}

impl Watch {
    /// One without a thread: nobody keeps the time.
    pub(crate) fn new(limits: Limits, rules: Rules) -> Watch {
        Watch {
            limits,
            rules,
            exits: false,
            epoch: Instant::now(),
            nudger: None,
            pending: AtomicBool::new(false),
            has_heard: AtomicBool::new(false),
            narration: Narration::new(rules.mode),
            bell: Condvar::new(),
            leaving: Leaving::default(),
            inner: Mutex::new(Inner {
                listener: None,
                stage: Stage::Starting,
                program: None,
                stopping: false,
                armed: None,
                leaves: None,
                cause: None,
                early: None,
                forced: None,
                first_interrupt: None,
                unanswered: None,
                untold: Untold::new(),
                signals: 0,
                echoes: 0,
                blocked: 0,
                given_back: false,
                let_go: false,
                due: [false; 3],
                seen: [false; 3],
                stalled: false,
                narration: [false; 2],
                notice: None,
                taken_over: None,
                looked: false,
                teller: Teller::Absent,
                successor: None,
                waits_for: None,
                asleep: false,
                paused: Duration::ZERO,
                resumed: None,
                last_words: [None, None],
                over: false,
                ending: false,
            }),
        }
    }

    /// One whose time a warden keeps.
    pub(super) fn kept(limits: Limits, rules: Rules, listener: Listener, exits: bool) -> Watch {
        let mut watch = Watch::new(limits, rules);
        (watch.exits, watch.nudger) = (exits, Some(listener.nudger()));
        let mut inner = watch.lock();
        inner.blocked = listener.blocked();
        inner.listener = Some(listener);
        inner.untold = Untold::with_room();
        drop(inner);
        watch
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_kept(&self) -> bool {
        self.nudger.is_some()
    }

    /// Has the warden look at what was changed under the lock.
    fn wake(&self, mut inner: MutexGuard<'_, Inner>) {
        let asleep = mem::take(&mut inner.asleep);
        drop(inner);
        if let Some(nudger) = self.nudger.as_ref().filter(|_| asleep) {
            nudger.nudge();
        }
    }

    /// The time since the start of `run`, by the clock that keeps the deadline; `None` where no
    /// thread keeps it.
    pub(crate) fn elapsed(&self) -> Option<Duration> {
        self.is_kept().then(|| self.epoch.elapsed())
    }

    /// A stop has begun: its cut-off and deadline count from now, if they do not already.
    pub(crate) fn arm(&self) {
        let mut inner = self.lock();
        inner.stopping = true;
        if inner.armed.is_none() && self.is_kept() {
            inner.armed = Some(Instant::now());
            self.wake(inner);
        }
    }

    /// The same where there is something to do, as after [`pending`](Watch::pending).
    pub(crate) fn arm_pending(&self) {
        let pends = !self.pending.swap(true, SeqCst);
        let mut inner = self.lock();
        inner.stopping = true;
        let arms = inner.armed.is_none() && self.is_kept();
        if arms {
            inner.armed = Some(Instant::now());
        }
        if arms || pends {
            self.wake(inner);
        }
    }

    /// The process is ended by others after this span.
    pub(crate) fn ends_within(&self, span: Duration) {
        let end = Instant::now().checked_add(span);
        if let Some(end) = end.filter(|_| self.is_kept()) {
            let mut inner = self.lock();
            inner.ends_at(end);
            self.wake(inner);
        }
    }

    /// The end has been forced: `run` has to return at once.
    pub(crate) fn force(&self, signal: Signal) {
        if self.is_kept() {
            let mut inner = self.lock();
            inner.forced = inner.forced.or_else(|| Some((Instant::now(), Some(signal))));
            inner.stalled = true; // the teller renders what is known
            self.wake(inner);
        }
    }

    /// There is something to do: see to it that it is done, should the executor not come to it.
    pub(crate) fn pending(&self) {
        if !self.pending.swap(true, SeqCst) {
            self.wake(self.lock());
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(SeqCst)
    }

    /// Looks no longer at what may lie undone, until the next [`pending`](Watch::pending).
    pub(super) fn settle(&self) {
        self.pending.store(false, SeqCst);
    }

    /// Says what a signal means that came `count` times, and arms or forces if it does. `now` is the
    /// time since the start, by any one clock.
    pub(crate) fn hear(&self, now: Duration, signal: Signal, count: u64) -> Heard {
        let mut inner = self.lock();
        let heard = inner.hear(&self.rules, now, signal, count, None);
        if self.is_kept() {
            inner.act_on(heard);
            self.wake(inner);
        }
        heard
    }

    /// The user's handler has reacted to an interrupt.
    pub(crate) fn answered(&self) {
        self.lock().unanswered = None;
    }

    /// Takes over what came since the warden last looked.
    pub(super) fn look_for_signals(&self) {
        self.lock().look_for_signals(self);
    }

    /// Has the service manager told, once it can take that.
    pub(crate) fn tell_manager(&self, state: &'static str) {
        if self.is_kept() {
            let mut inner = self.lock();
            inner.notice = Some(state);
            self.wake(inner);
        }
    }

    /// Looks whether somebody has taken over a signal; says so once.
    pub(crate) fn look_for_others(&self) -> Option<Signal> {
        let mut inner = self.lock();
        inner.look_for_others();
        inner.taken_over.take()
    }

    pub(super) fn open(&self, program: &Arc<Program>) {
        let mut inner = self.lock();
        (inner.stage, inner.program) = (Stage::Running, Some(program.clone()));
        if inner.has_heard() || inner.armed.is_some() || self.is_pending() {
            self.wake(inner);
        }
    }

    /// Tells the program nothing more.
    pub(super) fn part(&self) -> Option<Arc<Program>> {
        self.lock().program.take()
    }

    pub(crate) fn program(&self) -> Option<Arc<Program>> {
        self.lock().program.clone()
    }

    /// How long the stop has lasted, and how much is left until its deadline; `None` of that where there
    /// is none.
    pub(crate) fn times(&self) -> Option<(Duration, Option<Duration>)> {
        let inner = self.lock();
        let [.., deadline] = inner.limits(&self.limits);
        let now = Instant::now();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
        Some((now.saturating_duration_since(inner.armed?), left))
    }

    /// Says what the next Ctrl-C does to a stop that goes on; `None` where it does nothing, or somebody
    /// else hears it.
    pub(crate) fn interrupt_hint(&self) -> Option<&'static str> {
        if !self.rules.hears_interrupt || self.rules.second_interrupt != SecondInterrupt::Force {
            return None;
        }
        match self.lock().first_interrupt {
            // As after SIGTERM: the first one only asks for what has begun.
            None => Some("Ctrl-C twice ends it now."),
            Some(first) if self.epoch.elapsed().saturating_sub(first) < self.rules.debounce => None,
            Some(_) => Some("Ctrl-C again ends it now."),
        }
    }

    pub(crate) fn paused(&self) -> Duration {
        let mut inner = self.lock();
        // Another thread may go on before the warden does.
        inner.note_pause();
        inner.paused
    }

    /// Keeps what is to be written should `run` not return in time.
    pub(super) fn set_last_words(&self, forced: bool, words: LastWords) {
        let words = Box::new(words);
        let mut inner = self.lock();
        let running = inner.stage == Stage::Running; // else there is a report that is better
        let old = running.then(|| inner.last_words[usize::from(forced)].replace(words));
        drop(inner);
        drop(old);
    }

    /// `on_report` is about to be called.
    pub(super) fn report(&self, report: &Report, raise: Option<Signal>) {
        self.arm();
        let stuck = LastWords::stuck_in("on_report has not returned", report.clone(), raise);
        let stuck = Box::new(stuck);
        // The program is over: a signal only hurries what is left.
        let forced = Box::new(LastWords::of(report, raise));
        let mut inner = self.lock();
        inner.stage = Stage::Reporting;
        let old = mem::replace(&mut inner.last_words, [Some(stuck), Some(forced)]);
        drop(inner);
        drop(old);
    }

    pub(super) fn left(&self) -> Option<Duration> {
        let inner = self.lock();
        if inner.forced.is_some() {
            return Some(Duration::ZERO);
        }
        let [.., deadline] = inner.limits(&self.limits);
        let left = deadline?.saturating_duration_since(Instant::now());
        Some(left - (left / 2).min(MARGIN))
    }

    pub(super) fn give_back(&self) {
        let mut inner = self.lock();
        if inner.given_back && !inner.listener.as_ref().is_some_and(Listener::hears_any) {
            return;
        }
        inner.look_for_signals(self);
        if inner.blocked & !inner.echoes != 0 {
            // The caller does not take these. Until the warden does not either, it would be their
            // default action's next victim.
            inner.given_back = true;
            self.wake(inner);
            inner = self.lock();
            let waits = |inner: &mut Inner| !inner.let_go;
            inner = match self.bell.wait_timeout_while(inner, LET_GO, waits) {
                Ok((inner, _)) => inner,
                Err(poison) => poison.into_inner().0,
            };
        }
        let echoes = inner.echoes;
        let mut listener = inner.listener.take();
        drop(inner); // the warden need not wait for so many system calls
        if let Some(listener) = &mut listener {
            listener.keep_only(echoes);
        }
        inner = self.lock();
        inner.listener = listener;
        // What came meanwhile.
        inner.look_for_signals(self);
        inner.given_back = true;
        if inner.has_heard() {
            self.wake(inner);
        }
    }

    /// `run` returns. Gives the signals back, all that is to be given back of the listener: what is left of
    /// it, its pipe, is the warden's until that is gone. Returns whether the warden stays for a while to
    /// swallow repetitions.
    pub(super) fn finish(&self) -> bool {
        self.give_back();
        let mut inner = self.lock();
        while inner.ending {
            // The warden writes the report and ends the process: nothing may come between.
            inner = self.bell.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.over = true;
        let stays = inner.listener.as_ref().is_some_and(Listener::hears_any);
        let words = mem::take(&mut inner.last_words);
        self.bell.notify_all();
        // What the teller is at is mostly over soon. Where it is not, it is left to itself.
        let busy = |inner: &mut Inner| inner.teller != Teller::Absent;
        drop(match self.bell.wait_timeout_while(inner, MARGIN, busy) {
            Ok((inner, _)) => inner,
            Err(poison) => poison.into_inner().0,
        });
        log::finish_saying(MARGIN);
        self.wake(self.lock());
        drop(words);
        stays
    }

    /// Returns the second warden, if there is one, and whether the teller has ended.
    pub(super) fn threads(&self) -> (Option<JoinHandle<()>>, bool) {
        let mut inner = self.lock();
        (inner.successor.take(), inner.teller == Teller::Absent)
    }
}

impl Inner {
    /// The pure part: what a signal means. One for which the system ends the process stops the program
    /// whoever else is asked.
    fn hear(
        &mut self,
        rules: &Rules,
        now: Duration,
        signal: Signal,
        count: u64,
        ends: Option<Instant>,
    ) -> Heard {
        let mut heard = Heard { signal, count, fresh: count, stops: false, forces: false, ends };
        if rules.dumps & signal.bit() != 0 {
            return Heard { fresh: 0, ..heard };
        }
        if signal == Signal::INTERRUPT {
            heard.fresh = 0;
            for times in [1, count].into_iter().take(count.min(2) as usize) {
                match self.first_interrupt {
                    None => self.first_interrupt = Some(now),
                    // The same keystroke, forwarded by a parent.
                    Some(first) if now.saturating_sub(first) < rules.debounce => break,
                    Some(_) => {
                        // The one before it, of the same wait, has yet to ask for the stop.
                        let asks = heard.fresh > 0 && !rules.hands_over;
                        let waits = |since| now.saturating_sub(since) >= UNANSWERED;
                        let stops = asks || self.stopping || self.unanswered.is_some_and(waits);
                        if stops && rules.second_interrupt == SecondInterrupt::Force {
                            (heard.fresh, heard.stops, heard.forces) = (0, asks, true);
                            return heard;
                        }
                    }
                }
                heard.fresh = times;
            }
            if rules.hands_over && heard.fresh > 0 {
                self.unanswered = self.unanswered.or(Some(now));
            }
        }
        heard.stops = ends.is_some() || heard.fresh > 0 && !rules.hands_over;
        heard
    }

    /// Arms and forces. This is what comes first.
    fn act_on(&mut self, heard: Heard) {
        if heard.fresh > 0 && self.stage == Stage::Starting {
            self.early = self.early.or_else(|| Some((Instant::now(), heard.signal)));
        }
        if heard.stops && self.armed.is_none() {
            (self.armed, self.cause) = (Some(Instant::now()), Some(heard.signal));
            self.stopping = true;
        }
        if let Some(end) = heard.ends {
            self.ends_at(end);
        }
        if heard.forces && self.forced.is_none() {
            self.forced = Some((Instant::now(), Some(heard.signal)));
        }
        self.signals += heard.count;
        if self.armed.is_some() {
            self.echoes |= heard.signal.bit();
        }
    }

    fn ends_at(&mut self, end: Instant) {
        let known = |(from, limits): &(Instant, Limits)| from.checked_add(limits.deadline);
        if self.leaves.as_ref().and_then(known).is_none_or(|known| end < known) {
            let now = Instant::now();
            let span = end.saturating_duration_since(now);
            self.leaves = Some((now, Limits::before_the_end(span)));
        }
    }

    /// Hears what came since the last time.
    pub(super) fn look_for_signals(&mut self, watch: &Watch) {
        let Some(mut listener) = self.listener.take() else { return };
        listener.look(|signal, count| self.receive(watch, signal, count));
        self.listener = Some(listener);
        self.look_for_others_once_heard();
    }

    fn receive(&mut self, watch: &Watch, signal: Signal, count: u64) {
        let ends = signal::ends_at(signal);
        let heard = self.hear(&watch.rules, watch.epoch.elapsed(), signal, count, ends);
        self.act_on(heard);
        self.untold.note(heard);
        watch.has_heard.store(true, SeqCst);
    }

    /// Whoever hears a signal looks: the stop may be over, and the signals given back, before another
    /// thread comes to it.
    fn look_for_others_once_heard(&mut self) {
        if self.has_heard() {
            self.look_for_others();
        }
    }

    fn look_for_others(&mut self) {
        if self.looked || self.over {
            return;
        }
        self.taken_over = self.listener.as_ref().and_then(Listener::taken_over);
        self.looked = self.taken_over.is_some();
    }

    /// Notes that the process did not run when the warden should have.
    pub(super) fn note_pause(&mut self) {
        let now = Instant::now();
        let late = self.waits_for.map(|at| now.saturating_duration_since(at));
        let counts = self.armed.is_some() || self.early().is_some();
        if let Some(late) = late.filter(|late| *late >= PAUSE && counts) {
            self.paused = self.paused.saturating_add(late);
            (self.resumed, self.waits_for) = (Some(now), None);
        }
    }

    /// The first signal of a start that is not over: the deadline counts from it.
    fn early(&self) -> Option<(Instant, Signal)> {
        self.early.filter(|_| self.stage == Stage::Starting)
    }

    /// The signal that the deadline counts from, if it was one.
    pub(super) fn first_cause(&self) -> Option<Signal> {
        let early = self.early().filter(|_| self.armed.is_none());
        self.cause.or(early.map(|(_, signal)| signal))
    }

    /// When the limits come that the program is told of.
    pub(super) fn limits(&self, limits: &Limits) -> [Option<Instant>; 3] {
        let Some(armed) = self.armed else { return [None; 3] };
        let spans = |limits: &Limits| [limits.cut_off, near_deadline(limits), limits.deadline];
        let mut all = spans(limits).map(|span| armed.checked_add(span));
        if let Some((from, left)) = &self.leaves {
            for (at, span) in all.iter_mut().zip(spans(left)) {
                *at = [*at, from.checked_add(span)].into_iter().flatten().min();
            }
        }
        all
    }

    /// When the process is ended, should `run` not have returned.
    pub(super) fn end(&self, limits: &Limits) -> Option<Instant> {
        let [.., deadline] = self.limits(limits);
        let early = self.early().and_then(|(at, _)| at.checked_add(limits.deadline));
        let forced = self.forced.map(|(at, _)| at);
        let end = [deadline, early, forced].into_iter().flatten().min()?;
        // A process that was paused past it gets the same grace from when it goes on.
        let from = self.resumed.map_or(end, |resumed| end.max(resumed));
        from.checked_add(GRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::options::Options;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn limits() -> Limits {
        let [lame_duck, drain] = [Duration::ZERO; 2];
        Limits { lame_duck, drain, cut_off: ms(90_000), deadline: ms(100_000) }
    }

    fn kept(hands_over: bool) -> Watch {
        let rules = Rules::new(&Options::default(), hands_over);
        Watch::kept(limits(), rules, Listener::new(&[]).unwrap(), false)
    }

    fn forces(watch: &Watch, at: u64) -> bool {
        watch.hear(ms(at), Signal::INTERRUPT, 1).forces
    }

    #[test]
    fn a_signal_arms_and_a_second_interrupt_forces_whoever_is_told() {
        let watch = kept(false);
        assert_eq!(watch.left(), None, "no stop has begun");
        let before = Instant::now();
        assert!(watch.hear(ms(0), Signal::INTERRUPT, 1).stops);
        let armed = watch.lock().armed.expect("it is armed");
        assert_eq!(watch.lock().cause, Some(Signal::INTERRUPT));
        assert!(!forces(&watch, 100), "the same keystroke");
        watch.arm();
        assert_eq!(watch.lock().armed, Some(armed), "it counts from the first");
        let end = watch.lock().end(&limits()).unwrap();
        assert!(end >= before + limits().deadline + GRACE);
        let (left, most) = (watch.left().unwrap(), limits().deadline - MARGIN);
        assert!(left <= most && left + before.elapsed() >= most, "{left:?}");
        assert!(forces(&watch, 300));
        assert_eq!(watch.left(), Some(Duration::ZERO));
        let end = watch.lock().end(&limits()).unwrap();
        assert!(end <= Instant::now() + GRACE && end >= before + GRACE);
    }

    #[test]
    fn who_only_looks_for_signals_takes_no_nudge_from_the_warden() {
        let watch = kept(false);
        watch.lock().asleep = true;
        watch.arm();
        watch.look_for_signals();
        watch.give_back();
        let listener = watch.lock().listener.take().expect("it is there");
        listener.parker().park(None); // it would wait for ever
        assert!(listener.take_nudge(), "the warden has yet to hear of the deadline");
    }

    #[test]
    fn a_warden_that_waits_is_woken_once_by_who_changes_what_it_waits_for() {
        let terminate = |watch: &Watch| _ = watch.hear(ms(0), Signal::TERMINATE, 1);
        let changes: [&dyn Fn(&Watch); 6] = [
            &|watch| watch.arm(),
            &|watch| watch.ends_within(ms(1)),
            &|watch| watch.force(Signal::INTERRUPT),
            &|watch| watch.pending(),
            &|watch| watch.tell_manager("READY=1"),
            &terminate,
        ];
        let nudged = |watch: &Watch| {
            let inner = watch.lock();
            inner.listener.as_ref().is_some_and(Listener::take_nudge)
        };
        for (index, change) in changes.into_iter().enumerate() {
            let watch = kept(false);
            change(&watch);
            assert!(!nudged(&watch), "{index}: it looks before it waits");
            let watch = kept(false);
            watch.lock().asleep = true;
            change(&watch);
            assert!(nudged(&watch), "{index}: it waits");
            watch.tell_manager("STOPPING=1");
            assert!(!nudged(&watch), "{index}: it is on its way");
        }
    }

    /// The warden does not come to run before the signals are given back.
    #[cfg(unix)]
    #[test]
    fn a_signal_that_was_taken_over_is_seen_by_whoever_hears_another() {
        let [heard, taken] = [50, 51].map(|number| Signal::from_raw(number).unwrap());
        let rules = Rules::new(&Options::default(), false);
        let watch = Watch::kept(limits(), rules, Listener::new(&[heard, taken]).unwrap(), false);
        signal::take_over(taken);
        let kill = format!("kill -{} {}", heard.as_raw(), std::process::id());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        while !watch.lock().has_heard() {
            watch.look_for_signals();
        }
        watch.give_back();
        assert_eq!(watch.look_for_others(), Some(taken));
        assert_eq!(watch.look_for_others(), None, "it is said once");
    }

    #[test]
    fn a_second_interrupt_forces_where_the_first_waits_for_its_reaction() {
        let watch = kept(true);
        let first = watch.hear(ms(0), Signal::INTERRUPT, 1);
        assert_eq!((first.fresh, first.stops, first.forces), (1, false, false));
        assert_eq!(watch.left(), None, "it is the handler's");
        watch.answered();
        assert!(!forces(&watch, 1_000), "the first was reacted to");
        assert!(!forces(&watch, 1_249), "the second has a while");
        assert!(forces(&watch, 1_250));
    }

    #[test]
    fn a_stop_wakes_the_warden_once_for_its_limits_and_for_what_is_to_be_done() {
        fn wakes(watch: &Watch, what: impl FnOnce(&Watch)) -> bool {
            watch.lock().asleep = true;
            what(watch);
            !watch.lock().asleep
        }
        let watch = kept(false);
        assert!(wakes(&watch, Watch::arm_pending));
        assert!(watch.lock().armed.is_some() && watch.is_pending());
        assert!(!wakes(&watch, Watch::pending), "it looks at that by itself");
        let watch = kept(false);
        assert!(wakes(&watch, Watch::arm), "as a signal does");
        assert!(wakes(&watch, Watch::arm_pending), "what is to be done may be left alone");
        assert!(!wakes(&watch, Watch::arm_pending));
    }

    #[test]
    fn a_signal_before_the_program_is_there_has_a_deadline_until_it_is() {
        let watch = kept(true);
        let before = Instant::now();
        watch.hear(ms(0), Signal::TERMINATE, 1);
        let end = |watch: &Watch| watch.lock().end(&limits());
        let first = end(&watch).expect("the start must not hang for ever");
        assert!(first >= before + limits().deadline + GRACE);
        watch.hear(ms(1), Signal::HANGUP, 1);
        assert_eq!(end(&watch), Some(first), "it counts from the first");
        assert_eq!(watch.lock().first_cause(), Some(Signal::TERMINATE));
        assert_eq!((watch.left(), watch.lock().armed), (None, None), "no stop has begun");
        watch.lock().stage = Stage::Running;
        assert_eq!(end(&watch), None, "from here on it is the handler's");
        assert_eq!(watch.lock().first_cause(), None, "which may pass over it");
        watch.hear(ms(2), Signal::TERMINATE, 1);
        assert_eq!(end(&watch), None);
        watch.arm();
        assert!(end(&watch) > Some(first));
        assert_eq!(watch.lock().first_cause(), None, "it was the handler that asked");
    }

    #[test]
    fn a_process_that_is_ended_brings_the_deadline_forward() {
        let watch = kept(false);
        watch.ends_within(ms(10_000));
        assert_eq!(watch.lock().limits(&limits()), [None; 3], "no stop has begun");
        let before = Instant::now();
        watch.arm();
        let [cut_off, near, deadline] = watch.lock().limits(&limits()).map(Option::unwrap);
        assert!(cut_off <= before + ms(9_200) && cut_off < near && near < deadline);
        assert!(deadline <= before + ms(10_000) && watch.left().unwrap() < ms(10_000));
        watch.ends_within(ms(60_000));
        assert_eq!(watch.lock().limits(&limits())[2], Some(deadline), "it comes no later");
        watch.ends_within(ms(5_000));
        assert!(watch.lock().end(&limits()).unwrap() < deadline, "of a stop that has begun");
        watch.ends_within(Duration::MAX);
        assert!(watch.left().unwrap() < ms(5_000));
    }

    #[test]
    fn a_signal_for_which_the_process_is_ended_stops_whoever_is_asked() {
        let watch = kept(true);
        let rules = watch.rules;
        let mut inner = watch.lock();
        let end = Instant::now() + ms(4_000);
        let heard = inner.hear(&rules, ms(0), Signal::HANGUP, 1, Some(end));
        assert_eq!((heard.fresh, heard.stops, heard.forces), (1, true, false));
        inner.act_on(heard);
        let [.., deadline] = inner.limits(&limits());
        assert!(inner.armed.is_some() && deadline.unwrap() <= end);
        inner.untold.note(heard);
        inner.untold.note(Heard { ends: None, ..heard });
        drop(inner);
        assert_eq!(watch.next_heard().and_then(|heard| heard.ends), Some(end));
        assert_eq!(watch.next_heard(), None, "both are of one kind");
    }

    #[test]
    fn what_is_heard_in_the_stop_may_be_repeated_after_it() {
        let watch = kept(true);
        watch.hear(ms(0), Signal::HANGUP, 1);
        assert_eq!(watch.lock().echoes, 0, "no stop has begun");
        watch.arm();
        watch.hear(ms(1), Signal::TERMINATE, 1);
        assert_eq!(watch.lock().echoes, Signal::TERMINATE.bit());
    }

    #[test]
    fn a_wait_that_took_far_too_long_was_a_pause_and_the_end_is_put_off() {
        let short = Limits { cut_off: ms(0), deadline: ms(0), ..limits() };
        let watch = kept(false);
        let long_ago = Instant::now().checked_sub(ms(3_000)).expect("the machine is up longer");
        watch.lock().waits_for = Some(long_ago);
        assert_eq!(watch.paused(), Duration::ZERO, "not in a stop");
        watch.lock().armed = Some(long_ago);
        let end = watch.lock().end(&short).unwrap();
        assert_eq!(end, long_ago + GRACE);
        let paused = watch.paused();
        assert!(paused >= ms(3_000));
        assert_eq!(watch.paused(), paused, "it counts once");
        let end = watch.lock().end(&short).unwrap();
        assert!(end >= long_ago + paused + GRACE, "who goes on has the same grace");
    }
}
