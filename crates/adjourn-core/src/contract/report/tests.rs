use std::fmt;

use super::*;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const KINDS: [FailureKind; 12] = [
    FailureKind::MainError,
    FailureKind::MainPanic,
    FailureKind::TaskError,
    FailureKind::TaskPanic,
    FailureKind::DestructorPanic,
    FailureKind::HookPanic,
    FailureKind::HookError,
    FailureKind::ShieldDropped,
    FailureKind::HookOverdue,
    FailureKind::CutOff,
    FailureKind::Executor,
    FailureKind::Observer,
];

fn failure(kind: FailureKind, fatal: bool) -> Failure {
    let messages = vec!["it broke".to_owned(), "no disk".to_owned()];
    Failure { at: secs(1), kind, origin: "somebody".to_owned(), messages, fatal }
}

fn straggler(kind: TaskKind, state: StragglerState, age: Option<Duration>) -> Straggler {
    let task = TaskLabel {
        name: Some("mailer".to_owned()),
        scope: "root/mail".to_owned(),
        kind,
        spawned_at: "src/main.rs:1:2".to_owned(),
    };
    Straggler { task, age, state }
}

/// What a failure of each kind makes of the exit code when it counts.
fn code_of(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::MainPanic
        | FailureKind::TaskPanic
        | FailureKind::DestructorPanic
        | FailureKind::HookPanic => 101,
        FailureKind::HookOverdue => 124,
        FailureKind::ShieldDropped | FailureKind::CutOff | FailureKind::Observer => 0,
        _ => 1,
    }
}

#[test]
fn nothing_of_the_users_looks_like_a_line_of_the_reports_own() {
    const FORGED: &str = "it\n  failure  forged: main\x1b[2J\r\u{202e}\u{2028}\u{9b}";
    let forged = || FORGED.to_owned();
    let at = |what| At { what, at: secs(1) };
    let mut alive = straggler(TaskKind::Graceful, StragglerState::Pending, None);
    (alive.task.scope, alive.task.name) = (forged(), Some(forged()));
    let waiting_for = Some(alive.task.clone());
    let overdue = OverdueTask { task: alive.clone(), limit: secs(2), waiting_for };
    let site = Site {
        kind: TaskKind::Plain,
        scope: forged(),
        spawned_at: String::new(),
        count: 9,
        oldest: None,
    };
    let mut failed = failure(FailureKind::TaskError, true);
    (failed.origin, failed.messages) = (forged(), vec![forged(), forged()]);
    let report = Report {
        reasons: vec![
            at(Reason::Requested(Some(forged()))),
            at(Reason::MainFailed(forged())),
            at(Reason::TaskFailed(forged())),
        ],
        failures: vec![failed],
        stragglers: vec![alive],
        straggler_sites: vec![site],
        overdue: vec![overdue],
        totals: [(forged(), Totals::default())].into(),
        ..Report::default()
    };
    let text = report.to_string();
    assert_eq!(text.lines().count(), 8, "{text:?}");
    let not_started = Report { start_error: Some(forged()), ..Report::default() }.to_string();
    for text in [text, not_started] {
        let own = |c: char| c == '\n' || !c.is_control() && !"\u{202e}\u{2028}".contains(c);
        assert!(text.chars().all(own), "{text:?}");
        assert!(!text.contains("\n  failure  forged"), "{text}");
    }
    assert_eq!(report.failures[0].messages[0], FORGED, "the data stays");
}

#[test]
fn a_failure_that_counts_sets_the_code_of_its_kind_listed_or_not() {
    for kind in KINDS {
        for fatal in [false, true] {
            let code = if fatal { code_of(kind) } else { 0 };
            let listed = Report { failures: vec![failure(kind, fatal)], ..Report::default() };
            assert_eq!(listed.exit_code(), code, "{kind:?}, fatal: {fatal}");
            assert!(!listed.is_clean(), "{kind:?}");
            let mut omitting = Report::default();
            omitting.omit(&failure(kind, fatal));
            assert_eq!(omitting.exit_code(), code, "{kind:?} left out, fatal: {fatal}");
            assert_eq!(omitting.failures_omitted, 1);
        }
    }
    assert!(Report::default().is_clean());
}

#[test]
fn what_is_left_out_later_takes_nothing_back() {
    let mut report = Report::default();
    for kind in [FailureKind::TaskError, FailureKind::TaskPanic, FailureKind::ShieldDropped] {
        report.omit(&failure(kind, true));
    }
    assert_eq!((report.failures_omitted, report.omitted_fatal), (3, (true, true)));
    for kind in [FailureKind::TaskError, FailureKind::TaskPanic] {
        report.omit(&failure(kind, true));
    }
    assert_eq!((report.failures_omitted, report.omitted_fatal), (5, (true, true)));
}

#[test]
fn the_most_severe_decides() {
    let mut report = Report::default();
    assert_eq!(report.exit_code(), 0);
    report.main_code = Some(0);
    assert_eq!(report.exit_code(), 0);
    report.start_error = Some("no threads".to_owned());
    assert_eq!(report.exit_code(), 1);
    report.failures.push(failure(FailureKind::MainError, true));
    assert_eq!(report.exit_code(), 1);
    report.main_code = Some(3);
    assert_eq!(report.exit_code(), 3);
    report.failures.push(failure(FailureKind::HookPanic, true));
    assert_eq!(report.exit_code(), 101);
    let late = Report { stragglers_omitted: 1, ..report.clone() };
    assert_eq!(late.exit_code(), 124);
    let stuck = Report { stuck: true, ..report.clone() };
    assert_eq!(stuck.exit_code(), 124);
    let state = StragglerState::Pending;
    report.stragglers.push(straggler(TaskKind::Shielded, state, None));
    assert_eq!(report.exit_code(), 124);
    report.forced = Some(Signal::TERMINATE);
    assert_eq!(report.exit_code(), 143);
}

#[test]
fn totals_add_and_count_each_field_for_itself() {
    let one = Totals {
        spawned: 1,
        live: 2,
        finished: 3,
        failed: 4,
        panicked: 5,
        cancelled: 6,
        abandoned: 7,
        refused: 8,
    };
    let mut sum = one;
    sum.add(&one);
    sum.add(&one);
    let three = Totals {
        spawned: 3,
        live: 6,
        finished: 9,
        failed: 12,
        panicked: 15,
        cancelled: 18,
        abandoned: 21,
        refused: 24,
    };
    assert_eq!(sum, three);
    let totals = BTreeMap::from([("a".to_owned(), one), ("b".to_owned(), one)]);
    assert_eq!(Report { totals, ..Report::default() }.total().refused, 16);
}

#[test]
fn kinds_are_cancelled_or_shielded() {
    for kind in [TaskKind::Plain, TaskKind::Graceful] {
        assert!(kind.is_cancelled() && !kind.is_shielded(), "{kind}");
    }
    for kind in [TaskKind::Shielded, TaskKind::Blocking] {
        assert!(!kind.is_cancelled() && kind.is_shielded(), "{kind}");
    }
}

#[test]
fn each_word_is_its_own() {
    let text = |items: &[&dyn fmt::Display]| {
        items.iter().map(|item| item.to_string()).collect::<Vec<_>>().join("; ")
    };
    let why = "why".to_owned();
    let reasons: [&dyn fmt::Display; 8] = [
        &Reason::Signal(Signal::TERMINATE),
        &Reason::Requested(None),
        &Reason::Requested(Some(why.clone())),
        &Reason::Idle,
        &Reason::MainReturned,
        &Reason::MainFailed(why.clone()),
        &Reason::TaskFailed(why),
        &Reason::Dropped,
    ];
    assert_eq!(
        text(&reasons),
        "SIGTERM; a request; a request: why; nothing left to do; main returned; main failed: why; \
         a task failed: why; its future was dropped"
    );
    let outcomes: [&dyn fmt::Display; 5] = [
        &Outcome::Finished,
        &Outcome::Failed,
        &Outcome::Panicked,
        &Outcome::Cancelled,
        &Outcome::Abandoned,
    ];
    assert_eq!(text(&outcomes), "finished; failed; panicked; cancelled; abandoned");
    let kinds = KINDS.map(|kind| kind.to_string()).join("; ");
    assert_eq!(
        kinds,
        "error; panic; error; panic; panic in a destructor; panic in a hook; error in a hook; \
         dropped half-way; hook cut off; cut off; executor; observer"
    );
}

#[test]
fn a_word_fills_its_column() {
    assert_eq!(format!("{:>10}|", Outcome::Failed), "    failed|");
    assert_eq!(format!("{:10}|", TaskKind::Plain), "task      |");
    assert_eq!(format!("{:8}|", StragglerState::Pending), "pending |");
    assert_eq!(format!("{:^7}|", FailureKind::TaskError), " error |");
}

#[test]
fn what_has_a_time_says_when_it_was_since_the_start() {
    let report = eventful();
    assert_eq!(report.reasons[1].to_string(), "a request: an upgrade at 11.000 s");
    let spans = report.phases.iter().map(|span| span.to_string()).collect::<Vec<_>>();
    assert_eq!(
        spans,
        [
            "Running from 0.000 to 10.000 s",
            "Draining from 10.000 to 11.000 s (limit 30.000 s)",
            "Cancelling from 11.000 to 12.000 s",
            "Stopped from 12.000 s",
        ]
    );
    let task = report.stragglers[1].task.clone();
    let ended = Duration::from_millis(11_250);
    assert_eq!(
        TaskReport { task, outcome: Outcome::Cancelled, ended, cancelled: None }.to_string(),
        "graceful task \"mailer\" of root/mail, spawned at src/main.rs:1:2: cancelled at 11.250 s"
    );
}

#[test]
fn totals_name_what_there_was() {
    let all = Totals {
        spawned: 27,
        live: 2,
        finished: 3,
        failed: 4,
        panicked: 5,
        cancelled: 6,
        abandoned: 7,
        refused: 8,
    };
    assert_eq!(
        all.to_string(),
        "27 spawned, 2 alive, 3 finished, 4 failed, 5 panicked, 6 cancelled, 7 abandoned, 8 refused"
    );
    assert_eq!(Totals::default().to_string(), "0 spawned");
}

/// A stop of 2 s, ten seconds after the start, in which all went wrong that can.
fn eventful() -> Report {
    let span = |phase, entered: u64, left: Option<u64>, limit: Option<u64>| PhaseSpan {
        phase,
        entered: secs(entered),
        left: left.map(secs),
        limit: limit.map(secs),
    };
    let at = |second: u64, what| At { at: secs(second), what };
    Report {
        reasons: vec![
            at(10, Reason::Signal(Signal::TERMINATE)),
            at(11, Reason::Requested(Some("an upgrade".to_owned()))),
        ],
        phases: vec![
            span(Phase::Running, 0, Some(10), None),
            span(Phase::Draining, 10, Some(11), Some(30)),
            span(Phase::Cancelling, 11, Some(12), None),
            span(Phase::Stopped, 12, None, None),
        ],
        stuck: true,
        stragglers: vec![
            straggler(TaskKind::Plain, StragglerState::Polling, Some(Duration::from_millis(1_500))),
            straggler(TaskKind::Graceful, StragglerState::Pending, None),
            straggler(TaskKind::Shielded, StragglerState::NeverPolled, None),
            straggler(TaskKind::Shielded, StragglerState::Shielded, None),
            straggler(TaskKind::Blocking, StragglerState::Blocking, None),
            straggler(TaskKind::Blocking, StragglerState::Queued, None),
        ],
        stragglers_omitted: 4,
        failures: vec![failure(FailureKind::TaskPanic, true)],
        failures_omitted: 5,
        totals: BTreeMap::from([(
            "root".to_owned(),
            Totals { spawned: 9, finished: 1, failed: 2, cancelled: 6, ..Totals::default() },
        )]),
        untracked: Some(3),
        ..Report::default()
    }
}

#[test]
fn the_text_has_each_part_in_its_place() {
    let place = "\"mailer\" of root/mail, spawned at src/main.rs:1:2";
    let expected = format!(
        "adjourn: exit code 124, stopped in 2.000 s; first cause: SIGTERM
  later    a request: an upgrade
  phase    Draining 0.000 to 1.000 s (limit 20.000 s)
  phase    Cancelling 1.000 to 2.000 s
  stuck    the thread that called `run`, past the deadline
  stuck    task {place}: inside a poll, blocking its thread, 1.5 s old
  stuck    graceful task {place}: pending
  stuck    shielded task {place}: never polled
  stuck    shielded task {place}: pending inside a shield
  stuck    blocking job {place}: running on a blocking thread
  stuck    blocking job {place}: queued for a blocking thread
  stuck    and 4 more
  failure  panic: somebody: it broke: no disk
  failure  and 5 more
  scope    root: 9 spawned, 1 finished, 2 failed, 6 cancelled
  others   3 tasks spawned past Adjourn were alive at the end"
    );
    assert_eq!(eventful().to_string(), expected);
    assert_eq!(eventful().reason(), Some(&Reason::Signal(Signal::TERMINATE)));
}

#[test]
fn the_text_leaves_out_what_was_not() {
    let one = Report { untracked: Some(1), ..Report::default() };
    assert!(
        one.to_string().ends_with("\n  others   1 task spawned past Adjourn was alive at the end")
    );
    assert!(one.is_clean(), "they count for nothing else");
    let none = Report { untracked: Some(0), ..Report::default() };
    assert_eq!(none.to_string(), Report::default().to_string());
    let forced = Report { forced: Some(Signal::INTERRUPT), ..Report::default() };
    assert_eq!(forced.to_string(), "adjourn: exit code 130, forced by SIGINT");
    let start_error = Some("no threads".to_owned());
    let not_started = Report { start_error, stuck: false, ..eventful() };
    assert_eq!(not_started.to_string(), "adjourn: not started: no threads (exit code 124)");
    assert_eq!(Report::default().to_string(), "adjourn: exit code 0, stopped");
}

#[test]
fn what_is_stuck_is_said_once_by_whoever_knows_best() {
    let stuck = |report: &Report| {
        let text = StuckIn("on_report has not returned", report).to_string();
        let lines = text.lines().filter(|line| line.starts_with("  stuck    on_report has not"));
        (lines.count(), text.contains("the thread that called"))
    };
    assert_eq!(stuck(&eventful()), (1, false));
    let start_error = Some("no threads".to_owned());
    assert_eq!(stuck(&Report { start_error, ..eventful() }), (1, false));
    assert_eq!(stuck(&Report { stuck: false, ..eventful() }), (0, false));
}

#[test]
fn an_exit_hands_on_its_code_and_the_signal_to_raise() {
    let exit = Exit::new(Report::default(), Some(Signal::TERMINATE));
    assert_eq!(exit.raises(), Some(Signal::TERMINATE));
    assert_eq!(Exit::code(3).raises(), None);
    let code = std::process::Termination::report(Exit::code(3));
    assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::from(3)));
}

#[test]
fn crowds_are_told_by_their_line_and_the_slowest_of_them_by_name() {
    let worker = |name: u64, age| {
        let mut worker = straggler(TaskKind::Plain, StragglerState::Pending, Some(age));
        worker.task.name = Some(format!("worker {name}"));
        worker
    };
    let lone = straggler(TaskKind::Blocking, StragglerState::Queued, None);
    let site = |of: &Straggler, count, oldest| Site {
        kind: of.task.kind,
        scope: of.task.scope.clone(),
        spawned_at: of.task.spawned_at.clone(),
        count,
        oldest,
    };
    let mut stragglers: Vec<_> =
        (1..=9).map(|n| worker(n, Duration::from_secs(n * 7 % 10))).collect();
    let crowd = site(&stragglers[0], 1_204, Some(Duration::from_secs(9)));
    stragglers.push(lone.clone());
    let mut report = Report {
        stragglers,
        stragglers_omitted: 1_195,
        straggler_sites: vec![crowd, site(&lone, 1, None)],
        ..Report::default()
    };
    let lines = |report: &Report| -> Vec<String> {
        let text = report.to_string();
        text.lines().skip(1).map(|line| line.trim().to_owned()).collect()
    };
    assert_eq!(
        lines(&report),
        [
            "stuck    1204 x task of root/mail, spawned at src/main.rs:1:2, oldest 9.0 s",
            "task \"worker 7\" of root/mail, spawned at src/main.rs:1:2: pending, 9.0 s old",
            "task \"worker 4\" of root/mail, spawned at src/main.rs:1:2: pending, 8.0 s old",
            "task \"worker 1\" of root/mail, spawned at src/main.rs:1:2: pending, 7.0 s old",
            "stuck    blocking job \"mailer\" of root/mail, spawned at src/main.rs:1:2: queued for a \
             blocking thread",
        ]
    );
    // What is of no crowd and not listed is counted.
    report.stragglers_omitted += 7;
    assert_eq!(lines(&report).last().unwrap(), "stuck    and 7 more");
    // Four are no crowd.
    report.stragglers.truncate(4);
    (report.stragglers_omitted, report.straggler_sites[0].count) = (0, 4);
    assert_eq!(lines(&report).len(), 4);
}
