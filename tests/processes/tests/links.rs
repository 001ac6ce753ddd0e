//! The links of the project's pages lead somewhere: files and headings, from page to page and from the
//! crates' docs. Nothing is fetched.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Where the project's files are seen by who has no checkout.
const HERE: [&str; 2] = [
    "https://github.com/adjourn-rs/adjourn/blob/main/",
    "https://github.com/adjourn-rs/adjourn/tree/main/",
];

fn root() -> PathBuf {
    normal(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
}

/// Without `.` and `..`, as a browser reads a link.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = normal.pop(),
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("it is a folder") {
        let path = entry.expect("it is there").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let skipped = name.starts_with('.') || ["target", "mutants.out"].contains(&name);
        if path.is_dir() && !path.is_symlink() && !skipped {
            collect(&path, files);
        } else if name.ends_with(".md") || name.ends_with(".rs") {
            files.push(path);
        }
    }
}

/// The lines of a page that are neither code nor behind a fence.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// What a line links to: `[text](target)`, and `[name]: target` where it is one.
fn links(line: &str) -> Vec<&str> {
    // What is between backquotes is code.
    let code = |at: usize| line[..at].matches('`').count() % 2 == 1;
    let inline = line.match_indices("](").filter(|(at, _)| !code(*at)).filter_map(|(at, _)| {
        let rest = &line[at + 2..];
        Some(rest.split_once(')')?.0.split(' ').next().unwrap_or_default())
    });
    let named = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    inline.chain(named.map(|(_, target)| target.trim())).collect()
}

/// The anchors of a page: GitHub's, of its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut seen = HashMap::<String, u32>::new();
    for line in prose(text).filter(|line| line.starts_with('#')) {
        // Of a link in a heading its text stays.
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let heading =
            heading.split("](").enumerate().fold(String::new(), |heading, (index, part)| {
                heading
                    + if index == 0 { part } else { part.split_once(')').map_or("", |cut| cut.1) }
            });
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor = kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>();
        let count = seen.entry(anchor.clone()).or_default();
        anchors.insert(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
        *count += 1;
    }
    anchors
}

/// What is wrong with a link in `page`, if it leads into the project.
fn fault(page: &Path, target: &str) -> Option<String> {
    let (from, target) = match HERE.iter().find_map(|here| target.strip_prefix(here)) {
        Some(target) => (root(), target),
        None if target.contains("://") || target.starts_with("mailto:") => return None,
        None => (page.parent().expect("it is in a folder").to_owned(), target),
    };
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() { page.to_owned() } else { normal(&from.join(file)) };
    if !file.exists() {
        return Some(format!("there is no {}", file.display()));
    }
    let is_page = file.extension().is_some_and(|kind| kind == "md");
    if anchor.is_empty() || !is_page {
        return None;
    }
    let text = fs::read_to_string(&file).expect("it is text");
    (!anchors(&text).contains(anchor)).then(|| format!("{} has no #{anchor}", file.display()))
}

#[test]
fn every_link_leads_somewhere() {
    let mut files = Vec::new();
    collect(&root(), &mut files);
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in &files {
        let text = fs::read_to_string(page).expect("it is text");
        let found = if page.extension().is_some_and(|kind| kind == "md") {
            prose(&text).flat_map(links).map(str::to_owned).collect::<Vec<_>>()
        } else {
            // Of sources, what leads to a page: rustdoc looks at all else.
            let ends = |c: char| c.is_whitespace() || ")\">]`".contains(c);
            let of = |here: &str| {
                let text = &text;
                text.match_indices(here)
                    .map(move |(at, _)| {
                        text[at..].split(ends).next().unwrap_or_default().to_owned()
                    })
                    .collect::<Vec<_>>()
            };
            HERE.iter().flat_map(|here| of(here)).collect()
        };
        for target in found {
            seen += 1;
            let fault = fault(page, &target);
            wrong.extend(fault.map(|fault| format!("{}: {target}: {fault}", page.display())));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen > 50, "{seen} links are seen");
}

/// The book is made of what docs/SUMMARY.md names: `ci/book.sh` builds it.
#[test]
fn the_book_has_every_page_once() {
    let docs = root().join("docs");
    let pages =
        fs::read_dir(&docs).expect("it is a folder").map(|entry| entry.expect("a file").path());
    let kept = |page: &PathBuf| {
        page.extension().is_some_and(|kind| kind == "md") && !page.ends_with("SUMMARY.md")
    };
    let mut pages = pages.filter(kept).collect::<Vec<_>>();
    let beside = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];
    pages.extend(beside.map(|page| root().join(page)));
    pages.sort();
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).expect("it is text");
    let named = prose(&summary).flat_map(links).map(|target| normal(&docs.join(target)));
    let mut named = named.collect::<Vec<_>>();
    named.sort();
    assert_eq!(named, pages);
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let page = root().join("README.md");
    for leads in ["docs/guide.md", "docs/guide.md#signals", "#limits", "https://docs.rs/adjourn"] {
        assert_eq!(fault(&page, leads), None, "{leads}");
    }
    let elsewhere = format!("{}docs/gide.md", HERE[0]);
    for nowhere in ["docs/gide.md", "docs/guide.md#signal", "#limit", &elsewhere] {
        assert!(fault(&page, nowhere).is_some(), "{nowhere}");
    }
    assert_eq!(links("see [a](b.md#c), `[d](e)` and [f](g)"), ["b.md#c", "g"]);
    assert_eq!(links("[a]: b.md"), ["b.md"]);
    let page = "# A `b` (c), d_e\n```\n# no\n```\n## [F](g.md) h\n# A b c, d_e\n";
    assert_eq!(Vec::from_iter(anchors(page)), ["a-b-c-d_e", "a-b-c-d_e-1", "f-h"]);
}
