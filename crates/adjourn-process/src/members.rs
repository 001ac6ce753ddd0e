//! Who is in a process group beside its leader.

use std::io;

#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::io::Errno;
use rustix::process::Pid;

/// Returns one that lives in the group beside the leader, first of all the one that was `known` to.
///
/// The leader is a zombie of ours, so the group's number is its own. Orphans of the group that have become
/// our zombies, as process 1 has them, are reaped.
///
/// # Errors
///
/// Where there is no `/proc` of Linux, or that of another pid namespace; and where it cannot be read at the
/// moment, since descriptors or memory have run out.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn one_beside(leader: Pid, known: Option<Pid>) -> io::Result<Option<Pid>> {
    // To read all of /proc takes milliseconds, and a group may live for long without its leader.
    if let Some(known) = known {
        if Stat::read(known)?.is_some_and(|stat| stat.is_in(leader) && stat.is_alive()) {
            return Ok(Some(known));
        }
    }
    until_sure(|| scan(leader))
}

/// What one reading of `/proc` says.
#[cfg(any(target_os = "linux", target_os = "android"))]
enum Scan {
    /// This one lives in the group.
    Found(Pid),
    /// Nobody does.
    Nobody,
    /// Nobody was seen, but one may have been missed.
    Unsure,
}

/// Scans again while one may have been missed, four times at most.
///
/// The numbers are read first, then what they stand for. One that hands the group on to a child in
/// between, and ends, is not seen, and nor is its child. Daemons start like that, once or twice. To be
/// missed four times, a group has to be handed on in each of the scans.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn until_sure(mut scan: impl FnMut() -> io::Result<Scan>) -> io::Result<Option<Pid>> {
    for _ in 0..4 {
        match scan()? {
            Scan::Found(process) => return Ok(Some(process)),
            Scan::Nobody => break,
            Scan::Unsure => {}
        }
    }
    Ok(None)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn scan(leader: Pid) -> io::Result<Scan> {
    use rustix::process::{WaitId, WaitIdOptions, getpid, waitid};

    // It may be another pid namespace's, with other numbers.
    let own = std::fs::read_link("/proc/self")?;
    if own.to_str() != Some(&getpid().to_string()) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut sure = true;
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        let Some(process) = number.and_then(Pid::from_raw) else { continue };
        let Some(stat) = Stat::read(process)? else {
            sure = false; // gone by now: whose it was is not known
            continue;
        };
        if !stat.is_in(leader) || process == leader {
            continue;
        }
        if stat.is_alive() {
            return Ok(Scan::Found(process));
        }
        sure = false; // it may have been alive when its number was read
        if stat.parent == getpid().as_raw_nonzero().get() {
            _ = waitid(WaitId::Pid(process), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
    Ok(if sure { Scan::Nobody } else { Scan::Unsure })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn one_beside(_: Pid, _: Option<Pid>) -> io::Result<Option<Pid>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The fields of `/proc/N/stat` that matter: proc_pid_stat(5).
#[cfg(any(target_os = "linux", target_os = "android"))]
#[derive(Debug, PartialEq)]
struct Stat {
    state: u8,
    parent: i32,
    group: i32,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Stat {
    /// `None`: there is no such process.
    fn read(process: Pid) -> io::Result<Option<Stat>> {
        match std::fs::read(format!("/proc/{process}/stat")) {
            Ok(stat) => Ok(Stat::parse(&stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_in(&self, group: Pid) -> bool {
        self.group == group.as_raw_nonzero().get()
    }

    fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X')
    }

    fn parse(stat: &[u8]) -> Option<Stat> {
        // The name before them may have anything in it, brackets too.
        let end = stat.iter().rposition(|&byte| byte == b')')?;
        let mut fields = std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let mut number = || fields.next()?.parse().ok();
        Some(Stat { state, parent: number()?, group: number()? })
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_anything_in_it() {
        let stat = b"42 (a) S 7 (b)) Z 1 40 40 0 -1 4194560 1 2";
        assert_eq!(Stat::parse(stat), Some(Stat { state: b'Z', parent: 1, group: 40 }));
        assert_eq!(Stat::parse(b"42 (a) S 1"), None);
        assert_eq!(Stat::parse(b""), None);
        let own = std::fs::read("/proc/self/stat").unwrap();
        let own = Stat::parse(&own).unwrap();
        assert_eq!(own.group, rustix::process::getpgrp().as_raw_nonzero().get());
    }

    #[test]
    fn one_that_may_have_been_missed_is_looked_for_again() {
        let scans = |results: Vec<Scan>| {
            let mut results = results.into_iter();
            let found = until_sure(|| Ok(results.next().unwrap_or(Scan::Unsure))).unwrap();
            (found.is_some(), results.len())
        };
        let found = || Scan::Found(rustix::process::getpid());
        assert_eq!(scans(vec![Scan::Nobody, found()]), (false, 1));
        assert_eq!(scans(vec![Scan::Unsure, Scan::Unsure, found()]), (true, 0));
        assert_eq!(scans(vec![Scan::Unsure, Scan::Nobody, found()]), (false, 1));
        assert_eq!(scans(vec![]), (false, 0), "it ends");
    }
}
