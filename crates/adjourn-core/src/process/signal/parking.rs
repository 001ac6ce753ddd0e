//! How a listener waits, and what wakes it: a byte in its pipe, from the handler or from a nudge.
//!
//! The byte says only that there may be something. What it is stands in memory: that of a nudge here, that
//! of a signal in the listener's slot (`unix.rs`, whose invariant 3 says why none is missed).
//!
//! A forked child has a copy of its parent's pipe. It neither reads from it nor writes to it: it looks from
//! time to time instead.

use super::{Kind, SignalError, set_of, sys};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

/// A self-pipe: a socket pair, since std makes one non-blocking and close-on-exec without unsafe.
#[derive(Debug)]
pub(super) struct Pipe {
    read: UnixStream,
    /// Where whoever wakes writes.
    pub(super) write: UnixStream,
}

impl Pipe {
    pub(super) fn new() -> Result<Arc<Pipe>, SignalError> {
        let made = UnixStream::pair().and_then(|(read, write)| {
            read.set_nonblocking(true)?;
            write.set_nonblocking(true)?;
            Ok(Arc::new(Pipe { read, write }))
        });
        made.map_err(|source| SignalError(Kind::NoDescriptors(source)))
    }

    /// Takes some bytes out; if there are more, the next poll says so.
    fn drain(&self) {
        let _ = (&self.read).read(&mut [0; 512]);
    }
}

/// What a listener shares with its nudgers.
#[derive(Debug)]
pub(super) struct Parking {
    pipe: Arc<Pipe>,
    nudged: AtomicBool,
    process: u32,
}

/// How often one looks who cannot be woken.
const LOOK: Duration = Duration::from_millis(10);

impl Parking {
    pub(super) fn new(pipe: Arc<Pipe>) -> Parking {
        Parking { pipe, nudged: AtomicBool::new(false), process: process::id() }
    }

    pub(super) fn is_ours(&self) -> bool {
        self.process == process::id()
    }

    /// Whether a nudge came since the last call.
    pub(super) fn take_nudge(&self) -> bool {
        self.nudged.swap(false, SeqCst)
    }

    /// What poll(2) says of the pipe: `POLLIN` where there is a byte in it.
    pub(super) fn poll(&self, timeout: Option<Duration>) -> io::Result<i16> {
        sys::poll(self.pipe.read.as_raw_fd(), libc::POLLIN, timeout)
    }

    pub(super) fn park(&self, timeout: Option<Duration>) {
        match self.is_ours().then(|| self.poll(timeout)) {
            Some(Ok(0)) => {}
            Some(Ok(libc::POLLIN)) => self.pipe.drain(),
            // In a forked child, or a program that closed descriptors it does not own: counts and
            // nudges are in memory all the same.
            _ => thread::sleep(timeout.map_or(LOOK, |timeout| timeout.min(LOOK))),
        }
    }
}

/// Waits for what a listener is woken by.
#[derive(Debug)]
pub(super) struct Parker {
    parking: Arc<Parking>,
    /// The set of those that it sees to.
    signals: AtomicU64,
    /// Readable while a signal has not come to its handler. Made by the first wait: who never waits, as in
    /// a program that is over at once, needs none.
    pending: OnceLock<Option<OwnedFd>>,
}

impl Parker {
    pub(super) fn new(parking: Arc<Parking>, signals: u64) -> Parker {
        Parker { parking, signals: AtomicU64::new(signals), pending: OnceLock::new() }
    }

    pub(super) fn keep_only(&self, kept: u64) {
        let kept = kept & self.signals.fetch_and(kept, SeqCst);
        if let Some(Some(pending)) = self.pending.get() {
            sys::keep_pending(pending, set_of(kept));
        }
    }

    /// The system chooses one thread for a signal, the first of the process where it can, and no
    /// other takes it: not even if that thread does not come to run, in an uninterruptible sleep
    /// (vfork(2), a file system that is gone). After a while this one takes it.
    pub(super) fn park(&self, timeout: Option<Duration>) {
        /// How long the thread that was chosen has.
        const CHOSEN: Duration = Duration::from_millis(10);
        let pending = self.pending.get_or_init(|| {
            let signals = self.signals.load(SeqCst);
            if signals == 0 { None } else { sys::pending(set_of(signals)) }
        });
        let Some(pending) = pending.as_ref().filter(|_| self.parking.is_ours()) else {
            return self.parking.park(timeout);
        };
        let both = |timeout| {
            let own = self.parking.pipe.read.as_raw_fd();
            sys::poll_both(own, Some(pending.as_raw_fd()), libc::POLLIN, timeout)
        };
        match both(timeout) {
            Ok([0, 0]) => {}
            Ok([libc::POLLIN, _]) => self.parking.pipe.drain(),
            Ok([0, libc::POLLIN]) => {
                self.parking.park(Some(CHOSEN));
                if let Ok([0, libc::POLLIN]) = both(Some(Duration::ZERO)) {
                    sys::redeliver(pending);
                }
            }
            _ => self.parking.park(timeout),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Nudger(pub(super) Arc<Parking>);

impl Nudger {
    pub(super) fn nudge(&self) {
        // The flag is this listener's alone: for the slot's next one the byte is a wake without a cause.
        self.0.nudged.store(true, SeqCst);
        if self.0.is_ours() {
            let _ = sys::write(self.0.pipe.write.as_raw_fd(), &[0]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_empty_once_it_is_drained() {
        let pipe = Pipe::new().unwrap();
        let poll = || sys::poll(pipe.read.as_raw_fd(), libc::POLLIN, Some(Duration::ZERO)).unwrap();
        assert_eq!(poll(), 0);
        sys::write(pipe.write.as_raw_fd(), &[0; 3]).unwrap();
        assert_eq!(poll(), libc::POLLIN);
        pipe.drain();
        assert_eq!(poll(), 0);
    }
}
