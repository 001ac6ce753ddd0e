//! Tells systemd of an Adjourn program, beyond `READY=1` and `STOPPING=1`, which the core tells by itself
//! ([`ready`](adjourn_core::ready)). And `Inherited` takes the sockets that systemd opened for it
//! (sd_listen_fds(3)).
//!
//! ```no_run
//! use adjourn_systemd::Systemd;
//! # fn run(runner: adjourn_core::Runner<()>) -> adjourn_core::Runner<()> {
//! runner.observe(Systemd::new())
//! # }
//! ```
//!
//! | what | when | source |
//! |---|---|---|
//! | `STATUS=` | at the start, when it is ready, each second of the stop: what is waited for, and how long at most | sd_notify(3) |
//! | `EXTEND_TIMEOUT_USEC=` | each second of the stop, never past the program's own deadline | sd_notify(3) |
//! | `WATCHDOG=1` | at half of `WatchdogSec=`, as long as the executor comes to a small task | sd_watchdog_enabled(3) |
//! | `RELOADING=1` and `READY=1` | around [`reload`] | sd_notify(3) |
//! | `BARRIER=1` | by [`Manager::barrier`] | sd_notify_barrier(3) |
//! | `MAINPID=` | by [`Manager::main_pid`] | sd_notify(3) |
//!
//! Sockets by path, abstract ones and vsock are served. Where there is no `NOTIFY_SOCKET`, all of it does
//! nothing. A manager that does not read holds nobody up: what it cannot take is left out, and comes again
//! with the next second.
//!
//! With `EXTEND_TIMEOUT_USEC=` a unit needs no `TimeoutStopSec=` that fits the program's own timeout; it
//! still bounds a program that has stopped telling.

#![deny(unsafe_code)] // `sys` alone is allowed it, with a proof at each site

#[cfg(unix)]
mod inherited;
#[cfg(target_os = "linux")]
mod manager;
#[cfg(not(target_os = "linux"))]
#[path = "nobody.rs"]
mod manager;
mod status;
#[cfg(unix)]
mod sys;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use adjourn_core::{Event, Inspector, Observer, Phase, Scope, task};

#[cfg(unix)]
pub use self::inherited::Inherited;
pub use self::manager::Manager;

/// So many tasks are asked for.
const MOST: usize = 1_000;
/// How often the manager is told during the stop.
const PERIOD: Duration = Duration::from_secs(1);
/// For how long the manager is asked to wait, each time.
const AHEAD: Duration = Duration::from_secs(10);

/// Tells systemd what happens: an [`Observer`].
#[derive(Default)]
pub struct Systemd {
    manager: Option<Manager>,
    watchdog: Option<Watchdog>,
    stopping: bool,
}

/// When the executor last came to our task.
struct Watchdog {
    period: Duration,
    since: Instant,
    /// In milliseconds.
    last: Arc<AtomicU64>,
}

impl Systemd {
    /// Tells whoever `NOTIFY_SOCKET` names.
    pub fn new() -> Systemd {
        Systemd { manager: Manager::from_env(), ..Systemd::default() }
    }

    fn say(&self, state: &str) {
        if let Some(manager) = &self.manager {
            _ = manager.send(state); // it comes again, or it is too late
        }
    }

    /// Tells what the program is at, and asks for time. Returns when to do so again.
    fn tell_of_the_stop(&self, program: &Inspector) -> Option<Duration> {
        let status = program.status()?;
        let mut state = format!("STATUS={}", status::of_a_stop(&status, &program.alive(MOST)));
        // Without a deadline the manager's own is the only one, and stays.
        if let Some(left) = status.time_left {
            let more = left.min(AHEAD).max(Duration::from_millis(1));
            state += &format!("\nEXTEND_TIMEOUT_USEC={}", more.as_micros());
        }
        self.say(&state);
        Some(PERIOD)
    }

    /// Tells the watchdog, if the executor was there. Returns when to do so again.
    fn tell_the_watchdog(&self, program: &Inspector) -> Option<Duration> {
        let watchdog = self.watchdog.as_ref()?;
        // In a stop the program's own deadline ends what is stuck, and our task is cancelled as others.
        if program.phase() != Some(Phase::Running) || watchdog.is_alive() {
            self.say("WATCHDOG=1");
        }
        Some(watchdog.period / 2)
    }
}

impl Watchdog {
    fn is_alive(&self) -> bool {
        let age =
            self.since.elapsed().saturating_sub(Duration::from_millis(self.last.load(SeqCst)));
        age < self.period / 2
    }

    /// Has the executor come to a small task again and again. It keeps nothing alive.
    fn start(period: Duration) -> Watchdog {
        let (since, last) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let beats = last.clone();
        task("watchdog").background().spawn(async move {
            loop {
                beats.store(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX), SeqCst);
                Scope::current().sleep((period / 4).max(Duration::from_millis(1))).await;
            }
        });
        Watchdog { period, since, last }
    }
}

impl Observer for Systemd {
    fn name(&self) -> String {
        "systemd".to_owned()
    }

    fn observe(&mut self, event: &Event, program: &Inspector) -> Option<Duration> {
        self.manager.as_ref()?;
        match event {
            Event::Started => {
                self.watchdog = manager::watchdog_period().map(Watchdog::start);
                self.say("STATUS=Starting");
            }
            Event::Ready => self.say("STATUS=Running"),
            Event::Stopping(_) | Event::Phase(_) => self.stopping = true,
            Event::Ended(report) => {
                self.say(&format!("STATUS={}", status::of_the_end(report)));
                return None;
            }
            _ => {}
        }
        let stop = if self.stopping { self.tell_of_the_stop(program) } else { None };
        let watchdog = self.tell_the_watchdog(program);
        [stop, watchdog].into_iter().flatten().min()
    }
}

impl fmt::Debug for Systemd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Systemd").field("manager", &self.manager).finish_non_exhaustive()
    }
}

/// Tells systemd that the service reads its configuration anew while `reads` runs: for
/// `Type=notify-reload`, whose reload is over when the service says so, and by which others wait for it.
///
/// Says `RELOADING=1` with the clock's time before, and `READY=1` after it, also if `reads` panics.
/// systemd.service(5) wants both, in this order. Call it when SIGHUP comes
/// ([`Runner::on_signal`](adjourn_core::Runner::on_signal)), in a task and not in the handler, where it
/// would hold the next signal up.
pub fn reload<T>(reads: impl FnOnce() -> T) -> T {
    struct Ready(Option<Manager>);
    impl Drop for Ready {
        fn drop(&mut self) {
            if let Some(manager) = &self.0 {
                _ = manager.send("READY=1");
            }
        }
    }
    let ready = Ready(Manager::from_env());
    if let Some(manager) = &ready.0 {
        _ = manager.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", manager::monotonic_micros()));
    }
    reads()
}
