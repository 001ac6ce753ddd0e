//! Clients that say one line and get one back, none of which can hold up another.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::time::{Duration, Instant};

/// Clients at once.
const MOST: usize = 16;
/// How long a client may take for its line.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same while others wait for its place.
const HASTE: Duration = Duration::from_millis(50);
/// How soon to look again: with clients there, and without.
const BUSY: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_millis(100);
/// The same once the system refused one: it is out of descriptors, maybe.
const REFUSED: Duration = Duration::from_secs(1);

/// The clients of one listener. Nothing here waits.
pub(crate) struct Clients<S> {
    clients: Vec<Client<S>>,
    /// The longest line, without its end.
    longest: usize,
}

struct Client<S> {
    stream: S,
    line: Vec<u8>,
    since: Instant,
}

impl<S: Read + Write> Clients<S> {
    pub(crate) fn new(longest: usize) -> Clients<S> {
        Clients { clients: Vec::new(), longest }
    }

    /// Takes those who came, answers those whose line is whole, and sends away those who take too long.
    /// `accept` gives the next one, which does not block; `answer` says what to write back. Returns
    /// when to look again.
    pub(crate) fn look(
        &mut self,
        mut accept: impl FnMut() -> io::Result<Option<S>>,
        mut answer: impl FnMut(&[u8]) -> String,
    ) -> Duration {
        let now = Instant::now();
        self.serve(&mut answer);
        self.clients.retain(|client| now.saturating_duration_since(client.since) < PATIENCE);
        let mut refused = false;
        loop {
            if self.clients.len() == MOST {
                // Others may wait: each has its turn, and none has long.
                self.clients.retain(|client| now.saturating_duration_since(client.since) < HASTE);
            }
            if self.clients.len() == MOST {
                break;
            }
            match accept() {
                Ok(Some(stream)) => {
                    self.clients.push(Client { stream, line: Vec::new(), since: now });
                    if self.clients.len() == MOST {
                        self.serve(&mut answer);
                    }
                }
                Ok(None) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if is_the_clients(&error) => {}
                Err(_) => {
                    refused = true;
                    break;
                }
            }
        }
        self.serve(&mut answer);
        match (self.clients.is_empty(), refused) {
            (false, _) => BUSY,
            (true, true) => REFUSED,
            (true, false) => IDLE,
        }
    }

    fn serve(&mut self, answer: &mut impl FnMut(&[u8]) -> String) {
        for mut client in mem::take(&mut self.clients) {
            match client.read(self.longest) {
                Said::NotYet => self.clients.push(client),
                Said::Nothing => {}
                Said::TooMuch => client.reply("error: the line is too long"),
                Said::Line => {
                    let text = answer(client.line.trim_ascii());
                    client.reply(&text);
                }
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

enum Said {
    NotYet,
    Nothing,
    TooMuch,
    Line,
}

impl<S: Read + Write> Client<S> {
    fn read(&mut self, longest: usize) -> Said {
        let mut bytes = [0; 256];
        loop {
            match self.stream.read(&mut bytes) {
                // Who closes its end has said all, as `printf stop | nc` does.
                Ok(0) if self.line.is_empty() => return Said::Nothing,
                Ok(0) => return Said::Line,
                Ok(count) => {
                    self.line.extend_from_slice(&bytes[..count]);
                    if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                        self.line.truncate(end);
                    } else if self.line.len() <= longest {
                        continue;
                    }
                    return if self.line.len() > longest { Said::TooMuch } else { Said::Line };
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Said::NotYet,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Said::Nothing,
            }
        }
    }

    /// Writes an answer. There is room for one in the socket's buffer, so nothing waits; where there is
    /// none the client has not earned one.
    fn reply(&mut self, text: &str) {
        _ = self.stream.write_all(format!("{text}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    use super::*;

    /// Says these bytes, one piece a read, then nothing more or its end.
    #[derive(Clone, Default)]
    struct Says {
        pieces: Rc<RefCell<VecDeque<&'static [u8]>>>,
        ends: bool,
        got: Rc<RefCell<Vec<u8>>>,
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
            self.got.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn look(clients: &mut Clients<Says>, come: &mut VecDeque<Says>) -> (Vec<String>, Duration) {
        let mut lines = Vec::new();
        let again = clients.look(
            || Ok(come.pop_front()),
            |line| {
                lines.push(String::from_utf8_lossy(line).into_owned());
                "ok".to_owned()
            },
        );
        (lines, again)
    }

    #[test]
    fn a_line_ends_with_its_end_or_the_clients() {
        let said = [
            (Says::new(&[b"stop\n"], false), Some("stop")),
            (Says::new(&[b"st", b"op\r\nmore"], false), Some("stop")),
            (Says::new(&[b"stop"], true), Some("stop")),
            (Says::new(&[b"stop"], false), None),
            (Says::new(&[], true), None),
            (Says::new(&[b"\n"], false), Some("")),
            (Says::new(&[b"12345678", b"\n"], false), Some("12345678")),
            (Says::new(&[b"12345678", b"9\n"], false), None),
            (Says::new(&[b"12345678", b"9"], false), None),
        ];
        for (client, line) in said {
            let mut clients = Clients::new(8);
            let (lines, _) = look(&mut clients, &mut VecDeque::from([client.clone()]));
            assert_eq!(lines, line.into_iter().collect::<Vec<_>>());
            assert_eq!(client.got() == "ok\n", line.is_some(), "{:?}", client.got());
        }
    }

    #[test]
    fn who_says_nothing_is_sent_away_in_time() {
        let mut clients = Clients::new(8);
        let quiet = Says::new(&[b"st"], false);
        let (lines, again) = look(&mut clients, &mut VecDeque::from([quiet]));
        assert_eq!((lines.len(), clients.clients.len(), again), (0, 1, BUSY));
        clients.clients[0].since -= PATIENCE;
        let (_, again) = look(&mut clients, &mut VecDeque::new());
        assert_eq!((clients.clients.len(), again), (0, IDLE));
    }

    #[test]
    fn a_crowd_that_says_nothing_leaves_its_places_to_who_waits() {
        let mut clients = Clients::new(8);
        let mut come: VecDeque<_> = (0..100).map(|_| Says::new(&[], false)).collect();
        come.push_back(Says::new(&[b"stop\n"], false));
        let mut rounds = 0;
        loop {
            let (lines, _) = look(&mut clients, &mut come);
            assert!(clients.clients.len() <= MOST);
            if lines == ["stop"] {
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
        let mut clients = Clients::new(8);
        let mut come = (0..100).map(|_| Says::new(&[b"stop\n"], false)).collect();
        assert_eq!(look(&mut clients, &mut come).0.len(), 100);
    }

    #[test]
    fn a_listener_that_fails_is_left_alone_for_a_while() {
        let mut clients: Clients<Says> = Clients::new(8);
        let mut tries = 0;
        let again = clients.look(
            || {
                tries += 1;
                Err(if tries == 1 { ErrorKind::ConnectionAborted } else { ErrorKind::Other }.into())
            },
            |_| String::new(),
        );
        assert_eq!((tries, again), (2, REFUSED));
    }
}
