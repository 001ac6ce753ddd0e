//! Proof of the simulator itself: ten small programs with a bug that shows only at a stop, and each of
//! them mended. It finds the ten, and the other ten are green. The table is in docs/simulation.md.

mod programs;

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use adjourn_sim::{Coverage, Sim, StopEverywhere};

const DOCS: &str = include_str!("../../../../docs/simulation.md");

/// A program with a bug, or mended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Buggy,
    Mended,
}

type Program = fn(&Sim, Version);

const PROGRAMS: [(&str, Program); 10] = [
    ("lost message", programs::lost_message),
    ("double ack", programs::double_ack),
    ("leaked lock", programs::leaked_lock),
    ("half-written file", programs::half_written_file),
    ("orphaned child", programs::orphaned_child),
    ("unclosed pool", programs::unclosed_pool),
    ("missed last flush", programs::missed_last_flush),
    ("stuck join", programs::stuck_join),
    ("refused cleanup", programs::refused_cleanup),
    ("early exit", programs::early_exit),
];

struct Checked {
    /// The message, where it fails.
    result: Result<Coverage, String>,
    took: Duration,
}

fn check(program: Program, version: Version) -> Checked {
    let start = Instant::now();
    let check = StopEverywhere::new().seeds(0..3).time(Duration::MAX);
    let run = || check.check(|sim| program(&sim, version));
    let result = catch_unwind(AssertUnwindSafe(run));
    let result = result.map_err(|panic| *panic.downcast::<String>().expect("a message"));
    Checked { result, took: start.elapsed() }
}

/// The cells of a row: how many runs there were, how many failed and the point of the smallest.
fn found(message: &str) -> Option<(u64, u64, &str)> {
    let (_, rest) = message.split_once("when it is stopped: ")?;
    let (failed, rest) = rest.split_once(" of ")?;
    let (runs, rest) = rest.split_once(' ')?;
    let (_, rest) = rest.split_once(".replay(")?;
    let (point, _) = rest.split_once(").check")?;
    Some((failed.parse().ok()?, runs.parse().ok()?, point))
}

/// `cargo test --release -p adjourn-sim --test proof -- --nocapture` prints the table.
#[test]
fn ten_stop_bugs_are_found_and_ten_programs_without_are_green() {
    let mut table = String::new();
    let mut wrong = Vec::new();
    for (name, program) in PROGRAMS {
        let buggy = check(program, Version::Buggy);
        match buggy.result.as_ref().map_err(|message| found(message)) {
            Err(Some((failed, runs, point))) => {
                let millis = buggy.took.as_secs_f64() * 1e3;
                let point = point.replace(", ", ":").replace("Point::NONE", "none");
                _ = write!(table, "| {name} | {failed} of {runs}, {point} | {millis:.0} ms |");
            }
            // With nothing injected there would be no need of a stop to find it.
            Err(None) => wrong.push(format!("{name} fails otherwise: {:?}", buggy.result)),
            Ok(coverage) => wrong.push(format!("{name} is not found: {coverage}")),
        }
        let mended = check(program, Version::Mended);
        match &mended.result {
            Ok(coverage) if coverage.is_complete() && coverage.unsteady == 0 => {
                let millis = mended.took.as_secs_f64() * 1e3;
                _ = writeln!(table, " {} green | {millis:.0} ms |", coverage.runs);
            }
            Ok(coverage) => wrong.push(format!("{name}, mended, is not covered: {coverage}")),
            Err(message) => wrong.push(format!("{name}, mended, fails: {message}")),
        }
    }
    eprintln!("{table}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_each_of_them() {
    for (name, _) in PROGRAMS {
        let rows = DOCS.lines().filter(|line| line.starts_with(&format!("| {name} | ")));
        assert_eq!(rows.count(), 1, "{name} has a row in docs/simulation.md");
    }
}
