//! A load that repeats nothing and counts what was lost, and how.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::Client;

/// What a client does between two requests. Before it sends, it looks whether its connection was closed,
/// as pools of connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing: keep-alive, one request behind the other.
    BackToBack,
    /// Keep-alive with pauses of 0 to 20 ms.
    Pauses,
    /// It takes a new connection.
    OneEach,
    /// HTTP/2, one request behind the other.
    Http2,
}

pub const KINDS: [Kind; 4] = [Kind::BackToBack, Kind::Pauses, Kind::OneEach, Kind::Http2];

/// For how long a connection without a request is kept after the stop, at least: a tenth of the 4 s that
/// connections have of a stop by default (`Server::idle`), and some of that for the way.
const PROMISED: Duration = Duration::from_millis(300);
/// The same where GOAWAY has been sent.
const PROMISED_BY_HTTP2: Duration = Duration::from_millis(900);

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests, by kind of client.
    pub asked: BTreeMap<Kind, u64>,
    /// Those of them that got no answer, by kind of client and what the client saw.
    pub failed: BTreeMap<(Kind, String), u64>,
    /// Those that got no answer and are nobody's fault but the client's, which a busy machine kept from
    /// sending for longer than the server waits at its stop: `PROMISED`.
    pub late: u64,
    /// Connections of HTTP/1 that were announced to end.
    pub announced: u64,
    /// Requests of HTTP/2 that the server had said it would not take (GOAWAY, RFC 9113, 6.8), or that
    /// were not sent any more: they may be asked again anywhere, and are neither lost nor answered.
    pub beyond: u64,
}

impl Tally {
    pub fn asked(&self) -> u64 {
        self.asked.values().sum()
    }

    pub fn failed(&self) -> u64 {
        self.failed.values().sum()
    }

    pub fn of(&self, kind: Kind) -> (u64, u64) {
        let failed = self.failed.iter().filter(|((own, _), _)| *own == kind).map(|(_, n)| n).sum();
        (failed, self.asked.get(&kind).copied().unwrap_or(0))
    }

    fn add(&mut self, other: Tally) {
        for (kind, count) in other.asked {
            *self.asked.entry(kind).or_default() += count;
        }
        for (what, count) in other.failed {
            *self.failed.entry(what).or_default() += count;
        }
        self.late += other.late;
        self.announced += other.announced;
        self.beyond += other.beyond;
    }
}

/// Clients that ask until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Starts so many clients of each of these kinds.
    pub fn start(address: SocketAddr, clients: &[(Kind, usize)]) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let all = clients.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count));
        let client = |(number, kind)| {
            let stop = stop.clone();
            thread::spawn(move || match kind {
                Kind::Http2 => http2(address, &stop),
                _ => one(address, kind, number as u64 + 1, &stop),
            })
        };
        let clients = all.enumerate().map(client).collect();
        Load { stop, clients }
    }

    pub fn stop(mut self) -> Tally {
        self.stop.store(true, Relaxed);
        let mut all = Tally::default();
        for client in self.clients.drain(..) {
            all.add(client.join().expect("a client does not panic"));
        }
        all
    }
}

/// A load that nobody asks for any more, since what it was for has failed, does not go on.
impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

fn one(address: SocketAddr, kind: Kind, seed: u64, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut random = seed;
    // With the instant since which the server has no request on it.
    let mut open: Option<(Client, Instant)> = None;
    while !stop.load(Relaxed) {
        if kind == Kind::Pauses {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            thread::sleep(Duration::from_micros((random >> 33) % 20_000));
        }
        // Closed while it was idle: a new one is taken, nothing was asked on it.
        open = open.and_then(|(mut client, since)| client.is_silent().then_some((client, since)));
        *tally.asked.entry(kind).or_default() += 1;
        let mut fail = |what: String| *tally.failed.entry((kind, what)).or_default() += 1;
        let (mut client, since) = match open.take() {
            Some(open) => open,
            None => match Client::connect(address) {
                Ok(client) => (client, Instant::now()),
                Err(error) => {
                    fail(format!("connect: {:?}", error.kind()));
                    thread::sleep(Duration::from_millis(1));
                    continue;
                }
            },
        };
        let end = if kind == Kind::OneEach { "Connection: close\r\n" } else { "" };
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{end}\r\n");
        let sent = client.send(request);
        let idle = since.elapsed();
        match sent.and_then(|()| client.answer()) {
            Ok(answer) if answer.status == 200 && answer.body == b"hello" => {
                tally.announced += u64::from(answer.closes && kind != Kind::OneEach);
                let stays = !answer.closes && kind != Kind::OneEach;
                open = stays.then(|| (client, Instant::now()));
            }
            Ok(_) => fail("answer: InvalidData".to_owned()),
            Err(_) if idle > PROMISED => tally.late += 1,
            Err(error) => fail(format!("answer: {:?}", error.kind())),
        }
    }
    tally
}

fn http2(address: SocketAddr, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be built").block_on(async {
        let mut open = None;
        while !stop.load(Relaxed) {
            let fail = |tally: &mut Tally, what: String| {
                *tally.failed.entry((Kind::Http2, what)).or_default() += 1;
            };
            let (mut client, since) = match open.take() {
                Some(open) => open,
                None => match connect(address).await {
                    Ok(client) => (client, Instant::now()),
                    Err(error) => {
                        *tally.asked.entry(Kind::Http2).or_default() += 1;
                        fail(&mut tally, format!("connect: {error}"));
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                },
            };
            let request = Request::get("http://x/").body(Empty::<Bytes>::new());
            let answer = client.send_request(request.expect("it is one")).await;
            let body = match answer {
                Ok(answer) => answer.into_body().collect().await.map(|body| body.to_bytes()),
                Err(error) if is_beyond(&error) => {
                    tally.beyond += 1;
                    continue;
                }
                Err(error) => Err(error),
            };
            *tally.asked.entry(Kind::Http2).or_default() += 1;
            match body {
                Ok(body) if body == "hello" => open = Some((client, Instant::now())),
                Ok(_) => fail(&mut tally, "answer: InvalidData".to_owned()),
                Err(_) if since.elapsed() > PROMISED_BY_HTTP2 => tally.late += 1,
                Err(error) => fail(&mut tally, format!("answer: {error}")),
            }
        }
    });
    tally
}

type Sender = hyper::client::conn::http2::SendRequest<Empty<Bytes>>;

async fn connect(address: SocketAddr) -> Result<Sender, Box<dyn Error + Send + Sync>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let io = TokioIo::new(stream);
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Whether the server has not taken the request, and has said so.
fn is_beyond(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    let away = cause.is_some_and(|cause| {
        cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR)
            || cause.reason() == Some(h2::Reason::REFUSED_STREAM)
    });
    error.is_canceled() || away
}
