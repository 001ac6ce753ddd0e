//! The one module with unsafe code: a read that says how much it got.
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
