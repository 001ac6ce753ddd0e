//! Standard error as a terminal: whether it is one, how wide, and what may be written to it.

use std::borrow::Cow;
use std::env;
use std::ffi::OsStr;
use std::io::IsTerminal;

use crate::process::signal;

/// Where a terminal does not say how wide it is.
const WIDTH: usize = 80;

/// A terminal that can erase a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// In columns.
    pub(crate) width: usize,
    colors: bool,
}

impl Terminal {
    /// Returns standard error's, if it is one, is more than `TERM=dumb`, and this is no background job. Its
    /// size is that of now.
    pub(crate) fn of_stderr() -> Option<Terminal> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_some_and(|term| term == OsStr::new("dumb"));
        // `Stderr` is a handle without its lock.
        if dumb || !std::io::stderr().is_terminal() || !signal::is_in_foreground() {
            return None;
        }
        let width = signal::stderr_width().filter(|width| *width > 0).unwrap_or(WIDTH);
        // no-color.org: whatever it says, unless it is empty.
        Some(Terminal { width, colors: cfg!(unix) && set("NO_COLOR").is_none() })
    }

    /// Returns the line with its beginning in yellow, if it begins so and there are colors.
    pub(crate) fn colored(&self, line: &str, beginning: &str) -> String {
        match line.strip_prefix(beginning) {
            Some(rest) if self.colors => format!("\x1b[33m{beginning}\x1b[0m{rest}"),
            _ => line.to_owned(),
        }
    }
}

/// What takes a line away on a terminal that is so wide, where the line does not fill its row. A console
/// of Windows may not know escape sequences.
pub(crate) fn erases(width: usize) -> Cow<'static, str> {
    if cfg!(unix) {
        return Cow::Borrowed("\r\x1b[2K");
    }
    Cow::Owned(format!("\r{:width$}\r", "", width = width.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_has_a_color_and_only_where_there_are_colors() {
        let colored = Terminal { width: 80, colors: true };
        assert_eq!(colored.colored("Stopping, at", "Stopping"), "\x1b[33mStopping\x1b[0m, at");
        assert_eq!(colored.colored("18 s.", "Stopping"), "18 s.");
        let plain = Terminal { width: 80, colors: false };
        assert_eq!(plain.colored("Stopping, at", "Stopping"), "Stopping, at");
    }
}
