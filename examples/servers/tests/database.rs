//! The database closes last: each note that was answered is there, and none is half written.
#![cfg(unix)]

mod program;

use std::io;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use adjourn_http_tests::Client;
use program::Program;

/// A half of the time for which a connection without a request is kept after the stop.
const IDLE: Duration = Duration::from_millis(500);

/// Writes notes until an answer says that it is the last. Returns how many were answered.
///
/// # Errors
///
/// A request was not answered.
fn write(mut client: Client, begun: &Sender<()>) -> io::Result<u64> {
    let mut answered = 0;
    loop {
        let asks = Instant::now();
        let head = "POST /notes HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n";
        let sent = client.send(format!("{head}milk"));
        let answer = match sent.and_then(|()| client.answer()) {
            Ok(answer) => answer,
            // On a machine that is busy it came after the idle time: then it was not taken.
            Err(_) if asks.elapsed() > IDLE => return Ok(answered),
            Err(error) => return Err(error),
        };
        assert_eq!(answer.status, 201, "{}", answer.text());
        answered += 1;
        if answered == 20 {
            _ = begun.send(());
        }
        if answer.closes {
            return Ok(answered);
        }
    }
}

#[test]
fn each_note_that_was_answered_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.db");
    let server = Program::start(env!("CARGO_BIN_EXE_database"), &[path.to_str().unwrap()]);
    let (begun, begins) = mpsc::channel();
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let (client, begun) = (Client::to(server.address), begun.clone());
            std::thread::spawn(move || write(client, &begun))
        })
        .collect();
    for _ in &writers {
        begins.recv().unwrap();
    }
    server.terminate(); // with a request on each connection, or the next one on its way
    let answered = writers.into_iter().map(|writer| writer.join().unwrap().expect("an answer"));
    let answered: u64 = answered.sum();
    let ended = server.end();
    ended.in_order();
    let last = format!("the database is closed, with {answered} notes");
    assert_eq!(ended.out, ["all requests are answered".to_owned(), last]);
    // It was closed: the last to close takes the log away.
    assert!(!folder.path().join("notes.db-wal").exists());
    let file = rusqlite::Connection::open(&path).unwrap();
    let rows: u64 = file.query_row("SELECT count(*) FROM notes", (), |row| row.get(0)).unwrap();
    assert_eq!(rows, answered);
}
