//! The calls of the Windows API.
#![allow(unsafe_code, reason = "named pipes have no safe form in std")]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_NO_DATA, ERROR_PIPE_CONNECTED, ERROR_PIPE_LISTENING, FALSE,
    INVALID_HANDLE_VALUE, LocalFree,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::SECURITY_ATTRIBUTES;
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_FIRST_PIPE_INSTANCE, PIPE_ACCESS_DUPLEX};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, PIPE_NOWAIT, PIPE_READMODE_BYTE,
    PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_UNLIMITED_INSTANCES, PeekNamedPipe,
};

/// Full access for its owner, the system and administrators; none for anybody else.
const ACCESS: &str = "D:P(A;;GA;;;OW)(A;;GA;;;SY)(A;;GA;;;BA)";
/// Bytes that wait in either direction.
const BUFFER: u32 = 4096;

/// One end of a pipe: a client's, or the one that the next client finds. No call waits.
pub(super) struct Instance(File);

impl Instance {
    /// Makes the pipe; an error where there is one of this name.
    pub(super) fn first(name: &OsStr) -> io::Result<Instance> {
        create(name, FILE_FLAG_FIRST_PIPE_INSTANCE)
    }

    /// Makes another end of it.
    pub(super) fn another(name: &OsStr) -> io::Result<Instance> {
        create(name, 0)
    }

    /// Whether a client has found it.
    pub(super) fn is_connected(&self) -> io::Result<bool> {
        // SAFETY: the handle is that of a pipe and open; without an overlapped operation the call looks
        // and returns, as the pipe does not wait.
        let connected = unsafe { ConnectNamedPipe(self.0.as_raw_handle(), ptr::null_mut()) };
        if connected != FALSE {
            return Ok(false); // it listens from here on
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error().map(|code| code as u32) {
            // One that has come and gone is there too, until it was read to its end.
            Some(ERROR_PIPE_CONNECTED | ERROR_NO_DATA) => Ok(true),
            Some(ERROR_PIPE_LISTENING) => Ok(false),
            _ => Err(error),
        }
    }

    /// How many bytes can be read; an error at the client's end.
    fn waiting(&self) -> io::Result<u32> {
        let mut waiting = 0;
        // SAFETY: the handle is that of a pipe and open; the pointer is to a number that outlives the
        // call, and the others are null, which asks for nothing.
        let looked = unsafe {
            PeekNamedPipe(
                self.0.as_raw_handle(),
                ptr::null_mut(),
                0,
                ptr::null_mut(),
                &raw mut waiting,
                ptr::null_mut(),
            )
        };
        if looked == FALSE { Err(io::Error::last_os_error()) } else { Ok(waiting) }
    }
}

impl Read for Instance {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        // A pipe that does not wait says of an empty one what std takes for its end, so it is looked at
        // first.
        match self.waiting() {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(_) => self.0.read(bytes),
            Err(error) if error.raw_os_error() == Some(ERROR_BROKEN_PIPE as i32) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

impl Write for Instance {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn create(name: &OsStr, flags: u32) -> io::Result<Instance> {
    let name: Vec<u16> = name.encode_wide().chain([0]).collect();
    let access: Vec<u16> = ACCESS.encode_utf16().chain([0]).collect();
    let mut descriptor = ptr::null_mut();
    // SAFETY: the text ends with a zero; the pointer is to a pointer that outlives the call, which sets it
    // to memory that is freed below.
    let converted = unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            access.as_ptr(),
            SDDL_REVISION_1,
            &raw mut descriptor,
            ptr::null_mut(),
        )
    };
    if converted == FALSE {
        return Err(io::Error::last_os_error());
    }
    let security = SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: descriptor,
        bInheritHandle: FALSE,
    };
    // SAFETY: the name ends with a zero; `security` and its descriptor live past the call.
    let handle = unsafe {
        CreateNamedPipeW(
            name.as_ptr(),
            PIPE_ACCESS_DUPLEX | flags,
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_NOWAIT | PIPE_REJECT_REMOTE_CLIENTS,
            PIPE_UNLIMITED_INSTANCES,
            BUFFER,
            BUFFER,
            0,
            &raw const security,
        )
    };
    let error = io::Error::last_os_error();
    // SAFETY: the conversion has made it with LocalAlloc, and nothing refers to it any more.
    unsafe { LocalFree(descriptor) };
    if handle == INVALID_HANDLE_VALUE {
        return Err(error);
    }
    // SAFETY: the handle is open, and nobody else owns it.
    Ok(Instance(unsafe { File::from_raw_handle(handle) }))
}
