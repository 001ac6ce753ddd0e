//! The phase machine: every transition, the order of a tree, the times of levels, and properties
//! over random trees, events and times.

#[allow(unreachable_pub, reason = "the fuzz target has it too, in a place of its own")]
mod model;
mod twins;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use self::model::{
    IDLE, Load, NEVER, Nonsense, Plan, STUCK, Seen, Sim, Step, graceful, left, live, ms,
};
use crate::phase::{Action, Alive, Event, Limits, Machine, Phase, ScopeId};

/// Drain 12 s, cut-off 24 s, deadline 25 s, unless told otherwise.
fn limits() -> Limits {
    Limits {
        lame_duck: Duration::ZERO,
        drain: ms(12_000),
        cut_off: ms(24_000),
        deadline: ms(25_000),
    }
}

fn machine() -> (Machine, ScopeId) {
    let machine = Machine::new(limits());
    let root = machine.root();
    (machine, root)
}

fn open(machine: &mut Machine, parent: ScopeId, depends_on: &[ScopeId]) -> ScopeId {
    machine.open(Duration::ZERO, parent, depends_on).unwrap()
}

/// Takes all actions without doing any.
fn actions(machine: &mut Machine) -> Vec<Action> {
    std::iter::from_fn(|| {
        let action = machine.next_action()?;
        if let Action::End(id) = action {
            machine.ended(id);
        }
        Some(action)
    })
    .collect()
}

/// Says one thing and takes what follows. A scope without tasks has no handle either.
fn tell(machine: &mut Machine, at: u64, event: Event) -> Vec<Action> {
    let after = match event {
        Event::Tasks(id, Alive { live: Some(false), .. }) if id != machine.root() => Some(left(id)),
        _ => None,
    };
    machine.handle_all(ms(at), [event].into_iter().chain(after));
    actions(machine)
}

/// Says what is alive in a scope that has a handle.
fn told(m: &mut Machine, at: u64, id: ScopeId, graceful: bool, live: bool) -> Vec<Action> {
    let alive = Alive { graceful: Some(graceful), live: Some(live), left: false };
    m.handle(ms(at), Event::Tasks(id, alive));
    actions(m)
}

// ---------------------------------------------------------------------------------------------
// One scope.

#[test]
fn a_program_goes_through_its_phases() {
    let (mut m, root) = machine();
    assert_eq!(m.phase(root), Phase::Running);
    assert!(!m.is_stopping());
    assert_eq!(tell(&mut m, 5, Event::Stop(root)), [Action::Fire(root)]);
    assert_eq!(m.phase(root), Phase::Draining);
    assert!(m.is_stopping());
    assert_eq!(m.stop_time(), Some(ms(5)));
    assert_eq!(m.cut_off(), Some(ms(24_005)));
    assert_eq!(m.deadline(), Some(ms(25_005)));
    assert_eq!(m.drain_limit(root), Some(ms(12_005)));
    assert_eq!(m.level_limit(root), Some(ms(24_005)));
    assert_eq!(m.next_limit(), Some(ms(24_005)), "before it is known what is alive");

    assert_eq!(tell(&mut m, 6, graceful(root, true)), []);
    assert_eq!(m.next_limit(), Some(ms(12_005)));
    assert_eq!(tell(&mut m, 6, live(root, true)), []);
    assert_eq!(tell(&mut m, 7, graceful(root, false)), [Action::Cancel(root)]);
    assert_eq!(m.phase(root), Phase::Cancelling);
    assert_eq!(m.next_limit(), Some(ms(24_005)));
    assert_eq!(tell(&mut m, 8, live(root, false)), [Action::Close(root)]);
    assert_eq!(m.phase(root), Phase::Closing);
    assert_eq!(tell(&mut m, 9, Event::Closed(root)), [Action::Finish]);
    assert_eq!(m.phase(root), Phase::Stopped);
    assert_eq!(m.next_limit(), None);
}

#[test]
fn nothing_is_decided_before_a_fired_scope_has_answered() {
    let (mut m, root) = machine();
    m.handle(ms(0), live(root, false));
    m.handle(ms(0), graceful(root, false));
    assert_eq!(tell(&mut m, 0, Event::Stop(root)), [Action::Fire(root)]);
    assert_eq!(tell(&mut m, 0, Event::Tick), []);
    assert_eq!(tell(&mut m, 0, live(root, false)), []);
    assert_eq!(tell(&mut m, 0, graceful(root, false)), [Action::Cancel(root), Action::Close(root)]);
}

#[test]
fn a_task_spawned_before_the_hooks_run_puts_them_off() {
    for way_out in [live as fn(_, _) -> _, |_, _| Event::CutOff] {
        let (mut m, root) = machine();
        tell(&mut m, 0, Event::Stop(root));
        tell(&mut m, 0, graceful(root, false));
        assert_eq!(tell(&mut m, 0, live(root, false)), [Action::Close(root)]);
        assert_eq!(tell(&mut m, 0, live(root, true)), []);
        assert_eq!(tell(&mut m, 0, Event::Occupied(root)), []);
        let mut again = tell(&mut m, 0, way_out(root, false));
        assert_eq!(again.pop(), Some(Action::Close(root)));
        assert_eq!(tell(&mut m, 0, Event::Closed(root)), [Action::Finish]);
    }
}

#[test]
fn a_task_that_puts_off_hooks_is_heard_of_while_they_are_due_alone() {
    let (mut m, root) = machine();
    tell(&mut m, 0, Event::Stop(root));
    assert_eq!(tell(&mut m, 0, Event::Occupied(root)), []);
    assert_eq!(tell(&mut m, 0, graceful(root, false)), [Action::Cancel(root)]);
    assert_eq!(tell(&mut m, 0, Event::Occupied(root)), []);
    assert_eq!(tell(&mut m, 0, live(root, false)), [Action::Close(root)]);
    assert_eq!(tell(&mut m, 0, Event::Closed(root)), [Action::Finish]);
}

#[test]
fn what_was_told_before_its_step_does_not_count() {
    let (mut m, root) = machine();
    m.handle(ms(0), live(root, false));
    m.handle(ms(0), Event::Closed(root));
    tell(&mut m, 0, Event::Stop(root));
    assert_eq!(tell(&mut m, 0, graceful(root, false)), [Action::Cancel(root)]);
    assert_eq!(tell(&mut m, 0, Event::Closed(root)), [], "it is not closing yet");
    assert_eq!(tell(&mut m, 0, live(root, false)), [Action::Close(root)]);
    assert_eq!(m.phase(root), Phase::Closing);
}

#[test]
fn graceful_tasks_have_until_the_drain_limit() {
    let (mut m, root) = machine();
    tell(&mut m, 0, Event::Stop(root));
    tell(&mut m, 0, graceful(root, true));
    tell(&mut m, 0, live(root, true));
    assert_eq!(tell(&mut m, 11_999, Event::Tick), []);
    assert_eq!(tell(&mut m, 12_000, Event::Tick), [Action::Cancel(root)]);
}

#[test]
fn any_event_looks_at_the_limits() {
    let (mut m, root) = machine();
    let other = open(&mut m, root, &[]);
    tell(&mut m, 0, Event::Stop(root));
    for id in [root, other] {
        tell(&mut m, 0, graceful(id, true));
        tell(&mut m, 0, live(id, true));
    }
    // Two levels: the child's drain limit is half of the time of half of the cut-off.
    assert_eq!(m.drain_limit(other), Some(ms(6_000)));
    assert_eq!(tell(&mut m, 6_000, live(root, true)), [Action::Cancel(other)]);
}

#[test]
fn tasks_are_waited_for_until_the_cut_off() {
    let (mut m, root) = machine();
    tell(&mut m, 0, Event::Stop(root));
    tell(&mut m, 0, live(root, true));
    assert_eq!(tell(&mut m, 0, graceful(root, false)), [Action::Cancel(root)]);
    assert_eq!(tell(&mut m, 23_999, Event::Tick), []);
    assert_eq!(tell(&mut m, 24_000, Event::Tick), [Action::CutOff(root), Action::Close(root)]);
    assert_eq!(tell(&mut m, 24_001, Event::Closed(root)), [Action::Finish]);
}

#[test]
fn what_ends_in_the_instant_of_its_limit_was_in_time() {
    let (mut m, root) = machine();
    tell(&mut m, 0, Event::Stop(root));
    tell(&mut m, 0, live(root, true));
    tell(&mut m, 0, graceful(root, false));
    assert_eq!(tell(&mut m, 24_000, live(root, false)), [Action::Close(root)]);
    assert_eq!(tell(&mut m, 25_000, Event::Closed(root)), [Action::Finish]);
}

#[test]
fn work_that_hooks_leave_behind_is_waited_for() {
    let (mut m, root) = machine();
    tell(&mut m, 0, Event::Stop(root));
    tell(&mut m, 0, live(root, false));
    tell(&mut m, 0, graceful(root, false));
    tell(&mut m, 1, live(root, true));
    assert_eq!(tell(&mut m, 2, Event::Closed(root)), []);
    assert_eq!(tell(&mut m, 3, live(root, false)), [Action::Finish]);
}

#[test]
fn hooks_that_begin_after_the_cut_off_have_their_work_waited_for() {
    let (mut m, root) = machine();
    let child = open(&mut m, root, &[]);
    tell(&mut m, 0, Event::Stop(root));
    for id in [child, root] {
        tell(&mut m, 0, graceful(id, false));
        tell(&mut m, 0, live(id, false));
    }
    tell(&mut m, 24_000, Event::Tick);
    let followed = tell(&mut m, 24_100, Event::Closed(child));
    assert_eq!(followed, [Action::End(child), Action::Close(root)]);
    tell(&mut m, 24_200, live(root, true));
    assert_eq!(tell(&mut m, 24_300, Event::Closed(root)), []);
    assert_eq!(tell(&mut m, 24_400, live(root, false)), [Action::Finish]);
}

#[test]
fn the_deadline_ends_hooks_that_hang() {
    let (mut m, root) = machine();
    tell(&mut m, 0, Event::Stop(root));
    tell(&mut m, 0, live(root, false));
    tell(&mut m, 0, graceful(root, false));
    assert_eq!(tell(&mut m, 24_999, Event::Tick), []);
    assert_eq!(tell(&mut m, 25_000, Event::Tick), [Action::Finish]);
    assert_eq!(m.phase(root), Phase::Stopped);
}

#[test]
fn a_clock_that_comes_after_the_deadline_closes_nothing() {
    for late in [25_000, 60_000] {
        let (mut m, root) = machine();
        let db = open(&mut m, root, &[]);
        let http = open(&mut m, root, &[db]);
        tell(&mut m, 0, Event::Stop(root));
        let late = tell(&mut m, late, Event::Tick);
        assert!(!late.iter().any(|action| matches!(action, Action::Close(_))), "{late:?}");
        for id in [http, db] {
            assert!(late.contains(&Action::CutOff(id)) && late.contains(&Action::End(id)));
        }
        assert_eq!(late.last(), Some(&Action::Finish));
    }
}

#[test]
fn a_stop_that_takes_the_place_of_another_has_limits_of_its_own() {
    let mut sim = Sim::new(limits(), IDLE);
    let short = sim.open(0, &[], IDLE).unwrap();
    let [long, later] = [(); 2].map(|()| sim.open(0, &[], STUCK).unwrap());
    // Two stops of one instant: one is over at once, and its limits stay noted beside the other's.
    sim.stop(long);
    sim.stop(short);
    assert_eq!(sim.end_at(short), Some(0));
    sim.advance(ms(500));
    sim.stop(later);
    sim.advance(ms(60_000));
    assert_eq!(sim.scopes[long].cut, Some(ms(24_000)));
    assert_eq!(sim.scopes[later].cut, Some(ms(24_500)));
}

#[test]
fn stopping_twice_is_stopping_once() {
    let (mut m, root) = machine();
    assert_eq!(tell(&mut m, 1, Event::Stop(root)), [Action::Fire(root)]);
    assert_eq!(tell(&mut m, 2, Event::Stop(root)), []);
    assert_eq!(m.stop_time(), Some(ms(1)));
    assert_eq!(m.deadline(), Some(ms(25_001)));
}

#[test]
fn a_lame_duck_phase_comes_first_and_counts() {
    let mut m = Machine::new(Limits { lame_duck: ms(3_000), ..limits() });
    let root = m.root();
    let child = open(&mut m, root, &[]);
    assert_eq!(tell(&mut m, 0, Event::Stop(root)), [Action::LameDuck]);
    assert_eq!(m.phase(root), Phase::LameDuck);
    assert_eq!(m.phase(child), Phase::Running);
    assert_eq!(m.next_limit(), Some(ms(3_000)));
    assert_eq!(tell(&mut m, 1_000, Event::Stop(root)), []);
    // Everything else goes on: scopes come and go.
    tell(&mut m, 1_500, left(child));
    assert_eq!(tell(&mut m, 1_500, Event::Closed(child)), [Action::End(child)]);
    let late = m.open(ms(2_000), root, &[]).unwrap();
    assert_eq!(tell(&mut m, 3_000, Event::Tick), [Action::Fire(root), Action::Fire(late)]);
    assert_eq!(m.stop_time(), Some(ms(0)));
    assert_eq!(m.cut_off(), Some(ms(24_000)));
    assert_eq!(m.level_limit(late), Some(ms(3_000 + 21_000 / 2)));
    assert_eq!(m.drain_limit(late), Some(ms(3_000 + 21_000 / 4)));
}

#[test]
fn a_program_with_nothing_left_to_do_is_no_lame_duck() {
    let lame = || Machine::new(Limits { lame_duck: ms(3_000), ..limits() });
    let mut m = lame();
    let root = m.root();
    assert_eq!(tell(&mut m, 1, Event::Idle), [Action::Fire(root)]);
    assert_eq!(m.stop_time(), Some(ms(1)));
    assert_eq!(tell(&mut m, 2, Event::Idle), [], "it is stopping already");
    let mut m = lame();
    let root = m.root();
    assert_eq!(tell(&mut m, 1, Event::Stop(root)), [Action::LameDuck]);
    assert_eq!(tell(&mut m, 2, Event::Idle), [Action::Fire(root)]);
    assert_eq!((m.stop_time(), m.cut_off()), (Some(ms(1)), Some(ms(24_001))));
}

#[test]
fn a_scope_that_is_stopped_alone_is_no_lame_duck() {
    let mut m = Machine::new(Limits { lame_duck: ms(3_000), ..limits() });
    let root = m.root();
    let scope = open(&mut m, root, &[]);
    tell(&mut m, 0, Event::Stop(root));
    assert_eq!(tell(&mut m, 10, Event::Stop(scope)), [Action::Fire(scope)]);
    assert_eq!(m.phase(root), Phase::LameDuck);
    // It shares the limits of the program, which come first.
    assert_eq!(m.level_limit(scope), Some(ms(24_000)));
    assert_eq!(tell(&mut m, 3_000, Event::Tick), [Action::Fire(root)]);
    assert_eq!(m.level_limit(scope), Some(ms(3_000 + 21_000 / 2)));
}

#[test]
fn a_scope_ends_apart_that_was_asked_before_the_program_was() {
    let (mut m, root) = machine();
    let alone = open(&mut m, root, &[]);
    let below = open(&mut m, alone, &[]);
    let by_itself = open(&mut m, root, &[]);
    let with_it = open(&mut m, root, &[]);
    tell(&mut m, 0, Event::Stop(alone));
    assert_eq!(tell(&mut m, 0, live(by_itself, false)), [Action::Close(by_itself)]);
    tell(&mut m, 1, Event::Stop(root));
    for scope in [below, alone, with_it] {
        assert!(!m.ends_apart(scope), "it has not come to close");
        tell(&mut m, 2, graceful(scope, false));
        tell(&mut m, 2, live(scope, false));
        assert_eq!(m.phase(scope), Phase::Closing);
        assert_eq!(m.ends_apart(scope), scope != with_it);
        tell(&mut m, 2, Event::Closed(scope));
    }
    assert!(!m.ends_apart(by_itself) && !m.ends_apart(root));
    tell(&mut m, 3, Event::Closed(by_itself));
    told(&mut m, 3, root, false, false);
    assert_eq!((m.phase(root), m.ends_apart(root)), (Phase::Closing, false));
}

#[test]
fn force_ends_it_at_once_from_every_phase() {
    for steps in 0..6 {
        let mut m = Machine::new(Limits { lame_duck: ms(10), ..limits() });
        let root = m.root();
        let script = [
            Event::Stop(root),
            Event::Tick,
            graceful(root, false),
            live(root, false),
            Event::Closed(root),
        ];
        for (at, &event) in script.iter().enumerate().take(steps) {
            m.handle(ms(at as u64 * 10), event);
        }
        let before = m.phase(root);
        let followed = tell(&mut m, 1_000, Event::Force);
        assert_eq!(followed.last(), Some(&Action::Finish), "from {before}");
        if before == Phase::Stopped {
            assert_eq!(m.phase(root), Phase::Stopped);
            continue;
        }
        assert_eq!(followed, [Action::Finish], "from {before}: nothing else is done");
        assert_eq!(m.phase(root), Phase::Forced);
        for event in script {
            assert_eq!(tell(&mut m, 2_000, event), []);
        }
        assert_eq!(tell(&mut m, 90_000, Event::Deadline), []);
        assert_eq!(m.phase(root), Phase::Forced);
        assert_eq!(m.open(ms(90_000), root, &[]), None);
        assert_eq!(m.next_limit(), None);
    }
}

#[test]
fn the_hosts_deadline_ends_it_from_every_phase() {
    for steps in 0..5 {
        let mut m = Machine::new(Limits { lame_duck: ms(10), ..limits() });
        let root = m.root();
        let child = open(&mut m, root, &[]);
        let script = [Event::Stop(root), Event::Tick, graceful(child, false), live(child, false)];
        for (at, &event) in script.iter().enumerate().take(steps) {
            m.handle(ms(at as u64 * 10), event);
        }
        actions(&mut m);
        let before = (m.phase(root), m.phase(child));
        let followed = tell(&mut m, 40, Event::Deadline);
        let ends = [Action::End(child), Action::CutOff(root), Action::Finish];
        let place = |action| followed.iter().position(|&other| other == action);
        assert!(place(ends[0]) < place(Action::Finish), "{before:?}: {followed:?}");
        assert_eq!(followed.last(), Some(&Action::Finish), "{before:?}");
        assert!(!followed.iter().any(|a| matches!(a, Action::Close(_))), "{before:?}");
        assert_eq!(place(Action::CutOff(child)).is_some(), steps < 4, "{before:?}");
        assert!(place(ends[1]).is_some(), "{before:?}");
        assert_eq!(m.phase(root), Phase::Stopped);
        assert_eq!(m.phase(child), Phase::Stopped);
    }
}

#[test]
fn the_hosts_cut_off_counts_whatever_the_time() {
    let (mut m, root) = machine();
    assert_eq!(tell(&mut m, 0, Event::CutOff), [], "no stop, no cut-off");
    tell(&mut m, 0, Event::Stop(root));
    assert_eq!(
        tell(&mut m, 1, Event::CutOff),
        [Action::Cancel(root), Action::CutOff(root), Action::Close(root)]
    );
    assert_eq!(tell(&mut m, 24_000, Event::Tick), [], "only once");
    assert_eq!(m.next_limit(), Some(ms(25_000)));
}

#[test]
fn the_hosts_cut_off_ends_a_lame_duck() {
    let mut m = Machine::new(Limits { lame_duck: ms(10_000), ..limits() });
    let root = m.root();
    tell(&mut m, 0, Event::Stop(root));
    assert_eq!(
        tell(&mut m, 1, Event::CutOff),
        [Action::Fire(root), Action::Cancel(root), Action::CutOff(root), Action::Close(root)]
    );
}

#[test]
fn a_process_that_ends_has_later_stops_share_what_is_left() {
    let (mut m, root) = machine();
    assert_eq!(tell(&mut m, 0, Event::EndsWithin(ms(5_000))), [], "it asks for no stop");
    assert!(!m.is_stopping() && m.next_limit().is_none());
    tell(&mut m, 1_000, Event::Stop(root));
    told(&mut m, 1_000, root, true, true);
    assert_eq!((m.stop_time(), m.drain_limit(root)), (Some(ms(1_000)), Some(ms(4_000))));
    assert_eq!((m.cut_off(), m.deadline()), (Some(ms(4_600)), Some(ms(5_000))));
    let spans = m.spans();
    assert_eq!([spans.drain, spans.cut_off, spans.deadline], [3_000, 3_600, 4_000].map(ms));
    assert_eq!(tell(&mut m, 3_999, Event::Tick), []);
    assert_eq!(tell(&mut m, 4_000, Event::Tick), [Action::Cancel(root)]);
    assert_eq!(tell(&mut m, 4_600, Event::Tick), [Action::CutOff(root), Action::Close(root)]);
    assert_eq!(tell(&mut m, 5_000, Event::Tick), [Action::Finish]);
}

#[test]
fn a_process_that_ends_brings_the_limits_of_a_stop_forward_in_each_phase() {
    let ends = Event::EndsWithin(ms(5_000));
    let (mut m, root) = machine();
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, true, true);
    assert_eq!(m.next_limit(), Some(ms(12_000)));
    assert_eq!(tell(&mut m, 10, ends), []);
    assert_eq!(m.next_limit(), Some(ms(4_010)), "draining");
    assert_eq!(tell(&mut m, 4_010, Event::Tick), [Action::Cancel(root)]);
    assert_eq!(m.next_limit(), Some(ms(4_610)));

    let (mut m, root) = machine();
    tell(&mut m, 0, Event::Stop(root));
    assert_eq!(told(&mut m, 0, root, false, true), [Action::Cancel(root)]);
    tell(&mut m, 10, ends);
    assert_eq!(m.next_limit(), Some(ms(4_610)), "cancelling");

    let (mut m, root) = machine();
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, false, false);
    assert_eq!(m.phase(root), Phase::Closing);
    tell(&mut m, 10, Event::CutOff);
    tell(&mut m, 10, ends);
    assert_eq!(m.next_limit(), Some(ms(5_010)), "closing");
    assert_eq!(tell(&mut m, 5_010, Event::Tick), [Action::Finish]);
    assert_eq!(tell(&mut m, 5_011, Event::EndsWithin(ms(0))), [], "it is over");
    assert_eq!((m.next_limit(), m.deadline()), (None, Some(ms(5_010))));

    let (mut m, root) = machine();
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, false, false);
    assert_eq!(tell(&mut m, 0, Event::Closed(root)), [Action::Finish]);
    tell(&mut m, 10, ends);
    assert_eq!((m.next_limit(), m.deadline()), (None, Some(ms(5_010))), "the executor has to end");
}

#[test]
fn a_limit_that_comes_before_the_process_ends_is_kept() {
    let (mut m, root) = machine();
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, true, true);
    // 0.8 of it is later than the drain limit, 0.92 and all of it earlier than the others.
    tell(&mut m, 2_000, Event::EndsWithin(ms(20_000)));
    assert_eq!(m.drain_limit(root), Some(ms(12_000)));
    assert_eq!((m.cut_off(), m.deadline()), (Some(ms(20_400)), Some(ms(22_000))));
    for later in [ms(20_000), Duration::MAX] {
        tell(&mut m, 3_000, Event::EndsWithin(later));
        assert_eq!((m.cut_off(), m.deadline()), (Some(ms(20_400)), Some(ms(22_000))));
    }
    tell(&mut m, 3_000, Event::EndsWithin(ms(10_000)));
    assert_eq!(m.drain_limit(root), Some(ms(11_000)));
    assert_eq!((m.cut_off(), m.deadline()), (Some(ms(12_200)), Some(ms(13_000))));
    // The proportions would put this one's cut-off later.
    tell(&mut m, 11_900, Event::EndsWithin(ms(1_000)));
    assert_eq!((m.cut_off(), m.deadline()), (Some(ms(12_200)), Some(ms(12_900))));
}

#[test]
fn a_short_drain_is_no_shorter_for_a_process_that_ends() {
    let mut m = Machine::new(Limits { drain: ms(1_000), ..limits() });
    let root = m.root();
    tell(&mut m, 0, Event::EndsWithin(ms(5_000)));
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, true, true);
    assert_eq!(m.drain_limit(root), Some(ms(1_000)));
}

#[test]
fn a_lame_duck_is_over_where_the_process_ends() {
    let with = || Machine::new(Limits { lame_duck: ms(1_000), ..limits() });
    let mut m = with();
    let root = m.root();
    assert_eq!(tell(&mut m, 0, Event::Stop(root)), [Action::LameDuck]);
    assert_eq!(tell(&mut m, 1, Event::EndsWithin(ms(5_000))), [Action::Fire(root)]);
    let mut m = with();
    let root = m.root();
    tell(&mut m, 0, Event::EndsWithin(ms(5_000)));
    assert_eq!(tell(&mut m, 0, Event::Stop(root)), [Action::Fire(root)]);
}

#[test]
fn the_levels_share_what_a_process_that_ends_leaves() {
    let (mut m, root) = machine();
    let child = open(&mut m, root, &[]);
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, true, true);
    told(&mut m, 0, child, true, true);
    assert_eq!((m.drain_limit(child), m.level_limit(child)), (Some(ms(6_000)), Some(ms(12_000))));
    tell(&mut m, 0, Event::EndsWithin(ms(5_000)));
    assert_eq!((m.drain_limit(child), m.level_limit(child)), (Some(ms(2_000)), Some(ms(2_300))));
    assert_eq!(m.drain_limit(root), None, "its turn has not come");
    assert_eq!(tell(&mut m, 2_000, Event::Tick), [Action::Cancel(child)]);
    tell(&mut m, 2_300, Event::Tick);
    assert_eq!(m.drain_limit(root), Some(ms(4_000)));
}

#[test]
fn who_came_into_an_empty_scope_keeps_its_parents_limits_where_the_process_ends() {
    let (mut m, root) = machine();
    let child = open(&mut m, root, &[]);
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, true, true);
    told(&mut m, 0, child, false, false); // open: it has a handle
    told(&mut m, 0, child, true, true);
    assert_eq!(m.drain_limit(child), m.drain_limit(root));
    tell(&mut m, 0, Event::EndsWithin(ms(5_000)));
    assert_eq!([m.drain_limit(child), m.drain_limit(root)], [Some(ms(4_000)); 2]);
}

#[test]
fn a_scope_that_is_stopped_alone_is_over_before_the_process_ends() {
    let (mut m, root) = machine();
    let child = open(&mut m, root, &[]);
    tell(&mut m, 0, Event::Stop(child));
    told(&mut m, 0, child, true, true);
    tell(&mut m, 0, Event::EndsWithin(ms(5_000)));
    assert_eq!(tell(&mut m, 4_000, Event::Tick), [Action::Cancel(child)]);
    let ends = [Action::CutOff(child), Action::Close(child)];
    assert_eq!(tell(&mut m, 4_600, Event::Tick), ends);
    assert_eq!(tell(&mut m, 5_000, Event::Tick), [Action::End(child)]);
    assert!(!m.is_stopping());
}

#[test]
fn limits_against_each_other_are_lowered_to_the_deadline() {
    let mut sim = Sim::new(
        Limits { lame_duck: ms(900), drain: ms(800), cut_off: ms(700), deadline: ms(100) },
        STUCK,
    );
    sim.open(0, &[], STUCK);
    sim.stop(0);
    sim.advance(ms(10_000));
    assert_eq!(sim.finished, Some(ms(100)));
}

#[test]
fn without_time_it_is_over_at_once() {
    let mut sim =
        Sim::new(Limits { lame_duck: ms(0), drain: ms(0), cut_off: ms(0), deadline: ms(0) }, STUCK);
    let db = sim.open(0, &[], STUCK).unwrap();
    sim.open(0, &[db], STUCK);
    sim.stop(0);
    assert_eq!(sim.finished, Some(ms(0)));
}

#[test]
fn limits_of_one_instant_are_all_kept() {
    let limits = Limits { lame_duck: ms(9), drain: ms(9), cut_off: ms(9), deadline: ms(9) };
    let mut sim = Sim::new(limits, STUCK);
    let scope = sim.open(0, &[], Load { graceful: NEVER, cleanup: NEVER, ..IDLE }).unwrap();
    sim.stop(0);
    // Stopped in the lame duck phase, by the end of which its drain limit comes nearer.
    sim.stop(scope);
    sim.advance(ms(9));
    assert_eq!(sim.finished, Some(ms(9)));
}

#[test]
fn limits_can_be_for_ever() {
    let mut sim = Sim::new(
        Limits { lame_duck: ms(0), drain: ms(5), cut_off: ms(NEVER), deadline: ms(NEVER) },
        Load { graceful: NEVER, cleanup: 7, ..IDLE },
    );
    sim.advance(ms(10));
    sim.stop(0);
    assert_eq!(sim.machine.cut_off(), Some(Duration::MAX));
    sim.advance(ms(1_000_000));
    assert_eq!(sim.times(0), [Some(10), Some(15), Some(22)]);

    let mut m = Machine::new(Limits {
        lame_duck: ms(0),
        drain: ms(NEVER),
        cut_off: ms(NEVER),
        deadline: ms(NEVER),
    });
    let root = m.root();
    assert_eq!(tell(&mut m, 1, Event::Stop(root)), [Action::Fire(root)]);
    assert_eq!(m.next_limit(), None);
    m.handle(Duration::MAX, graceful(root, true));
    assert_eq!(actions(&mut m), [], "never does not come at the end of time either");
}

#[test]
fn levels_share_a_time_without_end_by_having_none() {
    for drain in [5_000, NEVER] {
        let limits =
            Limits { lame_duck: ms(0), drain: ms(drain), cut_off: ms(NEVER), deadline: ms(NEVER) };
        let mut m = Machine::new(limits);
        let root = m.root();
        let below = open(&mut m, root, &[]);
        tell(&mut m, 1_000, Event::Stop(root));
        assert_eq!(m.level_limit(below), Some(Duration::MAX));
        let share = if drain == NEVER { Duration::MAX } else { ms(1_000 + drain / 2) };
        assert_eq!(m.drain_limit(below), Some(share), "of two levels");
    }
}

#[test]
fn a_clock_that_goes_back_stands_still() {
    let (mut m, root) = machine();
    m.handle(ms(5_000), Event::Tick);
    m.handle(ms(1_000), Event::Stop(root));
    assert_eq!(m.stop_time(), Some(ms(5_000)));
}

#[test]
fn phases_have_names_and_ranks() {
    use Phase::*;
    let all = [Running, LameDuck, Draining, Cancelling, Closing, Stopped, Forced];
    assert!(all.is_sorted());
    let names: Vec<_> = all.iter().map(ToString::to_string).collect();
    let expected = "Running LameDuck Draining Cancelling Closing Stopped Forced";
    assert_eq!(names.join(" "), expected);
    assert_eq!(format!("{:>9}", Running), "  Running");
}

// ---------------------------------------------------------------------------------------------
// A scope that ends by itself.

#[test]
fn a_scope_that_is_left_ends_by_itself() {
    let (mut m, root) = machine();
    let scope = open(&mut m, root, &[]);
    assert_eq!(tell(&mut m, 0, left(scope)), [Action::Close(scope)]);
    assert_eq!(m.phase(scope), Phase::Closing);
    assert_eq!(tell(&mut m, 0, Event::Closed(scope)), [Action::End(scope)]);
    assert_eq!(m.phase(scope), Phase::Stopped);
    assert_eq!(m.phase(root), Phase::Running);
}

#[test]
fn a_scope_that_is_left_waits_for_its_children() {
    let (mut m, root) = machine();
    let scope = open(&mut m, root, &[]);
    let child = open(&mut m, scope, &[]);
    assert_eq!(tell(&mut m, 0, left(scope)), []);
    assert_eq!(tell(&mut m, 0, left(child)), [Action::Close(child)]);
    assert_eq!(tell(&mut m, 0, Event::Closed(child)), [Action::End(child), Action::Close(scope)]);
}

#[test]
fn a_task_that_comes_after_all_takes_left_back() {
    let (mut m, root) = machine();
    let scope = open(&mut m, root, &[]);
    let child = open(&mut m, scope, &[]);
    tell(&mut m, 0, left(scope));
    tell(&mut m, 0, live(scope, true));
    tell(&mut m, 0, left(child));
    assert_eq!(tell(&mut m, 0, Event::Closed(child)), [Action::End(child)]);
    assert_eq!(m.phase(scope), Phase::Running);
    assert_eq!(tell(&mut m, 0, left(scope)), [Action::Close(scope)]);
}

#[test]
fn work_of_hooks_is_waited_for_in_a_natural_end_too() {
    let (mut m, root) = machine();
    let scope = open(&mut m, root, &[]);
    tell(&mut m, 0, left(scope));
    tell(&mut m, 0, live(scope, true));
    assert_eq!(tell(&mut m, 0, Event::Closed(scope)), []);
    assert_eq!(tell(&mut m, 0, live(scope, false)), [Action::End(scope)]);
}

#[test]
fn the_root_does_not_end_by_itself() {
    let (mut m, root) = machine();
    assert_eq!(tell(&mut m, 0, left(root)), []);
    assert_eq!(m.phase(root), Phase::Running);
}

#[test]
fn a_scope_is_not_cancelled_with_its_fire_where_one_below_it_has_just_ended() {
    let (mut m, root) = machine();
    let parent = open(&mut m, root, &[]);
    let child = open(&mut m, parent, &[]);
    tell(&mut m, 0, Event::Stop(child));
    told(&mut m, 0, child, false, false);
    m.handle_all(Duration::ZERO, [Event::Stop(parent), Event::Closed(child)]);
    let mut ended = false;
    while let Some(action) = m.next_action() {
        ended |= action == Action::End(child);
        if action == Action::Fire(parent) {
            assert!(ended || !m.cancel_at_once(Duration::ZERO, parent), "the end comes first");
        }
    }
    assert!(ended);
    assert_eq!(told(&mut m, 0, parent, false, true), [Action::Cancel(parent)]);
}

#[test]
fn a_dependency_that_is_left_stays_until_those_that_use_it_have_ended() {
    let (mut m, root) = machine();
    let db = open(&mut m, root, &[]);
    let users = [open(&mut m, root, &[db]), open(&mut m, root, &[db])];
    assert!(!m.retire(Duration::ZERO, db, true));
    assert_eq!(tell(&mut m, 0, left(db)), []);
    // One ends by itself, the other is stopped.
    assert!(m.retire(Duration::ZERO, users[0], true));
    assert_eq!(m.phase(db), Phase::Running);
    let stopped = tell(&mut m, 0, Event::Stop(users[1]));
    assert_eq!(stopped, [Action::Fire(users[1])]);
    tell(&mut m, 0, live(users[1], false));
    tell(&mut m, 0, graceful(users[1], false));
    let ended = tell(&mut m, 0, Event::Closed(users[1]));
    assert_eq!(ended, [Action::End(users[1]), Action::Close(db)]);
}

#[test]
fn a_dependency_that_is_left_stays_for_those_that_hold_up_no_stop() {
    // One is open, since its parent has been told and it has a handle; the other is overdue.
    let (mut m, root) = machine();
    let db = open(&mut m, root, &[]);
    let parent = open(&mut m, root, &[]);
    let users = [open(&mut m, parent, &[db]), open(&mut m, parent, &[db])];
    tell(&mut m, 0, left(db));
    tell(&mut m, 0, Event::Stop(parent));
    told(&mut m, 0, parent, true, true);
    told(&mut m, 0, users[0], false, false);
    told(&mut m, 0, users[1], false, true);
    let level = m.level_limit(users[1]).unwrap();
    m.handle(level, Event::Tick);
    while m.next_action().is_some() {}
    assert_eq!((m.phase(db), m.phase(users[0])), (Phase::Running, Phase::Draining));
    for user in users {
        m.handle(level, left(user));
        m.handle(level, live(user, false));
        m.handle(level, Event::Closed(user));
        while m.next_action().is_some() {}
        assert_eq!(m.phase(user), Phase::Stopped);
        let last = user == users[1];
        assert_eq!(m.phase(db), if last { Phase::Closing } else { Phase::Running });
    }
}

#[test]
fn a_dependency_that_is_left_is_stopped_in_the_order() {
    let (mut m, root) = machine();
    let db = open(&mut m, root, &[]);
    let http = open(&mut m, root, &[db]);
    tell(&mut m, 0, left(db));
    assert_eq!(tell(&mut m, 0, Event::Stop(root)), [Action::Fire(root), Action::Fire(http)]);
    assert_eq!(m.phase(db), Phase::Running);
    tell(&mut m, 0, live(http, false));
    tell(&mut m, 0, graceful(http, false));
    assert_eq!(tell(&mut m, 0, Event::Closed(http)), [Action::End(http), Action::Fire(db)]);
}

#[test]
fn one_of_two_dependencies_may_have_ended() {
    let (mut m, root) = machine();
    let db = open(&mut m, root, &[]);
    let cache = open(&mut m, root, &[]);
    let http = open(&mut m, root, &[db, cache]);
    tell(&mut m, 0, Event::Stop(db)); // and who uses it
    tell(&mut m, 0, graceful(http, false));
    tell(&mut m, 0, live(http, false));
    tell(&mut m, 0, Event::Closed(http));
    let late = open(&mut m, root, &[db, cache]);
    assert_eq!(tell(&mut m, 0, Event::Stop(root)), [Action::Fire(root), Action::Fire(late)]);
    assert_eq!(m.phase(cache), Phase::Running);
}

#[test]
fn a_scope_that_is_closing_by_itself_is_waited_for_by_a_stop() {
    let (mut m, root) = machine();
    let scope = open(&mut m, root, &[]);
    tell(&mut m, 0, left(scope));
    tell(&mut m, 0, Event::Stop(root));
    tell(&mut m, 0, live(root, false));
    assert_eq!(tell(&mut m, 0, graceful(root, false)), []);
    assert_eq!(m.level_limit(scope), Some(ms(12_000)));
    assert_eq!(
        tell(&mut m, 1, Event::Closed(scope)),
        [Action::End(scope), Action::Cancel(root), Action::Close(root)]
    );
}

#[test]
fn a_scope_that_is_closing_by_itself_has_its_limit_from_the_stop_on() {
    let (mut m, root) = machine();
    let db = open(&mut m, root, &[]);
    let pool = open(&mut m, db, &[]);
    let http = open(&mut m, root, &[db]);
    assert_eq!(tell(&mut m, 0, left(pool)), [Action::Close(pool)]);
    // Its parent waits for http, but it waits for nobody: a third of the time, beside http's.
    assert_eq!(tell(&mut m, 0, Event::Stop(root)), [Action::Fire(root), Action::Fire(http)]);
    assert_eq!(m.level_limit(pool), Some(ms(8_000)));
    assert_eq!(m.level_limit(db), None);
}

#[test]
fn slots_are_used_again_and_stale_ids_are_told() {
    let (mut m, root) = machine();
    let mut last = None;
    for _ in 0..100_000 {
        let scope = open(&mut m, root, &[]);
        assert!(scope.index() <= 1);
        m.handle(ms(0), left(scope));
        m.handle(ms(0), Event::Closed(scope));
        assert_eq!(actions(&mut m), [Action::Close(scope), Action::End(scope)]);
        if let Some(stale) = last.replace(scope) {
            assert_ne!(stale, scope);
            assert_eq!(m.phase(stale), Phase::Stopped);
            assert_eq!(m.open(ms(0), stale, &[]), None);
            assert_eq!(tell(&mut m, 0, Event::Stop(stale)), []);
            assert_eq!(tell(&mut m, 0, Event::Closed(stale)), []);
        }
    }
}

#[test]
fn an_index_is_not_used_again_before_its_scope_was_said_to_have_ended() {
    let (mut m, root) = machine();
    let first = open(&mut m, root, &[]);
    m.handle(ms(0), left(first));
    m.handle(ms(0), Event::Closed(first));
    assert_eq!(m.next_action(), Some(Action::Close(first)));
    assert_eq!(m.next_action(), Some(Action::End(first)));
    let second = open(&mut m, root, &[]);
    assert_ne!(first.index(), second.index(), "its end was taken, not done");
    m.ended(first);
    let third = open(&mut m, root, &[]);
    assert_eq!(first.index(), third.index());
}

#[test]
fn only_a_scope_that_has_ended_can_be_said_to_have() {
    let (mut m, root) = machine();
    let scope = open(&mut m, root, &[]);
    m.ended(scope);
    m.ended(root);
    assert_eq!(m.phase(scope), Phase::Running);
    tell(&mut m, 0, left(scope));
    assert_eq!(tell(&mut m, 0, Event::Closed(scope)), [Action::End(scope)]);
    let next = open(&mut m, root, &[]);
    assert_eq!(next.index(), scope.index());
    m.ended(scope);
    assert_eq!(m.phase(next), Phase::Running, "said twice, the place being used again");
}

// ---------------------------------------------------------------------------------------------
// The order of a tree.

#[test]
fn nothing_pending_takes_no_time() {
    let mut sim = Sim::new(limits(), IDLE);
    let db = sim.open(0, &[], IDLE).unwrap();
    let http = sim.open(0, &[db], IDLE).unwrap();
    let connection = sim.open(http, &[db], IDLE).unwrap();
    sim.advance(ms(3));
    sim.stop(0);
    assert_eq!(sim.finished, Some(ms(3)));
    for scope in [db, http, connection] {
        assert_eq!(sim.end_at(scope), Some(3));
    }
}

#[test]
fn parents_and_children_fire_together_and_parents_are_cancelled_later() {
    let mut sim = Sim::new(limits(), STUCK);
    let load = Load { plain: true, cleanup: 100, hooks: 10, ..IDLE };
    let parent = sim.open(0, &[], load).unwrap();
    let child = sim.open(parent, &[], load).unwrap();
    sim.stop(0);
    sim.advance(ms(1_000));
    assert_eq!(sim.times(child), [Some(0), Some(0), Some(100)]);
    assert_eq!(sim.times(parent), [Some(0), Some(110), Some(210)]);
    assert_eq!(sim.times(0), [Some(0), Some(220), None]);
}

#[test]
fn a_dependency_fires_after_its_dependents_have_ended() {
    let mut sim = Sim::new(limits(), IDLE);
    let load = Load { plain: true, cleanup: 100, hooks: 10, ..IDLE };
    let db = sim.open(0, &[], load).unwrap();
    let http = sim.open(0, &[db, db], load).unwrap();
    let grpc = sim.open(0, &[db], load).unwrap();
    sim.stop(0);
    sim.advance(ms(1_000));
    assert_eq!(sim.times(http), [Some(0), Some(0), Some(100)]);
    assert_eq!(sim.times(grpc), [Some(0), Some(0), Some(100)]);
    assert_eq!(sim.times(db), [Some(110), Some(110), Some(210)]);
    assert_eq!(sim.finished, Some(ms(220)));
}

#[test]
fn siblings_take_the_maximum_of_their_times() {
    let mut sim = Sim::new(limits(), IDLE);
    for cleanup in [100, 300, 200] {
        let load = Load { plain: true, cleanup, ..IDLE };
        sim.open(0, &[], load).unwrap();
    }
    sim.stop(0);
    sim.advance(ms(1_000));
    assert_eq!(sim.finished, Some(ms(300)));
}

#[test]
fn a_dependency_on_an_ancestor_is_no_dependency() {
    let (mut m, root) = machine();
    let mut chain = vec![root];
    for depth in 0..40 {
        // All ancestors, the parent too.
        let above = chain.clone();
        chain.push(open(&mut m, chain[depth], &above));
    }
    let fires: Vec<_> = chain.iter().map(|&id| Action::Fire(id)).collect();
    assert_eq!(tell(&mut m, 0, Event::Stop(root)), fires);
}

#[test]
fn a_dependency_on_anyone_else_is_kept() {
    // A comb: each of the long chain's scopes has a tooth, which is nobody's ancestor.
    let (mut m, root) = machine();
    let mut parent = root;
    let mut teeth = Vec::new();
    for _ in 0..40 {
        parent = open(&mut m, parent, &[]);
        teeth.push(open(&mut m, parent, &[]));
    }
    let last = open(&mut m, parent, &teeth);
    let fired = tell(&mut m, 0, Event::Stop(root));
    assert!(fired.contains(&Action::Fire(last)));
    for tooth in teeth {
        assert!(!fired.contains(&Action::Fire(tooth)));
    }
}

#[test]
fn each_level_of_a_chain_has_its_share() {
    let mut sim = Sim::new(limits(), STUCK);
    let a = sim.open(0, &[], STUCK).unwrap();
    let b = sim.open(a, &[], STUCK).unwrap();
    let c = sim.open(b, &[], STUCK).unwrap();
    sim.stop(0);
    sim.advance(ms(30_000));
    // Four levels of 6 s: a scope's tasks are cancelled when the one below is overdue.
    assert_eq!(sim.times(c), [Some(0), Some(0), Some(24_000)]);
    assert_eq!(sim.times(b), [Some(0), Some(6_000), Some(24_000)]);
    assert_eq!(sim.times(a), [Some(0), Some(12_000), Some(24_000)]);
    assert_eq!(sim.times(0), [Some(0), Some(18_000), Some(24_000)]);
    assert!(sim.scopes.iter().all(|scope| scope.cut == Some(ms(24_000))));
    let cuts = sim.log.iter().filter_map(|&(_, action)| match action {
        Action::CutOff(id) => Some(sim.by_id[&id]),
        _ => None,
    });
    assert_eq!(cuts.collect::<Vec<_>>(), [c, b, a, 0], "children first");
    assert_eq!(sim.finished, Some(ms(24_000)));
}

#[test]
fn each_level_of_dependencies_has_its_share() {
    let graceful = Load { graceful: NEVER, cleanup: NEVER, ..IDLE };
    let mut sim = Sim::new(limits(), IDLE);
    let db = sim.open(0, &[], graceful).unwrap();
    let jobs = sim.open(0, &[db], graceful).unwrap();
    let http = sim.open(0, &[db, jobs], graceful).unwrap();
    sim.stop(0);
    sim.advance(ms(30_000));
    // Root 1, db 2, jobs 3, http 4. Drain limits are half of each share.
    assert_eq!(sim.times(http), [Some(0), Some(3_000), Some(24_000)]);
    assert_eq!(sim.times(jobs), [Some(6_000), Some(9_000), Some(24_000)]);
    assert_eq!(sim.times(db), [Some(12_000), Some(15_000), Some(24_000)]);
    assert_eq!(sim.times(0), [Some(0), Some(18_000), Some(24_000)]);
}

#[test]
fn what_a_level_leaves_unused_passes_on() {
    let mut sim = Sim::new(limits(), STUCK);
    let a = sim.open(0, &[], STUCK).unwrap();
    let quick = Load { plain: true, cleanup: 2_000, ..IDLE };
    let b = sim.open(a, &[], quick).unwrap();
    sim.stop(0);
    sim.advance(ms(30_000));
    assert_eq!(sim.scopes[b].level_limit, Some(ms(8_000)));
    assert_eq!(sim.scopes[a].level_limit, Some(ms(2_000 + 11_000)));
    assert_eq!(sim.times(0)[1], Some(13_000));
}

#[test]
fn an_overdue_scope_is_still_waited_for() {
    let mut sim = Sim::new(limits(), IDLE);
    let slow = Load { plain: true, cleanup: 15_000, hooks: 100, ..IDLE };
    let scope = sim.open(0, &[], slow).unwrap();
    sim.stop(0);
    sim.advance(ms(30_000));
    assert_eq!(sim.scopes[scope].level_limit, Some(ms(12_000)));
    assert_eq!(sim.times(0), [Some(0), Some(12_000), Some(15_100)]);
    assert_eq!(sim.times(scope)[2], Some(15_000));
    assert_eq!(sim.scopes[scope].cut, None);
    assert_eq!(sim.finished, Some(ms(15_100)));
}

#[test]
fn hooks_that_hang_do_not_hold_up_a_dependency_for_ever() {
    let mut sim = Sim::new(limits(), IDLE);
    let db = sim.open(0, &[], IDLE).unwrap();
    let hanging = Load { hooks: NEVER, ..IDLE };
    let http = sim.open(0, &[db], hanging).unwrap();
    sim.stop(0);
    sim.advance(ms(30_000));
    assert_eq!(sim.times(db)[0], Some(8_000));
    assert_eq!(sim.scopes[http].cut, None);
    assert_eq!(sim.times(0), [Some(0), Some(8_000), None], "no hooks beside its children's");
    assert_eq!(sim.finished, Some(ms(25_000)));
}

#[test]
fn at_the_cut_off_even_a_scope_that_never_fired_sees_every_step() {
    let (mut m, root) = machine();
    let db = open(&mut m, root, &[]);
    let http = open(&mut m, root, &[db]);
    tell(&mut m, 0, Event::Stop(root));
    use Action::*;
    assert_eq!(
        tell(&mut m, 1, Event::CutOff),
        [
            Fire(db),
            Cancel(http),
            CutOff(http),
            Cancel(db),
            CutOff(db),
            Cancel(root),
            CutOff(root),
            Close(http),
            Close(db)
        ]
    );
    assert_eq!(tell(&mut m, 2, Event::Closed(db)), [End(db)]);
    assert_eq!(tell(&mut m, 3, Event::Closed(http)), [End(http), Close(root)]);
}

#[test]
fn a_cycle_through_parents_is_no_order() {
    let mut sim = Sim::new(limits(), IDLE);
    sim.ordered = false;
    let a = sim.open(0, &[], IDLE).unwrap();
    let b = sim.open(0, &[], IDLE).unwrap();
    let a1 = sim.open(a, &[b], IDLE).unwrap();
    let b1 = sim.open(b, &[a], IDLE).unwrap();
    sim.stop(0);
    assert_eq!(sim.finished, Some(ms(0)));
    for scope in [a, b, a1, b1] {
        assert_eq!(sim.end_at(scope), Some(0));
    }
}

#[test]
fn only_the_cycle_itself_loses_its_order() {
    let mut sim = Sim::new(limits(), IDLE);
    sim.ordered = false;
    let slow = Load { plain: true, cleanup: 100, ..IDLE };
    let db = sim.open(0, &[], slow).unwrap();
    let a = sim.open(0, &[db], slow).unwrap();
    let b = sim.open(0, &[db], slow).unwrap();
    let a1 = sim.open(a, &[b], slow).unwrap();
    let b1 = sim.open(b, &[a], slow).unwrap();
    // Something else that goes on: the cycle waits for it.
    let other = sim.open(0, &[], slow).unwrap();
    sim.stop(0);
    sim.advance(ms(10_000));
    assert_eq!(sim.times(other)[0], Some(0));
    let first = [a, b].into_iter().find(|&at| sim.times(at)[0] == Some(100));
    assert!(first.is_some());
    let ends = [a, b, a1, b1].map(|scope| sim.end_at(scope).unwrap());
    assert_eq!(sim.times(db)[0], ends.into_iter().max());
    assert!(sim.scopes.iter().all(|scope| scope.cut.is_none()));
}

#[test]
fn who_only_waits_for_a_cycle_keeps_its_order() {
    let (mut m, root) = machine();
    let outer = open(&mut m, root, &[]);
    // Blocked after all others, since its parent fires with them.
    let db = open(&mut m, outer, &[]);
    let a = open(&mut m, root, &[db]);
    let b = open(&mut m, root, &[db]);
    let (a1, b1) = (open(&mut m, a, &[b]), open(&mut m, b, &[a]));
    let fired = tell(&mut m, 0, Event::Stop(root));
    // The root's turn and outer's wait for theirs, so nothing is active: the cycle gives way.
    assert!(!fired.contains(&Action::Fire(db)), "{fired:?}");
    assert_ne!(fired.contains(&Action::Fire(a)), fired.contains(&Action::Fire(b)));
    assert_ne!(fired.contains(&Action::Fire(a1)), fired.contains(&Action::Fire(b1)));
}

#[test]
fn who_waits_for_one_that_waits_for_a_cycle_keeps_its_order() {
    // As above, with one more scope between: where the search for the cycle begins is two steps off.
    let (mut m, root) = machine();
    let outer = open(&mut m, root, &[]);
    let inner = open(&mut m, outer, &[]);
    let disk = open(&mut m, inner, &[]);
    let db = open(&mut m, outer, &[disk]);
    let a = open(&mut m, root, &[db]);
    let b = open(&mut m, root, &[db]);
    let (a1, b1) = (open(&mut m, a, &[b]), open(&mut m, b, &[a]));
    let fired = tell(&mut m, 0, Event::Stop(root));
    assert!(!fired.contains(&Action::Fire(db)), "{fired:?}");
    assert!(!fired.contains(&Action::Fire(disk)), "{fired:?}");
    assert_ne!(fired.contains(&Action::Fire(a)), fired.contains(&Action::Fire(b)));
    assert_ne!(fired.contains(&Action::Fire(a1)), fired.contains(&Action::Fire(b1)));
}

// ---------------------------------------------------------------------------------------------
// Stopping one scope.

#[test]
fn stopping_a_scope_spares_parents_and_siblings() {
    let mut sim = Sim::new(limits(), STUCK);
    let a = sim.open(0, &[], IDLE).unwrap();
    let below = sim.open(a, &[], IDLE).unwrap();
    let b = sim.open(0, &[], IDLE).unwrap();
    sim.advance(ms(7));
    sim.stop(a);
    assert_eq!(sim.end_at(a), Some(7));
    assert_eq!(sim.end_at(below), Some(7));
    for spared in [0, b] {
        assert_eq!(sim.scopes[spared].phase, Phase::Running);
    }
    assert!(!sim.machine.is_stopping());
    assert_eq!(sim.machine.next_limit(), None);
}

#[test]
fn stopping_a_scope_stops_those_that_need_it_first() {
    let mut sim = Sim::new(limits(), IDLE);
    let load = Load { plain: true, cleanup: 100, ..IDLE };
    let db = sim.open(0, &[], load).unwrap();
    let pool = sim.open(db, &[], load).unwrap();
    let http = sim.open(0, &[pool], load).unwrap();
    let connection = sim.open(http, &[], load).unwrap();
    let proxy = sim.open(0, &[http], load).unwrap();
    let other = sim.open(0, &[], load).unwrap();
    sim.stop(db);
    // db 1, pool 2, http 3, connection and proxy 4: a quarter of the time for these.
    assert_eq!(sim.machine.level_limit(sim.scopes[proxy].id), Some(ms(6_000)));
    sim.advance(ms(10_000));
    assert_eq!(sim.times(db), [Some(0), Some(400), Some(500)]);
    assert_eq!(sim.times(pool), [Some(300), Some(300), Some(400)]);
    assert_eq!(sim.times(http), [Some(100), Some(200), Some(300)]);
    assert_eq!(sim.times(connection), [Some(100), Some(100), Some(200)]);
    assert_eq!(sim.times(proxy), [Some(0), Some(0), Some(100)]);
    assert_eq!(sim.times(other), [None; 3]);
    assert_eq!(sim.machine.next_limit(), None);
}

#[test]
fn a_scope_that_is_stopped_alone_has_the_same_spans() {
    let mut sim = Sim::new(limits(), STUCK);
    let load = Load { graceful: NEVER, cleanup: NEVER, hooks: NEVER, ..IDLE };
    let scope = sim.open(0, &[], load).unwrap();
    sim.advance(ms(1_000));
    sim.stop(scope);
    sim.advance(ms(60_000));
    assert_eq!(sim.times(scope), [Some(1_000), Some(13_000), Some(25_000)]);
    assert_eq!(sim.scopes[scope].cut, Some(ms(25_000)));
    assert_eq!(sim.end_at(scope), Some(26_000), "its own deadline");
    assert_eq!(sim.times(0), [None; 3]);
    assert_eq!(sim.finished, None);
}

#[test]
fn a_stop_of_the_program_leaves_an_earlier_stop_less_time() {
    let mut sim = Sim::new(limits(), STUCK);
    let scope = sim.open(0, &[], STUCK).unwrap();
    sim.stop(scope);
    assert_eq!(sim.scopes[scope].level_limit, Some(ms(24_000)));
    sim.advance(ms(4_000));
    sim.stop(0);
    // Now it has two levels to the top, and shares what is left.
    assert_eq!(sim.scopes[scope].level_limit, Some(ms(14_000)));
    sim.advance(ms(60_000));
    assert_eq!(sim.times(0), [Some(4_000), Some(14_000), Some(28_000)]);
    assert_eq!(sim.scopes[scope].cut, Some(ms(24_000)), "its own cut-off is the earlier one");
    assert_eq!(sim.finished, Some(ms(28_000)));
}

#[test]
fn a_dependency_waits_for_a_dependent_of_an_earlier_stop() {
    let mut sim = Sim::new(limits(), STUCK);
    let db = sim.open(0, &[], IDLE).unwrap();
    let slow = Load { plain: true, cleanup: 500, ..IDLE };
    let http = sim.open(0, &[db], slow).unwrap();
    sim.stop(http);
    sim.advance(ms(100));
    sim.stop(db);
    sim.advance(ms(1_000));
    assert_eq!(sim.end_at(http), Some(500));
    assert_eq!(sim.times(db)[0], Some(500));
}

// ---------------------------------------------------------------------------------------------
// Opening into a stop.

#[test]
fn a_scope_opened_into_a_draining_parent_fires_at_once_and_is_waited_for() {
    let (mut m, root) = machine();
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, true, true);
    let child = m.open(ms(1_000), root, &[]).unwrap();
    assert_eq!(actions(&mut m), [Action::Fire(child)]);
    // Being empty does not end it: somebody is about to spawn.
    assert_eq!(told(&mut m, 1_000, child, false, false), []);
    assert_eq!(told(&mut m, 1_000, child, true, true), []);
    // The parent waits although nothing graceful of its own is alive.
    assert_eq!(tell(&mut m, 2_000, graceful(root, false)), []);
    // What is left in it is plain, and goes with the parent's.
    assert_eq!(told(&mut m, 3_000, child, false, true), [root, child].map(Action::Cancel));
    assert_eq!(told(&mut m, 4_000, child, false, false), []);
    assert_eq!(tell(&mut m, 5_000, live(root, false)), [Action::Close(child)]);
    assert_eq!(
        tell(&mut m, 6_000, Event::Closed(child)),
        [Action::End(child), Action::Close(root)]
    );
}

#[test]
fn empty_scopes_follow_their_parent_to_its_end_and_hold_it_up_nowhere() {
    let (mut m, root) = machine();
    let old = open(&mut m, root, &[]);
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, true, true);
    let child = m.open(ms(1_000), root, &[]).unwrap();
    let grandchild = m.open(ms(1_000), child, &[]).unwrap();
    actions(&mut m);
    for id in [old, child, grandchild] {
        assert_eq!(told(&mut m, 1_000, id, false, false), []);
        assert_eq!(m.phase(id), Phase::Draining, "it takes what its parent takes");
    }
    // Its handle may be a task's of the root that is only now cancelled.
    let cancelled = tell(&mut m, 2_000, graceful(root, false));
    assert_eq!(cancelled, [root, old, child, grandchild].map(Action::Cancel));
    // They close before their parent does, the innermost first.
    let closes = tell(&mut m, 2_000, live(root, false));
    assert_eq!(closes, [old, grandchild].map(Action::Close));
    assert_eq!(tell(&mut m, 2_000, Event::Closed(old)), [Action::End(old)]);
    let ends = tell(&mut m, 2_000, Event::Closed(grandchild));
    assert_eq!(ends, [Action::End(grandchild), Action::Close(child)]);
    let ends = tell(&mut m, 2_000, Event::Closed(child));
    assert_eq!(ends, [Action::End(child), Action::Close(root)]);
}

#[test]
fn what_comes_into_an_empty_scope_has_its_parents_limits() {
    let (mut m, root) = machine();
    let child = open(&mut m, root, &[]);
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, true, true);
    assert_eq!(m.drain_limit(child), Some(ms(6_000)), "a share of its own");
    told(&mut m, 0, child, false, false);
    assert_eq!((m.drain_limit(child), m.drain_limit(root)), (None, Some(ms(12_000))));
    // Long after its share would have been over.
    assert_eq!(told(&mut m, 11_000, child, true, true), []);
    assert_eq!(m.drain_limit(child), Some(ms(12_000)));
    assert_eq!(tell(&mut m, 11_500, graceful(root, false)), [], "it is waited for again");
    assert_eq!(told(&mut m, 11_600, child, false, false), [root, child].map(Action::Cancel));
}

#[test]
fn an_empty_scope_closes_before_what_it_needs_is_told() {
    let (mut m, root) = machine();
    let needed = open(&mut m, root, &[]);
    let busy = open(&mut m, root, &[needed]);
    let empty = open(&mut m, root, &[needed]);
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, true, true);
    assert_eq!(told(&mut m, 0, busy, true, true), []);
    assert_eq!(told(&mut m, 0, empty, false, false), [], "what it needs is still there");
    assert_eq!(told(&mut m, 1, busy, false, true), [Action::Cancel(busy)]);
    assert_eq!(tell(&mut m, 2, live(busy, false)), [Action::Close(busy)]);
    let shown_out = tell(&mut m, 3, Event::Closed(busy));
    assert_eq!(shown_out, [Action::End(busy), Action::Cancel(empty), Action::Close(empty)]);
    assert_eq!(m.phase(needed), Phase::Running);
    let goes_on = tell(&mut m, 4, Event::Closed(empty));
    assert_eq!(goes_on, [Action::End(empty), Action::Fire(needed)]);
    assert_eq!(told(&mut m, 5, needed, false, false), [], "nobody has needed it since");
    assert_eq!(m.phase(needed), Phase::Draining);
}

#[test]
fn what_comes_deep_below_empty_scopes_is_waited_for_at_once() {
    let (mut m, root) = machine();
    let above = open(&mut m, root, &[]);
    let below = open(&mut m, above, &[]);
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, true, true);
    for id in [above, below] {
        assert_eq!(told(&mut m, 0, id, false, false), []);
    }
    // Both in one instant, the root's first.
    let events = [graceful(root, false), graceful(below, true), live(below, true)];
    m.handle_all(ms(1), events);
    assert_eq!(actions(&mut m), [], "it is waited for");
    let (mut m, root) = machine();
    let above = open(&mut m, root, &[]);
    let below = open(&mut m, above, &[]);
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, true, true);
    for id in [above, below] {
        told(&mut m, 0, id, false, false);
    }
    assert_eq!(told(&mut m, 1, below, true, true), []);
    assert_eq!(tell(&mut m, 2, graceful(root, false)), [], "it is waited for");
    let opened = m.open(ms(3), above, &[]).unwrap();
    assert_eq!(actions(&mut m), [Action::Fire(opened)]);
    assert_eq!(told(&mut m, 4, opened, true, true), []);
    assert_eq!(told(&mut m, 4, below, false, false), [], "the new one is waited for");
    let all = [root, above, below].map(Action::Cancel);
    assert_eq!(told(&mut m, 5, opened, false, false)[..3], all);
}

#[test]
fn an_empty_scope_that_is_asked_to_stop_ends() {
    let (mut m, root) = machine();
    let [child, other] = [(); 2].map(|()| open(&mut m, root, &[]));
    assert_eq!(tell(&mut m, 0, Event::Stop(other)), [Action::Fire(other)]);
    let ends = [Action::Cancel(other), Action::Close(other)];
    assert_eq!(told(&mut m, 0, other, false, false), ends, "alone: it has nothing to follow");
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, true, true);
    assert_eq!(told(&mut m, 0, child, false, false), []);
    let ends = [Action::Cancel(child), Action::Close(child)];
    assert_eq!(tell(&mut m, 1, Event::Stop(child)), ends);
}

#[test]
fn an_empty_scope_opened_into_a_cancelling_one_does_not_hold_that_up() {
    let (mut m, root) = machine();
    let above = open(&mut m, root, &[]);
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, false, true);
    told(&mut m, 0, above, false, true);
    let empty = open(&mut m, above, &[]);
    assert_eq!(actions(&mut m), [Action::Fire(empty), Action::Cancel(empty)]);
    assert_eq!(told(&mut m, 0, empty, false, false), []);
    assert_eq!(tell(&mut m, 1, live(above, false)), [Action::Close(empty)]);
    let ends = tell(&mut m, 1, Event::Closed(empty));
    assert_eq!(ends, [Action::End(empty), Action::Close(above)]);
}

#[test]
fn an_empty_scope_waits_for_the_tasks_below_it() {
    let (mut m, root) = machine();
    let empty = open(&mut m, root, &[]);
    let full = open(&mut m, empty, &[]);
    let within = open(&mut m, full, &[]);
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, true, true);
    told(&mut m, 0, empty, false, false);
    assert_eq!(told(&mut m, 0, within, false, false), []);
    assert_eq!(told(&mut m, 0, full, false, true), [full, within].map(Action::Cancel));
    assert_eq!(tell(&mut m, 0, graceful(root, false)), []);
    assert_eq!(m.phase(root), Phase::Draining, "a task below it has still to end");
    assert_eq!(tell(&mut m, 0, live(full, false)), [Action::Close(within)]);
    tell(&mut m, 0, Event::Closed(within));
    tell(&mut m, 0, Event::Closed(full));
    assert_eq!(m.phase(root), Phase::Cancelling);
    assert_eq!(m.phase(empty), Phase::Cancelling, "it goes along");
}

#[test]
fn what_is_opened_into_a_stop_is_empty_and_open_from_its_first_instant() {
    let (mut m, root) = machine();
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, true, true);
    let new = m.open(ms(1), root, &[]).unwrap();
    // Before its `Fire` is performed: a plain task is its parent's, a graceful one is waited for.
    m.handle(ms(1), live(new, true));
    assert_eq!((m.phase(new), actions(&mut m)), (Phase::Draining, vec![Action::Fire(new)]));
    assert_eq!(told(&mut m, 2, new, true, true), []);
    assert_eq!(tell(&mut m, 3, graceful(root, false)), [], "it is waited for");
    assert_eq!(told(&mut m, 4, new, false, true), [root, new].map(Action::Cancel));
    // In a parent that is cancelling it is cancelled, and open all the same.
    let late = m.open(ms(5), root, &[]).unwrap();
    assert_eq!((m.phase(late), m.phase(new)), (Phase::Cancelling, Phase::Cancelling));
    assert_eq!(actions(&mut m), [Action::Fire(late), Action::Cancel(late)]);
    tell(&mut m, 6, live(new, false));
    assert_eq!(tell(&mut m, 6, live(root, false)), [], "what is open closes first");
}

#[test]
fn a_scope_opened_into_a_cancelling_parent_is_cancelled_but_not_ended() {
    for way_out in ["parent", "left", "cut-off"] {
        let (mut m, root) = machine();
        tell(&mut m, 0, Event::Stop(root));
        told(&mut m, 0, root, false, true);
        assert_eq!(m.phase(root), Phase::Cancelling);
        let child = m.open(ms(1), root, &[]).unwrap();
        assert_eq!(actions(&mut m), [Action::Fire(child), Action::Cancel(child)]);
        assert_eq!(told(&mut m, 1, child, false, false), [], "a cleanup may spawn into it");
        assert_eq!(told(&mut m, 2, child, false, true), []);
        assert_eq!(tell(&mut m, 2, live(root, false)), [], "its child has a task");
        assert_eq!(tell(&mut m, 2, live(root, true)), []);
        assert_eq!(told(&mut m, 3, child, false, false), []);
        let close = [Action::Close(child)];
        match way_out {
            "parent" => assert_eq!(tell(&mut m, 3, live(root, false)), close),
            "left" => {
                assert_eq!(tell(&mut m, 3, left(child)), close);
                assert_eq!(tell(&mut m, 3, live(root, false)), []);
            }
            _ => {
                let cut = tell(&mut m, 24_000, Event::Tick);
                assert_eq!(cut, [Action::CutOff(root), close[0]]);
            }
        }
        assert_eq!(
            tell(&mut m, 24_000, Event::Closed(child)),
            [Action::End(child), Action::Close(root)]
        );
    }
}

#[test]
fn a_scope_opened_into_a_cancelling_scope_ends_before_that_closes() {
    let (mut m, root) = machine();
    let scope = open(&mut m, root, &[]);
    tell(&mut m, 0, Event::Stop(scope));
    tell(&mut m, 0, live(scope, true));
    tell(&mut m, 0, graceful(scope, false));
    let nursery = open(&mut m, scope, &[]);
    actions(&mut m);
    tell(&mut m, 0, live(nursery, true));
    assert_eq!(tell(&mut m, 1, live(scope, false)), []);
    assert_eq!(tell(&mut m, 2, live(nursery, false)), [Action::Close(nursery)]);
    assert_eq!(
        tell(&mut m, 3, Event::Closed(nursery)),
        [Action::End(nursery), Action::Close(scope)]
    );
}

#[test]
fn a_limit_that_would_change_nothing_is_no_limit() {
    let (mut m, root) = machine();
    tell(&mut m, 0, Event::Stop(root));
    tell(&mut m, 0, graceful(root, true));
    let child = m.open(ms(1_000), root, &[]).unwrap();
    told(&mut m, 1_000, child, true, true);
    assert_eq!(m.next_limit(), Some(ms(12_000)));
    assert_eq!(tell(&mut m, 12_000, Event::Tick), [Action::Cancel(child)]);
    // Not the root's drain limit, which has come too: it waits for its child.
    assert_eq!(m.next_limit(), Some(ms(24_000)));
    tell(&mut m, 13_000, live(child, false));
    let ended = tell(&mut m, 13_000, Event::Closed(child));
    assert_eq!(ended, [Action::End(child), Action::Cancel(root)]);
}

#[test]
fn scopes_that_come_and_go_in_a_stop_do_not_hide_those_that_stay() {
    let (mut m, root) = machine();
    let stuck = open(&mut m, root, &[]);
    tell(&mut m, 0, Event::Stop(root));
    for _ in 0..1_000 {
        let scope = open(&mut m, root, &[]);
        m.handle(ms(0), left(scope));
        m.handle(ms(0), graceful(scope, false));
        m.handle(ms(0), live(scope, false));
        m.handle(ms(0), Event::Closed(scope));
        assert!(actions(&mut m).contains(&Action::End(scope)));
    }
    let cut = tell(&mut m, 1, Event::CutOff);
    assert!(cut.contains(&Action::CutOff(stuck)) && cut.contains(&Action::CutOff(root)));
}

#[test]
fn a_scope_of_two_stops_has_the_earlier_limits() {
    let (mut m, root) = machine();
    let db = open(&mut m, root, &[]);
    open(&mut m, root, &[db]);
    tell(&mut m, 0, Event::Stop(db));
    tell(&mut m, 3_000, Event::Stop(root));
    let late = m.open(ms(3_000), root, &[db]).unwrap();
    assert_eq!(m.phase(late), Phase::Draining, "it does not stop before what waits for it");
    // Empty, it has no limits of its own.
    assert_eq!(m.level_limit(late), None);
    tell(&mut m, 3_000, graceful(late, true));
    // Three levels of what is left to the cut-off of the first stop, 24 s.
    assert_eq!(m.level_limit(late), Some(ms(10_000)));
}

#[test]
fn hooks_can_open_a_scope() {
    let (mut m, root) = machine();
    let scope = open(&mut m, root, &[]);
    tell(&mut m, 0, left(scope));
    // A natural end: there is no stop, so there are no limits.
    let nursery = open(&mut m, scope, &[]);
    assert_eq!(actions(&mut m), [Action::Fire(nursery), Action::Cancel(nursery)]);
    tell(&mut m, 0, graceful(nursery, false));
    assert_eq!(tell(&mut m, 0, live(nursery, true)), []);
    assert_eq!(m.next_limit(), None);
    assert_eq!(tell(&mut m, 0, Event::Closed(scope)), []);
    tell(&mut m, 0, live(nursery, false));
    assert_eq!(tell(&mut m, 0, Event::Closed(nursery)), [Action::End(nursery), Action::End(scope)]);
}

#[test]
fn hooks_can_open_a_scope_after_the_cut_off() {
    let (mut m, root) = machine();
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, false, true);
    let closes = tell(&mut m, 24_000, Event::Tick);
    assert_eq!(closes, [Action::CutOff(root), Action::Close(root)]);
    let nursery = m.open(ms(24_100), root, &[]).unwrap();
    assert_eq!(actions(&mut m), [Action::Fire(nursery), Action::Cancel(nursery)]);
    assert_eq!(told(&mut m, 24_100, nursery, false, false), []);
    told(&mut m, 24_100, nursery, false, true);
    assert_eq!(tell(&mut m, 24_200, Event::Closed(root)), []);
    assert_eq!(
        tell(&mut m, 25_000, Event::Tick),
        [Action::CutOff(nursery), Action::End(nursery), Action::Finish]
    );
}

#[test]
fn a_scope_opened_into_a_parent_that_waits_to_fire_waits_too() {
    let (mut m, root) = machine();
    let db = open(&mut m, root, &[]);
    let http = open(&mut m, root, &[db]);
    tell(&mut m, 0, Event::Stop(root));
    let pool = open(&mut m, db, &[]);
    assert_eq!(actions(&mut m), []);
    for event in [graceful(http, false), live(http, false)] {
        tell(&mut m, 1, event);
    }
    assert_eq!(
        tell(&mut m, 1, Event::Closed(http)),
        [Action::End(http), Action::Fire(db), Action::Fire(pool)]
    );
}

#[test]
fn a_new_dependent_of_a_scope_that_waits_to_fire_joins_its_stop() {
    let (mut m, root) = machine();
    let db = open(&mut m, root, &[]);
    let http = open(&mut m, root, &[db]);
    assert_eq!(tell(&mut m, 0, Event::Stop(db)), [Action::Fire(http)]);
    let late = open(&mut m, root, &[db]);
    assert_eq!(actions(&mut m), [Action::Fire(late)]);
    for id in [http, late] {
        tell(&mut m, 1, left(id));
        tell(&mut m, 1, graceful(id, false));
        tell(&mut m, 1, live(id, false));
    }
    assert_eq!(tell(&mut m, 1, Event::Closed(http)), [Action::End(http)]);
    let fires = tell(&mut m, 1, Event::Closed(late));
    assert_eq!(fires, [Action::End(late), Action::Fire(db)]);
    // Once it has fired it is no dependency any more.
    let free = open(&mut m, root, &[db]);
    assert_eq!(actions(&mut m), []);
    assert_eq!(m.phase(free), Phase::Running);
}

// ---------------------------------------------------------------------------------------------
// Size.

/// Tells nothing about what the tasks do: all scopes are empty.
fn stop_all(m: &mut Machine) -> usize {
    let root = m.root();
    let mut calls = 1;
    m.handle(ms(1), Event::Stop(root));
    while let Some(action) = m.next_action() {
        if let Action::End(id) = action {
            m.ended(id);
        }
        match action {
            Action::Fire(id) => {
                // As a driver tells it: all of them have a handle, so they are open.
                m.handle_all(ms(1), [graceful(id, false), live(id, false)]);
                calls += 1;
            }
            Action::Close(id) => {
                m.handle(ms(1), Event::Closed(id));
                calls += 1;
            }
            _ => {}
        }
    }
    assert_eq!(m.phase(root), Phase::Stopped);
    calls
}

fn chain(length: usize) -> Machine {
    let (mut m, mut last) = machine();
    for _ in 0..length {
        last = open(&mut m, last, &[]);
    }
    m
}

/// One dependency that all of them need, and one that each has for itself.
fn flat(length: usize) -> Machine {
    let (mut m, root) = machine();
    let db = open(&mut m, root, &[]);
    let mut before = db;
    for at in 0..length {
        let scope = open(&mut m, root, &[db, before]);
        before = if at % 2 == 0 { scope } else { db };
    }
    m
}

/// A chain of dependencies.
fn queue(length: usize) -> Machine {
    let (mut m, root) = machine();
    let mut last = open(&mut m, root, &[]);
    for _ in 0..length {
        last = open(&mut m, root, &[last]);
    }
    m
}

/// Pairs that form cycles through their parents.
fn cycles(length: usize) -> Machine {
    let (mut m, root) = machine();
    for _ in 0..length / 4 {
        let (a, b) = (open(&mut m, root, &[]), open(&mut m, root, &[]));
        open(&mut m, a, &[b]);
        open(&mut m, b, &[a]);
    }
    m
}

/// Every scope of a chain depends on all of its ancestors but one, and on one outsider.
fn deep_needs(length: usize) -> Machine {
    let (mut m, root) = machine();
    let db = open(&mut m, root, &[]);
    let mut last = root;
    for _ in 0..length {
        last = open(&mut m, last, &[db, root]);
    }
    m
}

#[test]
fn a_stop_of_many_scopes_is_linear_in_any_shape() {
    for (name, shape) in [
        ("chain", chain as fn(usize) -> Machine),
        ("flat", flat),
        ("queue", queue),
        ("cycles", cycles),
        ("deep needs", deep_needs),
    ] {
        let time = |length: usize, times: usize| {
            let start = Instant::now();
            for _ in 0..times {
                let mut m = shape(length);
                let calls = stop_all(&mut m);
                assert!(calls <= 3 * (length + 2) + 1, "{name}");
            }
            start.elapsed()
        };
        // As many scopes in all, 100 times as many at once: 100 times the time if it were quadratic.
        // Both take about as long, so what else the machine does slows both. What is between is left
        // to that and to caches.
        let (few, many) = (time(1_000, 100), time(100_000, 1));
        assert!(many < few * 15, "{name}: {few:?}, then {many:?}");
    }
}

#[test]
fn scopes_that_hang_together_share_one_limit() {
    let (mut m, root) = machine();
    let ids: Vec<_> = (0..100_000).map(|_| open(&mut m, root, &[])).collect();
    tell(&mut m, 0, Event::Stop(root));
    for &id in ids.iter().chain([&root]) {
        m.handle(ms(0), graceful(id, true));
        m.handle(ms(0), live(id, true));
    }
    assert_eq!(m.next_limit(), Some(ms(6_000)));
    assert_eq!(tell(&mut m, 6_000, Event::Tick).len(), ids.len());
    assert_eq!(m.next_limit(), Some(ms(12_000)));
    tell(&mut m, 12_000, Event::Tick);
    assert_eq!(m.next_limit(), Some(ms(12_000 + 6_000)), "the turn of the root");
    let cut = tell(&mut m, 24_000, Event::Tick);
    assert_eq!(cut.len(), 2 * ids.len() + 2);
}

// ---------------------------------------------------------------------------------------------
// Properties.

fn span(hang: bool) -> BoxedStrategy<u64> {
    match hang {
        true => prop_oneof![3 => Just(0), 3 => 1..40u64, 1 => Just(NEVER)].boxed(),
        false => prop_oneof![1 => Just(0), 1 => 1..40u64].boxed(),
    }
}

fn load(hang: bool) -> impl Strategy<Value = Load> {
    (span(hang), any::<[bool; 2]>(), span(hang), span(hang)).prop_map(
        |(graceful, [plain, kept], cleanup, hooks)| Load { graceful, plain, cleanup, hooks, kept },
    )
}

fn plan(hang: bool) -> impl Strategy<Value = Plan> {
    let index = any::<usize>;
    (index(), prop::collection::vec(index(), 0..3), load(hang))
}

/// The same without handles.
fn unkept((parent, needs, load): Plan) -> Plan {
    (parent, needs, Load { kept: false, ..load })
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<usize>;
    prop_oneof![
        6 => (0..30u64).prop_map(Step::Wait),
        3 => index().prop_map(Step::Stop),
        3 => index().prop_map(Step::Left),
        4 => (index(), 0..30u64).prop_map(|(at, millis)| Step::Spawn(at, millis)),
        3 => plan(true).prop_map(Step::Open),
        1 => Just(Step::CutOff),
        1 => Just(Step::Deadline),
        1 => (0..60u64).prop_map(Step::EndsWithin),
        1 => Just(Step::Force),
    ]
}

fn some_limits() -> impl Strategy<Value = Limits> {
    prop::array::uniform4(prop_oneof![1 => Just(0), 8 => 0..200u64, 1 => Just(10_000)]).prop_map(
        |mut spans| {
            spans.sort_unstable();
            let [lame_duck, drain, cut_off, deadline] = spans.map(ms);
            let lame_duck = match lame_duck.as_millis() % 3 {
                0 => lame_duck,
                _ => Duration::ZERO,
            };
            Limits { lame_duck, drain, cut_off, deadline }
        },
    )
}
/// Opens the scopes of some plans; one that would make a cycle needs nothing.
fn open_in_order(limits: Limits, root: Load, plans: &[Plan]) -> Sim {
    let mut kept: Vec<Plan> = Vec::new();
    for plan in plans {
        kept.push(plan.clone());
        let mut sim = Sim::new(limits, root);
        kept.iter().for_each(|plan| sim.open_plan(plan));
        if !sim.ordered {
            kept.last_mut().unwrap().1.clear();
        }
    }
    let mut sim = Sim::new(limits, root);
    kept.iter().for_each(|plan| sim.open_plan(plan));
    assert!(sim.ordered);
    sim
}

/// What section 4 says of a tree in which nothing is late, from the definition.
fn expected(scopes: &[Seen], index: usize, known: &mut HashMap<usize, [u64; 3]>) -> [u64; 3] {
    if let Some(&times) = known.get(&index) {
        return times;
    }
    let scope = &scopes[index];
    let load = scope.load;
    let mut fire = match scope.parent {
        Some(parent) => expected_fire(scopes, parent, known),
        None => 0,
    };
    fire = fire.max(expected_fire(scopes, index, known));
    let mut turn = fire;
    for (child, other) in scopes.iter().enumerate() {
        if other.parent == Some(index) {
            turn = turn.max(expected(scopes, child, known)[2]);
        }
    }
    let cancel = turn.max(fire + load.graceful);
    let tasks = if load.plain { load.cleanup } else { 0 };
    let times = [fire, cancel, cancel + tasks + load.hooks];
    known.insert(index, times);
    times
}

fn expected_fire(scopes: &[Seen], index: usize, known: &mut HashMap<usize, [u64; 3]>) -> u64 {
    let mut fire = match scopes[index].parent {
        Some(parent) => expected_fire(scopes, parent, known),
        None => 0,
    };
    for (dependent, other) in scopes.iter().enumerate() {
        if other.needs.contains(&index) {
            fire = fire.max(expected(scopes, dependent, known)[2]);
        }
    }
    fire
}

/// 2,000 cases, unless `PROPTEST_CASES` says how many.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig { cases: 2_000, ..default },
    }
}

proptest! {
    #![proptest_config(config())]

    /// Nothing is late: every time is what the order of the tree makes it, to the millisecond. (Open
    /// scopes have no times of their own.)
    #[test]
    fn each_scope_stops_as_soon_as_the_order_allows(
        root in load(false),
        plans in prop::collection::vec(plan(false).prop_map(unkept), 0..12),
    ) {
        let hour = ms(3_600_000);
        let spans = Limits { lame_duck: ms(0), drain: hour, cut_off: hour, deadline: hour };
        let mut sim = open_in_order(spans, root, &plans);
        sim.stop(0);
        sim.advance(ms(100_000));
        let mut known = HashMap::new();
        for index in 0..sim.scopes.len() {
            let [fire, cancel, end] = expected(&sim.scopes, index, &mut known);
            let scope = &sim.scopes[index];
            prop_assert_eq!(scope.fire, Some(ms(fire)));
            prop_assert_eq!(scope.cancel, Some(ms(cancel)));
            let ended = if index == 0 { sim.finished } else { scope.end };
            prop_assert_eq!(ended, Some(ms(end)));
        }
    }

    /// Random trees, tasks that hang, stops of anything at any time: every action is allowed when
    /// it comes (see `Sim`), and it is over by the deadline.
    #[test]
    fn every_stop_keeps_the_order_and_the_deadline(
        limits in some_limits(),
        root in load(true),
        plans in prop::collection::vec(plan(true), 0..8),
        steps in prop::collection::vec(step(), 0..24),
    ) {
        let mut sim = Sim::new(limits, root);
        for plan in &plans {
            sim.open_plan(plan);
        }
        steps.iter().for_each(|step| sim.step(step));
        sim.run_to_the_end();
    }

    /// Stopping again changes nothing, whenever it comes. (It closes what is open for others.)
    #[test]
    fn a_second_stop_changes_nothing(
        limits in some_limits(),
        root in load(true),
        plans in prop::collection::vec(plan(true).prop_map(unkept), 0..8),
        again in 0..100u64,
    ) {
        // In lame duck the other scopes are not stopped yet: there, asking for them is something.
        let limits = Limits { lame_duck: Duration::ZERO, ..limits };
        let run = |again: Option<u64>| {
            let mut sim = Sim::new(limits, root);
            for plan in &plans {
                sim.open_plan(plan);
            }
            sim.stop(0);
            if let Some(again) = again {
                sim.advance(ms(again));
                for index in 0..sim.scopes.len() {
                    sim.stop(index);
                }
            }
            sim.advance(ms(20_000));
            sim.log
        };
        prop_assert_eq!(run(None), run(Some(again)));
    }

    /// Any event about any scope, alive or not, at any time: no panic, one order for each scope.
    #[test]
    fn nonsense_is_survived(
        spans in prop::array::uniform4(prop_oneof![4 => 0..100u64, 1 => Just(NEVER)]),
        steps in prop::collection::vec(
            (0..15u8, any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..120u64),
            0..120,
        ),
        slow in any::<bool>(),
    ) {
        let [lame_duck, drain, cut_off, deadline] = spans.map(ms);
        let mut driver = Nonsense::new(Limits { lame_duck, drain, cut_off, deadline });
        for (what, a, b, time) in steps {
            let (a, b) = (*a.get(&driver.ids), *b.get(&driver.ids));
            let now = ms(if time == 119 { NEVER } else { time });
            let event = match what {
                0 | 1 => {
                    driver.open(now, a, &[b, a, b]);
                    Event::Tick
                }
                2 => Event::Stop(a),
                3 => graceful(a, time % 2 == 0),
                4 | 5 => live(a, time % 3 == 0),
                6 | 7 => Event::Closed(a),
                8 | 9 => {
                    if time % 2 == 0 {
                        driver.retire(now, a, time % 4 == 0);
                    }
                    left(a)
                }
                10 => Event::CutOff,
                11 if time < 10 => Event::Deadline,
                12 if time < 10 => Event::Force,
                14 if time < 40 => Event::EndsWithin(ms(if time == 0 { NEVER } else { time })),
                _ => Event::Tick,
            };
            driver.say(now, event);
            // A driver that lags behind takes one action at a time.
            driver.take(if slow { 1 } else { usize::MAX });
        }
        driver.run_to_the_end(ms(500));
    }
}

#[test]
fn a_scope_that_is_cancelled_by_the_end_of_its_last_graceful_task_has_the_limits_looked_at() {
    let (mut m, root) = machine();
    let [first, second, other] = [(); 3].map(|()| open(&mut m, root, &[]));
    tell(&mut m, 0, Event::Stop(root));
    assert!(!m.cancel_drained(ms(1), first), "nobody has told that it drains");
    for id in [first, second] {
        assert!(m.drains(ms(1), id));
    }
    told(&mut m, 1, other, true, true);
    assert!(m.cancel_drained(ms(2), first));
    assert_eq!((m.phase(first), actions(&mut m)), (Phase::Cancelling, vec![]));
    assert!(!m.cancel_drained(ms(3), first), "once");
    // It ends after their limit, and in time all the same: an event comes before the limits.
    assert!(m.cancel_drained(ms(6_001), second));
    assert_eq!(actions(&mut m), [Action::Cancel(other)]);
    told(&mut m, 6_001, other, true, true);
    assert!(!m.drains(ms(6_001), other), "its time is over");
    m.handle(ms(6_001), Event::Stop(first));
    assert_eq!(told(&mut m, 6_001, first, false, false), [Action::Close(first)]);
    assert!(!m.cancel_drained(ms(6_001), first), "it is closing");
}

#[test]
fn a_leaf_that_comes_to_have_a_scope_below_it_is_told_before_that() {
    let (mut m, root) = machine();
    let [db, web] = [(); 2].map(|()| open(&mut m, root, &[]));
    assert!(m.depend(web, db));
    let leaves = [(); 3].map(|()| open(&mut m, db, &[]));
    assert_eq!(tell(&mut m, 0, Event::Stop(db)), [Action::Fire(web)]);
    told(&mut m, 0, web, true, true);
    // They are asked to stop by now, and wait with their parent.
    let below = open(&mut m, leaves[1], &[]);
    assert_eq!(actions(&mut m), []);
    told(&mut m, 1, web, false, true);
    tell(&mut m, 1, live(web, false));
    let mut fired = tell(&mut m, 2, Event::Closed(web));
    assert_eq!(fired[..2], [Action::End(web), Action::Fire(db)]);
    let at = |fired: &[Action], id| fired.iter().position(|action| *action == Action::Fire(id));
    assert!(at(&fired, leaves[1]) < at(&fired, below), "{fired:?}");
    let mut all = [web, db, leaves[0], leaves[1], leaves[2], below].map(Action::Fire);
    all[0] = Action::End(web);
    fired.sort_unstable_by_key(|action| action.scope());
    all.sort_unstable_by_key(|action| action.scope());
    assert_eq!(fired, all);
    let turns = [leaves[0], leaves[1], below].map(|id| m.drain_limit(id).is_some());
    assert_eq!(turns, [true, false, true], "the inner one's turn comes first");
}

#[test]
fn an_older_scope_is_depended_on_in_place_and_twice_is_once() {
    let (mut m, root) = machine();
    let [db, cache] = [(); 2].map(|()| open(&mut m, root, &[]));
    let http = open(&mut m, root, &[]);
    for on in [db, cache, db] {
        assert!(m.depend(http, on));
    }
    assert!(m.depend(http, root), "the root ends last as it is");
    assert_eq!(m.dependencies(http), [db, cache, db]);
    assert!(!m.depend(db, http), "it is the younger one");
    assert_eq!(tell(&mut m, 0, Event::Stop(root)), [Action::Fire(root), Action::Fire(http)]);
    assert!(!m.depend(cache, db), "a stop has begun");
    tell(&mut m, 0, graceful(http, false));
    tell(&mut m, 0, live(http, false));
    let followed = tell(&mut m, 0, Event::Closed(http));
    assert_eq!(followed[0], Action::End(http));
    assert!([db, cache].iter().all(|&id| followed.contains(&Action::Fire(id))), "{followed:?}");
    assert_eq!(m.dependencies(http), []);
}

#[test]
fn depending_on_many_scopes_one_by_one_is_linear() {
    let (mut m, root) = machine();
    let needs: Vec<_> = (0..100_000).map(|_| open(&mut m, root, &[])).collect();
    let all = open(&mut m, root, &[]);
    for &need in &needs {
        assert!(m.depend(all, need));
    }
    assert_eq!(tell(&mut m, 0, Event::Stop(root)), [Action::Fire(root), Action::Fire(all)]);
    tell(&mut m, 0, graceful(all, false));
    tell(&mut m, 0, live(all, false));
    assert_eq!(tell(&mut m, 0, Event::Closed(all)).len(), 1 + needs.len());
}

#[test]
fn a_plain_task_in_a_scope_that_was_empty_is_cancelled_with_its_parents() {
    let (mut m, root) = machine();
    let pool = open(&mut m, root, &[]);
    tell(&mut m, 0, Event::Stop(root));
    told(&mut m, 0, root, true, true);
    assert_eq!(told(&mut m, 0, pool, false, false), []);
    assert_eq!(told(&mut m, 1, pool, false, true), [], "the parent's graceful work may need it");
    assert_eq!(m.phase(pool), Phase::Draining);
    let cancelled = tell(&mut m, 2, graceful(root, false));
    assert_eq!(cancelled, [root, pool].map(Action::Cancel));
    assert_eq!(tell(&mut m, 3, live(root, false)), [], "its task is waited for");
    assert_eq!(told(&mut m, 4, pool, false, false), [Action::Close(pool)]);
}

#[test]
fn what_follows_a_scope_in_a_knot_goes_when_that_is_told() {
    let (mut m, root) = machine();
    let running = open(&mut m, root, &[]);
    let a = open(&mut m, root, &[]);
    // `a` waits for `b`, that for `inner`, and that for `a`.
    let b = open(&mut m, root, &[a]);
    let inner = open(&mut m, a, &[b]);
    let other = open(&mut m, root, &[b]);
    assert_eq!(tell(&mut m, 0, Event::Stop(a)), [Action::Fire(other)]);
    assert_eq!(told(&mut m, 0, other, true, true), [], "the knot waits for it");
    // Opened into the stop below a parent that runs: it takes work until what it needs is told.
    let late = open(&mut m, root, &[running, b]);
    assert_eq!(actions(&mut m), [Action::Fire(late)]);
    assert_eq!(told(&mut m, 1, late, false, true), [], "its task is plain");
    assert_eq!(told(&mut m, 2, other, false, true), [Action::Cancel(other)]);
    assert_eq!(tell(&mut m, 3, live(other, false)), [Action::Close(other)]);
    let gives_way = [Action::End(other), Action::Fire(b), Action::Cancel(late)];
    assert_eq!(tell(&mut m, 4, Event::Closed(other)), gives_way);
    assert_eq!(m.phase(inner), Phase::Running, "what is left of the order is kept");
}

#[test]
fn an_empty_scope_that_is_stopped_alone_does_not_wait_for_what_it_needs() {
    let (mut m, root) = machine();
    let db = open(&mut m, root, &[]);
    let http = open(&mut m, root, &[db]);
    assert_eq!(tell(&mut m, 0, Event::Stop(http)), [Action::Fire(http)]);
    let ends = [Action::Cancel(http), Action::Close(http)];
    assert_eq!(told(&mut m, 0, http, false, false), ends, "what it needs goes on");
}

#[test]
fn a_scope_that_is_asked_itself_ends_though_its_parent_is_asked_after_it() {
    let (mut m, root) = machine();
    let child = open(&mut m, root, &[]);
    assert_eq!(tell(&mut m, 0, Event::Stop(child)), [Action::Fire(child)]);
    assert_eq!(told(&mut m, 0, child, true, true), []);
    assert_eq!(tell(&mut m, 1, Event::Stop(root)), [Action::Fire(root)]);
    assert_eq!(told(&mut m, 1, root, true, true), []);
    // Somebody in the root may be waiting for its end.
    let ends = [Action::Cancel(child), Action::Close(child)];
    assert_eq!(told(&mut m, 2, child, false, false), ends);
}
