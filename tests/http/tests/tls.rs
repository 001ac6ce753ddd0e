//! TLS under a server: what its clients get while it runs and at the stop, on each backend.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use adjourn::hyper::{Accept, Handshake};
use adjourn_http_tests::program::Wrap;
use adjourn_http_tests::{Client, Config, Options, on_each, start_with};
use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::rt::ReadBufCursor;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use tokio_rustls::{TlsAcceptor, TlsConnector, server::TlsStream};

on_each![
    the_request_in_hand_is_answered_and_the_end_is_said,
    an_idle_connection_is_told_its_end_at_the_stop,
    an_idle_connection_is_told_its_end_where_it_times_out,
    http2_is_agreed_upon_and_goes_away_at_the_stop,
    a_handshake_that_has_begun_is_finished_after_the_stop,
    a_handshake_in_the_queue_is_done,
    a_handshake_that_is_never_finished_times_out,
    a_handshake_that_is_never_finished_holds_up_no_stop,
    a_handshake_that_fails_ends_its_connection_alone,
    an_end_that_cannot_be_said_is_given_up,
];

/// So long that it never comes to its end in a test.
const LONG: Duration = Duration::from_secs(900);
const SHORT: Duration = Duration::from_millis(100);

struct Both {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// A certificate for `localhost`, and who believes it.
static CONFIGS: LazyLock<Both> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let ring = || Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(ring());
    let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut server = server.with_single_cert(vec![certificate.clone()], key).unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(ring());
    let client = client.with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    Both { server: Arc::new(server), client: Arc::new(client) }
});

fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// TLS around each connection, whatever executor it is of.
struct Tls;

/// What a connection becomes.
type Over<I> = TokioIo<TlsStream<TokioIo<I>>>;
type Hands<I> = Pin<Box<dyn Future<Output = io::Result<Over<I>>> + Send>>;

impl Wrap for Tls {
    type Of<A: Accept> = Handshake<A, Box<dyn FnMut(A::Io) -> Hands<A::Io> + Send>>;
    fn wrap<A: Accept>(self, listener: A) -> Self::Of<A> {
        let acceptor = TlsAcceptor::from(CONFIGS.server.clone());
        Handshake::new(
            listener,
            Box::new(move |io| {
                let accepting = acceptor.accept(TokioIo::new(io));
                Box::pin(async move { accepting.await.map(TokioIo::new) })
            }),
        )
    }
}

type Secure = Client<StreamOwned<ClientConnection, TcpStream>>;

/// A client that has not said anything yet, not even of the handshake.
fn unspoken(address: SocketAddr, protocol: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let mut config = (*CONFIGS.client).clone();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let connection = ClientConnection::new(Arc::new(config), localhost()).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(adjourn_http_tests::client::HANGS)).unwrap();
    StreamOwned::new(connection, stream)
}

/// One whose handshake is done.
fn secure(address: SocketAddr) -> Secure {
    let mut stream = unspoken(address, "http/1.1");
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    Client::over(stream)
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// Waits until the listener is closed: then the stop has been told.
fn wait_until_it_refuses(address: SocketAddr) {
    while TcpStream::connect(address).is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn the_request_in_hand_is_answered_and_the_end_is_said(config: Config) {
    let (began, begins) = mpsc::channel();
    let (go, going) = async_channel::unbounded::<()>();
    let slow = move || async move {
        began.send(()).unwrap();
        _ = going.recv().await;
        "slow"
    };
    let app = hello().route("/slow", get(slow));
    let server = start_with(config, Options { idle: LONG, ..Options::default() }, app, Tls);
    let mut client = secure(server.address);
    let before = client.get("/").unwrap();
    assert_eq!((before.status, before.text(), before.closes), (200, "hello", false));
    client.ask("/slow");
    begins.recv().unwrap();
    server.stopper.stop();
    wait_until_it_refuses(server.address);
    go.try_send(()).unwrap();
    let last = client.answer().unwrap();
    assert_eq!((last.text(), last.closes), ("slow", true));
    client.ends(); // with close_notify, or reading on would be an error
    drop(client);
    server.ended();
}

fn an_idle_connection_is_told_its_end_at_the_stop(config: Config) {
    let server = start_with(config, Options::default(), hello(), Tls);
    let (mut used, mut new) = (secure(server.address), secure(server.address));
    used.get("/").unwrap();
    server.stopper.stop();
    used.ends();
    new.ends();
    server.ended();
}

fn an_idle_connection_is_told_its_end_where_it_times_out(config: Config) {
    let options = Options { keep_alive: SHORT, head: Duration::from_secs(1), ..Options::default() };
    let server = start_with(config, options, hello(), Tls);
    let mut used = secure(server.address);
    used.get("/").unwrap();
    used.ends();
    secure(server.address).ends();
    server.stopper.stop();
    server.ended();
}

fn http2_is_agreed_upon_and_goes_away_at_the_stop(config: Config) {
    let server = start_with(config, Options { idle: LONG, ..Options::default() }, hello(), Tls);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut offers = (*CONFIGS.client).clone();
        offers.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(offers));
        let stream = connector.connect(localhost(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let hands = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
        let (mut client, connection) = hands.await.unwrap();
        let connection = tokio::spawn(connection);
        let ask = || hyper::Request::get("https://localhost/").body(Empty::<Bytes>::new()).unwrap();
        let answer = client.send_request(ask()).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        server.stopper.stop();
        connection.await.unwrap().expect("it ends in order: GOAWAY, then close_notify");
        assert!(client.send_request(ask()).await.is_err());
    });
    server.ended();
}

/// Sends the first bytes of a handshake, and returns the rest of the client's first message.
fn begin(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> Vec<u8> {
    let mut message = Vec::new();
    stream.conn.write_tls(&mut message).unwrap();
    let rest = message.split_off(20);
    stream.sock.write_all(&message).unwrap();
    rest
}

fn a_handshake_that_has_begun_is_finished_after_the_stop(config: Config) {
    let server = start_with(config, Options { idle: LONG, ..Options::default() }, hello(), Tls);
    let mut stream = unspoken(server.address, "http/1.1");
    let rest = begin(&mut stream);
    secure(server.address).get("/").unwrap(); // so the one before was accepted
    server.stopper.stop();
    wait_until_it_refuses(server.address);
    stream.sock.write_all(&rest).unwrap();
    let mut client = Client::over(stream);
    assert!(client.get("/").unwrap().closes);
    client.ends();
    drop(client);
    server.ended();
}

/// Takes nothing before the stop, so that all connections are in the queue then.
struct Asleep;

impl Wrap for Asleep {
    type Of<A: Accept> = <Tls as Wrap>::Of<Sleeper<A>>;
    fn wrap<A: Accept>(self, listener: A) -> Self::Of<A> {
        Tls.wrap(Sleeper(listener))
    }
}

struct Sleeper<A>(A);

impl<A: Accept> Accept for Sleeper<A> {
    type Io = A::Io;
    async fn accept(&mut self) -> io::Result<A::Io> {
        std::future::pending().await
    }
    fn accept_now(&mut self) -> Option<A::Io> {
        self.0.accept_now()
    }
}

fn a_handshake_in_the_queue_is_done(config: Config) {
    let options = Options { idle: LONG, ..Options::default() };
    let server = start_with(config, options, hello(), Asleep);
    let stream = unspoken(server.address, "http/1.1");
    server.stopper.stop();
    let mut client = Client::over(stream);
    assert!(client.get("/").unwrap().closes);
    client.ends();
    drop(client);
    server.ended();
}

/// Waits for the end of what is below TLS; it may be a reset.
fn is_cut(stream: &mut TcpStream) {
    let mut bytes = [0; 4096];
    while !matches!(stream.read(&mut bytes), Ok(0) | Err(_)) {}
}

fn a_handshake_that_is_never_finished_times_out(config: Config) {
    let options = Options { head: SHORT, ..Options::default() };
    let server = start_with(config, options, hello(), Tls);
    let (mut silent, mut begun) =
        (unspoken(server.address, "http/1.1"), unspoken(server.address, "http/1.1"));
    let _rest = begin(&mut begun);
    is_cut(&mut silent.sock);
    is_cut(&mut begun.sock);
    server.stopper.stop();
    server.ended();
}

fn a_handshake_that_is_never_finished_holds_up_no_stop(config: Config) {
    let server = start_with(config, Options { head: LONG, ..Options::default() }, hello(), Tls);
    let mut begun = unspoken(server.address, "http/1.1");
    let _rest = begin(&mut begun);
    // It holds up nobody else either.
    secure(server.address).get("/").unwrap();
    server.stopper.stop();
    is_cut(&mut begun.sock);
    server.ended(); // with limits of many minutes
}

fn a_handshake_that_fails_ends_its_connection_alone(config: Config) {
    let server = start_with(config, Options::default(), hello(), Tls);
    let mut plain = TcpStream::connect(server.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    is_cut(&mut plain);
    assert_eq!(secure(server.address).get("/").unwrap().text(), "hello");
    server.stopper.stop();
    server.ended();
}

/// Streams whose end can never be written, as over TLS to a peer that reads nothing.
struct Full;

impl Wrap for Full {
    type Of<A: Accept> = Filled<A>;
    fn wrap<A: Accept>(self, listener: A) -> Filled<A> {
        Filled(listener)
    }
}

struct Filled<A>(A);

impl<A: Accept> Accept for Filled<A> {
    type Io = NoEnd<A::Io>;
    async fn accept(&mut self) -> io::Result<Self::Io> {
        self.0.accept().await.map(NoEnd)
    }
}

struct NoEnd<I>(I);

impl<I: hyper::rt::Read + Unpin> hyper::rt::Read for NoEnd<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, cursor)
    }
}

impl<I: hyper::rt::Write + Unpin> hyper::rt::Write for NoEnd<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

fn an_end_that_cannot_be_said_is_given_up(config: Config) {
    let server = start_with(config, Options::default(), hello(), Full);
    let (mut used, new) = (Client::to(server.address), Client::to(server.address));
    used.get("/").unwrap();
    Client::to(server.address).get("/").unwrap(); // so the new one was accepted
    server.stopper.stop();
    server.ended(); // with a drain limit of an hour
    drop((used, new));
}

/// What a user of smol writes: the streams of `futures-io`.
#[test]
fn smol_with_futures_rustls() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let runner = adjourn::smol::Runner::new().signals([]).exit_when_stuck(false);
    let stopper = runner.stopper();
    let program = std::thread::spawn(move || {
        runner.run(async move {
            let tls = futures_rustls::TlsAcceptor::from(CONFIGS.server.clone());
            let listener = Handshake::new(async_io::Async::new(listener)?, move |io| {
                let accepting = tls.accept(io);
                async move { accepting.await.map(smol_hyper::rt::FuturesIo::new) }
            });
            adjourn::hyper::serve(listener, hello()).await
        })
    });
    let (mut used, mut asks) = (secure(address), secure(address));
    assert_eq!(used.get("/").unwrap().text(), "hello");
    stopper.stop();
    wait_until_it_refuses(address);
    assert!(asks.get("/").unwrap().closes);
    asks.ends();
    used.ends();
    drop((asks, used));
    let exit = program.join().unwrap();
    assert!(exit.report().is_clean(), "{}", exit.report());
}
