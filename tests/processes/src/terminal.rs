//! A terminal for a process under test: what it was sent, what it shows, what is typed.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Stdio;

/// A pseudo-terminal, seen from where the person sits.
#[derive(Debug)]
pub struct Terminal {
    person: File,
    program: OwnedFd,
    columns: u16,
    sent: String,
}

impl Terminal {
    /// Opens one that is so wide.
    pub fn new(columns: u16) -> Terminal {
        let (mut person, mut program) = (-1, -1);
        let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let null = std::ptr::null_mut();
        // SAFETY: the pointers lead to two numbers and a size; a name and settings are not asked for.
        let opened = unsafe { libc::openpty(&mut person, &mut program, null, null.cast(), &size) };
        assert_eq!(opened, 0, "a pseudo-terminal: {}", std::io::Error::last_os_error());
        // SAFETY: both were opened just now and are nobody else's.
        let (person, program) =
            unsafe { (File::from_raw_fd(person), OwnedFd::from_raw_fd(program)) };
        Terminal { person, program, columns, sent: String::new() }
    }

    /// The program's end of it.
    pub fn end(&self) -> Stdio {
        self.program.try_clone().expect("descriptors are left").into()
    }

    pub(crate) fn number(&self) -> i32 {
        self.program.as_raw_fd()
    }

    /// Types something: `"\x03"` is Ctrl-C.
    pub fn press(&mut self, keys: &str) {
        self.person.write_all(keys.as_bytes()).expect("it is open");
    }

    /// Takes no more of what the program writes, as after Ctrl-S.
    pub fn hold(&self) {
        // SAFETY: no precondition.
        let held = unsafe { libc::tcflow(self.program.as_raw_fd(), libc::TCOOFF) };
        assert_eq!(held, 0);
    }

    /// Reads until the program has written this, and returns all that it wrote.
    pub fn until(&mut self, wanted: &str) -> &str {
        let from = self.sent.len();
        while !self.sent[from..].contains(wanted) {
            assert!(self.read(), "it is over without {wanted:?}: {:?}", self.sent);
        }
        &self.sent
    }

    /// Reads what is left of a program that has ended, and returns all that it wrote.
    pub fn rest(mut self) -> String {
        // Without another end open, it is over once all is read.
        self.program = File::open("/dev/null").expect("there is one").into();
        while self.read() {}
        self.sent
    }

    /// Waits for a minute at the most.
    fn read(&mut self) -> bool {
        let mut ready =
            libc::pollfd { fd: self.person.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer leads to one such entry.
        let any = unsafe { libc::poll(&mut ready, 1, 60_000) };
        assert!(any != 0, "nothing comes any more: {:?}", self.sent);
        let mut bytes = [0; 1024];
        match self.person.read(&mut bytes) {
            Ok(0) => false,
            Ok(read) => {
                self.sent += &String::from_utf8_lossy(&bytes[..read]);
                true
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(_) => false, // EIO: nobody has the other end
        }
    }

    /// Whether all that was written fits into the rows: a line that is wider breaks.
    pub fn columns(&self) -> usize {
        self.columns.into()
    }
}

/// What a terminal shows that was sent this: its lines, without colors.
pub fn screen(sent: &str, columns: usize) -> Vec<String> {
    let (mut lines, mut line, mut at) = (Vec::new(), Vec::new(), 0);
    let mut rest = sent.chars();
    while let Some(character) = rest.next() {
        match character {
            '\r' => at = 0,
            '\n' => lines.push(std::mem::take(&mut line)),
            '\x1b' => {
                let sequence: String = rest.by_ref().take_while(|c| !c.is_alphabetic()).collect();
                // The letter is taken with it: `2K` erases, all else here is a color.
                if sequence == "[2" {
                    line.clear();
                }
            }
            character => {
                if at == columns {
                    lines.push(std::mem::take(&mut line));
                    at = 0;
                }
                if line.len() <= at {
                    line.resize(at + 1, ' ');
                }
                line[at] = character;
                at += 1;
            }
        }
    }
    lines.push(line);
    lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned()).collect()
}
