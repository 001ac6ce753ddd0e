//! What is measured in a process of its own: what ends the process or can be done once, and what
//! happens once in a program and takes another time with the memory that earlier rounds have left.

use std::process::Command;

use super::{memory, process, tasks, trees};
use crate::host::Config;

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

/// Does what [`start`] asked for.
///
/// # Panics
///
/// When it does not know that.
pub fn run(args: &[String]) {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().expect("a number");
    let figures = match args[..] {
        ["short", config, what, tasks, rounds] => {
            tasks::short(Config::named(config), what, number(tasks), number(rounds))
        }
        ["cancel", config, way, count] => {
            tasks::cancel_once(Config::named(config), way, number(count))
        }
        ["bytes", config, way, count] => {
            memory::parked_bytes(Config::named(config), way, number(count))
        }
        ["tree", way, shape, size] => vec![trees::once(way, shape, number(size))],
        ["returned", config, count] => {
            vec![process::returned(Config::named(config), number(count))]
        }
        ["returned by hand", count] => vec![process::returned_by_hand(number(count))],
        ["terminated", config, spawns, count] => {
            vec![process::terminated(Config::named(config), spawns == "typed", number(count))]
        }
        ["wedged", config] => process::wedged(Config::named(config)),
        ["signal", rounds] => process::signal_with(number(rounds)),
        _ => panic!("no such child: {args:?}"),
    };
    figures.iter().for_each(|figure| println!("{figure}"));
}
