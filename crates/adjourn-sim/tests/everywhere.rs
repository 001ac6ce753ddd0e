//! Stops at every poll: what they find, what they say of it, and that it comes again.

use std::backtrace::Backtrace;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adjourn_core::{
    FutureExt, Scope, SecondInterrupt, StopToken, scope, shield, spawn, spawn_graceful, task,
};
use adjourn_sim::{Fault, Point, Runner, Sim, StopEverywhere, fault_point, stop_everywhere};
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
    assert!(world.is_whole(), "a message was lost");
    assert!(exit.report().failures.is_empty());
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
        "the program fails when it is stopped: ",
        "seed      0",
        "task \"consumer\" of root",
        "asserted  a message was lost\n            at crates/adjourn-sim/tests/everywhere.rs:",
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
    assert_eq!(one(&all), one(&again));
    _ = StopEverywhere::new().replay(0, 1).check(|sim| consume(&sim, lossy));
}

/// What a message says of the smallest failure: its seed, stop, assertion and report.
fn one(message: &str) -> Vec<&str> {
    let lines = message.lines().skip_while(|line| !line.starts_with("  seed"));
    lines.take_while(|line| !line.starts_with("  replay")).filter(|line| !is_list(line)).collect()
}

fn is_list(line: &str) -> bool {
    line.is_empty() || line.starts_with("  fails at")
}

#[test]
fn a_replay_of_a_point_that_is_not_there_is_an_error() {
    for (point, says) in [
        (Point::from(0), "it has polls 1 to"),
        (Point::from(1000), "it has polls 1 to"),
        (Point::from((3, 3)), "after that stop it has polls 4 to"),
        (Point::from((3, 1000)), "after that stop it has polls 4 to"),
    ] {
        let replay = StopEverywhere::new().replay(0, point);
        let error = fails(|| _ = replay.check(|sim| consume(&sim, shielded)));
        assert!(error.contains(&format!("there is no point {point} to replay")), "{error}");
        assert!(error.contains(says) && error.contains("run the whole check again"), "{error}");
    }
}

#[test]
fn all_points_that_fail_are_told_the_smallest_first() {
    let bad = |sim: Sim| {
        _ = sim.run(Runner::new(), async {
            for _ in 0..9 {
                yield_now().await;
            }
        });
        let polls: Vec<u64> = sim.injected().iter().map(|injection| injection.poll).collect();
        assert!(!matches!(polls[..], [4..=6 | 8]), "stopped at four of them");
        assert!(polls != [2], "stopped at another");
    };
    let message = fails(|| _ = StopEverywhere::new().check(bad));
    let (first, rest) = message.split_once("  also      ").expect("two kinds");
    assert!(first.contains(": 5 of ") && first.contains(" runs failed"), "{first}");
    assert!(first.contains(".replay(0, 2)") && first.contains("stopped at another"), "{first}");
    assert!(first.contains("ADJOURN_SIM_REPLAY=0:2 cargo test all_points_that_fail"), "{first}");
    assert!(rest.starts_with("stopped at four of them"), "{rest}");
    assert!(rest.contains("fails at  4 points: 0:4..=6 0:8\n"), "{rest}");
    assert!(rest.contains(".replay(0, 4)"), "{rest}");
}

const WHERE_A_TASK_STOOD: &str = "where_a_task_stood_is_told_by_the_line_of_its_await";
/// Set where this test runs again without its debug information.
const STRIPPED: &str = "ADJOURN_TESTS_STRIPPED";

#[cfg(target_os = "linux")]
#[test]
fn without_debug_information_the_function_is_told() {
    let tests = std::env::current_exe().expect("it runs");
    let stripped = tests.with_extension("stripped");
    let strip = ["--strip-debug", "-o"];
    let made = Command::new("strip").args(strip).arg(&stripped).arg(&tests).status();
    assert!(made.expect("strip comes with the linker").success());
    let mut again = Command::new(&stripped);
    let ran = again.args(["--exact", WHERE_A_TASK_STOOD]).env(STRIPPED, "1").output();
    let said = ran.map(|ran| String::from_utf8_lossy(&ran.stdout).into_owned()).expect("it starts");
    _ = std::fs::remove_file(&stripped);
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn where_a_task_stood_is_told_by_the_line_of_its_await() {
    // Tests for another system may be built without debug information.
    let has_lines = Backtrace::force_capture().to_string().contains("tests/everywhere.rs:");
    assert!(has_lines || cfg!(windows) || std::env::var_os(STRIPPED).is_some());
    let (first, second) = (AtomicU32::new(0), AtomicU32::new(0));
    let test = |sim: Sim| {
        let [mut stands, mut yields] = [0; 2];
        _ = sim.run(Runner::new(), async {
            let (sender, receiver) = async_channel::bounded::<()>(1);
            let waiter = task("waiter").spawn_shielded(async move {
                let at = line!() + 1;
                receiver.recv().await.unwrap();
                yield_now().await;
                at
            });
            Scope::current().sleep(Duration::from_secs(1)).await;
            sender.send(()).await.unwrap();
            stands = waiter.await.unwrap();
            yields = stands + 1;
        });
        if stands > 0 {
            first.store(stands, SeqCst);
            second.store(yields, SeqCst);
        }
        assert!(sim.injected().is_empty(), "stopped");
    };
    let all = fails(|| _ = StopEverywhere::new().pairs(0).check(test));
    let message = |point: u64| fails(|| _ = StopEverywhere::new().replay(0, point).check(test));
    let (_, last) = all.split_once("0:1..=").expect("it fails everywhere");
    let last = last.lines().next().unwrap().parse().unwrap();
    let messages: Vec<String> = (1..=last).map(message).collect();
    for (nth, line) in [(2, first.into_inner()), (3, second.into_inner())] {
        let polled = format!("poll {nth} of shielded task \"waiter\" of root");
        let stood = if has_lines {
            format!("tests/everywhere.rs:{line}:")
        } else {
            format!("which stood at everywhere::{WHERE_A_TASK_STOOD} (the build has no")
        };
        let message = messages.iter().find(|message| message.contains(&polled));
        let message = message.unwrap_or_else(|| panic!("no {polled:?} in {messages:#?}"));
        assert!(message.contains(&stood), "{stood:?} is not in:\n{message}");
    }
    let unpolled = messages.iter().find(|message| message.contains("poll 1 of shielded"));
    assert!(!unpolled.expect("it has a first poll").contains("which stood"));
}

#[test]
fn a_test_that_tests_nothing_fails_unless_it_is_meant() {
    // Inside of a poll of another simulation nothing starts.
    let nested = |check: StopEverywhere| {
        let outcome = Arc::new(Mutex::new(None));
        let gives = outcome.clone();
        _ = Sim::new().run(Runner::new(), async move {
            let test = |sim: Sim| _ = sim.run(Runner::new(), async {});
            let caught = catch_unwind(AssertUnwindSafe(|| check.check(test)));
            *gives.lock().unwrap() =
                Some(caught.map_err(|panic| *panic.downcast::<String>().unwrap()));
        });
        outcome.lock().unwrap().take().expect("main ran")
    };
    let message = nested(StopEverywhere::new()).unwrap_err();
    for part in [
        "did not start, so nothing was tested",
        "inside a task of a running program",
        "may_not_start()",
    ] {
        assert!(message.contains(part), "{part:?} is not in:\n{message}");
    }
    assert!(nested(StopEverywhere::new().may_not_start()).is_ok());

    let fails_alone = |sim: Sim| _ = sim.run(Runner::new(), async { Err::<(), _>("no such file") });
    let message = fails(|| _ = stop_everywhere(fails_alone));
    assert!(message.contains("main failed, with nothing injected: no such file"), "{message}");
    assert!(message.contains("the program fails with nothing injected: 1 of 1 run"), "{message}");
    _ = StopEverywhere::new().main_may_fail().check(fails_alone);

    let panics_alone = |sim: Sim| {
        _ = sim.run(Runner::new(), async { assert_eq!(2 + 2, 5, "an assertion in main") });
    };
    let message = fails(|| _ = stop_everywhere(panics_alone));
    assert!(message.contains("main panicked, with nothing injected"), "{message}");
    assert!(message.contains("an assertion in main"), "{message}");
    _ = StopEverywhere::new().main_may_fail().check(panics_alone);

    let message = fails(|| _ = StopEverywhere::new().seeds([]).check(|_| ()));
    assert!(message.contains("nothing was tested"), "{message}");
    let nothing = |sim: Sim| _ = sim.run(Runner::new(), async {});
    let message = fails(|| _ = StopEverywhere::new().polls(0).check(nothing));
    assert!(message.contains("nothing was tested"), "{message}");
}

#[test]
fn a_main_that_panics_at_a_stop_is_found_and_a_fault_in_it_is_no_failure() {
    let unwraps = |sim: Sim| {
        _ = sim.run_graceful(Runner::new(), |stop| async move {
            let worker = task("worker").spawn(pending::<()>());
            stop.requested().await;
            worker.abort();
            worker.await.expect("a main that expects too much");
        });
    };
    let message = fails(|| _ = stop_everywhere(unwraps));
    assert!(message.contains("main panicked when it was asked to stop"), "{message}");
    assert!(message.contains("a main that expects too much"), "{message}");
    let faulty = Sim::new().fault("main", 1, Fault::Panic);
    _ = StopEverywhere::new().on(faulty).check(|sim| {
        _ = sim.run(Runner::new(), async { fault_point("main").await });
    });
}

#[test]
fn assertions_count_in_orderly_runs_or_in_forced_ones() {
    let test = |sim: Sim| {
        let exit = sim.run(Runner::new(), async { shielded(World::new()).await });
        assert!(exit.report().forced.is_none(), "it was forced");
    };
    let coverage = stop_everywhere(test);
    assert!(coverage.forced > 0 && coverage.forced <= coverage.pairs, "{coverage}");
    let message = fails(|| _ = StopEverywhere::new().forced().check(test));
    assert!(
        message.contains(&format!("{} of {} runs", coverage.forced, coverage.runs)),
        "{message}"
    );
    assert!(message.contains("StopEverywhere::new().forced().replay(0, ("), "{message}");
    let orderly = |sim: Sim| {
        let exit = sim.run(Runner::new(), async { shielded(World::new()).await });
        assert!(exit.report().forced.is_some(), "it was not forced");
    };
    _ = StopEverywhere::new().forced().check(orderly);
    let never = |sim: Sim| {
        let runner = Runner::new().second_interrupt(SecondInterrupt::Record);
        _ = sim.run(runner, async { shielded(World::new()).await });
    };
    let message = fails(|| _ = StopEverywhere::new().forced().check(never));
    assert!(message.contains("no second signal forced the end"), "{message}");
}

#[test]
fn a_long_program_is_sampled_to_its_end_and_that_is_said() {
    let stops = Mutex::new(Vec::new());
    let check = StopEverywhere::new().polls(50).pairs(0);
    let coverage = check.check(|sim| {
        _ = sim.run(Runner::new(), async {
            for _ in 0..1000 {
                yield_now().await;
            }
        });
        stops.lock().unwrap().extend(sim.injected().iter().map(|injection| injection.poll));
    });
    assert_eq!((coverage.stops, coverage.cut), (50, 0), "{coverage}");
    assert!(coverage.stops_of > 1000 && !coverage.is_complete(), "{coverage}");
    assert!(coverage.to_string().contains(" polls (4 %, sampled)"), "{coverage}");
    let stops = stops.into_inner().unwrap();
    assert!(stops.iter().any(|stop| *stop > 950), "{stops:?}");
    let message = fails(|| {
        _ = StopEverywhere::new().polls(3).complete().check(|sim| consume(&sim, shielded));
    });
    assert!(message.contains("not all points were run: "), "{message}");
}

#[test]
fn no_limit_of_time_is_none() {
    let check = StopEverywhere::new().time(Duration::MAX);
    assert!(check.check(|sim| consume(&sim, shielded)).is_complete());
}

#[test]
fn the_limit_of_time_cuts_and_that_is_said() {
    let first = AtomicU32::new(0);
    let check = StopEverywhere::new().time(Duration::from_secs(1));
    let coverage = check.check(|sim| {
        _ = sim.run(Runner::new(), async { shielded(World::new()).await });
        // The third is the first stop: it takes all of the time.
        if first.fetch_add(1, SeqCst) == 2 {
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    assert!(coverage.out_of_time && !coverage.is_complete(), "{coverage}");
    assert!(coverage.stops >= 1 && coverage.stops < coverage.stops_of, "{coverage}");
    assert!(coverage.to_string().contains("cut short by the limit of time"), "{coverage}");
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
        assert!(exit.report().stragglers.is_empty());
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
    assert_eq!((coverage.cut, coverage.stops, coverage.pairs), (1, 100, 50));
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
        assert_eq!(cleaned, began, "what began is cleaned up");
        assert_eq!(exit.exit_code(), 0);
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

/// Tasks that ask and never end, so that each is cut off at its drain limit: in a scope that is stopped
/// alone, in one that never is, and spawned while the stop goes on, into a scope that was empty too. With
/// no drain limit at all they are told and cut off in the same instant. That each is told before it is
/// dropped is checked by the simulation too.
#[test]
fn whoever_asks_is_told_before_it_is_dropped() {
    let told = AtomicU32::new(0);
    let program = |sim: &Sim, limit: Duration| {
        let (asked, knew) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (asks, knows) = (asked.clone(), knew.clone());
        let asker = move || {
            let (asks, knows) = (asks.clone(), knows.clone());
            move |stop: StopToken| async move {
                asks.fetch_add(1, SeqCst);
                stop.requested().await;
                knows.fetch_add(1, SeqCst);
                pending::<()>().await;
            }
        };
        let runner = Runner::new().timeout(Duration::from_secs(60)).drain_limit(limit);
        let exit = sim.run(runner, async move {
            let (alone, late) = (scope("alone"), scope("late"));
            alone.spawn_graceful(asker());
            let more = [asker(), asker()];
            spawn_graceful(|stop| async move {
                stop.requested().await;
                let [here, there] = more;
                spawn_graceful(here);
                late.spawn_graceful(there);
            });
            let plain = asker();
            spawn(async move { plain(StopToken::current()).await });
            yield_now().await;
            _ = alone.stop().await;
        });
        assert_eq!(asked.load(SeqCst), knew.load(SeqCst), "{}", exit.report());
        told.fetch_add(knew.load(SeqCst), SeqCst);
    };
    for limit in [Duration::from_secs(10), Duration::ZERO] {
        let check = StopEverywhere::new().seeds(0..5).pairs(100);
        let coverage = check.check(|sim| program(&sim, limit));
        assert!(coverage.stops == coverage.stops_of && coverage.unsteady == 0, "{coverage}");
        assert!(told.swap(0, SeqCst) > 0, "{coverage}");
    }
}

/// A promise that holds where the end is in order: a second signal before the drain ends a task that has
/// asked at once, and so does whoever drops an attached program's future.
#[test]
fn whoever_is_dropped_by_a_forced_end_or_by_its_owner_need_not_be_told() {
    let sleep = || Scope::current().sleep(Duration::from_millis(20)).until_stop();
    let lame_duck = || Runner::new().lame_duck(Duration::from_millis(10));
    let coverage = stop_everywhere(|sim| {
        _ = sim.run(lame_duck(), async { _ = sleep().await });
    });
    assert!(coverage.is_complete() && coverage.forced > 0, "{coverage}");
    let coverage = stop_everywhere(|sim| {
        _ = sim.run(lame_duck(), async {
            let backend = Scope::current().backend().clone();
            let inner = lame_duck();
            let stopper = inner.stopper();
            spawn(async move {
                Scope::current().sleep(Duration::from_millis(5)).await;
                stopper.stop();
            });
            // A plain task here, so a stop drops it with all of the other program.
            _ = inner.attach_to(&backend, async { StopToken::current().requested().await }).await;
        });
    });
    assert!(coverage.is_complete(), "{coverage}");
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
            _ = sim.run(Runner::new(), async {
                for _ in 0..5 {
                    yield_now().await;
                }
            });
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

/// What the tests below start anew, with an environment of its own: fails when it is stopped.
#[test]
#[ignore = "fails: other tests run it in processes of their own"]
fn lossy_in_a_process() {
    _ = stop_everywhere(|sim| consume(&sim, lossy));
}

/// Runs that test with a variable; returns what it says.
fn with(variable: &str, value: &str) -> String {
    let output = Command::new(std::env::current_exe().expect("it has a path"))
        .args(["lossy_in_a_process", "--exact", "--include-ignored", "--nocapture"])
        .env(variable, value)
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("the test binary starts anew");
    assert!(!output.status.success(), "it passes");
    String::from_utf8([output.stdout, output.stderr].concat()).expect("text")
}

#[test]
fn the_environment_is_heard_and_panics_of_runs_are_not() {
    let all = with("ADJOURN_SIM_SEED", "7..10");
    assert!(all.contains(" 7:") && all.contains(" 9:"), "two of the three seeds: {all}");
    // One panic is the check's own. Those of the runs are within its message.
    assert_eq!(all.matches("panicked at").count(), 1, "{all}");
    let (_, replay) = all.split_once("ADJOURN_SIM_REPLAY=").expect("how to replay it");
    let (replay, rest) = replay.split_once(' ').expect("a command");
    assert!(rest.starts_with("cargo test lossy_in_a_process\n"), "{all}");
    let one = with("ADJOURN_SIM_REPLAY", replay);
    let (seed, _) = replay.split_once(':').expect("a seed and a point");
    let seed = format!("seed      {seed}\n");
    assert!(one.contains("1 of 1 run failed") && one.contains(&seed), "{one}");
    assert_eq!(one.matches("panicked at").count(), 2, "in a replay they are printed: {one}");
    let error = with("ADJOURN_SIM_BUDGET", "soon");
    assert!(error.contains("ADJOURN_SIM_BUDGET is \"soon\": it has to be seconds"), "{error}");
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
