//! Measures everything and prints it; with `--write`, renews docs/performance.md's figures too.
//!
//! `cargo bench -p adjourn-benches -- [--write] [--quick] [PART..]`. Without a part, all but `build`,
//! which compiles the dependencies again and again.

#![allow(clippy::print_stdout)] // a program: its figures are what it is for

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use adjourn_benches::alloc::Counting;
use adjourn_benches::host::Config;
use adjourn_benches::page::Page;
use adjourn_benches::plot::{Chart, Line};
use adjourn_benches::rows::effort::Effort;
use adjourn_benches::rows::tasks::Growth;
use adjourn_benches::rows::{
    aiorun, build, contention, in_child, instructions, machine, memory, process, scopes, tasks,
    trees,
};
use adjourn_benches::way::{FREE, TYPED, UNTYPED};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PARTS: [&str; 9] = [
    "instructions",
    "tasks",
    "scopes",
    "trees",
    "memory",
    "contention",
    "programs",
    "aiorun",
    "build",
];

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
    let mut page = Page::default();
    if parts.is_empty() {
        page.add("machine", machine::describe());
    }
    let chosen =
        |part: &&str| if parts.is_empty() { *part != "build" } else { parts.contains(part) };
    for part in PARTS.into_iter().filter(chosen) {
        let start = Instant::now();
        add(&mut page, part, effort)?;
        println!("({part} took {:.0} s)", start.elapsed().as_secs_f64());
        if write {
            page.write()?; // now: should a later part fail, this one is kept
        }
    }
    Ok(())
}

fn add(page: &mut Page, part: &str, effort: Effort) -> io::Result<()> {
    match part {
        "instructions" => page.add(part, instructions::all()?),
        "tasks" => {
            for config in Config::ALL {
                let measured = tasks::on(config, effort);
                let (warm, cold) = (measured.warm.to_markdown(), measured.cold.to_markdown());
                page.add(config.name(), format!("{warm}\n{cold}"));
                if config == Config::TokioCurrentThread {
                    page.plot("cancel", cancelling(measured.cancel).to_svg());
                }
            }
        }
        "scopes" => {
            let (tables, chart) = scopes::all(effort);
            page.add(part, tables);
            page.plot("scopes", chart.to_svg());
        }
        "trees" => {
            let (table, chart) = trees::all(effort);
            page.add(part, table);
            page.plot("chains", chart.to_svg());
        }
        "memory" => {
            let (table, chart) = memory::all(effort);
            page.add(part, table);
            page.plot("memory", chart.to_svg());
        }
        "contention" => page.add(part, contention::all(effort)),
        "programs" => page.add(part, process::all(effort)),
        "aiorun" => page.add(part, aiorun::all(effort)),
        "build" => page.add(part, build::all()?),
        _ => unreachable!("the parts are known"),
    }
    Ok(())
}

/// Ours first, so that it is drawn stronger.
fn cancelling(mut ways: Growth) -> Chart {
    ways.retain(|(way, _)| ![TYPED, UNTYPED].contains(way));
    ways.sort_by_key(|(way, _)| *way != FREE);
    let line = |(name, points): (&str, _)| Line { name: name.to_owned(), points };
    Chart {
        title: "Cancel parked tasks until all are joined, Tokio current-thread".to_owned(),
        across: "tasks".to_owned(),
        up: "ns a task".to_owned(),
        lines: ways.into_iter().map(line).collect(),
    }
}
