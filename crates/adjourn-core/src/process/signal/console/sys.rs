//! The calls of the Windows API: the one unsafe module there. Nothing here loads user32, which would take
//! log-off and shutdown away from the handler (`SetConsoleCtrlHandler`, Remarks).
#![allow(unsafe_code, reason = "console events have no safe form in std")]

use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::{FALSE, HANDLE, INVALID_HANDLE_VALUE, TRUE};
use windows_sys::Win32::Storage::FileSystem::WriteFile;
use windows_sys::Win32::System::Console as console;
use windows_sys::Win32::System::RemoteDesktop::ProcessIdToSessionId;
use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};
use windows_sys::core::BOOL;

use super::{Event, Signal};

pub(super) const HEARD: &[Signal] =
    &[Signal::INTERRUPT, Signal::TERMINATE, Signal::BREAK, Signal::HANGUP];

unsafe extern "system" fn handle(event: u32) -> BOOL {
    let event = match event {
        console::CTRL_C_EVENT => Event::CtrlC,
        console::CTRL_BREAK_EVENT => Event::CtrlBreak,
        console::CTRL_CLOSE_EVENT => Event::Close,
        console::CTRL_LOGOFF_EVENT => Event::LogOff,
        console::CTRL_SHUTDOWN_EVENT => Event::Shutdown,
        _ => return FALSE,
    };
    BOOL::from(super::hear(event))
}

/// Has the handler called for each event, before those that were installed earlier.
pub(super) fn install() -> io::Result<()> {
    // SAFETY: the handler may be called on any thread at any time, and lives as long as the process.
    match unsafe { console::SetConsoleCtrlHandler(Some(handle), TRUE) } {
        FALSE => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Whether this is session 0, that of services, where nobody logs on.
pub(super) fn is_service() -> bool {
    let mut session = u32::MAX;
    // SAFETY: the pointer is valid for the call.
    let known = unsafe { ProcessIdToSessionId(std::process::id(), &mut session) };
    known != FALSE && session == 0
}

pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: no precondition. It does not return; `abort` is for the type alone.
    unsafe { TerminateProcess(GetCurrentProcess(), code as u32) };
    std::process::abort()
}

/// Writes to standard error without std's lock: UTF-16 to a console, the bytes to anything else. False
/// where there is none, as in a service.
pub(super) fn write_stderr(bytes: &[u8]) -> bool {
    // SAFETY: no precondition.
    let handle = unsafe { console::GetStdHandle(console::STD_ERROR_HANDLE) };
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return false;
    }
    let mut mode = 0;
    // SAFETY: the pointer is valid for the call; of a handle that is no console's it says so.
    if unsafe { console::GetConsoleMode(handle, &mut mode) } != FALSE {
        // A console takes about 64 KiB at once.
        let text: Vec<u16> = String::from_utf8_lossy(bytes).encode_utf16().collect();
        return text
            .chunks(8 * 1024)
            .all(|chunk| write_all(chunk, |rest| to_console(handle, rest)));
    }
    bytes.chunks(1 << 20).all(|chunk| write_all(chunk, |rest| to_file(handle, rest)))
}

/// How wide the console's window is; `None` where standard error is no console.
pub(super) fn stderr_width() -> Option<usize> {
    let mut info = console::CONSOLE_SCREEN_BUFFER_INFO::default();
    // SAFETY: no precondition.
    let handle = unsafe { console::GetStdHandle(console::STD_ERROR_HANDLE) };
    // SAFETY: the pointer is valid for the call; of a handle that is no console's it says so.
    let known = unsafe { console::GetConsoleScreenBufferInfo(handle, &mut info) };
    let width = i32::from(info.srWindow.Right) - i32::from(info.srWindow.Left) + 1;
    (known != FALSE).then(|| usize::try_from(width).ok()).flatten()
}

/// Writes all of it; `write` says how much it took, nothing where it failed.
fn write_all<T>(mut rest: &[T], write: impl Fn(&[T]) -> Option<u32>) -> bool {
    while !rest.is_empty() {
        match write(rest) {
            None | Some(0) => return false,
            Some(written) => rest = rest.get(written as usize..).unwrap_or_default(),
        }
    }
    true
}

fn to_console(handle: HANDLE, text: &[u16]) -> Option<u32> {
    let (from, length, mut written) = (text.as_ptr(), text.len() as u32, 0);
    // SAFETY: pointer and length are a slice's, `written` is valid for the call.
    let done = unsafe { console::WriteConsoleW(handle, from, length, &mut written, ptr::null()) };
    (done != FALSE).then_some(written)
}

fn to_file(handle: HANDLE, bytes: &[u8]) -> Option<u32> {
    let (from, length, mut written) = (bytes.as_ptr(), bytes.len() as u32, 0);
    // SAFETY: pointer and length are a slice's, `written` is valid for the call.
    let done = unsafe { WriteFile(handle, from, length, &mut written, ptr::null_mut()) };
    (done != FALSE).then_some(written)
}
