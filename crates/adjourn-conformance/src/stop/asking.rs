//! Who asks about the stop is told, and polled, before it is cancelled.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use adjourn_core::rt::Spawner;
use adjourn_core::{Scope, StopToken, spawn, spawn_graceful};

use crate::case::Case;
use crate::program::{clean, run};
use crate::setup::Setup;
use crate::tools::{Gate, poll_once, resolves, yields};

pub(crate) fn who_asks_is_told(case: &Case) {
    let exit = run(case, Setup::new(), |stopper| async move {
        let there = Gate::new();
        let begins = there.clone();
        spawn(async move {
            let mut told = StopToken::current().requested();
            assert!(poll_once(&mut told).await.is_pending());
            begins.open();
            told.await;
            yields(20).await;
        });
        there.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(exit.report().total().finished, 1, "the task that asked:\n{}", exit.report());
}

pub(crate) fn main_may_ask_though_the_stop_came_first(case: &Case) {
    let acted = Gate::new();
    let acts = acted.clone();
    let exit = run(case, Setup::new(), |stopper| {
        stopper.stop(); // main is made before the program starts
        async move {
            assert!(StopToken::current().is_requested(), "the stop was asked for before");
            yields(20).await;
            acts.open();
        }
    });
    clean(&exit);
    assert!(acted.is_open(), "main was cancelled, though it has asked:\n{}", exit.report());
}

pub(crate) fn asked_past_adjourn_counts_for_main(case: &Case) {
    let acted = Gate::new();
    let acts = acted.clone();
    let exit = run(case, Setup::new(), |stopper| async move {
        let (there, told) = (Gate::new(), Gate::new());
        let (begins, tells) = (there.clone(), told.clone());
        let token = StopToken::current();
        // As a framework does that is given the signal for its end.
        drop(Scope::current().backend().spawn(async move {
            let mut signal = token.requested();
            assert!(poll_once(&mut signal).await.is_pending());
            begins.open();
            signal.await;
            tells.open();
        }));
        there.wait().await;
        stopper.stop();
        told.wait().await;
        yields(20).await;
        acts.open();
    });
    clean(&exit);
    assert!(acted.is_open(), "main was cancelled, though it was asked for it:\n{}", exit.report());
}

pub(crate) fn accepted_is_told_or_refused(case: &Case) {
    let (entered, handles) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (counts, keeps) = (entered.clone(), handles.clone());
    let exit = run(case, Setup::new(), |stopper| async move {
        let there = Gate::new();
        for _ in 0..4 {
            let (counts, keeps, there) = (counts.clone(), keeps.clone(), there.clone());
            spawn(async move {
                // Some more once it is told: for ever, and there would be no end of the drain.
                let mut more = 20;
                while more > 0 {
                    more -= u32::from(StopToken::current().peek());
                    let (entered, begins) = (counts.clone(), there.clone());
                    let handle = spawn_graceful(|stop| async move {
                        entered.fetch_add(1, SeqCst);
                        begins.open();
                        stop.requested().await;
                    });
                    keeps.lock().expect("nobody panics here").push(handle);
                    yields(1).await;
                }
            });
        }
        there.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    let handles = std::mem::take(&mut *handles.lock().expect("nobody panics here"));
    let mut told = 0;
    for handle in handles {
        match resolves(handle).expect("a handle resolves") {
            Ok(()) => told += 1,
            Err(error) => assert!(error.is_refused(), "accepted, and then {error}"),
        }
    }
    assert_eq!(told, entered.load(SeqCst), "tasks that were entered");
}
