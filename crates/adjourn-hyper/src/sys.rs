//! The one module with unsafe code: reads that say how much they got.
#![allow(unsafe_code)]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, ReadBufCursor};

/// Reads into `cursor` and returns how many bytes came. hyper's cursor is given away with a read and
/// does not say it afterwards.
pub(crate) fn poll_read<I: Read + Unpin>(
    io: &mut I,
    cx: &mut Context<'_>,
    mut cursor: ReadBufCursor<'_>,
) -> Poll<io::Result<usize>> {
    // SAFETY: `as_mut` forbids to make bytes uninitialised. A `ReadBuf` only ever writes to them.
    let mut buffer = ReadBuf::uninit(unsafe { cursor.as_mut() });
    ready!(Pin::new(io).poll_read(cx, buffer.unfilled()))?;
    let count = buffer.filled().len();
    // SAFETY: the first `count` bytes of the same memory are initialised: a `ReadBuf` counts no other
    // as filled.
    unsafe { cursor.advance(count) };
    Poll::Ready(Ok(count))
}

/// Reads what a socket has into `cursor`, without waiting; writes to no more of it than what came.
#[cfg(all(unix, feature = "async-io"))]
pub(crate) fn receive(
    socket: &impl std::os::fd::AsFd,
    cursor: &mut ReadBufCursor<'_>,
) -> io::Result<()> {
    use rustix::net::{RecvFlags, recv};

    // SAFETY: `as_mut` forbids to make bytes uninitialised. rustix only has the system write to them.
    let bytes = unsafe { cursor.as_mut() };
    let ((came, _), _) = recv(socket, bytes, RecvFlags::empty())?;
    let count = came.len();
    // SAFETY: rustix returned the first `count` bytes of the same memory as initialised.
    unsafe { cursor.advance(count) };
    Ok(())
}

/// The same where rustix has no sockets' reads: by way of a small buffer.
#[cfg(all(not(unix), feature = "async-io"))]
pub(crate) fn receive(
    mut socket: &std::net::TcpStream,
    cursor: &mut ReadBufCursor<'_>,
) -> io::Result<()> {
    let mut bytes = [0; 2048];
    let room = cursor.remaining().min(bytes.len());
    let count = io::Read::read(&mut socket, &mut bytes[..room])?;
    cursor.put_slice(&bytes[..count]);
    Ok(())
}
