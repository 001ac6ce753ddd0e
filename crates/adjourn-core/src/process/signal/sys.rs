//! The system calls and the handler: the one unsafe module.
//!
//! # Layers
//!
//! Whoever takes over a signal saves the address of the handler that was there and may call it. So
//! our handler can end up below a foreign one, and we cannot know whether that one chains. To be
//! heard for certain, a new listener must be on top; to install the same handler on top again could
//! close a ring (ours → theirs → ours …) that never ends. Hence several handlers, one a level:
//!
//! 1. A level of a signal stands over one handler (its edge), which is written once, before the
//!    level is first installed, and never changes.
//! 2. A level is installed only directly over the handler that its edge names. So installing adds no
//!    edge to the chain, except for a level that nobody can have saved yet: no ring is ever closed
//!    by us, whatever is installed, removed and put back around us.
//! 3. A listener hears a signal at one level. So a delivery that passes through two levels counts
//!    once for each listener, and there is no moment in which listeners move from one to the other.
//!
//! Levels are taken up by different handlers below ours, not by registrations: `SIG_DFL`, `SIG_IGN`
//! and one for each library.
//!
//! # In the handler
//!
//! Only atomics and functions of POSIX's async-signal-safe list are used: `getpid`, `write`,
//! `sigaction`, `pthread_sigmask`, `raise`. Nothing allocates, locks or panics; `errno` is kept. All
//! orderings are SeqCst: signals are rare, and no proof needs to be read.
#![allow(unsafe_code, reason = "sigaction, poll, write, raise and _exit have no safe form in std")]

use super::Signal;
use libc::{c_int, c_void, siginfo_t};
use std::io;
use std::mem::{self, MaybeUninit};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::fd::{OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// How many different handlers below ours a signal can have in the life of a process.
pub(super) const LEVELS: usize = 8;

/// Signals by which the system reports what the program itself did wrong.
pub(super) const FAULTS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];

type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// One address a level. The table, not the function, is what is compared: an instance of a function
/// may have several addresses. Their constants differ, so no linker folds two into one.
static HANDLERS: [Handler; LEVELS] = [
    handle::<0>,
    handle::<1>,
    handle::<2>,
    handle::<3>,
    handle::<4>,
    handle::<5>,
    handle::<6>,
    handle::<7>,
];

/// The handler below a level, in two words: `address` is `UNUSED` until both are there.
struct Edge {
    address: AtomicUsize,
    siginfo: AtomicBool,
}

const UNUSED: usize = usize::MAX;

static EDGES: [[Edge; LEVELS]; Signal::HIGHEST as usize] = [const {
    [const { Edge { address: AtomicUsize::new(UNUSED), siginfo: AtomicBool::new(false) } }; LEVELS]
}; Signal::HIGHEST as usize];

fn edges(signal: Signal) -> &'static [Edge; LEVELS] {
    &EDGES[signal.bit().trailing_zeros() as usize]
}

/// What is done with a signal: a `sigaction` that the kernel gave us, or one made from such.
#[derive(Clone, Copy)]
pub(super) struct Action(libc::sigaction);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    Default,
    Ignore,
    Ours(usize),
    Foreign { address: usize, siginfo: bool },
}

impl Action {
    pub(super) fn disposition(&self) -> Disposition {
        let address = self.0.sa_sigaction;
        match address {
            libc::SIG_DFL => Disposition::Default,
            libc::SIG_IGN => Disposition::Ignore,
            _ => match HANDLERS.iter().position(|handler| *handler as usize == address) {
                Some(level) => Disposition::Ours(level),
                None => Disposition::Foreign {
                    address,
                    siginfo: self.0.sa_flags & libc::SA_SIGINFO != 0,
                },
            },
        }
    }

    /// Our handler of this level, over `self`.
    ///
    /// It blocks all signals but faults, so what the handler below wants blocked is. More so because
    /// of the stack: the alternate one that std gives a thread is 8 KiB, and with AVX-512 the kernel
    /// puts 3.3 KiB on it for each signal, so three that interrupt each other overflow it (seen as
    /// SIGSEGV in a storm). A handler below that asked for no alternate stack may need more than that
    /// by itself, and gets the stack that it was written for.
    ///
    /// What `SIGCHLD` has to say about children is kept: to ignore it is to have no zombies, which is
    /// a flag once there is a handler.
    fn below(mut self, level: usize) -> Action {
        let lowest = ends_chain(self.0.sa_sigaction);
        let reaped = if self.0.sa_sigaction == libc::SIG_IGN { libc::SA_NOCLDWAIT } else { 0 };
        let stack = if lowest { libc::SA_ONSTACK } else { self.0.sa_flags & libc::SA_ONSTACK };
        let kept = self.0.sa_flags & (libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT);
        self.0.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | stack | kept | reaped;
        self.0.sa_sigaction = HANDLERS[level] as usize;
        // SAFETY: the pointers are to a set that sigfillset initialises first, valid for the calls.
        unsafe {
            libc::sigfillset(&mut self.0.sa_mask);
            for fault in FAULTS {
                libc::sigdelset(&mut self.0.sa_mask, fault);
            }
        }
        self
    }

    pub(super) fn defaulted(mut self) -> Action {
        self.0.sa_sigaction = libc::SIG_DFL;
        self.0.sa_flags = 0;
        self
    }
}

/// The level over what `action` does, from this call on if there was none; `None` when all levels
/// are taken. Only under the registry's lock.
pub(super) fn level_over(signal: Signal, action: &Action) -> Option<usize> {
    let address = action.0.sa_sigaction;
    let siginfo = action.0.sa_flags & libc::SA_SIGINFO != 0;
    let known = edges(signal).iter().position(|edge| {
        let there = edge.address.load(SeqCst);
        there == address && (ends_chain(there) || edge.siginfo.load(SeqCst) == siginfo)
    });
    known.or_else(|| {
        let level = edges(signal).iter().position(|edge| edge.address.load(SeqCst) == UNUSED)?;
        // The address last: it is what says that the edge is there.
        edges(signal)[level].siginfo.store(siginfo, SeqCst);
        edges(signal)[level].address.store(address, SeqCst);
        Some(level)
    })
}

/// Whether nothing is called below this level.
pub(super) fn is_lowest(signal: Signal, level: usize) -> bool {
    ends_chain(edges(signal)[level].address.load(SeqCst))
}

fn ends_chain(address: usize) -> bool {
    address == libc::SIG_DFL || address == libc::SIG_IGN
}

pub(super) fn current(signal: Signal) -> io::Result<Action> {
    sigaction(signal, None)
}

/// Installs our handler of this level over `action`; returns what it replaced.
pub(super) fn install(signal: Signal, level: usize, action: &Action) -> io::Result<Action> {
    sigaction(signal, Some(&action.below(level)))
}

/// Puts an action back; returns what it replaced.
pub(super) fn put_back(signal: Signal, action: &Action) -> io::Result<Action> {
    sigaction(signal, Some(action))
}

fn sigaction(signal: Signal, new: Option<&Action>) -> io::Result<Action> {
    let new = new.map_or(ptr::null(), |action| ptr::from_ref(&action.0));
    let mut old = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: both pointers are valid for the call or, `new`, null. A handler in `new` is callable: it
    // is one of ours, async-signal-safe, or was installed by somebody who vouched for it.
    let done = unsafe { libc::sigaction(signal.as_raw(), new, old.as_mut_ptr()) };
    if done == 0 {
        // SAFETY: sigaction succeeded, so it has filled in `old`.
        Ok(Action(unsafe { old.assume_init() }))
    } else {
        Err(io::Error::last_os_error())
    }
}

extern "C" fn handle<const LEVEL: usize>(
    number: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
) {
    let errno = errno();
    // SAFETY: errno's location is valid for the calling thread, whose own it is.
    let saved = unsafe { *errno };
    deliver(LEVEL, number, info, context);
    // SAFETY: as above; a handler returns on the thread that it began on.
    unsafe { *errno = saved };
}

fn deliver(level: usize, number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // The kernel calls us for what we installed, whoever chains to us with what it was called for.
    let Ok(signal) = Signal::from_raw(number) else {
        return;
    };
    let heard = super::imp::hear(signal, level);
    let edge = &edges(signal)[level];
    match edge.address.load(SeqCst) {
        libc::SIG_IGN | UNUSED => {}
        libc::SIG_DFL => {
            let passed = || super::imp::is_passed(signal, level);
            if !heard && !default_is_nothing(signal) && !is_late(signal) && !passed() {
                raise_default(signal);
            }
        }
        address if edge.siginfo.load(SeqCst) => {
            // SAFETY: `address` came from a sigaction with SA_SIGINFO, for which this is the type.
            let handler: Handler = unsafe { mem::transmute::<usize, Handler>(address) };
            handler(number, info, context);
        }
        address => {
            // SAFETY: `address` came from a sigaction without SA_SIGINFO: a handler of the number.
            let handler = unsafe { mem::transmute::<usize, extern "C" fn(c_int)>(address) };
            handler(number);
        }
    }
}

/// Whether the handler runs for a delivery from before the default was put back: its thread was kept
/// from running meanwhile. That signal came while somebody listened, so it does not end the process.
fn is_late(signal: Signal) -> bool {
    current(signal).is_ok_and(|action| action.disposition() == Disposition::Default)
}

/// Signals that by default are ignored, so that there is nothing to raise.
fn default_is_nothing(signal: Signal) -> bool {
    matches!(signal.as_raw(), libc::SIGCHLD | libc::SIGCONT | libc::SIGURG | libc::SIGWINCH)
}

/// As [`super::raise_default`]; async-signal-safe.
pub(super) fn raise_default(signal: Signal) {
    // What cannot be changed (SIGKILL) has its default already.
    let before = current(signal).and_then(|action| put_back(signal, &action.defaulted()));
    let mut only = MaybeUninit::<libc::sigset_t>::uninit();
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset fills in `only` before it is read, pthread_sigmask fills in `mask` (its
    // arguments being valid, it does not fail), and the pointers are valid for the calls. The default
    // action runs no code of the process.
    unsafe {
        libc::sigemptyset(only.as_mut_ptr());
        libc::sigaddset(only.as_mut_ptr(), signal.as_raw());
        libc::pthread_sigmask(libc::SIG_UNBLOCK, only.as_ptr(), mask.as_mut_ptr());
        libc::raise(signal.as_raw());
        libc::pthread_sigmask(libc::SIG_SETMASK, mask.as_ptr(), ptr::null_mut());
    }
    // Still here: it was ignored, or the process was stopped and goes on. Somebody may have taken the
    // signal over meanwhile.
    if let (Ok(before), Ok(now)) = (before, current(signal)) {
        if now.disposition() == Disposition::Default {
            let _ = put_back(signal, &before);
        }
    }
}

/// Lets the calling thread take these signals, or not.
pub(super) fn block(block: bool, signals: impl Iterator<Item = Signal>) {
    let how = if block { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset fills in the set before it is read, and the pointers are valid for the
    // calls or, for the old mask, null. To unblock a signal is to let happen what its disposition says.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal.as_raw());
        }
        libc::pthread_sigmask(how, set.as_ptr(), ptr::null_mut());
    }
}

/// Returns which of these signals the calling thread does not take.
pub(super) fn blocked(signals: impl Iterator<Item = Signal>) -> u64 {
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset and pthread_sigmask fill in the mask before it is read, the pointer is valid
    // for the calls, and without a new mask nothing is changed.
    unsafe {
        libc::sigemptyset(mask.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), mask.as_mut_ptr());
        let blocked = |signal: &Signal| libc::sigismember(mask.as_ptr(), signal.as_raw()) == 1;
        signals.filter(blocked).fold(0, |set, signal| set | signal.bit())
    }
}

/// Whether this process is in the terminal's foreground group, or that is not ours to ask.
pub(super) fn is_in_foreground(fd: RawFd) -> bool {
    // SAFETY: no precondition.
    let (foreground, own) = unsafe { (libc::tcgetpgrp(fd), libc::getpgrp()) };
    foreground == -1 || foreground == own
}

/// write(2), once.
pub(super) fn write(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of a slice.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

/// poll(2), once, on one descriptor: the events that came. None after the timeout, rounded up to a
/// millisecond, and after an interruption.
pub(super) fn poll(fd: RawFd, events: i16, timeout: Option<Duration>) -> io::Result<i16> {
    poll_both(fd, None, events, timeout).map(|[events, _]| events)
}

/// The same on two, of which the second may not be there.
pub(super) fn poll_both(
    first: RawFd,
    second: Option<RawFd>,
    events: i16,
    timeout: Option<Duration>,
) -> io::Result<[i16; 2]> {
    let milliseconds = timeout.map_or(-1, |timeout| {
        i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
    });
    // A negative descriptor is passed over.
    let mut polled =
        [first, second.unwrap_or(-1)].map(|fd| libc::pollfd { fd, events, revents: 0 });
    // SAFETY: the pointer is to two pollfds, valid for the call.
    let count = unsafe { libc::poll(polled.as_mut_ptr(), 2, milliseconds) };
    if count >= 0 {
        return Ok(polled.map(|polled| polled.revents));
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::Interrupted => Ok([0; 2]),
        error => Err(error),
    }
}

/// A descriptor that is readable while one of these signals is pending for the process, which is
/// while the thread that the system chose for it does not run.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn pending(signals: impl Iterator<Item = Signal>) -> Option<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset fills in the set before it is read, and the pointers are valid for the
    // calls. A descriptor that signalfd returns is new and nobody else's.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal.as_raw());
        }
        let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    }
}

/// Has such a descriptor be about no more than these signals.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn keep_pending(pending: &OwnedFd, signals: impl Iterator<Item = Signal>) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: as in `pending`; the descriptor is open.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal.as_raw());
        }
        libc::signalfd(pending.as_raw_fd(), set.as_ptr(), 0);
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn keep_pending(_: &OwnedFd, _: impl Iterator<Item = Signal>) {}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn pending(_: impl Iterator<Item = Signal>) -> Option<OwnedFd> {
    None
}

/// Takes one signal that is pending from the process and delivers it to the calling thread.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn redeliver(pending: &OwnedFd) {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the pointer is to so many bytes.
    let read = unsafe { libc::read(pending.as_raw_fd(), info.as_mut_ptr().cast(), size) };
    if usize::try_from(read) == Ok(size) {
        // SAFETY: read has filled in all of it, and any bytes are a valid one. raise has no
        // precondition.
        unsafe { libc::raise(info.assume_init().ssi_signo as c_int) };
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn redeliver(_: &OwnedFd) {}

/// How wide a terminal is; `None` where the descriptor is none. TIOCGWINSZ is in no standard, but in each
/// system that there is.
pub(super) fn columns(fd: RawFd) -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request writes one `winsize`, to which the pointer leads; a wrong descriptor is an error.
    let result = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &mut size) };
    (result == 0).then_some(size.ws_col.into())
}

pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no precondition.
    unsafe { libc::_exit(code) }
}

fn errno() -> *mut c_int {
    // SAFETY: no precondition; the location is the calling thread's.
    unsafe {
        #[cfg(any(
            target_os = "linux",
            target_os = "emscripten",
            target_os = "hurd",
            target_os = "l4re"
        ))]
        return libc::__errno_location();
        #[cfg(any(target_vendor = "apple", target_os = "freebsd", target_os = "dragonfly"))]
        return libc::__error();
        #[cfg(any(target_os = "android", target_os = "netbsd", target_os = "openbsd"))]
        return libc::__errno();
        #[cfg(any(target_os = "illumos", target_os = "solaris"))]
        return libc::___errno();
    }
}
