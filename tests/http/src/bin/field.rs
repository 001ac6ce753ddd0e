//! The same handler on what others have for a stop, to be restarted as `served` is: `field WAY inherited`.
//!
//! WAY is `axum` (`axum::serve` with its graceful shutdown), `hyper-util` (`GracefulShutdown`) or `none`
//! (the process ends at SIGTERM). `hyper-smol` is hyper on smol by smol-hyper, which has nothing for a stop:
//! it is there for what a request costs.

use std::io::{self, Write};
use std::pin::pin;
use std::process;
use std::thread;

use adjourn::hyper::Inherited;
use async_executor::Executor;
use async_io::{Async, block_on};
use axum::Router;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use smol_hyper::rt::FuturesIo;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

fn say(line: &str) {
    _ = io::stdout().write_all(format!("{line}\n").as_bytes());
}

fn app() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

async fn serve(way: &str, listener: TcpListener) -> io::Result<()> {
    let app = app();
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

/// hyper on two of smol's threads. Ends with the process, at SIGTERM.
fn serve_on_smol(listener: std::net::TcpListener) -> io::Result<()> {
    static EXECUTOR: Executor<'_> = Executor::new();
    for _ in 0..2 {
        thread::spawn(|| block_on(EXECUTOR.run(std::future::pending::<()>())));
    }
    let listener = Async::new(listener)?;
    let app = app();
    say(&format!("ready {}", process::id()));
    block_on(async {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            stream.get_ref().set_nodelay(true)?;
            let service = TowerToHyperService::new(app.clone());
            let mut builder = hyper::server::conn::http1::Builder::new();
            // It would need a timer.
            builder.header_read_timeout(None);
            let connection = builder.serve_connection(FuturesIo::new(stream), service);
            EXECUTOR.spawn(async move { _ = connection.await }).detach();
        }
    })
}

fn main() -> io::Result<()> {
    let way = std::env::args().nth(1).unwrap_or_default();
    let listener = Inherited::take()?.tcp("http")?.ok_or(io::ErrorKind::NotFound)?;
    if way == "hyper-smol" {
        return serve_on_smol(listener);
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build()?;
    runtime.block_on(async { serve(&way, TcpListener::from_std(listener)?).await })?;
    drop(runtime);
    say(&format!("ended {} 0", process::id()));
    Ok(())
}
