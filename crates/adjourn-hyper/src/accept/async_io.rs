//! async-io's listeners, for smol and async-std.

use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::Pin;
use std::task::{Context, Poll};

use async_io::Async;
use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};
use smol_hyper::rt::FuturesIo;

use super::Accept;

/// A connection of async-io's, as hyper reads and writes it; by the traits of `futures-io` too, for a TLS
/// library.
#[derive(Debug)]
pub struct Stream<T> {
    io: FuturesIo<Closing<T>>,
}

impl<T> Stream<T> {
    /// Returns what async-io has of it, with the peer's address.
    pub fn get_ref(&self) -> &Async<T> {
        &self.io.get_ref().io
    }

    fn new(io: Async<T>) -> Stream<T> {
        Stream { io: FuturesIo::new(Closing { io }) }
    }
}

impl<T> Read for Stream<T>
where
    Async<T>: AsyncRead + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, cursor)
    }
}

impl<T: Shut> Write for Stream<T>
where
    Async<T>: AsyncWrite + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }
}

impl<T> AsyncRead for Stream<T>
where
    Async<T>: AsyncRead + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_read(cx, bytes)
    }
}

impl<T: Shut> AsyncWrite for Stream<T>
where
    Async<T>: AsyncWrite + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write_vectored(cx, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_close(cx)
    }
}

/// Says the end when it is closed. To close an [`Async`] only flushes it: the peer would see the end
/// where it is dropped.
#[derive(Debug)]
struct Closing<T> {
    io: Async<T>,
}

/// What can say that nothing more comes.
trait Shut {
    fn shut(&self) -> io::Result<()>;
}

impl Shut for TcpStream {
    fn shut(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

#[cfg(unix)]
impl Shut for UnixStream {
    fn shut(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl<T> AsyncRead for Closing<T>
where
    Async<T>: AsyncRead + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_read(cx, bytes)
    }
}

impl<T: Shut> AsyncWrite for Closing<T>
where
    Async<T>: AsyncWrite + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.io.get_ref().shut())
    }
}

impl Accept for Async<TcpListener> {
    type Io = Stream<TcpStream>;

    async fn accept(&mut self) -> io::Result<Self::Io> {
        Async::<TcpListener>::accept(self).await.map(|(stream, _)| without_delay(stream))
    }

    fn accept_now(&mut self) -> Option<Self::Io> {
        let (stream, _) = self.get_ref().accept().ok()?;
        Async::new(stream).map(without_delay).ok()
    }
}

/// Answers are written whole: Nagle's algorithm would only hold their ends back.
fn without_delay(stream: Async<TcpStream>) -> Stream<TcpStream> {
    _ = stream.get_ref().set_nodelay(true); // fails on a connection that is reset; its first read says so
    Stream::new(stream)
}

#[cfg(unix)]
impl Accept for Async<UnixListener> {
    type Io = Stream<UnixStream>;

    async fn accept(&mut self) -> io::Result<Self::Io> {
        Async::<UnixListener>::accept(self).await.map(|(stream, _)| Stream::new(stream))
    }

    fn accept_now(&mut self) -> Option<Self::Io> {
        let (stream, _) = self.get_ref().accept().ok()?;
        Async::new(stream).map(Stream::new).ok()
    }
}
