//! Tokio's own signal handling as a source, for programs that attach.

use std::io;
use std::task::{Context, Poll};

use adjourn_core::{Signal, SignalSource};
use tokio::signal::unix::{self, SignalKind};

/// Signals as `tokio::signal` hears them.
///
/// For those whose process handles signals through Tokio already. Tokio coalesces signals of one
/// kind, hears nothing while its only worker is stuck, and never gives a disposition back;
/// [`Runner::signals`](adjourn_core::Runner::signals) has none of these limits.
#[derive(Debug)]
pub struct Signals {
    sources: Vec<(Signal, unix::Signal)>,
}

impl Signals {
    /// Begins to listen, inside a runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// As `tokio::signal::unix::signal`: a forbidden signal, or a handler that the system refused.
    pub fn new(signals: impl IntoIterator<Item = Signal>) -> io::Result<Signals> {
        let listen =
            |signal: Signal| Ok((signal, unix::signal(SignalKind::from_raw(signal.as_raw()))?));
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
}
