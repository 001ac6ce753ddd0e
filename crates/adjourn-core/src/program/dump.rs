//! The table of what is alive, for whoever sends a signal to see it.

use std::fmt::Write;
use std::time::Duration;

use super::Program;
use crate::contract::columns;
use crate::contract::inspect::{Inspected, Status};
use crate::contract::report::Straggler;
use crate::process::signal;

/// The most tasks that are listed.
const MOST: usize = 1_000;
/// How long writing may take.
const WRITING: Duration = Duration::from_secs(1);
/// The most columns of a cell.
const WIDEST: usize = 60;

/// Writes what is alive to standard error, on a thread of its own: nobody waits for it. Of a simulated
/// program nothing is written.
pub(super) fn start(program: &Program) {
    if program.is_hosted() {
        return;
    }
    let status = Inspected::status(program);
    let table = table(&status, &program.alive(MOST));
    let watch = program.watch.clone();
    let writes = move || {
        watch
            .narration
            .beside(table, true, |text| _ = signal::write_stderr(text.as_bytes(), WRITING));
    };
    _ = std::thread::Builder::new().name("adjourn-dump".to_owned()).spawn(writes);
}

/// A line of the program, and one of each task, the oldest of each scope first.
fn table(status: &Status, alive: &[Straggler]) -> String {
    let mut text = format!("adjourn: {}\n", columns::line(&status.to_string()));
    let cells = |task: &Straggler| {
        let label = &task.task;
        let age = task.age.map(|age| format!("{:.1} s", age.as_secs_f64()));
        [
            label.scope.clone(),
            label.name.clone().unwrap_or_else(|| "-".to_owned()),
            label.kind.to_string(),
            age.unwrap_or_else(|| "-".to_owned()),
            task.state.to_string(),
            label.spawned_at.clone(),
        ]
        .map(|cell| columns::cut(&columns::line(&cell), WIDEST))
    };
    let head = ["scope", "name", "kind", "age", "state", "spawned at"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(alive.iter().map(cells)).collect();
    let widths: [usize; 6] = std::array::from_fn(|at| {
        rows.iter().map(|row| columns::width(&row[at])).max().unwrap_or(0)
    });
    for row in rows {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(widths) {
            let pad = width.saturating_sub(columns::width(cell));
            _ = write!(line, " {cell}{:pad$} ", "");
        }
        text += line.trim_end();
        text.push('\n');
    }
    let more = status.totals.live.saturating_sub(alive.len() as u64);
    if more > 0 {
        _ = writeln!(text, "  and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::report::{StragglerState, TaskKind, TaskLabel, Totals};
    use crate::phase::Phase;

    #[test]
    fn the_table_has_a_line_for_each_task() {
        let task = |scope: &str, name: Option<&str>, kind, age, state| Straggler {
            task: TaskLabel {
                name: name.map(str::to_owned),
                scope: scope.to_owned(),
                kind,
                spawned_at: "src/main.rs:12:5".to_owned(),
            },
            age,
            state,
        };
        let old = Some(Duration::from_millis(12_345));
        let alive = [
            task("root", Some("main"), TaskKind::Plain, old, StragglerState::Pending),
            task(
                "root/http",
                Some("GET\n/"),
                TaskKind::Graceful,
                None,
                StragglerState::NeverPolled,
            ),
            task("root/http", None, TaskKind::Blocking, old, StragglerState::Blocking),
        ];
        let status = Status {
            backend: "nowhere",
            phase: Phase::Running,
            ready: true,
            uptime: Duration::from_secs(60),
            reason: None,
            time_left: None,
            totals: Totals { live: 7, ..Totals::default() },
            failures: 0,
        };
        assert_eq!(
            table(&status, &alive),
            "adjourn: Running, up 60.0 s, 7 alive\n\
             \x20 scope      name   kind           age     state                         spawned at\n\
             \x20 root       main   task           12.3 s  pending                       src/main.rs:12:5\n\
             \x20 root/http  GET /  graceful task  -       never polled                  src/main.rs:12:5\n\
             \x20 root/http  -      blocking job   12.3 s  running on a blocking thread  src/main.rs:12:5\n\
             \x20 and 4 more\n"
        );
    }
}
