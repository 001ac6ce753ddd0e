//! The database closes last: each note that was answered is there, and none is half written.
#![cfg(unix)]

mod program;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Sender};

use adjourn_http_tests::Client;
use program::Program;

/// Writes notes until the server has gone. Returns how many were answered.
///
/// # Errors
///
/// A request was not answered. The first connection, too, is one that has to come about.
fn write(address: SocketAddr, begun: &Sender<()>) -> io::Result<u64> {
    let mut answered = 0;
    let mut connected = Client::connect(address);
    connected.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    while let Ok(mut client) = connected {
        loop {
            let head = "POST /notes HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n";
            client.send(format!("{head}milk"))?;
            let answer = client.answer()?;
            assert_eq!(answer.status, 201, "{}", answer.text());
            answered += 1;
            if answered == 20 {
                _ = begun.send(());
            }
            if answer.closes {
                break;
            }
        }
        connected = Client::connect(address);
    }
    Ok(answered)
}

#[test]
fn each_note_that_was_answered_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.db");
    let server = Program::start(env!("CARGO_BIN_EXE_database"), &[path.to_str().unwrap()]);
    let address = server.address;
    let (begun, begins) = mpsc::channel();
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let begun = begun.clone();
            std::thread::spawn(move || write(address, &begun))
        })
        .collect();
    for _ in &writers {
        begins.recv().unwrap();
    }
    server.terminate(); // with a request on each connection, in the midst of its way
    let failed = AtomicUsize::new(0);
    let answered = writers.into_iter().map(|writer| {
        writer.join().unwrap().unwrap_or_else(|error| {
            failed.fetch_add(1, SeqCst);
            eprintln!("{error}");
            0
        })
    });
    let answered: u64 = answered.sum();
    let ended = server.end();
    ended.in_order();
    assert_eq!(failed.load(SeqCst), 0, "of 8 writers");
    let last = format!("the database is closed, with {answered} notes");
    assert_eq!(ended.out, ["all requests are answered".to_owned(), last]);
    // It was closed: the last to close takes the log away.
    assert!(!folder.path().join("notes.db-wal").exists());
    let file = rusqlite::Connection::open(&path).unwrap();
    let rows: u64 = file.query_row("SELECT count(*) FROM notes", (), |row| row.get(0)).unwrap();
    assert_eq!(rows, answered);
}
