//! The phase machine: every transition, and its invariants over random programs.
//!
//! Hand-driven, in virtual time. [`Sim`] plays the driver and checks each action as it comes.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use adjourn_core::phase::{Action, Event, Limits, Machine, Phase, ScopeId};
use proptest::prelude::*;

use Action::{Cancel, Close, CutOff, End, Finish, Fire};

const LIMITS: Limits = Limits {
    lame_duck: Duration::ZERO,
    drain: ms(800),
    cut_off: ms(900),
    deadline: ms(1000),
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

// ---------------------------------------------------------------------------------------------
// One transition at a time
// ---------------------------------------------------------------------------------------------

/// A machine told by hand; what it says is compared with what is expected.
struct Hand {
    machine: Machine,
    root: ScopeId,
}

impl Hand {
    fn new(limits: Limits) -> Hand {
        let machine = Machine::new(limits);
        let root = machine.root();
        Hand { machine, root }
    }

    fn open(&mut self, at: u64, parent: ScopeId, needs: &[ScopeId]) -> ScopeId {
        self.machine
            .open(ms(at), parent, needs)
            .expect("the parent is there")
    }

    /// Tells one event and returns everything that it leads to.
    fn tell(&mut self, at: u64, event: Event) -> Vec<Action> {
        self.machine.handle(ms(at), event);
        self.said()
    }

    fn said(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.machine.next_action()).collect()
    }

    /// Answers for a scope that has fired: which of its tasks are alive.
    fn alive(&mut self, at: u64, id: ScopeId, graceful: bool, any: bool) -> Vec<Action> {
        self.machine.handle(ms(at), Event::Graceful(id, graceful));
        self.machine.handle(ms(at), Event::Live(id, any));
        self.said()
    }

    fn stop(&mut self, at: u64, id: ScopeId) -> Vec<Action> {
        self.tell(at, Event::Stop(id))
    }

    fn tick(&mut self, at: u64) -> Vec<Action> {
        self.tell(at, Event::Tick)
    }

    fn phase(&self, id: ScopeId) -> Phase {
        self.machine.phase(id)
    }
}

/// Nothing.
const QUIET: Vec<Action> = Vec::new();

#[test]
fn a_new_program_runs_and_waits_for_nothing() {
    let hand = Hand::new(LIMITS);
    assert_eq!(hand.phase(hand.root), Phase::Running);
    assert_eq!(hand.root.index(), 0);
    assert_eq!(hand.machine.next_limit(), None);
    assert_eq!(hand.machine.stop_time(), None);
    assert_eq!(hand.machine.deadline(), None);
    assert!(!hand.machine.is_stopping());
}

#[test]
fn a_stop_fires_the_root_and_sets_the_deadline() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    assert_eq!(hand.stop(10, root), [Fire(root)]);
    assert_eq!(hand.phase(root), Phase::Draining);
    assert!(hand.machine.is_stopping());
    assert_eq!(hand.machine.stop_time(), Some(ms(10)));
    assert_eq!(hand.machine.cut_off(), Some(ms(910)));
    assert_eq!(hand.machine.deadline(), Some(ms(1010)));
    assert_eq!(hand.machine.drain_limit(root), Some(ms(810)));
    assert_eq!(hand.machine.level_limit(root), Some(ms(910)));
    assert_eq!(hand.machine.next_limit(), Some(ms(810)));
}

#[test]
fn an_idle_program_walks_through_all_phases_at_once() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.stop(5, root);
    assert_eq!(
        hand.alive(5, root, false, false),
        [Cancel(root), Close(root)]
    );
    assert_eq!(hand.phase(root), Phase::Closing);
    assert_eq!(hand.tell(5, Event::Closed(root)), [Finish]);
    assert_eq!(hand.phase(root), Phase::Stopped);
    assert_eq!(hand.machine.next_limit(), None);
}

#[test]
fn plain_tasks_are_cancelled_without_any_wait() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.stop(0, root);
    assert_eq!(hand.alive(0, root, false, true), [Cancel(root)]);
    assert_eq!(hand.phase(root), Phase::Cancelling);
}

#[test]
fn draining_waits_for_graceful_tasks_only() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.stop(0, root);
    assert_eq!(hand.alive(0, root, true, true), QUIET);
    assert_eq!(hand.tell(300, Event::Graceful(root, false)), [Cancel(root)]);
}

#[test]
fn draining_ends_at_the_drain_limit() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.stop(0, root);
    hand.alive(0, root, true, true);
    assert_eq!(hand.tick(799), QUIET);
    assert_eq!(hand.tick(800), [Cancel(root)]);
    assert_eq!(hand.machine.next_limit(), Some(ms(900)));
}

#[test]
fn a_driver_that_never_answers_is_taken_for_one_with_tasks() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.stop(0, root);
    assert_eq!(hand.tick(799), QUIET);
    assert_eq!(hand.tick(800), [Cancel(root)]);
    assert_eq!(hand.tick(900), [CutOff(root), Close(root)]);
    assert_eq!(hand.tick(1000), [Finish]);
}

#[test]
fn cancelling_waits_until_every_task_is_gone() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.stop(0, root);
    hand.alive(0, root, false, true);
    assert_eq!(hand.tick(500), QUIET);
    assert_eq!(hand.tell(501, Event::Live(root, false)), [Close(root)]);
}

#[test]
fn the_cut_off_closes_over_stragglers() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.stop(0, root);
    hand.alive(0, root, false, true);
    assert_eq!(hand.tick(899), QUIET);
    assert_eq!(hand.tick(900), [CutOff(root), Close(root)]);
    assert_eq!(hand.tell(901, Event::Live(root, false)), QUIET);
    assert_eq!(hand.tell(902, Event::Closed(root)), [Finish]);
}

#[test]
fn hooks_that_hang_are_given_up_at_the_deadline() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.stop(0, root);
    hand.alive(0, root, false, false);
    assert_eq!(hand.machine.next_limit(), Some(ms(900)));
    assert_eq!(hand.tick(999), QUIET);
    assert_eq!(hand.tick(1000), [Finish]);
    assert_eq!(hand.phase(root), Phase::Stopped);
}

#[test]
fn a_task_of_a_hook_keeps_the_scope_closing() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.stop(0, root);
    hand.alive(0, root, false, false);
    assert_eq!(hand.tell(1, Event::Live(root, true)), QUIET);
    assert_eq!(hand.tell(2, Event::Closed(root)), QUIET);
    assert_eq!(hand.tell(3, Event::Live(root, false)), [Finish]);
}

#[test]
fn what_ends_in_the_instant_of_its_limit_was_in_time() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.stop(0, root);
    hand.alive(0, root, false, true);
    assert_eq!(hand.tell(900, Event::Live(root, false)), [Close(root)]);
    assert_eq!(hand.tell(1000, Event::Closed(root)), [Finish]);
}

#[test]
fn the_lame_duck_phase_comes_before_draining() {
    let mut hand = Hand::new(Limits {
        lame_duck: ms(100),
        ..LIMITS
    });
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    assert_eq!(hand.stop(10, root), [Action::LameDuck]);
    assert_eq!(hand.phase(root), Phase::LameDuck);
    assert_eq!(hand.phase(child), Phase::Running);
    assert_eq!(hand.machine.next_limit(), Some(ms(110)));
    assert_eq!(hand.tick(109), QUIET);
    assert_eq!(hand.tick(110), [Fire(root), Fire(child)]);
    assert_eq!(
        hand.machine.cut_off(),
        Some(ms(910)),
        "the time of the lame duck counts"
    );
}

#[test]
fn the_lame_duck_phase_ends_at_a_cut_off_and_at_a_deadline() {
    for (event, last) in [
        (Event::CutOff, Close as fn(ScopeId) -> Action),
        (Event::Deadline, |_| Finish),
    ] {
        let mut hand = Hand::new(Limits {
            lame_duck: ms(100),
            ..LIMITS
        });
        let root = hand.root;
        hand.stop(0, root);
        assert_eq!(
            hand.tell(1, event),
            [Fire(root), Cancel(root), CutOff(root), last(root)]
        );
    }
}

#[test]
fn a_scope_stops_alone_during_the_lame_duck_phase() {
    let mut hand = Hand::new(Limits {
        lame_duck: ms(100),
        ..LIMITS
    });
    let root = hand.root;
    let (child, other) = (hand.open(0, root, &[]), hand.open(0, root, &[]));
    hand.stop(0, root);
    assert_eq!(hand.stop(50, child), [Fire(child)]);
    assert_eq!(
        hand.machine.level_limit(child),
        Some(ms(900)),
        "the program's cut-off"
    );
    assert_eq!(hand.tick(100), [Fire(root), Fire(other)]);
}

#[test]
fn a_parent_fires_with_its_children_and_is_cancelled_after_them() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    assert_eq!(hand.stop(0, root), [Fire(root), Fire(child)]);
    assert_eq!(
        hand.alive(0, root, false, true),
        QUIET,
        "the child is there"
    );
    assert_eq!(hand.machine.drain_limit(root), None, "not its turn");
    assert_eq!(hand.alive(0, child, false, true), [Cancel(child)]);
    assert_eq!(hand.tell(100, Event::Live(child, false)), [Close(child)]);
    assert_eq!(
        hand.tell(100, Event::Closed(child)),
        [End(child), Cancel(root)]
    );
    assert_eq!(hand.phase(child), Phase::Stopped);
}

#[test]
fn a_dependency_fires_after_its_dependents_have_ended() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let db = hand.open(0, root, &[]);
    let http = hand.open(0, root, &[db]);
    assert_eq!(hand.stop(0, root), [Fire(root), Fire(http)]);
    assert_eq!(hand.phase(db), Phase::Running);
    assert_eq!(
        hand.alive(0, http, false, false),
        [Cancel(http), Close(http)]
    );
    assert_eq!(
        hand.phase(db),
        Phase::Running,
        "the hooks of http may use db"
    );
    assert_eq!(hand.tell(7, Event::Closed(http)), [End(http), Fire(db)]);
}

#[test]
fn a_dependency_fires_when_its_dependents_are_overdue() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let db = hand.open(0, root, &[]);
    let http = hand.open(0, root, &[db]);
    hand.stop(0, root);
    hand.alive(0, http, false, true);
    assert_eq!(
        hand.machine.level_limit(http),
        Some(ms(300)),
        "http, db, root"
    );
    assert_eq!(hand.tick(299), QUIET);
    assert_eq!(hand.tick(300), [Fire(db)]);
    assert_eq!(
        hand.phase(http),
        Phase::Cancelling,
        "its tasks have until the cut-off"
    );
    assert_eq!(hand.machine.level_limit(db), Some(ms(600)));
}

#[test]
fn siblings_without_an_order_share_one_span() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let scopes: Vec<_> = (0..5).map(|_| hand.open(0, root, &[])).collect();
    hand.stop(0, root);
    for &scope in &scopes {
        hand.alive(0, scope, true, true);
        assert_eq!(hand.machine.level_limit(scope), Some(ms(450)));
        assert_eq!(hand.machine.drain_limit(scope), Some(ms(400)));
    }
    let cancelled: HashSet<_> = hand
        .tick(400)
        .into_iter()
        .collect::<Vec<_>>()
        .iter()
        .map(|a| format!("{a:?}"))
        .collect();
    assert_eq!(cancelled.len(), 5);
    hand.tick(450);
    assert_eq!(
        hand.machine.level_limit(root),
        Some(ms(900)),
        "the maximum of their times, not the sum"
    );
}

#[test]
fn what_a_level_leaves_unused_passes_on() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    hand.stop(0, root);
    assert_eq!(hand.machine.level_limit(child), Some(ms(450)));
    hand.alive(100, child, false, false);
    hand.tell(100, Event::Closed(child));
    assert_eq!(hand.machine.level_limit(root), Some(ms(900)));
    // 8/9 of what is left.
    let drain = hand.machine.drain_limit(root).unwrap();
    assert_eq!(drain.as_millis(), 100 + 800 * 8 / 9);
}

#[test]
fn a_chain_of_hanging_levels_gets_its_share_each() {
    for depth in [1_u64, 2, 3, 7, 30] {
        let limits = Limits {
            drain: ms(depth * 80),
            cut_off: ms(depth * 100),
            deadline: ms(depth * 100 + 50),
            ..LIMITS
        };
        let mut hand = Hand::new(limits);
        let mut chain = vec![hand.root];
        while chain.len() < depth as usize {
            chain.push(hand.open(0, chain[chain.len() - 1], &[]));
        }
        assert_eq!(hand.stop(0, hand.root).len(), chain.len());
        for &scope in &chain {
            hand.alive(0, scope, true, true);
        }
        for (level, &scope) in (0..).zip(chain.iter().rev()) {
            assert_eq!(hand.machine.drain_limit(scope), Some(ms(level * 100 + 80)));
            assert_eq!(hand.machine.level_limit(scope), Some(ms((level + 1) * 100)));
            assert_eq!(hand.tick(level * 100 + 79), QUIET);
            assert_eq!(hand.tick(level * 100 + 80), [Cancel(scope)]);
            assert_eq!(hand.tick(level * 100 + 99), QUIET);
            let said = hand.tick((level + 1) * 100);
            match level + 1 == depth {
                true => assert_eq!(
                    said.iter().filter(|a| matches!(a, CutOff(_))).count(),
                    chain.len()
                ),
                false => assert_eq!(said, QUIET),
            }
        }
        for &scope in chain.iter().rev() {
            hand.tell(depth * 100 + 1, Event::Closed(scope));
        }
        assert_eq!(hand.phase(hand.root), Phase::Stopped);
    }
}

#[test]
fn a_partial_stop_spares_siblings_and_the_parent() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let (one, two) = (hand.open(0, root, &[]), hand.open(0, root, &[]));
    assert_eq!(hand.stop(0, one), [Fire(one)]);
    assert_eq!(
        hand.machine.level_limit(one),
        Some(ms(900)),
        "it has all the time"
    );
    hand.alive(0, one, false, false);
    assert_eq!(hand.tell(0, Event::Closed(one)), [End(one)]);
    assert_eq!(hand.phase(two), Phase::Running);
    assert_eq!(hand.phase(root), Phase::Running);
    assert_eq!(
        hand.machine.next_limit(),
        None,
        "nothing of the stop is left"
    );
    assert!(!hand.machine.is_stopping());
}

#[test]
fn a_partial_stop_takes_children_and_dependents_along() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let db = hand.open(0, root, &[]);
    let pool = hand.open(0, db, &[]);
    let http = hand.open(0, root, &[db]);
    let connection = hand.open(0, http, &[]);
    let log = hand.open(0, root, &[]);
    assert_eq!(hand.stop(0, db), [Fire(http), Fire(connection)]);
    hand.alive(0, http, false, false);
    hand.alive(0, connection, false, false);
    assert_eq!(
        hand.tell(1, Event::Closed(connection)),
        [End(connection), Cancel(http), Close(http)]
    );
    assert_eq!(
        hand.tell(1, Event::Closed(http)),
        [End(http), Fire(db), Fire(pool)]
    );
    assert_eq!(hand.phase(log), Phase::Running);
    assert_eq!(hand.phase(root), Phase::Running);
}

#[test]
fn a_partial_stop_has_a_deadline_of_its_own() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    hand.stop(100, child);
    hand.alive(100, child, true, true);
    assert_eq!(hand.tick(900), [Cancel(child)]);
    assert_eq!(hand.tick(1000), [CutOff(child), Close(child)]);
    assert_eq!(hand.tick(1100), [End(child)]);
    assert_eq!(hand.phase(root), Phase::Running);
}

#[test]
fn a_scope_of_an_earlier_stop_keeps_its_limits_but_shares_them_with_more_levels() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    hand.stop(0, child);
    hand.alive(0, child, true, true);
    hand.stop(100, root);
    assert_eq!(
        hand.machine.level_limit(child),
        Some(ms(500)),
        "half of what was left to 900"
    );
    hand.alive(100, root, false, false);
    assert_eq!(
        hand.tick(900),
        [Cancel(child), Cancel(root), CutOff(child), Close(child)]
    );
    assert_eq!(
        hand.tell(901, Event::Closed(child)),
        [End(child), Close(root)]
    );
}

#[test]
fn asking_twice_is_asking_once() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    hand.stop(0, child);
    assert_eq!(hand.stop(100, child), QUIET);
    assert_eq!(hand.machine.level_limit(child), Some(ms(900)));
    hand.stop(200, root);
    assert_eq!(hand.stop(300, root), QUIET);
    assert_eq!(hand.machine.stop_time(), Some(ms(200)));
}

#[test]
fn a_scope_that_is_left_ends_by_itself() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    assert_eq!(hand.tell(1, Event::Left(child)), [Close(child)]);
    assert_eq!(hand.phase(child), Phase::Closing);
    assert_eq!(hand.tell(2, Event::Closed(child)), [End(child)]);
    assert_eq!(hand.phase(root), Phase::Running);
}

#[test]
fn a_scope_that_is_left_waits_for_its_children() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    let grandchild = hand.open(0, child, &[]);
    assert_eq!(hand.tell(1, Event::Left(child)), QUIET);
    assert_eq!(hand.tell(2, Event::Left(grandchild)), [Close(grandchild)]);
    assert_eq!(
        hand.tell(3, Event::Closed(grandchild)),
        [End(grandchild), Close(child)]
    );
}

#[test]
fn a_task_takes_the_leaving_back() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    let grandchild = hand.open(0, child, &[]);
    hand.tell(1, Event::Left(child));
    hand.tell(2, Event::Live(child, true));
    hand.tell(3, Event::Left(grandchild));
    assert_eq!(hand.tell(3, Event::Closed(grandchild)), [End(grandchild)]);
    assert_eq!(hand.phase(child), Phase::Running);
}

#[test]
fn the_root_cannot_be_left() {
    let mut hand = Hand::new(LIMITS);
    assert_eq!(hand.tell(0, Event::Left(hand.root)), QUIET);
    assert_eq!(hand.phase(hand.root), Phase::Running);
}

#[test]
fn a_scope_that_closes_by_itself_is_caught_by_a_stop() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    hand.tell(0, Event::Left(child));
    assert_eq!(hand.stop(10, root), [Fire(root)]);
    assert_eq!(
        hand.alive(10, root, false, false),
        QUIET,
        "the hooks of the child"
    );
    assert_eq!(hand.tick(460), [Cancel(root)], "half of the time");
    assert_eq!(hand.tick(1010), [End(child), Finish]);
}

#[test]
fn a_scope_opened_into_a_draining_parent_fires_at_once() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.stop(0, root);
    hand.alive(0, root, true, true);
    let child = hand.open(100, root, &[]);
    assert_eq!(hand.said(), [Fire(child)]);
    assert_eq!(
        hand.alive(100, child, false, false),
        QUIET,
        "being empty does not end it"
    );
    assert_eq!(hand.alive(101, child, false, true), [Cancel(child)]);
    assert_eq!(hand.tell(102, Event::Live(child, false)), [Close(child)]);
}

#[test]
fn a_scope_opened_into_a_cancelling_parent_is_cancelled_at_once() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.stop(0, root);
    hand.alive(0, root, false, true);
    let child = hand.open(100, root, &[]);
    assert_eq!(hand.said(), [Fire(child), Cancel(child)]);
    assert_eq!(
        hand.tell(100, Event::Live(root, false)),
        QUIET,
        "the child is there"
    );
    assert_eq!(
        hand.tell(101, Event::Live(child, false)),
        QUIET,
        "a cleanup can spawn into it"
    );
    assert_eq!(hand.tell(102, Event::Left(child)), [Close(child)]);
    assert_eq!(
        hand.tell(103, Event::Closed(child)),
        [End(child), Close(root)]
    );
}

#[test]
fn a_scope_opened_by_a_hook_of_a_scope_that_was_left_is_waited_for() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    hand.tell(0, Event::Left(child));
    let grandchild = hand.open(0, child, &[]);
    assert_eq!(hand.said(), [Fire(grandchild), Cancel(grandchild)]);
    assert_eq!(hand.tell(1, Event::Closed(child)), QUIET);
    hand.alive(2, grandchild, false, true);
    assert_eq!(hand.alive(3, grandchild, false, false), [Close(grandchild)]);
    assert_eq!(
        hand.tell(4, Event::Closed(grandchild)),
        [End(grandchild), End(child)]
    );
}

#[test]
fn a_scope_opened_over_a_stopping_dependency_joins_its_stop() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let db = hand.open(0, root, &[]);
    let http = hand.open(0, root, &[db]);
    hand.stop(0, db);
    hand.alive(0, http, false, true);
    let late = hand.open(10, root, &[db]);
    assert_eq!(hand.said(), [Fire(late)]);
    hand.tell(20, Event::Live(http, false));
    assert_eq!(
        hand.tell(20, Event::Closed(http)),
        [End(http)],
        "db waits for the late one too"
    );
    assert_eq!(hand.tell(21, Event::Left(late)), QUIET);
    assert_eq!(
        hand.alive(21, late, false, false),
        [Cancel(late), Close(late)]
    );
    assert_eq!(hand.tell(22, Event::Closed(late)), [End(late), Fire(db)]);
}

#[test]
fn a_scope_cannot_be_opened_where_it_is_over() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    hand.tell(0, Event::Left(child));
    hand.tell(0, Event::Closed(child));
    assert_eq!(hand.machine.open(ms(0), child, &[]), None);
    let other = hand.open(0, root, &[child]);
    assert_eq!(
        hand.stop(0, root),
        [Fire(root), Fire(other)],
        "an ended dependency is none"
    );
    hand.tell(0, Event::Deadline);
    assert_eq!(hand.machine.open(ms(0), root, &[]), None);
}

#[test]
fn an_ancestor_is_no_dependency() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let child = hand.open(0, root, &[root]);
    let grandchild = hand.open(0, child, &[child, root, child]);
    assert_eq!(
        hand.stop(0, root),
        [Fire(root), Fire(child), Fire(grandchild)]
    );
}

#[test]
fn a_cycle_through_parents_does_not_hang() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let (a, b) = (hand.open(0, root, &[]), hand.open(0, root, &[]));
    let below_a = hand.open(0, a, &[b]);
    let below_b = hand.open(0, b, &[a]);
    let said = hand.stop(0, root);
    assert_eq!(
        said.len(),
        3,
        "the root, one of the two, and what is below it: {said:?}"
    );
    for scope in [below_a, below_b, a, b, root, below_a, below_b, a, b, root] {
        hand.alive(0, scope, false, false);
        hand.tell(0, Event::Closed(scope));
    }
    assert_eq!(hand.phase(root), Phase::Stopped);
}

#[test]
fn a_stale_id_is_ignored() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let old = hand.open(0, root, &[]);
    hand.tell(0, Event::Left(old));
    hand.tell(0, Event::Closed(old));
    let new = hand.open(0, root, &[]);
    assert_eq!(new.index(), old.index(), "the slot is used again");
    assert_ne!(new, old);
    for event in [
        Event::Stop(old),
        Event::Graceful(old, false),
        Event::Live(old, false),
        Event::Left(old),
        Event::Closed(old),
    ] {
        assert_eq!(hand.tell(0, event), QUIET, "{event:?}");
    }
    assert_eq!(hand.phase(old), Phase::Stopped);
    assert_eq!(hand.phase(new), Phase::Running);
    assert_eq!(hand.machine.level_limit(old), None);
}

#[test]
fn an_index_is_not_used_again_before_its_end_is_taken() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let old = hand.open(0, root, &[]);
    hand.machine.handle(ms(0), Event::Left(old));
    hand.machine.handle(ms(0), Event::Closed(old));
    assert_ne!(hand.open(0, root, &[]).index(), old.index());
    assert_eq!(hand.said(), [Close(old), End(old)]);
    assert_eq!(hand.open(0, root, &[]).index(), old.index());
}

#[test]
fn hooks_are_over_only_once_they_were_asked_for() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.tell(0, Event::Closed(root));
    hand.stop(0, root);
    hand.tell(0, Event::Closed(root));
    assert_eq!(
        hand.alive(0, root, false, false),
        [Cancel(root), Close(root)]
    );
}

#[test]
fn what_was_told_before_firing_does_not_count() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.alive(0, root, false, false);
    assert_eq!(hand.stop(0, root), [Fire(root)]);
}

#[test]
fn a_clock_that_goes_backwards_stands_still() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.tick(500);
    hand.stop(100, root);
    assert_eq!(hand.machine.stop_time(), Some(ms(500)));
    hand.alive(0, root, true, true);
    assert_eq!(hand.tick(1300), [Cancel(root)]);
    assert_eq!(hand.tick(0), QUIET);
}

#[test]
fn a_cut_off_before_any_stop_is_ignored() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    hand.stop(0, child);
    assert_eq!(hand.tell(1, Event::CutOff), QUIET);
}

#[test]
fn the_hosts_cut_off_counts_whatever_the_time() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    hand.stop(0, root);
    hand.alive(0, root, false, false);
    hand.alive(0, child, true, true);
    assert_eq!(
        hand.tell(1, Event::CutOff),
        [Cancel(child), CutOff(child), Cancel(root), Close(child)]
    );
    assert_eq!(hand.tell(1, Event::CutOff), QUIET, "once");
    assert_eq!(
        hand.tell(2, Event::Closed(child)),
        [End(child), Close(root)]
    );
}

#[test]
fn a_late_tick_does_everything_and_closes_nothing() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    hand.stop(0, root);
    let said = hand.tick(5000);
    assert!(
        !said.iter().any(|action| matches!(action, Close(_))),
        "{said:?}"
    );
    assert!(
        said.contains(&CutOff(child)) && said.contains(&CutOff(root)),
        "{said:?}"
    );
    assert!(said.contains(&End(child)), "{said:?}");
    assert_eq!(said.last(), Some(&Finish));
}

/// Programs that have come to each phase, by the road that leads there.
fn in_every_phase() -> Vec<Hand> {
    let roads: [fn(&mut Hand); 6] = [
        |_| {},
        |hand| drop(hand.stop(0, hand.root)),
        |hand| drop(hand.tick(50)),
        |hand| drop(hand.alive(50, hand.root, false, true)),
        |hand| drop(hand.alive(50, hand.root, false, false)),
        |hand| drop(hand.tell(60, Event::Closed(hand.root))),
    ];
    (1..=roads.len())
        .map(|steps| {
            let mut hand = Hand::new(Limits {
                lame_duck: ms(50),
                ..LIMITS
            });
            roads[..steps].iter().for_each(|road| road(&mut hand));
            hand
        })
        .collect()
}

#[test]
fn force_and_deadline_end_it_from_everywhere() {
    let phases: Vec<_> = in_every_phase()
        .iter()
        .map(|hand| hand.phase(hand.root))
        .collect();
    let all = [
        Phase::Running,
        Phase::LameDuck,
        Phase::Draining,
        Phase::Cancelling,
        Phase::Closing,
        Phase::Stopped,
    ];
    assert_eq!(phases, all);
    for (event, end) in [
        (Event::Force, Phase::Forced),
        (Event::Deadline, Phase::Stopped),
    ] {
        for mut hand in in_every_phase() {
            let root = hand.root;
            let over = hand.phase(root) == Phase::Stopped;
            let said = hand.tell(60, event);
            if over {
                assert_eq!(said, QUIET);
                assert_eq!(hand.phase(root), Phase::Stopped);
                continue;
            }
            assert_eq!(said.last(), Some(&Finish));
            assert_eq!(hand.phase(root), end);
            assert_eq!(hand.machine.next_limit(), None);
            for event in [
                Event::Stop(root),
                Event::Force,
                Event::Deadline,
                Event::CutOff,
            ] {
                assert_eq!(hand.tell(9999, event), QUIET);
                assert_eq!(hand.phase(root), end, "absorbing");
            }
        }
    }
}

#[test]
fn force_drops_what_was_not_yet_taken() {
    let mut hand = Hand::new(LIMITS);
    let root = hand.root;
    hand.machine.handle(ms(0), Event::Stop(root));
    assert_eq!(hand.tell(0, Event::Force), [Finish]);
}

#[test]
fn limits_that_never_come_do_not_come() {
    let limits = Limits {
        lame_duck: Duration::ZERO,
        drain: Duration::MAX,
        cut_off: Duration::MAX,
        deadline: Duration::MAX,
    };
    let mut hand = Hand::new(limits);
    let root = hand.root;
    let child = hand.open(0, root, &[]);
    hand.stop(7, root);
    assert_eq!(hand.machine.next_limit(), None);
    assert_eq!(hand.machine.deadline(), Some(Duration::MAX));
    assert_eq!(hand.machine.drain_limit(child), Some(Duration::MAX));
    hand.machine.handle(Duration::MAX, Event::Tick);
    assert_eq!(hand.said(), QUIET);
    assert_eq!(
        hand.alive(0, child, false, false),
        [Cancel(child), Close(child)]
    );
    hand.tell(0, Event::Closed(child));
    hand.alive(0, root, true, true);
    let said = hand.tell(0, Event::CutOff);
    assert_eq!(
        said,
        [Cancel(root), CutOff(root), Close(root)],
        "the host still can"
    );
}

#[test]
fn a_lame_duck_phase_that_never_ends_waits_for_the_host() {
    let never = Duration::MAX;
    let limits = Limits {
        lame_duck: never,
        drain: never,
        cut_off: never,
        deadline: never,
    };
    let mut hand = Hand::new(limits);
    let root = hand.root;
    assert_eq!(hand.stop(1, root), [Action::LameDuck]);
    assert_eq!(hand.machine.next_limit(), None);
    assert_eq!(
        hand.tell(2, Event::Deadline),
        [Fire(root), Cancel(root), CutOff(root), Finish]
    );
}

#[test]
fn a_drain_limit_is_kept_although_nothing_else_is_limited() {
    let limits = Limits {
        drain: ms(100),
        cut_off: Duration::MAX,
        deadline: Duration::MAX,
        ..LIMITS
    };
    let mut hand = Hand::new(limits);
    let root = hand.root;
    hand.stop(1000, root);
    let drain = hand.machine.drain_limit(root).unwrap();
    assert!(drain <= ms(1100) && drain >= ms(1099), "{drain:?}");
    assert_eq!(hand.machine.next_limit(), Some(drain));
}

#[test]
fn limits_in_the_wrong_order_are_lowered_to_the_deadline() {
    let limits = Limits {
        lame_duck: ms(400),
        drain: ms(300),
        cut_off: Duration::MAX,
        deadline: ms(100),
    };
    let mut hand = Hand::new(limits);
    let root = hand.root;
    assert_eq!(hand.stop(0, root), [Action::LameDuck]);
    assert_eq!(hand.machine.cut_off(), Some(ms(100)));
    assert_eq!(hand.tick(100).last(), Some(&Finish));
}

#[test]
fn no_time_at_all_ends_in_the_instant_of_the_stop() {
    let zero = Duration::ZERO;
    let limits = Limits {
        lame_duck: zero,
        drain: zero,
        cut_off: zero,
        deadline: zero,
    };
    let mut hand = Hand::new(limits);
    let child = hand.open(0, hand.root, &[]);
    let said = hand.stop(5, hand.root);
    assert!(said.contains(&End(child)), "{said:?}");
    assert_eq!(said.last(), Some(&Finish));
}

#[test]
fn phases_are_ordered_by_rank_and_named() {
    let all = [
        Phase::Running,
        Phase::LameDuck,
        Phase::Draining,
        Phase::Cancelling,
        Phase::Closing,
        Phase::Stopped,
        Phase::Forced,
    ];
    assert!(all.is_sorted());
    for phase in all {
        assert_eq!(phase.to_string(), format!("{phase:?}"));
    }
    assert_eq!(format!("{:>9}", Phase::Running), "  Running");
}
