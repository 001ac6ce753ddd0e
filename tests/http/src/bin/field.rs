//! The same handler on what others have for a stop, to be restarted as `served` is: `field WAY inherited`.
//!
//! WAY is `axum` (`axum::serve` with its graceful shutdown), `hyper-util` (`GracefulShutdown`) or `none`
//! (the process ends at SIGTERM).

use std::io::{self, Write};
use std::pin::pin;
use std::process;

use adjourn::hyper::Inherited;
use axum::Router;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

fn say(line: &str) {
    _ = io::stdout().write_all(format!("{line}\n").as_bytes());
}

async fn serve(way: &str, listener: TcpListener) -> io::Result<()> {
    let app = Router::new().route("/", get(|| async { "hello" }));
    let mut terminate = signal(SignalKind::terminate())?;
    say(&format!("ready {}", process::id()));
    match way {
        "axum" => {
            let stop = async move { _ = terminate.recv().await };
            axum::serve(listener, app).with_graceful_shutdown(stop).await
        }
        "hyper-util" => {
            let graceful = GracefulShutdown::new();
            let mut stop = pin!(terminate.recv());
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { continue };
                        let service = TowerToHyperService::new(app.clone());
                        let builder = Builder::new(TokioExecutor::new());
                        let connection = builder.serve_connection(TokioIo::new(stream), service);
                        let connection = graceful.watch(connection.into_owned());
                        tokio::spawn(async move { _ = connection.await });
                    }
                    _ = &mut stop => break,
                }
            }
            drop(listener);
            graceful.shutdown().await;
            Ok(())
        }
        _ => {
            let server = axum::serve(listener, app).into_future();
            tokio::select! {
                served = server => served,
                _ = terminate.recv() => Ok(()),
            }
        }
    }
}

fn main() -> io::Result<()> {
    let way = std::env::args().nth(1).unwrap_or_default();
    let listener = Inherited::take()?.tcp("http")?.ok_or(io::ErrorKind::NotFound)?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build()?;
    runtime.block_on(async { serve(&way, TcpListener::from_std(listener)?).await })?;
    drop(runtime);
    say(&format!("ended {} 0", process::id()));
    Ok(())
}
