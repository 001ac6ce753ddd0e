//! What it costs to build: crates, seconds from nothing, and the size of the program.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::table::plain;

/// A program, built alone.
struct Program {
    name: &'static str,
    /// The program that it is compared with: the executor alone.
    beside: Option<&'static str>,
    dependencies: &'static str,
    main: &'static str,
}

const TOKIO: &str = "tokio = { version = \"1\", features = [\"rt-multi-thread\", \"time\"] }";
const TOKIO_SIGNAL: &str = "tokio = { version = \"1\", features = [\"macros\", \"rt-multi-thread\", \"signal\", \"time\"] }";

/// `{crates}` and `{tokio}` stand for the folder of Adjourn's crates and the lines above.
const PROGRAMS: &[Program] = &[
    Program {
        name: "adjourn-core alone",
        beside: None,
        dependencies: "adjourn-core = { path = \"{crates}/adjourn-core\" }",
        main: "fn main() { println!(\"{}\", adjourn_core::is_ready()); }",
    },
    Program {
        name: "Tokio alone",
        beside: None,
        dependencies: "{tokio}",
        main: "fn main() { tokio::runtime::Runtime::new().unwrap().block_on(async {}) }",
    },
    Program {
        name: "Adjourn on Tokio",
        beside: Some("Tokio alone"),
        dependencies: "adjourn = { path = \"{crates}/adjourn\" }",
        main: "fn main() -> adjourn::Exit { adjourn::run(async {}) }",
    },
    Program {
        name: "Tokio's signals, TaskTracker, CancellationToken",
        beside: Some("Tokio alone"),
        dependencies: "{signal}\ntokio-util = { version = \"0.7\", features = [\"rt\"] }",
        main: "#[tokio::main] async fn main() {
    use tokio::signal::unix::{SignalKind, signal};
    let (tracker, token) = (tokio_util::task::TaskTracker::new(), tokio_util::sync::CancellationToken::new());
    let own = token.clone();
    tracker.spawn(async move { own.run_until_cancelled(async {}).await });
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    tracker.close();
    tokio::select! { _ = terminate.recv() => token.cancel(), () = tracker.wait() => {} }
    _ = tokio::time::timeout(std::time::Duration::from_secs(25), tracker.wait()).await;
}",
    },
    Program {
        name: "tokio-graceful",
        beside: Some("Tokio alone"),
        dependencies: "{signal}\ntokio-graceful = \"0.2.2\"",
        main: "#[tokio::main] async fn main() {
    let shutdown = tokio_graceful::Shutdown::default();
    shutdown.spawn_task(async {});
    _ = shutdown.shutdown_with_limit(std::time::Duration::from_secs(25)).await;
}",
    },
    Program {
        name: "tokio-graceful-shutdown",
        beside: Some("Tokio alone"),
        dependencies: "{signal}\ntokio-graceful-shutdown = \"0.20\"",
        main: "use tokio_graceful_shutdown::{SubsystemBuilder, SubsystemHandle, Toplevel};
async fn task(_: &mut SubsystemHandle) -> Result<(), std::convert::Infallible> { Ok(()) }
#[tokio::main] async fn main() {
    let top = Toplevel::new(async |top: &mut SubsystemHandle| {
        top.start(SubsystemBuilder::new(\"task\", task));
    });
    let limit = std::time::Duration::from_secs(25);
    _ = top.catch_signals().handle_shutdown_requests(limit).await.is_ok();
}",
    },
    Program {
        name: "async-executor and async-io alone",
        beside: None,
        dependencies: "async-executor = \"1.13\"\nasync-io = \"2.4\"",
        main: "fn main() {
    let executor = async_executor::Executor::new();
    async_io::block_on(executor.run(async {}))
}",
    },
    Program {
        name: "Adjourn on smol",
        beside: Some("async-executor and async-io alone"),
        dependencies: "adjourn = { path = \"{crates}/adjourn\", default-features = false, \
                       features = [\"smol\"] }",
        main: "fn main() -> adjourn::Exit { adjourn::smol::run(async {}) }",
    },
    Program {
        name: "async-std alone",
        beside: None,
        dependencies: "async-std = \"1.13\"",
        main: "fn main() { async_std::task::block_on(async {}) }",
    },
    Program {
        name: "Adjourn on async-std",
        beside: Some("async-std alone"),
        dependencies: "adjourn = { path = \"{crates}/adjourn\", default-features = false, \
                       features = [\"async-std\"] }",
        main: "fn main() -> adjourn::Exit { adjourn::async_std::run(async {}) }",
    },
];

/// Builds each program from nothing, in release and stripped, and returns the table.
///
/// # Errors
///
/// When a folder cannot be written or a program does not build.
pub fn all() -> io::Result<String> {
    let head = ["program", "crates compiled", "seconds", "bytes, stripped", "beside the executor"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    let mut sizes: Vec<(&str, usize, u64)> = Vec::new();
    let root = std::env::temp_dir().join(format!("adjourn-build-{}", std::process::id()));
    for program in PROGRAMS {
        let (crates, seconds, bytes) = build(program, &root)?;
        let beside = sizes.iter().find(|(name, ..)| Some(*name) == program.beside);
        let more = beside.map_or_else(String::new, |(_, of, size)| {
            format!(
                "{:+} crates, {:+.0} kB",
                crates as i64 - *of as i64,
                (bytes as f64 - *size as f64) / 1e3
            )
        });
        sizes.push((program.name, crates, bytes));
        let name = program.name.to_owned();
        lines.push(vec![
            name,
            crates.to_string(),
            format!("{seconds:.1}"),
            bytes.to_string(),
            more,
        ]);
    }
    fs::remove_dir_all(&root)?;
    Ok(plain(&lines))
}

/// Returns the crates that were compiled, the program's own left out, the seconds and the size.
fn build(program: &Program, root: &Path) -> io::Result<(usize, f64, u64)> {
    let bench = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("program");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("src"))?;
    let dependencies = program
        .dependencies
        .replace("{crates}", &bench.join("../crates").display().to_string())
        .replace("{tokio}", TOKIO)
        .replace("{signal}", TOKIO_SIGNAL);
    let manifest = format!(
        "[package]\nname = \"program\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\n{dependencies}\n\n[profile.release]\nstrip = true\n\n[workspace]\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest)?;
    fs::write(folder.join("src/main.rs"), program.main)?;
    // The same versions as here.
    fs::copy(bench.join("../Cargo.lock"), folder.join("Cargo.lock"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let start = Instant::now();
    let output = Command::new(cargo)
        .args(["build", "--release"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .output()?;
    let seconds = start.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(io::Error::other(format!("{} does not build: {said}", program.name)));
    }
    let crates = said.lines().filter(|line| line.trim_start().starts_with("Compiling ")).count();
    let bytes = fs::metadata(folder.join("target/release/program"))?.len();
    Ok((crates - 1, seconds, bytes))
}
