//! docs/http.md: its generated parts, each between two comments, and what it says of the machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Puts `text` in the place of a part.
///
/// # Errors
///
/// The page cannot be read or written, or has no such part.
pub fn write(part: &str, text: &str) -> io::Result<()> {
    let page = root().join("docs/http.md");
    let old = fs::read_to_string(&page)?;
    let new = replace(&old, part, text)
        .ok_or_else(|| io::Error::other(format!("{} has no part {part}", page.display())))?;
    fs::write(page, new)
}

fn replace(page: &str, part: &str, text: &str) -> Option<String> {
    let begin = format!("<!-- generated: {part} -->\n");
    let from = page.find(&begin)? + begin.len();
    let to = from + page[from..].find("<!-- end -->")?;
    Some(format!("{}\n{}\n\n{}", &page[..from], text.trim(), &page[to..]))
}

/// The system, the cores, the compiler and the crates that the servers are made of.
pub fn versions() -> String {
    let mut all = Vec::new();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split('.');
    if let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) {
        all.push(format!("Linux {major}.{minor}"));
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    all.push(format!("{cores} cores"));
    if let Some(version) = first(Command::new("rustc").arg("--version"), |text| word(text, 1)) {
        all.push(format!("rustc {version}"));
    }
    let ours = ["tokio", "async-executor", "async-io", "hyper", "axum", "hyper-util"];
    all.extend(locked(&root().join("Cargo.lock"), &ours));
    all.join(", ")
}

/// The versions of trillium's crates.
pub fn trillium() -> String {
    let lock = root().join("tests/http/peers/trillium/Cargo.lock");
    locked(&lock, &["trillium", "trillium-http", "swansong"]).join(", ")
}

/// Go's version: that of the compiler.
pub fn go() -> Option<String> {
    first(Command::new("go").arg("version"), |text| Some(word(text, 2)?.replacen("go", "Go ", 1)))
}

/// nginx's version.
pub fn nginx() -> Option<String> {
    first(Command::new("nginx").arg("-v"), |text| Some(word(text, 2)?.replace('/', " ")))
}

fn word(text: &str, number: usize) -> Option<String> {
    text.split_whitespace().nth(number).map(str::to_owned)
}

fn first(command: &mut Command, find: impl FnOnce(&str) -> Option<String>) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    // nginx writes it to standard error.
    find(&(String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr)))
}

/// `NAME VERSION` of each of these crates that a Cargo.lock has.
fn locked(lock: &Path, names: &[&str]) -> Vec<String> {
    let lock = fs::read_to_string(lock).unwrap_or_default();
    let version = |name: &&str| {
        let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(format!("{name} {}", rest.split_once('"')?.0))
    };
    names.iter().filter_map(version).collect()
}

/// A count as a reader wants it: `12,345`.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{replace, thousands};

    #[test]
    fn only_the_named_part_is_replaced_and_twice_is_the_same() {
        let page = "a\n<!-- generated: one -->\nold\n<!-- end -->\nb\n\
                    <!-- generated: two -->\nkept\n<!-- end -->\n";
        let once = replace(page, "one", "new\n").expect("it has that part");
        assert!(once.contains("\nnew\n") && once.contains("kept") && !once.contains("old"));
        assert_eq!(replace(&once, "one", "new"), Some(once.clone()));
        assert_eq!(replace(page, "three", "x"), None);
    }

    #[test]
    fn thousands_are_told_apart() {
        let counts = [0, 7, 999, 1_000, 12_345, 1_234_567];
        let texts = ["0", "7", "999", "1,000", "12,345", "1,234,567"];
        assert_eq!(counts.map(thousands), texts);
    }
}
