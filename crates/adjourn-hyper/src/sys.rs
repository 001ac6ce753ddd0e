//! The one module with unsafe code: a read that says how much it got, and descriptors known by number.
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

/// Takes a descriptor that was passed to this process by its number.
///
/// # Errors
///
/// It is not open.
#[cfg(unix)]
pub(crate) fn inherited(descriptor: i32) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

    // SAFETY: it is only asked for its flags, which fails where it is not open.
    rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(descriptor) })?;
    // SAFETY: it is open, and the protocol of LISTEN_FDS says that it is for this process to own.
    // `Inherited` takes it once.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
