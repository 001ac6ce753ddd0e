//! Restarts under load, side by side: `restarts [--restarts 20] [--field] [--only NAME] [--write]`.
//!
//! One row a server and way, one figure a kind of client: what failed of all that was asked. A figure that
//! cannot be had does not end the run; it says why. It ends with code 1 where one of ours is over its
//! budget: nothing for a listener that is inherited or handed over, or whose queue the system hands on.
//! `--field` measures the others too, `--write` renews the table of docs/http.md.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use adjourn_http_tests::load::{KINDS, Kind, Load};
use adjourn_http_tests::nginx::Nginx;
use adjourn_http_tests::page::{self, thousands};
use adjourn_http_tests::restart::{Manager, Restarts, WAYS, Way};

/// Clients at once, in each figure.
const CLIENTS: usize = 32;
/// How long another server may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

struct Options {
    restarts: u32,
    field: bool,
    only: Option<String>,
    write: bool,
}

fn options() -> Option<Options> {
    let mut options = Options { restarts: 20, field: false, only: None, write: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--restarts" => options.restarts = arguments.next()?.parse().ok()?,
            "--field" => options.field = true,
            "--only" => options.only = Some(arguments.next()?),
            "--write" => options.write = true,
            _ => return None,
        }
    }
    Some(options)
}

/// A server and the way in which it is restarted.
struct Row {
    /// How it is asked for, and what the program is told.
    name: &'static str,
    server: &'static str,
    listener: &'static str,
    what: What,
    /// Whether it is ours, which has a budget.
    ours: bool,
    kinds: &'static [Kind],
}

enum What {
    Program(PathBuf, Way),
    /// A port that is shared, in a network in which the system hands a closed queue on.
    Migrated(PathBuf),
    Nginx,
}

/// One figure, or why there is none.
type Figure = Result<Counts, String>;

struct Counts {
    failed: u64,
    asked: u64,
    beyond: u64,
    killed: u32,
    /// What the clients saw, and how often.
    how: String,
}

fn rows(own: &Path, field: bool, left_out: &mut Vec<String>) -> Vec<Row> {
    let served = own.with_file_name("served");
    let mut rows = Vec::new();
    for (name, server) in [("tokio", "ours on Tokio"), ("smol", "ours on smol")] {
        let row = |listener, what| Row { name, server, listener, what, ours: true, kinds: &KINDS };
        for way in WAYS {
            let listener = match way {
                Way::InheritedNewFirst => "inherited, new first",
                Way::InheritedOldFirst => "inherited, old first",
                Way::Handover => "handed over",
                Way::SharedPort => "shared port",
            };
            rows.push(row(listener, What::Program(served.clone(), way)));
        }
        if field {
            rows.push(row("shared port, `tcp_migrate_req`", What::Migrated(served.clone())));
        }
    }
    if !field {
        return rows;
    }
    let mut other = |name, server, program: PathBuf, kinds, why: &str| {
        if !program.exists() {
            left_out.push(format!("{server} ({why})"));
            return;
        }
        let what = What::Program(program, Way::InheritedNewFirst);
        rows.push(Row { name, server, listener: "inherited, new first", what, ours: false, kinds });
    };
    let field = || own.with_file_name("field");
    let unbuilt = "not built";
    let trillium = || {
        let target = own.parent().and_then(Path::parent).unwrap_or(Path::new("."));
        target.join("peers/release/trillium-served")
    };
    other("axum", "`axum::serve`, graceful shutdown", field(), &KINDS, unbuilt);
    other("hyper-util", "hyper-util's `GracefulShutdown`", field(), &KINDS, unbuilt);
    other("trillium-tokio", "trillium on Tokio", trillium(), &KINDS, unbuilt);
    other("trillium-smol", "trillium on smol", trillium(), &KINDS, unbuilt);
    let go = own.with_file_name("served-go");
    // Its HTTP/2 is by TLS alone.
    other("go", "Go's `Server.Shutdown`", go, &KINDS[..3], "Go is not installed");
    if page::nginx().is_some() {
        rows.push(Row {
            name: "nginx",
            server: "nginx",
            listener: "its own, reload",
            what: What::Nginx,
            ours: false,
            kinds: &KINDS,
        });
    } else {
        left_out.push("nginx (not installed)".to_owned());
    }
    let what = What::Program(field(), Way::InheritedNewFirst);
    let (server, listener) = ("no handling", "inherited, new first");
    rows.push(Row { name: "none", server, listener, what, ours: false, kinds: &KINDS });
    rows
}

/// Restarts a server under load.
fn restart(server: &mut dyn Restarts, kind: Kind, restarts: u32) -> Counts {
    let load = Load::start(server.address(), &[(kind, CLIENTS)]);
    for _ in 0..restarts {
        thread::sleep(Duration::from_millis(100));
        server.restart();
    }
    let tally = load.stop();
    server.stop();
    let how: Vec<_> =
        tally.failed.iter().map(|((_, how), count)| format!("{count} {how}")).collect();
    let (failed, asked) = tally.of(kind);
    let (beyond, killed, how) = (tally.beyond, server.killed(), how.join(", "));
    Counts { failed, asked, beyond, killed, how }
}

fn figure(row: &Row, kind: Kind, restarts: u32) -> Figure {
    let manager = |program: &Path, way| {
        let mut manager = Manager::start(program, row.name, way);
        manager.patience = Some(PATIENCE).filter(|_| !row.ours);
        manager
    };
    let measure = || match &row.what {
        What::Program(program, way) => Ok(restart(&mut manager(program, *way), kind, restarts)),
        What::Migrated(program) => {
            migrated(|| restart(&mut manager(program, Way::SharedPort), kind, restarts))
        }
        What::Nginx => {
            let mut nginx = Nginx::start(kind == Kind::Http2, PATIENCE)?;
            Ok(restart(&mut nginx, kind, restarts))
        }
    };
    match panic::catch_unwind(AssertUnwindSafe(measure)) {
        Ok(counts) => counts.map_err(|error: io::Error| error.to_string()),
        // What the panic says is on standard error.
        Err(_) => Err("failed".to_owned()),
    }
}

#[cfg(target_os = "linux")]
fn migrated(run: impl FnOnce() -> Counts + Send) -> io::Result<Counts> {
    adjourn_http_tests::network::with_migration(run)
}

#[cfg(not(target_os = "linux"))]
fn migrated(_: impl FnOnce() -> Counts + Send) -> io::Result<Counts> {
    Err(io::Error::other("the system does not hand queues on"))
}

fn is_over(row: &Row, figure: &Figure) -> bool {
    match (figure, &row.what) {
        _ if !row.ours => false,
        // A queue that is reset is no fault of the server's: 0.5 % at most.
        (Ok(counts), What::Program(_, Way::SharedPort)) => counts.failed > counts.asked / 200,
        (Ok(counts), _) => counts.failed > 0,
        // The right to make a network is none of the server's.
        (Err(_), What::Migrated(_)) => false,
        (Err(_), _) => true,
    }
}

/// A figure as the page has it.
fn text(kind: Kind, figure: Option<&Figure>) -> String {
    let counts = match figure {
        None => return "-".to_owned(),
        Some(Err(why)) => return why.replace('|', "/"),
        Some(Ok(counts)) => counts,
    };
    let mut text = format!("{} of {}", thousands(counts.failed), thousands(counts.asked));
    if kind == Kind::Http2 {
        text += &format!(" ({})", thousands(counts.beyond));
    }
    if counts.killed > 0 {
        text += &format!(", {} killed", counts.killed);
    }
    text
}

fn head(options: &Options, left_out: &[String], measured: &BTreeSet<&str>) -> String {
    let mut head = format!(
        "{} restarts a figure, {CLIENTS} clients at a time. {}",
        options.restarts,
        page::versions()
    );
    let mut add = |name: &str, version: Option<String>| {
        if let Some(version) = version.filter(|_| measured.iter().any(|own| own.starts_with(name)))
        {
            head += &format!(", {version}");
        }
    };
    add("trillium", Some(page::trillium()));
    add("go", page::go());
    add("nginx", page::nginx());
    head.push('.');
    if !left_out.is_empty() {
        head += &format!(" Left out: {}.", left_out.join(", "));
    }
    head + "\n\n"
}

/// Prints a part of a line at once: a run takes minutes.
fn print(text: &str) {
    print!("{text}");
    _ = io::stdout().flush();
}

pub(crate) fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("restarts [--restarts NUMBER] [--field] [--only NAME] [--write]");
        return ExitCode::from(2);
    };
    let own = std::env::current_exe().expect("this program has a path");
    let mut left_out = Vec::new();
    let mut rows = rows(&own, options.field, &mut left_out);
    rows.retain(|row| options.only.as_deref().is_none_or(|only| only == row.name));
    let start = Instant::now();
    let mut over = Vec::new();
    let head = head(&options, &left_out, &rows.iter().map(|row| row.name).collect());
    let mut table =
        "| server | listener | back to back | with pauses | one request a connection | HTTP/2 \
                     (beyond GOAWAY) |\n|---|---|---|---|---|---|\n"
            .to_owned();
    print(&format!("{head}{table}"));
    for row in &rows {
        let begin = format!("| {} | {} |", row.server, row.listener);
        print(&begin);
        table += &begin;
        let mut seen = Vec::new();
        for kind in KINDS {
            let is_known = row.kinds.contains(&kind);
            let figure = is_known.then(|| figure(row, kind, options.restarts));
            let cell = format!(" {} |", text(kind, figure.as_ref()));
            if figure.as_ref().is_some_and(|figure| is_over(row, figure)) {
                over.push(format!("{}, {}, {kind:?}:{cell}", row.server, row.listener));
            }
            if let Some(Ok(counts)) = figure {
                seen.extend(
                    Some(format!("{kind:?}: {}", counts.how)).filter(|_| counts.failed > 0),
                );
            }
            print(&cell);
            table += &cell;
        }
        print("\n");
        if !seen.is_empty() {
            eprintln!("    {}", seen.join("; "));
        }
        table.push('\n');
    }
    eprintln!("{:.0?}", start.elapsed());
    for what in &over {
        eprintln!("over budget: {what}");
    }
    if options.write {
        if let Err(error) = page::write("restarts", &format!("{head}{table}")) {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    }
    ExitCode::from(u8::from(!over.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::{Counts, Figure, KINDS, Kind, PathBuf, Row, Way, What, is_over, text};

    fn lost(failed: u64, asked: u64) -> Figure {
        Ok(Counts { failed, asked, beyond: 1_234, killed: 0, how: String::new() })
    }

    fn row(what: What, ours: bool) -> Row {
        Row { name: "", server: "", listener: "", what, ours, kinds: &KINDS }
    }

    #[test]
    fn a_single_request_is_too_many_but_on_a_shared_port() {
        let program = |way| What::Program(PathBuf::new(), way);
        for way in [Way::InheritedNewFirst, Way::InheritedOldFirst, Way::Handover] {
            assert!(is_over(&row(program(way), true), &lost(1, 100_000)), "{way:?}");
            assert!(!is_over(&row(program(way), true), &lost(0, 1)), "{way:?}");
        }
        let shared = row(program(Way::SharedPort), true);
        assert!(!is_over(&shared, &lost(5, 1_000)));
        assert!(is_over(&shared, &lost(6, 1_000)));
        let migrated = row(What::Migrated(PathBuf::new()), true);
        assert!(is_over(&migrated, &lost(1, 1_000)));
    }

    #[test]
    fn what_did_not_run_is_over_unless_the_system_forbids_it() {
        let program = || What::Program(PathBuf::new(), Way::Handover);
        assert!(is_over(&row(program(), true), &Err("failed".to_owned())));
        assert!(!is_over(&row(What::Migrated(PathBuf::new()), true), &Err("forbidden".to_owned())));
        assert!(!is_over(&row(program(), false), &Err("failed".to_owned())));
        assert!(!is_over(&row(program(), false), &lost(9, 10)));
    }

    #[test]
    fn a_figure_is_readable() {
        assert_eq!(text(Kind::OneEach, Some(&lost(0, 1_000))), "0 of 1,000");
        assert_eq!(text(Kind::Http2, Some(&lost(3, 20))), "3 of 20 (1,234)");
        let killed = lost(3, 20).map(|counts| Counts { killed: 2, ..counts });
        assert_eq!(text(Kind::Pauses, Some(&killed)), "3 of 20, 2 killed");
        assert_eq!(text(Kind::Pauses, None), "-");
        assert_eq!(text(Kind::Pauses, Some(&Err("no | room".to_owned()))), "no / room");
    }
}
