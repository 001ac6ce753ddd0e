//! Supervised tasks on a virtual clock: when runs begin, what the report says, and stops at every poll.

#![allow(missing_docs)] // a test has no API

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adjourn::supervise::Supervisor;
use adjourn::{
    Exit, FutureExt, Reason, Scope, StopToken, Timer, Until, shield, spawn, spawn_graceful, task,
};
use adjourn_sim::{Runner, Sim, stop_everywhere};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn now() -> Instant {
    Scope::current().backend().now()
}

/// When the runs began, from the first one on.
#[derive(Clone, Default)]
struct Begun(Arc<Mutex<Vec<Instant>>>);

impl Begun {
    /// Returns which run it is, from 1.
    fn note(&self) -> usize {
        let mut begun = self.0.lock().unwrap();
        begun.push(now());
        begun.len()
    }

    fn times(&self) -> Vec<Duration> {
        let begun = self.0.lock().unwrap();
        begun.iter().map(|time| *time - begun[0]).collect()
    }
}

/// Runs a supervised task alone, whose runs are told which one they are.
fn supervised<F>(supervisor: Supervisor, run: impl Fn(usize) -> F + Send + 'static) -> (Begun, Exit)
where
    F: Future<Output = Result<(), AnyError>> + Send + 'static,
{
    let begun = Begun::default();
    let noted = begun.clone();
    let exit = Sim::new().run(Runner::new(), async move {
        task("part").spawn(supervisor.run(move || run(noted.note())));
    });
    (begun, exit)
}

/// The first line of each failure, and its last cause.
fn told(exit: &Exit) -> Vec<String> {
    let failures = exit.report().failures.iter();
    let told = failures.map(|failure| {
        assert!(failure.origin.contains("\"part\""), "{}", failure.origin);
        failure.messages.join(": ")
    });
    told.collect()
}

#[test]
fn a_transient_task_is_over_when_it_ends_well() {
    let (begun, exit) = supervised(Supervisor::transient(), |nth| async move {
        if nth < 4 { Err(format!("no {nth}").into()) } else { Ok(()) }
    });
    assert_eq!(begun.times(), [0, 100, 300, 700].map(ms));
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
    assert_eq!(
        told(&exit),
        [
            "run 1 failed; the next one begins in 100ms: no 1",
            "run 2 failed; the next one begins in 200ms: no 2",
            "run 3 failed; the next one begins in 400ms: no 3",
        ]
    );
    assert_eq!(exit.report().total().failed, 1);
}

#[test]
fn a_permanent_task_is_started_again_though_it_ends_well() {
    let (begun, exit) = supervised(Supervisor::permanent(), |nth| async move {
        if nth == 3 {
            _ = Scope::current().stop(); // the root's
        }
        Ok(())
    });
    assert_eq!(begun.times(), [0, 100, 300].map(ms));
    assert!(exit.report().is_clean(), "{}", exit.report());
}

#[test]
fn a_temporary_task_runs_once_and_its_failure_is_reported() {
    let (begun, exit) = supervised(Supervisor::temporary(), |_| async { Err("no".into()) });
    assert_eq!(begun.times(), [ms(0)]);
    assert_eq!((told(&exit), exit.exit_code()), (vec!["the last run failed: no".to_owned()], 0));
    let (_, exit) = supervised(Supervisor::temporary(), |_| async { Ok(()) });
    assert!(exit.report().is_clean(), "{}", exit.report());
    let stops = Supervisor::temporary().or_stop();
    let (_, exit) = supervised(stops, |_| async { Err("no".into()) });
    assert_eq!(exit.exit_code(), 1, "{}", exit.report());
}

#[test]
fn delays_are_long_after_many_failures_and_short_after_a_good_run() {
    let (begun, _) = supervised(Supervisor::transient(), |nth| async move {
        let lasts = if nth == 12 { secs(60) } else { ms(0) };
        Scope::current().sleep(lasts).await;
        if nth < 14 { Err("no".into()) } else { Ok(()) }
    });
    let begun = begun.times();
    let between: Vec<_> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let delays = [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000];
    assert_eq!(between[..11], delays.map(ms));
    assert_eq!(between[11..], [secs(60) + ms(100), ms(200)]);
}

#[test]
fn it_gives_up_at_the_limit_and_the_program_goes_on() {
    let supervisor = Supervisor::transient().limit(3, secs(60));
    let (begun, exit) = supervised(supervisor, |_| async { Err("no".into()) });
    assert_eq!(begun.times(), [0, 100, 300, 700].map(ms));
    let told = told(&exit);
    assert_eq!(told.len(), 4);
    assert_eq!(told[3], "gave up, after 3 restarts in 60s: the last run failed: no");
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
}

#[test]
fn it_gives_up_and_stops_the_program() {
    for permanent in [false, true] {
        let exit = Sim::new().run(Runner::new().until(Until::Stopped), async move {
            if permanent {
                let supervisor = Supervisor::permanent().limit(1, secs(60)).or_stop();
                task("part").spawn(supervisor.run(async || {}));
            } else {
                let supervisor = Supervisor::transient().limit(1, secs(60)).or_stop();
                task("part").spawn(supervisor.run(async || Err::<(), _>("no")));
            }
        });
        assert_eq!(exit.exit_code(), 1, "{}", exit.report());
        let reason = &exit.report().reasons[0].what;
        assert!(matches!(reason, Reason::TaskFailed(_)), "{reason:?}");
        let last = if permanent { "the last run ended too" } else { "the last run failed: no" };
        let last = format!("gave up, after 1 restarts in 60s: {last}");
        assert_eq!(told(&exit).last(), Some(&last));
    }
}

#[test]
fn restarts_that_are_far_apart_never_reach_the_limit() {
    let supervisor = Supervisor::transient().limit(2, secs(10));
    let (begun, exit) = supervised(supervisor, |nth| async move {
        Scope::current().sleep(secs(5)).await;
        if nth < 20 { Err("no".into()) } else { Ok(()) }
    });
    assert_eq!((begun.times().len(), exit.exit_code()), (20, 0), "{}", exit.report());
}

#[test]
fn a_panic_is_a_failure_wherever_it_comes_from() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("in the destructor");
            }
        }
    }
    let begun = Begun::default();
    let noted = begun.clone();
    let exit = Sim::new().run(Runner::new().stop_on_panic(true), async move {
        let run = move || {
            let nth = noted.note();
            assert!(nth != 1, "in the closure");
            // Dropped with the future and not at the end of the block.
            let bomb = (nth == 3).then(|| Bomb);
            std::future::poll_fn(move |_| {
                _ = &bomb;
                assert!(nth != 2, "in a poll");
                if nth == 4 {
                    std::panic::panic_any(7);
                }
                std::task::Poll::Ready(())
            })
        };
        // With a limit, so that what is wrong ends too.
        task("part").spawn(Supervisor::transient().limit(9, secs(3600)).run(run));
    });
    assert_eq!(begun.times(), [0, 100, 300, 700, 1500].map(ms));
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
    assert_eq!(
        told(&exit),
        [
            "run 1 panicked: in the closure; the next one begins in 100ms",
            "run 2 panicked: in a poll; the next one begins in 200ms",
            "run 3 panicked: in the destructor; the next one begins in 400ms",
            "run 4 panicked: (a panic whose payload is not text); the next one begins in 800ms",
        ]
    );
}

/// The wait between two runs must not ask: this task's next run never ends by itself.
#[test]
fn a_task_that_was_started_again_is_as_plain_as_before() {
    let sim = Sim::new();
    let exit = sim.run(Runner::new(), async {
        let mut nth = 0;
        let run = move || {
            nth += 1;
            async move {
                if nth > 1 {
                    pending::<()>().await;
                }
                Err::<(), _>("no")
            }
        };
        task("part").spawn(Supervisor::permanent().run(run));
        let scope = Scope::current();
        scope.sleep(secs(1)).await;
        _ = scope.stop();
    });
    assert_eq!((exit.exit_code(), sim.elapsed()), (0, secs(1)), "{}", exit.report());
    assert_eq!(exit.report().total().cancelled, 1, "{}", exit.report());
}

/// A task that has asked is waited for: the stop must not wait for the rest of the delay too.
#[test]
fn the_wait_for_a_restart_ends_at_the_stop() {
    let sim = Sim::new();
    let exit = sim.run(Runner::new(), async {
        let supervisor = Supervisor::permanent().backoff(secs(3600), secs(3600));
        let part = task("part").spawn_graceful(|_| supervisor.run(async || Err::<(), _>("no")));
        let scope = Scope::current();
        scope.sleep(secs(1)).await;
        _ = scope.stop();
        assert!(part.await.expect("it is over").is_ok(), "nothing failed since");
    });
    assert_eq!((exit.exit_code(), sim.elapsed()), (0, secs(1)), "{}", exit.report());
}

/// What others still use while they drain has to be there.
#[test]
fn a_scope_that_is_not_told_yet_still_restarts() {
    let begun = Begun::default();
    let noted = begun.clone();
    let exit = Sim::new().run(Runner::new(), async move {
        let root = Scope::current();
        let db = root.scope("db");
        let http = root.scope("http").depends_on(&db);
        let supervisor = Supervisor::permanent().backoff(secs(1), secs(1));
        db.spawn(supervisor.run(move || {
            noted.note();
            async { Scope::current().sleep(secs(1)).await }
        }));
        let scope = root.clone();
        http.spawn_graceful(|stop| async move {
            stop.requested().await;
            scope.sleep(secs(5)).await; // drains
        });
        root.sleep(secs(3)).await;
        _ = root.stop();
    });
    assert_eq!(begun.times(), [0, 2, 4, 6, 8].map(secs)[..begun.times().len()]);
    assert!(begun.times().len() >= 4, "{:?}", begun.times());
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
}

#[test]
fn a_failure_in_the_stop_sets_the_exit_code_and_is_the_last() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let exit = Sim::new().run(Runner::new(), async move {
        let run = move || {
            counted.fetch_add(1, SeqCst);
            async {
                StopToken::current().requested().await;
                Err::<(), _>("no")
            }
        };
        task("part").spawn(Supervisor::permanent().run(run));
        Scope::current().sleep(secs(1)).await;
        _ = Scope::current().stop();
    });
    assert_eq!((exit.exit_code(), runs.load(SeqCst)), (1, 1), "{}", exit.report());
    assert_eq!(told(&exit), ["the last run failed: no"]);
    // One that the stop caused is none.
    let exit = Sim::new().run(Runner::new(), async {
        let run = async || Scope::current().sleep(secs(9)).until_stop().await;
        task("part").spawn(Supervisor::permanent().run(run));
        Scope::current().sleep(secs(1)).await;
        _ = Scope::current().stop();
    });
    assert!(exit.report().is_clean(), "{}", exit.report());
}

#[test]
fn an_abort_drops_the_run_and_starts_no_other() {
    let (begun, dropped) = (Begun::default(), Arc::new(AtomicBool::new(false)));
    let (noted, drops) = (begun.clone(), dropped.clone());
    let exit = Sim::new().run(Runner::new(), async move {
        struct Drops(Arc<AtomicBool>);
        impl Drop for Drops {
            fn drop(&mut self) {
                self.0.store(true, SeqCst);
            }
        }
        let run = move || {
            noted.note();
            let drops = Drops(drops.clone());
            async move {
                let _drops = drops;
                pending::<()>().await;
            }
        };
        let part = spawn(Supervisor::permanent().run(run));
        Scope::current().sleep(secs(1)).await;
        part.abort();
        assert!(part.await.is_err());
    });
    assert!(dropped.load(SeqCst));
    assert_eq!((begun.times().len(), exit.exit_code()), (1, 0), "{}", exit.report());
}

/// Wherever the stop comes: no run begins after it, no shield is broken off, nothing is waited for.
#[test]
fn nothing_is_started_again_in_a_stop_at_any_poll() {
    for graceful in [false, true] {
        let coverage = stop_everywhere(|sim| {
            let late = Arc::new(AtomicBool::new(false));
            let (sections, whole) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (was_late, begins, ends) = (late.clone(), sections.clone(), whole.clone());
            let mut nth = 0;
            let run = move || {
                nth += 1;
                was_late.fetch_or(nth > 1 && StopToken::current().peek(), SeqCst);
                let (begins, ends) = (begins.clone(), ends.clone());
                async move {
                    let section = async {
                        begins.fetch_add(1, SeqCst);
                        Scope::current().sleep(ms(10)).await;
                        ends.fetch_add(1, SeqCst);
                    };
                    shield(section).await;
                    assert!(nth != 2, "a panic");
                    if nth == 4 { Ok(()) } else { Err("no") }
                }
            };
            let exit = sim.run(Runner::new(), async move {
                let supervisor = Supervisor::transient().backoff(secs(100), secs(100));
                if graceful {
                    spawn_graceful(|_| supervisor.run(run));
                } else {
                    spawn(supervisor.run(run));
                }
            });
            assert!(!late.load(SeqCst), "a run began in the stop");
            assert_eq!(sections.load(SeqCst), whole.load(SeqCst));
            // 1 where a run failed in the stop; 124 where something was waited for in vain.
            assert!(exit.exit_code() <= 1, "{}", exit.report());
        });
        assert!(coverage.is_complete() && coverage.stops > 10, "{coverage}");
    }
}
