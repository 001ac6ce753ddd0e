//! What is done in the child between fork and exec.

use std::process::Command;

/// Lets the child be killed when the thread that starts it ends.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
pub(crate) fn die_with_parent(command: &mut Command) {
    use std::io;
    use std::os::unix::process::CommandExt;

    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

    let parent = getpid();
    let ask = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have died before that: nobody waits for an answer then.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: it runs in a child that is forked off one thread of many, so it may take no lock and no
    // memory. It makes two system calls and compares numbers; its errors are plain numbers.
    unsafe { command.pre_exec(ask) };
}

/// No such signal is known here.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn die_with_parent(_: &mut Command) {}
