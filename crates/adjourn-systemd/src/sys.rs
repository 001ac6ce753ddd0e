//! The one module with unsafe code: descriptors known by number.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::FdFlags;

/// Takes a descriptor that was passed to this process by its number.
///
/// # Errors
///
/// It is not open, or was opened by this process itself.
pub(crate) fn inherited(descriptor: i32) -> io::Result<OwnedFd> {
    // SAFETY: it is only asked for its flags, which fails where it is not open.
    let flags = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(descriptor) })?;
    if flags.contains(FdFlags::CLOEXEC) {
        return Err(io::Error::other("this process has opened it itself"));
    }
    // SAFETY: it is open and came through exec(2), since all that std opens is closed there. The protocol
    // of LISTEN_FDS says that it is for this process to own. `Inherited` takes it once.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
