//! A server as a process: started, stopped by SIGTERM, and what it printed.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

pub struct Program {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    err: Option<JoinHandle<String>>,
    pub address: SocketAddr,
}

/// What is left of it.
pub struct Ended {
    pub code: Option<i32>,
    /// What it printed after it was ready.
    pub out: Vec<String>,
    pub err: String,
}

impl Program {
    /// Starts it, and waits until it listens.
    pub fn start(program: &str, arguments: &[&str]) -> Program {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut stderr = child.stderr.take().expect("it is piped");
        let err = std::thread::spawn(move || {
            let mut text = String::new();
            _ = stderr.read_to_string(&mut text);
            text
        });
        let mut line = String::new();
        out.read_line(&mut line).expect("it prints text");
        let address = line.trim_end().strip_prefix(adjourn_servers::LISTENING);
        let address = address.and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("it printed {line:?}"));
        Program { child, out, err: Some(err), address }
    }

    pub fn terminate(&self) {
        // SAFETY: a plain system call; the child is not waited for yet, so the number is its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) }, 0);
    }

    pub fn end(mut self) -> Ended {
        let out = self.out.by_ref().lines().collect::<Result<_, _>>().expect("it prints text");
        let code = self.child.wait().expect("it can be waited for").code();
        let err = self.err.take().expect("it is read once").join().expect("it is read");
        Ended { code, out, err }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        _ = self.child.kill(); // where a test fails
        _ = self.child.wait();
    }
}

impl Ended {
    /// In order, without a complaint.
    #[track_caller]
    pub fn in_order(&self) -> &Ended {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{:?}", self.out);
        self
    }
}
