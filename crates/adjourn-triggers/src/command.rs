//! What a client can say.

use adjourn_core::Inspector;

/// The longest command, in bytes.
pub(crate) const LONGEST: usize = 64;

/// Does what a line says, and returns the answer.
pub(crate) fn answer(line: &[u8], program: &Inspector, stop: &mut bool) -> String {
    match line {
        b"stop" => {
            *stop = true;
            "stopping".to_owned()
        }
        b"status" => {
            program.status().map_or_else(|| "not running".to_owned(), |status| status.to_string())
        }
        _ => "error: no such command: say stop or status".to_owned(),
    }
}
