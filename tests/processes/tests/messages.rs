//! What a beginner's mistakes are answered with: the compiler's words and ours say what is wrong and the way
//! out. Each program in `messages/` makes one mistake. Its first lines are what has to be said: `//~` by the
//! compiler, `//>` on standard error by the program.
//!
//! Only such lines are compared, not all that the compiler says, since that changes from one to the next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

/// The one program that is compiled without Tokio.
const NO_BACKEND: &str = "no_backend";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("it is there")
}

fn cargo() -> Command {
    Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
}

/// The programs and their sources, each by its name.
fn programs() -> BTreeMap<String, String> {
    let files = fs::read_dir(root().join("tests/processes/messages")).expect("it is there");
    let program = |file: std::io::Result<fs::DirEntry>| {
        let path = file.expect("it is there").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("it is text");
        (name.to_owned(), fs::read_to_string(&path).expect("it is text"))
    };
    files.map(program).collect()
}

/// Builds programs as a user's package, by the workspace's lock file, and returns what the compiler said of
/// each, and where those are that it built.
fn build<'a>(
    features: &str,
    programs: impl Iterator<Item = (&'a String, &'a String)>,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let package = root().join("target/messages").join(features);
    let sources = package.join("src/bin");
    _ = fs::remove_dir_all(&sources);
    fs::create_dir_all(&sources).expect("a folder");
    for (name, source) in programs {
        fs::write(sources.join(name).with_extension("rs"), source).expect("it is written");
    }
    let facade = root().join("crates/adjourn");
    let manifest = format!(
        r#"[package]
name = "messages-{features}"
edition = "2024"

[dependencies]
adjourn = {{ path = {facade:?}, default-features = false, features = ["{features}"] }}
tokio = {{ version = "1", features = ["macros", "rt-multi-thread", "time"] }}

[workspace]
"#
    );
    fs::write(package.join("Cargo.toml"), manifest).expect("it is written");
    fs::copy(root().join("Cargo.lock"), package.join("Cargo.lock")).expect("it is copied");
    let output = cargo()
        .args(["build", "--offline", "--keep-going", "--bins", "--message-format=json"])
        .current_dir(&package)
        .env("CARGO_TARGET_DIR", root().join("target/messages/build"))
        .output()
        .expect("cargo runs");
    let (mut said, mut built) = (BTreeMap::<String, String>::new(), BTreeMap::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line).expect("cargo prints JSON");
        let name = message["target"]["name"].as_str().unwrap_or_default().to_owned();
        if let Some(text) = message["message"]["rendered"].as_str() {
            said.entry(name.clone()).or_default().push_str(text);
        }
        if let Some(path) = message["executable"].as_str() {
            built.insert(name, path.to_owned());
        }
    }
    assert!(!said.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (said, built)
}

#[test]
#[ignore = "builds a package of its own: ci/messages.sh runs it"]
fn each_mistake_is_answered_with_the_way_out() {
    let programs = programs();
    let (mut said, built) = build("tokio", programs.iter().filter(|(name, _)| *name != NO_BACKEND));
    said.extend(build("smol", programs.iter().filter(|(name, _)| *name == NO_BACKEND)).0);
    let mut wrong = Vec::new();
    for (name, source) in &programs {
        let mut expected = 0;
        let by_compiler = said.get(name).map_or("", String::as_str);
        for (mark, by_program) in [("//~ ", false), ("//> ", true)] {
            let lines =
                source.lines().filter_map(|line| line.strip_prefix(mark)).collect::<Vec<_>>();
            expected += lines.len();
            let text = match built.get(name) {
                _ if lines.is_empty() => continue,
                Some(path) if by_program => {
                    let output =
                        Command::new(path).env("RUST_BACKTRACE", "0").output().expect("it runs");
                    assert!(!output.status.success(), "{name} ends as if nothing were wrong");
                    String::from_utf8_lossy(&output.stderr).into_owned()
                }
                None if by_program => format!("it was not built\n{by_compiler}"),
                _ => by_compiler.to_owned(),
            };
            for line in lines.iter().filter(|line| !text.contains(**line)) {
                wrong.push(format!("{name}: nobody says {line:?}, but\n{text}"));
            }
        }
        assert!(expected > 0, "{name} expects nothing");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    println!("{} mistakes are answered", programs.len());
}
