//! The rooms of the core, and that their arrows lead downwards only.
//!
//! A room is a folder beside `lib.rs`. A file may use its own room and those on lower floors, by
//! their full path: a path through a re-export of `lib.rs` would hide where the arrow leads.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms and their floors. Two of one floor do not use each other.
const ROOMS: [(&str, u8); 7] = [
    ("program", 4),
    ("track", 3),
    ("contract", 2),
    ("phase", 1),
    ("process", 1),
    ("sync", 0),
    ("few", 0),
];

/// Arrows that lead up or sideways all the same: (file, room, reason). At most two.
const ALLOWED: [(&str, &str, &str); 0] = [];

fn floor(room: &str) -> Option<u8> {
    ROOMS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The room of a file below `src`, by its path there; `None` for what is no part of the library.
fn room(path: &str) -> Option<&str> {
    let is_test = path.ends_with("tests.rs") || path.contains("tests/");
    let room = path.split('/').next().unwrap().trim_end_matches(".rs");
    (!is_test && room != "lib").then_some(room)
}

/// The text without comments and without its unit tests.
fn code(text: &str) -> String {
    let library = text.split("\nmod tests {").next().unwrap();
    library.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect()
}

/// What stands behind each `crate::`: the first name, or the names of a group.
fn used(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let inside = match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap(),
            None => rest,
        };
        let paths = if rest.starts_with('{') { inside.split(',').collect() } else { vec![inside] };
        for path in paths {
            let name: String = path
                .trim()
                .chars()
                .take_while(|character| character.is_alphanumeric() || *character == '_')
                .collect();
            names.extend(Some(name).filter(|name| !name.is_empty()));
        }
    }
    names
}

/// Whether a chain of `super` leads out of the room of a file: there is no telling where to.
fn leaves_by_super(path: &str, code: &str) -> bool {
    let depth = path.split('/').count();
    let out = "super::".repeat(depth);
    code.contains(&out)
}

/// Says what is wrong with an arrow from a file of `from` to `to`, if anything is.
fn fault(from: &str, to: &str) -> Option<String> {
    if from == to {
        return None;
    }
    match (floor(from), floor(to)) {
        (None, _) => Some(format!("{from} is no room: give it a floor in this test")),
        (_, None) => Some(format!("crate::{to} is no room: name the room that has it")),
        (Some(own), Some(other)) if other >= own => Some(format!("{from} must not know {to}")),
        _ => None,
    }
}

#[test]
fn arrows_lead_downwards_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut faults = Vec::new();
    let mut arrows = 0;
    for file in files {
        let path = file.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
        let Some(from) = room(&path) else { continue };
        let code = code(&fs::read_to_string(&file).unwrap());
        if leaves_by_super(&path, &code) {
            faults.push(format!("{path}: a chain of `super` leaves the room: write `crate::`"));
        }
        for to in used(&code) {
            let allowed = ALLOWED.iter().any(|(file, room, _)| *file == path && *room == to);
            arrows += 1;
            if let Some(fault) = fault(from, &to).filter(|_| !allowed) {
                faults.push(format!("{path}: {fault}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(arrows > 100, "only {arrows} arrows were seen: does this test still read the sources?");
}

#[test]
fn an_arrow_that_leads_up_or_sideways_is_seen() {
    let text = "use crate::{program::Program, sync};\nfn f() { crate::process::end() } // crate::x\n\
                #[cfg(test)]\nmod tests {\n    use crate::program::Program;\n}\n";
    assert_eq!(used(&code(text)), ["program", "sync", "process"]);
    assert!(leaves_by_super("track/node/waiters.rs", "use super::super::super::program::X;"));
    assert!(leaves_by_super("track.rs", "use super::program::X;"));
    assert!(!leaves_by_super("track/node/waiters.rs", "use super::super::table::X;"));
    assert!(fault("track", "program").is_some(), "up");
    assert!(fault("phase", "process").is_some(), "sideways");
    assert!(fault("track", "Scope").is_some(), "through a re-export");
    assert!(fault("attic", "sync").is_some(), "from a folder without a floor");
    assert!(fault("program", "phase").is_none() && fault("track", "track").is_none());
    assert_eq!((room("track/node.rs"), room("phase.rs")), (Some("track"), Some("phase")));
    assert_eq!(
        (room("lib.rs"), room("program/tests.rs"), room("tests/loom.rs")),
        (None, None, None)
    );
}

#[test]
fn exceptions_are_few() {
    assert!(ALLOWED.len() <= 2);
}
