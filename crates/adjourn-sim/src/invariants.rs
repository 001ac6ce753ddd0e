//! What holds of every report, whatever the program.

use adjourn_core::{Phase, Report, Totals};

/// Returns what in a report contradicts Adjourn's own promises; nothing, unless Adjourn is broken.
///
/// [`stop_everywhere`](crate::stop_everywhere) asks this after each run. Checked: phases only
/// advance, follow each other without a gap and end with Stopped or Forced; causes and signals are
/// in the order of their times; each scope's totals add up and nothing of it is alive; nothing
/// happened after the end.
pub fn violations(report: &Report) -> Vec<String> {
    let mut found = Vec::new();
    if report.start_error.is_some() {
        return found; // nothing ran
    }
    for pair in report.phases.windows(2) {
        let [before, after] = pair else { continue };
        if before.phase >= after.phase {
            found.push(format!("phase {} came after {}", after.phase, before.phase));
        }
        if before.left != Some(after.entered) {
            found.push(format!("{} did not end when {} began", before.phase, after.phase));
        }
    }
    let last = report.phases.last();
    let over = last.is_some_and(|last| matches!(last.phase, Phase::Stopped | Phase::Forced));
    if !over && !report.reasons.iter().any(|at| at.what == adjourn_core::Reason::Dropped) {
        found.push(format!("the last phase is {:?}", last.map(|last| last.phase)));
    }
    if report.reasons.is_empty() && over && last.map(|last| last.phase) == Some(Phase::Stopped) {
        found.push("it stopped without a cause".to_owned());
    }
    if !report.reasons.is_sorted_by_key(|at| at.at) {
        found.push("the causes are not in the order of their times".to_owned());
    }
    if !report.signals.is_sorted_by_key(|at| at.at) {
        found.push("the signals are not in the order of their times".to_owned());
    }
    if report.forced.is_some() != (last.map(|last| last.phase) == Some(Phase::Forced))
        && !gave_up(report)
    {
        found.push("forced, but not in the phase Forced, or the other way round".to_owned());
    }
    for (name, totals) in &report.totals {
        let Totals { spawned, live, finished, failed, panicked, cancelled, abandoned, .. } =
            *totals;
        let sum = live + finished + failed + panicked + cancelled + abandoned;
        if spawned != sum {
            found.push(format!("of {spawned} tasks of {name}, {sum} are accounted for"));
        }
        if live != 0 {
            found.push(format!("{live} tasks of {name} are alive after the end"));
        }
    }
    found
}

/// Whether the executor ended the program, since it could not end by itself.
fn gave_up(report: &Report) -> bool {
    report.failures.iter().any(|failure| failure.kind == adjourn_core::FailureKind::Executor)
}
