//! The stored instruction counts, as a table.

use std::io;

use adjourn_instructions::counts::{Counts, FILE};
use adjourn_instructions::paths::PATHS;

use crate::table::plain;

/// Returns the table of what `benches/instructions.toml` has.
///
/// # Errors
///
/// When the file is not there or not understood.
pub fn all() -> io::Result<String> {
    let counts = Counts::from_toml(&std::fs::read_to_string(FILE)?).map_err(io::Error::other)?;
    let head = [
        "instructions a turn, Tokio current-thread but where smol is named",
        "way",
        "count",
        "beside bare",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for path in PATHS {
        for (index, way) in path.ways.iter().enumerate() {
            let Some(count) = counts.count(path.name, way) else { continue };
            let title = if index == 0 { path.title } else { "" };
            let beside = counts.count(path.name, "bare").map_or_else(
                || "–".to_owned(),
                |bare| format!("{:.2}x, {:+.0}", count / bare, count - bare),
            );
            let cells = [title, way, &format!("{count:.0}"), &beside];
            lines.push(cells.map(str::to_owned).to_vec());
        }
    }
    Ok(format!("With {}.\n\n{}", counts.rustc, plain(&lines)))
}
