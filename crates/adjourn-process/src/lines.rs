//! What a child writes.

use std::io::{BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// Who is told of each line.
pub(crate) type Told = Box<dyn FnMut(&str) + Send>;

/// The longest piece that is told at once.
const LONGEST: usize = 64 * 1024;

/// How far one output has been read.
#[derive(Default)]
pub(crate) struct Reading {
    /// So many bytes.
    pub(crate) read: AtomicU64,
    /// A line is being told.
    pub(crate) telling: AtomicBool,
    /// No more lines are to be told.
    pub(crate) over: AtomicBool,
}

/// Reads to the end, so that whoever writes never blocks. Returns whether `told` has panicked.
pub(crate) fn read(from: impl Read, mut told: Option<Told>, reading: &Reading) -> bool {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    let mut panicked = false;
    let mut is_rest = false;
    loop {
        line.clear();
        match from.by_ref().take(LONGEST as u64).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return panicked,
            Ok(count) => _ = reading.read.fetch_add(count as u64, SeqCst),
        }
        let ends = line.ends_with(b"\n");
        if ends {
            line.pop();
            if line.ends_with(b"\r") {
                line.pop();
            }
        }
        // The end alone of a line that was as long as a piece.
        let is_empty_rest = std::mem::replace(&mut is_rest, !ends) && line.is_empty();
        if is_empty_rest || reading.over.load(SeqCst) {
            continue;
        }
        if let Some(tell) = &mut told {
            let text = String::from_utf8_lossy(&line);
            // It is the user's; what it leaves behind is not used again.
            reading.telling.store(true, SeqCst);
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| tell(&text))) {
                panicked = true;
                drop_quietly(payload);
                drop_quietly(told.take());
            }
            reading.telling.store(false, SeqCst);
        }
    }
}

/// Drops what is the user's and may panic again: what is left of it then is forgotten.
fn drop_quietly<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        std::mem::forget(payload);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is told of so many bytes, as lengths of the pieces, and whether all was read.
    fn told(text: &[u8]) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let said = lines.clone();
        let told: Told = Box::new(move |line| said.lock().unwrap().push(line.to_owned()));
        let mut from = text;
        assert!(!read(&mut from, Some(told), &Reading::default()));
        assert!(from.is_empty());
        std::mem::take(&mut lines.lock().unwrap())
    }

    #[test]
    fn lines_come_without_their_ends() {
        assert_eq!(told(b""), Vec::<String>::new());
        assert_eq!(told(b"a\n\nb\r\nc\rd"), ["a", "", "b", "c\rd"]);
        assert_eq!(told(b"\xff!\n"), ["\u{fffd}!"]);
    }

    #[test]
    fn a_long_line_comes_in_pieces() {
        let lengths = |text: &[u8]| told(text).iter().map(String::len).collect::<Vec<_>>();
        let long = vec![b'x'; LONGEST];
        assert_eq!(lengths(&[&long[..], b"y"].concat()), [LONGEST, 1]);
        assert_eq!(lengths(&[&long[..], b"\n\nz\n"].concat()), [LONGEST, 0, 1], "no empty rest");
        assert_eq!(lengths(&[&long[1..], b"\n"].concat()), [LONGEST - 1]);
    }

    #[test]
    fn all_is_read_whoever_is_told() {
        let mut count = 0;
        let told: Told = Box::new(move |_| {
            count += 1;
            assert!(count < 2, "once");
        });
        let mut from = &b"1\n2\n3\n"[..];
        assert!(read(&mut from, Some(told), &Reading::default()));
        assert!(from.is_empty());
        // What is thrown panics once more where it is dropped.
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("once more");
            }
        }
        let told: Told = Box::new(|_| std::panic::panic_any(Bomb));
        let mut from = &b"1\n2\n"[..];
        assert!(read(&mut from, Some(told), &Reading::default()));
        assert!(from.is_empty());
        let never: Told = Box::new(|_| unreachable!("nobody wants it"));
        let mut from = &b"1\n2"[..];
        let reading = Reading { over: AtomicBool::new(true), ..Reading::default() };
        assert!(!read(&mut from, Some(never), &reading));
        assert_eq!(reading.read.load(SeqCst), 3);
        assert!(from.is_empty());
    }
}
