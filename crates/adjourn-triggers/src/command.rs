//! What a client can say: one line.

use std::time::Duration;

use adjourn_clients::{Answer, Clients, Words};
use adjourn_core::Inspector;

/// The longest command, in bytes.
pub(crate) const LONGEST: usize = 64;
/// How long a client may take for its line.
const PATIENCE: Duration = Duration::from_secs(1);
/// How soon to look again where nobody is there.
pub(crate) const IDLE: Duration = Duration::from_millis(100);

/// Clients that say lines of so many bytes, and the end of a line.
pub(crate) fn clients<S: std::io::Read + std::io::Write>(longest: usize) -> Clients<S> {
    Clients::new(longest + 2, PATIENCE)
}

/// Answers a line once it is whole: at its end, or when the client has closed its own, as
/// `printf stop | nc` does.
pub(crate) fn line(said: &[u8], words: Words, answer: impl FnOnce(&[u8]) -> String) -> Answer {
    let end = said.iter().position(|byte| *byte == b'\n');
    let text = match (end, words) {
        (Some(end), _) => answer(said[..end].trim_ascii()),
        (None, Words::Ended) if !said.is_empty() => answer(said.trim_ascii()),
        (None, Words::Ended) => return Answer::Leave,
        (None, Words::Open) => return Answer::Wait,
        (None, Words::TooMany) => "error: the line is too long".to_owned(),
    };
    Answer::Say(format!("{text}\n").into_bytes())
}

/// Does what a line says, and returns the answer.
pub(crate) fn obey(line: &[u8], program: &Inspector, stop: &mut bool) -> String {
    match line {
        b"stop" => {
            *stop = true;
            "stopping".to_owned()
        }
        b"status" => program
            .status()
            .map_or_else(|| "not running".to_owned(), |status| one_line(&status.to_string())),
        _ => "error: no such command: say stop or status".to_owned(),
    }
}

/// The reason of a stop is text of the user's, which may have lines of its own.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(said: &[u8], words: Words) -> Answer {
        line(said, words, |line| String::from_utf8_lossy(line).into_owned())
    }

    #[test]
    fn a_line_ends_with_its_end_or_the_clients() {
        let says = |text: &str| Answer::Say(text.as_bytes().to_vec());
        for (said, words, answer) in [
            (&b"stop\n"[..], Words::Open, says("stop\n")),
            (b"stop\r\nmore", Words::Open, says("stop\n")),
            (b"stop", Words::Ended, says("stop\n")),
            (b"\n", Words::Open, says("\n")),
            (b"stop", Words::Open, Answer::Wait),
            (b"", Words::Open, Answer::Wait),
            (b"", Words::Ended, Answer::Leave),
            (b"stop\nand a lot more", Words::TooMany, says("stop\n")),
            (b"a lot", Words::TooMany, says("error: the line is too long\n")),
        ] {
            assert_eq!(answers(said, words), answer, "{said:?}");
        }
    }
}
