//! The picture in text: a line that says who, and a bar over an axis of 80 columns below it.

use std::fmt;
use std::time::Duration;

use super::{End, Row, Timeline, What, seconds, tick, ticks};
use crate::contract::columns;
use crate::contract::report::TaskKind;

/// How wide the axis is, and all the rest.
const AXIS: usize = 80;

pub(super) fn write(timeline: &Timeline, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&timeline.title)?;
    if timeline.rows.is_empty() && timeline.phases.is_empty() {
        return Ok(());
    }
    write!(f, "\n\n{}\n{}", axis(timeline), phases(timeline))?;
    for row in &timeline.rows {
        write!(f, "\n{}\n{}", who(row), bar(row, timeline.span))?;
    }
    for more in &timeline.more {
        write!(f, "\n{}", columns::cut(more, AXIS))?;
    }
    f.write_str(
        "\n\n- plain  = graceful  # shielded  % blocking  : scope  ^ hook  ~ cancelled\n\
         | ended  x cancelled  ! failed  > not over at the end",
    )
}

/// In which column a time is.
fn column(at: Duration, span: Duration) -> usize {
    let column = (at.as_nanos() * AXIS as u128).checked_div(span.as_nanos()).unwrap_or(0);
    (column as usize).min(AXIS - 1)
}

fn axis(timeline: &Timeline) -> String {
    let mut line = String::new();
    for at in ticks(timeline.span, 6) {
        let (column, label) = (column(at, timeline.span), tick(at));
        if column >= line.len() && column + label.len() <= AXIS {
            line = format!("{line:column$}{label}");
        }
    }
    line
}

fn phases(timeline: &Timeline) -> String {
    let mut line = String::new();
    for (phase, from, to) in &timeline.phases {
        let [from, to] = [from, to].map(|at| column(*at, timeline.span));
        let width = (to + usize::from(to == AXIS - 1)).saturating_sub(from.max(line.len()));
        if width > 0 {
            let name: String = phase.to_string().chars().take(width - 1).collect();
            line = format!("{line}|{name:-<rest$}", rest = width - 1);
        }
    }
    line
}

/// How long it took, its name and what it is. The name is shortened first.
fn who(row: &Row) -> String {
    let time = match row.end {
        End::NotOver => format!("> {}", seconds(row.to)),
        _ => seconds(row.to),
    };
    let mut about = row.about.clone();
    if let Some(place) = &row.place {
        about += &format!(" at {}", columns::cut_front(place, 24));
    }
    let room = AXIS.saturating_sub(13 + 4 + columns::width(&about));
    format!("{time:>11}  {}  ({about})", columns::cut(&row.name, room))
}

fn bar(row: &Row, span: Duration) -> String {
    let mark = match row.what {
        What::Scope => ':',
        What::Hook => '^',
        What::Task(TaskKind::Plain) => '-',
        What::Task(TaskKind::Graceful) => '=',
        What::Task(TaskKind::Shielded) => '#',
        What::Task(TaskKind::Blocking) => '%',
    };
    let last = match row.end {
        End::Ended => '|',
        End::Cancelled => 'x',
        End::Failed => '!',
        End::NotOver => '>',
    };
    let [from, to] = [row.from, row.to].map(|at| column(at, span));
    let cancelled = row.cancelled.map_or(to, |at| column(at, span));
    let part = |at: usize| match at {
        at if at < from => ' ',
        at if at < cancelled => mark,
        _ => '~',
    };
    (0..to).map(part).chain([last]).collect()
}
