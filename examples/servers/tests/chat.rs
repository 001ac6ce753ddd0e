//! A chat says goodbye at the stop, to whoever talks and to whoever is silent.
#![cfg(unix)]

mod program;

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use program::Program;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

fn join(address: SocketAddr) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap(); // what takes longer hangs
    let (socket, _) = tungstenite::client(format!("ws://{address}/chat"), stream).unwrap();
    socket
}

/// Says something until the client itself hears it: then it is in the room.
fn enter(client: &mut WebSocket<TcpStream>, word: &str) {
    client.send(Message::text(word)).unwrap();
    while client.read().unwrap() != Message::text(word) {}
}

#[test]
fn each_client_is_told_to_come_back() {
    let server = Program::start(env!("CARGO_BIN_EXE_chat"), &[]);
    let mut clients = [(); 3].map(|()| join(server.address));
    for (client, word) in clients.iter_mut().zip(["a", "b", "c"]) {
        enter(client, word);
    }
    clients[2].send(Message::text("hello")).unwrap();
    for client in &mut clients {
        while client.read().unwrap() != Message::text("hello") {}
    }
    server.terminate();
    for client in &mut clients {
        assert_eq!(client.read().unwrap(), Message::text("goodbye, come back in a moment"));
        let Message::Close(Some(frame)) = client.read().unwrap() else { panic!("no close frame") };
        assert_eq!((frame.code, frame.reason.as_str()), (CloseCode::Away, "the server stops"));
        let end = client.read().unwrap_err(); // which also sends the answer
        assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
    }
    server.end().in_order();
}

#[test]
fn who_never_answers_is_not_waited_for() {
    let server = Program::start(env!("CARGO_BIN_EXE_chat"), &[]);
    let mut silent = join(server.address);
    enter(&mut silent, "a");
    let told = std::time::Instant::now();
    server.terminate();
    server.end().in_order(); // overdue work would be a complaint
    assert!(told.elapsed() > Duration::from_secs(1), "it was given its time");
    drop(silent);
}
