//! The timer: by the backend's own clock, which a test may hold still or move.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use adjourn_core::Scope;

use crate::bare::Bare;
use crate::case::Case;
use crate::limits::{moved, patience};
use crate::program::{came_to_its_end, exits, run, straggler};
use crate::setup::Setup;
use crate::tools::{Wakes, millis, poll_once, yields};

/// Runs a body on an executor without a program.
fn on_bare<F: Future<Output = ()>>(case: &Case, body: impl FnOnce(Bare) -> F) {
    let started = case.subject().start();
    started.block_on(Box::pin(body(started.bare())));
    _ = started.end(patience());
}

pub(crate) fn never_early(case: &Case) {
    on_bare(case, |bare| async move {
        for span in [0, 1, 3, 10, 40].map(millis) {
            let start = bare.now();
            bare.sleep(span).await;
            let took = bare.now().checked_duration_since(start).expect("the clock went back");
            assert!(took >= span, "a sleep of {span:?} was over after {took:?}");
        }
        // Less than a clock's tick may be counted in: cut to whole milliseconds it is no time at all.
        // A timer that ticks is met between its ticks, by what the thread does before.
        for (nth, span) in (0..).zip([100, 900, 999].repeat(10)) {
            std::thread::sleep(Duration::from_micros(37 * nth));
            let (span, start) = (Duration::from_micros(span), bare.now());
            bare.sleep(span).await;
            let took = bare.now() - start;
            assert!(took >= span, "a sleep of {span:?} was over after {took:?}");
        }
        // On a busy machine each may be late, which hides that it began early: longer ones, until
        // one is nearly on time.
        for span in (4..16).map(|power| millis(1 << power)) {
            let start = bare.now();
            bare.sleep(span).await;
            let took = bare.now() - start;
            assert!(took >= span, "a sleep of {span:?} was over after {took:?}");
            moved();
            if took < span + span / 4 {
                break;
            }
        }
        // Side by side, in tasks: none takes another's time.
        let sleeps: Vec<_> = [40, 5, 20, 10, 30]
            .map(|span| {
                let timer = bare.clone();
                let span = millis(span);
                bare.spawn(async move {
                    let start = timer.now();
                    timer.sleep(span).await;
                    (span, timer.now() - start)
                })
            })
            .into();
        for sleep in sleeps {
            let (span, took) = sleep.await.expect("the executor goes on");
            assert!(took >= span, "a sleep of {span:?} was over after {took:?}");
        }
    });
}

pub(crate) fn zero_completes(case: &Case) {
    on_bare(case, |bare| async move {
        bare.sleep(Duration::ZERO).await;
        let sleep = bare.sleep(Duration::ZERO);
        bare.spawn(sleep).await.expect("the executor goes on");
    });
    let exit = run(case, Setup::new(), |_| async {
        Scope::current().sleep(Duration::ZERO).await;
    });
    came_to_its_end(&exit);
}

pub(crate) fn duration_max_stays_pending(case: &Case) {
    on_bare(case, |bare| async move {
        for span in [Duration::MAX, Duration::MAX - millis(1), Duration::from_secs(u64::MAX / 4)] {
            let mut never = bare.sleep(span);
            for _ in 0..3 {
                assert!(poll_once(&mut never).await.is_pending(), "{span:?} passed at once");
                yields(1).await;
            }
            bare.sleep(millis(5)).await;
            assert!(poll_once(&mut never).await.is_pending(), "{span:?} passed within 5 ms");
        }
    });
}

pub(crate) fn dropped_sleep_is_inert(case: &Case) {
    on_bare(case, |bare| async move {
        let mut dropped = 0;
        for span in (20..).step_by(10).map(millis).take(100) {
            let wakes = Arc::new(Wakes::default());
            let waker = Waker::from(wakes.clone());
            let mut sleep = bare.sleep(span);
            let polled = sleep.as_mut().poll(&mut Context::from_waker(&waker));
            drop(sleep);
            if polled.is_ready() {
                continue; // on a machine that was held up: there was nothing to forget
            }
            let so_far = wakes.count();
            bare.sleep(3 * span).await;
            assert_eq!(wakes.count(), so_far, "a dropped sleep woke its task");
            moved();
            dropped += 1;
            if dropped == 3 {
                return;
            }
        }
        panic!("sleeps are ready at their first poll");
    });
}

pub(crate) fn re_poll_after_ready(case: &Case) {
    on_bare(case, |bare| async move {
        let mut sleep = bare.sleep(millis(1));
        sleep.as_mut().await;
        for _ in 0..3 {
            _ = poll_once(&mut sleep).await;
        }
        drop(sleep);
        bare.sleep(millis(1)).await;
    });
}

pub(crate) fn deadline_fires_beside_a_sibling_that_is_always_ready(case: &Case) {
    let exit = run(case, Setup::new().timeout(1000), |stopper| async move {
        drop(adjourn_core::task("busy").spawn_shielded(yields(usize::MAX)));
        stopper.stop();
        std::future::pending::<()>().await;
    });
    exits(&exit, 124);
    straggler(exit.report(), "busy"); // on a busy machine main may be one too
}
