//! Answers health checks of an Adjourn program, from a thread of its own: also when every worker is
//! stuck, and then it says so.
//!
//! ```no_run
//! use adjourn_health::Health;
//! # fn run(runner: adjourn_core::Runner<()>) -> adjourn_core::Runner<()> {
//! runner.observe(Health::on(([0, 0, 0, 0], 8080)))
//! # }
//! ```
//!
//! | path | 200 | 503 |
//! |---|---|---|
//! | `/livez` | the process is well: leave it alone | the executor has not come to a small task for [10 s](Health::heartbeat_limit): restart it |
//! | `/readyz` | the program said that it is [`ready`](adjourn_core::ready), and no stop has begun | send it no work |
//! | `/statusz` | the program as JSON: status, and up to a hundred tasks that are alive | it has not started yet |
//!
//! The names are those of Kubernetes' own servers. The two questions are not the same: a program that is
//! told to stop is not ready from that instant on, so that load balancers look elsewhere, and stays alive
//! until it has ended in order. A liveness check that failed then would have it killed. So `/livez`
//! answers 200 through the whole stop: what is stuck in it ends by the program's own deadline.
//!
//! It answers until the program's end, with the lame duck and the drain. HTTP/1 is spoken, `GET` and
//! `HEAD`, one request a connection. At most 16 clients are served at once, each for two seconds (50 ms
//! while others wait), and a request's head may have 4 KiB; so no client holds up another.

#![forbid(unsafe_code)]

mod answer;
mod server;

use std::error::Error;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use adjourn_core::{Event, Inspector, Observer, Phase, Scope, Stopper, task};

use self::server::Server;

/// An endpoint for health checks: an [`Observer`].
///
/// Errors at the start: the address is in use or not this machine's, its port is 0, or the
/// [limit](Health::heartbeat_limit) is zero; `main` is not polled then.
pub struct Health {
    place: Place,
    pulse: Arc<Pulse>,
    limit: Duration,
    server: Option<Server>,
}

enum Place {
    At(SocketAddr),
    Bound(TcpListener),
    Taken,
}

impl Health {
    /// Listens at this address once the program starts: `([0, 0, 0, 0], 8080)`. Kubernetes asks from
    /// outside of the pod, so there the loopback is not enough.
    pub fn on(address: impl Into<SocketAddr>) -> Health {
        Health::with(Place::At(address.into()))
    }

    /// Answers on a listener that is there: an inherited one, or one on a port that the system chose.
    pub fn with_listener(listener: TcpListener) -> Health {
        Health::with(Place::Bound(listener))
    }

    fn with(place: Place) -> Health {
        let limit = Duration::from_secs(10);
        Health { place, pulse: Arc::default(), limit, server: None }
    }

    /// How long the executor may take to come to a task of ours before `/livez` answers 503. Default:
    /// 10 s. [`Duration::MAX`]: as long as it likes.
    ///
    /// The task sleeps for a quarter of that time again and again.
    pub fn heartbeat_limit(mut self, limit: Duration) -> Health {
        self.limit = limit;
        self
    }
}

impl Observer for Health {
    fn name(&self) -> String {
        match &self.place {
            Place::At(address) => format!("the health endpoint {address}"),
            _ => "the health endpoint".to_owned(),
        }
    }

    fn start(
        &mut self,
        program: &Inspector,
        _: &Stopper,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        if self.limit.is_zero() {
            return Err(
                "no executor keeps a heartbeat limit of zero: set one of some seconds".into()
            );
        }
        let listener = match std::mem::replace(&mut self.place, Place::Taken) {
            Place::At(address) if address.port() == 0 => {
                return Err(
                    "port 0 is one that the system chooses, and nobody would know which: bind \
                            a listener, and give it to `Health::with_listener`"
                        .into(),
                );
            }
            Place::At(address) => {
                let bound = TcpListener::bind(address);
                self.place = Place::At(address);
                bound.map_err(|error| {
                    format!("{error}: stop who has the address, or use another one")
                })?
            }
            Place::Bound(listener) => listener,
            Place::Taken => return Err("it has been started before: make one for each run".into()),
        };
        let checks =
            Checks { program: program.clone(), pulse: self.pulse.clone(), limit: self.limit };
        self.server = Some(Server::start(listener, checks)?);
        Ok(())
    }

    fn observe(&mut self, event: &Event, _: &Inspector) -> Option<Duration> {
        match event {
            Event::Started => self.pulse.start(self.limit),
            Event::Ended(_) => self.server = None,
            _ => {}
        }
        None
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// When the executor last came to our task.
#[derive(Default)]
struct Pulse {
    /// In milliseconds since the first; 0 before.
    last: AtomicU64,
    first: std::sync::OnceLock<Instant>,
}

impl Pulse {
    fn beat(&self) {
        let since = self.first.get_or_init(Instant::now).elapsed().as_millis();
        self.last.store(u64::try_from(since).unwrap_or(u64::MAX), SeqCst);
    }

    /// How long ago that was; `None` before the first.
    fn age(&self) -> Option<Duration> {
        let last = Duration::from_millis(self.last.load(SeqCst));
        Some(self.first.get()?.elapsed().saturating_sub(last))
    }

    /// Has the executor come to a small task again and again. It keeps nothing alive.
    fn start(self: &Arc<Pulse>, limit: Duration) {
        if limit == Duration::MAX {
            return;
        }
        self.beat(); // an executor that never comes to it is found out too
        let pulse = self.clone();
        let beats = async move {
            loop {
                pulse.beat();
                Scope::current().sleep((limit / 4).max(Duration::from_millis(1))).await;
            }
        };
        task("health").background().spawn(beats);
    }
}

/// What is asked about.
#[derive(Clone)]
struct Checks {
    program: Inspector,
    pulse: Arc<Pulse>,
    limit: Duration,
}

impl Checks {
    /// Why the process has to be restarted, if so.
    fn is_stuck(&self) -> Option<String> {
        // In a stop its deadline ends what is stuck; our task is cancelled like any other.
        if self.program.phase() != Some(Phase::Running) {
            return None;
        }
        let age = self.pulse.age().filter(|age| *age > self.limit)?;
        Some(format!("the executor has been stuck for {:.1} s", age.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use adjourn_core::Runner;

    use super::*;

    fn error(mut health: Health) -> String {
        let runner = Runner::<()>::new();
        health.start(&runner.inspector(), &runner.stopper()).unwrap_err().to_string()
    }

    #[test]
    fn what_could_not_work_is_an_error_at_the_start() {
        let free = || Health::with_listener(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let zero = error(free().heartbeat_limit(Duration::ZERO));
        assert!(zero.contains("set one of some seconds"), "{zero}");
        let port = error(Health::on((Ipv4Addr::LOCALHOST, 0)));
        assert!(port.contains("`Health::with_listener`"), "{port}");
        // Nobody can bind to an address of a network for documentation (RFC 5737).
        let address = error(Health::on(([192, 0, 2, 1], 8080)));
        assert!(address.contains("use another one"), "{address}");
    }
}
