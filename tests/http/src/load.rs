//! A load that repeats nothing and counts what was lost, and how.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::Client;

/// What a client does between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing: keep-alive, one request behind the other.
    BackToBack,
    /// Keep-alive with pauses of 0 to 20 ms. Before it sends, it looks whether its connection was
    /// closed, as pools of connections do.
    Pauses,
    /// It takes a new connection.
    OneEach,
}

pub const KINDS: [Kind; 3] = [Kind::BackToBack, Kind::Pauses, Kind::OneEach];

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests, by kind of client.
    pub asked: BTreeMap<Kind, u64>,
    /// Those of them that got no answer, by kind of client and what the client saw.
    pub failed: BTreeMap<(Kind, String), u64>,
    /// Connections that were announced to end.
    pub announced: u64,
}

impl Tally {
    pub fn asked(&self) -> u64 {
        self.asked.values().sum()
    }

    pub fn failed(&self) -> u64 {
        self.failed.values().sum()
    }

    pub fn of(&self, kind: Kind) -> (u64, u64) {
        let failed = self.failed.iter().filter(|((own, _), _)| *own == kind).map(|(_, n)| n).sum();
        (failed, self.asked.get(&kind).copied().unwrap_or(0))
    }

    fn add(&mut self, other: Tally) {
        for (kind, count) in other.asked {
            *self.asked.entry(kind).or_default() += count;
        }
        for (what, count) in other.failed {
            *self.failed.entry(what).or_default() += count;
        }
        self.announced += other.announced;
    }
}

/// Clients that ask until they are stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Starts so many clients of each of these kinds.
    pub fn start(address: SocketAddr, clients: &[(Kind, usize)]) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let all = clients.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count));
        let client = |(number, kind)| {
            let stop = stop.clone();
            thread::spawn(move || one(address, kind, number as u64 + 1, &stop))
        };
        let clients = all.enumerate().map(client).collect();
        Load { stop, clients }
    }

    pub fn stop(self) -> Tally {
        self.stop.store(true, Relaxed);
        let mut all = Tally::default();
        for client in self.clients {
            all.add(client.join().expect("a client does not panic"));
        }
        all
    }
}

fn one(address: SocketAddr, kind: Kind, seed: u64, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut random = seed;
    let mut open: Option<Client> = None;
    while !stop.load(Relaxed) {
        if kind == Kind::Pauses {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            thread::sleep(Duration::from_micros((random >> 33) % 20_000));
            // Closed while it was idle: a new one is taken, nothing was asked on it.
            open = open.and_then(|mut client| client.is_silent().then_some(client));
        }
        *tally.asked.entry(kind).or_default() += 1;
        let mut fail = |what: &str, kind_of: ErrorKind| {
            *tally.failed.entry((kind, format!("{what}: {kind_of:?}"))).or_default() += 1;
        };
        let mut client = match open.take() {
            Some(client) => client,
            None => match Client::connect(address) {
                Ok(client) => client,
                Err(error) => {
                    fail("connect", error.kind());
                    thread::sleep(Duration::from_millis(1));
                    continue;
                }
            },
        };
        let end = if kind == Kind::OneEach { "Connection: close\r\n" } else { "" };
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{end}\r\n");
        match client.send(request).and_then(|()| client.answer()) {
            Ok(answer) if answer.status == 200 && answer.body == b"hello" => {
                tally.announced += u64::from(answer.closes && kind != Kind::OneEach);
                open = Some(client).filter(|_| !answer.closes && kind != Kind::OneEach);
            }
            Ok(_) => fail("answer", ErrorKind::InvalidData),
            Err(error) => fail("answer", error.kind()),
        }
    }
    tally
}
