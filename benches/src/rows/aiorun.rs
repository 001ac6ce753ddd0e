//! Beside Python's aiorun: SIGTERM to `run` returned, with many parked tasks.

use std::process::Command;

use super::child;
use super::effort::Effort;
use crate::host::Config;
use crate::stats::Quartiles;
use crate::table::{plain, time};
use crate::way::{FREE, TYPED, UNTYPED};

/// How many times faster than aiorun it is to be.
const BUDGET: f64 = 40.0;

/// How the tasks are spawned.
const SPAWNS: [&str; 3] = [FREE, TYPED, UNTYPED];

/// Returns the table; aiorun's part says "skipped" where it is not installed.
///
/// # Panics
///
/// When aiorun is there and its script fails.
pub fn all(effort: Effort) -> String {
    let (count, rounds) = if effort == Effort::Full { (100_000, 5) } else { (1_000, 1) };
    let head = [format!("SIGTERM to `run` returned, {count} parked tasks"), "median".to_owned()];
    let mut lines = vec![[&head[..], &["beside aiorun".to_owned()]].concat()];
    let theirs: Option<Vec<f64>> = (0..rounds).map(|_| python(count)).collect();
    let theirs = theirs.map(|rounds| Quartiles::of(rounds).median);
    let text = theirs.map_or_else(|| "skipped: no aiorun here".to_owned(), time);
    lines.push(vec!["aiorun".to_owned(), text, "1x".to_owned()]);
    for (config, spawns) in Config::ALL.into_iter().flat_map(|config| SPAWNS.map(|s| (config, s))) {
        let args = ["terminated", config.name(), spawns, &count.to_string()];
        let ours = Quartiles::of((0..rounds).map(|_| child::figure(&args)).collect()).median;
        let beside = theirs.map_or_else(
            || "–".to_owned(),
            |theirs| {
                let verdict = match spawns {
                    UNTYPED => String::new(),
                    _ if theirs / ours >= BUDGET => format!("; budget {BUDGET}x: met"),
                    _ => format!("; budget {BUDGET}x: **missed**"),
                };
                format!("{:.0}x faster{verdict}", theirs / ours)
            },
        );
        lines.push(vec![format!("{}: {spawns}", config.name()), time(ours), beside]);
    }
    plain(&lines)
}

/// Returns nanoseconds, or `None` where Python or aiorun is missing.
///
/// # Panics
///
/// When the script fails: that is not the same as not being there.
fn python(count: usize) -> Option<f64> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/beside_aiorun.py");
    let output = Command::new("python3").args([script, &count.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.trim() {
        "skipped" => None,
        nanos => Some(nanos.parse().unwrap_or_else(|_| {
            panic!("{script} failed: {}", String::from_utf8_lossy(&output.stderr))
        })),
    }
}
