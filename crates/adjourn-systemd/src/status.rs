//! A program in a line for `systemctl status`.

use std::collections::BTreeMap;
use std::time::Duration;

use adjourn_core::{Report, Status, Straggler};

/// The most that is named.
const MOST: usize = 3;

/// What the stop waits for: `Stopping (SIGTERM), at most 18 s more: waiting for 4: http/GET, mailer, ..`.
pub(crate) fn of_a_stop(status: &Status, alive: &[Straggler]) -> String {
    let mut text = String::from("Stopping");
    if let Some(reason) = &status.reason {
        text += &format!(" ({})", line(&reason.to_string()));
    }
    if let Some(left) = status.time_left {
        text += &format!(", at most {} s more", left.as_secs_f64().ceil());
    }
    if status.totals.live == 0 {
        return text;
    }
    let waited: Vec<_> = alive.iter().filter(|task| task.is_waited_for()).collect();
    let listed = alive.len() as u64 == status.totals.live;
    let (alive, count) = match waited.len() {
        0 => (alive.iter().collect(), status.totals.live),
        waiting if listed => (waited, waiting as u64),
        _ => (waited, status.totals.live),
    };
    text += &format!(": waiting for {count}: ");
    // Many of one name are one; the oldest first.
    let mut names: BTreeMap<String, (u64, Option<Duration>)> = BTreeMap::new();
    for straggler in alive {
        let task = &straggler.task;
        let name = format!("{}/{}", task.scope, task.name.as_ref().unwrap_or(&task.spawned_at));
        let (count, oldest) = names.entry(name).or_default();
        *count += 1;
        *oldest = (*oldest).max(straggler.age);
    }
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_key(|(_, (_, oldest))| std::cmp::Reverse(*oldest));
    let more = names.len() > MOST;
    let told = names.into_iter().take(MOST).map(|(name, (count, _))| match count {
        1 => line(&name),
        _ => format!("{count} of {}", line(&name)),
    });
    text += &told.collect::<Vec<_>>().join(", ");
    if more {
        text += ", ..";
    }
    text
}

/// How it ended: `Stopped in order, exit code 0`.
pub(crate) fn of_the_end(report: &Report) -> String {
    let how = if report.is_clean() { "Stopped in order" } else { "Stopped" };
    format!("{how}, exit code {}", report.exit_code())
}

/// A variable is one line, and so it is in a terminal: nothing turns the direction of the text around it.
fn line(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.replace(|c: char| breaks(c) || turns(c), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_in_one_line_and_changes_nothing_around_it() {
        assert_eq!(line("a\nREADY=1\x1b[2J\u{202e}b\u{2028}"), "a READY=1 [2J b ");
    }
}
