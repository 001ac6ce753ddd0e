//! The threads that watch over a program from outside its executor.
//!
//! Two, since what they must withstand differs. The **host** hears the signals and wakes the
//! driver, so it runs the executor's wakers. The **warden** keeps the deadline: it runs no hook,
//! sink, subscriber, waker or destructor, waits for no lock but its own, and so is there when all
//! else is stuck.
//!
//! Where the backend brings a [`Host`](crate::contract::rt::Host) there is neither. The machine's limits, the
//! hard ones too, are then kept by the driver alone, on the backend's clock.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::contract::report::Report;
use crate::contract::rt::Timer;
use crate::phase::{Event, Limits};
use crate::process::signal::{self, Listener, Nudger};
use crate::program::{Program, Supervisor};

/// How long after the deadline, or after it was forced, `run` may take to return by itself.
const GRACE: Duration = Duration::from_millis(75);
/// How long before the deadline the executor's own end is given up, so that `run` returns in time.
const MARGIN: Duration = Duration::from_millis(50);
/// How long actions may lie undone before the calling thread is woken to perform them.
const STALL: Duration = Duration::from_millis(5);

/// What supervises one program: threads of its own, or a host that the backend brings.
pub(crate) enum Supervision {
    Threads(Threads),
    Hosted(Arc<Program>),
}

/// The supervising threads of one program.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    host: Option<JoinHandle<()>>,
    warden: Option<JoinHandle<()>>,
}

struct Shared {
    watch: Mutex<Watch>,
    bell: Condvar,
    nudger: Nudger,
    pending: AtomicBool,
}

#[derive(Clone, Copy, Default)]
struct Watch {
    /// When the stop began, and its limits.
    armed: Option<(Instant, Limits)>,
    forced: Option<Instant>,
    /// The host's work is over.
    unheard: bool,
    /// `run` returns: the warden's work is over too.
    over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Watch)) {
        change(&mut self.lock());
        self.bell.notify_all();
        self.nudger.nudge();
    }
}

impl Supervisor for Shared {
    fn armed(&self, limits: Limits) {
        self.change(|watch| watch.armed = Some((Instant::now(), limits)));
    }

    fn forced(&self) {
        self.change(|watch| watch.forced = watch.forced.or_else(|| Some(Instant::now())));
    }

    fn pending(&self) {
        if !self.pending.swap(true, SeqCst) {
            self.nudger.nudge();
        }
    }
}

impl Watch {
    fn instant(&self, span: impl FnOnce(&Limits) -> Duration) -> Option<Instant> {
        let (start, limits) = self.armed.as_ref()?;
        start.checked_add(span(limits))
    }

    /// When the process is ended, should `run` not have returned.
    fn end(&self) -> Option<Instant> {
        let deadline = self.instant(|limits| limits.deadline);
        let end = [deadline, self.forced].into_iter().flatten().min()?;
        end.checked_add(GRACE)
    }
}

impl Supervision {
    /// Starts the threads; without a listener, hands the program to the backend's host.
    pub(crate) fn start(
        program: &Arc<Program>,
        listener: Option<Listener>,
        warden: bool,
    ) -> io::Result<Supervision> {
        if let Some(listener) = listener {
            return Threads::start(program, listener, warden).map(Supervision::Threads);
        }
        if let Some(host) = program.backend.host() {
            host.starts(program.hosted());
        }
        Ok(Supervision::Hosted(program.clone()))
    }

    /// How much of the time until the deadline is left for the executor's end, a little less than
    /// all of it; `None` where there is no deadline.
    pub(crate) fn left(&self) -> Option<Duration> {
        match self {
            Supervision::Threads(threads) => threads.left(),
            Supervision::Hosted(program) => program.left(),
        }
    }

    /// Gives the signals back. The deadline is kept until this is dropped.
    pub(crate) fn stop_listening(&mut self) {
        if let Supervision::Threads(threads) = self {
            threads.stop_listening();
        }
    }
}

impl Threads {
    /// Starts the threads; `warden` ends the process when the calling thread is stuck.
    pub(crate) fn start(
        program: &Arc<Program>,
        listener: Listener,
        warden: bool,
    ) -> io::Result<Threads> {
        let shared = Arc::new(Shared {
            watch: Mutex::default(),
            bell: Condvar::new(),
            nudger: listener.nudger(),
            pending: AtomicBool::new(false),
        });
        _ = program.supervisor.set(shared.clone());
        let mut supervision = Threads { shared: shared.clone(), host: None, warden: None };
        if warden {
            let (program, shared) = (program.clone(), shared.clone());
            let thread = thread::Builder::new().name("adjourn-warden".to_owned());
            supervision.warden = Some(thread.spawn(move || keep(&program, &shared))?);
        }
        let program = program.clone();
        let thread = thread::Builder::new().name("adjourn-host".to_owned());
        supervision.host = Some(thread.spawn(move || host(&program, &shared, listener))?);
        Ok(supervision)
    }

    fn left(&self) -> Option<Duration> {
        let watch = *self.shared.lock();
        if watch.forced.is_some() {
            return Some(Duration::ZERO);
        }
        let deadline = watch.instant(|limits| limits.deadline)?;
        let left = deadline.saturating_duration_since(Instant::now());
        Some(left - (left / 2).min(MARGIN))
    }

    fn stop_listening(&mut self) {
        self.shared.change(|watch| watch.unheard = true);
        if let Some(host) = self.host.take() {
            _ = host.join();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop_listening();
        self.shared.change(|watch| watch.over = true);
        if let Some(warden) = self.warden.take() {
            _ = warden.join();
        }
    }
}

/// Hears signals and tells the program of them and of the hard limits.
fn host(program: &Arc<Program>, shared: &Shared, mut listener: Listener) {
    let mut told = [false; 3];
    loop {
        let watch = *shared.lock();
        if watch.unheard {
            return; // dropping the listener gives the signals back
        }
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        let instants = [
            watch.instant(|limits| limits.cut_off),
            watch.instant(near_deadline),
            watch.instant(|limits| limits.deadline),
        ];
        for (index, at) in instants.into_iter().enumerate() {
            let Some(at) = at.filter(|_| !told[index]) else { continue };
            if at > now {
                next = Some(next.map_or(at, |next| next.min(at)));
                continue;
            }
            told[index] = true;
            match index {
                0 => program.event(Event::CutOff),
                1 => program.expire(),
                _ => program.event(Event::Deadline),
            }
            program.summon();
        }
        let stall = shared.pending.load(SeqCst).then(|| now + STALL);
        let next = next.into_iter().chain(stall).min();
        let timeout = next.map(|at| at.saturating_duration_since(Instant::now()));
        for (signal, count) in listener.wait(timeout).iter() {
            program.hear(signal, count);
        }
        if stall.is_some_and(|at| at <= Instant::now()) {
            shared.pending.store(false, SeqCst);
            if program.is_stalled() {
                shared.pending.store(true, SeqCst);
                program.summon();
            }
        }
    }
}

/// When `run` gives up on what it cut off, from the stop request: a little before the deadline.
pub(crate) fn near_deadline(limits: &Limits) -> Duration {
    let reserve = limits.deadline.saturating_sub(limits.cut_off);
    limits.deadline.saturating_sub((reserve / 2).min(MARGIN))
}

/// Keeps the deadline: ends the process when `run` has not returned by then.
fn keep(program: &Program, shared: &Shared) {
    let mut watch = shared.lock();
    while !watch.over {
        let left = watch.end().map(|end| end.saturating_duration_since(Instant::now()));
        watch = match left {
            Some(left) if left.is_zero() => {
                drop(watch);
                end_process(program);
            }
            Some(left) => match shared.bell.wait_timeout(watch, left) {
                Ok((watch, _)) => watch,
                Err(poison) => poison.into_inner().0,
            },
            None => shared.bell.wait(watch).unwrap_or_else(PoisonError::into_inner),
        };
    }
}

/// Ends the process with the report's code and, unless that is clean, the report on standard error.
fn end_process(program: &Program) -> ! {
    let mut report = None;
    for _ in 0..20 {
        report = program.peek();
        if report.is_some() {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let report = report.unwrap_or_else(|| Report { stuck: true, ..Report::default() });
    if !report.is_clean() {
        signal::write_stderr(format!("{report}\n").as_bytes(), Duration::from_millis(20));
    }
    if let Some(signal) = program.raises(&report) {
        signal::raise_default(signal);
    }
    signal::exit_now(report.exit_code().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(cut_off: u64, deadline: u64) -> Limits {
        let [lame_duck, drain] = [Duration::ZERO; 2];
        let [cut_off, deadline] = [cut_off, deadline].map(Duration::from_millis);
        Limits { lame_duck, drain, cut_off, deadline }
    }

    #[test]
    fn what_was_cut_off_is_waited_for_until_a_little_before_the_deadline() {
        assert_eq!(near_deadline(&limits(23_000, 25_000)), Duration::from_millis(24_950));
        assert_eq!(near_deadline(&limits(24_980, 25_000)), Duration::from_millis(24_990));
        assert_eq!(near_deadline(&limits(25_000, 25_000)), Duration::from_millis(25_000));
    }

    #[test]
    fn the_executors_end_has_a_little_less_than_all_the_time() {
        let listener = Listener::new(&[]).unwrap();
        let shared = Arc::new(Shared {
            watch: Mutex::default(),
            bell: Condvar::new(),
            nudger: listener.nudger(),
            pending: AtomicBool::new(false),
        });
        let threads = Threads { shared: shared.clone(), host: None, warden: None };
        assert_eq!(threads.left(), None);
        let before = Instant::now();
        shared.armed(limits(90_000, 100_000));
        let left = threads.left().unwrap();
        let most = Duration::from_secs(100) - MARGIN;
        assert!(left <= most && left + before.elapsed() >= most, "{left:?}");
        let end = shared.lock().end().unwrap();
        assert!(end >= before + Duration::from_secs(100) + GRACE);
        shared.forced();
        assert_eq!(threads.left(), Some(Duration::ZERO));
        let end = shared.lock().end().unwrap();
        assert!(end <= Instant::now() + GRACE && end >= before + GRACE);
    }
}
