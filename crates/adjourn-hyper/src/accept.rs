//! Where connections come from: what each executor's listener has in common.

#[cfg(feature = "async-io")]
pub(crate) mod async_io;
#[cfg(feature = "tokio")]
mod tokio;

use std::future::Future;
use std::io;

use hyper::rt::{Read, Write};

/// A listener: where a [`Server`](crate::Server) gets its connections.
///
/// Implemented for Tokio's `TcpListener` and `UnixListener` (feature `tokio`) and for those of async-io,
/// `Async<std::net::TcpListener>` and `Async<UnixListener>` (feature `async-io`).
///
/// For TLS put a [`Handshake`](crate::Handshake) around one of those. In a listener of your own leave what
/// takes time to the stream's first read, as that does: while `accept` waits nobody else is accepted.
pub trait Accept: Send + 'static {
    /// A connection.
    type Io: Read + Write + Unpin + Send + 'static;

    /// Waits for the next connection.
    ///
    /// An error that says nothing about the listener (out of descriptors, a connection that was reset
    /// before it was taken) is followed by another call. One of the kinds
    /// [`InvalidInput`](io::ErrorKind::InvalidInput), [`Unsupported`](io::ErrorKind::Unsupported) or
    /// [`NotConnected`](io::ErrorKind::NotConnected) ends the server.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future must lose no connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Io>> + Send;

    /// Returns a connection that is in the queue already, without waiting. At the stop the queue is
    /// emptied with it. Default: `None`, so that what is in the queue is lost with the listener.
    fn accept_now(&mut self) -> Option<Self::Io> {
        None
    }
}
