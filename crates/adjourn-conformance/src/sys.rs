//! The system calls that process scenarios need.

#![allow(unsafe_code)] // each call with its proof

#[cfg(unix)]
mod imp {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use adjourn_core::Signal;

    /// Sends a signal to a child that has not been waited for.
    pub(crate) fn kill(child: u32, signal: i32) {
        // SAFETY: kill has no precondition; the number is a living or zombie child's own.
        unsafe { libc::kill(child as i32, signal) };
    }

    /// Raises a signal in this process, for whichever thread takes it.
    pub(crate) fn kill_self(signal: Signal) {
        // SAFETY: kill has no precondition.
        unsafe { libc::kill(libc::getpid(), signal.as_raw()) };
    }

    /// Gives a signal its default action, or has it ignored.
    pub(crate) fn set_ignored(signal: Signal, ignored: bool) {
        let action = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
        // SAFETY: neither action is a function of this program's.
        unsafe { libc::signal(signal.as_raw(), action) };
    }

    /// Lets the system end this process after so many seconds.
    pub(crate) fn end_after(seconds: u32) {
        // SAFETY: alarm has no precondition.
        unsafe { libc::alarm(seconds) };
    }

    /// Forks a child that raises a signal in itself; returns the signal that ended it, or zero.
    pub(crate) fn fork_and_raise(signal: Signal) -> i32 {
        let mut status = 0;
        // SAFETY: the child calls async-signal-safe functions only; `status` outlives waitpid.
        unsafe {
            let child = libc::fork();
            assert!(child >= 0, "fork failed");
            if child == 0 {
                libc::raise(signal.as_raw());
                libc::_exit(7);
            }
            libc::waitpid(child, &mut status, 0);
        }
        if libc::WIFSIGNALED(status) { libc::WTERMSIG(status) } else { 0 }
    }

    static HANDLED: AtomicUsize = AtomicUsize::new(0);

    extern "C" fn count(_: libc::c_int) {
        HANDLED.fetch_add(1, SeqCst);
    }

    /// Installs a handler that counts.
    pub(crate) fn handle(signal: Signal) {
        let handler: extern "C" fn(libc::c_int) = count;
        // SAFETY: the handler does one atomic addition, which is async-signal-safe.
        unsafe { libc::signal(signal.as_raw(), handler as libc::sighandler_t) };
    }

    /// Returns how often that handler was called.
    pub(crate) fn handled() -> usize {
        HANDLED.load(SeqCst)
    }

    pub(crate) use libc::{SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGSTOP, SIGTERM, SIGUSR1};
}

/// Elsewhere no process scenario is run: their tests are ignored.
#[cfg(not(unix))]
mod imp {
    use adjourn_core::Signal;

    pub(crate) fn kill(_: u32, _: i32) {}
    pub(crate) fn kill_self(_: Signal) {}
    pub(crate) fn set_ignored(_: Signal, _: bool) {}
    pub(crate) fn end_after(_: u32) {}
    pub(crate) fn handle(_: Signal) {}
    pub(crate) fn handled() -> usize {
        0
    }
    pub(crate) fn fork_and_raise(_: Signal) -> i32 {
        0
    }

    pub(crate) const SIGHUP: i32 = 1;
    pub(crate) const SIGINT: i32 = 2;
    pub(crate) const SIGKILL: i32 = 9;
    pub(crate) const SIGUSR1: i32 = 10;
    pub(crate) const SIGTERM: i32 = 15;
    pub(crate) const SIGCONT: i32 = 18;
    pub(crate) const SIGSTOP: i32 = 19;
}

pub(crate) use imp::*;
