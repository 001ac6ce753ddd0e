//! A program on one of turmoil's hosts, stopped at each step of the simulated network.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use adjourn_core::{Exit, FutureExt, Runner, spawn};
use adjourn_tokio::Tokio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::{TcpListener, TcpStream};

type Bytes = Arc<Mutex<Vec<u8>>>;

async fn connection(mut stream: TcpStream, stored: Bytes) {
    // What has come is stored and answered, also where the stop comes meanwhile.
    while let Ok(Ok(byte)) = stream.read_u8().until_stop().await {
        tokio::time::sleep(Duration::from_millis(3)).await; // a slow disk
        stored.lock().unwrap().push(byte);
        if stream.write_u8(byte).await.is_err() {
            return;
        }
    }
}

async fn serve(stored: Bytes) {
    let listener = TcpListener::bind("0.0.0.0:80").await.expect("the port is free");
    while let Ok(Ok((stream, _))) = listener.accept().until_stop().await {
        spawn(connection(stream, stored.clone()));
    }
}

/// Runs the server and a client; the server is stopped after so many steps. Returns how it ended,
/// what it stored and what the client has an answer to.
fn run(stop_after: usize) -> (Exit, Vec<u8>, Vec<u8>) {
    let (stored, answered) = (Bytes::default(), Bytes::default());
    let (ended, exit) = std::sync::mpsc::channel();
    let runner = Runner::<()>::new().signals([]);
    let stopper = runner.stopper();
    let mut sim =
        turmoil::Builder::new().rng_seed(7).max_message_latency(Duration::from_millis(3)).build();
    let stores = stored.clone();
    sim.client("server", async move {
        let backend = Tokio::current()?;
        _ = ended.send(runner.attach_to(&backend, serve(stores)).await);
        Ok(())
    });
    let answers = answered.clone();
    sim.client("client", async move {
        let mut stream = TcpStream::connect("server:80").await?;
        for byte in 1..=3 {
            stream.write_u8(byte).await?;
            let answer = stream.read_u8().await?;
            answers.lock().unwrap().push(answer);
        }
        Ok(())
    });
    for step in 0.. {
        if step == stop_after {
            stopper.stop();
        }
        // An error is the client's: its server is gone.
        if sim.step().unwrap_or(true) {
            break;
        }
    }
    let exit = loop {
        match exit.try_recv() {
            Ok(exit) => break exit,
            Err(_) => _ = sim.step(),
        }
    };
    let (stored, answered) = (stored.lock().unwrap().clone(), answered.lock().unwrap().clone());
    (exit, stored, answered)
}

#[test]
fn what_was_answered_is_stored_at_whichever_step_the_server_is_stopped() {
    let mut most = 0;
    for step in 0..200 {
        let (exit, stored, answered) = run(step);
        assert!(exit.report().is_clean(), "stopped after {step} steps:\n{}", exit.report());
        assert!(stored.starts_with(&answered), "{answered:?} were answered, {stored:?} stored");
        most = most.max(answered.len());
        if answered == [1, 2, 3] {
            break; // the rest is the same
        }
    }
    assert_eq!(most, 3, "some run goes to its end");
}
