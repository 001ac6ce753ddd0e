//! async-io's listeners, for smol and async-std.

use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_io::Async;
use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};

use super::Accept;
use crate::sys;

/// A connection of async-io's, as hyper reads and writes it; by the traits of `futures-io` too, for a TLS
/// library.
///
/// smol-hyper's `FuturesIo` would do, but it has to clear hyper's whole buffer before each read, 8 KiB at
/// least, since `AsyncRead` takes no uninitialised bytes. That was half of the instructions of a small
/// request.
#[derive(Debug)]
pub struct Stream<T> {
    io: Async<T>,
}

impl<T> Stream<T> {
    /// Returns what async-io has of it, with the peer's address.
    pub fn get_ref(&self) -> &Async<T> {
        &self.io
    }

    fn new(io: Async<T>) -> Stream<T> {
        Stream { io }
    }
}

impl<T: Socket> Read for Stream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // The socket is asked first, as async-io does it: what is there already is read at once.
        loop {
            match self.io.get_ref().receive(&mut cursor) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
            ready!(self.io.poll_readable(cx))?;
        }
    }
}

impl<T: Socket> Write for Stream<T>
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

    /// Says the end. To close an [`Async`] only flushes it: the peer would see the end where it is
    /// dropped.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.io.get_ref().shut())
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
        Pin::new(&mut self.io).poll_read(cx, bytes)
    }
}

impl<T: Socket> AsyncWrite for Stream<T>
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

/// What std does differently for each kind of socket.
trait Socket {
    /// Reads what is there, without waiting.
    fn receive(&self, cursor: &mut ReadBufCursor<'_>) -> io::Result<()>;

    /// Says that nothing more comes.
    fn shut(&self) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn receive(&self, cursor: &mut ReadBufCursor<'_>) -> io::Result<()> {
        sys::receive(self, cursor)
    }

    fn shut(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

#[cfg(unix)]
impl Socket for UnixStream {
    fn receive(&self, cursor: &mut ReadBufCursor<'_>) -> io::Result<()> {
        sys::receive(self, cursor)
    }

    fn shut(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::pin::Pin;

    use async_io::{Async, block_on};
    use hyper::rt::{Read, ReadBuf};

    use super::Stream;

    fn read(stream: &mut Stream<TcpStream>, buffer: &mut ReadBuf<'_>) -> Vec<u8> {
        let read = poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, buffer.unfilled()));
        block_on(read).expect("it is readable");
        buffer.filled().to_vec()
    }

    #[test]
    fn a_read_gives_what_came_and_touches_no_byte_after_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut stream = Stream::new(Async::new(listener.accept().unwrap().0).unwrap());
        peer.write_all(b"hello").unwrap();

        let mut bytes = [0xaa; 4096];
        let mut buffer = ReadBuf::new(&mut bytes);
        assert_eq!(read(&mut stream, &mut buffer), b"hello");
        // To clear the buffer first was half of a small request.
        assert!(bytes[5..].iter().all(|byte| *byte == 0xaa));

        drop(peer);
        assert_eq!(read(&mut stream, &mut ReadBuf::new(&mut bytes)), b"", "the end");
    }
}
