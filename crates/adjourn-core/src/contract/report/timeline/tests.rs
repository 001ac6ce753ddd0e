use super::*;
use crate::contract::report::{At, PhaseSpan, Reason};
use crate::process::signal::Signal;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(10_000 + n)
}

fn task(kind: TaskKind, name: &str, ended: u64, outcome: Outcome) -> TaskReport {
    let task = TaskLabel {
        name: (!name.is_empty()).then(|| name.to_owned()),
        scope: "root/http".to_owned(),
        kind,
        spawned_at: "src/http.rs:88:14".to_owned(),
    };
    TaskReport { task, outcome, ended: ms(ended), cancelled: None }
}

fn phase(phase: Phase, entered: u64, left: Option<u64>) -> PhaseSpan {
    PhaseSpan { phase, entered: ms(entered), left: left.map(ms), limit: None }
}

/// A stop of four seconds at the tenth of the program.
fn report() -> Report {
    let scope = |path: &str, told, cancelled, ended, limit| ScopeReport {
        scope: path.to_owned(),
        told: Some(ms(told)),
        cancelled: Some(ms(cancelled)),
        ended: Some(ms(ended)),
        drain_limit: Some(ms(limit)),
        limit: None,
    };
    let hook = |hook, began, ended: Option<u64>, outcome| HookReport {
        hook,
        scope: "root/db".to_owned(),
        registered_at: "src/db.rs:7:5".to_owned(),
        began: ms(began),
        ended: ended.map(ms),
        outcome,
    };
    Report {
        reasons: vec![At { at: ms(0), what: Reason::Signal(Signal::TERMINATE) }],
        phases: vec![
            PhaseSpan {
                phase: Phase::Running,
                entered: Duration::ZERO,
                left: Some(ms(0)),
                limit: None,
            },
            phase(Phase::Draining, 0, Some(2_000)),
            phase(Phase::Cancelling, 2_000, Some(3_000)),
            phase(Phase::Closing, 3_000, Some(4_000)),
            phase(Phase::Stopped, 4_000, None),
        ],
        alive_at_stop: 5,
        tasks: vec![
            TaskReport {
                cancelled: Some(ms(2_000)),
                ..task(TaskKind::Plain, "a<b>&\"c\"\x1b[2J", 2_900, Outcome::Cancelled)
            },
            task(TaskKind::Graceful, "export", 1_500, Outcome::Finished),
            task(TaskKind::Shielded, "", 400, Outcome::Panicked),
            task(TaskKind::Blocking, "compress", 4_000, Outcome::Abandoned),
        ],
        scopes: vec![
            scope("root/http", 0, 2_000, 2_900, 2_000),
            scope("root", 0, 2_950, 4_000, 9_000),
        ],
        scopes_omitted: 3,
        hooks: vec![
            hook("on_stop", 0, Some(1_000), Outcome::Finished),
            hook("on_stopped", 3_000, None, Outcome::Abandoned),
        ],
        ..Report::default()
    }
}

#[test]
fn the_slowest_come_first_and_each_has_its_mark() {
    let text = report().timeline().to_string();
    assert_eq!(text, include_str!("tests/stop.txt").trim_end());
}

#[test]
fn the_picture_is_the_same_as_svg_and_names_are_text() {
    let svg = report().timeline().to_svg();
    assert!(svg.contains("root/http/a&lt;b&gt;&amp;&quot;c&quot; [2J"), "{svg}");
    assert_eq!(svg, include_str!("tests/stop.svg"));
}

#[test]
fn no_line_is_wider_than_a_terminal() {
    let mut report = report();
    for number in 0..50 {
        let mut long = task(TaskKind::Plain, &"größe/".repeat(number * 5), 17, Outcome::Cancelled);
        long.task.spawned_at = "a/long/path/of/a/file/".repeat(number);
        report.tasks.push(long);
    }
    report.reasons[0].what = Reason::Requested(Some("why\n".repeat(1_000)));
    for line in report.timeline().to_string().lines() {
        assert!(columns::width(line) <= 80, "{}: {line}", columns::width(line));
    }
}

#[test]
fn what_has_no_row_is_counted_and_the_slowest_of_it_named() {
    let mut report = report();
    report.tasks.clear();
    for number in 0..30 {
        let name = number.to_string();
        report.tasks.push(task(TaskKind::Plain, &name, 100 * number, Outcome::Cancelled));
    }
    report.alive_at_stop = 1_000;
    let text = report.timeline().to_string();
    let more = "and 988 more tasks, the slowest of them root/http/17, over after 1.700 s";
    assert!(text.contains(more), "{text}");
    assert!(text.contains("root/http/29 ") && text.contains("root/http/18 "), "{text}");
    assert!(text.contains("and 3 more scopes\n"), "{text}");
    report.tasks.truncate(10);
    let text = report.timeline().to_string();
    assert!(text.contains("and 994 more tasks, the slowest of them root/http/3, "), "{text}");
    report.tasks.iter_mut().for_each(|task| task.outcome = Outcome::Abandoned);
    let text = report.timeline().to_string();
    assert!(text.contains("not over after"), "{text}");
}

#[test]
fn a_stop_without_length_and_none_at_all_have_a_picture_too() {
    assert_eq!(Report::default().timeline().to_string(), "There was no stop.");
    let svg = Report::default().timeline().to_svg();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{svg}");
    let mut report = report();
    report.phases = vec![phase(Phase::Stopped, 0, None)];
    let (text, svg) = (report.timeline().to_string(), report.timeline().to_svg());
    assert!(text.starts_with("Stopped in 0.000 s (SIGTERM), exit code 0"), "{text}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn the_axis_has_few_round_times() {
    for span in [1, 3, 999, 1_000, 1_001, 7_777, 60_000, 86_400_000, 1 << 40] {
        let span = Duration::from_micros(span);
        let ticks = ticks(span, 6);
        assert!((1..=6).contains(&ticks.len()), "{span:?}: {ticks:?}");
        assert!(ticks.iter().all(|at| *at <= span) && ticks[0].is_zero());
    }
    assert_eq!(ticks(Duration::from_secs(4), 6)[1], Duration::from_secs(1));
    assert_eq!(
        [0, 7, 7_000, 1_500_000, 2_000_000].map(|at| tick(Duration::from_micros(at))),
        ["0", "7 us", "7 ms", "1.5 s", "2 s"]
    );
}
