//! Restarts under load, side by side: `restarts [--restarts 20] [--field] [--only NAME]`.
//!
//! One line a server, way and kind of client: what failed of all that was asked. It ends with code 1 where
//! one of ours is over its budget: nothing for a listener that is inherited or handed over.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use adjourn_http_tests::load::{KINDS, Kind, Load};
use adjourn_http_tests::restart::{Manager, WAYS, Way};

/// Clients at once, as in each figure of docs/http.md.
const CLIENTS: usize = 32;

struct Options {
    restarts: u32,
    field: bool,
    only: Option<String>,
}

fn options() -> Option<Options> {
    let mut options = Options { restarts: 20, field: false, only: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--restarts" => options.restarts = arguments.next()?.parse().ok()?,
            "--field" => options.field = true,
            "--only" => options.only = Some(arguments.next()?),
            _ => return None,
        }
    }
    Some(options)
}

/// Returns how much failed, of how much.
fn run(program: &Path, name: &'static str, way: Way, kind: Kind, restarts: u32) -> (u64, u64) {
    let mut manager = Manager::start(program, name, way);
    let load = Load::start(manager.address, &[(kind, CLIENTS)]);
    for _ in 0..restarts {
        thread::sleep(Duration::from_millis(100));
        manager.restart();
    }
    let tally = load.stop();
    manager.stop();
    let (failed, asked) = tally.of(kind);
    let beyond = match kind {
        Kind::Http2 => format!(", {} beyond GOAWAY", tally.beyond),
        _ => String::new(),
    };
    let how: Vec<_> =
        tally.failed.iter().map(|((_, how), count)| format!("{count} {how}")).collect();
    println!("| {name} | {way:?} | {kind:?} | {failed} of {asked}{beyond} | {} |", how.join(", "));
    (failed, asked)
}

pub(crate) fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("restarts [--restarts NUMBER] [--field] [--only NAME]");
        return ExitCode::from(2);
    };
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let own = std::env::current_exe().expect("this program has a path");
    let beside = |name: &str| -> PathBuf { own.with_file_name(name) };
    println!("| server | listener | clients | failed | how |\n|---|---|---|---|---|");
    let start = Instant::now();
    let mut over = false;
    for name in ["tokio", "smol"].into_iter().filter(|name| wanted(name)) {
        for way in WAYS {
            for kind in KINDS {
                let (failed, asked) = run(&beside("served"), name, way, kind, options.restarts);
                // A queue that is reset is no fault of the server's: 0.5 % at most.
                let budget = if way == Way::SharedPort { asked / 200 } else { 0 };
                over |= failed > budget;
            }
        }
    }
    if options.field {
        for name in ["axum", "hyper-util", "none"].into_iter().filter(|name| wanted(name)) {
            for kind in KINDS {
                run(&beside("field"), name, Way::InheritedNewFirst, kind, options.restarts);
            }
        }
    }
    println!("\n{} restarts a row, {CLIENTS} clients, {:.0?}", options.restarts, start.elapsed());
    ExitCode::from(u8::from(over))
}
