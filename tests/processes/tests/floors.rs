//! The floors of the workspace, over `cargo metadata`: who may depend on whom, and what a user of
//! one backend compiles.

use std::collections::BTreeSet;
use std::process::Command;

fn cargo(args: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let output = Command::new(cargo).args(args).current_dir(root).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints text")
}

fn floor(package: &str) -> Option<u32> {
    match package {
        "adjourn" => Some(5),
        "adjourn-hyper" => Some(4),
        "adjourn-tokio" | "adjourn-smol" | "adjourn-async-std" => Some(3),
        "adjourn-sim" | "adjourn-conformance" => Some(3),
        "adjourn-triggers" | "adjourn-health" | "adjourn-systemd" => Some(3),
        "adjourn-process" | "adjourn-supervise" => Some(3),
        "adjourn-core" => Some(2),
        "adjourn-clients" => Some(1),
        _ => None,
    }
}

#[test]
fn dependencies_lead_downwards_only() {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("cargo prints JSON");
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        let Some(own) = floor(name) else {
            let unpublished = package["publish"].as_array().is_some_and(Vec::is_empty);
            assert!(unpublished, "{name} is on no floor and published");
            continue;
        };
        seen.insert(name);
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let of = dependency["name"].as_str().expect("a name");
            if let Some(theirs) = floor(of) {
                assert!(theirs < own, "{name} [{own}] depends on {of} [{theirs}]");
            }
        }
    }
    for name in ["adjourn", "adjourn-conformance", "adjourn-core", "adjourn-sim"] {
        assert!(seen.contains(name), "{name} is not among {seen:?}");
    }
}

/// The crates that are compiled for `package` with these features.
fn compiled(package: &str, features: &str) -> BTreeSet<String> {
    let args = ["tree", "-p", package, "--no-default-features", "--features", features];
    let rest = ["-e", "normal,build", "--prefix", "none", "--format", "{p}"];
    let tree = cargo(&[&args[..], &rest[..]].concat());
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// The pages that say what the core brings on Linux name just that.
#[test]
#[cfg(target_os = "linux")]
fn the_docs_name_what_the_core_brings() {
    let mut brought = compiled("adjourn-core", "");
    assert!(brought.remove("adjourn-core"));
    let names: Vec<_> = brought.iter().map(String::as_str).collect();
    let counts = ["no", "one", "two", "three", "four", "five"];
    let (count, (last, first)) =
        (counts[names.len()], names.split_last().expect("it brings something"));
    for (page, sentence) in [
        ("library.md", format!("{count} small crates: {} and {last}.", first.join(", "))),
        ("design.md", format!("compiles {count} ({})", names.join(", "))),
    ] {
        let path = format!("{}/../../docs/{page}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("it is there");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&sentence), "docs/{page} does not say: {sentence}");
    }
}

/// The features of Tokio that the facade compiles with these of its own.
fn tokio_features(features: &str) -> BTreeSet<String> {
    let args = ["tree", "-p", "adjourn", "--no-default-features", "--features", features];
    let rest = ["-e", "normal,build", "--prefix", "none", "--format", "{p}|{f}"];
    let tree = cargo(&[&args[..], &rest[..]].concat());
    let tokio = tree.lines().filter(|line| line.starts_with("tokio v"));
    let features = tokio.filter_map(|line| line.split('|').next_back());
    features.flat_map(|list| list.trim_end_matches(" (*)").split(',')).map(str::to_owned).collect()
}

#[test]
fn a_backend_brings_no_other_executor() {
    let core = compiled("adjourn-core", "");
    let kit = compiled("adjourn-conformance", "");
    let smol = compiled("adjourn", "smol");
    let tokio = compiled("adjourn", "tokio");
    let async_std = compiled("adjourn", "async-std");
    let has = |set: &BTreeSet<String>, name: &str| set.contains(name);
    assert!(has(&smol, "async-executor") && has(&tokio, "tokio"), "the check sees the backends");
    for executor in ["tokio", "async-executor", "async-std", "smol"] {
        assert!(!has(&core, executor), "core compiles {executor}");
        assert!(!has(&kit, executor), "the conformance kit compiles {executor}");
    }
    assert!(!has(&smol, "tokio") && !has(&smol, "async-std"), "{smol:?}");
    assert!(!has(&tokio, "async-executor") && !has(&tokio, "async-io"), "{tokio:?}");
    assert!(!has(&async_std, "tokio"), "{async_std:?}");
    // hyper itself brings Tokio's channels, and h2 its traits for reading and writing: no runtime.
    let hyper = compiled("adjourn", "smol,hyper");
    assert!(has(&hyper, "adjourn-hyper") && !has(&hyper, "hyper-util"), "{hyper:?}");
    assert!(!has(&hyper, "adjourn-tokio") && !has(&hyper, "mio"), "{hyper:?}");
    let features = tokio_features("smol,hyper");
    for feature in ["rt", "net", "time", "macros"] {
        assert!(!features.contains(feature), "tokio has {feature}: {features:?}");
    }
    assert!(tokio_features("tokio,hyper").contains("net"), "the check sees features");
    let process = compiled("adjourn", "smol,process");
    assert!(has(&process, "adjourn-process") && !has(&process, "tokio"), "{process:?}");
    assert!(!has(&process, "async-process") && !has(&process, "async-signal"), "{process:?}");
    let sim = compiled("adjourn-sim", "");
    assert!(!has(&sim, "tokio") && !has(&sim, "async-io"), "{sim:?}");
    println!(
        "crates: core {}, tokio {}, smol {}, async-std {}",
        core.len(),
        tokio.len(),
        smol.len(),
        async_std.len()
    );
}
