//! Counts every path and compares with `benches/instructions.toml`, as ci/instructions.sh asks.
//!
//! With `--renew` that file is written; with `--print` nothing is compared.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // a program: its figures are what it is for

use std::process::{Command, ExitCode};

use adjourn_instructions::callgrind;
use adjourn_instructions::counts::{Counts, FILE};
use adjourn_instructions::paths::{self, PATHS, Path};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        // What the other arms run under callgrind.
        [path, way, times] => {
            paths::run(path, way, times.parse().expect("a number of times"));
            ExitCode::SUCCESS
        }
        _ if !callgrind::is_there() => {
            println!("valgrind is not installed: instruction counts skipped");
            ExitCode::SUCCESS
        }
        [] => guard(),
        ["--print"] => finish(count().map(|_| ())),
        ["--renew"] => finish(count().and_then(|counts| {
            std::fs::write(FILE, counts.to_toml()).map_err(|error| error.to_string())
        })),
        _ => finish(Err("usage: [--print | --renew]".to_owned())),
    }
}

fn finish(done: Result<(), String>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn guard() -> ExitCode {
    finish(check())
}

/// Counts, and compares with the stored baseline.
fn check() -> Result<(), String> {
    let text = std::fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
    let baseline = Counts::from_toml(&text)?;
    let counts = count()?;
    let faults = counts.compare(&baseline);
    if faults.is_empty() {
        println!("instruction counts: within 5 % of the baseline");
        return Ok(());
    }
    let faults = faults.join("\n");
    if counts.rustc != baseline.rustc {
        println!(
            "{faults}\nnot a failure: the baseline is of {}, this is {}; ci/instructions.sh --renew \
             writes a new one",
            baseline.rustc, counts.rustc
        );
        return Ok(());
    }
    Err(format!(
        "{faults}\ninstruction counts differ from benches/instructions.toml by more than 5 %. If \
         that is meant, or a gain: ci/instructions.sh --renew"
    ))
}

fn count() -> Result<Counts, String> {
    let mut base = 0.0;
    let told = |path: &Path, way: &str, count: f64| {
        if way == path.ways[0] {
            println!("{}", path.title);
            base = count;
        }
        match path.ways[0] {
            "bare" => println!("  {way:16} {count:8.0}  {:6.2}x", count / base),
            _ => println!("  {way:16} {count:8.0}"),
        }
    };
    println!("instructions a turn, on one thread ({} paths)", PATHS.len());
    let mut counts = callgrind::count_all(told).map_err(|error| error.to_string())?;
    counts.rustc = rustc()?;
    Ok(counts)
}

/// Returns the compiler's version: `rustc 1.85.0 (4d91de4e4 2025-02-17)`.
fn rustc() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let output = output.map_err(|error| format!("rustc --version: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
