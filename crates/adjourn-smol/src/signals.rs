//! async-signal as a source, for programs that attach.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use adjourn_core::{Signal, SignalSource};
use futures_lite::Stream;

/// Signals as `async-signal` hears them.
///
/// For those whose process handles signals through it already. It loses signals behind a few
/// hundred unread ones, hears those of a forked child, and never gives a disposition back;
/// [`Runner::signals`](adjourn_core::Runner::signals) has none of these limits.
///
/// On Windows it knows Ctrl-C alone, which is SIGINT: everything else is an error there.
#[derive(Debug)]
pub struct Signals {
    source: async_signal::Signals,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// A signal that async-signal does not know or that is forbidden, or a handler that the system
    /// refused.
    pub fn new(signals: impl IntoIterator<Item = Signal>) -> io::Result<Signals> {
        let known = |signal: Signal| {
            let raw = signal.as_raw();
            let kind = ALL.iter().copied().find(|kind| *kind as i32 == raw);
            kind.ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("async-signal cannot listen to {signal}: leave it out"),
                )
            })
        };
        let kinds = signals.into_iter().map(known).collect::<io::Result<Vec<_>>>()?;
        Ok(Signals { source: async_signal::Signals::new(kinds)? })
    }
}

/// What async-signal may be asked for; it panics on the forbidden ones.
#[cfg(windows)]
const ALL: &[async_signal::Signal] = &[async_signal::Signal::Int];
#[cfg(unix)]
const ALL: &[async_signal::Signal] = {
    use async_signal::Signal::{
        Abort, Alarm, Child, Hup, Int, Io, Pipe, Quit, Sys, Term, Tstp, Ttin, Ttou, Urg, Usr1,
        Usr2, Winch,
    };
    &[
        Abort, Alarm, Child, Hup, Int, Io, Pipe, Quit, Sys, Term, Tstp, Ttin, Ttou, Urg, Usr1,
        Usr2, Winch,
    ]
};

impl SignalSource for Signals {
    fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<Option<Signal>> {
        loop {
            match std::task::ready!(Pin::new(&mut self.source).poll_next(cx)) {
                Some(Ok(signal)) => {
                    if let Ok(signal) = Signal::from_raw(signal as i32) {
                        return Poll::Ready(Some(signal));
                    }
                }
                Some(Err(_)) => {}
                None => return Poll::Ready(None),
            }
        }
    }
}
