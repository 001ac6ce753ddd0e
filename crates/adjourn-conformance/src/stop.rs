//! Stopping: what asks for it, who is told, what is waited for, and in which order.

mod asking;
mod scopes;

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use adjourn_core::{
    FailureKind, FutureExt, JoinHandle, Phase, Reason, Scope, StopToken, StragglerState, scope,
    shield, spawn, spawn_blocking, spawn_graceful, spawn_shielded, task,
};

use crate::case::Case;
use crate::limits::patience;
use crate::program::{came_to_its_end, clean, exits, run, straggler, succeeded};
use crate::setup::Setup;
use crate::tools::{
    Gate, Log, Wakes, eventually, millis, poll_once, resolves, sleep, until_phase, yields,
};

pub(crate) use asking::*;
pub(crate) use scopes::*;

pub(crate) fn idempotent(case: &Case) {
    let exit = run(case, Setup::new(), |stopper| async move {
        drop(spawn_graceful(move |stop| async move {
            stopper.stop_because("first");
            stop.requested().await;
            stopper.stop_because("second");
            stopper.stop();
            stop.requested().await;
            yields(3).await;
        }));
        pending::<()>().await;
    });
    clean(&exit);
    let reasons: Vec<_> = exit.report().reasons.iter().map(|at| at.what.clone()).collect();
    let asked = |why: &str| Reason::Requested(Some(why.to_owned()));
    assert_eq!(reasons, [asked("first"), asked("second"), Reason::Requested(None)]);
    assert_eq!(exit.report().total().finished, 1, "the graceful task:\n{}", exit.report());
}

pub(crate) fn before_subscription(case: &Case) {
    let exit = run(case, Setup::new(), |stopper| {
        stopper.stop_because("before the start"); // main is made before the program starts
        pending::<()>()
    });
    clean(&exit);
    let early = Reason::Requested(Some("before the start".to_owned()));
    assert_eq!(exit.report().reason(), Some(&early), "{}", exit.report());
    let exit = run(case, Setup::new(), |stopper| async move {
        drop(spawn_graceful(move |stop| async move {
            assert!(!stop.is_requested(), "a token fired before the stop");
            assert!(poll_once(&mut stop.requested()).await.is_pending());
            stopper.stop();
            stop.requested().await;
            for token in [stop.clone(), StopToken::current(), Scope::current().stop_token()] {
                assert!(token.is_requested());
                assert!(poll_once(&mut token.requested()).await.is_ready(), "a late subscriber");
            }
        }));
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(exit.report().total().finished, 1, "the graceful task:\n{}", exit.report());
}

pub(crate) fn from_a_plain_thread(case: &Case) {
    let exit = run(case, Setup::new(), |stopper| async move {
        let begun = Gate::new();
        let begins = begun.clone();
        thread::spawn(move || {
            begins.wait_blocking();
            stopper.stop();
        });
        drop(spawn(pending::<()>()));
        begun.open();
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(exit.report().reason(), Some(&Reason::Requested(None)), "{}", exit.report());
}

/// Counts the polls of a future.
struct Polls<F>(Pin<Box<F>>, Arc<AtomicUsize>);

impl<F: Future> Future for Polls<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.1.fetch_add(1, SeqCst);
        self.0.as_mut().poll(cx)
    }
}

pub(crate) fn each_waiter_woken_once(case: &Case) {
    const WAITERS: usize = 20;
    let counters = || -> Vec<_> { (0..WAITERS).map(|_| Arc::new(AtomicUsize::new(0))).collect() };
    let counts = |counters: &[Arc<AtomicUsize>]| -> Vec<_> {
        counters.iter().map(|counter| counter.load(SeqCst)).collect()
    };
    let polls = counters();
    let wakes: Vec<_> = (0..WAITERS).map(|_| Arc::new(Wakes::default())).collect();
    let (counted, woken) = (polls.clone(), wakes.clone());
    let exit = run(case, Setup::new(), |stopper| async move {
        for polls in counted {
            let begun = Gate::new();
            let begins = begun.clone();
            let wait = move |stop: StopToken| async move {
                begins.open();
                stop.requested().await;
            };
            drop(spawn_graceful(move |stop| Polls(Box::pin(wait(stop)), polls)));
            begun.wait().await;
        }
        let token = StopToken::current();
        let mut waiting: Vec<_> = woken.iter().map(|_| token.requested()).collect();
        // Main waits for none of them: it is to be cancelled.
        let first_polls = async {
            for (waiting, wakes) in waiting.iter_mut().zip(&woken) {
                let waker = Waker::from(wakes.clone());
                assert!(Pin::new(waiting).poll(&mut Context::from_waker(&waker)).is_pending());
            }
        };
        first_polls.interruptible().await;
        stopper.stop();
        pending::<()>().await;
        drop(waiting);
    });
    clean(&exit);
    let wakes: Vec<_> = wakes.iter().map(|wakes| wakes.count()).collect();
    assert_eq!(wakes, [1; WAITERS], "wakes of each waiter with a waker of its own");
    // One that had not parked yet was told in its first poll.
    let counted = counts(&polls);
    let most = counted.iter().max();
    assert_eq!(most, Some(&2), "polls of tasks that wait for the stop alone: {counted:?}");
    // Without a program: what the executor itself makes of a wake.
    let polls = counters();
    let started = case.subject().start();
    let bare = started.bare();
    started.block_on(Box::pin(async {
        let (first, second) = (Gate::new(), Gate::new());
        let passed = Arc::new(AtomicUsize::new(0));
        let mut handles = Vec::new();
        for polls in &polls {
            let (waits, then, passed) = (first.wait(), second.wait(), passed.clone());
            let future = async move {
                waits.await;
                passed.fetch_add(1, SeqCst);
                then.await;
            };
            handles.push(bare.spawn(Polls(Box::pin(future), polls.clone())));
        }
        while polls.iter().any(|polls| polls.load(SeqCst) == 0) {
            yields(1).await;
        }
        first.open();
        while passed.load(SeqCst) < WAITERS {
            yields(1).await;
        }
        bare.sleep(millis(5)).await; // for polls that should not come
        second.open();
        for handle in handles {
            handle.await.expect("the executor goes on");
        }
    }));
    let counted = counts(&polls);
    let most = counted.iter().max();
    assert_eq!(most, Some(&3), "polls of futures that were woken twice: {counted:?}");
    _ = started.end(patience());
}

pub(crate) fn drain_waits_for_graceful(case: &Case) {
    let log = Log::default();
    let said = log.clone();
    let exit = run(case, Setup::new(), |stopper| async move {
        let (begun, dropped) = (Gate::new(), said.on_drop("plain one dropped"));
        let begins = begun.clone();
        drop(spawn(async move {
            let _dropped = dropped;
            begins.open();
            pending::<()>().await;
        }));
        begun.wait().await;
        drop(spawn_graceful(move |stop| async move {
            stop.requested().await;
            assert_eq!(Scope::current().phase(), Phase::Draining);
            said.say("told");
            yields(10).await;
            sleep(millis(10)).await;
            said.say("graceful one done");
        }));
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    log.was(&["told", "graceful one done", "plain one dropped"]);
}

pub(crate) fn spawn_in_each_phase(case: &Case) {
    let has_pool = case.subject().has_pool();
    let log = Log::default();
    let said = log.clone();
    let (scopes, kept) = mpsc::channel();
    let mut setup = Setup::new();
    let closing = Arc::new(Mutex::new(None));
    let late = closing.clone();
    setup.on_stopped = Some(Box::new(move || {
        let mut late = late.lock().expect("nobody panics here");
        *late = Some((Scope::current().phase(), spawn(async { 1 })));
    }));
    let exit = run(case, setup, |stopper| async move {
        assert_eq!(spawn(async { 1 }).await.expect("running: taken"), 1);
        _ = scopes.send(Scope::current());
        drop(spawn_shielded(async move {
            let (draining, says) = (Gate::new(), said.clone());
            let tell = draining.clone();
            drop(spawn_graceful(move |stop| async move {
                stop.requested().await;
                assert_eq!(spawn(async { 2 }).await.expect("draining: taken"), 2);
                let graceful = spawn_graceful(|_| async { 3 });
                assert_eq!(graceful.await.expect("draining: taken"), 3);
                says.say("draining");
                tell.open();
            }));
            stopper.stop();
            draining.wait().await;
            until_phase(Phase::Cancelling).await;
            let dropped = said.on_drop("dropped unpolled");
            let refused = spawn(async move {
                let _dropped = dropped;
                unreachable!("a refused task was polled");
            });
            let error = refused.await.expect_err("cancelling: refused");
            assert!(error.is_refused(), "a refused plain task is given as: {error}");
            let error = spawn_graceful(|_| async {}).await.expect_err("cancelling: refused");
            assert!(error.is_refused(), "a refused graceful task is given as: {error}");
            assert_eq!(spawn_shielded(async { 4 }).await.expect("cancelling: taken"), 4);
            if has_pool {
                assert_eq!(spawn_blocking(|| 5).await.expect("cancelling: taken"), 5);
            }
            said.say("cancelling");
        }));
        pending::<()>().await;
    });
    clean(&exit);
    log.was(&["draining", "dropped unpolled", "cancelling"]);
    let refused = |handle: JoinHandle<i32>| {
        let output = resolves(handle).expect("a refused handle stays pending");
        assert!(output.is_err_and(|error| error.is_refused()), "a late spawn is refused");
    };
    let late = closing.lock().expect("nobody panics here").take();
    let (phase, handle) = late.expect("on_stopped ran");
    assert_eq!(phase, Phase::Closing, "the phase in on_stopped");
    refused(handle);
    let scope = kept.recv().expect("main sends it");
    assert_eq!(scope.phase(), Phase::Stopped);
    refused(scope.spawn(async { 6 }));
}

pub(crate) fn overdue_tasks_cancelled(case: &Case) {
    let log = Log::default();
    let said = log.clone();
    let setup = Setup { drain_limit: Some(millis(50)), ..Setup::new() };
    let exit = run(case, setup, |stopper| async move {
        drop(task("deaf").spawn_graceful(move |_| async move {
            let _dropped = said.on_drop("dropped");
            stopper.stop();
            pending::<()>().await;
        }));
        pending::<()>().await;
    });
    exits(&exit, 124);
    log.was(&["dropped"]);
    let report = exit.report();
    assert_eq!(report.total().cancelled, 2, "main and the deaf one:\n{report}");
    let overdue: Vec<_> =
        report.overdue.iter().map(|work| work.task.task.name.as_deref()).collect();
    assert_eq!(overdue, [Some("deaf")], "what was told to finish and did not:\n{report}");
}

pub(crate) fn less_time_brings_the_limits_forward(case: &Case) {
    // Were they not, it would take an hour: the watchdog says so.
    let exit = run(case, Setup::new().timeout(3_600_000), |stopper| async move {
        task("deaf").spawn_graceful(move |stop| async move {
            stopper.stop();
            stop.requested().await;
            yields(4).await; // the limits of the stop are set
            stopper.stop_within(millis(100));
            pending::<()>().await;
        });
        pending::<()>().await;
    });
    let report = exit.report();
    let ended = report.total().cancelled + report.total().abandoned;
    assert_eq!(ended, 2, "main and the deaf one are cut off:\n{report}");
    let draining = report.phases.iter().find(|span| span.phase == Phase::Draining);
    let limit = draining.and_then(|draining| draining.limit);
    let soon = limit.is_some_and(|limit| limit < Duration::from_secs(1800));
    assert!(soon, "the drain limit has come forward:\n{report}");
}

pub(crate) fn shield_bounded_by_the_deadline(case: &Case) {
    let log = Log::default();
    let said = log.clone();
    let exit = run(case, Setup::new().timeout(1000), |stopper| async move {
        let dropped = said.on_drop("dropped");
        let begun = Gate::new();
        let begins = begun.clone();
        drop(task("shielded").spawn(async move {
            shield(async move {
                let _dropped = dropped;
                begins.open();
                pending::<()>().await;
            })
            .await;
        }));
        begun.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    exits(&exit, 124);
    let report = exit.report();
    // By its name: on a busy machine main may be one too.
    let straggler = straggler(report, "shielded");
    assert_eq!(straggler.state, StragglerState::Shielded, "{report}");
    assert!(eventually(|| !log.all().is_empty()), "the section is not dropped at the end");
}

pub(crate) fn cleanup_runs(case: &Case) {
    let log = Log::default();
    let said = log.clone();
    let exit = run(case, Setup::new(), |stopper| async move {
        let (begun, dropped) = (Gate::new(), said.on_drop("work dropped"));
        let begins = begun.clone();
        drop(spawn(async move {
            let work = async move {
                let _dropped = dropped;
                begins.open();
                pending::<()>().await;
            };
            let cleanup = async move {
                said.say("cleanup begins");
                yields(3).await;
                sleep(millis(5)).await;
                said.say("cleanup ends");
            };
            work.on_cancel(cleanup).await;
        }));
        begun.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    log.was(&["work dropped", "cleanup begins", "cleanup ends"]);
}

pub(crate) fn nothing_pending_no_delay(case: &Case) {
    // Without a limit: a stop that waits for one never ends.
    let endless = || Setup { timeout: Some(Duration::MAX), ..Setup::new() };
    let exit = run(case, endless(), |stopper| async move {
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    let exit_by_itself = run(case, endless(), |_| async {});
    came_to_its_end(&exit_by_itself);
    use Phase::*;
    for exit in [exit, exit_by_itself] {
        let phases: Vec<_> = exit.report().phases.iter().map(|span| span.phase).collect();
        assert_eq!(phases, [Running, Draining, Cancelling, Closing, Stopped]);
    }
}

pub(crate) fn panicked_task_reported(case: &Case) {
    let exit = run(case, Setup::new(), |_| async {
        _ = task("unlucky").spawn(async { panic!("of {}", "all things") }).await;
    });
    succeeded(&exit);
    let [failure] = &*exit.report().failures else { panic!("one failure:\n{}", exit.report()) };
    assert_eq!(failure.kind, FailureKind::TaskPanic);
    assert_eq!(failure.messages, ["of all things"]);
    assert!(failure.origin.contains("unlucky"), "who it was: {failure}");
    assert!(!failure.fatal, "isolated before the stop");
    let setup = Setup { stop_on_panic: true, ..Setup::new() };
    let exit = run(case, setup, |_| async {
        drop(task("unlucky").spawn(async { panic!("of all things") }));
        pending::<()>().await;
    });
    exits(&exit, 101);
    let reason = exit.report().reason();
    let told = matches!(reason, Some(Reason::TaskFailed(why)) if why.contains("of all things"));
    assert!(told, "the reason: {reason:?}");
}

pub(crate) fn two_programs_in_one_process_independent(case: &Case) {
    let (stopper, given) = mpsc::channel();
    let (begun, second_goes_on) = (Gate::new(), Gate::new());
    thread::scope(|threads| {
        let (begins, goes_on) = (begun.clone(), second_goes_on.clone());
        let second = threads.spawn(move || {
            run(case, Setup::new(), |stop_second| async move {
                let first_is_over = Gate::new();
                let (over, waits) = (first_is_over.clone(), first_is_over.wait());
                drop(spawn(waits));
                _ = stopper.send((stop_second, over));
                begins.open();
                first_is_over.wait().await;
                assert!(!StopToken::current().peek(), "told of another program's stop");
                assert_eq!(spawn(async { 1 }).await.expect("the program goes on"), 1);
                goes_on.open();
                pending::<()>().await;
            })
        });
        begun.wait_blocking();
        let exit = run(case, Setup::new(), |stopper| async move {
            drop(spawn(pending::<()>()));
            stopper.stop();
            pending::<()>().await;
        });
        clean(&exit);
        let (stop_second, first_is_over) = given.recv().expect("the second program runs");
        first_is_over.open();
        let went_on = eventually(|| second_goes_on.is_open() || second.is_finished());
        stop_second.stop();
        clean(&second.join().expect("the second program ends"));
        assert!(went_on && second_goes_on.is_open(), "the second program hangs");
    });
}

pub(crate) fn one_thread_drains_without_deadlock(case: &Case) {
    let log = Log::default();
    let said = log.clone();
    let exit = run(case, Setup::new(), |stopper| async move {
        // Each waits for the next, and the last for what it spawns while it drains.
        let mut next = Gate::new();
        let (last, says) = (next.clone(), said.clone());
        drop(spawn_graceful(move |stop| async move {
            stop.requested().await;
            let flush = async {
                shield(yields(3)).await;
                spawn(async { 1 }).await
            };
            flush.await.expect("draining: taken");
            says.say("last");
            last.open();
        }));
        for number in 0..20 {
            let own = Gate::new();
            let (waits, opens, says) = (next.wait(), own.clone(), said.clone());
            drop(spawn_graceful(move |stop| async move {
                stop.requested().await;
                waits.await;
                says.say(number.to_string());
                opens.open();
            }));
            next = own;
        }
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    let all = log.all();
    assert_eq!(all.len(), 21, "what drained: {all:?}");
    assert_eq!((&*all[0], &*all[20]), ("last", "19"));
}

pub(crate) fn dropping_the_stop_future_loses_nothing(case: &Case) {
    let exit = run(case, Setup::new(), |_| async {
        let stopped = scope("stopped");
        let handle = stopped.spawn(pending::<()>());
        drop(stopped.stop());
        let error = handle.await.expect_err("the scope was asked to stop");
        assert!(error.is_cancelled(), "a cancellation is given as: {error}");
        let mut stop = stopped.stop();
        _ = poll_once(&mut stop).await;
        drop(stop);
        stopped.stop().await.expect("main is not inside that scope");
        assert_eq!(stopped.phase(), Phase::Stopped);
    });
    came_to_its_end(&exit);
}
