//! Text in the columns of a terminal.
//!
//! How wide a character is depends on the terminal and needs tables. Here each that is not ASCII counts
//! as two columns, the most that any takes. So a line may come out shorter than there is room for, and
//! never longer.

use std::fmt;

/// Returns how many columns a text takes at the most.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn columns(character: char) -> usize {
    if character.is_ascii() { 1 } else { 2 }
}

/// Returns the text in one line: nothing in a name of the user's moves the cursor or changes a color.
pub(crate) fn line(text: &str) -> String {
    Line(text).to_string()
}

/// Shows a text in one line, as [`line`] does.
pub(crate) struct Line<'a>(pub(crate) &'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.0.split(|character| !is_shown(character));
        f.write_str(parts.next().unwrap_or_default())?;
        parts.try_for_each(|part| write!(f, " {part}"))
    }
}

/// Neither a control character nor one that turns the direction of the text around it.
fn is_shown(character: char) -> bool {
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !character.is_control() && !turns && !matches!(character, '\u{2028}' | '\u{2029}')
}

/// Shortens a text to so many columns; what was left out is an ellipsis.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut room = most.saturating_sub(columns('…'));
    let fits = |character: &char| {
        let left = room.checked_sub(columns(*character));
        room = left.unwrap_or(0);
        left.is_some()
    };
    let mut short: String = text.chars().take_while(fits).collect();
    if most >= columns('…') {
        short.push('…');
    }
    short
}

/// The same at the front: of a place the line is what counts.
pub(crate) fn cut_front(text: &str, most: usize) -> String {
    let turned = |text: &str| text.chars().rev().collect::<String>();
    turned(&cut(&turned(text), most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_never_wider_than_asked_for() {
        assert_eq!(cut("as long", 7), "as long");
        assert_eq!(cut("too long", 7), "too l…");
        assert_eq!(cut("日本語", 5), "日…");
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut_front("src/main.rs:12:5", 9), "…rs:12:5");
        for most in 0..20 {
            assert!(width(&cut("größer als erlaubt", most)) <= most, "{most}");
        }
    }

    #[test]
    fn a_name_that_would_write_elsewhere_is_one_line() {
        assert_eq!(line("a\x1b[2J\r\nb\u{9b}c\u{202e}d"), "a [2J  b c d");
    }
}
