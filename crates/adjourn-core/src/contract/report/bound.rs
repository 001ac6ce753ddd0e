//! How long the texts of a report may be. What is cut says how much was left out.

use std::borrow::Cow;

use super::{Failure, Reason};

/// The most bytes of a task's or scope's name.
pub(crate) const NAME: usize = 256;
/// The most bytes of a scope's path.
pub(crate) const PATH: usize = 1024;
/// The most bytes of what says who failed: a name, a path and a line.
const ORIGIN: usize = 2048;
/// The most bytes of a message: a panic's text, an error, why a stop was requested.
pub(crate) const MESSAGE: usize = 4096;

/// Cuts a text that is longer than so many bytes, between two characters.
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}… ({} bytes more)", &text[..end], text.len() - end))
}

/// The same in place.
pub(crate) fn shorten(text: &mut String, most: usize) {
    if text.len() > most {
        *text = cut(text, most).into_owned();
    }
}

impl Failure {
    pub(crate) fn bounded(mut self) -> Failure {
        shorten(&mut self.origin, ORIGIN);
        self.messages.iter_mut().for_each(|message| shorten(message, MESSAGE));
        self
    }
}

impl Reason {
    pub(crate) fn bounded(mut self) -> Reason {
        if let Reason::Requested(Some(why)) | Reason::MainFailed(why) | Reason::TaskFailed(why) =
            &mut self
        {
            shorten(why, MESSAGE);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::report::FailureKind;

    #[test]
    fn a_text_is_cut_between_two_characters_and_says_what_is_missing() {
        assert_eq!(cut("", 0), "");
        assert_eq!(cut("as long", 7), "as long");
        assert_eq!(cut("too long", 3), "too… (5 bytes more)");
        assert_eq!(cut("häßlich", 2), "h… (8 bytes more)", "ä has two bytes");
        assert_eq!(cut("häßlich", 3), "hä… (6 bytes more)");
        assert_eq!(cut("ä", 0), "… (2 bytes more)");
    }

    #[test]
    fn who_failed_is_cut_too() {
        let failure = Failure {
            at: std::time::Duration::ZERO,
            kind: FailureKind::HookError,
            origin: "o".repeat(ORIGIN + 1),
            messages: Vec::new(),
            fatal: false,
        };
        assert!(failure.bounded().origin.ends_with("o… (1 bytes more)"));
    }
}
