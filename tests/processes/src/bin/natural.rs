//! What people write after a page of the guide, each with work in hand: `natural BACKEND SHAPE`.
//!
//! Prints `ready` once work is in hand, and `stopping` at the stop. The work waits for a line of
//! standard input, so that the stop finds it undone.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use adjourn::rt::Executor;
use adjourn::{
    Exit, FutureExt, IteratorUntilStop, StopToken, scope, spawn, spawn_blocking, spawn_graceful,
};
use adjourn_core::Runner;
use async_channel::{Receiver, unbounded};
use axum::{Router, routing::get};
use tokio::net::TcpListener;

/// Open once a line has come.
#[derive(Clone)]
struct Gate(Receiver<()>);

impl Gate {
    fn new() -> Gate {
        let (shut, gate) = unbounded();
        std::thread::spawn(move || {
            _ = std::io::stdin().read_line(&mut String::new());
            drop(shut);
        });
        Gate(gate)
    }

    async fn pass(&self) {
        _ = self.0.recv().await;
    }

    fn pass_blocking(&self) {
        _ = self.0.recv_blocking();
    }
}

fn main() -> Exit {
    let mut args = std::env::args().skip(1);
    let backend = args.next().expect("a backend");
    let shape = args.next().expect("a shape");
    let tokio = adjourn::tokio::Runner::new();
    match (shape.as_str(), backend.as_str()) {
        ("axum", "tokio-current") => axum(tokio.current_thread(), Spelling::Future),
        ("axum", _) => axum(tokio.worker_threads(3), Spelling::Future),
        ("axum-block", "tokio-current") => axum(tokio.current_thread(), Spelling::Block),
        ("axum-block", _) => axum(tokio.worker_threads(3), Spelling::Block),
        (shape, "tokio-current") => run(tokio.current_thread(), shape),
        (shape, "tokio-n") => run(tokio.worker_threads(3), shape),
        (shape, "smol-current") => run(adjourn::smol::Runner::new().current_thread(), shape),
        (shape, "smol-n") => run(adjourn::smol::Runner::new().worker_threads(3), shape),
        (shape, "async-std") => run(adjourn::async_std::Runner::new(), shape),
        (_, other) => panic!("no such backend: {other}"),
    }
}

fn run<E: Executor>(runner: Runner<E>, shape: &str) -> Exit {
    let runner = runner.on_stop(|| println!("stopping"));
    let gate = Gate::new();
    match shape {
        "queue" => runner.run(queue(gate)),
        "select" => runner.run(select(gate)),
        "unwrap" => runner.run(async { spawn(endless()).await.unwrap() }),
        "unwrap-scope" => runner.run(unwrap_scope(gate)),
        "pool" => runner.run(pool(gate)),
        "job" => runner.run(job(gate)),
        other => panic!("no such shape: {other}"),
    }
}

/// The two ways in which people give axum its signal.
#[derive(Clone, Copy)]
enum Spelling {
    Future,
    Block,
}

fn axum(runner: adjourn::tokio::Runner, spelling: Spelling) -> Exit {
    let gate = Gate::new();
    runner.on_stop(|| println!("stopping")).run(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("at {}", listener.local_addr()?);
        let handler = move || async move {
            println!("ready");
            gate.pass().await;
            "done"
        };
        let server = axum::serve(listener, Router::new().route("/", get(handler)));
        match spelling {
            Spelling::Future => {
                server.with_graceful_shutdown(StopToken::current().requested()).await
            }
            Spelling::Block => {
                let signal = async { StopToken::current().requested().await };
                server.with_graceful_shutdown(signal).await
            }
        }
    })
}

/// So many jobs in a channel that stays open.
fn jobs(count: usize) -> Receiver<usize> {
    let (jobs, queue) = unbounded();
    (0..count).for_each(|job| jobs.try_send(job).expect("it is open"));
    std::mem::forget(jobs);
    queue
}

async fn queue(gate: Gate) {
    let queue = jobs(3);
    let worker = spawn(async move {
        while let Ok(Ok(job)) = queue.recv().until_stop().await {
            println!("ready");
            gate.pass().await;
            println!("did {job}");
        }
        println!("left {}", queue.len());
    });
    worker.await.unwrap();
}

/// Gathers a batch, and writes it at the end.
async fn select(gate: Gate) {
    let queue = jobs(3);
    let stop = StopToken::current();
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased; // it has asked by the time that it says so
            () = stop.requested() => break,
            job = queue.recv() => batch.extend(job),
        }
        if batch.len() == 3 {
            println!("ready");
        }
    }
    gate.pass().await;
    println!("flushed {batch:?}");
}

/// What never ends by itself: who unwraps its handle would panic if told that it was cancelled.
async fn endless() {
    struct Says;
    impl Drop for Says {
        fn drop(&mut self) {
            println!("dropped");
        }
    }
    let _says = Says;
    println!("ready");
    std::future::pending::<()>().await;
}

/// Tasks of the inner scope are cancelled long before main is, which waits for the worker.
async fn unwrap_scope(gate: Gate) {
    spawn_graceful(|stop| async move {
        stop.requested().await;
        gate.pass().await;
        println!("did it");
    });
    scope("http").spawn(endless()).await.unwrap();
}

/// Workers that main joins after the stop.
async fn pool(gate: Gate) {
    static BUSY: AtomicUsize = AtomicUsize::new(0);
    let stop = StopToken::current();
    assert!(!stop.is_requested(), "it has asked before the workers say that they are ready");
    let queue = jobs(10);
    let worker = |queue: Receiver<usize>, gate: Gate| async move {
        let mut did = 0;
        while let Ok(Ok(_)) = queue.recv().until_stop().await {
            if BUSY.fetch_add(1, SeqCst) == 2 {
                println!("ready");
            }
            gate.pass().await;
            did += 1;
        }
        did
    };
    let workers: Vec<_> = (0..3).map(|_| spawn(worker(queue.clone(), gate.clone()))).collect();
    stop.requested().await;
    let mut did = 0;
    for worker in workers {
        did += worker.await.unwrap();
    }
    println!("did {did}, left {}", queue.len());
}

/// A blocking job that looks at the stop between its steps.
async fn job(gate: Gate) {
    let job = spawn_blocking(move || {
        let mut steps = 0;
        for step in (0..3).until_stop() {
            println!("ready");
            gate.pass_blocking();
            println!("did {step}");
            steps += 1;
        }
        println!("{steps} of 3");
    });
    job.await.unwrap();
}
