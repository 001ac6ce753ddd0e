//! A named pipe that takes commands.

mod sys;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;

use adjourn_clients::Clients;
use adjourn_core::Inspector;

use self::sys::Instance;
use crate::{BoxError, Look, Trigger, command};

/// Takes commands at a named pipe. In cmd: `echo stop> \\.\pipe\app-control`; in a program, open it
/// as a file, write a line and read one.
///
/// The commands and their limits are those of a `Socket` elsewhere. The pipe's access list names its
/// owner, administrators and the system; remote clients are rejected. It goes with the program.
///
/// Errors at the start: the name is not that of a pipe of this machine, or a program has it already.
#[derive(Debug)]
pub struct Pipe {
    name: OsString,
    live: Option<Live>,
}

struct Live {
    /// The one that the next client finds.
    next: Option<Instance>,
    clients: Clients<Instance>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl Pipe {
    /// Listens at this name: `\\.\pipe\app-control`.
    pub fn new(name: impl Into<OsString>) -> Pipe {
        Pipe { name: name.into(), live: None }
    }
}

impl Trigger for Pipe {
    fn name(&self) -> String {
        format!("the pipe {}", self.name.to_string_lossy())
    }

    fn open(&mut self) -> Result<(), BoxError> {
        let text = self.name.to_string_lossy().to_ascii_lowercase();
        if text.strip_prefix(r"\\.\pipe\").is_none_or(|rest| rest.is_empty() || rest.contains('\\'))
        {
            return Err(r"this is no name of a pipe: use one such as \\.\pipe\app-control".into());
        }
        const TAKEN: &str = "a program has it already: stop it, or use another name";
        // Asked before it is made: the flag that refuses a second one is not there on every system
        // (Wine 8).
        match OpenOptions::new().read(true).write(true).open(&self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            _ => return Err(TAKEN.into()),
        }
        let first = Instance::first(&self.name).map_err(|error| format!("{error}: {TAKEN}"))?;
        self.live = Some(Live { next: Some(first), clients: command::clients(command::LONGEST) });
        Ok(())
    }

    fn look(&mut self, program: &Inspector) -> Look {
        let Some(Live { next, clients }) = &mut self.live else { return Look::NEVER };
        let (mut stop, name) = (false, &self.name);
        let accept = || {
            let waits = match next.take() {
                Some(waits) => waits,
                None => Instance::another(name)?,
            };
            if waits.is_connected()? {
                *next = Instance::another(name).ok(); // else it is tried again with the next look
                return Ok(waits);
            }
            *next = Some(waits);
            Err(io::ErrorKind::WouldBlock.into())
        };
        let again = clients.look(accept, |said, words| {
            command::line(said, words, |line| command::obey(line, program, &mut stop))
        });
        Look { stop, again: again.unwrap_or(command::IDLE) }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use super::*;

    fn name(of: &str) -> OsString {
        format!(r"\\.\pipe\adjourn-{of}-{}", std::process::id()).into()
    }

    fn client(name: &OsString) -> File {
        OpenOptions::new().read(true).write(true).open(name).unwrap()
    }

    #[test]
    fn a_client_is_answered_and_stop_stops() {
        let name = name("answers");
        let mut pipe = Pipe::new(&name);
        pipe.open().unwrap();
        let program = Inspector::default();
        for (says, stops, gets) in [
            ("stop\n", true, "stopping\n"),
            ("status\n", false, "not running\n"),
            ("kill\n", false, "error: no such command: say stop or status\n"),
        ] {
            assert!(!pipe.look(&program).stop, "nobody said anything");
            let mut client = client(&name);
            assert!(!pipe.look(&program).stop, "it says nothing yet");
            client.write_all(says.as_bytes()).unwrap();
            assert_eq!(pipe.look(&program).stop, stops, "{says}");
            let mut got = String::new();
            client.read_to_string(&mut got).unwrap();
            assert_eq!(got, gets);
        }
    }

    #[test]
    fn a_crowd_that_says_nothing_does_not_stop_it() {
        let name = name("crowd");
        let mut pipe = Pipe::new(&name);
        pipe.open().unwrap();
        let program = Inspector::default();
        let mut crowd = Vec::new();
        for _ in 0..40 {
            // One that finds no instance would wait for one: another look makes it.
            while let Err(error) = OpenOptions::new().read(true).write(true).open(&name) {
                let _ = error;
                pipe.look(&program);
            }
            pipe.look(&program);
            crowd.push(());
        }
        let mut good = loop {
            match OpenOptions::new().read(true).write(true).open(&name) {
                Ok(good) => break good,
                Err(_) => _ = pipe.look(&program),
            }
        };
        good.write_all(b"stop\n").unwrap();
        while !pipe.look(&program).stop {}
    }

    #[test]
    fn a_name_that_is_taken_or_none_is_an_error() {
        let name = name("taken");
        let mut first = Pipe::new(&name);
        first.open().unwrap();
        let error = Pipe::new(&name).open().unwrap_err().to_string();
        assert!(error.contains("use another name"), "{error}");
        for wrong in [r"C:\control", r"\\.\pipe\", r"\\other\pipe\control"] {
            let error = Pipe::new(wrong).open().unwrap_err().to_string();
            assert!(error.contains("no name of a pipe"), "{error}");
        }
        drop(first);
        Pipe::new(&name).open().unwrap();
    }
}
