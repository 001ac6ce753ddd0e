//! What a server does while it runs, and what a report says of what did not end, on each backend.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;

use adjourn::hyper::{Accept, upgrade};
use adjourn_http_tests::program::Wrap;
use adjourn_http_tests::{Client, Config, Options, Running, on_each, start, start_with};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode, header};
use axum::routing::{any, get};
use bytes::Bytes;
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};

on_each![
    many_connections_are_served_side_by_side,
    a_slow_head_times_out,
    silence_times_out,
    a_new_connection_that_is_silent_times_out,
    errors_of_accept_are_backed_off_from,
    what_is_no_listener_is_an_error,
    an_upgrade_says_goodbye,
    an_upgrade_that_left_the_program_is_waited_for,
    http2_is_served_and_goes_away_at_the_stop,
    an_http2_peer_that_has_gone_is_not_waited_for,
    what_did_not_end_is_counted_by_kind,
];

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

fn many_connections_are_served_side_by_side(config: Config) {
    let server = start(config, Options::default(), hello());
    let mut clients: Vec<_> = (0..50).map(|_| Client::to(server.address)).collect();
    for _ in 0..3 {
        for client in &mut clients {
            client.ask("/");
        }
        for client in &mut clients {
            let answer = client.answer().unwrap();
            assert_eq!((answer.status, answer.text(), answer.closes), (200, "hello", false));
        }
    }
    // Two requests in one packet, the second one cut in the middle.
    let client = &mut clients[0];
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT").unwrap();
    assert_eq!(client.answer().unwrap().text(), "hello");
    client.send("TP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(client.answer().unwrap().text(), "hello");
    client.ends();
    drop(clients);
    server.stopper.stop();
    server.ended();
}

const SHORT: Duration = Duration::from_millis(100);

fn a_slow_head_times_out(config: Config) {
    let server = start(config, Options { head: SHORT, ..Options::default() }, hello());
    let (mut slow, mut used) = (Client::to(server.address), Client::to(server.address));
    slow.send("GET / HTTP/1.1\r\nHo").unwrap();
    slow.ends();
    let mut later = Client::to(server.address);
    used.get("/").ok(); // a machine that is busy may have closed it by now
    later.get("/").ok();
    later.send("GET / HTTP/1.1\r\nHo").ok();
    while later.answer().is_ok() {}
    // What is between two requests has the keep-alive time.
    server.stopper.stop();
    server.ended();
}

fn silence_times_out(config: Config) {
    let options = Options { keep_alive: SHORT, ..Options::default() };
    let server = start(config, options, hello());
    let mut client = Client::to(server.address);
    client.get("/").unwrap();
    client.ends();
    server.stopper.stop();
    server.ended();
}

fn a_new_connection_that_is_silent_times_out(config: Config) {
    let server = start(config, Options { head: SHORT, ..Options::default() }, hello());
    Client::to(server.address).ends();
    server.stopper.stop();
    server.ended();
}

/// Fails so many times before it accepts.
struct Failing(Arc<AtomicUsize>, i32);

impl Wrap for Failing {
    type Of<A: Accept> = Fails<A>;
    fn wrap<A: Accept>(self, listener: A) -> Fails<A> {
        Fails(listener, self)
    }
}

struct Fails<A>(A, Failing);

impl<A: Accept> Accept for Fails<A> {
    type Io = A::Io;
    async fn accept(&mut self) -> io::Result<A::Io> {
        let left = self.1.0.load(SeqCst);
        if left == 0 {
            return self.0.accept().await;
        }
        self.1.0.store(left - 1, SeqCst);
        Err(io::Error::from_raw_os_error(self.1.1))
    }
}

fn errors_of_accept_are_backed_off_from(config: Config) {
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let wrap = Failing(left.clone(), libc::EMFILE);
    let server = start_with(config, Options::default(), hello(), wrap);
    let mut client = Client::to(server.address); // in the queue
    std::thread::sleep(Duration::from_millis(300));
    // 5, 15, 35, 75, 155, 315 ms: a loop that does not wait would have tried many thousand times.
    let tries = usize::MAX - left.swap(0, SeqCst);
    assert!((1..20).contains(&tries), "{tries}");
    assert_eq!(client.get("/").unwrap().text(), "hello");
    drop(client);
    server.stopper.stop();
    server.ended();
}

fn what_is_no_listener_is_an_error(config: Config) {
    let wrap = Failing(Arc::new(AtomicUsize::new(1)), libc::EINVAL);
    let server = start_with(config, Options::default(), hello(), wrap);
    let exit = server.exit();
    let text = exit.report().to_string();
    assert_eq!(exit.exit_code(), 1, "{text}");
    assert!(text.contains("this is no listener"), "{text}");
}

/// Echoes until the stop, then says goodbye.
async fn echo(upgraded: Upgraded, stop: adjourn::StopToken) {
    let mut io = Both(upgraded);
    let mut byte = [0];
    loop {
        let stopped = async {
            stop.requested().await;
            Ok(0)
        };
        match future::or(io.read(&mut byte), stopped).await {
            Ok(0) | Err(_) => break,
            Ok(_) => io.write_all(&byte).await.unwrap(),
        }
    }
    io.write_all(b"goodbye").await.unwrap();
    io.close().await.unwrap();
}

/// hyper's streams as those of `futures-io`, for any executor.
struct Both(Upgraded);

impl futures_lite::AsyncRead for Both {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &mut [u8],
    ) -> std::task::Poll<io::Result<usize>> {
        let mut buffer = hyper::rt::ReadBuf::new(bytes);
        let read = std::pin::Pin::new(&mut self.0);
        std::task::ready!(hyper::rt::Read::poll_read(read, cx, buffer.unfilled()))?;
        std::task::Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl futures_lite::AsyncWrite for Both {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        hyper::rt::Write::poll_write(std::pin::Pin::new(&mut self.0), cx, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        hyper::rt::Write::poll_flush(std::pin::Pin::new(&mut self.0), cx)
    }

    fn poll_close(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        hyper::rt::Write::poll_shutdown(std::pin::Pin::new(&mut self.0), cx)
    }
}

fn switch(mut request: Request, hangs: bool) -> Response<Body> {
    upgrade(&mut request, move |io, stop| async move {
        if hangs {
            pending::<()>().await;
        }
        echo(io, stop).await
    });
    let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    let answer = answer.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "echo");
    answer.body(Body::empty()).unwrap()
}

fn upgraded(server: &Running) -> Client {
    let mut client = Client::to(server.address);
    let head = "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    client.send(head).unwrap();
    assert_eq!(client.head().unwrap().status, 101);
    client
}

fn an_upgrade_says_goodbye(config: Config) {
    let app = Router::new().route("/echo", any(async |request: Request| switch(request, false)));
    let server = start(config, Options::default(), app);
    let mut client = upgraded(&server);
    client.send("abc").unwrap();
    assert_eq!(client.bytes(3), b"abc");
    server.stopper.stop();
    assert_eq!(client.bytes(7), b"goodbye");
    client.ends();
    server.ended();
}

/// As with axum's `on_upgrade`, whose task the program does not know.
fn an_upgrade_that_left_the_program_is_waited_for(config: Config) {
    let (leave, left) = mpsc::channel();
    let switch = move |mut request: Request| async move {
        let upgraded = hyper::upgrade::on(&mut request);
        std::thread::spawn(move || leave.send(future::block_on(upgraded).unwrap()));
        let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        let answer = answer.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "echo");
        answer.body(Body::empty()).unwrap()
    };
    let server = start(config, Options::default(), Router::new().route("/echo", any(switch)));
    let mut client = upgraded(&server);
    let socket = left.recv().unwrap();
    server.stopper.stop();
    while Client::connect(server.address).is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(50));
    assert!(!server.served.load(SeqCst), "`serve` waits for what is open");
    drop(socket);
    client.ends();
    server.ended();
}

/// A client of HTTP/2, on a runtime of its own.
async fn http2(
    address: std::net::SocketAddr,
) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let io = TokioIo::new(stream);
    let hands = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    let (sender, connection) = hands.await.unwrap();
    tokio::spawn(connection);
    sender
}

fn ask(path: &str) -> hyper::Request<Empty<Bytes>> {
    hyper::Request::get(format!("http://x{path}")).body(Empty::new()).unwrap()
}

fn http2_is_served_and_goes_away_at_the_stop(config: Config) {
    let (began, begins) = mpsc::channel();
    let (go, going) = async_channel::unbounded::<()>();
    let slow = move || async move {
        began.send(()).unwrap();
        _ = going.recv().await;
        "slow"
    };
    let app = hello().route("/slow", get(slow));
    let server =
        start(config, Options { idle: Duration::from_secs(900), ..Options::default() }, app);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = http2(server.address).await;
        let answer = client.send_request(ask("/")).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        let slow = tokio::spawn(client.send_request(ask("/slow")));
        tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
        server.stopper.stop();
        // GOAWAY is heard while a stream is still open: from then on the client begins no other.
        while client.send_request(ask("/")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        go.try_send(()).unwrap();
        let answer = slow.await.unwrap().expect("what was in hand is answered");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "slow");
    });
    server.ended();
}

fn an_http2_peer_that_has_gone_is_not_waited_for(config: Config) {
    let server = start(config, Options::default(), hello());
    let mut client = Client::to(server.address);
    // The preface and empty SETTINGS; the PING behind GOAWAY is never answered.
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    client.bytes(9); // the server's SETTINGS begin: it has seen that this is HTTP/2
    server.stopper.stop();
    server.ended(); // with a drain limit of an hour
}

fn what_did_not_end_is_counted_by_kind(config: Config) {
    let endless = || async {
        Body::from_stream(futures_lite::stream::pending::<Result<Bytes, Infallible>>())
    };
    let app = Router::new().route("/endless", get(endless));
    let app = app.route("/echo", any(async |request: Request| switch(request, true)));
    let options = Options { timeout: Duration::from_secs(2), ..Options::default() };
    let server = start(config, options, app);
    let mut endless: Vec<_> = (0..3).map(|_| Client::to(server.address)).collect();
    for client in &mut endless {
        client.ask("/endless");
        client.head().unwrap();
    }
    let switched = [upgraded(&server), upgraded(&server)];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let streams = runtime.block_on(async {
        let mut client = http2(server.address).await;
        (client.send_request(ask("/endless")).await.unwrap(), client)
    });
    server.stopper.stop();
    let exit = server.exit();
    let report = exit.report();
    assert_eq!(exit.exit_code(), 124, "{report}");
    let mut kinds: Vec<_> = report
        .overdue_sites
        .iter()
        .map(|site| (site.scope.as_str(), site.count, site.spawned_at.contains("tests/serve.rs")))
        .filter(|(scope, ..)| *scope != "root") // `main` waits for them
        .collect();
    kinds.sort_unstable();
    // HTTP/1 and the upgrades are told apart by the line that spawned them.
    let expected =
        [("root/connection", 2, true), ("root/connection", 3, false), ("root/http2", 1, false)];
    assert_eq!(kinds, expected, "{report}");
    drop((endless, switched, streams));
}
