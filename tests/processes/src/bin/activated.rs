//! A program that answers on the sockets that it was started with: `activated [HOW]`. Each answer is the
//! socket's name and what came.
//!
//! HOW is `late`: it takes them inside of `run`; `twice`: it takes them two times; `opens`: it opens a file
//! first; or `child`: it says whether a child has the first of them too.

#[cfg(unix)]
mod program {
    use std::io::{self, Read, Write};
    use std::process::Command;

    use adjourn::smol::Runner;
    use adjourn::systemd::Inherited;
    use adjourn::{Exit, FutureExt, spawn};
    use async_io::Async;

    /// Prints a line.
    fn say(line: &str) {
        let mut out = io::stdout().lock();
        _ = writeln!(out, "{line}");
        _ = out.flush();
    }

    pub(super) fn main() -> Exit {
        let how = std::env::args().nth(1).unwrap_or_default();
        let file = std::env::current_exe().and_then(std::fs::File::open);
        let _file = Some(file).filter(|_| how == "opens");
        let taken = match how.as_str() {
            "late" => Runner::new().run_value(async { Inherited::take() }).0.expect("it returns"),
            "twice" => Inherited::take().and_then(|_| Inherited::take()),
            _ => Inherited::take(),
        };
        if how == "child" {
            let child = Command::new("sh").args(["-c", "true <&3"]).status().expect("a shell");
            say(if child.success() { "a child has them" } else { "a child has none" });
        }
        let runner = Runner::new().current_thread();
        runner.run(async {
            serve(taken?).await?;
            say("ready");
            std::future::pending::<()>().on_cancel(async { say("cleaned up") }).await;
            Ok::<(), io::Error>(())
        })
    }

    fn answer(name: &str, bytes: &[u8]) -> Vec<u8> {
        [name.as_bytes(), b": ", bytes].concat()
    }

    async fn answer_on<S>(stream: Async<S>, name: &str)
    where
        for<'a> &'a S: Read + Write,
    {
        let mut bytes = [0; 64];
        let read = stream.read_with(|mut stream| stream.read(&mut bytes));
        let count = read.await.expect("the client writes");
        let answer = answer(name, &bytes[..count]);
        _ = stream.write_with(|mut stream| stream.write(&answer)).await;
    }

    async fn serve(mut sockets: Inherited) -> io::Result<()> {
        say(&format!("names {}", sockets.names().collect::<Vec<_>>().join(" ")));
        if let Some(listener) = sockets.tcp("tcp")? {
            let listener = Async::new(listener)?;
            spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.expect("it listens");
                    answer_on(stream, "tcp").await;
                }
            });
        }
        if let Some(listener) = sockets.unix("unix")? {
            let listener = Async::new(listener)?;
            spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.expect("it listens");
                    answer_on(stream, "unix").await;
                }
            });
        }
        if let Some(socket) = sockets.udp("udp")? {
            let socket = Async::new(socket)?;
            spawn(async move {
                loop {
                    let mut bytes = [0; 64];
                    let (count, from) = socket.recv_from(&mut bytes).await.expect("it receives");
                    _ = socket.send_to(&answer("udp", &bytes[..count]), from).await;
                }
            });
        }
        if let Some(socket) = sockets.unix_datagram("datagram")? {
            let socket = Async::new(socket)?;
            spawn(async move {
                loop {
                    let mut bytes = [0; 64];
                    let (count, _) = socket.recv_from(&mut bytes).await.expect("it receives");
                    let answer = answer("datagram", &bytes[..count]);
                    say(&String::from_utf8_lossy(&answer));
                }
            });
        }
        Ok(())
    }
}

#[cfg(unix)]
fn main() -> adjourn::Exit {
    program::main()
}

#[cfg(not(unix))]
fn main() {
    eprintln!("no sockets are passed on this system");
}
