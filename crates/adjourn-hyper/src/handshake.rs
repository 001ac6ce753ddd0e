//! A step between taking a connection and serving it: TLS, most often.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

use crate::accept::Accept;

/// A listener whose connections begin with a handshake: TLS, or the header of a proxy.
///
/// The handshake runs in the connection's own task, so nobody else waits for it. It counts as the time in
/// which a new connection may send nothing: [`Server::head_timeout`](crate::Server::head_timeout) ends a
/// peer that never finishes it, and at the stop it has the [idle time](crate::Server::idle). Where it
/// fails the connection is closed; nothing else says so, but the handshake itself may.
///
/// # Examples
///
/// With tokio-rustls. `TokioIo` stands between Tokio's traits and hyper's. HTTP/2 needs `h2` among the
/// protocols of the configuration (`alpn_protocols`), and nothing here.
///
/// ```no_run
/// # #[cfg(feature = "tokio")]
/// # mod example {
/// use adjourn_hyper::{Handshake, Server};
/// use hyper_util::rt::TokioIo;
/// use std::{io, sync::Arc};
/// use tokio::net::{TcpListener, TcpStream};
/// use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
///
/// async fn serve(config: ServerConfig) -> io::Result<()> {
///     # let hello = hyper::service::service_fn(async |_| Ok::<_, io::Error>(http::Response::new(String::new())));
///     let tls = TlsAcceptor::from(Arc::new(config));
///     let listener = TcpListener::bind("0.0.0.0:443").await?;
///     let listener = Handshake::new(listener, move |io: TokioIo<TcpStream>| {
///         let accepting = tls.accept(io.into_inner());
///         async move { accepting.await.map(TokioIo::new) }
///     });
///     Server::new(listener).serve_hyper(hello).await
/// }
/// # }
/// ```
///
/// On smol it is the same with futures-rustls and smol-hyper's `FuturesIo`: [`Stream`](crate::Stream) has
/// the traits of `futures-io`.
pub struct Handshake<A, F> {
    listener: A,
    handshake: F,
}

impl<A, F> Handshake<A, F> {
    /// Returns the listener. `handshake` is called for each connection when it is taken, and must not
    /// block; what it returns is polled by the connection's task.
    pub fn new<Fut, T>(listener: A, handshake: F) -> Handshake<A, F>
    where
        A: Accept,
        F: FnMut(A::Io) -> Fut + Send + 'static,
        Fut: Future<Output = io::Result<T>> + Send + 'static,
        T: Read + Write + Unpin + Send + 'static,
    {
        Handshake { listener, handshake }
    }
}

impl<A, F, Fut, T> Accept for Handshake<A, F>
where
    A: Accept,
    F: FnMut(A::Io) -> Fut + Send + 'static,
    Fut: Future<Output = io::Result<T>> + Send + 'static,
    T: Read + Write + Unpin + Send + 'static,
{
    type Io = Shaking<Fut, T>;

    async fn accept(&mut self) -> io::Result<Self::Io> {
        let io = self.listener.accept().await?;
        Ok(Shaking::begin((self.handshake)(io)))
    }

    fn accept_now(&mut self) -> Option<Self::Io> {
        let io = self.listener.accept_now()?;
        Some(Shaking::begin((self.handshake)(io)))
    }
}

impl<A: fmt::Debug, F> fmt::Debug for Handshake<A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// A connection that a [`Handshake`] took: its first read or write does the handshake.
pub struct Shaking<Fut, T> {
    step: Step<Fut, T>,
}

enum Step<Fut, T> {
    /// Boxed, since hyper moves its streams.
    Shaking(Pin<Box<Fut>>),
    Open(T),
    /// It has failed, or was given up.
    Closed,
}

impl<Fut, T> Shaking<Fut, T> {
    /// Returns the stream that the handshake made; `None` before that.
    pub fn get_ref(&self) -> Option<&T> {
        match &self.step {
            Step::Open(io) => Some(io),
            _ => None,
        }
    }

    fn begin(handshake: Fut) -> Shaking<Fut, T> {
        Shaking { step: Step::Shaking(Box::pin(handshake)) }
    }
}

impl<Fut: Future<Output = io::Result<T>>, T: Unpin> Shaking<Fut, T> {
    /// Does the handshake, if it is not done, and returns what it made.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut T>>> {
        if let Step::Shaking(handshake) = &mut self.step {
            let made = ready!(handshake.as_mut().poll(cx));
            self.step = Step::Closed; // the future is dropped before anything is done with its output
            self.step = Step::Open(made?);
        }
        Poll::Ready(match &mut self.step {
            Step::Open(io) => Ok(Pin::new(io)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl<Fut, T> Read for Shaking<Fut, T>
where
    Fut: Future<Output = io::Result<T>>,
    T: Read + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx))?.poll_read(cx, cursor)
    }
}

impl<Fut, T> Write for Shaking<Fut, T>
where
    Fut: Future<Output = io::Result<T>>,
    T: Write + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx))?.poll_flush(cx)
    }

    /// In the middle of the handshake nothing is said: there is no way to say it yet.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Step::Open(io) = &mut self.step {
            return Pin::new(io).poll_shutdown(cx);
        }
        self.step = Step::Closed;
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.get_ref().is_some_and(Write::is_write_vectored)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?.poll_write_vectored(cx, parts)
    }
}

impl<Fut, T> fmt::Debug for Shaking<Fut, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shaking").field("is_open", &self.get_ref().is_some()).finish()
    }
}
