//! A chat over websockets: `chat [ADDRESS]`. What one says at `/chat`, everybody hears.
//!
//! ```sh
//! cargo run -p adjourn-servers --features chat --bin chat -- 127.0.0.1:7000
//! websocat ws://127.0.0.1:7000/chat
//! ```
//!
//! At Ctrl-C or SIGTERM each client gets a last message and a close frame with the code 1001, "going away"
//! (RFC 6455, 7.4.1), so that it knows to connect again.

use std::net::SocketAddr;
use std::time::Duration;

use adjourn::{Exit, Scope, StopToken, hyper, ready, run, task};
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use axum::routing::any;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, oneshot};

/// How long a client has to answer the close frame.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is said in the room.
type Room = broadcast::Sender<String>;

/// axum's `on_upgrade` uses `tokio::spawn`, and the program does not know what runs there: it is in no scope
/// and in no report. So that task only hands the socket on, to a task of the connection's scope.
async fn join(State(room): State<Room>, request: WebSocketUpgrade) -> Response {
    let (give, take) = oneshot::channel();
    task("chat").spawn_graceful(|stop| async move {
        // An error where the client has gone before its connection was upgraded.
        if let Ok(socket) = take.await {
            talk(socket, room, stop).await;
        }
    });
    request.on_upgrade(async |socket| {
        _ = give.send(socket);
    })
}

async fn talk(mut socket: WebSocket, room: Room, stop: StopToken) {
    let mut said = room.subscribe();
    loop {
        tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Text(text))) => _ = room.send(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {} // axum answers pings by itself
            },
            heard = said.recv() => match heard {
                Ok(text) => {
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {} // a slow client misses some
                Err(broadcast::error::RecvError::Closed) => return,
            },
            _ = stop.requested() => break,
        }
    }
    _ = Scope::current().timeout(PATIENCE, goodbye(&mut socket)).await;
}

/// Says goodbye, and waits for the client to say so too.
async fn goodbye(socket: &mut WebSocket) -> Result<(), axum::Error> {
    socket.send(Message::text("goodbye, come back in a moment")).await?;
    let frame = CloseFrame { code: close_code::AWAY, reason: "the server stops".into() };
    socket.send(Message::Close(Some(frame))).await?;
    while let Some(message) = socket.recv().await {
        message?;
    }
    Ok(())
}

async fn serve(address: SocketAddr) -> std::io::Result<()> {
    let app = Router::new().route("/chat", any(join)).with_state(Room::new(64));
    let listener = TcpListener::bind(address).await?;
    println!("{}{}", adjourn_servers::LISTENING, listener.local_addr()?);
    ready();
    hyper::serve(listener, app).await
}

fn main() -> Exit {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let Ok(address) = address.parse() else {
        eprintln!("{address:?} is not an address with a port, as in 127.0.0.1:7000");
        return Exit::code(2);
    };
    run(serve(address))
}
