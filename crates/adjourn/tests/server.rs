//! Natural programs with what others wrote: axum's server, channels, `tokio::select!`. Each is a plain
//! `run`, is asked to stop with work in hand, and finishes it.
#![cfg(feature = "tokio")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use adjourn::tokio::Runner;
use adjourn::{Exit, FutureExt, Outcome, Scope, StopToken, spawn};
use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// The two ways in which people give axum its signal.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    Future,
    Block,
}

/// Serves until the stop. The one request waits for `go`.
async fn serve(
    spelling: Spelling,
    at: mpsc::Sender<SocketAddr>,
    entered: mpsc::Sender<()>,
    go: Arc<Notify>,
) -> Result<(), std::io::Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    at.send(listener.local_addr()?).unwrap();
    let handler = move || async move {
        entered.send(()).unwrap();
        go.notified().await;
        "done"
    };
    let server = axum::serve(listener, Router::new().route("/", get(handler)));
    match spelling {
        Spelling::Future => server.with_graceful_shutdown(StopToken::current().requested()).await,
        Spelling::Block => {
            let signal = async { StopToken::current().requested().await };
            server.with_graceful_shutdown(signal).await
        }
    }
}

#[track_caller]
fn ended_in_order(exit: &Exit) {
    let report = exit.report();
    assert!(report.is_clean(), "{report}");
    assert_eq!((exit.exit_code(), &report.main), (0, &Some(Outcome::Finished)), "{report}");
}

#[test]
fn axum_answers_the_request_in_hand() {
    for spelling in [Spelling::Future, Spelling::Block] {
        let runner = Runner::new().signals([]);
        let stopper = runner.stopper();
        let (at, address) = mpsc::channel();
        let (entered, enters) = mpsc::channel();
        let go = Arc::new(Notify::new());
        let goes = go.clone();
        let server = thread::spawn(move || runner.run(serve(spelling, at, entered, goes)));
        let mut client = TcpStream::connect(address.recv().unwrap()).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        enters.recv().unwrap();
        stopper.stop();
        // What is cut at the stop is cut by now; what drains waits for us.
        thread::sleep(Duration::from_millis(200));
        go.notify_one();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{spelling:?}: {answer:?}");
        assert!(answer.ends_with("done"), "{spelling:?}: {answer:?}");
        ended_in_order(&server.join().unwrap());
    }
}

#[test]
fn a_queue_finishes_the_job_in_hand_and_takes_no_other() {
    let runner = Runner::new().signals([]);
    let stopper = runner.stopper();
    let (jobs, queue) = async_channel::unbounded();
    let (did, done) = mpsc::channel();
    for job in 0..3 {
        jobs.try_send(job).unwrap();
    }
    let exit = runner.run(async move {
        let worker = spawn(async move {
            while let Ok(Ok(job)) = queue.recv().until_stop().await {
                stopper.stop();
                Scope::current().sleep(Duration::from_millis(50)).await;
                did.send(job).unwrap();
            }
        });
        worker.await.unwrap();
    });
    assert_eq!(done.iter().collect::<Vec<_>>(), [0], "the first was in hand when the stop came");
    assert!(exit.report().is_clean(), "{}", exit.report());
    drop(jobs);
}

#[test]
fn a_loop_over_select_acts_once_more_and_ends() {
    let runner = Runner::new().signals([]);
    let stopper = runner.stopper();
    let (flushed, flushes) = mpsc::channel();
    let exit = runner.run(async move {
        let stop = StopToken::current();
        let mut ticks = 0;
        loop {
            tokio::select! {
                () = stop.requested() => break,
                () = Scope::current().sleep(Duration::from_millis(1)) => ticks += 1,
            }
            if ticks == 3 {
                stopper.stop();
            }
        }
        Scope::current().sleep(Duration::from_millis(20)).await; // the last flush
        flushed.send(ticks).unwrap();
    });
    assert!(flushes.recv().unwrap() >= 3);
    ended_in_order(&exit);
}
