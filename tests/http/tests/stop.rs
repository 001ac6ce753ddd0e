//! What becomes of connections at the stop, on each backend.

use std::convert::Infallible;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use adjourn::hyper::Accept;
use adjourn::{StopToken, is_ready};
use adjourn_http_tests::program::Wrap;
use adjourn_http_tests::{Client, Config, Options, on_each, start, start_with};
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use futures_lite::stream;

on_each![
    the_request_in_hand_is_answered_with_the_word_of_the_end,
    an_answer_whose_head_went_out_before_leaves_room_for_one_more_request,
    the_idle_time_begins_when_the_answer_has_gone_out,
    an_idle_connection_is_closed_at_once_where_the_idle_time_is_zero,
    the_request_that_comes_within_the_idle_time_is_answered,
    a_new_connection_has_the_idle_time_for_its_first_byte,
    the_idle_time_is_at_most_a_tenth_of_the_drain_limit,
    a_head_that_has_begun_is_waited_for,
    the_stop_ends_with_the_last_connection,
    the_queue_is_emptied,
    a_shared_queue_is_left_alone,
    the_queue_is_emptied_though_the_stop_came_before_main,
    an_inherited_queue_outlives_a_program_that_never_served,
    the_last_answer_survives_input_that_nobody_reads,
    a_handler_knows_how_much_time_is_left,
    an_endless_answer_says_goodbye,
    a_lame_duck_accepts_and_announces_nothing,
];

/// So long that it never comes to its end in a test.
const LONG: Duration = Duration::from_secs(900);

/// `/` answers at once. `/slow` says that it has begun and waits until it may go on. `/chunks` does the
/// same between its first and its last chunk.
fn app() -> (Router, Receiver<()>, async_channel::Sender<()>) {
    let (began, begins) = mpsc::channel();
    let (go, going) = async_channel::unbounded::<()>();
    let (chunks_began, chunks_going) = (began.clone(), going.clone());
    let slow = move || async move {
        began.send(()).unwrap();
        _ = going.recv().await;
        "slow"
    };
    let chunks = move || async move {
        let last = async move {
            chunks_began.send(()).unwrap();
            _ = chunks_going.recv().await;
            Bytes::from("last")
        };
        let first = stream::once(Ok::<_, Infallible>(Bytes::from("first")));
        let last = stream::once_future(async { Ok(last.await) });
        Body::from_stream(stream::StreamExt::chain(first, last))
    };
    let router = Router::new().route("/", get(|| async { "hello" }));
    (router.route("/slow", get(slow)).route("/chunks", get(chunks)), begins, go)
}

fn the_request_in_hand_is_answered_with_the_word_of_the_end(config: Config) {
    let (app, begins, go) = app();
    let server = start(config, Options { idle: LONG, ..Options::default() }, app);
    let mut client = Client::to(server.address);
    let before = client.get("/").unwrap();
    assert_eq!((before.status, before.text(), before.closes), (200, "hello", false));
    client.ask("/slow");
    begins.recv().unwrap();
    server.stopper.stop();
    wait_until_it_refuses(server.address);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!server.served.load(SeqCst), "`serve` waits for what is open");
    go.try_send(()).unwrap();
    let last = client.answer().unwrap();
    assert_eq!((last.status, last.text(), last.closes), (200, "slow", true));
    client.ends();
    drop(client);
    server.ended();
}

/// Waits until the listener is closed: then the stop has been told.
fn wait_until_it_refuses(address: std::net::SocketAddr) {
    while Client::connect(address).is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn an_answer_whose_head_went_out_before_leaves_room_for_one_more_request(config: Config) {
    let (app, begins, go) = app();
    let server = start(config, Options { idle: LONG, ..Options::default() }, app);
    let mut client = Client::to(server.address);
    client.ask("/chunks");
    assert!(!client.head().unwrap().closes, "the stop has not come");
    assert_eq!(client.chunk().unwrap().unwrap(), b"first");
    begins.recv().unwrap();
    server.stopper.stop();
    wait_until_it_refuses(server.address);
    go.try_send(()).unwrap();
    assert_eq!(client.chunk().unwrap().unwrap(), b"last");
    assert_eq!(client.chunk().unwrap(), None);
    assert!(client.get("/").unwrap().closes, "nothing had been announced before");
    client.ends();
    drop(client);
    server.ended();
}

fn the_idle_time_begins_when_the_answer_has_gone_out(config: Config) {
    // The client asks at once after the answer; a machine that is too busy for that is given more time.
    let mut idle = [1, 4].map(Duration::from_secs).into_iter();
    assert!(idle.any(|idle| a_slow_reader_may_ask_again(config, idle)));
}

fn a_slow_reader_may_ask_again(config: Config, idle: Duration) -> bool {
    // More than sockets take: it is handed over whole, and goes out as it is read.
    let app = Router::new().route("/", get(|| async { vec![b'x'; 64 << 20] }));
    let server = start(config, Options { idle, ..Options::default() }, app);
    let mut client = Client::to(server.address);
    client.ask("/");
    let head = client.head().unwrap();
    assert!(!head.closes);
    server.stopper.stop();
    std::thread::sleep(idle * 3 / 2);
    client.bytes(64 << 20);
    let again = client.get("/").is_ok_and(|answer| answer.closes);
    drop(client);
    server.ended();
    again
}

fn an_idle_connection_is_closed_at_once_where_the_idle_time_is_zero(config: Config) {
    let (app, ..) = app();
    let server = start(config, Options::default(), app);
    let mut used = Client::to(server.address);
    used.get("/").unwrap();
    let mut new = Client::to(server.address);
    Client::to(server.address).get("/").unwrap(); // so it was accepted
    server.stopper.stop();
    used.ends();
    new.ends();
    server.ended();
}

fn the_request_that_comes_within_the_idle_time_is_answered(config: Config) {
    let (app, ..) = app();
    let server = start(config, Options { idle: LONG, ..Options::default() }, app);
    let mut client = Client::to(server.address);
    client.get("/").unwrap();
    server.stopper.stop();
    wait_until_it_refuses(server.address);
    assert!(client.is_silent());
    assert!(client.get("/").unwrap().closes);
    client.ends();
    drop(client);
    server.ended();
}

fn a_new_connection_has_the_idle_time_for_its_first_byte(config: Config) {
    let (app, ..) = app();
    let server = start(config, Options { idle: LONG, ..Options::default() }, app);
    let mut client = Client::to(server.address);
    Client::to(server.address).get("/").unwrap(); // so it was accepted
    server.stopper.stop();
    wait_until_it_refuses(server.address);
    assert!(client.is_silent());
    assert!(client.get("/").unwrap().closes);
    client.ends();
    drop(client);
    server.ended();
}

fn the_idle_time_is_at_most_a_tenth_of_the_drain_limit(config: Config) {
    let (app, ..) = app();
    // The drain limit of a connection is 0.8 s, and a tenth of that far from both.
    let options = Options { idle: LONG, timeout: Duration::from_secs(2), ..Options::default() };
    let server = start(config, options, app);
    let (mut used, mut new) = (Client::to(server.address), Client::to(server.address));
    used.get("/").unwrap();
    server.stopper.stop();
    used.ends();
    new.ends();
    server.ended(); // nothing was overdue
}

fn a_head_that_has_begun_is_waited_for(config: Config) {
    // No answer says that a part of a head was read, and what is not read yet is idle here. So a machine
    // that was too busy is given more time.
    let mut pauses = [100, 400, 1600, 6400].map(Duration::from_millis).into_iter();
    assert!(pauses.any(|pause| heads_are_waited_for(config, pause)));
}

/// Whether two heads that had begun before the stop were answered after it.
fn heads_are_waited_for(config: Config, pause: Duration) -> bool {
    let (app, ..) = app();
    let server = start(config, Options::default(), app);
    let (mut used, mut new) = (Client::to(server.address), Client::to(server.address));
    used.get("/").unwrap();
    for client in [&mut used, &mut new] {
        client.send("GET / HTTP/1.1\r\nHo").unwrap();
    }
    std::thread::sleep(pause);
    server.stopper.stop();
    wait_until_it_refuses(server.address);
    let answered = [used, new].map(|mut client| {
        let answer = client.send("st: x\r\n\r\n").and_then(|()| client.answer());
        answer.is_ok_and(|answer| answer.closes)
    });
    server.ended();
    answered == [true; 2]
}

fn the_stop_ends_with_the_last_connection(config: Config) {
    let (app, ..) = app();
    let server = start(config, Options { idle: LONG, ..Options::default() }, app);
    let mut client = Client::to(server.address);
    client.get("/").unwrap();
    server.stopper.stop();
    wait_until_it_refuses(server.address);
    drop(client);
    let report = server.exit();
    let stop = report.report().phases.iter().map(|span| span.entered).max().unwrap();
    assert!(stop < LONG / 2, "it waited for the idle time: {}", report.report());
}

/// Takes nothing while it is asked to wait, so that all connections are in the queue at the stop.
struct Asleep;

impl Wrap for Asleep {
    type Of<A: Accept> = Sleeper<A>;
    fn wrap<A: Accept>(self, listener: A) -> Sleeper<A> {
        Sleeper(listener)
    }
}

struct Sleeper<A>(A);

impl<A: Accept> Accept for Sleeper<A> {
    type Io = A::Io;
    async fn accept(&mut self) -> std::io::Result<A::Io> {
        // The first to poll it registers with the executor; nothing is taken.
        std::future::pending().await
    }
    fn accept_now(&mut self) -> Option<A::Io> {
        self.0.accept_now()
    }
}

fn the_queue_is_emptied(config: Config) {
    let (app, ..) = app();
    let options = Options { idle: LONG, ..Options::default() };
    let server = start_with(config, options, app, Asleep);
    let mut clients: Vec<_> = (0..20).map(|_| Client::to(server.address)).collect();
    server.stopper.stop();
    for client in &mut clients {
        client.ask("/");
    }
    for client in &mut clients {
        let answer = client.answer().unwrap();
        assert_eq!((answer.text(), answer.closes), ("hello", true));
        client.ends();
    }
    drop(clients);
    server.ended();
}

fn a_shared_queue_is_left_alone(config: Config) {
    let (app, ..) = app();
    let options = Options { shared: true, ..Options::default() };
    let server = start_with(config, options, app, Asleep);
    let mut client = Client::to(server.address);
    client.ask("/");
    server.stopper.stop();
    server.ended();
    // Nobody else has it in truth, so it went with the listener.
    assert!(client.answer().is_err());
}

/// Runs a program that was stopped before it began. It serves what is in the queue, or it is one that has
/// not come so far.
fn stopped_before(config: Config, listener: std::net::TcpListener, serves: bool) -> adjourn::Exit {
    let (app, ..) = app();
    macro_rules! run {
        ($runner:ty, $listener:expr) => {{
            let runner = <$runner>::new().signals([]).exit_when_stuck(false);
            let runner = match config {
                Config::TokioCurrentThread | Config::SmolCurrentThread => runner.current_thread(),
                _ => runner.worker_threads(2),
            };
            runner.stopper().stop();
            if serves {
                runner.run_graceful(|_| async move { adjourn::hyper::serve($listener, app).await })
            } else {
                runner.run(async move {
                    let _not_served = listener;
                    std::future::pending::<()>().await
                })
            }
        }};
    }
    match config {
        Config::TokioWorkers | Config::TokioCurrentThread => {
            listener.set_nonblocking(true).unwrap();
            run!(adjourn::tokio::Runner, tokio::net::TcpListener::from_std(listener).unwrap())
        }
        _ => run!(adjourn::smol::Runner, async_io::Async::new(listener).unwrap()),
    }
}

fn the_queue_is_emptied_though_the_stop_came_before_main(config: Config) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = Client::to(listener.local_addr().unwrap());
    client.ask("/");
    let exit = stopped_before(config, listener, true);
    assert!(exit.report().is_clean(), "{}", exit.report());
    // Whether it says that it is the last depends on when the stop is told.
    assert_eq!(client.answer().unwrap().text(), "hello");
}

fn an_inherited_queue_outlives_a_program_that_never_served(config: Config) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap(); // the manager's
    let mut client = Client::to(listener.local_addr().unwrap());
    client.ask("/");
    let exit = stopped_before(config, listener.try_clone().unwrap(), false);
    assert_eq!(exit.report().total().cancelled, 1, "{}", exit.report());
    assert!(client.is_silent(), "it is in the queue still");
    // The next program.
    let next = stopped_before(config, listener, true);
    assert!(next.report().is_clean(), "{}", next.report());
    assert_eq!(client.answer().unwrap().text(), "hello");
}

fn the_last_answer_survives_input_that_nobody_reads(config: Config) {
    const LENGTH: usize = 4 << 20;
    let (began, begins) = mpsc::channel();
    let (go, going) = async_channel::unbounded::<()>();
    let refuse = move || async move {
        began.send(()).unwrap();
        _ = going.recv().await;
        (axum::http::StatusCode::PAYLOAD_TOO_LARGE, vec![b'x'; LENGTH])
    };
    let server = start(config, Options::default(), Router::new().route("/", get(refuse)));
    let mut client = Client::to(server.address);
    let head = "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n";
    client.send(head).unwrap();
    begins.recv().unwrap();
    server.stopper.stop();
    wait_until_it_refuses(server.address);
    // In the server's socket by now, and nobody will read it.
    client.send(vec![b'y'; 100_000]).unwrap();
    go.try_send(()).unwrap();
    let answer = client.answer().expect("the whole answer comes");
    assert_eq!((answer.status, answer.closes, answer.body.len()), (413, true, LENGTH));
    client.ends();
    drop(client);
    server.ended();
}

fn a_handler_knows_how_much_time_is_left(config: Config) {
    let tell = || async { format!("{:?}", StopToken::current().time_left()) };
    let options = Options { idle: LONG, ..Options::default() };
    let server = start(config, options, Router::new().route("/", get(tell)));
    let mut client = Client::to(server.address);
    assert_eq!(client.get("/").unwrap().text(), "None");
    server.stopper.stop();
    wait_until_it_refuses(server.address);
    // A half of 8,000 s: connections are one level below `main`.
    let left = client.get("/").unwrap().text().to_owned();
    let seconds: f64 = left.trim_start_matches("Some(").split('s').next().unwrap().parse().unwrap();
    assert!(seconds <= 4000.0 && seconds > 3000.0, "{left}");
    server.ended();
}

/// An answer without an end: an event each time there is one, the last at the stop.
fn events(events: async_channel::Receiver<&'static str>) -> Body {
    let stop = StopToken::current();
    let next = |(events, stop): (async_channel::Receiver<&'static str>, Option<StopToken>)| async {
        let told = stop?;
        let event = futures_lite::future::or(async { events.recv().await.ok() }, async {
            told.requested().await;
            None
        });
        Some(match event.await {
            Some(event) => (Ok::<_, Infallible>(event.to_owned()), (events, Some(told))),
            None => (Ok("goodbye".to_owned()), (events, None)),
        })
    };
    Body::from_stream(Box::pin(stream::unfold((events, Some(stop)), next)))
}

fn an_endless_answer_says_goodbye(config: Config) {
    let (event, receiver) = async_channel::unbounded();
    let app = Router::new().route("/", get(move || async move { events(receiver) }));
    let server = start(config, Options::default(), app);
    let mut client = Client::to(server.address);
    client.ask("/");
    client.head().unwrap();
    event.try_send("one").unwrap();
    assert_eq!(client.chunk().unwrap().unwrap(), b"one");
    server.stopper.stop();
    assert_eq!(client.chunk().unwrap().unwrap(), b"goodbye");
    assert_eq!(client.chunk().unwrap(), None);
    client.ends();
    drop(client);
    server.ended();
}

fn a_lame_duck_accepts_and_announces_nothing(config: Config) {
    let phase = || async {
        let stopping = StopToken::current().peek();
        if is_ready() {
            "running"
        } else if stopping {
            "stopping"
        } else {
            "lame"
        }
    };
    let options = Options { lame_duck: Duration::from_secs(3), ..Options::default() };
    let server = start(config, options, Router::new().route("/", get(phase)));
    server.stopper.stop();
    let mut lame = 0;
    while let Ok(mut client) = Client::connect(server.address) {
        let Ok(answer) = client.get("/") else { break };
        // The next phase may come between the handler and the head, so only the sum tells.
        lame += usize::from(answer.text() == "lame" && !answer.closes);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(lame > 0, "nothing was answered in the lame duck phase");
    server.ended();
}
