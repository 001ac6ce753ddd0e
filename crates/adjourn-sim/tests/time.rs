//! Limits of time and ticks, exact to the instant: the clock is a virtual one.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adjourn_core::{FutureExt, Scope, Timer, spawn};
use adjourn_sim::{Runner, Sim, elapse};
use futures_lite::future::{pending, yield_now};

const MINUTE: Duration = Duration::from_secs(60);

fn now() -> Instant {
    Scope::current().backend().now()
}

fn sleep(span: Duration) -> impl Future<Output = ()> + Send {
    Scope::current().sleep(span)
}

/// Runs it and returns how many minutes after its start each number that it says was said.
fn minutes<F: Future<Output = ()>>(main: impl FnOnce(Box<dyn FnMut()>) -> F) -> Vec<f64> {
    let said = Arc::new(Mutex::new(Vec::new()));
    let says = said.clone();
    let exit = Sim::new().run(Runner::new(), async move {
        let start = now();
        main(Box::new(move || {
            says.lock().unwrap().push((now() - start).as_secs_f64() / 60.0);
        }))
        .await;
    });
    assert!(exit.report().is_clean(), "{}", exit.report());
    std::mem::take(&mut said.lock().unwrap())
}

#[test]
fn a_limit_is_kept_to_the_instant() {
    let said = minutes(|mut say| async move {
        let scope = Scope::current();
        assert!(scope.timeout(3 * MINUTE, pending::<()>()).await.is_err());
        say();
        assert!(scope.timeout(3 * MINUTE, sleep(2 * MINUTE)).await.is_ok());
        say();
        // Both at once: the output goes before the end of the time.
        assert!(scope.timeout(MINUTE, sleep(MINUTE)).await.is_ok());
        say();
    });
    assert_eq!(said, [3.0, 5.0, 6.0]);
}

#[test]
fn ticks_do_not_drift_and_do_not_come_in_a_row() {
    let said = minutes(|mut say| async move {
        let mut ticks = Scope::current().interval(MINUTE);
        // The work of each round, in seconds: longer than a period, then than three.
        for work in [10, 50, 90, 0, 200, 0, 0] {
            ticks.tick().await;
            say();
            sleep(Duration::from_secs(work)).await;
        }
    });
    // Begun at 2:00 and 4:00, the long ones end at 3:30 and 7:20.
    assert_eq!(said, [0.0, 1.0, 2.0, 3.5, 4.0, 7.0 + 1.0 / 3.0, 8.0]);
}

#[test]
fn a_loop_that_is_always_late_is_cancelled() {
    let exit = Sim::new().run(Runner::new(), async {
        let task = spawn(async {
            let mut ticks = Scope::current().interval(Duration::from_millis(1));
            for _ in 0..1000 {
                ticks.tick().await;
                elapse(Duration::from_millis(2));
            }
        });
        yield_now().await;
        drop(task);
        _ = Scope::current().stop();
        pending::<()>().await;
    });
    assert!(exit.report().is_clean(), "{}", exit.report());
    assert_eq!(exit.report().total().cancelled, 2, "{}", exit.report());
}

#[test]
fn the_stop_ends_a_periodic_task_where_it_waits() {
    let sim = Sim::new();
    let exit = sim.run(Runner::new(), async {
        let periodic = spawn(async {
            let mut ticks = Scope::current().interval(60 * MINUTE);
            let mut rounds = 0;
            while ticks.tick().until_stop().await.is_ok() {
                rounds += 1;
            }
            rounds
        });
        sleep(90 * MINUTE).await;
        _ = Scope::current().stop();
        assert_eq!(periodic.await.unwrap(), 2);
    });
    assert!(exit.report().is_clean(), "{}", exit.report());
    assert_eq!(sim.elapsed(), 90 * MINUTE);
    assert_eq!(exit.report().total().finished, 1);
}
