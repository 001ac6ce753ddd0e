//! Programs with child processes: `children BACKEND SHAPE`.
//!
//! A child's lines come with `out: ` before them, and what became of it as `ended: ..`.

#[cfg(unix)]
mod shapes {
    use std::process::{Command, Stdio};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;
    use std::{io, thread};

    use adjourn::process::Child;
    use adjourn::rt::Executor;
    use adjourn::{Exit, Narrate, Scope, Signal, StopToken, shield, spawn, spawn_blocking, task};
    use adjourn_core::Runner;

    /// Says that it was told, and ends with a code of its own.
    const TRAPS: &str = "trap 'echo told; exit 7' TERM; echo at $$; while :; do sleep 0.05; done";
    /// Does not end by itself.
    const IGNORES: &str = "trap '' TERM; echo at $$; while :; do sleep 0.05; done";
    /// The leader is over at once, and what it started goes on in the background.
    const LEAVES: &str = "echo at $$; \
                          (trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.05; done) & \
                          exit 3";
    /// The same, and what goes on has to be killed.
    const LEAVES_BEHIND: &str = "echo at $$; \
                                 (trap '' TERM; echo up; while :; do sleep 0.05; done) & exit 3";
    /// Each process starts the next one and is over, as daemons do.
    const HANDS_ON: &str = "on() { if [ $1 = 0 ]; then sleep 1.5; echo end; else on $(($1 - 1)) & fi; }; \
                            on 3; exit 3";
    /// Two of them in the group, neither of which ends by itself.
    const TWO: &str = "sleep 1000 & trap '' TERM; echo at $$; while :; do sleep 0.05; done";
    /// 10 MB, in lines of 100 bytes.
    const WRITES: &str = "head -c 10000000 /dev/zero | tr '\\0' x | fold -w 99";
    /// It leaves its group, has the pipe and keeps it.
    const KEEPS_PIPE: &str = "setsid sh -c 'echo at $$; sleep 1000' & sleep 0.2; echo last; exit 3";

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        // The shell says there what became of its own children. And the test reads the program's to the end.
        command.args(["-c", script]).stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn child(script: &str) -> Child {
        Child::new(sh(script)).stdout_lines(|line| println!("out: {line}"))
    }

    fn say(ended: &io::Result<std::process::ExitStatus>) {
        match ended {
            Ok(status) => println!("ended: {status}"),
            Err(error) => println!("error: {error}"),
        }
    }

    async fn run(child: Child) {
        say(&child.run().await);
    }

    pub(crate) fn main() -> Exit {
        let mut args = std::env::args().skip(1);
        let backend = args.next().expect("a backend");
        let shape = args.next().expect("a shape");
        match backend.as_str() {
            "tokio-current" => start(adjourn::tokio::Runner::new().current_thread(), &shape),
            "tokio-n" => start(adjourn::tokio::Runner::new().worker_threads(3), &shape),
            "smol-current" => start(adjourn::smol::Runner::new().current_thread(), &shape),
            "smol-n" => start(adjourn::smol::Runner::new().worker_threads(3), &shape),
            "async-std" => start(adjourn::async_std::Runner::new(), &shape),
            other => panic!("no such backend: {other}"),
        }
    }

    fn start<E: Executor>(runner: Runner<E>, shape: &str) -> Exit {
        let short = Duration::from_millis(200);
        let runner = runner.narrate(Narrate::Never); // what children write is looked at
        match shape {
            "traps" => runner.run(run(child(TRAPS))),
            "ignores" => runner.run(run(child(IGNORES).limit(short))),
            // The limit is that of the drain, which it keeps.
            "ignores-drain" => runner.timeout(Duration::from_secs(10)).run(run(child(IGNORES))),
            "leaves" => runner.run(run(child(LEAVES))),
            "leaves-behind" => runner.run(run(child(LEAVES_BEHIND).limit(short))),
            "hands-on" => runner.run(run(child(HANDS_ON))),
            "writes" => runner.run(writes()),
            "keeps-pipe" => runner.run(run(child(KEEPS_PIPE))),
            "reads" => runner.run(reads()),
            "interrupts" => {
                let script = TRAPS.replace("TERM", "INT");
                runner.run(run(child(&script).signal(Signal::INTERRUPT)))
            }
            "stopped" => {
                // A process that is stopped has to be woken to see it.
                let script = TRAPS.replace("echo at $$", "echo at $$; kill -STOP $$");
                runner.run(run(child(&script)))
            }
            "plain" => runner.run(async {
                // It asks nothing: what does not end by itself is killed at the stop.
                say(&child(TWO).run_to_end().await);
            }),
            "shielded" => runner.run(shield(async { say(&child(TRAPS).run_to_end().await) })),
            "drops" => runner.run(drops()),
            "panics" => runner.run(panics()),
            "forced" => {
                let runner = runner.timeout(Duration::MAX).on_stop(|| println!("stopping"));
                runner.run(run(child(TWO)))
            }
            "endless" => runner.timeout(Duration::MAX).run(run(child(IGNORES))),
            "wedged" => runner.timeout(short).run(wedged()),
            "hook" => {
                let hook = async { say(&child("echo in the hook").run_to_end().await) };
                runner.on_stopped(hook).run(late())
            }
            "errors" => runner.run(errors()),
            other => panic!("no such shape: {other}"),
        }
    }

    async fn writes() {
        let (lines, bytes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, summed) = (lines.clone(), bytes.clone());
        let told = Child::new(sh(WRITES)).stdout_lines(move |line| {
            counted.fetch_add(1, SeqCst);
            summed.fetch_add(line.len(), SeqCst);
        });
        run(told).await;
        println!("{} lines, {} bytes", lines.load(SeqCst), bytes.load(SeqCst));
        // Nobody is told, and nobody blocks.
        let mut piped = sh(&format!("{WRITES} >&2"));
        piped.stdout(Stdio::piped()).stderr(Stdio::piped());
        run(Child::new(piped)).await;
    }

    /// A child with an open input, that reads it, and one that does not.
    async fn reads() {
        for script in ["cat; echo read", "echo unread"] {
            let mut command = sh(script);
            command.stdin(Stdio::piped());
            run(Child::new(command).stdout_lines(|line| println!("out: {line}"))).await;
        }
    }

    /// A task that is aborted, and a future that is dropped.
    async fn drops() {
        let up = Arc::new(AtomicUsize::new(0));
        let counted = |script: &str| {
            let up = up.clone();
            Child::new(sh(script)).stdout_lines(move |line| {
                println!("out: {line}");
                up.fetch_add(1, SeqCst);
            })
        };
        let aborted = spawn(run(counted(TWO)));
        while up.load(SeqCst) < 1 {
            Scope::current().sleep(Duration::from_millis(5)).await;
        }
        aborted.abort();
        println!("aborted: {}", aborted.await.is_err());
        let scope = Scope::current();
        let mut dropped = Box::pin(run(counted(TWO)));
        while up.load(SeqCst) < 2 {
            _ = scope.timeout(Duration::from_millis(5), &mut dropped).await;
        }
        drop(dropped);
        // Before there is a process at all.
        drop(Box::pin(run(counted(TWO))));
        _ = scope.timeout(Duration::ZERO, run(counted("sleep 1000 & sleep 1000"))).await;
        println!("dropped");
        StopToken::current().requested().await;
    }

    async fn panics() {
        let owner = spawn(async {
            let up = Arc::new(AtomicUsize::new(0));
            let told = up.clone();
            let child = Child::new(sh(TWO)).stdout_lines(move |line| {
                println!("out: {line}");
                told.fetch_add(1, SeqCst);
            });
            let panics = async {
                while up.load(SeqCst) < 1 {
                    Scope::current().sleep(Duration::from_millis(5)).await;
                }
                panic!("the owner");
            };
            either(run(child), panics).await;
        });
        println!("panicked: {}", owner.await.is_err_and(|error| error.is_panic()));
        StopToken::current().requested().await;
    }

    /// Polls both until the first is over.
    async fn either(first: impl Future<Output = ()>, second: impl Future<Output = ()>) {
        let (mut first, mut second) = (Box::pin(first), Box::pin(second));
        std::future::poll_fn(|cx| {
            if first.as_mut().poll(cx).is_ready() {
                return std::task::Poll::Ready(());
            }
            second.as_mut().poll(cx)
        })
        .await;
    }

    /// Every worker is stuck from the stop on: nobody drops the child's future.
    async fn wedged() {
        task("child").spawn(run(child(TWO)));
        Scope::current().sleep(Duration::from_secs(1)).await;
        for _ in 0..8 {
            spawn(async { block() });
        }
        spawn_blocking(|| {
            thread::sleep(Duration::from_millis(300));
            println!("stuck");
        });
        block();
    }

    fn block() {
        loop {
            thread::sleep(Duration::from_secs(1));
        }
    }

    /// It starts a child when the stop has been requested.
    async fn late() {
        println!("at 0");
        StopToken::current().requested().await;
        run(child("echo never")).await;
        let late = child("echo never").run().await.map(drop);
        late.expect_err("it was not started");
    }

    async fn errors() {
        run(Child::new(Command::new("/nowhere/to/be/found"))).await;
        let panics = Child::new(sh("echo 1; echo 2; exit 3")).stdout_lines(|_| panic!("told"));
        run(panics).await;
        let late = child("exit 3").signal(Signal::from_raw(34).expect("a real-time signal"));
        run(late).await;
        run(child("exit 3")).await;
        run(child("kill -9 $$")).await;
    }
}

#[cfg(unix)]
fn main() -> adjourn::Exit {
    shapes::main()
}

#[cfg(not(unix))]
fn main() {}
