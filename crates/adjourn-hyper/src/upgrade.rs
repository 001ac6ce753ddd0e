//! Connections that become something else: a websocket, a tunnel.

use std::future::Future;

use adjourn_core::{JoinHandle, StopToken, task};
use http::Request;
use hyper::upgrade::Upgraded;

/// Takes over the connection of `request` once the answer to it is written, which must say so
/// (101 Switching Protocols, or any success to a CONNECT). Call it in the handler, before it returns.
///
/// `work` becomes a graceful task of the connection's scope, under the name `upgrade`: it is told of the
/// stop and has until the drain limit to say goodbye. What axum's `WebSocketUpgrade::on_upgrade` and others
/// spawn by `tokio::spawn` is in no scope and in no report; the server waits for its socket all the same.
///
/// Where the answer does not upgrade the connection, or the connection breaks before, `work` is never
/// called.
///
/// # Panics
///
/// Outside of a program.
#[track_caller]
pub fn upgrade<B, F, Fut>(request: &mut Request<B>, work: F) -> JoinHandle<()>
where
    F: FnOnce(Upgraded, StopToken) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let upgraded = hyper::upgrade::on(request);
    task("upgrade").spawn_graceful(|stop| async move {
        if let Ok(upgraded) = upgraded.await {
            work(upgraded, stop).await;
        }
    })
}
