//! One connection, from its first byte to its last: what it does, and how long it may do nothing.
//!
//! # At the stop
//!
//! HTTP/1 has no word by which a server could say "no more" on a connection that is idle (RFC 9112,
//! 9.5). Two things come as near as can be:
//!
//! 1. Each answer whose head is written after the stop says `Connection: close` (`service.rs`).
//! 2. A connection without a request is kept for the idle time, so that the request that is on its way
//!    already still gets its answer.
//!
//! HTTP/2 has GOAWAY, which is sent at once.
//!
//! A connection is polled before its time is looked at. So what had arrived by then is read, and no
//! connection is closed over a request that was there.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use adjourn_core::rt::{AnyBackend, AnySleep, Timer};
use adjourn_core::{Scope, StopToken};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use tower_service::Service;

use crate::io::{Doing, Io, State};
use crate::rt::InScope;
use crate::service::Served;

/// How long the peer may go on sending after the last answer: a socket that is closed with unread input
/// is reset, and takes the answer with it. The times are nginx's (`lingering_time`,
/// `lingering_timeout`).
const LINGER: Duration = Duration::from_secs(30);
/// And how long it may be silent in between.
const LINGER_SILENT: Duration = Duration::from_secs(5);
/// How long where nothing comes at all: what was sent before the answer was seen is here by then.
const ROUND_TRIP: Duration = Duration::from_millis(500);

/// After GOAWAY a connection without a stream is kept for this long at least: a round trip.
const LAST_ROUND: Duration = Duration::from_secs(1);

/// What a server's connections have in common.
pub(crate) struct Settings {
    pub(crate) idle: Duration,
    pub(crate) head: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) http1: http1::Builder,
    pub(crate) http2: http2::Builder<InScope>,
}

impl Settings {
    /// How long a connection without a request is kept after the stop.
    fn idle_after(&self, stop: &StopToken) -> Duration {
        stop.time_left().map_or(self.idle, |left| self.idle.min(left / 10))
    }

    /// How long the rest of a head is waited for after the stop.
    fn head_after(&self, stop: &StopToken) -> Duration {
        stop.time_left().map_or(self.head, |left| self.head.min(left / 2))
    }
}

/// Serves one connection until it is over.
pub(crate) async fn serve<I, S, B>(
    mut io: Io<I>,
    service: S,
    settings: Arc<Settings>,
    server: Scope,
    server_stop: StopToken,
    stop: StopToken,
) where
    I: Read + Write + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let backend = server.backend().clone();
    match is_http2(&mut io, &settings, &backend, &stop).await {
        None => close(io, &backend).await,
        Some(false) => http1(io, service, &settings, &backend, [stop, server_stop]).await,
        // In a task and a scope of its own name, so that a report tells them apart.
        Some(true) => {
            let serve = |stop| async move { http2(io, service, &settings, &backend, stop).await };
            server.scope("http2").spawn_graceful(serve);
        }
    }
}

/// Reads until it is known whether this is HTTP/2. `None` where it is over before that.
async fn is_http2<I: Read + Write + Unpin>(
    io: &mut Io<I>,
    settings: &Settings,
    backend: &AnyBackend,
    stop: &StopToken,
) -> Option<bool> {
    let mut told = Some(stop.requested());
    let mut limit = backend.sleep(settings.head);
    poll_fn(|cx| {
        if let Poll::Ready(known) = io.poll_is_http2(cx) {
            return Poll::Ready(known.ok().flatten());
        }
        if told.as_mut().is_some_and(|told| Pin::new(told).poll(cx).is_ready()) {
            told = None;
            let left = match io.state().doing() {
                Doing::Nothing => settings.idle_after(stop),
                Doing::Reading | Doing::Answering => settings.head_after(stop),
            };
            limit = backend.sleep(left);
        }
        Pin::new(&mut limit).poll(cx).map(|()| None)
    })
    .await
}

async fn http1<I, S, B>(
    io: Io<I>,
    service: S,
    settings: &Settings,
    backend: &AnyBackend,
    stops: [StopToken; 2],
) where
    I: Read + Write + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Clone,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    let state = io.state().clone();
    let stop = stops[0].clone();
    state.announce(stops);
    let served = Served { service, state: state.clone() };
    let mut connection = settings.http1.serve_connection(io, served).with_upgrades();
    let ends = match run(&mut connection, &state, settings, backend, &stop).await {
        Ran::Over => Ends::Over,
        Ran::Late => Ends::Late,
        Ran::Stop => {
            let limits = |doing| {
                if doing == Doing::Nothing {
                    settings.idle_after(&stop)
                } else {
                    settings.head_after(&stop)
                }
            };
            until_late(&mut connection, &state, backend, limits).await
        }
    };
    match ends {
        Ends::Over => {}
        // In the middle of a head there is nothing to answer to. Without a request the last answer arrived
        // long ago, so it need not be read on.
        Ends::Late => {
            if let Some(parts) = connection.into_parts() {
                drop(parts.service);
                close(parts.io, backend).await;
            }
            return;
        }
    }
    // Where it was upgraded there is nothing left: it is the upgrade's.
    if let Some(parts) = connection.into_parts().filter(|_| !state.has_ended()) {
        drop(parts.service);
        let most = stop.time_left().map_or(LINGER, |left| LINGER.min(left / 4));
        linger(parts.io, backend, most).await;
    }
}

/// Why a connection is not run any longer as it was.
enum Ran {
    /// It is over, in whatever way.
    Over,
    /// Its peer has been silent for too long.
    Late,
    /// It is told of the stop.
    Stop,
}

/// Runs a connection until the stop.
async fn run<C: Future + Unpin>(
    connection: &mut C,
    state: &State,
    settings: &Settings,
    backend: &AnyBackend,
    stop: &StopToken,
) -> Ran {
    let mut told = stop.requested();
    // A timer for each request would cost more than the rest of this: one is looked at now and then.
    let tick = (settings.head.min(settings.keep_alive) / 4).max(Duration::from_millis(1));
    let mut ticks = backend.sleep(tick);
    let mut seen = (state.requests(), Doing::Nothing);
    let mut silent = Duration::ZERO;
    poll_fn(|cx| {
        if Pin::new(&mut *connection).poll(cx).is_ready() {
            return Poll::Ready(Ran::Over);
        }
        if Pin::new(&mut told).poll(cx).is_ready() {
            return Poll::Ready(Ran::Stop);
        }
        while Pin::new(&mut ticks).poll(cx).is_ready() {
            ticks = backend.sleep(tick);
            let now = (state.requests(), state.doing());
            let same = now == seen && now.1 != Doing::Answering;
            silent = if same { silent.saturating_add(tick) } else { Duration::ZERO };
            seen = now;
            let is_late =
                silent >= if now.1 == Doing::Nothing { settings.keep_alive } else { settings.head };
            if is_late {
                return Poll::Ready(Ran::Late);
            }
        }
        Poll::Pending
    })
    .await
}

/// How a connection ends.
enum Ends {
    /// It is over.
    Over,
    /// Its time is over: it is to be closed.
    Late,
}

/// Runs a connection until it is over, or until it has had no whole request for as long as `limits` says
/// for what it is doing meanwhile.
async fn until_late<C: Future + Unpin>(
    connection: &mut C,
    state: &State,
    backend: &AnyBackend,
    limits: impl Fn(Doing) -> Duration,
) -> Ends {
    let mut waits: Option<(Doing, AnySleep)> = None;
    poll_fn(|cx| {
        if Pin::new(&mut *connection).poll(cx).is_ready() {
            return Poll::Ready(Ends::Over);
        }
        let doing = state.doing();
        if doing == Doing::Answering {
            waits = None;
            return Poll::Pending;
        }
        let (_, sleep) = match &mut waits {
            Some(known) if known.0 == doing => known,
            waits => waits.insert((doing, backend.sleep(limits(doing)))),
        };
        Pin::new(sleep).poll(cx).map(|()| Ends::Late)
    })
    .await
}

/// Closes a connection: over TLS its end is said (close_notify), so that the peer can tell it from a cable
/// that was cut. One that takes nothing more is not waited for.
async fn close<I: Read + Write + Unpin>(mut io: Io<I>, backend: &AnyBackend) {
    let mut limit = backend.sleep(ROUND_TRIP);
    poll_fn(|cx| match Pin::new(&mut io).poll_shutdown(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => Pin::new(&mut limit).poll(cx),
    })
    .await;
}

/// Closes a connection so that the last answer arrives though the peer may still be sending: says that
/// nothing more comes, and reads on for a while.
async fn linger<I: Read + Write + Unpin>(mut io: Io<I>, backend: &AnyBackend, most: Duration) {
    let end = backend.now().checked_add(most);
    let left = || end.map_or(Duration::MAX, |end| end.saturating_duration_since(backend.now()));
    let mut limit = backend.sleep(ROUND_TRIP.min(most));
    poll_fn(|cx| {
        _ = Pin::new(&mut io).poll_shutdown(cx);
        match io.poll_discard(cx, || limit = backend.sleep(LINGER_SILENT.min(left()))) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Pin::new(&mut limit).poll(cx),
        }
    })
    .await;
}

async fn http2<I, S, B>(
    io: Io<I>,
    service: S,
    settings: &Settings,
    backend: &AnyBackend,
    stop: StopToken,
) where
    I: Read + Write + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let state = io.state().clone();
    let served = Served { service, state: state.clone() };
    let mut connection = pin!(settings.http2.serve_connection(io, served));
    let mut told = stop.requested();
    let is_told = poll_fn(|cx| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        Pin::new(&mut told).poll(cx).map(|()| true)
    });
    if !is_told.await {
        return;
    }
    connection.as_mut().graceful_shutdown();
    // hyper waits for the peer to say that it has heard. One that has gone never does.
    let limit = |_| settings.idle_after(&stop).max(LAST_ROUND);
    until_late(&mut connection, &state, backend, limit).await;
}
