//! What is public is meant to be: what each crate shows, read from rustdoc's JSON.
//!
//! The signatures of all public items stand in `ci/public/`, one file a crate, and a change of them is a
//! change there too: `ci/public.sh --renew` writes it. The form of the JSON changes with the compiler, so
//! `ci/public.sh` runs this and `cargo test` does not.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

/// The types and traits of other projects in the public items of each crate; a crate that is not here shows
/// none. To add one is a promise: a new major version of that project is a new major version here.
const FOREIGN: &[(&str, &[&str])] = &[
    // By the features `serde` and `stream` alone. futures-core is at 0.3 since 2019, and all streams are its.
    ("adjourn-core", &["futures_core::Stream", "serde_core::Serialize", "serde_core::Serializer"]),
    // What a program attaches to.
    ("adjourn-tokio", &["tokio::Builder", "tokio::Handle", "tokio::LocalSet"]),
    // `smol::Executor` and `smol::LocalExecutor`: what a program attaches to.
    ("adjourn-smol", &["async_executor::Executor", "async_executor::LocalExecutor"]),
    // The sleep of the paused clock, by the feature `tokio` alone.
    ("adjourn-sim", &["tokio::Sleep"]),
    // It serves what others wrote: hyper's and tower's services, bodies of `http-body`, listeners of
    // Tokio and async-io. All of hyper's own world is at 1.0 but `tower-service`, `hyper-util` and
    // `futures-io`, which axum shows in the same way.
    (
        "adjourn-hyper",
        &[
            "async_io::Async",
            "futures_io::AsyncRead",
            "futures_io::AsyncWrite",
            "http::Request",
            "http::Response",
            "http_body::Body",
            "hyper::Builder",
            "hyper::Executor",
            "hyper::Incoming",
            "hyper::Read",
            "hyper::ReadBufCursor",
            "hyper::Service",
            "hyper::Sleep",
            "hyper::Timer",
            "hyper::Upgraded",
            "hyper::Write",
            "hyper_util::TokioIo",
            "tokio::TcpListener",
            "tokio::TcpStream",
            "tokio::UnixListener",
            "tokio::UnixStream",
            "tower_service::Service",
        ],
    ),
];

/// Crates that are there for others of ours alone, which match on all that an enum has: nothing is promised.
const PARTS: &[&str] = &["adjourn-clients"];

/// What every user meets: its page has an example.
const EXPLAINED: &[&str] = &[
    "Exit",
    "FutureExt::in_scope",
    "FutureExt::interruptible",
    "FutureExt::on_cancel",
    "FutureExt::until_stop",
    "JoinHandle",
    "Observer",
    "Report",
    "ResultFutureExt::or_report",
    "ResultFutureExt::or_stop",
    "Runner",
    "Scope",
    "StopToken",
    "Stopper",
    "on_cancel_with",
    "shield",
    "spawn",
    "spawn_blocking",
    "spawn_graceful",
    "spawn_shielded",
    "task",
];

#[test]
#[ignore = "reads unstable output of rustdoc: ci/public.sh runs it"]
fn what_is_public_is_meant_to_be() {
    let auto_traits = fs::read_to_string(root().join("tests/tests/auto_traits.rs")).unwrap();
    let tested = BTreeSet::from_iter(auto_traits.split(|c: char| !c.is_alphanumeric()));
    let mut wrong = Vec::new();
    let published = published();
    for gone in FOREIGN.iter().filter(|(name, _)| !published.contains(*name)) {
        wrong.push(format!("{} is not published any more", gone.0));
    }
    for name in &published {
        let allowed = FOREIGN.iter().find(|(of, _)| of == name).map_or(&[][..], |(_, list)| list);
        let shown = Docs::of(name).shown();
        println!("{name}: {} public items: {}", shown.items.len(), shown.kinds());
        wrong.extend(signatures_differ(name));

        for (foreign, place) in &shown.foreign {
            if !allowed.contains(&foreign.as_str()) {
                wrong.push(format!("{name} shows {foreign}, at {place}"));
            }
        }
        for gone in allowed.iter().filter(|name| !shown.foreign.contains_key(**name)) {
            wrong.push(format!("{name} shows no {gone} any more"));
        }
        if PARTS.contains(&name.as_str()) {
            continue;
        }
        for missing in shown.types.iter().filter(|name| !tested.contains(name.as_str())) {
            wrong.push(format!("{name} has no test of {missing}'s auto traits"));
        }
        wrong.extend(shown.faults);
        if name == "adjourn-core" {
            let missing = EXPLAINED
                .iter()
                .filter(|item| !shown.explained.contains(&format!("adjourn_core::{item}")));
            wrong.extend(missing.map(|item| format!("the docs of {item} have no example")));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The names of all published crates: those in `crates/`, as `packages.rs` holds.
fn published() -> BTreeSet<String> {
    let crates = fs::read_dir(root().join("crates")).expect("it is there");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry.expect("it is there").file_name().into_string().expect("it is text")
    };
    crates.map(name).collect()
}

/// The JSON that rustdoc has written for this crate.
fn json_of(name: &str) -> PathBuf {
    root().join("target/public/doc").join(name.replace('-', "_") + ".json")
}

/// Compares the signatures of all public items with those that are stored, or stores them anew.
///
/// Auto traits are tested by `auto_traits.rs`; blanket impls are others'.
fn signatures_differ(name: &str) -> Option<String> {
    let built = public_api::Builder::from_rustdoc_json(json_of(name))
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .omit_blanket_impls(true)
        .build();
    let Ok(api) = built else {
        println!("{name}: this compiler's JSON cannot be read: signatures are not compared");
        return None;
    };
    let now = api.items().map(|item| format!("{item}\n")).collect::<String>();
    let stored = root().join(format!("ci/public/{name}.txt"));
    if env::var_os("ADJOURN_RENEW").is_some() {
        fs::create_dir_all(stored.parent().expect("it is in a folder")).expect("a folder");
        fs::write(&stored, now).expect("it is written");
        return None;
    }
    let before = fs::read_to_string(&stored).unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (was, is) = (lines(&before), lines(&now));
    let gone = was.difference(&is).map(|line| format!("\n  - {line}"));
    let new = is.difference(&was).map(|line| format!("\n  + {line}"));
    let changed = gone.chain(new).collect::<String>();
    (!changed.is_empty()).then(|| {
        format!("{name}'s public items changed; if they are to: ci/public.sh --renew{changed}")
    })
}

/// What one crate shows.
#[derive(Default)]
struct Shown {
    /// What a user can name, each by its shortest path: `struct adjourn_core::Scope`.
    items: BTreeSet<String>,
    /// The names of the structs and enums among them.
    types: BTreeSet<String>,
    /// Other projects' types and traits, each with a place that mentions it.
    foreign: BTreeMap<String, String>,
    /// The items with an example in their docs.
    explained: BTreeSet<String>,
    /// Types that lack an attribute.
    faults: Vec<String>,
}

impl Shown {
    fn kinds(&self) -> String {
        let mut kinds = BTreeMap::<&str, usize>::new();
        for item in &self.items {
            *kinds.entry(item.split(' ').next().unwrap()).or_default() += 1;
        }
        kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
    }
}

/// The JSON of one crate.
struct Docs(Value);

impl Docs {
    fn of(name: &str) -> Docs {
        let target = root().join("target/public");
        let output = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
            .args(["rustdoc", "-p", name, "--lib", "--all-features", "--"])
            .args(["-Z", "unstable-options", "--output-format", "json"])
            .args(["--document-hidden-items", "--cap-lints", "allow"])
            .env("RUSTC_BOOTSTRAP", "1") // so that a stable compiler takes the options
            .env("CARGO_TARGET_DIR", &target)
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read_to_string(json_of(name)).expect("rustdoc has written it");
        Docs(serde_json::from_str(&text).expect("rustdoc writes JSON"))
    }

    /// Walks from the root to all that a user can name, short paths first.
    fn shown(&self) -> Shown {
        let mut shown = Shown::default();
        let mut seen = HashSet::new();
        let root = self.0["root"].as_u64().expect("a crate has a root");
        let mut next = VecDeque::from([(root, self.name(root).to_owned())]);
        while let Some((id, path)) = next.pop_front() {
            let Some((kind, inner)) = self.item(id).filter(|_| seen.insert(id)) else { continue };
            shown.items.insert(format!("{kind} {path}"));
            if text(&self.0["index"][id.to_string()], "docs").contains("```") {
                shown.explained.insert(path.clone());
            }
            self.find_foreign(inner, &path, &mut shown);
            if matches!(kind, "struct" | "enum" | "union") {
                shown.types.insert(self.name(id).to_owned());
                shown.faults.extend(self.faults(id, &path));
            }
            let mut children = VecDeque::from(children(kind, inner));
            while let Some(child) = children.pop_front() {
                let Some((kind, inner)) = self.item(child) else { continue };
                match kind {
                    "use" => match self.target(inner) {
                        Some((_, within)) if inner["is_glob"] == true => children.extend(within),
                        Some((target, _)) => {
                            next.push_back((target, format!("{path}::{}", text(inner, "name"))));
                        }
                        None => {
                            let (name, source) = (text(inner, "name"), text(inner, "source"));
                            shown.items.insert(format!("use {path}::{name} = {source}"));
                            self.find_foreign(inner, &path, &mut shown);
                        }
                    },
                    "impl" if is_written(inner) => {
                        self.find_foreign(inner, &path, &mut shown);
                        if inner["trait"].is_null() {
                            children.extend(self::children(kind, inner));
                            continue;
                        }
                        // What it has for a trait is no item of its own.
                        for id in self::children(kind, inner) {
                            let (_, inner) = self.item(id).expect("its items are of the crate");
                            self.find_foreign(inner, &path, &mut shown);
                        }
                    }
                    "impl" => {}
                    _ => next.push_back((child, format!("{path}::{}", self.name(child)))),
                }
            }
        }
        shown
    }

    /// An item of this crate: of what kind it is, and what that kind has.
    fn item(&self, id: u64) -> Option<(&str, &Value)> {
        let (kind, inner) = self.0["index"][id.to_string()]["inner"].as_object()?.iter().next()?;
        Some((kind, inner))
    }

    fn name(&self, id: u64) -> &str {
        text(&self.0["index"][id.to_string()], "name")
    }

    /// What a `use` names, and what is in there; `None` for another crate's.
    fn target(&self, inner: &Value) -> Option<(u64, Vec<u64>)> {
        let id = inner["id"].as_u64()?;
        let (kind, inner) = self.item(id)?;
        Some((id, children(kind, inner)))
    }

    /// Finds each type and trait of another project that is mentioned anywhere in `value`.
    fn find_foreign(&self, value: &Value, path: &str, shown: &mut Shown) {
        match value {
            Value::Array(values) => {
                values.iter().for_each(|value| self.find_foreign(value, path, shown));
            }
            Value::Object(values) => {
                if let Some(name) = value["id"].as_u64().and_then(|id| self.foreign(id)) {
                    shown.foreign.entry(name).or_insert_with(|| path.to_owned());
                }
                values.values().for_each(|value| self.find_foreign(value, path, shown));
            }
            _ => {}
        }
    }

    /// The crate and name of what the id stands for, if it is another project's. The modules between
    /// are left out: they are often private there.
    fn foreign(&self, id: u64) -> Option<String> {
        let path = self.0["paths"][id.to_string()]["path"].as_array()?;
        let path = path.iter().filter_map(Value::as_str).collect::<Vec<_>>();
        let (of, name) = (path.first()?, path.last()?);
        let ours = ["std", "core", "alloc", "adjourn"].contains(of) || of.starts_with("adjourn_");
        // `__private`: what a macro wrote.
        (!ours && !path.contains(&"__private")).then(|| format!("{of}::{name}"))
    }

    /// What a type should say of itself and does not.
    fn faults(&self, id: u64, path: &str) -> Vec<String> {
        let attributes = self.0["index"][id.to_string()]["attrs"].as_array().expect("a list");
        let may_grow = attributes.iter().any(|attribute| attribute == "non_exhaustive");
        let must_be_used = attributes.iter().any(|attribute| attribute["must_use"].is_object());
        let (kind, inner) = self.item(id).expect("it is an item");
        let fields = &inner["kind"];
        let has = |list: &Value| list.as_array().is_some_and(|list| list.iter().any(Value::is_u64));
        let mut faults = Vec::new();
        if (kind == "enum" || has(&fields["plain"]["fields"])) && !may_grow {
            faults.push(format!("{path} is not non_exhaustive: it could never grow"));
        }
        if has(&fields["tuple"]) {
            faults.push(format!("{path} has a public field without a name"));
        }
        // A handle may be dropped: what it is for goes on.
        if self.is_future(inner) && !must_be_used && !path.ends_with("Handle") {
            faults.push(format!("{path} is a future and not must_use"));
        }
        faults
    }

    fn is_future(&self, inner: &Value) -> bool {
        numbers(&inner["impls"]).any(|id| {
            self.item(id).is_some_and(|(_, inner)| {
                is_written(inner) && text(&inner["trait"], "path").ends_with("Future")
            })
        })
    }
}

/// Whether an impl stands in the crate: auto traits and blanket impls of others do not.
fn is_written(inner: &Value) -> bool {
    inner["is_synthetic"] == false && inner["blanket_impl"].is_null()
}

/// The ids of what is inside an item.
fn children(kind: &str, inner: &Value) -> Vec<u64> {
    let lists = match kind {
        "module" | "impl" => vec![&inner["items"]],
        "trait" => vec![&inner["items"], &inner["implementations"]],
        "struct" => {
            vec![&inner["kind"]["plain"]["fields"], &inner["kind"]["tuple"], &inner["impls"]]
        }
        "union" => vec![&inner["fields"], &inner["impls"]],
        "enum" => vec![&inner["variants"], &inner["impls"]],
        "variant" => vec![&inner["kind"]["struct"]["fields"], &inner["kind"]["tuple"]],
        _ => vec![],
    };
    lists.into_iter().flat_map(numbers).collect()
}

fn numbers(list: &Value) -> impl Iterator<Item = u64> + '_ {
    list.as_array().into_iter().flatten().filter_map(Value::as_u64)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
