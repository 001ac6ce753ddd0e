//! Clients that say a little and get a little back, none of which can hold up another.
//!
//! A part of `adjourn-triggers` and `adjourn-health`, which serve a few bytes from a thread that must
//! not be held up. Nothing here waits: whoever owns the thread looks, and is told when to look again.

#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::time::{Duration, Instant};

/// Clients at once.
const MOST: usize = 16;
/// Clients that one look takes: whoever owns the thread has other things to do, too.
const MOST_A_LOOK: usize = 256;
/// How long a client may take while others wait for its place.
const HASTE: Duration = Duration::from_millis(50);
/// How soon to look again while clients are there.
const BUSY: Duration = Duration::from_millis(5);
/// The same once the system refused one: it is out of descriptors, maybe.
const REFUSED: Duration = Duration::from_secs(1);

/// The clients of one listener: 16 at once. While others wait for a place, each has 50 ms.
#[derive(Debug)]
pub struct Clients<S> {
    clients: Vec<Client<S>>,
    /// The most bytes that one may say.
    longest: usize,
    /// How long one may take.
    patience: Duration,
}

#[derive(Debug)]
struct Client<S> {
    stream: S,
    said: Vec<u8>,
    /// What it has still to get: it has said all then.
    rest: Option<Vec<u8>>,
    since: Instant,
}

/// What a client is to get for what it has said so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet: it has not said all.
    Wait,
    /// Nothing at all.
    Leave,
    /// This, and the end of the connection.
    Say(Vec<u8>),
}

/// What there is of a client's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// More may come.
    Open,
    /// It has closed its end.
    Ended,
    /// It said more than it may.
    TooMany,
}

impl<S: Read + Write> Clients<S> {
    /// None yet. Each may say `longest` bytes, and take so long for it.
    pub fn new(longest: usize, patience: Duration) -> Clients<S> {
        Clients { clients: Vec::new(), longest, patience }
    }

    /// Takes those who came, answers those who have said all, and sends away those who take too long,
    /// be it to say something or to take their answer. Takes 256 at the most: a flood of clients holds
    /// up nobody else on this thread.
    ///
    /// `accept` gives the next one, whose reads and writes must not block, and fails with `WouldBlock`
    /// where there is none. `answer` is given what a client said so far. Returns when to look again, at
    /// the latest; `None` where there is nobody.
    pub fn look(
        &mut self,
        mut accept: impl FnMut() -> io::Result<S>,
        mut answer: impl FnMut(&[u8], Words) -> Answer,
    ) -> Option<Duration> {
        let now = Instant::now();
        let longer = |span: Duration| {
            move |client: &Client<S>| now.saturating_duration_since(client.since) < span
        };
        self.serve(&mut answer);
        self.clients.retain(longer(self.patience));
        let (mut refused, mut more) = (false, true);
        for _ in 0..MOST_A_LOOK {
            if self.clients.len() == MOST {
                self.serve(&mut answer);
                // Others may wait: each has its turn, and none has long.
                self.clients.retain(longer(HASTE));
            }
            if self.clients.len() == MOST {
                break;
            }
            match accept() {
                Ok(stream) => {
                    self.clients.push(Client { stream, said: Vec::new(), rest: None, since: now });
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    (refused, more) = (error.kind() != ErrorKind::WouldBlock, false);
                    break;
                }
            }
        }
        self.serve(&mut answer);
        if more || !self.clients.is_empty() {
            return Some(BUSY);
        }
        refused.then_some(REFUSED)
    }

    /// Returns whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    fn serve(&mut self, answer: &mut impl FnMut(&[u8], Words) -> Answer) {
        for mut client in mem::take(&mut self.clients) {
            if client.rest.is_none() {
                let Some(words) = client.read(self.longest) else { continue };
                match answer(&client.said, words) {
                    Answer::Wait if words == Words::Open => {}
                    Answer::Wait | Answer::Leave => continue,
                    Answer::Say(text) => client.rest = Some(text),
                }
            }
            // A long answer may have no room in the socket's buffer: what is left of it comes later.
            if client.rest.is_none() || client.write() {
                self.clients.push(client);
            }
        }
    }
}

/// Whether a failed `accept` says something of that client alone.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}

impl<S: Read> Client<S> {
    /// Reads what it says; `None` where it is gone.
    fn read(&mut self, longest: usize) -> Option<Words> {
        let mut bytes = [0; 512];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Some(Words::Ended),
                Ok(count) => {
                    self.said.extend_from_slice(&bytes[..count]);
                    if self.said.len() > longest {
                        return Some(Words::TooMany);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(Words::Open),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}

impl<S: Write> Client<S> {
    /// Gives it what there is room for; returns whether that was not all and it is still there.
    fn write(&mut self) -> bool {
        let rest = self.rest.get_or_insert_default();
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(0) => return false,
                Ok(count) => _ = rest.drain(..count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Says these bytes, one piece a read, then nothing more, or its end.
    #[derive(Clone, Default)]
    struct Says {
        pieces: Rc<RefCell<VecDeque<&'static [u8]>>>,
        ends: bool,
        got: Rc<RefCell<Vec<u8>>>,
        /// It takes one byte, and the next one only after it was asked again.
        slow: bool,
        full: bool,
    }

    impl Says {
        fn new(pieces: &[&'static [u8]], ends: bool) -> Says {
            let pieces = Rc::new(RefCell::new(pieces.iter().copied().collect()));
            Says { pieces, ends, ..Says::default() }
        }

        fn got(&self) -> String {
            String::from_utf8(self.got.borrow().clone()).unwrap()
        }
    }

    impl Read for Says {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            match self.pieces.borrow_mut().pop_front() {
                Some(piece) => {
                    bytes[..piece.len()].copy_from_slice(piece);
                    Ok(piece.len())
                }
                None if self.ends => Ok(0),
                None => Err(ErrorKind::WouldBlock.into()),
            }
        }
    }

    impl Write for Says {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.full = self.slow && !self.full;
            let bytes = match (self.slow, self.full) {
                (true, true) => &bytes[..1],
                (true, false) => return Err(ErrorKind::WouldBlock.into()),
                (false, _) => bytes,
            };
            self.got.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes those that come; a word is whole with its dot. Returns the words that were answered.
    fn look(
        clients: &mut Clients<Says>,
        come: &mut VecDeque<Says>,
    ) -> (Vec<String>, Option<Duration>) {
        let mut heard = Vec::new();
        let again = clients.look(
            || come.pop_front().ok_or_else(|| ErrorKind::WouldBlock.into()),
            |said, words| match words {
                Words::TooMany => Answer::Say(b"too many".to_vec()),
                _ if said.ends_with(b".") || words == Words::Ended && !said.is_empty() => {
                    heard.push(String::from_utf8_lossy(said).into_owned());
                    Answer::Say(b"ok".to_vec())
                }
                Words::Ended => Answer::Leave,
                Words::Open => Answer::Wait,
            },
        );
        (heard, again)
    }

    #[test]
    fn a_client_is_answered_once_it_has_said_all() {
        let said = [
            (Says::new(&[b"stop."], false), Some("stop."), "ok"),
            (Says::new(&[b"st", b"op."], false), Some("stop."), "ok"),
            (Says::new(&[b"stop"], true), Some("stop"), "ok"),
            (Says::new(&[b"stop"], false), None, ""),
            (Says::new(&[], true), None, ""),
            (Says::new(&[b"1234567."], false), Some("1234567."), "ok"),
            (Says::new(&[b"12345678."], false), None, "too many"),
        ];
        for (client, heard, got) in said {
            let mut clients = Clients::new(8, SECOND);
            let (words, again) = look(&mut clients, &mut VecDeque::from([client.clone()]));
            assert_eq!(words, heard.into_iter().collect::<Vec<_>>());
            assert_eq!(client.got(), got);
            assert_eq!(again.is_some(), !clients.is_empty());
        }
    }

    #[test]
    fn who_says_nothing_is_sent_away_in_time() {
        let mut clients = Clients::new(8, SECOND);
        let quiet = Says::new(&[b"st"], false);
        let (heard, again) = look(&mut clients, &mut VecDeque::from([quiet]));
        assert_eq!((heard.len(), clients.clients.len(), again), (0, 1, Some(BUSY)));
        clients.clients[0].since -= SECOND;
        let (_, again) = look(&mut clients, &mut VecDeque::new());
        assert!(clients.is_empty() && again.is_none());
    }

    #[test]
    fn a_crowd_that_says_nothing_leaves_its_places_to_who_waits() {
        let mut clients = Clients::new(8, SECOND);
        let mut come: VecDeque<_> = (0..100).map(|_| Says::new(&[], false)).collect();
        come.push_back(Says::new(&[b"stop."], false));
        let mut rounds = 0;
        loop {
            let (heard, _) = look(&mut clients, &mut come);
            assert!(clients.clients.len() <= MOST);
            if heard == ["stop."] {
                break;
            }
            rounds += 1;
            assert!(rounds < 10);
            clients.clients.iter_mut().for_each(|client| client.since -= HASTE);
        }
        // 100 clients, 16 at once, 50 ms each.
        assert_eq!(rounds, 100 / MOST);
    }

    #[test]
    fn many_who_are_quick_need_one_look() {
        let mut clients = Clients::new(8, SECOND);
        let mut come = (0..100).map(|_| Says::new(&[b"stop."], false)).collect();
        assert_eq!(look(&mut clients, &mut come).0.len(), 100);
    }

    #[test]
    fn a_flood_of_quick_clients_does_not_hold_up_the_thread() {
        let mut clients = Clients::new(8, SECOND);
        let mut come = (0..1_000).map(|_| Says::new(&[b"stop."], false)).collect();
        for left in [744, 488, 232] {
            let (heard, again) = look(&mut clients, &mut come);
            assert_eq!((heard.len(), come.len(), again), (MOST_A_LOOK, left, Some(BUSY)));
        }
        assert_eq!(look(&mut clients, &mut come).1, None);
        assert!(come.is_empty());
        // Nor do those who were gone before they were taken.
        let mut gone = 0;
        let accept = || {
            gone += 1;
            assert!(gone < 100_000, "it never ends");
            Err(ErrorKind::ConnectionAborted.into())
        };
        let again = clients.look(accept, |_, _| Answer::Leave);
        assert_eq!((gone, again), (MOST_A_LOOK, Some(BUSY)));
    }

    #[test]
    fn a_client_that_takes_its_answer_slowly_gets_all_of_it_once() {
        let mut clients = Clients::new(16, SECOND);
        let slow = Says { slow: true, ..Says::new(&[b"stop.", b"stop."], false) };
        let mut heard = look(&mut clients, &mut VecDeque::from([slow.clone()])).0;
        assert_eq!(slow.got(), "o");
        while !clients.is_empty() {
            heard.extend(look(&mut clients, &mut VecDeque::new()).0);
        }
        assert_eq!((slow.got(), heard), ("ok".to_owned(), vec!["stop.stop.".to_owned()]));
        // One that takes nothing more is sent away like one that says nothing.
        let slow = Says { slow: true, ..Says::new(&[b"stop."], false) };
        look(&mut clients, &mut VecDeque::from([slow.clone()]));
        clients.clients[0].since -= SECOND;
        clients.clients[0].stream.full = true;
        look(&mut clients, &mut VecDeque::new());
        assert!(clients.is_empty() && slow.got() == "o");
    }

    #[test]
    fn a_listener_that_fails_is_left_alone_for_a_while() {
        let mut clients: Clients<Says> = Clients::new(8, SECOND);
        let mut tries = 0;
        let again = clients.look(
            || {
                tries += 1;
                Err(if tries == 1 { ErrorKind::ConnectionAborted } else { ErrorKind::Other }.into())
            },
            |_, _| Answer::Leave,
        );
        assert_eq!((tries, again), (2, Some(REFUSED)));
    }
}
