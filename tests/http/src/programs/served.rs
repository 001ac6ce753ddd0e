//! A server as a user writes it, to be restarted: `served BACKEND SOURCE`.
//!
//! BACKEND is `tokio` or `smol`, SOURCE one of `inherited`, `handover PATH ADDRESS`, `port ADDRESS` (that
//! is shared) and `bind ADDRESS`. It prints `ready PID` and `ended PID CODE`. SIGHUP starts the next one.

use std::env;
use std::io::{self, Write};
use std::net::TcpListener;
use std::process;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adjourn::hyper::{Accept, Handover, Inherited, Server, Successor, bind, reuse_port};
use adjourn::{Exit, Signal, Stopper, ready};
use async_io::Async;
use axum::Router;
use axum::body::Bytes;
use axum::routing::get;

/// Prints a line at once and whole: several programs share the pipe.
fn say(line: &str) {
    _ = io::stdout().write_all(format!("{line}\n").as_bytes());
}

fn listener() -> io::Result<(TcpListener, Option<Handover>, bool)> {
    let arguments: Vec<_> = env::args().skip(2).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let address = |text: &str| text.parse().map_err(io::Error::other);
    match arguments[..] {
        ["inherited"] => match Inherited::take()?.tcp("http")? {
            Some(listener) => Ok((listener, None, true)),
            None => Err(io::Error::other("no listener was passed under the name http")),
        },
        ["handover", path, at] => {
            let span = env::var("READY_WITHIN").ok().and_then(|millis| millis.parse().ok());
            let mut handover = Handover::join(path)?;
            if let Some(millis) = span {
                handover = handover.ready_within(Duration::from_millis(millis));
            }
            let listener = match handover.tcp()? {
                Some(listener) => listener,
                None => bind(address(at)?)?,
            };
            Ok((listener, Some(handover), false))
        }
        ["port", at] => Ok((reuse_port(address(at)?)?, None, false)),
        ["bind", at] => Ok((bind(address(at)?)?, None, false)),
        _ => Err(io::Error::other(
            "served BACKEND inherited|handover PATH ADDRESS|port ADDRESS|bind ADDRESS",
        )),
    }
}

async fn serve<A: Accept>(
    listener: A,
    shared: bool,
    next: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    // What a program does before it is ready may fail, or hang.
    match env::var("STUMBLE").as_deref() {
        Ok("dies") => process::exit(9),
        Ok("hangs") => {
            say("begins");
            std::future::pending().await
        }
        // The old program has 300 ms of patience in the test that asks for this.
        Ok("late") => adjourn::Scope::current().sleep(Duration::from_secs(1)).await,
        _ => {}
    }
    let pid = process::id();
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/pid", get(move || async move { pid.to_string() }))
        .route("/echo", axum::routing::post(|body: Bytes| async move { body }));
    next()?;
    ready();
    say(&format!("ready {pid}"));
    Server::new(listener).shared(shared).serve(app).await
}

pub(crate) fn main() -> Exit {
    let (listener, handover, shared) = match listener() {
        Ok(listening) => listening,
        Err(error) => {
            eprintln!("{error}");
            return Exit::code(2);
        }
    };
    let successor = Arc::new(Mutex::new(None::<Successor>));
    let starts = successor.clone();
    let on_signal = move |signal: Signal, stopper: &Stopper| {
        let successor = starts.lock().unwrap();
        match &*successor {
            Some(next) if signal == Signal::HANGUP => {
                if let Err(error) = next.start() {
                    say(&format!("not started: {error}"));
                }
            }
            _ => stopper.stop(),
        }
    };
    macro_rules! run {
        ($runner:ty, $listener:expr) => {{
            let runner = <$runner>::new()
                .signals([Signal::INTERRUPT, Signal::TERMINATE, Signal::HANGUP])
                .worker_threads(2)
                .on_signal(on_signal);
            let stopper = runner.stopper();
            let same = listener.try_clone().unwrap();
            let next = move || {
                let waits =
                    handover.map(|handover| handover.ready(&[&same], stopper)).transpose()?;
                *successor.lock().unwrap() = waits;
                Ok(())
            };
            runner.run(async move { serve($listener, shared, next).await })
        }};
    }
    let exit = match env::args().nth(1).as_deref() {
        Some("tokio") => {
            run!(adjourn::tokio::Runner, tokio::net::TcpListener::from_std(listener).unwrap())
        }
        _ => run!(adjourn::smol::Runner, Async::new(listener).unwrap()),
    };
    say(&format!("ended {} {}", process::id(), exit.exit_code()));
    exit
}
