//! The thread that starts a child, waits for its group, and reaps the leader last.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::retry_on_intr;
use rustix::process::{Pid, WaitId, WaitIdOptions, test_kill_process_group, waitid};

use crate::group::{self, Group};
use crate::lines::{self, Told};
use crate::{members, sys};

/// The longest time between two looks at a group whose leader is over.
const LOOK: Duration = Duration::from_millis(100);

/// How long the outputs are read on when the group is empty. What it wrote is in the pipes by then;
/// their end does not come where somebody outside of the group has them too.
const LATE: Duration = Duration::from_secs(1);

/// Starts the thread. It lives as long as the child, since the child dies with it.
pub(crate) fn start(
    group: Arc<Group>,
    command: Command,
    told: [Option<Told>; 2],
) -> io::Result<()> {
    let watch = move || watch(&group, command, told, members::one_beside);
    thread::Builder::new().name("adjourn-child".to_owned()).spawn(watch).map(drop)
}

/// Finds one that lives beside the leader: `members::one_beside`.
type Look = fn(Pid, Option<Pid>) -> io::Result<Option<Pid>>;

fn watch(group: &Group, mut command: Command, told: [Option<Told>; 2], look: Look) {
    sys::die_with_parent(&mut command);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return group.over(|| Err(error)),
    };
    drop(command); // the child's ends of the pipes, where it holds any
    let Some(leader) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return group.over(|| child.wait());
    };
    group.started(leader);
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
    let late = Instant::now() + LATE;
    let mut unread = None;
    for reader in readers {
        match reader {
            Ok(Some(reader)) => {
                if !reader.ends_well(late) {
                    unread = Some(io::Error::other("who is told of the child's lines panicked"));
                }
            }
            Ok(None) => {}
            Err(error) => unread = Some(error),
        }
    }
    group.over(|| {
        let status = early.and_then(|early| match early {
            Some(status) => Ok(status),
            None => {
                // Whoever was missed; the zombie still has the number.
                group::kill(leader);
                child.wait()
            }
        })?;
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
            Err(_) => break group.alone(|| child.wait())?,
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

/// A thread that reads one output.
struct Reader {
    /// Whether `told` panicked; sent at the end.
    panicked: Receiver<bool>,
    wanted: Arc<AtomicBool>,
}

impl Reader {
    fn start(
        from: Option<impl Read + Send + 'static>,
        told: Option<Told>,
    ) -> io::Result<Option<Reader>> {
        let Some(from) = from else { return Ok(None) };
        let (end, panicked) = channel();
        let wanted = Arc::new(AtomicBool::new(true));
        let is_wanted = wanted.clone();
        let read = move || {
            _ = end.send(lines::read(from, told, || is_wanted.load(SeqCst)));
        };
        thread::Builder::new().name("adjourn-child-out".to_owned()).spawn(read)?;
        Ok(Some(Reader { panicked, wanted }))
    }

    /// Waits until all is read, or until `late`; nothing is told afterwards. Returns whether nobody
    /// panicked.
    fn ends_well(self, late: Instant) -> bool {
        let left = late.saturating_duration_since(Instant::now());
        let panicked = self.panicked.recv_timeout(left);
        self.wanted.store(false, SeqCst);
        panicked != Ok(true)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Whose leader is over at once, while another process goes on.
    fn leaves(other: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("echo $$; {other} & exit 3")]).process_group(0);
        command.stdout(std::process::Stdio::piped());
        command
    }

    /// Watches it to its end. Returns its status and its number.
    fn watched(command: Command, look: Look) -> (i32, Pid) {
        let group = Group::new();
        let leader = Arc::new(std::sync::OnceLock::new());
        let said = leader.clone();
        let told: Told = Box::new(move |line| said.set(line.parse().unwrap()).unwrap());
        watch(&group, command, [Some(told), None], look);
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(ended) = pin!(group.ended()).poll(&mut cx) else {
            panic!("it is over");
        };
        let leader = Pid::from_raw(*leader.get().expect("it was told")).unwrap();
        (ended.unwrap().code().unwrap(), leader)
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
}
