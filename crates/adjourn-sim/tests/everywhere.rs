//! Stops at every poll: what they find, what they say of it, and that it comes again.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adjourn_core::{FutureExt, Scope, SecondInterrupt, scope, shield, spawn, spawn_graceful, task};
use adjourn_sim::{Point, Runner, Sim, StopEverywhere, stop_everywhere};
use futures_lite::future::{pending, yield_now};

/// A queue and a store, neither of which loses anything by itself.
#[derive(Clone, Default)]
struct World {
    queue: Arc<Mutex<VecDeque<u32>>>,
    stored: Arc<Mutex<Vec<u32>>>,
}

impl World {
    fn new() -> World {
        let world = World::default();
        world.queue.lock().unwrap().extend(0..3);
        world
    }

    fn take(&self) -> Option<u32> {
        self.queue.lock().unwrap().pop_front()
    }

    async fn store(&self, message: u32) {
        yield_now().await; // a round trip
        self.stored.lock().unwrap().push(message);
    }

    fn is_whole(&self) -> bool {
        self.queue.lock().unwrap().len() + self.stored.lock().unwrap().len() == 3
    }
}

async fn lossy(world: World) {
    while let Some(message) = world.take() {
        world.store(message).await;
    }
}

async fn shielded(world: World) {
    loop {
        let one = shield(async {
            let message = world.take()?;
            world.store(message).await;
            Some(())
        });
        if one.await.is_none() {
            return;
        }
    }
}

fn consume<F>(sim: &Sim, consumer: impl FnOnce(World) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let world = World::new();
    let consumer = consumer(world.clone());
    let exit = sim.run(Runner::new(), async {
        drop(task("consumer").spawn(consumer));
    });
    if exit.report().forced.is_none() {
        assert!(world.is_whole(), "a message was lost");
    }
}

/// Returns the message of a check that fails.
#[track_caller]
fn fails(check: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(check)).expect_err("it fails");
    *payload.downcast::<String>().expect("a text")
}

#[test]
fn a_message_lost_at_one_poll_is_found() {
    let message = fails(|| _ = stop_everywhere(|sim| consume(&sim, lossy)));
    for part in [
        "seed      0",
        "task \"consumer\" of root",
        file!(),
        "asserted  a message was lost",
        "report    exit code 0",
        "first cause: SIGINT",
        "1 cancelled",
        ".replay(0, ",
    ] {
        assert!(message.contains(part), "{part:?} is not in:\n{message}");
    }
    assert!(!message.contains("another way"), "{message}");
}

/// Reads the point out of a message, as one would to replay it.
fn point(message: &str) -> u64 {
    let (_, rest) = message.split_once(".replay(0, ").expect("a call that replays it");
    rest.split_once(')').expect("its end").0.parse().expect("one poll")
}

#[test]
fn a_replay_fails_the_same_way_and_only_there() {
    let all = fails(|| _ = stop_everywhere(|sim| consume(&sim, lossy)));
    let point = point(&all);
    let replay = StopEverywhere::new().replay(0, point);
    let again = fails(|| _ = replay.check(|sim| consume(&sim, lossy)));
    assert_eq!(all, again);
    _ = StopEverywhere::new().replay(0, 1).check(|sim| consume(&sim, lossy));
}

#[test]
fn the_shield_mends_it() {
    let coverage = StopEverywhere::new().seeds(0..5).check(|sim| consume(&sim, shielded));
    assert!(coverage.is_complete() && coverage.unsteady == 0, "{coverage}");
    assert!(coverage.stops >= 5 * 8, "{coverage}");
    assert!(coverage.pairs > coverage.stops, "{coverage}");
}

#[test]
fn every_poll_is_stopped_at_once_and_forced_from() {
    // What is observed is where the stop found the counter.
    let (stops, forced) = (Mutex::new(Vec::new()), AtomicU32::new(0));
    let coverage = stop_everywhere(|sim| {
        let exit = sim.run(Runner::new(), async {
            for _ in 0..5 {
                yield_now().await;
            }
        });
        forced.fetch_add(u32::from(exit.report().forced.is_some()), SeqCst);
        let polls: Vec<_> = sim.injected().iter().map(|injection| injection.poll).collect();
        stops.lock().unwrap().push(polls);
    });
    let stops = stops.into_inner().unwrap();
    for poll in 1..=coverage.stops {
        assert_eq!(stops.iter().filter(|stop| **stop == [poll]).count(), 1, "poll {poll}");
    }
    let pairs: Vec<_> = stops.iter().filter(|stop| stop.len() == 2).collect();
    assert_eq!(pairs.len() as u64, coverage.pairs);
    assert!(pairs.iter().all(|pair| pair[0] < pair[1]));
    assert!(forced.into_inner() > 0);
    assert_eq!(stops.len() as u64, coverage.runs);
}

#[test]
fn a_program_that_waits_for_ever_is_stopped_at_rest() {
    let coverage = stop_everywhere(|sim| {
        let exit = sim.run(Runner::new(), async {
            drop(spawn_graceful(|stop| async move { stop.requested().await }));
            pending::<()>().await;
        });
        assert!(exit.report().stragglers.is_empty() || exit.report().forced.is_some());
    });
    assert!(coverage.is_complete(), "{coverage}");
    assert_eq!(coverage.cut, 0);
}

#[test]
fn a_program_that_never_rests_is_cut_and_that_is_said() {
    let coverage = StopEverywhere::new().polls(100).pairs(50).check(|sim| {
        _ = sim.run(Runner::new(), async {
            loop {
                Scope::current().sleep(Duration::from_secs(1)).await;
            }
        });
    });
    assert_eq!((coverage.cut, coverage.stops, coverage.pairs), (1, 101, 50));
    assert!(!coverage.is_complete() && coverage.pairs_of > 50);
    let text = coverage.to_string();
    assert!(text.contains("sampled") && text.contains("limit of polls"), "{text}");
}

#[test]
fn a_second_signal_that_is_only_recorded_forces_nothing() {
    let coverage = stop_everywhere(|sim| {
        let runner = Runner::new().second_interrupt(SecondInterrupt::Record);
        let exit = sim.run(runner, async {
            let world = World::new();
            shielded(world.clone()).await;
        });
        assert!(exit.report().forced.is_none());
        assert_eq!(exit.exit_code(), 0);
    });
    assert!(coverage.pairs > 0);
}

#[test]
fn a_program_that_hears_no_signal_is_asked_all_the_same() {
    let coverage = stop_everywhere(|sim| {
        let exit = sim.run(Runner::new().signals([]), pending::<()>());
        assert!(exit.report().signals.is_empty());
        assert!(!exit.report().reasons.is_empty());
    });
    assert!(coverage.stops > 0);
}

#[test]
fn a_cleanup_runs_at_most_once_wherever_the_stop_comes() {
    let coverage = StopEverywhere::new().seeds(0..3).check(|sim| {
        let cleaned = Arc::new(AtomicU32::new(0));
        let began = Arc::new(AtomicU32::new(0));
        let (count, start) = (cleaned.clone(), began.clone());
        let exit = sim.run(Runner::new(), async move {
            let work = async move {
                start.fetch_add(1, SeqCst);
                pending::<()>().await;
            };
            let cleanup = async move {
                yield_now().await;
                count.fetch_add(1, SeqCst);
            };
            drop(spawn(work.on_cancel(cleanup)));
        });
        let (began, cleaned) = (began.load(SeqCst), cleaned.load(SeqCst));
        assert!(cleaned <= began);
        if exit.report().forced.is_none() {
            assert_eq!(cleaned, began, "what began is cleaned up");
        }
    });
    assert!(coverage.is_complete(), "{coverage}");
}

#[test]
fn a_process_that_is_ended_sooner_has_its_limits_at_every_poll() {
    let secs = Duration::from_secs;
    let check = |seed: Option<u64>, fails: bool| {
        let mut every = StopEverywhere::new().ends_within(secs(5)).pairs(300);
        if let Some(seed) = seed {
            every = every.seeds([seed]);
        }
        every.check(move |sim| {
            let exit = sim.run(Runner::new(), async move {
                let scope = scope("inner");
                scope.task("deaf").spawn_graceful(|_| pending::<()>());
                scope
                    .task("shielded")
                    .spawn_shielded(async move { Scope::current().sleep(secs(20)).await });
                Scope::current().sleep(secs(9)).await;
                pending::<()>().await;
            });
            assert!(exit.report().forced.is_none(), "nothing is forced");
            let at = sim.injected().last().map(|last| last.at);
            let paired = sim.injected().len() == 2;
            let late = paired && at.is_some_and(|at| sim.elapsed() > at + secs(5));
            assert!(!late, "it outlasts the process");
            assert!(!fails, "on purpose");
        })
    };
    let coverage = check(None, false);
    assert!(coverage.pairs > 10, "{coverage}");
    let message = fails(|| _ = check(Some(0), true));
    assert!(
        message.contains(".ends_within(Duration::from_nanos(5000000000)).replay(0, "),
        "{message}"
    );
}

#[test]
fn a_test_that_runs_nothing_fails() {
    let message = fails(|| _ = stop_everywhere(|_| {}));
    assert!(message.contains("ran no program"), "{message}");
}

#[test]
fn a_deadlock_without_a_deadline_fails() {
    let message = fails(|| {
        _ = stop_everywhere(|sim| {
            _ = sim.run(Runner::new().timeout(Duration::MAX), async {
                task("holder").spawn_shielded(pending::<()>());
            });
        });
    });
    assert!(message.contains("deadlock") && message.contains("\"holder\""), "{message}");
}

#[test]
fn a_program_beside_the_simulation_is_said_to_be_unsteady() {
    let runs = AtomicU32::new(0);
    let test = |sim: Sim| {
        let run = runs.fetch_add(1, SeqCst);
        _ = sim.run(Runner::new(), async move {
            for _ in 0..run % 2 {
                yield_now().await;
            }
        });
    };
    let coverage = StopEverywhere::new().pairs(0).check(test);
    assert_eq!(coverage.unsteady, 1);
    // And a failure that does not come again says so.
    let message = fails(|| {
        let failed = AtomicU32::new(0);
        _ = stop_everywhere(|sim| {
            _ = sim.run(Runner::new(), async {});
            assert!(failed.fetch_add(1, SeqCst) != 3, "once only");
        });
    });
    assert!(message.contains("another way") && message.contains("once only"), "{message}");
}

#[test]
fn points_print_as_the_source_that_makes_them() {
    assert_eq!(Point::from(7).to_string(), "7");
    assert_eq!(Point::from((7, 9)).to_string(), "(7, 9)");
    assert_eq!(Point::NONE.to_string(), "Point::NONE");
}

/// `cargo test --release -p adjourn-sim --test everywhere -- --ignored --nocapture speed`
#[test]
#[ignore = "measures"]
fn speed() {
    let start = std::time::Instant::now();
    let coverage = StopEverywhere::new().seeds(0..20).check(|sim| consume(&sim, shielded));
    let per_second = coverage.runs as f64 / start.elapsed().as_secs_f64();
    eprintln!("{coverage}: {per_second:.0} runs a second");
}
