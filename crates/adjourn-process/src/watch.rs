//! The thread that starts a child, waits for its group, and reaps the leader last.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, WaitId, WaitIdOptions, test_kill_process_group, waitid};

use crate::group::Group;
use crate::lines::{self, Reading, Told};
use crate::{members, sys};

/// The longest time between two looks at a group whose leader is over.
const LOOK: Duration = Duration::from_millis(100);

/// How long an output is read on when the group is empty and nothing more comes. The end of it does not
/// come where somebody outside of the group has it too.
const LATE: Duration = Duration::from_secs(1);

/// What a pipe holds at most, unless root has made it larger: pipe(7). When the group is empty no more of
/// its bytes than that are unread.
const PIPE: u64 = 1024 * 1024;

/// Starts a process, on a thread that lives as long as it does, since the process dies with it.
///
/// It waits for that as any `spawn` of a process does, on an executor too. If it did not, a program could
/// end between the process's start and whoever wants to kill it.
pub(crate) fn start(mut command: Command, told: [Option<Told>; 2]) -> io::Result<Arc<Group>> {
    let (send, started) = sync_channel(1);
    let watch = move || {
        sys::die_with_parent(&mut command);
        let spawned = command.spawn();
        drop(command); // the child's ends of the pipes, where it holds any
        let (child, group) = match spawned.and_then(with_group) {
            Ok((child, group)) => (child, Arc::new(group)),
            Err(error) => {
                _ = send.send(Err(error));
                return;
            }
        };
        _ = send.send(Ok(group.clone()));
        watch(&group, child, told, members::one_beside);
    };
    thread::Builder::new().name("adjourn-child".to_owned()).spawn(watch)?;
    started.recv().unwrap_or_else(|_| Err(io::Error::other("the thread of a child panicked")))
}

fn with_group(child: Child) -> io::Result<(Child, Group)> {
    let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let leader = leader.ok_or(io::ErrorKind::InvalidData)?; // no number of a process is that large
    Ok((child, Group::new(leader)))
}

/// Finds one that lives beside the leader: `members::one_beside`.
type Look = fn(Pid, Option<Pid>) -> io::Result<Option<Pid>>;

fn watch(group: &Group, mut child: Child, told: [Option<Told>; 2], look: Look) {
    let leader = group.leader();
    drop(child.stdin.take());
    let [out, err] = told;
    let readers =
        [Reader::start(child.stdout.take(), out), Reader::start(child.stderr.take(), err)];
    if readers.iter().any(Result::is_err) {
        group.kill(); // it would block on what nobody reads
    }
    let wait = || waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    let waited = retry_on_intr(wait).map_err(io::Error::from);
    let early = waited.and_then(|_| wait_for_others(group, &mut child, leader, look));
    let mut unread = None;
    for reader in readers {
        match reader {
            Ok(Some(reader)) => {
                if !reader.ends_well() {
                    unread = Some(io::Error::other("who is told of the child's lines panicked"));
                }
            }
            Ok(None) => {}
            Err(error) => unread = Some(error),
        }
    }
    group.over(|kill| {
        let status = match early {
            Ok(Some(status)) => Ok(status),
            Ok(None) => {
                // Whoever was missed; the zombie still has the number.
                kill();
                child.wait()
            }
            // Nothing is known of the group. As long as somebody is in it the number is its own.
            Err(error) => {
                kill();
                Err(not_waited(error))
            }
        }?;
        unread.map_or(Ok(status), Err)
    });
}

/// Waits until the leader, which is over, is alone in its group. Returns its status if it had to be
/// reaped for that.
fn wait_for_others(
    group: &Group,
    child: &mut Child,
    leader: Pid,
    look: Look,
) -> io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_millis(1);
    let mut known = None;
    let status = loop {
        match look(leader, known) {
            Ok(None) => return Ok(None),
            Ok(found) => known = found,
            Err(error) if is_short(&error) => {}
            Err(_) => break group.reap_first(|| child.wait())?,
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LOOK);
    };
    // An error: there is nobody, or nobody whom we may signal, of whom nothing is known.
    while test_kill_process_group(leader).is_ok() {
        thread::sleep(pause);
        pause = (pause * 2).min(LOOK);
    }
    Ok(Some(status))
}

/// Whether the system has too little of something at the moment: who is there is not known.
fn is_short(error: &io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|number| short.contains(&number))
}

/// What is said where the leader could not be waited for.
fn not_waited(error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(Errno::CHILD.raw_os_error()) {
        return error;
    }
    let why = "the child's status is lost: SIGCHLD is ignored (it may be inherited from the parent), or \
               somebody else waits for all children of this process";
    io::Error::new(error.kind(), why)
}

/// A thread that reads one output.
struct Reader {
    /// Whether `told` panicked; sent at the end.
    panicked: Receiver<bool>,
    reading: Arc<Reading>,
}

impl Reader {
    fn start(
        from: Option<impl Read + Send + 'static>,
        told: Option<Told>,
    ) -> io::Result<Option<Reader>> {
        let Some(from) = from else { return Ok(None) };
        let (end, panicked) = channel();
        let reading = Arc::new(Reading::default());
        let shared = reading.clone();
        let read = move || {
            _ = end.send(lines::read(from, told, &shared));
        };
        thread::Builder::new().name("adjourn-child-out".to_owned()).spawn(read)?;
        Ok(Some(Reader { panicked, reading }))
    }

    /// Waits until all that the group wrote is told, however long that takes; nothing is told afterwards.
    /// Returns whether nobody panicked.
    fn ends_well(self) -> bool {
        let Reading { read, telling, over } = &*self.reading;
        let mut before = read.load(SeqCst);
        let most = before + PIPE;
        loop {
            match self.panicked.recv_timeout(LATE) {
                Ok(panicked) => return !panicked,
                Err(RecvTimeoutError::Disconnected) => return false, // it panicked itself
                Err(RecvTimeoutError::Timeout) => {}
            }
            let telling = telling.load(SeqCst);
            let now = read.load(SeqCst);
            if now > most || now == before && !telling {
                over.store(true, SeqCst);
                return true;
            }
            before = now;
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Instant;

    use super::*;

    /// Whose leader is over at once, while another process goes on.
    fn leaves(other: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{other} & exit 3")]).process_group(0);
        command
    }

    /// Watches it to its end. Returns its status and its number.
    fn watched(mut command: Command, look: Look) -> (i32, Pid) {
        let (child, group) = with_group(command.spawn().unwrap()).unwrap();
        watch(&group, child, [None, None], look);
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(ended) = pin!(group.ended()).poll(&mut cx) else {
            panic!("it is over");
        };
        (ended.unwrap().code().unwrap(), group.leader())
    }

    fn is_gone(leader: Pid) {
        for _ in 0..1_000 {
            if members::one_beside(leader, None).unwrap().is_none() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("somebody is left");
    }

    #[test]
    fn who_was_missed_is_killed_before_the_leader_is_reaped() {
        let (code, leader) = watched(leaves("sleep 1000"), |_, _| Ok(None));
        assert_eq!(code, 3);
        is_gone(leader);
    }

    #[test]
    fn without_proc_the_group_is_waited_for_too() {
        let begun = Instant::now();
        let (code, leader) = watched(leaves("sleep 0.3"), |_, _| Err(io::ErrorKind::Other.into()));
        assert_eq!(code, 3);
        assert!(begun.elapsed() >= Duration::from_millis(300), "it was there all the time");
        is_gone(leader);
    }

    #[test]
    fn lines_that_are_told_slowly_are_all_told() {
        let mut command = Command::new("sh");
        command.args(["-c", "yes | head -n 150"]).process_group(0);
        command.stdout(std::process::Stdio::piped());
        let (line, lines) = channel();
        let told: Told = Box::new(move |_| {
            // All together longer than what is waited for where nothing moves.
            thread::sleep(Duration::from_millis(10));
            line.send(()).unwrap();
        });
        let (child, group) = with_group(command.spawn().unwrap()).unwrap();
        watch(&group, child, [Some(told), None], members::one_beside);
        assert_eq!(lines.try_iter().count(), 150);
    }
}
