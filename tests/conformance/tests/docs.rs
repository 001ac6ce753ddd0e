//! docs/conformance.md has every scenario, and every exception of our adapters; the README has their number.

const DOCS: &str = include_str!("../../../docs/conformance.md");
const ADAPTERS: &str = include_str!("adapters.rs");

fn section(heading: &str) -> &'static str {
    let (_, rest) = DOCS.split_once(&format!("\n## {heading}\n")).expect("the heading is there");
    rest.split("\n## ").next().unwrap_or(rest)
}

#[test]
fn each_scenario_is_listed_under_its_topic() {
    let listed = section("The scenarios");
    for scenario in adjourn_conformance::scenarios() {
        let row = format!("| `{}` |", scenario.topic());
        let row = listed.lines().find(|line| line.starts_with(&row)).expect("a row for each topic");
        assert!(row.contains(&format!("`{}`", scenario.name())), "{scenario} is not listed");
    }
    let names = listed.lines().filter(|line| line.starts_with("| `")).flat_map(|row| {
        row.split('`').skip(3).step_by(2) // after the topic, each second piece is a name
    });
    assert_eq!(names.count(), adjourn_conformance::scenarios().len(), "what is listed");
}

#[test]
fn the_readme_has_their_number() {
    let said = format!("tests an adapter by {} scenarios", adjourn_conformance::scenarios().len());
    assert!(include_str!("../../../README.md").contains(&said), "the README does not say: {said}");
}

#[test]
fn each_exception_of_our_adapters_is_listed() {
    let listed = section("Our adapters' exceptions");
    let mut exceptions = 0;
    for scenario in adjourn_conformance::scenarios() {
        if ADAPTERS.contains(&format!(" {}:", scenario.name())) {
            exceptions += 1;
            assert!(
                listed.contains(&format!("`{}`", scenario.name())),
                "{scenario} is an exception"
            );
        } else {
            assert!(!listed.contains(&format!("`{}`", scenario.name())), "{scenario} is none");
        }
    }
    assert!(exceptions > 0, "the search finds exceptions");
}
