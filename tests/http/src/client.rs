//! A client of HTTP/1 that blocks, repeats nothing and says exactly what it got.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than anything takes that is right: what takes longer hangs.
pub const HANGS: Duration = Duration::from_secs(60);

/// One connection, over TCP or what is spoken on top of it.
pub struct Client<S = TcpStream>(BufReader<S>);

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// It says `Connection: close`.
    pub closes: bool,
}

impl Client {
    pub fn to(address: SocketAddr) -> Client {
        Client::connect(address).expect("the server takes connections")
    }

    pub fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, HANGS)?;
        stream.set_read_timeout(Some(HANGS))?;
        stream.set_write_timeout(Some(HANGS))?;
        stream.set_nodelay(true)?;
        Ok(Client(BufReader::new(stream)))
    }

    /// Whether nothing has come by now, not even the end.
    pub fn is_silent(&mut self) -> bool {
        let stream = self.0.get_ref();
        stream.set_nonblocking(true).unwrap();
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl<S: Read + Write> Client<S> {
    /// One over a stream that is open.
    pub fn over(stream: S) -> Client<S> {
        Client(BufReader::new(stream))
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    /// Sends the request, and reads nothing.
    pub fn ask(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).expect("it is connected");
    }

    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))?;
        self.answer()
    }

    /// Reads the head of an answer.
    pub fn head(&mut self) -> io::Result<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head)? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("head: {head:?}"),
                ));
            }
        }
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status in {head:?}")))?;
        let closes = head.to_ascii_lowercase().contains("\r\nconnection: close\r\n");
        Ok(Answer { status, head, body: Vec::new(), closes })
    }

    /// Reads one answer: of a known length, or in chunks.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head()?;
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            answer.body = vec![0; length];
            self.0.read_exact(&mut answer.body)?;
            return Ok(answer);
        }
        while let Some(chunk) = self.chunk()? {
            answer.body.extend(chunk);
        }
        Ok(answer)
    }

    /// Reads one chunk of an answer that comes in chunks; `None` is its end.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16)
            .map_err(|_| io::Error::other(format!("no chunk: {line:?}")))?;
        let mut chunk = vec![0; length + 2];
        self.0.read_exact(&mut chunk)?;
        chunk.truncate(length);
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }

    /// Reads exactly this much.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("it comes");
        bytes
    }

    /// Waits for the end of the connection; nothing may come before it, and it may not be a reset.
    #[track_caller]
    pub fn ends(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("it ends in order");
        assert_eq!(String::from_utf8_lossy(&rest), "", "after the end");
    }

    pub fn stream(&self) -> &S {
        self.0.get_ref()
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("it is text")
    }
}
