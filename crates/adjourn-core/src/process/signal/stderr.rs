//! Standard error, written past std's lock and within a time.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use super::{Signal, sys};

pub(super) fn write_stderr(bytes: &[u8], within: Duration) -> bool {
    /// At most what POSIX guarantees a ready pipe to take (_POSIX_PIPE_BUF).
    const CHUNK: usize = 512;
    let private = private_stderr();
    let fd = private.as_ref().map_or(libc::STDERR_FILENO, |file| file.as_raw_fd());
    // Under `stty tostop` the terminal stops a background job that writes, and the warden with it. Where
    // the signal is blocked it writes (POSIX, General Terminal Interface, 11.1.4).
    let stops = [Signal(libc::SIGTTOU)].into_iter();
    let before = sys::blocked(stops.clone());
    sys::block(true, stops.clone());
    let written = write_within(fd, bytes.chunks(CHUNK), Instant::now().checked_add(within));
    if before == 0 {
        sys::block(false, stops);
    }
    written
}

fn write_within<'a>(
    fd: RawFd,
    chunks: impl Iterator<Item = &'a [u8]>,
    deadline: Option<Instant>,
) -> bool {
    for mut chunk in chunks {
        while !chunk.is_empty() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match sys::poll(fd, libc::POLLOUT, left) {
                Ok(libc::POLLOUT) => {}
                Ok(0) if left.is_none_or(|left| !left.is_zero()) => continue,
                // Out of time, or nobody reads: then a write could raise SIGPIPE.
                _ => return false,
            }
            match sys::write(fd, chunk) {
                Ok(0) => return false,
                Ok(written) => chunk = &chunk[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if left.is_some_and(|left| left.is_zero()) {
                        return false;
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                Err(_) => return false,
            }
        }
    }
    true
}

/// Standard error through a file description of our own, if it is a pipe or a terminal (which poll(2)
/// calls writable as soon as one byte fits, and which then takes all or waits): this one can be
/// non-blocking without changing the one that is shared, so that no other writer makes us wait.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn private_stderr() -> Option<File> {
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
    const STDERR: &str = "/proc/self/fd/2";
    let kind = std::fs::metadata(STDERR).ok()?.file_type();
    if !kind.is_fifo() && !kind.is_char_device() {
        return None;
    }
    File::options().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(STDERR).ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn private_stderr() -> Option<File> {
    None
}
