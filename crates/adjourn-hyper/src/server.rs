//! The server: takes connections until it is told of the stop, and waits for them.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use adjourn_core::{FutureExt, Scope, StopToken};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use tower_service::Service;

use crate::accept::Accept;
use crate::connection::{self, Settings};
use crate::io::{Io, Open};
use crate::rt::{Clock, InScope};
use crate::service::Hyper;

/// How long nothing is accepted after an error: this at first, twice as long after each further one.
const BACK_OFF: Duration = Duration::from_millis(5);
/// And no longer than this.
const MOST_BACK_OFF: Duration = Duration::from_secs(1);
/// As many connections as a listener's queue has: Linux's default limit (`net.core.somaxconn`).
const MOST_QUEUED: usize = 4096;

/// Serves `listener` with the default settings: [`Server::serve`].
///
/// # Errors
///
/// As [`Server::serve`].
///
/// # Cancel safety
///
/// As [`Server::serve`].
pub async fn serve<A, S, B>(listener: A, service: S) -> io::Result<()>
where
    A: Accept,
    S: Service<Request<Incoming>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    Server::new(listener).serve(service).await
}

/// A server of HTTP/1 and HTTP/2 before its start.
///
/// # At the stop
///
/// The task that serves is told, and no connection is accepted any more. (In the lame duck phase they
/// still are.) What was in the listener's queue is taken out of it first, unless the listener is
/// [shared](Server::shared); then the listener is closed.
///
/// - Each HTTP/1 answer whose head is written from then on says `Connection: close`, and its connection
///   is closed after it. Input that the peer sends behind its last request is read and forgotten, so
///   that it does not cost the answer: for 30 s and for a quarter of what is left of the drain limit at
///   most. A peer that sends nothing and does not close its side either has 0.5 s for it.
/// - A connection without a request is kept for the [idle time](Server::idle), then closed. One with a
///   part of a head has the [head time](Server::head_timeout), at most a half of what is left of the
///   drain limit.
/// - HTTP/2 gets GOAWAY at once. Its streams are answered. One that is not heard of again is closed after
///   the idle time, at least 1 s, once it has no stream.
/// - Handlers find the stop with `StopToken::current()`. One whose answer has no end (server-sent events)
///   ends it there, with a last event; `StopToken::time_left` says how much time there is.
/// - What [`upgrade`](crate::upgrade()) took over is told by its token.
///
/// A connection that is alive at the drain limit is cut off and overdue, as any graceful task: the report
/// counts them by kind, `connection` (HTTP/1, and those that have sent nothing yet), `http2`, and the
/// line of each upgrade. Connections are in scopes below the one that serves; by the rule of levels
/// they have a half of the drain limit where `main` serves.
///
/// # While it runs
///
/// - When descriptors run out (or any other error comes) nothing is accepted for a while: 5 ms first,
///   then twice as long each time, 1 s at most. What is open is served meanwhile.
/// - A head that does not come whole within the head time closes its connection; so does silence for the
///   [keep-alive time](Server::keep_alive). Both may take up to a quarter longer.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "tokio")]
/// async fn hello() -> std::io::Result<()> {
///     # use std::convert::Infallible;
///     # use hyper::{Request, Response, body::Incoming, service::service_fn};
///     let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
///     let hello = |_: Request<Incoming>| async { Ok::<_, Infallible>(Response::new("hello".to_owned())) };
///     adjourn_core::ready();
///     adjourn_hyper::Server::new(listener).serve_hyper(service_fn(hello)).await
/// }
/// ```
#[must_use = "nothing is served before `serve`"]
pub struct Server<A> {
    listener: A,
    settings: Settings,
    shared: bool,
}

impl<A: Accept> Server<A> {
    /// A server with the default settings.
    pub fn new(listener: A) -> Server<A> {
        let settings = Settings {
            idle: Duration::from_secs(1),
            head: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            http1: http1::Builder::new(),
            http2: http2::Builder::new(InScope::new()),
        };
        Server { listener, settings, shared: false }
    }

    /// How long a connection without a request is kept after the stop: the next request on it may be on
    /// its way. Default: 1 s. Never more than a tenth of the drain limit. With zero it is closed at once.
    ///
    /// Choose it longer than the pause that your clients make between two requests. A client that pauses
    /// longer may send a request in the instant in which its connection is closed (RFC 9112, 9.5); it has
    /// to repeat that, as with any other server.
    pub fn idle(mut self, span: Duration) -> Server<A> {
        self.settings.idle = span;
        self
    }

    /// How long the head of a request may take, from its first byte; also how long a new connection
    /// may send nothing. Default: 30 s.
    pub fn head_timeout(mut self, span: Duration) -> Server<A> {
        self.settings.head = span;
        self
    }

    /// How long a connection is kept between two requests of HTTP/1. Default: 75 s, as nginx's; behind a
    /// load balancer more than its own idle time, so that it is never this side that closes.
    pub fn keep_alive(mut self, span: Duration) -> Server<A> {
        self.settings.keep_alive = span;
        self
    }

    /// Changes hyper's settings of HTTP/1.
    ///
    /// A timer and hyper's own `header_read_timeout` are not needed: [`head_timeout`](Server::head_timeout)
    /// does it.
    pub fn http1(mut self, change: impl FnOnce(&mut http1::Builder)) -> Server<A> {
        change(&mut self.settings.http1);
        self
    }

    /// Changes hyper's settings of HTTP/2.
    pub fn http2(mut self, change: impl FnOnce(&mut http2::Builder<InScope>)) -> Server<A> {
        change(&mut self.settings.http2);
        self
    }

    /// Whether somebody else has the listener's socket too: the service manager, or the next program.
    /// Then what is in its queue at the stop is theirs, and left there. Default: false.
    pub fn shared(mut self, shared: bool) -> Server<A> {
        self.shared = shared;
        self
    }

    /// Serves with a service of tower's, which is cloned for each connection and each request. Resolves
    /// when the stop has come and all connections are closed.
    ///
    /// The task that awaits this asks about the stop, so it is graceful.
    ///
    /// # Errors
    ///
    /// Outside of a program, and where the listener is none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the listener. Connections go on until the stop.
    pub async fn serve<S, B>(self, service: S) -> io::Result<()>
    where
        S: Service<Request<Incoming>, Response = Response<B>, Future: Send>
            + Clone
            + Send
            + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        self.serve_each(|_| service.clone()).await
    }

    /// The same with a service of hyper's, such as `hyper::service::service_fn` makes.
    ///
    /// # Errors
    ///
    /// As [`serve`](Server::serve).
    ///
    /// # Cancel safety
    ///
    /// As [`serve`](Server::serve).
    pub async fn serve_hyper<S, B>(self, service: S) -> io::Result<()>
    where
        S: hyper::service::Service<Request<Incoming>, Response = Response<B>, Future: Send>
            + Clone
            + Send
            + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        self.serve(Hyper(service)).await
    }

    /// The same with a service of its own for each connection, which `service` makes: with the peer's
    /// address in it, for one.
    ///
    /// # Errors
    ///
    /// As [`serve`](Server::serve).
    ///
    /// # Cancel safety
    ///
    /// As [`serve`](Server::serve).
    pub async fn serve_each<S, B>(self, service: impl FnMut(&A::Io) -> S) -> io::Result<()>
    where
        S: Service<Request<Incoming>, Response = Response<B>, Future: Send>
            + Clone
            + Send
            + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let scope = Scope::try_current().map_err(io::Error::other)?;
        let Server { listener, mut settings, shared } = self;
        let clock = Clock::new(scope.backend().clone());
        settings.http1.timer(clock.clone()).header_read_timeout(None);
        settings.http2.timer(clock);
        let open = Open::default();
        let stop = scope.stop_token();
        let to = To { service, scope, stop, settings: Arc::new(settings), open: open.clone() };
        accept_all(listener, shared, to).await?;
        open.none().await;
        Ok(())
    }
}

/// Where connections go.
struct To<M> {
    service: M,
    scope: Scope,
    stop: StopToken,
    settings: Arc<Settings>,
    open: Open,
}

impl<M> To<M> {
    fn connection<I, S, B>(&mut self, io: I)
    where
        M: FnMut(&I) -> S,
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Future: Send>
            + Clone
            + Send
            + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let service = (self.service)(&io);
        let io = Io::new(io, self.open.one_more());
        let (settings, server) = (self.settings.clone(), self.scope.clone());
        let server_stop = self.stop.clone();
        // Graceful from the start: what was accepted is served, though the stop may come before its
        // first poll.
        self.scope.scope("connection").spawn_graceful(|stop| {
            connection::serve(io, service, settings, server, server_stop, stop)
        });
    }
}

/// Accepts until the stop.
async fn accept_all<A, M, S, B>(mut listener: A, shared: bool, mut to: To<M>) -> io::Result<()>
where
    A: Accept,
    M: FnMut(&A::Io) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let mut back_off = BACK_OFF;
    while let Ok(accepted) = listener.accept().until_stop().await {
        match accepted {
            Ok(io) => {
                to.connection(io);
                back_off = BACK_OFF;
            }
            Err(error) if is_none(&error) => return Err(no_listener(&error)),
            Err(error) if is_of_connection(&error) => {}
            Err(_) => {
                _ = to.scope.sleep(back_off).until_stop().await;
                back_off = (back_off * 2).min(MOST_BACK_OFF);
            }
        }
    }
    // Bounded, since it could go on for ever beside another program that has the listener too.
    let queued = std::iter::from_fn(|| listener.accept_now());
    for io in queued.take(if shared { 0 } else { MOST_QUEUED }) {
        to.connection(io);
    }
    Ok(())
}

/// Whether it says that there is no listener at all.
fn is_none(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotConnected, Unsupported};
    matches!(error.kind(), InvalidInput | NotConnected | Unsupported)
}

fn no_listener(error: &io::Error) -> io::Error {
    let text = format!("this is no listener, nothing can be accepted from it: {error}");
    io::Error::new(error.kind(), text)
}

/// Whether it is the error of a connection that was not taken yet: the next one may be well.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

impl<A> fmt::Debug for Server<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("idle", &self.settings.idle)
            .field("head_timeout", &self.settings.head)
            .field("keep_alive", &self.settings.keep_alive)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
