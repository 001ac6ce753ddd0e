//! Process-wide signals: counted, chained, and given back.
//!
//! A [`Listener`] hears every signal it was made for, with its number of arrivals, from the moment
//! [`Listener::new`] returns. It is also the parking place of one thread, so a host can wait for a
//! signal, a [`Nudger`] and a timeout at once.
//!
//! `run` uses it by itself. It is public for those who need signals beside a program or without one:
//! a thread that waits for `SIGWINCH`, a part that was attached and raises a signal again
//! ([`raise_default`]), a test that counts what a process received.
//!
//! # What happens to the process
//!
//! Signal dispositions belong to the whole process. While at least one listener of a signal lives:
//!
//! - its default action is replaced;
//! - a handler that was there before is still called, after the signal has been counted;
//! - system calls that are interrupted by it are restarted (`SA_RESTART`);
//! - a program started with `exec` meets the default action, as for any caught signal (POSIX
//!   `exec`).
//!
//! The last listener of a signal puts the previous disposition back, ignored as well as default.
//! Registering again works any number of times, in constant memory.
//!
//! `SIGHUP` is left alone when it is ignored, so that `nohup` works (POSIX `nohup`: "shall arrange
//! for the SIGHUP signal to be ignored"). For any other signal a registration wins over an
//! inherited `SIG_IGN`, as Go's `os/signal` documents for `Notify`.
//!
//! # Beside other handlers
//!
//! Handlers installed earlier are chained to. One that is installed later, on top, must chain in
//! its turn (signal-hook and tokio do), else the listeners that exist by then hear nothing more of
//! that signal; a listener made after it hears again, being on top itself. When the last listener
//! goes while such a handler is on top, the disposition is not ours to give back: our handler stays
//! below as a pass-through that does what it had replaced. So a handler that calls it for `SIGTERM`
//! gets the default action and ends the process, where it would have got `SIG_DFL` to judge by
//! itself: whoever wants to outlive a listener registers before it or after it.
//!
//! # On Windows
//!
//! Console events take the place of signals. Ctrl-C is SIGINT, Ctrl-Break is `Signal::BREAK`, the closing
//! of the console is SIGHUP, log-off and shutdown are SIGTERM; there are no others, and a listener for
//! one is an error. After the last three the system ends the process within 5 s, so the handler
//! does not return from them, and [`run`](crate::Runner::run) brings its limits forward
//! ([`grace`]). What nobody listens to is passed on to the handlers below.
//!
//! - A handler that is installed later and says that it has handled an event hides it from listeners;
//!   it cannot be chained to. Register after it, or hear by it:
//!   [`signal_source`](crate::Runner::signal_source).
//! - A process that calls `AllocConsole`, `AttachConsole` or `FreeConsole` loses all handlers, ours too, which
//!   is not installed again: call them before the first listener.
//! - A child that was started in a process group of its own is deaf to Ctrl-C and hears Ctrl-Break.
//! - A service (session 0) goes on at a log-off, and is stopped by control codes: let their handler
//!   call [`Stopper::stop_within`](crate::Stopper::stop_within). Shutdown comes as an event too.
//! - A process that loads user32.dll hears of no log-off and no shutdown.
//! - std's `println!` panics where the console is gone: a hook that prints at a close can turn exit code
//!   0 into 101.
//!
//! Source: `SetConsoleCtrlHandler`, `HandlerRoutine` and "Console Control Handlers" in Microsoft's
//! documentation.
//!
//! # Forked children
//!
//! A child that has not called `exec` shares the parent's descriptors. It hears nothing through
//! listeners made before the fork and does not disturb the parent; signals do in it what they did
//! before there was a listener. It may make listeners of its own, unless the fork caught another
//! thread inside [`Listener::new`] or a listener's drop: as after any fork of a process with several
//! threads, that lock then stays taken.

use std::error::Error;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Nearly all of it can be tried anywhere.
#[cfg(all(test, unix))]
#[allow(dead_code, reason = "it is not what this system has")]
mod console;
#[cfg(unix)]
#[path = "signal/unix.rs"]
mod imp;
#[cfg(not(unix))]
#[path = "signal/console.rs"]
mod imp;
#[cfg(unix)]
mod parking;
#[cfg(unix)]
mod stderr;
#[cfg(unix)]
mod sys;

/// A signal, by its number.
///
/// [`Display`](fmt::Display) gives the name (`SIGTERM`), or `signal 42` for a number without one;
/// [`FromStr`] reads both back, and `TERM` and `term` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

impl Signal {
    /// `SIGHUP`: the terminal is gone, or by custom: read the configuration again. On Windows the console
    /// is closed.
    pub const HANGUP: Signal = Signal(imp::number::HUP);
    /// `SIGINT`: Ctrl-C.
    pub const INTERRUPT: Signal = Signal(imp::number::INT);
    /// `SIGQUIT`: Ctrl-\\.
    pub const QUIT: Signal = Signal(imp::number::QUIT);
    /// `SIGTERM`: please end. On Windows the user logs off or the system is shut down.
    pub const TERMINATE: Signal = Signal(imp::number::TERM);
    /// `SIGUSR1`.
    pub const USER1: Signal = Signal(imp::number::USR1);
    /// `SIGUSR2`.
    pub const USER2: Signal = Signal(imp::number::USR2);

    /// `SIGBREAK`: Ctrl-Break, on Windows. It comes to a child in a process group of its own too, which
    /// Ctrl-C does not.
    #[cfg(windows)]
    pub const BREAK: Signal = Signal(imp::number::BREAK);

    /// What stops a program unless it says otherwise.
    pub(crate) const DEFAULTS: &[Signal] = imp::DEFAULTS;

    /// The highest number that a `Signal` can have.
    const HIGHEST: i32 = 64;

    /// The signal with this number.
    ///
    /// # Errors
    ///
    /// When the number is not between 1 and 64.
    pub fn from_raw(number: i32) -> Result<Signal, SignalError> {
        if (1..=Signal::HIGHEST).contains(&number) {
            Ok(Signal(number))
        } else {
            Err(SignalError(Kind::OutOfRange(number)))
        }
    }

    /// Its number on this system.
    pub fn as_raw(self) -> i32 {
        self.0
    }

    /// Its name with the prefix (`"SIGTERM"`), `None` for a real-time or unknown one.
    pub fn name(self) -> Option<&'static str> {
        let known = imp::number::NAMES.iter().find(|(number, _)| *number == self.0);
        known.map(|(_, name)| *name)
    }

    /// Its place in a set.
    pub(crate) fn bit(self) -> u64 {
        1 << (self.0 - 1)
    }
}

/// The signals of a set of [`bit`](Signal::bit)s.
#[cfg(unix)]
fn set_of(set: u64) -> impl Iterator<Item = Signal> + Clone {
    (1..=Signal::HIGHEST).map(Signal).filter(move |signal| set & signal.bit() != 0)
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Signal, SignalError> {
        let unknown = || SignalError(Kind::UnknownName(text.to_owned()));
        if let Some(number) = text.strip_prefix("signal ") {
            return Signal::from_raw(number.parse().map_err(|_| unknown())?);
        }
        imp::number::NAMES
            .iter()
            .find(|(_, name)| {
                name.eq_ignore_ascii_case(text) || name[3..].eq_ignore_ascii_case(text)
            })
            .map(|(number, _)| Signal(*number))
            .ok_or_else(unknown)
    }
}

/// As its [`Display`](fmt::Display).
#[cfg(feature = "serde")]
impl serde::Serialize for Signal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A registration for some signals, and the parking place of one thread.
///
/// Process-wide effects are described at the [module](self). Dropping it unregisters; what it had
/// heard and not yet returned from [`wait`](Listener::wait) goes with it, so call `wait` with a
/// timeout of zero once more where that matters.
///
/// # Examples
///
/// ```
/// use adjourn_core::signal::{Listener, Signal};
/// use std::time::Duration;
///
/// # #[cfg(unix)] {
/// let mut listener = Listener::new(&[Signal::INTERRUPT, Signal::TERMINATE])?;
/// for (signal, count) in listener.wait(Some(Duration::ZERO)) {
///     eprintln!("{signal} came {count} times");
/// }
/// # }
/// # Ok::<(), adjourn_core::signal::SignalError>(())
/// ```
#[derive(Debug)]
#[must_use = "dropped, it hears nothing more"]
pub struct Listener(imp::Listener);

impl Listener {
    /// Registers for these signals; all handlers are in place when it returns.
    ///
    /// An empty list is fine: the listener then only parks. A signal that is named twice counts
    /// once. `SIGHUP` is passed over when it is [ignored].
    ///
    /// # Errors
    ///
    /// Nothing has been changed when it fails: because a signal cannot be listened for (`SIGKILL`,
    /// `SIGSTOP`; `SIGSEGV`, `SIGBUS`, `SIGFPE` and `SIGILL`, which report a fault; those that the C
    /// library keeps), because 128 listeners of signals exist already, because more than eight
    /// different handlers of one signal have been met below ours, or because descriptors have run
    /// out.
    pub fn new(signals: &[Signal]) -> Result<Listener, SignalError> {
        imp::Listener::new(signals).map(Listener)
    }

    /// A handle that makes [`wait`](Listener::wait) return, from any thread.
    pub fn nudger(&self) -> Nudger {
        Nudger(self.0.nudger())
    }

    /// Blocks until a signal comes, a nudge comes, or the time is over; returns the signals that
    /// came since the last call.
    ///
    /// What came before the call is returned at once. `None` and a timeout too long for the clock
    /// wait for ever. The clock is monotonic; it never returns early without a cause, and up to a
    /// millisecond late. The thread that waits need not be one that can receive the signal, but some
    /// thread must: a signal that all threads block stays pending.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Received {
        Received(self.0.wait(timeout))
    }

    /// What waits for signals and nudges while the listener itself is behind a lock.
    pub(crate) fn parker(&self) -> Parker {
        Parker(self.0.parker())
    }

    /// Gives each signal that came since the last time, with its number. Never waits, never allocates. For
    /// any thread: who parks is woken all the same, by what this takes and by every nudge.
    pub(crate) fn look(&mut self, received: impl FnMut(Signal, u64)) {
        self.0.look(received);
    }

    /// Whether a nudge came since the last call.
    #[cfg(test)]
    pub(crate) fn take_nudge(&self) -> bool {
        self.0.take_nudge()
    }

    /// Returns which of its signals the calling thread, and each that it starts, does not take: a parent
    /// may have left them blocked, and the mask is inherited.
    pub(crate) fn blocked(&self) -> u64 {
        self.0.blocked()
    }

    /// Unblocks its signals in the calling thread.
    pub(crate) fn unblock(&self) {
        self.0.unblock();
    }

    /// Whether it still listens to any signal.
    pub(crate) fn hears_any(&self) -> bool {
        self.0.hears_any()
    }

    /// A handler that was installed over ours finds nothing below it once this one is dropped.
    pub(crate) fn pass_over(&self) {
        self.0.pass_over();
    }

    /// Gives all signals back but those in this set of [`bit`](Signal::bit)s.
    pub(crate) fn keep_only(&mut self, kept: u64) {
        self.0.keep_only(kept);
    }

    /// Returns a signal that somebody has taken over since, so that it is not heard any more.
    ///
    /// A handler that was installed with `SA_SIGINFO` is believed to pass the signal on, as
    /// signal-hook's and Tokio's do: whether it does cannot be seen.
    pub(crate) fn taken_over(&self) -> Option<Signal> {
        self.0.taken_over()
    }
}

/// Blocks the signals of this set in the calling thread.
pub(crate) fn block(set: u64) {
    imp::block(set);
}

/// Waits for what a [`Listener`] is woken by. From [`Listener::parker`].
///
/// On Linux it sees too to signals that the system gave to a thread that does not run.
#[derive(Debug)]
pub(crate) struct Parker(imp::Parker);

impl Parker {
    /// Waits until there may be something to [`look`](Listener::look) at, or the time is over. May
    /// return for no cause. What woke it wakes it once.
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        self.0.park(timeout);
    }

    /// Sees to no more signals than these.
    pub(crate) fn keep_only(&self, kept: u64) {
        self.0.keep_only(kept);
    }
}

/// Makes a [`Listener`]'s wait return.
///
/// A nudge is kept until the next wait returns; several are as good as one. Once the listener is
/// gone, nudging has no effect.
#[derive(Clone, Debug)]
pub struct Nudger(imp::Nudger);

impl Nudger {
    /// Makes the current wait, else the next one, return early. Never blocks.
    pub fn nudge(&self) {
        self.0.nudge();
    }
}

/// The signals that a wait returned, each with its number of arrivals, first come first.
///
/// The order is that in which the handlers began; signals that were pending together are delivered
/// by the system in an order of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received(Vec<(Signal, u64)>);

impl Received {
    /// Whether no signal came: the wait ended by a nudge or the timeout.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How often this signal came.
    pub fn count(&self, signal: Signal) -> u64 {
        self.iter().find(|(one, _)| *one == signal).map_or(0, |(_, count)| count)
    }

    /// Each signal with its count, without taking them.
    pub fn iter(&self) -> impl Iterator<Item = (Signal, u64)> + '_ {
        self.0.iter().copied()
    }
}

impl IntoIterator for Received {
    type Item = (Signal, u64);
    type IntoIter = std::vec::IntoIter<(Signal, u64)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Whether the signal is ignored at present (its disposition is `SIG_IGN`), as `SIGHUP` is under
/// `nohup`.
///
/// False while a listener has replaced that disposition.
pub fn ignored(signal: Signal) -> bool {
    imp::ignored(signal)
}

/// Lets the signal do to this process what it does by default, so that the parent sees the process
/// end by it and `tool && deploy` does not deploy.
///
/// The signal gets its default disposition, is unblocked in the calling thread, and is raised.
/// Returns if that did not end the process: the default is to ignore it or to stop (what was in
/// place is put back then), or the process is the first of a PID namespace, which no default action
/// ends. Exit with 128 + the signal's number then.
///
/// On Windows the exit code is 0xC000013A, as where nobody handles a console event.
pub fn raise_default(signal: Signal) {
    imp::raise_default(signal);
}

/// Gives a signal its default disposition back, past everybody who hears it: as by signal(2).
#[cfg(all(test, unix))]
pub(crate) fn take_over(signal: Signal) {
    let ours = sys::current(signal).expect("it is a signal");
    sys::put_back(signal, &ours.defaulted()).expect("it can be set");
}

/// How long the process has once it has heard this signal, where the system then ends it: 4 s of the 5
/// that Windows gives after SIGHUP and SIGTERM ([On Windows](self#on-windows)). `None` for all else, and
/// on Unix, where no signal says such a thing.
///
/// `run` keeps to it by itself. For a [`SignalSource`](crate::SignalSource) that hears by other means.
pub fn grace(signal: Signal) -> Option<Duration> {
    imp::grace(signal)
}

/// When the system ends the process for this signal, which has come. Never on Unix.
pub(crate) fn ends_at(signal: Signal) -> Option<Instant> {
    imp::ends_at(signal)
}

/// Returns how many columns the terminal has that standard error is, where it says so.
pub(crate) fn stderr_width() -> Option<usize> {
    imp::stderr_width()
}

/// Whether the terminal that standard error is listens to this process: not to a background job, which must
/// not write over what is typed there.
pub(crate) fn is_in_foreground() -> bool {
    #[cfg(unix)]
    return sys::is_in_foreground(libc::STDERR_FILENO);
    #[cfg(not(unix))]
    true
}

/// Writes all of `bytes` to descriptor 2 without std's lock, and says whether it did.
///
/// Gives up when nothing can be written until `within` is over. On Linux no other writer to the same
/// pipe can make it block; elsewhere one that fills the pipe between `poll` and `write` can.
/// `O_NONBLOCK` is never set on the file description, which other processes share.
pub(crate) fn write_stderr(bytes: &[u8], within: Duration) -> bool {
    #[cfg(unix)]
    return stderr::write_stderr(bytes, within);
    #[cfg(not(unix))]
    imp::write_stderr(bytes, within)
}

/// Ends the process at once (`_exit`): runs no destructor and no `atexit` handler, takes no lock.
pub(crate) fn exit_now(code: i32) -> ! {
    imp::exit_now(code)
}

/// Why a signal could not be named or listened for.
#[derive(Debug)]
pub struct SignalError(Kind);

#[derive(Debug)]
#[allow(dead_code, reason = "Unsupported is for other systems than Unix, most others for Unix")]
enum Kind {
    OutOfRange(i32),
    UnknownName(String),
    Uncatchable(Signal),
    Fault(Signal),
    Unsupported(Signal),
    TooManyListeners(usize),
    TooManyLayers(Signal),
    Refused(Signal, io::Error),
    NoDescriptors(io::Error),
}

impl SignalError {
    /// Whether the signal itself was the cause: it can be listened for in no program.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.0, Kind::Uncatchable(_) | Kind::Fault(_))
    }

    /// Whether a limit was the cause: the same call can succeed later.
    pub fn is_limit(&self) -> bool {
        matches!(
            self.0,
            Kind::TooManyListeners(_) | Kind::TooManyLayers(_) | Kind::NoDescriptors(_)
        )
    }
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::OutOfRange(number) => {
                write!(f, "{number} is not a signal: numbers go from 1 to {}", Signal::HIGHEST)
            }
            Kind::UnknownName(name) => {
                write!(f, "{name:?} is not the name of a signal: write it like TERM or SIGTERM")
            }
            Kind::Uncatchable(signal) => write!(
                f,
                "{signal} cannot be listened for: the system lets no program handle it; leave it out \
                 and listen for SIGTERM"
            ),
            Kind::Fault(signal) => write!(
                f,
                "{signal} cannot be listened for: it reports a fault, and going on after its handler \
                 would repeat the fault; leave it out and use a crash handler"
            ),
            Kind::Unsupported(signal) => write!(
                f,
                "{signal} cannot be listened for on this system: leave it out and request the stop in \
                 another way"
            ),
            Kind::TooManyListeners(most) => {
                write!(f, "{most} listeners of signals exist already: drop one or share one")
            }
            Kind::TooManyLayers(signal) => write!(
                f,
                "too many different handlers of {signal} have been installed in this process: register \
                 once, before or after them"
            ),
            Kind::Refused(signal, _) => {
                write!(f, "the system refused a handler for {signal}: leave it out")
            }
            Kind::NoDescriptors(_) => {
                f.write_str("a listener needs two file descriptors: raise the limit (ulimit -n)")
            }
        }
    }
}

impl Error for SignalError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Kind::Refused(_, source) | Kind::NoDescriptors(source) => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
