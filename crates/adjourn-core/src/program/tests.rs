use std::cell::RefCell;
use std::panic::Location;
use std::sync::mpsc::channel;

use super::report::{MOST_NAMES, OTHER};
use super::*;
use crate::contract::options::{Reraise, SecondInterrupt};
use crate::contract::report::{
    FailureKind, Site, Straggler, StragglerState, TaskKind, TaskLabel, Totals,
};
use crate::phase::Action;
use crate::process::signal::Signal;
use crate::program::driver::perform;
use crate::tests::nowhere::{program, program_with};
use crate::track::node::Alive;
use crate::track::node::Spawn;
use crate::track::scope::Scope;
use crate::track::wakes::WakerId;

const SOON: Duration = Duration::from_secs(1);

fn spawn(node: &Arc<Node>, kind: TaskKind) -> TaskRef {
    node.register(Spawn::new(kind, Location::caller())).unwrap()
}

fn straggler() -> Straggler {
    let task = TaskLabel {
        name: None,
        scope: "root".to_owned(),
        kind: TaskKind::Plain,
        spawned_at: "src/main.rs:1:2".to_owned(),
    };
    Straggler { task, age: None, state: StragglerState::Pending }
}

fn alive(listed: usize, omitted: u64) -> Alive {
    Alive {
        listed: vec![(straggler(), WakerId::NONE, (0, 0)); listed],
        omitted,
        ..Alive::default()
    }
}

/// No two SIGINT are the same keystroke.
fn undebounced() -> Options {
    Options { debounce: Duration::ZERO, ..Options::default() }
}

fn heard(program: &Program) -> Vec<Signal> {
    std::iter::from_fn(|| program.next_signal()).collect()
}

fn causes(program: &Program) -> Vec<Reason> {
    program.lock().report.reasons.iter().map(|at| at.what.clone()).collect()
}

fn phase(program: &Program) -> Phase {
    let state = program.lock();
    state.machine.phase(state.machine.root())
}

/// Waits until the clock shows a later time, which takes no time worth naming.
fn tick(program: &Program) -> Duration {
    let now = program.now();
    while program.now() == now {
        std::hint::spin_loop();
    }
    now
}

#[test]
fn each_signal_that_came_together_reaches_the_handler_in_order() {
    let program = program(true);
    program.hear(Signal::HANGUP, 2_000);
    program.hear(Signal::TERMINATE, 1);
    program.hear(Signal::INTERRUPT, 3); // within the debounce: the same keystroke
    let heard = heard(&program);
    assert_eq!(heard[..2_000], [Signal::HANGUP; 2_000]);
    assert_eq!(heard[2_000..], [Signal::TERMINATE, Signal::INTERRUPT]);
    let report = program.conclude();
    assert_eq!(report.signals.len() as u64 + report.signals_omitted, 2_004);
}

#[test]
fn what_is_forced_after_the_end_in_order_is_no_failure() {
    let program = program(false);
    program.main_ended(Outcome::Finished, Some(3));
    program.stop(Reason::MainReturned);
    program.drive(perform);
    assert!(program.is_finished());
    program.force(Signal::INTERRUPT);
    program.executor_overdue("nowhere");
    let ended_by_the_warden = program.peek().unwrap();
    for report in [ended_by_the_warden, program.conclude()] {
        assert_eq!((report.forced, report.exit_code()), (None, 3), "{report}");
        assert!(report.failures.is_empty() && !report.stuck, "{report}");
    }
}

#[test]
fn signals_for_the_handler_keep_their_turns_within_bounds() {
    let program = program(true);
    for signal in [Signal::HANGUP, Signal::TERMINATE, Signal::HANGUP] {
        program.hear(signal, 2);
    }
    program.hear(Signal::HANGUP, 3);
    let (up, term) = (Signal::HANGUP, Signal::TERMINATE);
    assert_eq!(heard(&program), [up, up, term, term, up, up, up, up, up]);
    for _ in 0..2_000 {
        program.hear(up, 1);
        program.hear(term, 1);
    }
    assert_eq!(program.lock().handed_over.len(), 1024);
    let heard = heard(&program);
    assert_eq!(heard.iter().filter(|signal| **signal == up).count(), 2_000);
    assert_eq!(heard.len(), 4_000);
    program.conclude();
}

#[test]
fn two_interrupts_of_one_wait_stop_and_force() {
    let program = program_with(undebounced(), false);
    program.hear(Signal::INTERRUPT, 2);
    assert_eq!(causes(&program), [Reason::Signal(Signal::INTERRUPT)]);
    assert_eq!(phase(&program), Phase::Forced);
    assert_eq!(program.conclude().forced, Some(Signal::INTERRUPT));
}

#[test]
fn a_second_interrupt_forces_and_is_no_second_reason() {
    let program = program_with(undebounced(), false);
    program.hear(Signal::INTERRUPT, 1);
    assert_ne!(phase(&program), Phase::Forced);
    program.hear(Signal::INTERRUPT, 1);
    assert_eq!(causes(&program), [Reason::Signal(Signal::INTERRUPT)]);
    assert_eq!(phase(&program), Phase::Forced);
    program.conclude();
}

#[test]
fn a_second_interrupt_that_is_recorded_forces_nothing() {
    let options = Options { second_interrupt: SecondInterrupt::Record, ..undebounced() };
    let program = program_with(options, false);
    for count in [1, 1, 2] {
        program.hear(Signal::INTERRUPT, count);
    }
    assert_ne!(phase(&program), Phase::Forced);
    let report = program.conclude();
    assert_eq!((report.forced, report.signals.len()), (None, 4));
}

#[test]
fn interrupts_of_a_handler_force_once_it_has_asked_for_the_stop() {
    let program = program_with(undebounced(), true);
    program.hear(Signal::INTERRUPT, 2);
    program.hear(Signal::INTERRUPT, 1);
    assert_eq!(heard(&program), [Signal::INTERRUPT; 3]);
    assert_eq!((phase(&program), causes(&program)), (Phase::Running, Vec::new()));
    program.stop(Reason::Requested(None));
    program.hear(Signal::INTERRUPT, 1);
    assert_eq!(phase(&program), Phase::Forced);
    assert_eq!(causes(&program), [Reason::Requested(None)]);
    program.conclude();
}

#[test]
fn lists_of_the_report_are_bounded_to_the_entry() {
    let program = program(false);
    for _ in 0..MOST_LISTED + 3 {
        program.stop(Reason::Requested(None));
    }
    program.add_stragglers(alive(MOST_LISTED - 1, 10));
    program.add_stragglers(alive(4, 20));
    for name in 0..MOST_NAMES + 3 {
        let totals = Totals { spawned: 1, ..Totals::default() };
        program.lock().report.add_totals(&format!("scope {name}"), &totals);
    }
    let report = mem::take(&mut program.lock().report);
    assert_eq!((report.reasons.len(), report.reasons_omitted), (MOST_LISTED, 3));
    assert_eq!((report.stragglers.len(), report.stragglers_omitted), (MOST_LISTED, 33));
    assert_eq!(report.totals.len(), MOST_NAMES + 1);
    assert_eq!(report.totals[OTHER].spawned, 3);
    program.conclude();
}

fn forced_after_its_end(program: &Arc<Program>) {
    program.stop(Reason::Requested(None));
    program.drive(perform);
    assert_eq!(phase(program), Phase::Stopped);
    program.force(Signal::INTERRUPT);
    assert_eq!(program.lock().report.forced, None, "it is over in order");
}

#[test]
fn an_executor_is_overdue_unless_something_else_was() {
    type Excuse = fn(&Arc<Program>);
    let excuses: [(Excuse, bool); 7] = [
        (|_| (), false),
        (|program| program.lock().report.forced = Some(Signal::INTERRUPT), true),
        (forced_after_its_end, true),
        (
            |program| {
                program.stop(Reason::Requested(None));
                program.add_stragglers(alive(1, 0));
            },
            true,
        ),
        // Of a scope that was stopped alone.
        (|program| program.add_stragglers(alive(1, 0)), true),
        (
            |program| _ = program.hook_begins("on_stop", Location::caller(), &program.root(), None),
            true,
        ),
        (|program| program.lock().hurried = true, true),
    ];
    for (index, (excuse, excused)) in excuses.into_iter().enumerate() {
        let program = program(false);
        excuse(&program);
        program.executor_overdue("slow");
        let report = mem::take(&mut program.lock().report);
        let overdue = report.failures.iter().any(|f| f.kind == FailureKind::Executor && f.fatal);
        assert_eq!(overdue, !excused, "excuse {index}");
        program.conclude();
    }
}

#[test]
fn after_a_forced_end_what_is_alive_is_told_once() {
    for (forced, told) in [(false, 0), (true, 1)] {
        let program = program(false);
        let task = spawn(&program.root(), TaskKind::Shielded);
        if forced {
            program.force(Signal::INTERRUPT);
        }
        for _ in 0..2 {
            program.cut_off_forced();
            assert_eq!(program.lock().report.stragglers.len(), told);
        }
        program.conclude();
        Node::deregister(task, Outcome::Cancelled);
    }
}

#[test]
fn a_task_ends_in_the_report_when_it_ended_and_an_abandoned_one_with_the_program() {
    let program = program(false);
    let [ends, stays] = [(); 2].map(|()| spawn(&program.root(), TaskKind::Shielded));
    program.stop(Reason::Requested(None));
    tick(&program);
    Node::deregister(ends, Outcome::Finished);
    let ended = tick(&program);
    let report = program.conclude();
    assert_eq!(report.alive_at_stop, 2);
    let [finished, abandoned] = &report.tasks[..] else { panic!("{report}") };
    let stop = report.reasons[0].at;
    assert_eq!(finished.outcome, Outcome::Finished);
    assert!(stop < finished.ended && finished.ended <= ended, "{report}");
    assert_eq!(abandoned.outcome, Outcome::Abandoned);
    assert!(ended < abandoned.ended, "{report}");
    Node::deregister(stays, Outcome::Cancelled);
}

#[test]
fn a_peek_counts_what_is_alive_as_abandoned_and_lists_it_once() {
    let program = program(false);
    let root = program.root();
    let [over, alive] = [(); 2].map(|()| spawn(&root, TaskKind::Shielded));
    Node::deregister(over, Outcome::Finished);
    let peek = || {
        let report = program.peek().expect("nobody has the lock");
        let total = report.total();
        assert_eq!((total.spawned, total.finished), (2, 1), "{report}");
        assert_eq!((total.live, total.abandoned), (0, 1), "{report}");
        assert_eq!((report.backend, report.stragglers.len()), ("nowhere", 1), "{report}");
        report
    };
    assert_eq!(peek().stragglers[0].state, StragglerState::NeverPolled);
    program.add_stragglers(root.cut_off());
    peek();

    let state = program.lock();
    assert!(program.peek().is_none(), "it waits for no lock");
    drop(state);
    let tasks = root.lock();
    let report = program.peek().expect("the state is free");
    assert_eq!(report.total().spawned, 0, "what is locked is left out");
    drop(tasks);
    program.conclude();
    Node::deregister(alive, Outcome::Cancelled);
}

#[test]
fn the_time_that_is_left_is_that_to_the_deadline() {
    let program = program(false);
    assert!(!program.is_hosted(), "nowhere has no host");
    assert_eq!(program.left(), None, "no stop has begun");
    program.stop(Reason::Requested(None));
    let deadline = program.lock().machine.spans().deadline;
    assert!(program.left().is_some_and(|left| left <= deadline && left > deadline / 2));
    program.force(Signal::INTERRUPT);
    assert_eq!(program.left(), Some(Duration::ZERO));
    program.conclude();

    let for_ever = Options { timeout: Some(Duration::MAX), ..Options::default() };
    let program = program_with(for_ever, false);
    program.stop(Reason::Requested(None));
    assert_eq!(program.left(), None);
    program.conclude();
}

#[test]
fn a_scope_is_cancelling_once_that_is_done() {
    thread_local! {
        /// What the machine and the root's handle say before and after it is cancelled.
        static SEEN: RefCell<Vec<(Phase, Phase)>> = const { RefCell::new(Vec::new()) };
    }
    fn see(program: &Arc<Program>) {
        let scope = Scope::from_node(program.root(), ());
        SEEN.with_borrow_mut(|seen| seen.push((phase(program), scope.phase())));
    }
    let program = program(false);
    program.stop(Reason::Requested(None));
    program.drive(|program, action, node| {
        let cancels = matches!(action, Action::Cancel(_));
        if cancels {
            see(program);
        }
        let answer = perform(program, action, node);
        if cancels {
            see(program);
        }
        answer
    });
    let seen = SEEN.take();
    assert!(seen[0].0 > Phase::Draining, "{seen:?}");
    assert_eq!(seen[0].1, Phase::Draining, "its gate is open yet");
    assert!(seen[1].1 >= Phase::Cancelling, "{seen:?}");
    program.conclude();
}

#[test]
fn a_host_gives_signals_and_sees_what_becomes_of_them() {
    let record = Options { second_interrupt: SecondInterrupt::Record, ..Options::default() };
    let deaf = Options { signals: Vec::new(), ..Options::default() };
    for (options, hears, forces) in
        [(Options::default(), true, true), (record, true, false), (deaf, false, false)]
    {
        let program = program_with(options, false);
        let hosted = program.hosted();
        let task = spawn(&program.root(), TaskKind::Shielded);
        assert_eq!(
            (hosted.inspector().phase(), hosted.inspector().deadline()),
            (Some(Phase::Running), None)
        );
        assert_eq!(format!("{hosted:?}"), "Hosted { phase: Some(Running) }");
        assert_eq!(hosted.inspector().alive(usize::MAX).len(), 1);
        assert!(!hosted.interrupt_again(), "it is a first one");
        assert_eq!(hosted.inspector().deadline().is_some(), hears);
        assert_eq!(hosted.interrupt_again(), forces);
        assert_eq!(hosted.inspector().phase() == Some(Phase::Forced), forces);
        assert_eq!(hosted.signal(Signal::TERMINATE), hears);
        assert!(!hosted.signal(Signal::USER1), "nobody asked for it");
        let report = hosted.inspector().report().expect("it is there");
        assert_eq!(report.forced.is_some(), forces, "{report}");
        assert_eq!((report.backend, report.total().abandoned), ("nowhere", 1), "{report}");
        program.conclude();
        Node::deregister(task, Outcome::Cancelled);
        drop(program);
        assert!(hosted.inspector().phase().is_none() && hosted.inspector().report().is_none());
        assert!(!hosted.signal(Signal::TERMINATE) && !hosted.interrupt_again());
    }
}

#[test]
fn a_job_that_the_pool_drops_unrun_has_ended() {
    let program = program(false);
    let root = program.root();
    let spawn = Spawn::new(TaskKind::Blocking, Location::caller());
    let handle =
        crate::track::task::start_blocking(&root, &crate::tests::nowhere::Poolless, spawn, || ());
    assert!(handle.is_finished());
    let totals = root.lock().totals();
    assert_eq!((totals.spawned, totals.live, totals.cancelled), (1, 0, 1));
    program.conclude();
}

#[test]
fn a_late_release_leaves_the_slots_next_task_alone() {
    let program = program(false);
    let root = program.root();
    let first = spawn(&root, TaskKind::Plain);
    first.hold();
    Node::deregister(first, Outcome::Cancelled);
    let next = spawn(&root, TaskKind::Plain);
    assert!(std::ptr::eq(first.mark(), next.mark()), "the slot is used again");
    next.hold();
    next.hold();
    assert!(first.release().is_none());
    assert!(next.release().is_some_and(|left| left.is_held()));
    assert!(next.release().is_some_and(|left| !left.is_held()));
    assert!(next.release().is_none(), "there is none left");
    Node::deregister(next, Outcome::Cancelled);
    program.conclude();
}

#[test]
fn blocking_code_that_waits_for_a_token_is_told_of_the_end() {
    let program = program(false);
    let token = crate::track::stop::StopToken::new(program.root());
    let (tell, told) = channel();
    let waits = std::thread::spawn(move || {
        tell.send(false).unwrap();
        tell.send(token.wait_timeout(SOON * 3600)).unwrap();
    });
    assert!(!told.recv().unwrap());
    std::thread::sleep(SOON / 50); // mostly it waits by then
    program.conclude();
    assert_eq!(told.recv_timeout(SOON * 10), Ok(true));
    waits.join().unwrap();
}

#[test]
fn what_is_cut_off_and_can_be_dropped_is_awaited_and_counted_once() {
    let program = program(false);
    let root = program.root();
    let job = spawn(&root, TaskKind::Blocking);
    let tasks =
        [TaskKind::Plain, TaskKind::Graceful, TaskKind::Shielded].map(|kind| spawn(&root, kind));
    for _ in 0..2 {
        root.cut_off();
    }
    for task in tasks {
        assert!(program.awaits_drops());
        assert!(task.word().is_doomed());
        Node::deregister(task, Outcome::Cancelled);
    }
    assert!(!program.awaits_drops(), "nothing drops a job");
    Node::deregister(job, Outcome::Finished);
    assert!(!program.awaits_drops());
    program.conclude();
}

#[test]
fn what_is_abandoned_is_dropped_at_its_next_yield() {
    let program = program(false);
    let root = program.root();
    let held = spawn(&root, TaskKind::Shielded);
    held.hold();
    program.conclude();
    assert!(held.live_word().is_some_and(|word| word.is_doomed()));
    assert!(root.register(Spawn::new(TaskKind::Plain, Location::caller())).is_none());
    assert!(root.register(Spawn::new(TaskKind::Shielded, Location::caller())).is_none());
    assert_eq!(root.lock().totals().refused, 2);
    Node::deregister(held, Outcome::Cancelled);
}

#[test]
fn a_chunk_is_used_again_once_its_last_straggler_is_gone() {
    let ended = program(false);
    let root = ended.root();
    let [first, last] = [(); 2].map(|()| spawn(&root, TaskKind::Plain));
    assert!(std::ptr::eq(first.chunk(), last.chunk()));
    drop(root);
    ended.conclude();
    Node::deregister(first, Outcome::Cancelled);
    let others: Vec<_> = (0..20)
        .map(|_| {
            let program = program(false);
            let task = spawn(&program.root(), TaskKind::Plain);
            assert!(!std::ptr::eq(task.chunk(), last.chunk()), "it is not empty yet");
            (program, task)
        })
        .collect();
    let before = Arc::strong_count(&ended);
    Node::deregister(last, Outcome::Cancelled);
    assert!(Arc::strong_count(&ended) < before, "what the chunk keeps goes with its last task");
    for (program, task) in others {
        Node::deregister(task, Outcome::Finished);
        program.conclude();
    }
}

#[test]
fn a_straggler_has_the_age_of_its_first_yield() {
    let program = program(false);
    let root = program.root();
    let [young, new] = [(); 2].map(|()| spawn(&root, TaskKind::Shielded));
    let first = Instant::now();
    Node::store_waker(&young, Waker::noop().clone(), true);
    let start = program.now();
    while program.now() < start + SOON / 1_000 {
        std::hint::spin_loop();
    }
    let (stragglers, omitted, _) = root.cut_off().stragglers();
    let [yielded, unpolled] = &stragglers[..] else { panic!("{stragglers:?}") };
    assert_eq!(
        (yielded.state, unpolled.state),
        (StragglerState::Pending, StragglerState::NeverPolled)
    );
    let most = first.elapsed() + Duration::from_micros(1); // to the microsecond
    assert!(yielded.age.is_some_and(|age| SOON / 1_000 <= age && age <= most), "{yielded:?}");
    assert_eq!((unpolled.age, omitted), (None, 0));
    program.conclude();
    [young, new].into_iter().for_each(|task| Node::deregister(task, Outcome::Cancelled));
}

#[test]
fn the_options_say_which_signal_is_raised_again() {
    let (int, term) = (Signal::INTERRUPT, Signal::TERMINATE);
    let report = |forced, first: Reason| {
        let reasons = vec![At { at: Duration::ZERO, what: first }];
        Report { forced, reasons, ..Report::default() }
    };
    let reports = [
        report(None, Reason::Idle),
        report(None, Reason::Signal(int)),
        report(None, Reason::Signal(term)),
        report(Some(int), Reason::Signal(term)),
    ];
    for (reraise, raised) in [
        (Reraise::Never, [None; 4]),
        (Reraise::Interrupt, [None, Some(int), None, Some(int)]),
        (Reraise::Always, [None, Some(int), Some(term), Some(int)]),
    ] {
        let program = program_with(Options { reraise, ..Options::default() }, false);
        assert_eq!(reports.each_ref().map(|report| program.raises(report)), raised, "{reraise:?}");
        program.conclude();
    }
}

#[test]
fn requests_before_the_start_are_bounded() {
    let (program, stopper) = (program(false), stopper::Stopper::new());
    for _ in 0..MOST_LISTED + 3 {
        stopper.stop();
    }
    assert_eq!(stopper.tie(&program).reasons.len(), MOST_LISTED);
    assert!(stopper.tie(&program).reasons.is_empty(), "they are told once");
    stopper.stop_because("late");
    assert_eq!(causes(&program), [Reason::Requested(Some("late".to_owned()))]);
    program.conclude();
}

#[test]
fn a_scope_that_has_ended_is_kept_for_its_stragglers_alone() {
    let options = Options { timeout: Some(SOON / 1_000), ..Options::default() };
    let program = program_with(options, false);
    let root = program.root();
    let scopes = ["quick", "slow"].map(|name| program.open(&root, name.into(), &[]));
    let quick = spawn(&scopes[0], TaskKind::Shielded);
    let slow = [(); 2].map(|()| spawn(&scopes[1], TaskKind::Shielded));
    Node::deregister(quick, Outcome::Finished);
    for node in &scopes {
        program.event(Event::Stop(node.id));
    }
    while program.now() < SOON / 100 {
        std::hint::spin_loop();
    }
    program.drive(perform);
    let told = |name| program.lock().report.totals.get(name).copied();
    assert_eq!(told("quick").map(|totals| totals.finished), Some(1));
    for task in slow {
        assert_eq!((told("slow"), program.lock().lingering.len()), (None, 1));
        Node::deregister(task, Outcome::Finished);
    }
    assert_eq!(told("slow").map(|totals| (totals.finished, totals.live)), Some((2, 0)));
    assert!(program.lock().lingering.is_empty());
    program.conclude();
}

#[test]
fn hooks_of_a_scope_wait_for_a_task_that_came_before_them() {
    let program = program(false);
    let node = program.open(&program.root(), "db".into(), &[]);
    node.add_hook(Hook::new(|| (), Location::caller()));
    node.close_handle(); // it ends by itself: its hooks are due
    let task = spawn(&node, TaskKind::Plain);
    program.drive(perform);
    assert!(node.lock().has_hooks(), "a task is alive");
    Node::deregister(task, Outcome::Finished);
    program.drive(perform);
    assert!(!node.lock().has_hooks());
    program.conclude();
}

#[test]
fn the_oldest_of_many_are_listed_and_all_are_counted_by_their_line() {
    let program = program(false);
    program.stop(Reason::Requested(None));
    let secs = Duration::from_secs;
    for scope in 0..3_u64 {
        let mut alive = alive(MOST_LISTED - 1, 10);
        for (age, (task, ..)) in (0_u64..).zip(&mut alive.listed) {
            task.age = Some(secs(age * 3 + scope));
        }
        let site = |place: &str| Site {
            kind: TaskKind::Plain,
            scope: "root".to_owned(),
            spawned_at: place.to_owned(),
            count: 54,
            oldest: Some(secs(scope)),
        };
        alive.sites = vec![site("here"), site(&format!("there {scope}"))];
        program.add_stragglers(alive);
    }
    let report = program.conclude();
    assert_eq!((report.stragglers.len(), report.stragglers_omitted), (MOST_LISTED, 30 + 197));
    let mut ages: Vec<_> = report.stragglers.iter().map(|task| task.age.unwrap()).collect();
    ages.sort_unstable();
    let eldest: Vec<_> = (197..297).map(secs).collect();
    assert_eq!(ages, eldest);
    let sites: Vec<_> =
        report.straggler_sites.iter().map(|site| (&*site.spawned_at, site.count)).collect();
    assert_eq!(sites, [("here", 162), ("there 0", 54), ("there 1", 54), ("there 2", 54)]);
    assert_eq!(report.straggler_sites[0].oldest, Some(secs(2)));
}

#[test]
fn the_oldest_tasks_of_a_scope_are_listed_one_by_one() {
    let program = program(false);
    let root = program.root();
    let tasks: Vec<_> = (0..250).map(|_| spawn(&root, TaskKind::Plain)).collect();
    // Only the last have been polled.
    for task in &tasks[200..] {
        _ = Node::store_waker(task, Waker::noop().clone(), true);
    }
    let alive = root.lock().survey(&root, program.now(), |_| true);
    let polled = alive.listed.iter().filter(|(task, ..)| task.age.is_some()).count();
    assert_eq!((alive.listed.len(), polled, alive.omitted), (MOST_LISTED, 50, 150));
    assert_eq!(alive.sites.iter().map(|site| site.count).collect::<Vec<_>>(), [250]);
    tasks.into_iter().for_each(|task| Node::deregister(task, Outcome::Finished));
    program.conclude();
}

#[cfg(target_os = "linux")]
#[test]
fn a_manager_is_told_nothing_after_the_stop_that_was_true_before_it() {
    use std::os::unix::net::UnixDatagram;
    let path = std::env::temp_dir().join(format!("adjourn-manager-{}", std::process::id()));
    _ = std::fs::remove_file(&path); // left by a run of the same number that was killed
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_nonblocking(true).unwrap();
    let hears = || {
        let mut text = [0; 64];
        let length = manager.recv(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text[..length]).into_owned())
    };
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    let program = program(false);
    program.manager.set_socket(path.clone().into());
    while filler.send_to(b"full", &path).is_ok() {}
    program.ready();
    let tried_again = || {
        let mut later = false;
        program.try_notify("READY=1", || later = true);
        later
    };
    assert!(tried_again(), "its queue is full");
    while hears().is_some_and(|text| text == "full") {}
    program.unready();
    assert!(!tried_again(), "there is nothing to tell any more");
    assert_eq!((hears().as_deref(), hears()), (Some("STOPPING=1"), None));
    std::fs::remove_file(&path).unwrap();
    program.conclude();
}

#[test]
fn failures_of_the_end_are_told_though_the_program_has_let_go_of_who_is_told() {
    let program = program(false);
    let ((begun, is_begun), (go, goes)) = (channel(), channel());
    let goes = Mutex::new(goes);
    let sink: FailureSink = Arc::new(move |failure: &Failure| {
        begun.send(failure.origin.clone()).unwrap();
        goes.lock().unwrap().recv().unwrap();
    });
    program.lock().sink = Some(sink);
    let mut report = program.conclude();
    for origin in ["first", "second"] {
        let (kind, messages) = (FailureKind::HookOverdue, Vec::new());
        let failure =
            Failure { at: Duration::ZERO, kind, origin: origin.to_owned(), messages, fatal: true };
        program.fail_late(&mut report, failure);
    }
    program.tell_late(Some(Duration::ZERO)); // it does not wait for ever
    program.let_go();
    for told in ["first", "second"] {
        assert_eq!(is_begun.recv().unwrap(), told);
        go.send(()).unwrap();
    }
}
