//! The thread that answers.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

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
        // It may wait for a client: let this be the one. The listener may be on all addresses, where the
        // loopback reaches it.
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let woken = TcpStream::connect_timeout(&address, Duration::from_millis(100));
        if let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) {
            _ = thread.join();
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
            thread::sleep(again);
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
