//! Measures everything and prints it; with `--write`, renews docs/performance.md's figures too.
//!
//! `cargo bench -p adjourn-benches -- [--write] [--quick] [PART..]`. Without a part, all but `build`,
//! which compiles the dependencies again and again.

#![allow(clippy::print_stdout)] // a program: its figures are what it is for

use std::io;
use std::process::ExitCode;

use adjourn_benches::alloc::Counting;
use adjourn_benches::host::Config;
use adjourn_benches::page::Page;
use adjourn_benches::plot::{Chart, Line};
use adjourn_benches::rows::effort::Effort;
use adjourn_benches::rows::{
    aiorun, build, contention, in_child, instructions, machine, memory, process, tasks, trees,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PARTS: [&str; 8] =
    ["instructions", "tasks", "trees", "memory", "contention", "programs", "aiorun", "build"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("--child", rest)) = args.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        in_child::run(rest);
        return ExitCode::SUCCESS;
    }
    let (options, parts): (Vec<&str>, Vec<&str>) =
        args.iter().map(String::as_str).partition(|arg| arg.starts_with("--"));
    // Cargo passes `--bench` itself.
    let known = ["--write", "--quick", "--bench"];
    if !options.iter().all(|arg| known.contains(arg))
        || !parts.iter().all(|arg| PARTS.contains(arg))
    {
        println!("usage: [--write] [--quick] [PART..], of {}", PARTS.join(", "));
        return ExitCode::FAILURE;
    }
    let effort = if options.contains(&"--quick") { Effort::Quick } else { Effort::Full };
    match measure(effort, &parts, options.contains(&"--write")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(effort: Effort, parts: &[&str], write: bool) -> io::Result<()> {
    let wanted =
        |part: &str| if parts.is_empty() { part != "build" } else { parts.contains(&part) };
    let mut page = Page::default();
    if parts.is_empty() {
        page.add("machine", machine::describe());
    }
    if wanted("instructions") {
        page.add("instructions", instructions::all()?);
    }
    if wanted("tasks") {
        for config in Config::ALL {
            let measured = tasks::on(config, effort);
            page.add(config.name(), measured.table.to_markdown());
            if config == Config::TokioCurrentThread {
                page.plot("cancel", cancelling(measured.cancel).to_svg());
            }
        }
    }
    if wanted("trees") {
        let (table, chart) = trees::all(effort);
        page.add("trees", table);
        page.plot("chains", chart.to_svg());
    }
    if wanted("memory") {
        let (table, chart) = memory::all(effort);
        page.add("memory", table);
        page.plot("memory", chart.to_svg());
    }
    if wanted("contention") {
        page.add("contention", contention::all(effort));
    }
    if wanted("programs") {
        page.add("programs", process::all(effort));
    }
    if wanted("aiorun") {
        page.add("aiorun", aiorun::all(effort));
    }
    if wanted("build") {
        page.add("build", build::all()?);
    }
    if write { page.write() } else { Ok(()) }
}

/// Ours first, so that it is drawn stronger.
fn cancelling(mut ways: Vec<(&'static str, Vec<(f64, f64)>)>) -> Chart {
    ways.retain(|(way, _)| *way != "Adjourn, erased");
    ways.sort_by_key(|(way, _)| *way != "Adjourn");
    let line = |(name, points): (&str, _)| Line { name: name.to_owned(), points };
    Chart {
        title: "Cancel parked tasks until all are joined, Tokio current-thread".to_owned(),
        across: "tasks".to_owned(),
        up: "ns a task".to_owned(),
        lines: ways.into_iter().map(line).collect(),
    }
}
