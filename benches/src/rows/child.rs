//! Starts this program anew, for what is measured in a process of its own.
//!
//! That is what ends the process or can be done only once, and what takes another time with the
//! memory that earlier rounds have left. What the new process does is in `in_child`.

use std::process::Command;

/// Runs this program again to do `args`; returns the figures that it printed.
///
/// # Panics
///
/// When it does not start or fails.
pub fn start(args: &[&str]) -> Vec<f64> {
    let exe = std::env::current_exe().expect("the path of this program");
    let output = Command::new(exe).arg("--child").args(args).output().expect("it starts");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().map(|figure| figure.parse().expect("a figure")).collect()
}

/// The same for what prints one figure.
///
/// # Panics
///
/// As [`start`], and when it prints none.
pub fn figure(args: &[&str]) -> f64 {
    start(args).first().copied().expect("a figure")
}
