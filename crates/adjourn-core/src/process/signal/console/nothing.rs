//! Where there are neither signals nor console events.

use std::io::{self, Write};

use super::Signal;

pub(super) const HEARD: &[Signal] = &[];

pub(super) fn install() -> io::Result<()> {
    Ok(())
}

pub(super) fn is_service() -> bool {
    false
}

/// With std's lock, past which there is no way that is the same on every system.
pub(super) fn write_stderr(bytes: &[u8]) -> bool {
    io::stderr().write_all(bytes).is_ok()
}

pub(super) fn exit_now(code: i32) -> ! {
    std::process::exit(code)
}

pub(super) fn stderr_width() -> Option<usize> {
    None
}
