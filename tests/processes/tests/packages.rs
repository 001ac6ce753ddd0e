//! What each published crate says of itself, over `cargo metadata`: a new crate is looked at without a line
//! here. `ci/package.sh` builds the packages.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What docs.rs builds each crate for: the systems with code of their own.
const TARGETS: [&str; 3] =
    ["x86_64-unknown-linux-gnu", "x86_64-pc-windows-msvc", "aarch64-apple-darwin"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn packages() -> Vec<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn is_published(package: &Value) -> bool {
    !package["publish"].as_array().is_some_and(Vec::is_empty)
}

/// What is wrong with one package, each as a line that says what to do.
fn faults(package: &Value) -> Vec<String> {
    let name = text(&package["name"]);
    let manifest = Path::new(text(&package["manifest_path"]));
    let folder = manifest.parent().expect("it is in a folder");
    let mut faults = Vec::new();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            faults.push(format!("{name}: {what}"));
        }
    };
    let is_there = |key: &str| !text(&package[key]).is_empty();
    check(is_there("description"), "description is missing");
    check(is_there("license"), "license.workspace = true is missing");
    check(is_there("repository"), "repository.workspace = true is missing");
    check(is_there("rust_version"), "rust-version.workspace = true is missing");
    let documentation = format!("https://docs.rs/{name}");
    let says = text(&package["documentation"]) == documentation;
    check(says, &format!("documentation is to be {documentation:?}"));

    let keywords = texts(&package["keywords"]);
    check((1..=5).contains(&keywords.len()), "crates.io wants one to five keywords");
    let fits = |word: &&str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_+".contains(c);
        word.len() <= 20
            && word.starts_with(|c: char| c.is_ascii_alphanumeric())
            && word.chars().all(allowed)
    };
    check(keywords.iter().all(fits), "crates.io does not take one of the keywords");
    let categories = texts(&package["categories"]);
    check((1..=5).contains(&categories.len()), "crates.io wants one to five categories");

    check(text(&package["readme"]) == "README.md", "readme = \"README.md\" is missing");
    let readme = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
    let title = format!("# {name}\n");
    check(readme.starts_with(&title), &format!("its README.md is to begin with {title:?}"));
    // crates.io and docs.rs show it, where the project's other files are not.
    let relative = readme.split("](").skip(1).any(|rest| !rest.starts_with("https://"));
    check(!relative, "a link in its README.md leads nowhere outside of the project");
    for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let ours = fs::read_to_string(root().join(license)).expect("the project has it");
        let linked = fs::read_to_string(folder.join(license)).unwrap_or_default();
        // Where Git makes no links, the link is a file that has its target in it.
        let same = linked == ours || linked.trim() == format!("../../{license}");
        check(same, &format!("ln -s ../../{license} {license} is missing"));
    }

    let docs = &package["metadata"]["docs"]["rs"];
    check(docs["all-features"] == true, "docs.rs is to build it with all-features");
    check(texts(&docs["targets"]) == TARGETS, &format!("docs.rs is to build it for {TARGETS:?}"));
    let features = package["features"].as_object().is_some_and(|list| !list.is_empty());
    let source = fs::read_to_string(folder.join("src/lib.rs")).unwrap_or_default();
    let marked = source.contains("#![cfg_attr(docsrs, feature(doc_cfg))]");
    check(
        marked || !features,
        "docs.rs is to show which feature brings what: cfg_attr(docsrs, ..)",
    );
    faults
}

#[test]
fn a_published_crate_says_what_registries_show() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for package in packages().iter().filter(|package| is_published(package)) {
        seen.insert(text(&package["name"]).to_owned());
        wrong.extend(faults(package));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen.contains("adjourn") && seen.contains("adjourn-core"), "{seen:?}");
}

/// A dependency is a promise to keep up with it, and everybody's time to compile.
#[test]
fn each_dependency_is_argued() {
    let design = fs::read_to_string(root().join("docs/design.md")).expect("it is there");
    let (_, section) = design.split_once("\n## What it depends on\n").expect("it has the section");
    let section = section.split("\n## ").next().expect("it has a beginning");
    let first = |line: &str| line.split('|').nth(1).unwrap_or_default().to_owned();
    let argued = section.lines().map(first).collect::<Vec<_>>().join(" ");
    let packages = packages();
    let ours = packages.iter().map(|package| text(&package["name"])).collect::<BTreeSet<_>>();
    let mut used = BTreeSet::new();
    for package in packages.iter().filter(|package| is_published(package)) {
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let name = text(&dependency["name"]);
            if dependency["kind"] != "dev" && !ours.contains(name) {
                used.insert(name);
            }
        }
    }
    for name in &used {
        assert!(argued.contains(&format!("`{name}`")), "{name} has no line in docs/design.md");
    }
    for name in argued.split('`').skip(1).step_by(2) {
        assert!(used.contains(name), "{name} has a line in docs/design.md and is not used");
    }
}

/// A page of an alias shows the methods of its type by JavaScript alone, so each has a link in its docs.
#[test]
fn the_page_of_runner_names_each_method() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("it is there");
    let source = read("crates/adjourn-core/src/program/run.rs");
    let named = read("crates/adjourn/src/lib.rs");
    let methods = source.lines().filter_map(|line| line.strip_prefix("    pub fn "));
    let methods = methods.filter_map(|rest| rest.split(['(', '<']).next()).collect::<Vec<_>>();
    assert!(methods.len() > 30, "{methods:?}");
    for method in methods {
        let link = format!("(adjourn_core::Runner::{method})");
        assert!(named.contains(&link), "the alias `Runner` in crates/adjourn names no {method}");
    }
}

/// The scripts in `ci/` take what is in `crates/` for what is published.
#[test]
fn what_is_published_is_in_one_folder() {
    let crates = fs::canonicalize(root().join("crates")).expect("it is there");
    for package in &packages() {
        let manifest = fs::canonicalize(text(&package["manifest_path"])).expect("it is there");
        let inside = manifest.starts_with(&crates);
        let name = text(&package["name"]);
        assert_eq!(inside, is_published(package), "{name} lies in {}", manifest.display());
    }
}
