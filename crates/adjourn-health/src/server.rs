//! The thread that answers.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use adjourn_clients::Clients;

use crate::{Checks, answer};

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(listener: TcpListener, checks: Checks) -> io::Result<Server> {
        let address = listener.local_addr()?;
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let thread = thread::Builder::new()
            .name("adjourn-health".to_owned())
            .spawn(move || serve(&listener, &checks, &ends))?;
        Ok(Server { address, over, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark(); // it may sleep
        // It may wait for a client: let this be the one. The listener may be on all addresses, where the
        // loopback reaches it.
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        // An inherited listener may be another process' too, which may take this client: so there are
        // some more. Where none reaches the thread, it is left to wait: `run` does not.
        for tries in 0..8 {
            _ = TcpStream::connect_timeout(&address, Duration::from_millis(100));
            let end = Instant::now() + Duration::from_millis(1 << tries);
            while !thread.is_finished() && Instant::now() < end {
                thread::sleep(Duration::from_micros(500));
            }
            if thread.is_finished() {
                _ = thread.join();
                return;
            }
        }
    }
}

fn serve(listener: &TcpListener, checks: &Checks, over: &AtomicBool) {
    let mut clients = Clients::new(answer::LONGEST, PATIENCE);
    while !over.load(SeqCst) {
        // While nobody is there the thread sleeps in `accept`.
        let mut waits = clients.is_empty();
        let accept = || {
            listener.set_nonblocking(!waits)?;
            waits = false;
            let (stream, _) = listener.accept()?;
            stream.set_nonblocking(true)?;
            Ok(Peer(stream))
        };
        let again = clients.look(accept, |said, words| answer::to(said, words, checks));
        if let Some(again) = again {
            thread::park_timeout(again);
        }
    }
}

/// A client. What it gets is not lost because it said more than was read.
struct Peer(TcpStream);

impl io::Read for Peer {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl io::Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        _ = self.0.shutdown(Shutdown::Write);
        // A connection that is closed with unread bytes is reset, and the answer with it (RFC 9112, 9.6).
        let mut rest = [0; 4096];
        for _ in 0..16 {
            match io::Read::read(&mut self.0, &mut rest) {
                Ok(count) if count > 0 => {}
                _ => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Ipv4Addr;
    use std::sync::mpsc;

    use adjourn_core::Inspector;

    use super::*;

    fn start(listener: TcpListener) -> Server {
        let limit = Duration::from_secs(10);
        let checks = Checks { program: Inspector::default(), pulse: Arc::default(), limit };
        Server::start(listener, checks).unwrap()
    }

    fn bound() -> TcpListener {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
    }

    #[test]
    fn it_answers_until_it_is_dropped() {
        let server = start(bound());
        let address = server.address;
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"GET /livez HTTP/1.1\r\n\r\n").unwrap();
        let mut got = String::new();
        client.read_to_string(&mut got).unwrap();
        assert!(got.starts_with("HTTP/1.1 200 "), "{got}");
        drop(server);
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    }

    #[test]
    fn an_end_waits_for_no_client_that_somebody_else_takes() {
        let listener = bound();
        let address = listener.local_addr().unwrap();
        let other = listener.try_clone().unwrap();
        // First in the line for clients, and stays there.
        let takes = thread::spawn(move || {
            while let Ok((mut client, _)) = other.accept() {
                let mut word = String::new();
                if client.read_to_string(&mut word).is_ok() && word == "enough" {
                    break;
                }
            }
        });
        thread::sleep(Duration::from_millis(50));
        let server = start(listener);
        thread::sleep(Duration::from_millis(50));
        let (over, is_over) = mpsc::channel();
        thread::spawn(move || {
            drop(server);
            _ = over.send(());
        });
        is_over.recv_timeout(Duration::from_secs(20)).expect("it ends");
        while !takes.is_finished() {
            if let Ok(mut client) = TcpStream::connect(address) {
                _ = client.write_all(b"enough");
            }
            thread::sleep(Duration::from_millis(5));
        }
        takes.join().unwrap();
    }
}
