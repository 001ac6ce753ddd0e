//! A scope that is opened into a stop says and takes what its parent does, from its first instant on.

use std::future::pending;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use adjourn::{FutureExt, JoinHandle, Phase, Requested, Scope, StopToken, scope, shield, spawn};

use crate::harness::*;

scenarios![
    one_opened_in_a_drain_is_told_and_its_plain_tasks_go_on,
    a_nursery_in_a_drain_runs_its_plain_tasks,
    one_opened_while_all_is_cancelled_takes_what_its_parent_takes,
    one_opened_by_a_hook_takes_what_the_hook_may_spawn,
    one_opened_below_what_has_ended_is_told,
];

/// Holds up whoever fires the token that it waits for, where that is not the thread of the scenario: on a busy
/// machine that one comes to perform what the others have not come to.
struct HoldsUp {
    scenario: ThreadId,
    reached: Gate,
    released: Gate,
}

impl Wake for HoldsUp {
    fn wake(self: Arc<Self>) {
        self.reached.open();
        if thread::current().id() != self.scenario {
            self.released.wait_blocking();
        }
    }
}

impl HoldsUp {
    fn at(config: Config, scope: &Scope) -> Option<(Arc<HoldsUp>, Requested)> {
        if config.is_single_threaded() {
            return None;
        }
        let [reached, released] = [(); 2].map(|()| Gate::new());
        let holds = Arc::new(HoldsUp { scenario: thread::current().id(), reached, released });
        let mut told = scope.stop_token().requested();
        let waker = Waker::from(holds.clone());
        assert!(pin!(&mut told).poll(&mut Context::from_waker(&waker)).is_pending());
        Some((holds, told))
    }
}

#[track_caller]
fn refused<T: Send + 'static>(handle: JoinHandle<T>) {
    let polled = pin!(handle).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Err(error)) = polled else { panic!("it was accepted") };
    assert!(error.is_refused(), "{error}");
}

fn one_opened_in_a_drain_is_told_and_its_plain_tasks_go_on(config: Config) {
    for performed_first in [false, true] {
        let program = Program::new(config);
        let stopper = program.stopper();
        let exit = program.run(async move {
            let below = scope("below");
            let mut told = StopToken::current().requested();
            assert!(poll_once(&mut told).await.is_pending());
            let held = HoldsUp::at(config, &below);
            stopper.stop();
            told.await;
            if let Some((holds, _)) = &held {
                holds.reached.wait().await;
            }
            let new = scope("new");
            assert!(new.stop_token().peek(), "its parent was told");
            let release = || held.as_ref().inspect(|(holds, _)| holds.released.open());
            if performed_first {
                release();
                yields(20).await;
            }
            let goes_on = Gate::new();
            let waits = goes_on.clone();
            let plain = new.spawn(async move {
                waits.wait().await;
                StopToken::current().peek()
            });
            release();
            yields(20).await;
            goes_on.open();
            assert!(plain.await.expect("its parent drains"));
        });
        clean(&exit);
    }
}

fn a_nursery_in_a_drain_runs_its_plain_tasks(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run_graceful(|stop| async move {
        stopper.stop();
        stop.requested().await;
        for _ in 0..20 {
            let told = scope("nursery").run(async {
                let parts = [(); 3].map(|()| {
                    spawn(async {
                        yields(2).await;
                        StopToken::current().peek()
                    })
                });
                let mut told = StopToken::current().peek();
                for part in parts {
                    told &= part.await.expect("what is around it drains");
                }
                told
            });
            assert!(told.await);
            let given = scope("given");
            assert!(async { StopToken::current().peek() }.in_scope(&given).await);
        }
    });
    clean(&exit);
    assert_eq!(exit.report().totals["nursery"].finished, 60);
}

/// Opens a scope and has it take what it takes.
async fn takes_what_is_shielded(yields_first: usize) {
    let new = scope("new");
    yields(yields_first).await;
    assert!(new.stop_token().peek(), "its parent was told");
    assert!(new.phase() >= Phase::Cancelling);
    refused(new.spawn_graceful(|_| pending::<()>()));
    refused(new.spawn(pending::<()>()));
    assert_eq!(new.spawn_shielded(async { 1 }).await.expect("shielded work is taken"), 1);
}

fn one_opened_while_all_is_cancelled_takes_what_its_parent_takes(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        shield(async {
            stopper.stop();
            until_cancelling().await;
            for round in 0..20 {
                takes_what_is_shielded(round % 2 * 5).await;
                scope("nursery").run(async { refused(spawn(pending::<()>())) }).await;
            }
        })
        .await;
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(exit.report().totals["new"].finished, 20);
}

fn one_opened_by_a_hook_takes_what_the_hook_may_spawn(config: Config) {
    let program = Program::new(config).on_stopped(async || {
        for round in 0..10 {
            takes_what_is_shielded(round % 2 * 5).await;
        }
    });
    program.stopper().stop();
    let exit = program.run_pending();
    clean(&exit);
    assert_eq!(exit.report().totals["new"].finished, 10);
}

fn one_opened_below_what_has_ended_is_told(config: Config) {
    let kept = Arc::new(Mutex::new(None));
    let keeps = kept.clone();
    let exit = Program::new(config).run(async move {
        let jobs = scope("jobs");
        jobs.stop().await.unwrap();
        let late = jobs.scope("late");
        late.stop_token().requested().await; // or it would never be over
        refused(late.spawn(async {}));
        assert!(!Scope::current().stop_token().peek());
        // One that has ended by itself was not told.
        let nursery = scope("nursery");
        nursery.clone().run(async {}).await;
        assert!(!nursery.scope("late").stop_token().peek());
        *keeps.lock().unwrap() = Some(Scope::current());
    });
    clean(&exit);
    let root = kept.lock().unwrap().take().unwrap();
    let late = root.scope("late");
    assert!(late.stop_token().peek());
    refused(late.spawn(async {}));
}
