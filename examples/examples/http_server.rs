//! An HTTP server on hyper: `http_server [ADDRESS]`. `/` says hello, `/clock` sends an event each second.
//!
//! At Ctrl-C or SIGTERM each answer says `Connection: close`, who is idle has a second for one more
//! request, and the clock says goodbye. The sockets are async-io's, which every executor can run.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::time::Duration;

use adjourn::hyper::Server;
use adjourn::rt::Interval;
use adjourn::{Exit, FutureExt, Scope, StopToken, ready};
use adjourn_examples::on_backend;
use async_io::Async;
use futures_lite::stream::{self, Stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let text = |text: &'static str| Full::new(Bytes::from(text)).boxed_unsync();
    let answer = match request.uri().path() {
        "/" => Response::new(text("hello\n")),
        "/clock" => {
            let mut answer = Response::new(StreamBody::new(clock()).boxed_unsync());
            let kind = "text/event-stream".parse().expect("it is one");
            answer.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
            answer
        }
        _ => {
            let mut answer = Response::new(text("there is / and /clock\n"));
            *answer.status_mut() = StatusCode::NOT_FOUND;
            answer
        }
    };
    Ok(answer)
}

/// An answer without an end: it looks for the stop, and says goodbye.
fn clock() -> Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>> {
    let ticks = Scope::current().interval(Duration::from_secs(1));
    let next = |state: Option<(Interval, u32)>| async {
        let (mut ticks, count) = state?;
        let told = ticks.tick().until_stop().await;
        let (event, state) = match told {
            Ok(_) => (format!("data: tick {count}\n\n"), Some((ticks, count + 1))),
            Err(_) => {
                let left = StopToken::current().time_left();
                (format!("event: bye\ndata: {}\n\n", left.is_some()), None)
            }
        };
        Some((Ok(Frame::data(Bytes::from(event))), state))
    };
    Box::pin(stream::unfold(Some((ticks, 1)), next))
}

async fn serve(address: SocketAddr) -> std::io::Result<()> {
    let listener = Async::<TcpListener>::bind(address)?;
    println!("listening on {}", listener.get_ref().local_addr()?);
    ready();
    Server::new(listener).serve_hyper(service_fn(answer)).await?;
    println!("all requests are answered");
    Ok(())
}

fn main() -> Exit {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let Ok(address) = address.parse() else {
        eprintln!("{address:?} is not an address with a port, as in 127.0.0.1:7000");
        return Exit::code(2);
    };
    on_backend!(Runner => Runner::new().run(serve(address)))
}
