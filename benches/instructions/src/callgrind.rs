//! Counts a path's instructions under valgrind's callgrind.

use std::io;
use std::process::{Command, Stdio};

use crate::counts::Counts;
use crate::paths::{PATHS, Path};

/// Returns whether valgrind can be run here.
pub fn is_there() -> bool {
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    valgrind.status().is_ok_and(|status| status.success())
}

/// Counts every path in every way; `told` hears of each as it is counted.
///
/// # Errors
///
/// When a process cannot be started, fails, or leaves no counts.
pub fn count_all(mut told: impl FnMut(&Path, &str, f64)) -> io::Result<Counts> {
    let mut counts = Counts::default();
    for path in PATHS {
        for way in path.ways {
            let whole = count(path, way)?;
            let part = path.less.map_or(0.0, |part| counts.count(part, way).unwrap_or(0.0));
            told(path, way, whole - part);
            counts.insert(path.name, way, whole - part);
        }
    }
    Ok(counts)
}

/// Returns the instructions of one turn: the difference between two sizes of run, so that the
/// process's start and end cancel out.
fn count(path: &Path, way: &str) -> io::Result<f64> {
    let (small, large) = path.sizes;
    let (less, more) = std::thread::scope(|scope| {
        let less = scope.spawn(|| process(path.name, way, small));
        let more = process(path.name, way, large);
        (less.join().expect("it returns its errors"), more)
    });
    Ok((more? as f64 - less? as f64) / (large - small) as f64)
}

/// glibc's allocator keeps small memory that is freed for each thread, and does not join it. As it comes,
/// whether a free joins all that lies about depends on where the heap ends: the same code took up to 12 %
/// more or less, by what some other part of the program had allocated.
const ALLOCATOR: &str = "glibc.malloc.tcache_count=127:glibc.malloc.mxfast=0";

/// Returns the instructions of a process of its own that runs the path so many times.
fn process(path: &str, way: &str, times: usize) -> io::Result<u64> {
    let out = std::env::temp_dir().join(format!("callgrind.{}.{times}", std::process::id()));
    let run = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args([path, way, &times.to_string()])
        .env("GLIBC_TUNABLES", ALLOCATOR)
        .output()?;
    let text = std::fs::read_to_string(&out);
    _ = std::fs::remove_file(&out);
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        return Err(io::Error::other(format!("{path} ({way}) failed under valgrind: {said}")));
    }
    let total = text?.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    total.ok_or_else(|| io::Error::other("callgrind's file has no line with the totals"))
}
