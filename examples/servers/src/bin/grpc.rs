//! gRPC's health service, with tonic: `grpc [ADDRESS]`.
//!
//! ```sh
//! cargo run -p adjourn-servers --features grpc --bin grpc -- 127.0.0.1:7000
//! grpc_health_probe -addr 127.0.0.1:7000
//! ```
//!
//! At Ctrl-C or SIGTERM whoever watches is told NOT_SERVING, and the watches end. Each connection gets
//! GOAWAY: the calls in hand are answered, the next ones go to another server.

use std::net::SocketAddr;

use adjourn::{Exit, hyper, ready, run, task};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The name for the server as a whole (`health.proto`).
const ALL: &str = "";

async fn serve(address: SocketAddr) -> std::io::Result<()> {
    let (mut reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status(ALL, ServingStatus::Serving).await;
    // Graceful from the start: it is told, though the stop may come before its first poll.
    task("health").spawn_graceful(|stop| async move {
        stop.requested().await;
        leave(&mut reporter).await;
    });
    let listener = TcpListener::bind(address).await?;
    println!("{}{}", adjourn_servers::LISTENING, listener.local_addr()?);
    ready();
    hyper::serve(listener, Routes::new(health).prepare()).await
}

/// A watch is an answer without an end: it would be cut off at the drain limit. It ends when its service is
/// taken away, and has told the last status by then.
async fn leave(reporter: &mut HealthReporter) {
    reporter.set_service_status(ALL, ServingStatus::NotServing).await;
    reporter.clear_service_status(ALL).await;
}

fn main() -> Exit {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let Ok(address) = address.parse() else {
        eprintln!("{address:?} is not an address with a port, as in 127.0.0.1:7000");
        return Exit::code(2);
    };
    run(serve(address))
}
