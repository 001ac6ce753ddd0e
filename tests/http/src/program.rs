//! A program that serves, in a thread of this process.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use adjourn::hyper::{Accept, Server};
use adjourn::{Exit, Stopper};
use async_io::Async;
use axum::Router;

/// Where a server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Config {
    TokioWorkers,
    TokioCurrentThread,
    SmolWorkers,
    SmolCurrentThread,
}

/// What a test sets of the server and its program.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub idle: Duration,
    pub head: Duration,
    pub keep_alive: Duration,
    pub shared: bool,
    pub lame_duck: Duration,
    /// A tenth of the drain limit bounds the idle time: so long that it does not.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            idle: Duration::ZERO,
            head: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            shared: false,
            lame_duck: Duration::ZERO,
            timeout: Duration::from_secs(10_000),
        }
    }
}

pub struct Running {
    pub address: SocketAddr,
    pub stopper: Stopper,
    /// `serve` has returned.
    pub served: Arc<AtomicBool>,
    program: thread::JoinHandle<Exit>,
}

impl Running {
    /// Waits for the end of the program.
    pub fn exit(self) -> Exit {
        self.program.join().expect("`run` does not panic")
    }

    /// The program has ended, in order.
    #[track_caller]
    pub fn ended(self) {
        let exit = self.exit();
        assert!(exit.report().is_clean() && exit.exit_code() == 0, "{}", exit.report());
    }
}

/// What a test makes of the listener before it is served.
pub trait Wrap: Send + 'static {
    type Of<A: Accept>: Accept;
    fn wrap<A: Accept>(self, listener: A) -> Self::Of<A>;
}

/// As it is.
pub struct Plain;

impl Wrap for Plain {
    type Of<A: Accept> = A;
    fn wrap<A: Accept>(self, listener: A) -> A {
        listener
    }
}

pub fn start(config: Config, options: Options, app: Router) -> Running {
    start_with(config, options, app, Plain)
}

pub fn start_with(config: Config, options: Options, app: Router, wrap: impl Wrap) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (give, stopper) = mpsc::channel();
    let served = Arc::new(AtomicBool::new(false));
    let returned = served.clone();
    let program = thread::spawn(move || {
        macro_rules! run {
            ($runner:ty, $listener:expr) => {{
                let runner = <$runner>::new().signals([]).exit_when_stuck(false);
                let runner = runner.timeout(options.timeout).lame_duck(options.lame_duck);
                let runner = match config {
                    Config::TokioCurrentThread | Config::SmolCurrentThread => {
                        runner.current_thread()
                    }
                    _ => runner.worker_threads(2),
                };
                give.send(runner.stopper()).unwrap();
                // Graceful from the start: some tests stop it before `main` was polled.
                runner.run_graceful(|_| async move {
                    let result = serve(wrap.wrap($listener), options, app).await;
                    returned.store(true, SeqCst);
                    result
                })
            }};
        }
        match config {
            Config::TokioWorkers | Config::TokioCurrentThread => {
                listener.set_nonblocking(true).unwrap();
                run!(adjourn::tokio::Runner, tokio::net::TcpListener::from_std(listener).unwrap())
            }
            Config::SmolWorkers | Config::SmolCurrentThread => {
                run!(adjourn::smol::Runner, Async::new(listener).unwrap())
            }
        }
    });
    Running { address, stopper: stopper.recv().unwrap(), served, program }
}

async fn serve<A: Accept>(listener: A, options: Options, app: Router) -> std::io::Result<()> {
    adjourn::ready();
    Server::new(listener)
        .idle(options.idle)
        .head_timeout(options.head)
        .keep_alive(options.keep_alive)
        .shared(options.shared)
        .serve(app)
        .await
}

/// Makes a test of each function for each configuration.
#[macro_export]
macro_rules! on_each {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            use $crate::Config;

            #[test]
            fn tokio_workers() {
                super::$name(Config::TokioWorkers);
            }

            #[test]
            fn tokio_current_thread() {
                super::$name(Config::TokioCurrentThread);
            }

            #[test]
            fn smol_workers() {
                super::$name(Config::SmolWorkers);
            }

            #[test]
            fn smol_current_thread() {
                super::$name(Config::SmolCurrentThread);
            }
        })*
    };
}
