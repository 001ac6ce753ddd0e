//! Tokio's own signal handling as a source, for programs that attach.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use adjourn_core::{Signal, SignalSource};

/// Signals as `tokio::signal` hears them.
///
/// For those whose process handles signals through Tokio already. Tokio coalesces signals of one
/// kind, hears nothing while its only worker is stuck, and never gives a disposition back;
/// [`Runner::signals`](adjourn_core::Runner::signals) has none of these limits.
///
/// On Windows these are its console events: SIGINT is `ctrl_c`, `Signal::BREAK` is `ctrl_break`, SIGHUP
/// is `ctrl_close`, SIGTERM is `ctrl_logoff` and `ctrl_shutdown`. A service that goes on when a user logs
/// off leaves SIGTERM out: Tokio does not tell the two apart for it.
#[derive(Debug)]
pub struct Signals {
    sources: Vec<(Signal, imp::Source)>,
}

impl Signals {
    /// Begins to listen, inside a runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// As `tokio::signal::unix::signal`: a forbidden signal, or a handler that the system refused; on
    /// Windows, a signal that is no console event.
    pub fn new(signals: impl IntoIterator<Item = Signal>) -> io::Result<Signals> {
        let listen = |signal: Signal| Ok((signal, imp::listen(signal)?));
        Ok(Signals { sources: signals.into_iter().map(listen).collect::<io::Result<_>>()? })
    }
}

impl SignalSource for Signals {
    fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<Option<Signal>> {
        for (signal, source) in &mut self.sources {
            if let Poll::Ready(Some(())) = source.poll_recv(cx) {
                return Poll::Ready(Some(*signal));
            }
        }
        Poll::Pending
    }

    fn grace(&self, signal: Signal) -> Option<Duration> {
        adjourn_core::signal::grace(signal)
    }
}

#[cfg(unix)]
mod imp {
    use super::{Signal, io};
    use tokio::signal::unix::{self, SignalKind};

    pub(super) use unix::Signal as Source;

    pub(super) fn listen(signal: Signal) -> io::Result<Source> {
        unix::signal(SignalKind::from_raw(signal.as_raw()))
    }
}

#[cfg(windows)]
mod imp {
    use super::{Context, Poll, Signal, io};
    use tokio::signal::windows as console;

    #[derive(Debug)]
    pub(super) enum Source {
        CtrlC(console::CtrlC),
        Break(console::CtrlBreak),
        Close(console::CtrlClose),
        End(console::CtrlLogoff, console::CtrlShutdown),
    }

    pub(super) fn listen(signal: Signal) -> io::Result<Source> {
        Ok(match signal {
            Signal::INTERRUPT => Source::CtrlC(console::ctrl_c()?),
            Signal::BREAK => Source::Break(console::ctrl_break()?),
            Signal::HANGUP => Source::Close(console::ctrl_close()?),
            Signal::TERMINATE => Source::End(console::ctrl_logoff()?, console::ctrl_shutdown()?),
            other => {
                let why = format!(
                    "Tokio cannot listen to {other} on Windows: leave it out, or use SIGINT, SIGBREAK, \
                     SIGHUP or SIGTERM"
                );
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        })
    }

    impl Source {
        pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
            match self {
                Source::CtrlC(source) => source.poll_recv(cx),
                Source::Break(source) => source.poll_recv(cx),
                Source::Close(source) => source.poll_recv(cx),
                Source::End(logoff, shutdown) => match logoff.poll_recv(cx) {
                    Poll::Pending => shutdown.poll_recv(cx),
                    ready => ready,
                },
            }
        }
    }
}
