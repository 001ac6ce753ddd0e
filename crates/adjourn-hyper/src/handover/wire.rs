//! What goes over a handover socket: bytes, descriptors, and who is at the other end.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt,
};

/// The most listeners that are handed over at once.
pub(super) const MOST: usize = 16;

/// The old program's first byte, which comes with the listeners.
const LISTENERS: u8 = b'L';
/// The new program's byte: it is ready.
pub(super) const READY: u8 = b'R';
/// The old program's answer: it stops, and has left the path.
pub(super) const LEFT: u8 = b'A';

/// Returns the process id of the other end, if it is the same user's, or root's.
pub(super) fn trusted(stream: &UnixStream) -> io::Result<u32> {
    let peer = sockopt::socket_peercred(stream)?;
    if peer.uid == rustix::process::geteuid() || peer.uid.is_root() {
        return Ok(peer.pid.as_raw_nonzero().get() as u32);
    }
    let text = format!("it belongs to the user {}", peer.uid.as_raw());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

/// Sends one byte with the listeners.
pub(super) fn send(stream: &UnixStream, listeners: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    if !with.push(SendAncillaryMessage::ScmRights(listeners)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // Without SIGPIPE: the other end may have died.
    sendmsg(stream, &[IoSlice::new(&[LISTENERS])], &mut with, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for what [`send`] sends; as long as the stream's read timeout says.
pub(super) fn receive(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let message = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut with, flags)?;
    if message.bytes != 1 || byte != [LISTENERS] {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut listeners = Vec::new();
    for part in with.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = part {
            listeners.extend(descriptors);
        }
    }
    Ok(listeners)
}
