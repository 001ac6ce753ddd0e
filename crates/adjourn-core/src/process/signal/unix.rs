//! Who listens: slots that the handler reads, and the registry behind them. How a listener waits is said in
//! [`parking`](super::parking).
//!
//! # Invariants
//!
//! 1. Slots are changed under the registry's lock; the handler takes no lock and reads them at any
//!    time. What a slot says is therefore written in this order: `since` set, handlers installed, unread
//!    counts cleared, levels and descriptor set, `hears` last; and unregistering clears `hears` first.
//! 2. A signal is heard by who listened when its handler began, and by no later listener. A handler that
//!    is at a slot is counted there, in `busy`, and nobody gets that slot before it is done: it may count
//!    and write one byte. (A new slot is made meanwhile, if no other is free.) One that comes to a slot later
//!    finds that it began before `since`.
//! 3. The handler counts, then writes; who waits empties the pipe once it is woken, then looks at the
//!    counts. So a count that was not seen has its byte still to come, and poll(2) is level-triggered. A
//!    pipe that is full has bytes in it, so a byte that does not fit is not missed.
//! 4. Before a slot is used the handler asks whether this process owns it: a forked child has copies
//!    of slots whose pipes are its parent's.
//! 5. Handlers are installed before `hears` is set: a signal between the two finds no listener and
//!    does what it would have done without us. `hears` is cleared before they are removed, and
//!    `LEAVING` is set around both: a signal between those two is dropped with the listener, as is
//!    one whose handler begins so late that it finds the default put back.
//!
//! All orderings are SeqCst.

use super::parking::{Parking, Pipe};
use super::sys::{self, Action, Disposition};
use super::{Kind, Signal, SignalError, set_of};
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(super) use super::parking::{Nudger, Parker};

pub(super) mod number {
    pub(in super::super) use libc::{
        SIGHUP as HUP, SIGINT as INT, SIGQUIT as QUIT, SIGTERM as TERM, SIGUSR1 as USR1,
        SIGUSR2 as USR2,
    };

    macro_rules! names {
        ($($name:ident)*) => { &[$((libc::$name, stringify!($name))),*] };
    }

    pub(in super::super) const NAMES: &[(i32, &str)] = names![
        SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2
        SIGPIPE SIGALRM SIGTERM SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU
        SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO SIGSYS
    ];
}

/// What `run` listens to by default.
pub(super) const DEFAULTS: &[Signal] = &[Signal::INTERRUPT, Signal::TERMINATE];

/// How many listeners of signals there can be at once.
const SLOTS: usize = 128;

/// What the handler knows of one listener.
struct Slot {
    /// It is somebody's. Set under the registry's lock, and cleared without it, when its listener is gone:
    /// for a thread on its way out, which a fork may catch there.
    taken: AtomicBool,
    /// The set of its signals.
    hears: AtomicU64,
    /// How many handlers are at it.
    busy: AtomicU32,
    /// The first signal that is for this listener, by its sequence number.
    since: AtomicU64,
    /// Where the handler writes.
    fd: AtomicI32,
    /// For each signal, the level at which it is heard.
    levels: [AtomicU8; Signal::HIGHEST as usize],
    /// For each signal, what came since the last wait: the sequence number of the first in the upper
    /// half, how many in the lower. One word, so that both change at once.
    unread: [AtomicU64; Signal::HIGHEST as usize],
}

static TABLE: [Slot; SLOTS] = [const {
    Slot {
        taken: AtomicBool::new(false),
        hears: AtomicU64::new(0),
        busy: AtomicU32::new(0),
        since: AtomicU64::new(0),
        fd: AtomicI32::new(-1),
        levels: [const { AtomicU8::new(0) }; Signal::HIGHEST as usize],
        unread: [const { AtomicU64::new(0) }; Signal::HIGHEST as usize],
    }
}; SLOTS];

/// The process whose listeners the table holds.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// The signals whose last listener goes just now: it hears no more, and the previous action is not
/// back yet. One that comes in between is the listener's, unheard; it has no default action.
static LEAVING: AtomicU64 = AtomicU64::new(0);

/// The signals that somebody took over while their last listener did no more than swallow: for them it
/// was gone already, so that there is no default action below their handler.
static PASSED: AtomicU64 = AtomicU64::new(0);

/// Numbers the signals in the order in which their handlers began. It never comes round, as its lower half does.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

impl Slot {
    fn unread(&self, signal: Signal) -> &AtomicU64 {
        &self.unread[index(signal)]
    }

    fn level(&self, signal: Signal) -> &AtomicU8 {
        &self.levels[index(signal)]
    }

    fn hears_at(&self, signal: Signal, level: usize) -> bool {
        self.hears.load(SeqCst) & signal.bit() != 0
            && usize::from(self.level(signal).load(SeqCst)) == level
    }

    /// Hears these signals no more. `detach` puts back what was there before: until it has, one that
    /// comes is still the listener's.
    fn leave(&self, signals: u64, detach: impl FnOnce()) {
        LEAVING.store(signals, SeqCst);
        self.hears.fetch_and(!signals, SeqCst);
        detach();
        LEAVING.store(0, SeqCst);
    }

    /// Tells the listener, if it listened when the signal came. Called by the handler.
    fn tell(&self, signal: Signal, sequence: u64) {
        let held = Held::new(self);
        // Looked at again: from here on the slot stays its listener's, or nobody's.
        let hears = self.hears.load(SeqCst) & signal.bit() != 0;
        if hears && sequence >= self.since.load(SeqCst) {
            held.count(signal, sequence as u32);
        }
    }
}

/// A slot that nobody gets meanwhile.
struct Held<'a>(&'a Slot);

impl Held<'_> {
    fn new(slot: &Slot) -> Held<'_> {
        slot.busy.fetch_add(1, SeqCst);
        Held(slot)
    }

    /// Counts one arrival and wakes the listener.
    fn count(&self, signal: Signal, sequence: u32) {
        // It loops only when another arrival was counted meanwhile, so the process as a whole gets on.
        let _ = self.0.unread(signal).fetch_update(SeqCst, SeqCst, |unread| match unread as u32 {
            0 => Some(u64::from(sequence) << 32 | 1),
            u32::MAX => None,
            _ => Some(unread + 1),
        });
        let _ = sys::write(self.0.fd.load(SeqCst), &[0]);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, SeqCst);
    }
}

/// Whether the handler of this level was called by somebody for whom there was nothing below.
pub(super) fn is_passed(signal: Signal, level: usize) -> bool {
    let on_top = || sys::current(signal).map(|action| action.disposition());
    PASSED.load(SeqCst) & signal.bit() != 0
        && !matches!(on_top(), Ok(Disposition::Ours(top)) if top == level)
}

/// Has the calling thread take the signals of this set no more.
pub(super) fn block(set: u64) {
    sys::block(true, set_of(set));
}

fn index(signal: Signal) -> usize {
    signal.bit().trailing_zeros() as usize
}

/// The handler's part, at one level: counts the signal for those who listen there; says whether
/// anybody listens at all, so that there is no default action. Async-signal-safe.
pub(super) fn hear(signal: Signal, level: usize) -> bool {
    let sequence = SEQUENCE.fetch_add(1, SeqCst); // first: whoever listens from now on does not hear this one
    if OWNER.load(SeqCst) != process::id() {
        return false; // Invariant 4.
    }
    hear_as(signal, level, sequence)
}

/// The same of a signal that has its number.
fn hear_as(signal: Signal, level: usize, sequence: u64) -> bool {
    let (mut here, mut elsewhere) = (false, false);
    for slot in TABLE.iter().filter(|slot| slot.hears.load(SeqCst) & signal.bit() != 0) {
        if usize::from(slot.level(signal).load(SeqCst)) == level {
            slot.tell(signal, sequence);
            here = true;
        } else {
            elsewhere = true;
        }
    }
    // A foreign handler that went away by putting us back may have taken a level above with it. If we
    // are what the kernel called, and nothing is below, no other level is reached by this delivery.
    if elsewhere && sys::is_lowest(signal, level) {
        let top = sys::current(signal).map(|action| action.disposition());
        if matches!(top, Ok(Disposition::Ours(top)) if top == level) {
            for slot in TABLE.iter().filter(|slot| slot.hears.load(SeqCst) & signal.bit() != 0) {
                if usize::from(slot.level(signal).load(SeqCst)) != level {
                    slot.tell(signal, sequence);
                }
            }
        }
    }
    here || elsewhere || LEAVING.load(SeqCst) & signal.bit() != 0
}

/// Everything about listeners that the handler need not know.
struct Registry {
    owner: u32,
    /// Each slot's pipe, once it has had one.
    pipes: Vec<Arc<Pipe>>,
    /// By signal and level: what was replaced when the level was last installed.
    previous: BTreeMap<(Signal, usize), Action>,
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { owner: 0, pipes: Vec::new(), previous: BTreeMap::new() });

impl Registry {
    fn lock() -> MutexGuard<'static, Registry> {
        let mut registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
        let process = process::id();
        if registry.owner != process {
            // First use, or the first in a forked child: the slots are the parent's, and so are the
            // pipes, which close here once the parent's listeners are dropped here. Handlers and what
            // they replaced are inherited and stay true.
            for slot in &TABLE {
                slot.taken.store(false, SeqCst);
                slot.hears.store(0, SeqCst);
                slot.busy.store(0, SeqCst);
                slot.fd.store(-1, SeqCst);
            }
            LEAVING.store(0, SeqCst);
            registry.pipes.clear();
            registry.owner = process;
            OWNER.store(process, SeqCst);
        }
        registry
    }

    fn take_slot(&mut self) -> Result<usize, SignalError> {
        let is_free = |slot: &Slot| !slot.taken.load(SeqCst) && slot.busy.load(SeqCst) == 0;
        let free = TABLE.iter().take(self.pipes.len()).position(is_free);
        let slot = match free {
            Some(slot) => slot,
            None if self.pipes.len() == SLOTS => {
                return Err(SignalError(Kind::TooManyListeners(SLOTS)));
            }
            None => {
                self.pipes.push(Pipe::new()?);
                self.pipes.len() - 1
            }
        };
        TABLE[slot].taken.store(true, SeqCst);
        // Before a handler is installed for it: what that is called for is the listener's.
        TABLE[slot].since.store(SEQUENCE.load(SeqCst), SeqCst);
        Ok(slot)
    }

    /// Sees to it that our handler is on top; returns its level. `None`: an ignored SIGHUP.
    fn attach(&mut self, signal: Signal) -> Result<Option<usize>, SignalError> {
        let refused = |source| SignalError(Kind::Refused(signal, source));
        loop {
            let current = sys::current(signal).map_err(refused)?;
            let disposition = current.disposition();
            match disposition {
                Disposition::Ours(level) => return Ok(Some(level)),
                Disposition::Ignore if signal == Signal::HANGUP => return Ok(None),
                _ => {}
            }
            let level = sys::level_over(signal, &current)
                .ok_or(SignalError(Kind::TooManyLayers(signal)))?;
            let replaced = sys::install(signal, level, &current).map_err(refused)?;
            if replaced.disposition() == disposition {
                self.previous.insert((signal, level), replaced);
                return Ok(Some(level));
            }
            // Another thread came in between with an action of its own: ours is over the wrong one. (As
            // there is no compare-and-exchange for dispositions, a third change right now is undone.)
            sys::put_back(signal, &replaced).map_err(refused)?;
        }
    }

    /// Puts the previous disposition back if our handler is on top and of no more use there.
    fn detach(&self, signal: Signal) {
        let Ok(Disposition::Ours(level)) = sys::current(signal).map(|now| now.disposition()) else {
            return;
        };
        // The lowest level hears for all: see `hear`.
        let used = TABLE.iter().any(|slot| {
            if sys::is_lowest(signal, level) {
                slot.hears.load(SeqCst) & signal.bit() != 0
            } else {
                slot.hears_at(signal, level)
            }
        });
        let (false, Some(previous)) = (used, self.previous.get(&(signal, level))) else {
            return;
        };
        if let Ok(replaced) = sys::put_back(signal, previous) {
            if replaced.disposition() != Disposition::Ours(level) {
                // Another thread came in between, and what it saved is us: leave it on top.
                let _ = sys::put_back(signal, &replaced);
            }
        }
    }
}

/// Arrivals taken out of a slot.
#[derive(Debug)]
struct Unread {
    signal: Signal,
    first: u32,
    count: u64,
    /// Everything that came before it has been taken out too.
    ordered: bool,
}

#[derive(Debug)]
pub(super) struct Listener {
    parking: Arc<Parking>,
    signals: Vec<Signal>,
    /// `None`: it only parks.
    slot: Option<usize>,
    unread: Vec<Unread>,
}

impl Listener {
    pub(super) fn new(wanted: &[Signal]) -> Result<Listener, SignalError> {
        for signal in wanted {
            match signal.as_raw() {
                libc::SIGKILL | libc::SIGSTOP => {
                    return Err(SignalError(Kind::Uncatchable(*signal)));
                }
                number if sys::FAULTS.contains(&number) => {
                    return Err(SignalError(Kind::Fault(*signal)));
                }
                _ => {}
            }
        }
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(Listener::over(Pipe::new()?, Vec::new(), None));
        }

        let mut registry = Registry::lock();
        let number = registry.take_slot()?;
        let slot = &TABLE[number];
        let mut signals = Vec::with_capacity(wanted.len());
        for signal in wanted {
            match registry.attach(signal) {
                Ok(Some(level)) => {
                    slot.unread(signal).store(0, SeqCst);
                    slot.level(signal).store(level as u8, SeqCst);
                    signals.push(signal);
                }
                Ok(None) => {}
                Err(error) => {
                    signals.into_iter().for_each(|signal| registry.detach(signal));
                    slot.taken.store(false, SeqCst);
                    return Err(error);
                }
            }
        }
        let pipe = Arc::clone(&registry.pipes[number]);
        slot.fd.store(pipe.write.as_raw_fd(), SeqCst);
        slot.hears.store(signals.iter().fold(0, |set, signal| set | signal.bit()), SeqCst);
        Ok(Listener::over(pipe, signals, Some(number)))
    }

    fn over(pipe: Arc<Pipe>, signals: Vec<Signal>, slot: Option<usize>) -> Listener {
        let parking = Arc::new(Parking::new(pipe));
        // Room for each of them: nothing is allocated to take signals.
        let unread = Vec::with_capacity(signals.len());
        Listener { parking, signals, slot, unread }
    }

    pub(super) fn nudger(&self) -> Nudger {
        Nudger(Arc::clone(&self.parking))
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Vec<(Signal, u64)> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let mut received = Vec::new();
            let nudged = self.take_nudge();
            self.look(|signal, count| received.push((signal, count)));
            if nudged || !received.is_empty() {
                return received;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return received;
            }
            self.parking.park(left);
        }
    }

    pub(super) fn parker(&self) -> Parker {
        let signals = self.signals.iter().fold(0, |set, signal| set | signal.bit());
        Parker::new(Arc::clone(&self.parking), signals)
    }

    /// Whether a nudge came since the last call.
    pub(super) fn take_nudge(&self) -> bool {
        self.parking.take_nudge()
    }

    /// Gives what came since the last call, oldest first. Neither waits nor allocates. Who parks is still
    /// woken, by what this takes and by every nudge.
    pub(super) fn look(&mut self, mut received: impl FnMut(Signal, u64)) {
        if !self.parking.is_ours() {
            return;
        }
        self.take_unread();
        self.give(&mut received);
        if !self.unread.is_empty() {
            // It came too late to be put in order; whatever is before it is seen now.
            self.take_unread();
            self.give(&mut received);
        }
    }

    /// Moves what the handler counted from the slot to `unread`.
    fn take_unread(&mut self) {
        let Some(slot) = self.slot.map(|slot| &TABLE[slot]) else {
            return;
        };
        // Whatever began before this moment is seen below; something later may be seen while something
        // that came before it, of a kind already looked at, is not. That one waits for the next round.
        let horizon = SEQUENCE.load(SeqCst) as u32;
        self.unread.iter_mut().for_each(|unread| unread.ordered = true);
        for &signal in &self.signals {
            let taken = slot.unread(signal).swap(0, SeqCst);
            let (first, count) = ((taken >> 32) as u32, u64::from(taken as u32));
            if count == 0 {
                continue;
            }
            match self.unread.iter_mut().find(|unread| unread.signal == signal) {
                Some(unread) => unread.count += count,
                None => {
                    let ordered = is_before(first, horizon);
                    self.unread.push(Unread { signal, first, count, ordered });
                }
            }
        }
    }

    fn give(&mut self, received: &mut impl FnMut(Signal, u64)) {
        let horizon = SEQUENCE.load(SeqCst) as u32;
        // By age, oldest first; right also when the sequence has wrapped around.
        self.unread.sort_unstable_by_key(|unread| unread.first.wrapping_sub(horizon));
        let ordered = self.unread.iter().filter(|unread| unread.ordered);
        ordered.for_each(|unread| received(unread.signal, unread.count));
        self.unread.retain(|unread| !unread.ordered);
    }

    /// Returns those that the calling thread does not take.
    pub(super) fn blocked(&self) -> u64 {
        sys::blocked(self.signals.iter().copied())
    }

    /// Lets the calling thread take the signals, whatever mask it inherited.
    pub(super) fn unblock(&self) {
        sys::block(false, self.signals.iter().copied());
    }

    /// Whether it still listens to any.
    pub(super) fn hears_any(&self) -> bool {
        !self.signals.is_empty()
    }

    /// Whoever has installed a handler over ours meanwhile keeps it: what is below does nothing.
    pub(super) fn pass_over(&self) {
        for signal in self.signals.iter().filter(|_| self.parking.is_ours()) {
            let now = sys::current(*signal).map(|action| action.disposition());
            if matches!(now, Ok(Disposition::Foreign { .. })) {
                PASSED.fetch_or(signal.bit(), SeqCst);
            }
        }
    }

    /// Gives all signals back but those in this set.
    pub(super) fn keep_only(&mut self, kept: u64) {
        // In a forked child there is nothing to give back: its handlers find no owner and chain.
        let Some(number) = self.slot.filter(|_| self.parking.is_ours()) else {
            return;
        };
        if self.signals.iter().all(|signal| signal.bit() & kept != 0) {
            return;
        }
        let registry = Registry::lock();
        let slot = &TABLE[number];
        let hears = slot.hears.load(SeqCst);
        // Under the lock, so that one listener leaves at a time.
        slot.leave(hears & !kept, || {
            let given_back = self.signals.iter().filter(|signal| signal.bit() & kept == 0);
            given_back.for_each(|signal| registry.detach(*signal));
        });
        self.signals.retain(|signal| signal.bit() & kept != 0);
    }

    /// Returns a signal that does something else now than to come to us, and will not be passed on.
    pub(super) fn taken_over(&self) -> Option<Signal> {
        let taken_over = |signal: &Signal| {
            let now = sys::current(*signal).map(|action| action.disposition());
            match now {
                Ok(Disposition::Default | Disposition::Ignore) => true,
                // Whoever passes a signal on needs what comes with it.
                Ok(Disposition::Foreign { siginfo, .. }) => !siginfo,
                Ok(Disposition::Ours(_)) | Err(_) => false,
            }
        };
        self.signals.iter().copied().filter(|_| self.parking.is_ours()).find(taken_over)
    }
}

fn is_before(sequence: u32, horizon: u32) -> bool {
    (sequence.wrapping_sub(horizon) as i32) < 0
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.keep_only(0);
        if let Some(number) = self.slot.filter(|_| self.parking.is_ours()) {
            TABLE[number].taken.store(false, SeqCst);
        }
    }
}

pub(super) fn ignored(signal: Signal) -> bool {
    sys::current(signal).is_ok_and(|action| action.disposition() == Disposition::Ignore)
}

pub(super) fn grace(_: Signal) -> Option<Duration> {
    None
}

/// No signal says that the process is ended after it: who sends SIGKILL has a time of his own in mind.
pub(super) fn ends_at(_: Signal) -> Option<Instant> {
    None
}

pub(super) fn raise_default(signal: Signal) {
    sys::raise_default(signal);
}

pub(super) fn stderr_width() -> Option<usize> {
    sys::columns(libc::STDERR_FILENO)
}

pub(super) fn exit_now(code: i32) -> ! {
    sys::exit_now(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_number_is_before_another_past_the_wrap_too() {
        for (sequence, horizon, before) in
            [(4, 5, true), (5, 5, false), (6, 5, false), (u32::MAX, 0, true), (0, u32::MAX, false)]
        {
            assert_eq!(is_before(sequence, horizon), before, "{sequence} and {horizon}");
        }
    }

    #[test]
    fn what_comes_while_signals_are_taken_wakes_again() {
        let number = Registry::lock().take_slot().unwrap();
        let (slot, signal) = (&TABLE[number], Signal::USER1);
        let pipe = Pipe::new().unwrap();
        slot.fd.store(pipe.write.as_raw_fd(), SeqCst);
        let mut listener = Listener::over(pipe, vec![signal], Some(number));
        let arrives =
            || Held::new(slot).count(signal, (SEQUENCE.load(SeqCst) as u32).wrapping_sub(1));
        arrives();
        listener.parking.park(None);
        let mut taken = 0;
        listener.look(|_, count| {
            taken += count;
            arrives();
        });
        let readable = listener.parking.poll(Some(Duration::ZERO));
        assert_eq!((taken, readable.unwrap()), (1, libc::POLLIN));
        listener.look(|_, count| taken += count);
        assert_eq!(taken, 2);
        slot.fd.store(-1, SeqCst);
    }

    #[test]
    fn who_only_looks_leaves_the_wakes_to_who_waits() {
        let number = Registry::lock().take_slot().unwrap();
        let (slot, signal) = (&TABLE[number], Signal::USER1);
        let pipe = Pipe::new().unwrap();
        slot.fd.store(pipe.write.as_raw_fd(), SeqCst);
        let mut listener = Listener::over(pipe, vec![signal], Some(number));
        listener.nudger().nudge();
        Held::new(slot).count(signal, (SEQUENCE.load(SeqCst) as u32).wrapping_sub(1));
        let mut taken = 0;
        listener.look(|_, count| taken += count);
        let readable = listener.parking.poll(Some(Duration::ZERO));
        assert_eq!((taken, readable.unwrap()), (1, libc::POLLIN));
        assert!(listener.take_nudge(), "it is kept");
        listener.parking.park(None);
        let readable = listener.parking.poll(Some(Duration::ZERO));
        assert_eq!(readable.unwrap(), 0, "what woke it wakes it once");
        slot.fd.store(-1, SeqCst);
    }

    #[test]
    fn a_signal_that_comes_while_its_listener_leaves_is_the_listeners() {
        // Nobody else listens to it; no handler is installed.
        let mut registry = Registry::lock(); // held: one leaves at a time
        let number = registry.take_slot().unwrap();
        let (slot, signal) = (&TABLE[number], Signal::from_raw(libc::SIGIO).unwrap());
        slot.level(signal).store(0, SeqCst);
        slot.hears.store(signal.bit(), SeqCst);
        assert!(hear(signal, 0));
        slot.leave(signal.bit(), || assert!(hear(signal, 0), "not heard, and not given back yet"));
        assert!(!hear(signal, 0));
        slot.unread(signal).store(0, SeqCst);
        drop(registry);
    }

    #[test]
    fn a_signal_that_came_before_a_listener_is_not_for_it() {
        // By default it does nothing, and nobody else listens to it.
        let signal = Signal::from_raw(libc::SIGWINCH).unwrap();
        // A handler has begun, for a listener that is gone by now, and does not come to run.
        let earlier = SEQUENCE.fetch_add(1, SeqCst);
        let mut listener = Listener::new(&[signal]).unwrap();
        let level = TABLE[listener.slot.unwrap()].level(signal).load(SeqCst).into();
        assert!(hear_as(signal, level, earlier), "it has no default action either");
        listener.look(|_, count| panic!("heard {count} times"));
        assert!(hear(signal, level));
        let mut heard = 0;
        listener.look(|_, count| heard += count);
        assert_eq!(heard, 1);
    }

    #[test]
    fn a_signal_that_comes_while_its_listener_is_made_is_for_it() {
        let signal = Signal::from_raw(libc::SIGCHLD).unwrap();
        let mut registry = Registry::lock();
        let slot = &TABLE[registry.take_slot().unwrap()];
        // Its handler is installed by now, and begins.
        let sequence = SEQUENCE.fetch_add(1, SeqCst);
        slot.tell(signal, sequence);
        assert_eq!(slot.unread(signal).load(SeqCst), 0, "nobody has it yet");
        slot.hears.store(signal.bit(), SeqCst);
        slot.tell(signal, sequence);
        assert_eq!(slot.unread(signal).swap(0, SeqCst) as u32, 1);
        slot.hears.store(0, SeqCst);
        slot.taken.store(false, SeqCst);
        drop(registry);
    }

    #[test]
    fn nobody_gets_a_slot_at_which_a_handler_is() {
        let signal = Signal::from_raw(libc::SIGURG).unwrap();
        let listener = Listener::new(&[signal]).unwrap();
        let number = listener.slot.unwrap();
        let held = Held::new(&TABLE[number]);
        drop(listener);
        let mut registry = Registry::lock();
        let next = registry.take_slot().unwrap();
        assert!(next != number);
        drop(held);
        TABLE[next].taken.store(false, SeqCst);
    }

    #[test]
    fn what_waits_for_its_turn_is_counted_with_what_comes_after() {
        let number = Registry::lock().take_slot().unwrap();
        let (slot, signal) = (&TABLE[number], Signal::USER2);
        let pipe = Pipe::new().unwrap();
        let mut listener = Listener::over(pipe, vec![signal], Some(number));
        let ahead = (SEQUENCE.load(SeqCst) as u32).wrapping_add(1_000);
        Held::new(slot).count(signal, ahead);
        Held::new(slot).count(signal, ahead + 1);
        let received = |listener: &mut Listener| {
            let mut received = Vec::new();
            listener.give(&mut |signal, count| received.push((signal, count)));
            received
        };
        listener.take_unread();
        assert!(received(&mut listener).is_empty(), "something before it may not be seen yet");
        Held::new(slot).count(signal, ahead + 2);
        Held::new(slot).count(signal, ahead + 3);
        Held::new(slot).count(signal, ahead + 4);
        listener.take_unread();
        assert_eq!(received(&mut listener), [(signal, 5)]);

        let before = u64::from((SEQUENCE.load(SeqCst) as u32).wrapping_sub(1));
        slot.unread(signal).store(before << 32 | u64::from(u32::MAX), SeqCst);
        Held::new(slot).count(signal, ahead);
        listener.take_unread();
        assert_eq!(received(&mut listener), [(signal, u64::from(u32::MAX))], "no more are counted");
    }
}
