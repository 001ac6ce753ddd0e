//! Tokio's listeners.

use std::io;

use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::Accept;

impl Accept for TcpListener {
    type Io = TokioIo<TcpStream>;

    async fn accept(&mut self) -> io::Result<TokioIo<TcpStream>> {
        TcpListener::accept(self).await.map(|(stream, _)| without_delay(stream))
    }

    fn accept_now(&mut self) -> Option<TokioIo<TcpStream>> {
        queue::tcp(self).ok().map(without_delay)
    }
}

/// Answers are written whole: Nagle's algorithm would only hold their ends back.
fn without_delay(stream: TcpStream) -> TokioIo<TcpStream> {
    _ = stream.set_nodelay(true); // fails on a connection that is reset; its first read says so
    TokioIo::new(stream)
}

#[cfg(unix)]
impl Accept for tokio::net::UnixListener {
    type Io = TokioIo<tokio::net::UnixStream>;

    async fn accept(&mut self) -> io::Result<Self::Io> {
        tokio::net::UnixListener::accept(self).await.map(|(stream, _)| TokioIo::new(stream))
    }

    fn accept_now(&mut self) -> Option<Self::Io> {
        queue::unix(self).ok().map(TokioIo::new)
    }
}

/// Takes what is in the queue. The system is asked, not Tokio: Tokio's own `poll_accept` knows only what
/// its driver has told it, and what came since would be lost with the listener.
#[cfg(unix)]
mod queue {
    use std::io;
    use std::os::fd::AsFd;

    use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

    pub(super) fn tcp(listener: &TcpListener) -> io::Result<TcpStream> {
        let same = std::net::TcpListener::from(listener.as_fd().try_clone_to_owned()?);
        let (stream, _) = same.accept()?;
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }

    pub(super) fn unix(listener: &UnixListener) -> io::Result<UnixStream> {
        let same = std::os::unix::net::UnixListener::from(listener.as_fd().try_clone_to_owned()?);
        let (stream, _) = same.accept()?;
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream)
    }
}

#[cfg(not(unix))]
mod queue {
    use std::io;
    use std::task::{Context, Poll, Waker};

    use tokio::net::{TcpListener, TcpStream};

    pub(super) fn tcp(listener: &TcpListener) -> io::Result<TcpStream> {
        match listener.poll_accept(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(accepted) => accepted.map(|(stream, _)| stream),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}
