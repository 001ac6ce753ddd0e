//! What the system tells of a peer, and its lock of a file.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// Returns the user that this process acts as.
pub(crate) fn own_user() -> u32 {
    // SAFETY: it takes nothing and cannot fail (POSIX).
    unsafe { libc::geteuid() }
}

/// Locks a file until it is closed; `WouldBlock`, if another program has.
///
/// In place of `File::try_lock`, which is younger than our oldest Rust.
pub(crate) fn try_lock(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed; nothing else is passed.
    let result = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns the user at the other end, as of when the connection was made.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn user_of(peer: &UnixStream) -> io::Result<u32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as `peer` is borrowed; the pointers are to a `ucred`
    // and its length, which the kernel fills with no more than that.
    let result = unsafe {
        libc::getsockopt(
            peer.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(credentials.uid) } else { Err(io::Error::last_os_error()) }
}

/// Returns the user at the other end, as of when the connection was made.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn user_of(peer: &UnixStream) -> io::Result<u32> {
    let (mut user, mut group) = (0, 0);
    // SAFETY: the descriptor is open for as long as `peer` is borrowed; both pointers are to ids that
    // live past the call.
    let result = unsafe { libc::getpeereid(peer.as_raw_fd(), &raw mut user, &raw mut group) };
    if result == 0 { Ok(user) } else { Err(io::Error::last_os_error()) }
}
