//! The end of standard input.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use adjourn_core::Inspector;

use crate::{BoxError, Look, Trigger};

/// Stops the program at the end of its standard input: who started it closes the pipe, or is gone.
///
/// What comes before the end is read and thrown away, by a thread of its own that waits for it, so the
/// program must not read standard input itself. Where it is at its end from the start, as `/dev/null`
/// is under a service manager, the program stops at once. A program in the background of a terminal
/// that reads from it is suspended by the system (POSIX, SIGTTIN).
#[derive(Clone, Debug, Default)]
pub struct Stdin {
    ended: Arc<AtomicBool>,
}

impl Stdin {
    /// Waits for the end of standard input.
    pub fn new() -> Stdin {
        Stdin::default()
    }
}

impl Trigger for Stdin {
    fn name(&self) -> String {
        "the end of standard input".to_owned()
    }

    fn open(&mut self) -> Result<(), BoxError> {
        let ended = self.ended.clone();
        let reads = move || {
            let mut input = io::stdin().lock();
            let mut rest = [0; 4096];
            loop {
                match input.read(&mut rest) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break, // nobody can write to it any more
                }
            }
            ended.store(true, SeqCst);
        };
        thread::Builder::new().name("adjourn-stdin".to_owned()).spawn(reads)?;
        Ok(())
    }

    fn look(&mut self, _: &Inspector) -> Look {
        Look { stop: self.ended.load(SeqCst), again: Duration::from_millis(100) }
    }
}
