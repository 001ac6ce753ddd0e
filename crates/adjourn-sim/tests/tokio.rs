//! Stops at every poll on Tokio's paused clock.

#![cfg(feature = "tokio")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adjourn_core::{Scope, shield, spawn_blocking, spawn_shielded, task};
use adjourn_sim::tokio::{PausedTokio, Runner, StopEverywhere, stop_everywhere};
use tokio::sync::mpsc;

const HOUR: Duration = Duration::from_secs(3600);

/// A consumer that acknowledges by hand: what it has taken and not stored is lost.
fn consume(lab: &PausedTokio, shielded: bool) {
    let stored = Arc::new(Mutex::new(0));
    let lost = Arc::new(AtomicU32::new(0));
    let (count, holds) = (stored.clone(), lost.clone());
    let exit = lab.run(Runner::new().timeout(10 * HOUR), async move {
        let (sender, mut receiver) = mpsc::channel::<u32>(8);
        for message in 0..3 {
            _ = sender.try_send(message);
        }
        drop(sender);
        task("consumer").spawn(async move {
            loop {
                let one = async {
                    let message = receiver.try_recv().ok()?;
                    holds.fetch_add(1, SeqCst);
                    tokio::time::sleep(HOUR).await; // a slow store
                    *count.lock().unwrap() += message;
                    holds.fetch_sub(1, SeqCst);
                    Some(())
                };
                let done = if shielded { shield(one).await } else { one.await };
                if done.is_none() {
                    return;
                }
            }
        });
    });
    assert_eq!(lost.load(SeqCst), 0, "a message was lost");
    assert_eq!(exit.exit_code(), 0);
}

#[test]
fn a_message_lost_at_one_poll_is_found_and_comes_again() {
    let fails = |check: &dyn Fn()| {
        let payload = catch_unwind(AssertUnwindSafe(check)).expect_err("it fails");
        *payload.downcast::<String>().expect("a text")
    };
    let message = fails(&|| _ = stop_everywhere(|lab| consume(&lab, false)));
    for part in
        ["task \"consumer\" of root", "a message was lost", "tokio::StopEverywhere::new()", file!()]
    {
        assert!(message.contains(part), "{part:?} is not in:\n{message}");
    }
    let (_, rest) = message.split_once(".replay(0, ").unwrap();
    let point: u64 = rest.split_once(')').unwrap().0.parse().unwrap();
    let replay = StopEverywhere::new().replay(0, point);
    let again = fails(&|| _ = replay.check(|lab| consume(&lab, false)));
    let (_, report) = message.split_once("  report ").unwrap();
    let (report, _) = report.split_once("  fails at").unwrap();
    assert!(again.contains(report), "{again}\n\nis not of\n{message}");
    assert!(again.contains("1 of 1 run failed"), "{again}");
}

#[tokio::test]
async fn inside_of_a_runtime_nothing_starts_and_the_check_fails() {
    let check = || _ = stop_everywhere(|lab| consume(&lab, true));
    let payload = catch_unwind(AssertUnwindSafe(check)).expect_err("nothing was tested");
    let message = *payload.downcast::<String>().expect("a text");
    for part in ["did not start, so nothing was tested", "start it from a plain `#[test]`"] {
        assert!(message.contains(part), "{part:?} is not in:\n{message}");
    }
}

#[test]
fn the_shield_mends_it() {
    let coverage = stop_everywhere(|lab| consume(&lab, true));
    assert!(coverage.is_complete() && coverage.unsteady == 0, "{coverage}");
    assert!(coverage.stops >= 8 && coverage.pairs > coverage.stops, "{coverage}");
}

#[test]
fn hours_of_the_paused_clock_take_no_time_and_the_deadline_is_kept_by_it() {
    let lab = PausedTokio::new();
    let exit = lab.run(Runner::new().timeout(2 * HOUR), async {
        drop(task("stubborn").spawn_shielded(std::future::pending::<()>()));
        tokio::time::sleep(HOUR).await;
        _ = Scope::current().stop();
    });
    assert_eq!(exit.exit_code(), 124, "{}", exit.report());
    assert_eq!(exit.report().stragglers[0].task.name.as_deref(), Some("stubborn"));
    assert_eq!(lab.elapsed(), 3 * HOUR - Duration::from_secs(2));
}

#[test]
fn a_program_that_waits_for_ever_is_stopped_at_rest_or_is_a_deadlock() {
    let coverage = stop_everywhere(|lab| {
        _ = lab.run(Runner::new(), std::future::pending::<()>());
    });
    assert!(coverage.is_complete(), "{coverage}");
    let exit = PausedTokio::new().run(Runner::new(), async {
        spawn_shielded(std::future::pending::<()>());
    });
    let failure = &exit.report().failures[0];
    assert!(failure.origin.contains("deadlock"), "{}", exit.report());
    assert!(failure.messages[0].contains(file!()), "{}", exit.report());
}

#[test]
fn a_job_runs_in_one_poll() {
    let coverage = stop_everywhere(|lab| {
        let exit = lab.run(Runner::new(), async {
            assert_eq!(shield(async { spawn_blocking(|| 7).await }).await.unwrap(), 7);
        });
        assert_eq!(exit.exit_code(), 0, "{}", exit.report());
    });
    assert_eq!(coverage.unsteady, 0, "{coverage}");
}

/// `cargo test --release -p adjourn-sim --features tokio --test tokio -- --ignored --nocapture speed`
#[test]
#[ignore = "measures"]
fn speed() {
    let start = std::time::Instant::now();
    let coverage = stop_everywhere(|lab| consume(&lab, true));
    let per_second = f64::from(coverage.runs as u32) / start.elapsed().as_secs_f64();
    eprintln!("{coverage}: {per_second:.0} runs a second");
}
