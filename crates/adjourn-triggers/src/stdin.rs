//! The end of standard input.

use std::io::{self, ErrorKind, Read};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use adjourn_core::Inspector;

use crate::{BoxError, Look, Trigger};

/// How often it is looked for.
const PERIOD: Duration = Duration::from_millis(100);

/// Whether a thread reads; one does for all programs of this process.
static READS: Mutex<bool> = Mutex::new(false);
static ENDED: AtomicBool = AtomicBool::new(false);

/// Stops the program at the end of its standard input: who started it closes the pipe, or is gone.
///
/// What comes before the end is read and thrown away, by a thread of its own that waits for it, so the
/// program must not read standard input itself. The thread stays past the program's end, until that of
/// the input; a process has one, however many programs it runs. Where the input is at its end from the
/// start, as `/dev/null` is under a service manager, the program stops at once. A program in the
/// background of a terminal that reads from it is suspended by the system (POSIX, SIGTTIN).
#[derive(Clone, Debug, Default)]
pub struct Stdin {
    _private: (),
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
        let mut reads = READS.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reads {
            let read = || {
                read_to_end(io::stdin().lock());
                ENDED.store(true, SeqCst);
            };
            thread::Builder::new().name("adjourn-stdin".to_owned()).spawn(read)?;
            *reads = true;
        }
        Ok(())
    }

    fn look(&mut self, _: &Inspector) -> Look {
        Look { stop: ENDED.load(SeqCst), again: PERIOD }
    }
}

/// Returns once nothing more can come.
fn read_to_end(mut input: impl Read) {
    let mut rest = [0; 4096];
    loop {
        match input.read(&mut rest) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Who shares it with us may have made it so (fcntl(2), O_NONBLOCK): this is not its end.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PERIOD),
            Err(_) => return, // nobody can write to it any more
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_and_a_real_error_end_it() {
        struct Gives(Vec<io::Result<usize>>);
        impl Read for Gives {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                self.0.pop().expect("it was over before")
            }
        }
        let [interrupted, would_block, broken] =
            [ErrorKind::Interrupted, ErrorKind::WouldBlock, ErrorKind::Other];
        let mut gives = Gives(vec![
            Ok(7),
            Ok(0),
            Ok(3),
            Err(would_block.into()),
            Err(interrupted.into()),
            Ok(5),
        ]);
        read_to_end(&mut gives);
        assert_eq!(gives.0.len(), 1, "it read to its end and no further");
        let mut gives = Gives(vec![Ok(7), Err(broken.into()), Err(would_block.into())]);
        read_to_end(&mut gives);
        assert_eq!(gives.0.len(), 1);
    }
}
