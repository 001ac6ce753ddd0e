//! Console events: what Windows has in place of signals; and where there is neither, parking alone.
//!
//! | event | signal | what the system does next |
//! |---|---|---|
//! | Ctrl-C | `SIGINT` | nothing |
//! | Ctrl-Break | `SIGBREAK` | nothing |
//! | the console is closed | `SIGHUP` | ends the process after 5 s, or when a handler returns TRUE |
//! | log-off, shutdown | `SIGTERM` | the same |
//!
//! Source: the documentation of `HandlerRoutine` and `SetConsoleCtrlHandler`. A service, in session 0,
//! goes on when a user logs off. Shutdown comes to services alone, and to containers, which are stopped
//! by it: the system's default would end them in the middle of their work, so they hear it as well as
//! the control code that the service manager sends.
//!
//! # Invariants
//!
//! 1. There is one handler for the life of the process. It passes on what nobody listens to, so with the
//!    last listener gone everything is as before. It is never removed: the system holds the lock of its
//!    list while a handler runs, and ours does not return from an event that ends the process, so that
//!    to remove it then would block.
//! 2. The system calls it on a thread that it starts for each event, so it may lock and allocate. None
//!    of the locks that it takes is held around a call into the system's list of handlers.
//! 3. It does not return from an event after which the system ends the process. What the system leaves
//!    of its time is the program's, and the exit code is that of `main`, whose return ends the process
//!    first: a handler that returned would end it in the middle of that.
//! 4. Such an event is not over: who begins to listen after it hears it at once.
//! 5. Any other event is heard by none but who listened when its handler began: a handler takes a number
//!    before it waits for the registry, and a listener says from which number on it listens. What nobody
//!    listened for then is nobody's: it is for who listens when its handler gets the registry, or the
//!    system's.
//! 6. An event that was somebody's is not passed on, though nobody listens by the time that its handler
//!    gets the registry: it is dropped, or invariant 3 holds for it.
//! 7. A listener is in the registry before the handler is installed for it: no event comes between.
//!
//! What cannot be had here, and can on Unix: a handler that is installed later and returns TRUE hides
//! the event from ours. A child in a process group of its own is not told of Ctrl-C (it ignores it from
//! its start, and that cannot be asked); Ctrl-Break comes to it. A process that attaches, makes or frees
//! a console loses its handlers. Whether ours is there cannot be asked, and to take it out and put it in
//! again could block: invariant 1.
//!
//! All but [`sys`] is plain std, and tested on every system.

#[cfg(not(windows))]
#[path = "console/nothing.rs"]
mod sys;
#[cfg(windows)]
#[path = "console/sys.rs"]
mod sys;

use super::{Kind, Signal, SignalError};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

pub(super) mod number {
    // The C library's where it has one, Linux's else, so that reports read the same.
    pub(in super::super) const HUP: i32 = 1;
    pub(in super::super) const INT: i32 = 2;
    pub(in super::super) const QUIT: i32 = 3;
    pub(in super::super) const USR1: i32 = 10;
    pub(in super::super) const USR2: i32 = 12;
    pub(in super::super) const TERM: i32 = 15;
    pub(in super::super) const BREAK: i32 = 21;
    pub(in super::super) const NAMES: &[(i32, &str)] = &[
        (HUP, "SIGHUP"),
        (INT, "SIGINT"),
        (QUIT, "SIGQUIT"),
        (USR1, "SIGUSR1"),
        (USR2, "SIGUSR2"),
        (TERM, "SIGTERM"),
        (BREAK, "SIGBREAK"),
    ];
}

/// What `run` listens to by default: all that there is.
pub(super) const DEFAULTS: &[Signal] = sys::HEARD;

/// The system waits 5 s (`HungAppTimeout`, `WaitToKillTimeout`); one of them is for the last words and
/// for what comes after `run`.
const GRACE: Duration = Duration::from_secs(4);

/// A console event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "made on Windows and in tests")]
enum Event {
    CtrlC,
    CtrlBreak,
    Close,
    LogOff,
    Shutdown,
}

impl Event {
    fn signal(self) -> Signal {
        Signal(match self {
            Event::CtrlC => number::INT,
            Event::CtrlBreak => number::BREAK,
            Event::Close => number::HUP,
            Event::LogOff | Event::Shutdown => number::TERM,
        })
    }
}

/// Whether the system ends the process after what came as this signal.
fn is_last(signal: Signal) -> bool {
    matches!(signal.0, number::HUP | number::TERM)
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nobody listens: it is the next handler's, at last the system's.
    PassedOn,
    /// It was heard, or whoever it was for is gone.
    Heard,
    /// It was somebody's, and the process ends.
    Last,
}

/// The events that come, and who listens.
struct Console {
    /// Numbers the events in the order in which their handlers began.
    sequence: AtomicU64,
    registry: Mutex<Registry>,
}

static CONSOLE: Console = Console::new();

impl Console {
    const fn new() -> Console {
        Console { sequence: AtomicU64::new(0), registry: Mutex::new(Registry::new()) }
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, event: Event, now: Instant, is_service: impl Fn() -> bool) -> Fate {
        // First, before it may wait: what is somebody's is not for who listens from now on.
        let number = self.sequence.fetch_add(1, SeqCst);
        self.lock().hear(event, number, now, is_service)
    }

    /// Who shares this parking hears the events from now on, for which the handler is to be installed.
    fn listen(
        &self,
        signals: u64,
        parking: &Arc<Parking>,
        install: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        self.lock().add(&self.sequence, signals, parking);
        let installed = install();
        if installed.is_err() {
            self.keep_only(parking, 0);
        }
        installed
    }

    fn keep_only(&self, parking: &Arc<Parking>, kept: u64) {
        self.lock().keep_only(&self.sequence, parking, kept);
    }
}

/// A listener.
struct Entry {
    /// The set of its signals.
    signals: u64,
    /// The number of the first event that is for it.
    since: u64,
    parking: Arc<Parking>,
}

struct Registry {
    listeners: Vec<Entry>,
    /// For each signal, the number of the first event since somebody gave it back.
    left: [u64; Signal::HIGHEST as usize],
    /// What came after which the process ends, and was somebody's: each signal once.
    last: Vec<(Signal, Instant)>,
}

fn index(signal: Signal) -> usize {
    signal.bit().trailing_zeros() as usize
}

impl Registry {
    const fn new() -> Registry {
        let left = [0; Signal::HIGHEST as usize];
        Registry { listeners: Vec::new(), left, last: Vec::new() }
    }

    fn hear(
        &mut self,
        event: Event,
        number: u64,
        now: Instant,
        is_service: impl Fn() -> bool,
    ) -> Fate {
        let signal = event.signal();
        let hears = |entry: &&Entry| entry.signals & signal.bit() != 0;
        let heard_then = |entry: &Entry| entry.since <= number;
        let mut listeners = self.listeners.iter().filter(hears).peekable();
        let was_somebodys = number < self.left[index(signal)] || listeners.clone().any(heard_then);
        let is_somebodys = was_somebodys || listeners.peek().is_some();
        if !is_somebodys || event == Event::LogOff && is_service() {
            return Fate::PassedOn;
        }
        // Invariants 4 and 5: what ends the process is for all, and so is what was nobody's.
        let is_for_all = is_last(signal) || !was_somebodys;
        let is_for = |entry: &&Entry| is_for_all || heard_then(entry);
        listeners.filter(is_for).for_each(|entry| entry.parking.count(signal));
        if !is_last(signal) {
            return Fate::Heard;
        }
        if self.last.iter().all(|(one, _)| *one != signal) {
            self.last.push((signal, now));
        }
        Fate::Last
    }

    /// Its numbers are taken here, under the lock.
    fn add(&mut self, sequence: &AtomicU64, signals: u64, parking: &Arc<Parking>) {
        let heard = self.last.iter().filter(|(last, _)| signals & last.bit() != 0);
        heard.for_each(|(last, _)| parking.count(*last)); // invariant 4
        let (since, parking) = (sequence.load(SeqCst), Arc::clone(parking));
        self.listeners.push(Entry { signals, since, parking });
    }

    fn keep_only(&mut self, sequence: &AtomicU64, parking: &Arc<Parking>, kept: u64) {
        let mut given_back = 0;
        for entry in self.listeners.iter_mut().filter(|entry| Arc::ptr_eq(&entry.parking, parking))
        {
            given_back |= entry.signals & !kept;
            entry.signals &= kept;
        }
        self.listeners.retain(|entry| entry.signals != 0);
        for signal in (1..=Signal::HIGHEST).map(Signal) {
            if given_back & signal.bit() != 0 {
                self.left[index(signal)] = sequence.load(SeqCst);
            }
        }
    }

    fn ends_at(&self, signal: Signal) -> Option<Instant> {
        let first = self.last.iter().map(|(_, arrived)| *arrived).min();
        first.filter(|_| is_last(signal))?.checked_add(GRACE)
    }
}

/// The handler's part. Says whether the event is handled.
#[allow(dead_code, reason = "called on Windows")]
fn hear(event: Event) -> bool {
    // Let go of the registry first: who waits here for the end must not keep others from theirs.
    let fate = CONSOLE.hear(event, Instant::now(), sys::is_service);
    match fate {
        Fate::PassedOn => false,
        Fate::Heard => true,
        Fate::Last => loop {
            thread::park(); // invariant 3
        },
    }
}

/// What a listener shares with those who wake it.
#[derive(Debug)]
struct Parking {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// There is something that whoever parks has not been woken for.
    woken: bool,
    nudged: bool,
    /// What came, first come first. Has room for each signal from the start.
    unread: Vec<(Signal, u64)>,
}

impl Parking {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        state.woken = true;
        change(&mut state);
        drop(state);
        self.changed.notify_all();
    }

    fn count(&self, signal: Signal) {
        self.change(|state| match state.unread.iter_mut().find(|(one, _)| *one == signal) {
            Some((_, count)) => *count += 1,
            None => state.unread.push((signal, 1)),
        });
    }
}

#[derive(Debug)]
pub(super) struct Listener {
    parking: Arc<Parking>,
    signals: u64,
    /// The other half of `unread`, so that nothing is allocated to take signals.
    taken: Vec<(Signal, u64)>,
}

impl Listener {
    pub(super) fn new(signals: &[Signal]) -> Result<Listener, SignalError> {
        if let Some(signal) = signals.iter().find(|signal| !sys::HEARD.contains(signal)) {
            return Err(SignalError(Kind::Unsupported(*signal)));
        }
        let listener = Listener::over(signals);
        if let Some(signal) = signals.first() {
            let listens = CONSOLE.listen(listener.signals, &listener.parking, install);
            listens.map_err(|source| SignalError(Kind::Refused(*signal, source)))?;
        }
        Ok(listener)
    }

    fn over(signals: &[Signal]) -> Listener {
        let room = || Vec::with_capacity(signals.len());
        let state = Mutex::new(State { woken: false, nudged: false, unread: room() });
        Listener {
            parking: Arc::new(Parking { state, changed: Condvar::new() }),
            signals: signals.iter().fold(0, |set, signal| set | signal.bit()),
            taken: room(),
        }
    }

    pub(super) fn nudger(&self) -> Nudger {
        Nudger(Arc::clone(&self.parking))
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Vec<(Signal, u64)> {
        let mut received = Vec::new();
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let nudged = self.take_nudge();
            self.look(|signal, count| received.push((signal, count)));
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if nudged || !received.is_empty() || left.is_some_and(|left| left.is_zero()) {
                return received;
            }
            self.parker().park(left);
        }
    }

    pub(super) fn parker(&self) -> Parker {
        Parker(Arc::clone(&self.parking))
    }

    /// Whether a nudge came since the last call.
    pub(super) fn take_nudge(&self) -> bool {
        std::mem::take(&mut self.parking.lock().nudged)
    }

    /// For any thread: who parks is woken all the same.
    pub(super) fn look(&mut self, mut received: impl FnMut(Signal, u64)) {
        std::mem::swap(&mut self.parking.lock().unread, &mut self.taken);
        self.taken.drain(..).for_each(|(signal, count)| received(signal, count));
    }

    /// There is no mask: the system has threads of its own for its events.
    pub(super) fn blocked(&self) -> u64 {
        0
    }

    pub(super) fn unblock(&self) {}

    pub(super) fn hears_any(&self) -> bool {
        self.signals != 0
    }

    /// Others' handlers stand above or below ours, not on it.
    pub(super) fn pass_over(&self) {}

    pub(super) fn keep_only(&mut self, kept: u64) {
        self.signals &= kept;
        CONSOLE.keep_only(&self.parking, kept);
    }

    /// It cannot be seen who hides an event.
    pub(super) fn taken_over(&self) -> Option<Signal> {
        None
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.keep_only(0);
    }
}

/// Has the system call the handler: once, invariant 1.
fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    // The handler does not take this lock: invariant 2.
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*installed {
        sys::install()?;
        *installed = true;
    }
    Ok(())
}

#[derive(Clone, Debug)]
pub(super) struct Parker(Arc<Parking>);

impl Parker {
    pub(super) fn keep_only(&self, _: u64) {}

    pub(super) fn park(&self, timeout: Option<Duration>) {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.0.lock();
        while !state.woken {
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3600),
            };
            if left.is_zero() {
                break;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.woken = false;
    }
}

#[derive(Clone, Debug)]
pub(super) struct Nudger(Arc<Parking>);

impl Nudger {
    pub(super) fn nudge(&self) {
        self.0.change(|state| state.nudged = true);
    }
}

pub(super) fn ignored(_: Signal) -> bool {
    false
}

pub(super) fn block(_: u64) {}

pub(super) fn grace(signal: Signal) -> Option<Duration> {
    (sys::HEARD.contains(&signal) && is_last(signal)).then_some(GRACE)
}

pub(super) fn ends_at(signal: Signal) -> Option<Instant> {
    CONSOLE.lock().ends_at(signal)
}

/// Ends the process as the system's own handler does, with its code, where it knows the event.
pub(super) fn raise_default(signal: Signal) {
    /// `STATUS_CONTROL_C_EXIT`: a batch file asks whether to go on after it.
    const CONTROL_C_EXIT: i32 = 0xC000_013A_u32 as i32;
    if sys::HEARD.contains(&signal) {
        sys::exit_now(CONTROL_C_EXIT);
    }
}

/// On a thread of its own, since nobody can be asked first: a console in which somebody marks text, or
/// a pipe that is full, holds up whoever writes. A writer that is held up is left to itself.
pub(super) fn write_stderr(bytes: &[u8], within: Duration) -> bool {
    let (done, is_done) = mpsc::channel();
    let bytes = bytes.to_vec();
    let writer = thread::Builder::new().name("adjourn-report".to_owned());
    let writer = writer.spawn(move || _ = done.send(sys::write_stderr(&bytes)));
    writer.is_ok() && is_done.recv_timeout(within).unwrap_or(false)
}

pub(super) fn stderr_width() -> Option<usize> {
    sys::stderr_width()
}

pub(super) fn exit_now(code: i32) -> ! {
    sys::exit_now(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Event; 5] =
        [Event::CtrlC, Event::CtrlBreak, Event::Close, Event::LogOff, Event::Shutdown];

    fn received(listener: &mut Listener) -> Vec<(i32, u64)> {
        let mut received = Vec::new();
        listener.look(|signal, count| received.push((signal.0, count)));
        received
    }

    fn listening(console: &Console, numbers: &[i32]) -> Listener {
        let signals: Vec<_> = numbers.iter().copied().map(Signal).collect();
        let listener = Listener::over(&signals);
        console.listen(listener.signals, &listener.parking, || Ok(())).unwrap();
        listener
    }

    /// An event whose handler has its number, and does not come to run before `meanwhile` is over.
    fn late(console: &Console, event: Event, meanwhile: impl FnOnce(&mut Registry)) -> Fate {
        let (number, start) = (console.sequence.load(SeqCst), Instant::now());
        thread::scope(|scope| {
            let mut registry = console.lock();
            let handler = scope.spawn(|| console.hear(event, Instant::now(), || false));
            while console.sequence.load(SeqCst) == number {
                assert!(start.elapsed() < Duration::from_secs(60), "it waits without a number");
                thread::yield_now();
            }
            meanwhile(&mut registry);
            drop(registry);
            handler.join().unwrap()
        })
    }

    #[test]
    fn a_handler_that_waits_for_the_end_holds_nobody_else_up() {
        let mut listener = Listener::over(&[Signal(number::HUP)]);
        CONSOLE.listen(listener.signals, &listener.parking, || Ok(())).unwrap();
        // It is left there, as on Windows.
        thread::spawn(|| hear(Event::Close));
        let came = listener.wait(Some(Duration::from_secs(60)));
        assert_eq!(came, [(Signal(number::HUP), 1)]);
        let (let_go, is_let_go) = mpsc::channel();
        thread::spawn(move || {
            drop(listener); // takes the registry
            _ = let_go.send(());
        });
        is_let_go.recv_timeout(Duration::from_secs(60)).expect("the handler holds the registry");
        CONSOLE.lock().last.clear(); // for the other tests
    }

    #[test]
    fn each_event_is_a_signal_and_what_nobody_hears_is_passed_on() {
        for (event, number, fate) in [
            (Event::CtrlC, number::INT, Fate::Heard),
            (Event::CtrlBreak, number::BREAK, Fate::Heard),
            (Event::Close, number::HUP, Fate::Last),
            (Event::LogOff, number::TERM, Fate::Last),
            (Event::Shutdown, number::TERM, Fate::Last),
        ] {
            let console = Console::new();
            let now = Instant::now();
            assert_eq!(console.hear(event, now, || false), Fate::PassedOn);
            let mut other = listening(&console, &[number::USR1]);
            assert_eq!(console.hear(event, now, || false), Fate::PassedOn);
            assert_eq!(console.lock().ends_at(Signal(number)), None, "nobody heard it");
            let mut listeners = [0, 1].map(|_| listening(&console, &[number]));
            assert_eq!(console.hear(event, now, || false), fate);
            assert_eq!(console.hear(event, now + GRACE, || false), fate);
            for listener in &mut listeners {
                assert_eq!(received(listener), [(number, 2)]);
                assert_eq!(received(listener), []);
            }
            assert_eq!(received(&mut other), []);
            let ends = (fate == Fate::Last).then(|| now + GRACE);
            assert_eq!(console.lock().ends_at(Signal(number)), ends, "it counts from the first");
            assert_eq!(console.lock().ends_at(Signal::INTERRUPT), None);
        }
    }

    #[test]
    fn a_service_goes_on_when_a_user_logs_off() {
        for event in ALL {
            let console = Console::new();
            let mut listener = listening(&console, &[1, 2, 15, 21]);
            let fate = console.hear(event, Instant::now(), || true);
            assert_eq!(fate == Fate::PassedOn, event == Event::LogOff, "{event:?}");
            assert_eq!(received(&mut listener).is_empty(), event == Event::LogOff);
            assert_eq!(
                !console.lock().last.is_empty(),
                matches!(event, Event::Close | Event::Shutdown)
            );
        }
    }

    #[test]
    fn who_listens_once_the_process_ends_hears_it() {
        let console = Console::new();
        let first = listening(&console, &[number::HUP]);
        console.hear(Event::Close, Instant::now(), || false);
        drop(first);
        let mut later = listening(&console, &[number::HUP, number::INT]);
        assert_eq!(received(&mut later), [(number::HUP, 1)]);
        let mut deaf = listening(&console, &[number::INT]);
        assert_eq!(received(&mut deaf), []);
        // Another such event comes.
        let _other = listening(&console, &[number::TERM]);
        let before = Instant::now().checked_sub(GRACE).unwrap(); // its handler was kept from running
        for event in [Event::Shutdown, Event::Close] {
            assert_eq!(console.hear(event, before, || false), Fate::Last);
        }
        assert_eq!(console.lock().ends_at(Signal(number::HUP)), Some(before + GRACE));
        let mut both = listening(&console, &[number::TERM, number::HUP]);
        assert_eq!(received(&mut both), [(number::HUP, 1), (number::TERM, 1)]);
        let mut one = listening(&console, &[number::TERM]);
        assert_eq!(received(&mut one), [(number::TERM, 1)]);
    }

    #[test]
    fn an_event_that_came_before_a_listener_is_not_for_it() {
        for event in [Event::CtrlC, Event::CtrlBreak] {
            let console = Console::new();
            let number = event.signal().0;
            let first = listening(&console, &[number]);
            let mut next = Listener::over(&[event.signal()]);
            let fate = late(&console, event, |registry| {
                // One program ends and the next starts.
                registry.keep_only(&console.sequence, &first.parking, 0);
                registry.add(&console.sequence, next.signals, &next.parking);
            });
            assert_eq!(fate, Fate::Heard, "{event:?}: it has no default action either");
            assert_eq!(received(&mut next), []);
            assert_eq!(console.hear(event, Instant::now(), || false), Fate::Heard);
            assert_eq!(received(&mut next), [(number, 1)]);
        }
    }

    #[test]
    fn an_event_is_for_who_listened_when_it_came_and_for_no_other() {
        let console = Console::new();
        let mut first = listening(&console, &[number::INT]);
        let mut next = Listener::over(&[Signal::INTERRUPT]);
        let fate = late(&console, Event::CtrlC, |registry| {
            registry.add(&console.sequence, next.signals, &next.parking);
        });
        assert_eq!(fate, Fate::Heard);
        assert_eq!((received(&mut first), received(&mut next)), (vec![(number::INT, 1)], vec![]));
    }

    #[test]
    fn an_event_that_was_nobodys_is_for_who_listens_by_then() {
        let console = Console::new();
        let gone = listening(&console, &[number::INT]);
        console.keep_only(&gone.parking, 0); // before it comes
        let mut first = Listener::over(&[Signal::INTERRUPT]);
        let fate = late(&console, Event::CtrlC, |registry| {
            registry.add(&console.sequence, first.signals, &first.parking);
        });
        assert_eq!((fate, received(&mut first)), (Fate::Heard, vec![(number::INT, 1)]));
    }

    #[test]
    fn an_event_that_comes_while_its_listener_is_made_is_for_it() {
        let console = Console::new();
        let mut listener = Listener::over(&[Signal::INTERRUPT]);
        let installs = || {
            // It is called at once.
            assert_eq!(console.hear(Event::CtrlC, Instant::now(), || false), Fate::Heard);
            Ok(())
        };
        console.listen(listener.signals, &listener.parking, installs).unwrap();
        assert_eq!(received(&mut listener), [(number::INT, 1)]);
    }

    #[test]
    fn who_cannot_have_the_handler_listens_to_nothing() {
        let console = Console::new();
        let listener = Listener::over(&[Signal::INTERRUPT]);
        let refuses = || Err(io::ErrorKind::PermissionDenied.into());
        assert!(console.listen(listener.signals, &listener.parking, refuses).is_err());
        assert_eq!(console.hear(Event::CtrlC, Instant::now(), || false), Fate::PassedOn);
    }

    #[test]
    fn an_event_whose_listener_is_gone_is_not_passed_on() {
        for event in ALL {
            let console = Console::new();
            let number = event.signal().0;
            let first = listening(&console, &[number, number::USR1]);
            let fate = late(&console, event, |registry| {
                let kept = Signal(number::USR1).bit();
                registry.keep_only(&console.sequence, &first.parking, kept);
            });
            let is_last = is_last(event.signal());
            assert_eq!(fate, if is_last { Fate::Last } else { Fate::Heard }, "{event:?}");
            assert_eq!(console.lock().ends_at(event.signal()).is_some(), is_last);
            // The next one begins without a listener.
            let fate = console.hear(event, Instant::now(), || false);
            assert_eq!(fate, Fate::PassedOn, "{event:?}");
            let mut next = listening(&console, &[number]);
            assert_eq!(received(&mut next).len(), usize::from(is_last), "{event:?}");
        }
    }

    #[test]
    fn an_event_that_ends_the_process_is_heard_by_who_listens_only_since() {
        for event in [Event::Close, Event::LogOff, Event::Shutdown] {
            let console = Console::new();
            let mut next = Listener::over(&[event.signal()]);
            let fate = late(&console, event, |registry| {
                registry.add(&console.sequence, next.signals, &next.parking);
            });
            assert_eq!(fate, Fate::Last, "{event:?}");
            assert_eq!(received(&mut next), [(event.signal().0, 1)]);
        }
    }

    #[test]
    fn what_is_given_back_is_passed_on_again() {
        let console = Console::new();
        let mut listener = listening(&console, &[number::INT, number::BREAK]);
        let now = Instant::now();
        console.keep_only(&listener.parking, Signal::INTERRUPT.bit());
        assert_eq!(console.hear(Event::CtrlBreak, now, || false), Fate::PassedOn);
        assert_eq!(console.hear(Event::CtrlC, now, || false), Fate::Heard);
        assert_eq!(received(&mut listener), [(number::INT, 1)]);
        console.keep_only(&listener.parking, 0);
        assert_eq!(console.hear(Event::CtrlC, now, || false), Fate::PassedOn);
        assert!(console.lock().listeners.is_empty());
    }

    #[test]
    fn what_came_first_is_given_first_and_taken_without_memory() {
        let mut listener = Listener::over(&[Signal(21), Signal(2)]);
        let room = (listener.parking.lock().unread.capacity(), listener.taken.capacity());
        for _ in 0..3 {
            for number in [21, 2, 21] {
                listener.parking.count(Signal(number));
            }
            assert_eq!(received(&mut listener), [(21, 2), (2, 1)]);
        }
        let after = (listener.parking.lock().unread.capacity(), listener.taken.capacity());
        assert_eq!(room, after);
    }

    #[test]
    fn who_only_looks_leaves_the_wakes_and_nudges_to_who_parks() {
        let mut listener = Listener::over(&[Signal::INTERRUPT]);
        listener.nudger().nudge();
        listener.parking.count(Signal::INTERRUPT);
        let mut count = 0;
        listener.look(|_, more| count += more);
        assert_eq!(count, 1);
        listener.parker().park(None); // it would wait for ever
        assert!(listener.take_nudge() && !listener.take_nudge(), "it is kept, once");
        assert!(!listener.parking.lock().woken, "what woke it wakes it once");
    }

    #[test]
    fn a_wait_ends_with_a_signal_a_nudge_or_its_time() {
        let mut listener = Listener::over(&[Signal::INTERRUPT]);
        assert_eq!(listener.wait(Some(Duration::from_millis(1))), []);
        let parking = Arc::clone(&listener.parking);
        let counts = thread::spawn(move || parking.count(Signal::INTERRUPT));
        assert_eq!(listener.wait(None), [(Signal::INTERRUPT, 1)]);
        counts.join().unwrap();
        let nudger = listener.nudger();
        let nudges = thread::spawn(move || nudger.nudge());
        assert_eq!(listener.wait(None), []);
        nudges.join().unwrap();
    }

    #[test]
    fn a_signal_that_there_is_not_is_an_error() {
        let error = Listener::new(&[Signal::USER1]).unwrap_err();
        assert!(error.to_string().contains("SIGUSR1 cannot be listened for on this system"));
        assert!(!error.is_forbidden() && !error.is_limit());
        for signal in [Signal::HANGUP, Signal::TERMINATE] {
            let there = sys::HEARD.contains(&signal);
            assert_eq!(grace(signal), there.then_some(GRACE));
        }
        assert_eq!(grace(Signal::INTERRUPT), None);
    }
}
