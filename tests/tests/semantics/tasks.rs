//! Spawning, joining, aborting; panics and destructors.

use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread;

use adjourn::smol::Smol;
use adjourn::{
    FailureKind, Reason, Scope, spawn, spawn_blocking, spawn_graceful, spawn_shielded, task,
};

use crate::harness::*;

scenarios![
    a_value_is_returned,
    main_may_borrow_and_not_be_send,
    a_panic_keeps_its_payload,
    a_payload_that_nobody_takes_may_panic_when_it_is_dropped,
    abort_drops_a_pending_task_before_its_handle_resolves,
    concurrent_aborts_end_a_task_once,
    abort_does_not_cancel_a_shielded_task,
    a_destructor_that_panics_on_abort_is_a_reported_panic,
    a_destructor_that_panics_on_completion_keeps_the_output,
    a_value_that_nobody_takes_may_panic_when_it_is_dropped,
    a_destructor_that_panics_on_cancellation_skips_nobody,
    a_background_task_does_not_keep_the_program_alive,
    a_task_of_a_background_task_keeps_the_program_alive,
    a_handle_outlives_its_program,
    spawns_while_cancelling_are_refused_but_from_shielded_work,
    destructors_of_what_is_cancelled_spawn_nothing,
    a_program_inside_a_task_leaves_that_in_its_scope,
    a_handle_that_is_dropped_keeps_no_waker,
    spawns_after_the_end_are_refused,
    a_task_that_wakes_itself_lets_others_run,
    a_handle_awaited_by_reference_loses_nothing,
    a_hundred_thousand_tasks,
];

fn a_value_is_returned(config: Config) {
    let exit = Program::new(config).run(async {
        assert_eq!(spawn(async { 6 * 7 }).await.unwrap(), 42);
        assert_eq!(spawn_graceful(|_| async { "graceful" }).await.unwrap(), "graceful");
        assert_eq!(spawn_shielded(async { vec![1] }).await.unwrap(), [1]);
        assert_eq!(task("named").spawn(async { 1 }).await.unwrap(), 1);
    });
    clean(&exit);
    assert_eq!(exit.report().backend, config.backend());
    assert_eq!(exit.report().total().finished, 5);
    assert_eq!(exit.report().reason(), Some(&Reason::Idle));
}

fn main_may_borrow_and_not_be_send(config: Config) {
    let text = String::from("borrowed");
    let shared = Rc::new(AtomicUsize::new(0));
    let exit = Program::new(config).run(async {
        let here = shared.clone();
        yields(3).await;
        here.store(text.len(), SeqCst);
    });
    clean(&exit);
    assert_eq!(shared.load(SeqCst), 8);
}

fn a_panic_keeps_its_payload(config: Config) {
    let exit = Program::new(config).run(async {
        let error = spawn(async { std::panic::panic_any(7_u32) }).await.unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled());
        assert_eq!(*error.into_panic().downcast::<u32>().unwrap(), 7);
        let error = spawn(async { panic!("it was {}", "text") }).await.unwrap_err();
        assert!(error.to_string().contains("it was text"));
    });
    succeeded(&exit);
    let failures = failures(&exit, FailureKind::TaskPanic);
    assert_eq!(failures.len(), 2);
    assert!(failures.iter().all(|failure| !failure.fatal), "isolated before the stop");
    assert_eq!(failures[1].messages, ["it was text"]);
    assert_eq!(exit.report().total().panicked, 2);
}

/// Where the executor dropped it, it would abort, or lose a worker.
fn a_payload_that_nobody_takes_may_panic_when_it_is_dropped(config: Config) {
    let blows = || -> () { std::panic::panic_any(Bomb("a payload")) };
    let exit = Program::new(config).run(async move {
        spawn(async move { blows() });
        spawn(async move {
            blows();
            String::new()
        });
        let kept = spawn(async move { blows() });
        spawn_blocking(blows);
        // All have ended: this one has come after them, and the job has nobody to wait for it.
        while Scope::current().totals().panicked < 4 {
            yields(1).await;
        }
        drop(kept);
    });
    succeeded(&exit);
    assert_eq!(failures(&exit, FailureKind::TaskPanic).len(), 4);
}

fn abort_drops_a_pending_task_before_its_handle_resolves(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let begun = Gate::new();
        let (dropped, begins) = (said.on_drop("dropped"), begun.clone());
        let handle = spawn(async move {
            let _dropped = dropped;
            begins.open();
            pending::<()>().await;
        });
        begun.wait().await;
        assert!(!handle.is_finished());
        handle.abort();
        let error = handle.await.unwrap_err();
        said.say("resolved");
        assert!(error.is_cancelled() && !error.is_refused() && !error.is_abandoned());
    });
    clean(&exit);
    log.is(&["dropped", "resolved"]);
    assert_eq!(exit.report().total().cancelled, 1);
}

fn concurrent_aborts_end_a_task_once(config: Config) {
    let dropped = Arc::new(AtomicUsize::new(0));
    struct Count(Arc<AtomicUsize>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let counted = dropped.clone();
    let exit = Program::new(config).run(async move {
        for _ in 0..20 {
            let count = Count(counted.clone());
            let handle = Arc::new(spawn(async move {
                let _count = count;
                pending::<()>().await;
            }));
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    let handle = handle.clone();
                    thread::spawn(move || handle.abort())
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            let handle = Arc::into_inner(handle).unwrap();
            assert!(handle.await.unwrap_err().is_cancelled());
        }
    });
    clean(&exit);
    assert_eq!(dropped.load(SeqCst), 20);
    assert_eq!(exit.report().total().cancelled, 20);
}

fn abort_does_not_cancel_a_shielded_task(config: Config) {
    let exit = Program::new(config).run(async {
        let gate = Gate::new();
        let opened = gate.clone();
        let handle = spawn_shielded(async move {
            opened.wait().await;
            yields(3).await;
            1
        });
        handle.abort();
        gate.open();
        assert_eq!(handle.await.unwrap(), 1);
    });
    clean(&exit);
}

fn a_destructor_that_panics_on_abort_is_a_reported_panic(config: Config) {
    let exit = Program::new(config).run(async {
        let begun = Gate::new();
        let begins = begun.clone();
        let handle = spawn(async move {
            let _bomb = Bomb("boom on abort");
            begins.open();
            pending::<()>().await;
        });
        begun.wait().await;
        handle.abort();
        let error = handle.await.unwrap_err();
        assert!(error.is_panic());
        assert_eq!(*error.into_panic().downcast::<String>().unwrap(), "boom on abort");
        assert_eq!(spawn(async { 1 }).await.unwrap(), 1);
    });
    succeeded(&exit);
    assert_eq!(failures(&exit, FailureKind::DestructorPanic).len(), 1);
    assert_eq!(exit.report().total().panicked, 1);
}

/// Ready at once, and panics when it is dropped.
struct ReadyBomb(Option<Bomb>);

impl Future for ReadyBomb {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u32> {
        Poll::Ready(u32::from(self.0.is_some()))
    }
}

fn a_destructor_that_panics_on_completion_keeps_the_output(config: Config) {
    let exit = Program::new(config).run(async {
        let handle = spawn(ReadyBomb(Some(Bomb("boom at the end"))));
        assert_eq!(handle.await.unwrap(), 1);
    });
    succeeded(&exit);
    let failures = failures(&exit, FailureKind::DestructorPanic);
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].messages, ["boom at the end"]);
}

fn a_value_that_nobody_takes_may_panic_when_it_is_dropped(config: Config) {
    let exit = Program::new(config).run(async {
        drop(spawn(async { Bomb("before the value is there") }));
        let kept = spawn(async { Bomb("once it is there") });
        while !kept.is_finished() {
            yields(1).await;
        }
        drop(kept);
        drop(spawn_blocking(|| Bomb("of a job")));
        yields(10).await;
    });
    clean(&exit);
    assert_eq!(exit.report().total().finished, 4);
}

fn a_destructor_that_panics_on_cancellation_skips_nobody(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        for number in 0..20 {
            let begun = Gate::new();
            let (begins, said) = (begun.clone(), said.clone());
            drop(spawn(async move {
                let _bomb = (number % 2 == 0).then(|| Bomb("boom"));
                let _dropped = said.on_drop("dropped");
                begins.open();
                pending::<()>().await;
            }));
            begun.wait().await;
        }
        stopper.stop();
        pending::<()>().await;
    });
    exits(&exit, 101);
    assert_eq!(log.all().len(), 20);
    let total = exit.report().total();
    assert_eq!((total.panicked, total.cancelled), (10, 11));
}

fn a_background_task_does_not_keep_the_program_alive(config: Config) {
    let exit = Program::new(config).run(async {
        drop(task("bg").background().spawn(pending::<()>()));
        drop(task("bg").background().spawn_graceful(|stop| async move { stop.requested().await }));
        drop(spawn(yields(5)));
    });
    clean(&exit);
    assert_eq!(exit.report().reason(), Some(&Reason::Idle));
    let total = exit.report().total();
    assert_eq!((total.finished, total.cancelled), (3, 1));
}

fn a_task_of_a_background_task_keeps_the_program_alive(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let begun = Gate::new();
        let begins = begun.clone();
        // In a scope of its own: beside it there is nothing that keeps the program alive.
        let scope = adjourn::scope("background");
        drop(scope.task("bg").background().spawn(async move {
            drop(spawn(async move {
                begins.open();
                yields(50).await;
                said.say("done");
            }));
            pending::<()>().await;
        }));
        begun.wait().await;
    });
    clean(&exit);
    log.is(&["done"]);
    assert_eq!(exit.report().reason(), Some(&Reason::Idle));
}

fn a_handle_outlives_its_program(config: Config) {
    let (sent, received) = mpsc::channel();
    let exit = Program::new(config).run(async move {
        sent.send(task("kept").background().spawn(pending::<()>())).unwrap();
        sent.send(task("kept").background().spawn(async {})).unwrap();
    });
    clean(&exit);
    let (cancelled, finished) = (received.recv().unwrap(), received.recv().unwrap());
    assert!(cancelled.is_finished());
    cancelled.abort();
    assert!(futures_lite::future::block_on(cancelled).unwrap_err().is_cancelled());
    _ = futures_lite::future::block_on(finished);
}

fn spawns_while_cancelling_are_refused_but_from_shielded_work(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        drop(spawn_shielded(async move {
            stopper.stop();
            until_cancelling().await;
            let (plain, graceful) = (said.clone(), said.clone());
            let dropped = said.on_drop("dropped unrun");
            let handle = spawn(async move {
                let _dropped = dropped;
                plain.say("never");
            });
            assert!(handle.is_finished());
            let error = handle.await.unwrap_err();
            assert!(error.is_refused() && error.is_cancelled());
            let error = spawn_graceful(|_| async move { graceful.say("never") }).await.unwrap_err();
            assert!(error.is_refused());
            assert_eq!(spawn_shielded(async { 1 }).await.unwrap(), 1);
            assert_eq!(spawn_blocking(|| 2).await.unwrap(), 2);
            said.say("end");
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["dropped unrun", "end"]);
    assert_eq!(exit.report().total().refused, 2);
}

fn destructors_of_what_is_cancelled_spawn_nothing(config: Config) {
    struct Spawns(mpsc::Sender<bool>);
    impl Drop for Spawns {
        fn drop(&mut self) {
            let handles = [spawn_shielded(async {}), spawn_blocking(|| ())];
            for handle in handles {
                // Refused or over: it cannot be told from outside but by asking for the result.
                let refused =
                    futures_lite::future::block_on(futures_lite::future::poll_once(handle))
                        .is_some_and(|result| result.is_err_and(|error| error.is_refused()));
                _ = self.0.send(refused);
            }
        }
    }
    let (sent, received) = mpsc::channel();
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let begun = Gate::new();
        let begins = begun.clone();
        drop(spawn(async move {
            let _spawns = Spawns(sent);
            begins.open();
            pending::<()>().await;
        }));
        begun.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(received.iter().collect::<Vec<_>>(), [true, true]);
    assert_eq!(exit.report().total().refused, 2);
}

fn a_program_inside_a_task_leaves_that_in_its_scope(config: Config) {
    let exit = Program::new(config).run(async {
        let outer = adjourn::scope("outer");
        let path = outer.spawn(async {
            let executor = Arc::new(async_executor::Executor::new());
            let inner = adjourn::smol::Runner::new().attach_to(&Smol::from(&executor), async {
                assert_eq!(Scope::current().path(), "root");
                assert_eq!(spawn(async { 1 }).await.unwrap(), 1);
            });
            let exit = futures_lite::future::block_on(executor.run(inner));
            succeeded(&exit);
            assert_eq!(exit.report().total().finished, 2);
            Scope::current().path()
        });
        assert_eq!(path.await.unwrap(), "root/outer");
    });
    clean(&exit);
}

fn a_handle_that_is_dropped_keeps_no_waker(config: Config) {
    let exit = Program::new(config).run(async {
        let gate = Gate::new();
        for by_scope in [false, true] {
            let opened = gate.clone();
            let waits = async move { opened.wait().await };
            let waker = Arc::new(Counted);
            let mut handle = if by_scope { Scope::current().spawn(waits) } else { spawn(waits) };
            assert!(waker.clone().poll(&mut handle).is_pending());
            assert!(Arc::strong_count(&waker) > 1);
            drop(handle);
            assert_eq!(Arc::strong_count(&waker), 1, "by a scope: {by_scope}");
        }
        gate.open();
    });
    clean(&exit);
}

fn spawns_after_the_end_are_refused(config: Config) {
    let (sent, received) = mpsc::channel();
    let exit = Program::new(config).run(async move { sent.send(Scope::current()).unwrap() });
    clean(&exit);
    let scope = received.recv().unwrap();
    let handle = scope.spawn(async {});
    assert!(futures_lite::future::block_on(handle).unwrap_err().is_refused());
    let handle = scope.spawn_shielded(async {});
    assert!(futures_lite::future::block_on(handle).unwrap_err().is_refused());
    let handle = scope.scope("below").spawn_blocking(|| ());
    assert!(futures_lite::future::block_on(handle).unwrap_err().is_refused());
    assert!(catch_unwind(AssertUnwindSafe(|| scope.path())).is_ok());
}

fn a_task_that_wakes_itself_lets_others_run(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        drop(spawn(async {
            loop {
                yields(1).await;
            }
        }));
        assert_eq!(spawn(async { 1 }).await.unwrap(), 1);
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
}

fn a_handle_awaited_by_reference_loses_nothing(config: Config) {
    let exit = Program::new(config).run(async {
        let gate = Gate::new();
        let opened = gate.clone();
        let mut handle = spawn(async move {
            opened.wait().await;
            4
        });
        for _ in 0..3 {
            assert!(poll_once(&mut handle).await.is_pending());
        }
        gate.open();
        assert_eq!((&mut handle).await.unwrap(), 4);
        assert!(poll_once(&mut handle).await.is_pending(), "fused");
    });
    clean(&exit);
}

fn a_hundred_thousand_tasks(config: Config) {
    const COUNT: usize = 100_000;
    let program = Program::new(config).endless();
    let stopper = program.stopper();
    let exit = program.run(async move {
        let count = Arc::new(AtomicUsize::new(0));
        for _ in 0..COUNT {
            let count = count.clone();
            drop(spawn(async move {
                count.fetch_add(1, SeqCst);
                moved();
            }));
            let over = MovesOnDrop;
            drop(spawn(async {
                let _over = over;
                pending::<()>().await;
            }));
            moved();
        }
        while count.load(SeqCst) < COUNT {
            yields(1).await;
        }
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    let total = exit.report().total();
    assert_eq!(total.finished, COUNT as u64);
    assert_eq!(total.cancelled, COUNT as u64 + 1);
    assert!(exit.report().tasks.len() == 100 && exit.report().alive_at_stop > COUNT as u64);
}

#[test]
fn a_spawn_outside_of_a_program_panics_with_advice() {
    unless_it_hangs("a_spawn_outside_of_a_program_panics_with_advice", || {
        let payload = catch_unwind(|| drop(spawn(async {}))).unwrap_err();
        let text = payload.downcast_ref::<String>().unwrap();
        assert!(text.contains("in_scope") && text.contains("scope.spawn"), "{text}");
        assert!(catch_unwind(|| drop(adjourn::scope("x"))).is_err());
        assert!(Scope::try_current().is_err());
        assert!(!adjourn::is_ready());
    });
}
