//! gRPC at the stop: calls are answered, watches are told and end.
#![cfg(unix)]

mod program;

use std::time::Duration;

use program::Program;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

async fn client(server: &Program) -> HealthClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    HealthClient::new(endpoint.connect().await.unwrap())
}

fn all() -> HealthCheckRequest {
    HealthCheckRequest { service: String::new() }
}

/// Asks until the server has gone. Returns how many calls were answered before, and with which status the
/// first one failed.
async fn ask(mut client: HealthClient<Channel>) -> (u32, tonic::Status) {
    let mut answered = 0;
    loop {
        match client.check(all()).await {
            Ok(_) => answered += 1,
            Err(status) => return (answered, status),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_end_and_calls_are_answered() {
    let server = Program::start(env!("CARGO_BIN_EXE_grpc"), &[]);
    let mut watches = Vec::new();
    for _ in 0..3 {
        let mut watch = client(&server).await.watch(all()).await.unwrap().into_inner();
        let first = watch.message().await.unwrap().unwrap();
        assert_eq!(first.status, ServingStatus::Serving as i32);
        watches.push(watch);
    }
    let mut asking = Vec::new();
    for _ in 0..4 {
        let mut asker = client(&server).await;
        asker.check(all()).await.unwrap();
        asking.push(tokio::spawn(ask(asker)));
    }
    tokio::time::sleep(Duration::from_millis(200)).await; // some calls
    server.terminate();
    for mut watch in watches {
        let last = watch.message().await.unwrap().unwrap();
        assert_eq!(last.status, ServingStatus::NotServing as i32);
        assert_eq!(watch.message().await.unwrap(), None, "the call ends in order");
    }
    for asker in asking {
        let (answered, status) = asker.await.unwrap();
        // It was never taken (no server listens any more), or the service had been taken away. What was
        // taken and not answered would be Unknown, Cancelled or Internal.
        let code = status.code();
        assert!(matches!(code, Code::Unavailable | Code::NotFound), "{status:?}");
        assert!(answered > 0);
    }
    let server = tokio::task::spawn_blocking(move || server.end()).await.unwrap();
    server.in_order();
}
