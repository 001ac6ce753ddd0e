//! Tokens and `until_stop`: who is told of a stop, through which wakers, and in which scope.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use adjourn::{FutureExt, Reason, Scope, StopRequested, StopToken, spawn_graceful};
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::harness::*;

scenarios![
    tokens_are_level_triggered,
    every_waiter_is_woken,
    tokens_work_behind_wakers_of_combinators,
    a_token_of_one_scope_is_awaited_in_another,
    until_stop_gives_the_value_or_drops_the_future,
    until_stop_looks_at_the_stop_first,
    until_stop_works_behind_wakers_of_combinators,
    until_stop_gives_up_with_the_scope_that_it_was_given,
    a_wait_that_is_dropped_keeps_no_waker,
    a_task_that_was_told_of_the_stop_starts_nothing_until_stop,
    a_token_knows_how_much_of_the_drain_limit_is_left,
    without_a_limit_no_time_is_left_to_tell,
];

fn tokens_are_level_triggered(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        drop(spawn_graceful(move |stop| async move {
            assert!(!stop.is_requested() && stop.reason().is_none());
            assert!(poll_once(&mut stop.requested()).await.is_pending());
            stopper.stop();
            stop.requested().await;
            assert!(stop.is_requested());
            assert_eq!(stop.reason(), Some(Reason::Requested(None)));
            for _ in 0..3 {
                assert!(poll_once(&mut stop.requested()).await.is_ready());
                assert!(poll_once(&mut StopToken::current().requested()).await.is_ready());
            }
            assert!(stop.wait_timeout(Duration::MAX));
        }));
        pending::<()>().await;
    });
    clean(&exit);
}

fn every_waiter_is_woken(config: Config) {
    let count = Arc::new(AtomicUsize::new(0));
    let program = Program::new(config);
    let (stopper, counted) = (program.stopper(), count.clone());
    let exit = program.run(async move {
        for _ in 0..200 {
            let counted = counted.clone();
            drop(spawn_graceful(move |stop| async move {
                stop.requested().await;
                counted.fetch_add(1, SeqCst);
            }));
        }
        yields(1).await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(count.load(SeqCst), 200);
}

fn tokens_work_behind_wakers_of_combinators(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let begun = Gate::new();
        let begins = begun.clone();
        let handle = spawn_graceful(move |stop| async move {
            let mut waits: FuturesUnordered<_> = (0..10).map(|_| stop.requested()).collect();
            assert!(poll_once(&mut waits.next()).await.is_pending());
            begins.open();
            waits.by_ref().count().await
        });
        begun.wait().await;
        stopper.stop();
        // Main is cancelled once the drain is over: it gets as far as this or not at all.
        assert_eq!(handle.await.unwrap(), 10);
    });
    clean(&exit);
    assert!(exit.report().total().finished >= 1);
}

fn a_token_of_one_scope_is_awaited_in_another(config: Config) {
    let exit = Program::new(config).run(async {
        let (a, b) = (adjourn::scope("a"), adjourn::scope("b"));
        let begun = Gate::new();
        let (stop, begins) = (a.stop_token(), begun.clone());
        let handle = b.spawn(async move {
            let mut requested = stop.requested();
            assert!(poll_once(&mut requested).await.is_pending());
            begins.open();
            requested.await;
            StopToken::current().is_requested()
        });
        begun.wait().await;
        a.stop().await.unwrap();
        assert!(!handle.await.unwrap(), "b goes on");
    });
    clean(&exit);
}

fn until_stop_gives_the_value_or_drops_the_future(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        assert_eq!(async { 1 }.until_stop().interruptible().await, Ok(1));
        drop(spawn_graceful(move |_| async move {
            let dropped = said.on_drop("dropped");
            let waits = async move {
                let _dropped = dropped;
                pending::<()>().await;
            };
            stopper.stop();
            assert_eq!(waits.until_stop().await, Err(StopRequested));
            said.say("told");
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["dropped", "told"]);
}

fn until_stop_looks_at_the_stop_first(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        drop(spawn_graceful(move |stop| async move {
            stopper.stop();
            stop.requested().await;
            let never = async { panic!("polled after the stop") };
            assert_eq!(never.until_stop().await, Err::<(), _>(StopRequested));
        }));
        pending::<()>().await;
    });
    clean(&exit);
}

fn until_stop_works_behind_wakers_of_combinators(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let begun = Gate::new();
        let begins = begun.clone();
        drop(spawn_graceful(move |_| async move {
            let mut waits: FuturesUnordered<_> =
                (0..10).map(|_| pending::<()>().until_stop()).collect();
            assert!(poll_once(&mut waits.next()).await.is_pending());
            begins.open();
            assert_eq!(
                waits.by_ref().filter(|end| std::future::ready(end.is_err())).count().await,
                10
            );
        }));
        begun.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(exit.report().total().finished, 1);
}

fn until_stop_gives_up_with_the_scope_that_it_was_given(config: Config) {
    let exit = Program::new(config).run(async {
        let (here, there) = (adjourn::scope("here"), adjourn::scope("there"));
        let begun = Gate::new();
        let (begins, given) = (begun.clone(), there.clone());
        let handle = here.spawn(async move {
            let mut waits = Box::pin(pending::<()>().until_stop().in_scope(&given));
            assert!(poll_once(&mut waits).await.is_pending());
            begins.open();
            waits.await
        });
        begun.wait().await;
        drop(there.stop());
        assert_eq!(handle.await.unwrap(), Err(StopRequested));
        assert!(!here.stop_token().is_requested());
    });
    clean(&exit);
}

fn a_wait_that_is_dropped_keeps_no_waker(config: Config) {
    let exit = Program::new(config).run(async {
        let scope = adjourn::scope("stays");
        let gate = Gate::new();
        let opened = gate.clone();
        drop(scope.spawn_shielded(async move { opened.wait().await }));
        let [first, second] = [(); 2].map(|()| Arc::new(Counted));
        let mut requested = Box::pin(Scope::current().stop_token().requested());
        assert!(first.clone().poll(&mut requested).is_pending());
        assert!(second.clone().poll(&mut requested).is_pending());
        assert_eq!(Arc::strong_count(&first), 1, "the later one is in its place");
        assert!(Arc::strong_count(&second) > 1);
        drop(requested);
        assert_eq!(Arc::strong_count(&second), 1);
        let mut ended = Box::pin(scope.stop());
        assert!(first.clone().poll(&mut ended).is_pending());
        assert!(Arc::strong_count(&first) > 1);
        drop(ended);
        assert_eq!(Arc::strong_count(&first), 1);
        gate.open();
    });
    clean(&exit);
}

fn a_task_that_was_told_of_the_stop_starts_nothing_until_stop(config: Config) {
    if config.is_single_threaded() {
        return; // nothing comes between
    }
    let program = Program::new(config).endless();
    let stopper = program.stopper();
    let began = Arc::new(AtomicBool::new(false));
    let tell = began.clone();
    let there = Arc::new(AtomicUsize::new(0));
    let exit = program.run(async move {
        for _ in 0..20_000 {
            let there = there.clone();
            drop(spawn_graceful(|stop| async move {
                there.fetch_add(1, SeqCst);
                moved();
                stop.requested().await;
            }));
        }
        drop(spawn_graceful(|stop: StopToken| async move {
            let mut parts = FuturesUnordered::new();
            parts.push(stop.requested());
            parts.next().await;
            assert!(stop.is_requested());
            let work = async move { tell.store(true, SeqCst) };
            assert!(work.until_stop().await.is_err());
        }));
        while there.load(SeqCst) < 20_000 {
            Scope::current().sleep(Duration::from_millis(5)).await;
        }
        stopper.stop();
        pending::<()>().await;
    });
    assert!(!began.load(SeqCst), "began though its task was told of the stop");
    clean(&exit);
}

fn a_token_knows_how_much_of_the_drain_limit_is_left(config: Config) {
    // The drain limit is 800 s. A scope below the root has half of that; a machine that is busy may
    // use up some.
    let program = Program::new(config).timeout(Duration::from_secs(1000));
    let stopper = program.stopper();
    let near = |left: Option<Duration>, limit: u64| {
        let left = left.expect("there is a limit").as_secs_f64();
        assert!(left <= limit as f64 && left > limit as f64 * 0.8, "{left} s of {limit} s");
    };
    let exit = program.run(async move {
        let child = Scope::current().scope("child");
        let worker = child.spawn_graceful(move |stop| async move {
            assert_eq!(stop.time_left(), None, "before the stop");
            let above = StopToken::current();
            stopper.stop();
            stop.requested().await;
            near(above.time_left(), 400);
            stop.time_left()
        });
        let root = StopToken::current();
        root.requested().await;
        near(root.time_left(), 800);
        near(worker.await.unwrap(), 400);
    });
    clean(&exit);
}

fn without_a_limit_no_time_is_left_to_tell(config: Config) {
    let program = Program::new(config).timeout(Duration::MAX);
    let stopper = program.stopper();
    let exit = program.run_graceful(move |stop| async move {
        stopper.stop();
        stop.requested().await;
        assert_eq!(stop.time_left(), None);
    });
    clean(&exit);
}
