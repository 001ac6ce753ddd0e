//! Echoes what comes over TCP: `echo_server [ADDRESS]`.
//!
//! At Ctrl-C or SIGTERM it accepts no more, and each connection echoes what has arrived before it
//! closes. The sockets are async-io's, which every executor can run.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use adjourn::{Exit, FutureExt, ResultFutureExt, ready, scope};
use adjourn_examples::{on_backend, sleep};
use async_io::Async;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

async fn echo(mut stream: Async<TcpStream>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    // The stop ends it only once nothing is left to read.
    while let Ok(read) = stream.read(&mut buffer).until_stop_and(Duration::ZERO).await {
        let count = read?;
        if count == 0 {
            break;
        }
        stream.write_all(&buffer[..count]).await?;
    }
    Ok(())
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = Async::<TcpListener>::bind(address)?;
    println!("listening on {}", listener.get_ref().local_addr()?);
    ready();
    while let Ok(accepted) = listener.accept().until_stop().await {
        match accepted {
            Ok((stream, peer)) => {
                // All under one name, so that the report counts them together. The scope ends by
                // itself, with its last task.
                let connection = scope("connection").task(peer.to_string());
                // A client that resets its connection is worth a line in the report, not a stop. Graceful
                // from the start: what was accepted is served, also when the stop comes before its first poll.
                connection.spawn_graceful(|_| echo(stream).or_report());
            }
            Err(error) => {
                eprintln!("accept: {error}"); // out of file descriptors, say: later there may be
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    println!("no more connections");
    Ok(())
}

fn main() -> Exit {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let Ok(address) = address.parse() else {
        eprintln!("{address:?} is not an address with a port, as in 127.0.0.1:7000");
        return Exit::code(2);
    };
    on_backend!(Runner => Runner::new()
        .on_stopped(|| println!("all connections closed"))
        .run(serve(address)))
}
