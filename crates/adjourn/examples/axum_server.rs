//! A server on axum: `axum_server [ADDRESS]`. At Ctrl-C or SIGTERM it accepts no more, answers the requests
//! that it has, and ends. To copy it, these dependencies are enough:
//!
//! ```toml
//! [dependencies]
//! adjourn = "0.1"
//! axum = "0.8"
//! tokio = { version = "1", features = ["net"] }
//! ```

#![allow(clippy::print_stdout)] // our libraries do not print, but an example does

use adjourn::{Exit, StopToken, run};
use axum::{Router, routing::get};
use tokio::net::TcpListener;

fn main() -> Exit {
    run(async {
        let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
        let listener = TcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        let app = Router::new().route("/", get(|| async { "hello\n" }));
        // Main asks about the stop here: it is told, and waited for until its requests are answered.
        let stopped = StopToken::current().requested();
        axum::serve(listener, app).with_graceful_shutdown(stopped).await?;
        println!("all requests are answered");
        Ok::<(), std::io::Error>(())
    })
}
