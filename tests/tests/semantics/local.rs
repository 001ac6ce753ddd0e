//! Tasks that are not `Send`, wherever there are some.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use adjourn::smol::{Smol, SmolLocal};
use adjourn::tokio::{Tokio, TokioExecutor, TokioLocal, TokioLocalExecutor};
use adjourn::{Exit, FailureKind, FutureExt, Scope, SpawnLocal, StopToken, shield};
use adjourn_core::Runner;
use adjourn_sim::{Sim, SimBackend, SimExecutor};
use async_executor::{Executor, LocalExecutor};
use tokio::task::LocalSet;

use crate::harness::*;

/// A configuration that can run them.
trait Place {
    type Local: SpawnLocal;

    /// Runs a program with these limits. `main` is given its root scope.
    fn run<F: Future<Output = ()>>(
        limits: Limits,
        main: impl FnOnce(Scope<Self::Local>) -> F,
    ) -> Exit;
}

/// How long until the cut-off; `None` for the default.
#[derive(Default)]
struct Limits(Option<Duration>);

impl Limits {
    fn runner<E: adjourn_core::Executor>(self) -> Runner<E> {
        let runner = Runner::new().signals([]).exit_when_stuck(false);
        match self.0 {
            // On a slow machine what is cut off still has the time to be dropped.
            Some(span) => runner.timeout(span + 20 * SECOND).closing_reserve(20 * SECOND),
            None => runner,
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn typed<B: adjourn::Spawner>() -> Scope<B> {
    Scope::current().typed().expect("the program's backend")
}

struct TokioCurrentThread;
struct TokioWorkers;
struct TokioAttached;
struct SmolAttached;
struct Simulated;

impl Place for TokioCurrentThread {
    type Local = TokioLocal;

    fn run<F: Future<Output = ()>>(
        limits: Limits,
        main: impl FnOnce(Scope<TokioLocal>) -> F,
    ) -> Exit {
        let runner = limits.runner::<TokioLocalExecutor>().current_thread();
        runner.run(async { main(typed()).await })
    }
}

impl Place for TokioWorkers {
    type Local = TokioLocal;

    fn run<F: Future<Output = ()>>(
        limits: Limits,
        main: impl FnOnce(Scope<TokioLocal>) -> F,
    ) -> Exit {
        let runner = limits.runner::<TokioLocalExecutor>().worker_threads(2);
        runner.run(async { main(typed()).await })
    }
}

impl Place for TokioAttached {
    type Local = TokioLocal;

    fn run<F: Future<Output = ()>>(
        limits: Limits,
        main: impl FnOnce(Scope<TokioLocal>) -> F,
    ) -> Exit {
        let (runtime, set) = (tokio_runtime(), Rc::new(LocalSet::new()));
        let exit = runtime.block_on(set.run_until(async {
            let backend = TokioLocal::new(Tokio::current().unwrap(), &set);
            let runner = limits.runner::<TokioExecutor>();
            runner.attach_to(&backend, async { main(typed()).await }).await
        }));
        runtime.shutdown_background();
        exit
    }
}

impl Place for SmolAttached {
    type Local = SmolLocal;

    fn run<F: Future<Output = ()>>(
        limits: Limits,
        main: impl FnOnce(Scope<SmolLocal>) -> F,
    ) -> Exit {
        let (executor, local) = (Arc::new(Executor::new()), Rc::new(LocalExecutor::new()));
        let spawner = SmolLocal::from(&local);
        let runner = limits.runner::<TokioExecutor>();
        let main = async { main(Scope::current().with_local(spawner)).await };
        let program = runner.attach_to(&Smol::from(&executor), main);
        async_io::block_on(local.run(executor.run(program)))
    }
}

impl Place for Simulated {
    type Local = SimBackend;

    fn run<F: Future<Output = ()>>(
        limits: Limits,
        main: impl FnOnce(Scope<SimBackend>) -> F,
    ) -> Exit {
        Sim::new().run(limits.runner::<SimExecutor>(), async { main(typed()).await })
    }
}

/// Makes a test of each scenario for each place.
macro_rules! local_scenarios {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            use crate::harness::unless_it_hangs;

            local_scenarios!(@tests $name
                tokio_current_thread TokioCurrentThread,
                tokio_workers TokioWorkers,
                tokio_attached TokioAttached,
                smol_attached SmolAttached,
                simulated Simulated,
            );
        })*
    };
    (@tests $name:ident $($test:ident $place:ident,)*) => {
        $(#[test]
        fn $test() {
            let name = concat!(module_path!(), "::", stringify!($test));
            unless_it_hangs(name, super::$name::<super::$place>);
        })*
    };
}

local_scenarios![
    outputs_need_not_be_send,
    each_kind_is_told_and_ended_as_everywhere,
    who_asks_is_graceful,
    shields_and_cleanups_hold_a_local_task,
    a_panic_is_in_the_report_and_with_the_handle,
    an_aborted_task_is_dropped_on_its_thread,
    a_scope_that_is_over_takes_none,
    what_is_cut_off_is_named_and_dropped,
];

fn outputs_need_not_be_send<P: Place>() {
    let exit = P::run(Limits::default(), |scope| async move {
        let shared = Rc::new(Cell::new(1));
        let inner = shared.clone();
        let task = scope.spawn_local(async move {
            yields(2).await;
            inner.set(inner.get() + 1);
            inner
        });
        assert!(!task.is_finished());
        assert!(Rc::ptr_eq(&task.await.unwrap(), &shared));
        assert_eq!(shared.get(), 2);
        // Below, with a name, beside tasks that are Send; its handle may be dropped.
        let below = scope.scope("below");
        let (here, counts) = (thread::current().id(), shared.clone());
        drop(below.task("named").spawn_local(async move {
            assert_eq!((Scope::current().name(), thread::current().id()), ("below", here));
            let sent = adjourn::spawn(async { 10 }).await.unwrap();
            counts.set(counts.get() + sent);
        }));
        while shared.get() == 2 {
            yields(1).await;
        }
        assert_eq!(shared.get(), 12);
    });
    clean(&exit);
    assert_eq!(exit.report().total().finished, 4, "{}", exit.report());
    assert!(exit.report().totals.iter().any(|(name, _)| name == "below"));
}

fn each_kind_is_told_and_ended_as_everywhere<P: Place>() {
    let log = Log::default();
    let said = log.clone();
    let exit = P::run(Limits::default(), |scope| async move {
        let not_send = Rc::new(());
        let dropped = (said.on_drop("plain dropped"), not_send.clone());
        scope.spawn_local(async move {
            let _dropped = dropped;
            pending::<()>().await;
        });
        let (log, inner) = (said.clone(), not_send.clone());
        scope.spawn_local_graceful(move |stop| async move {
            while !stop.peek() {
                yields(1).await; // without asking: its kind alone makes it graceful
            }
            yields(3).await;
            log.say("graceful over");
            drop(inner);
        });
        scope.spawn_local_shielded(async move {
            while !said.all().contains(&"plain dropped".to_owned()) {
                yields(1).await;
            }
            yields(3).await;
            said.say("shielded over");
            drop(not_send);
        });
        yields(3).await;
        _ = Scope::current().stop();
        pending::<()>().await;
    });
    clean(&exit);
    let total = exit.report().total();
    assert_eq!((total.finished, total.cancelled), (2, 2), "{}", exit.report()); // and `main`
    log.is(&["graceful over", "plain dropped", "shielded over"]);
}

fn who_asks_is_graceful<P: Place>() {
    let log = Log::default();
    let said = log.clone();
    let exit = P::run(Limits::default(), |scope| async move {
        scope.spawn_local(async move {
            let not_send = Rc::new(());
            _ = pending::<()>().until_stop().await;
            yields(3).await;
            assert!(StopToken::current().peek());
            said.say("finished");
            drop(not_send);
        });
        yields(3).await;
        _ = Scope::current().stop();
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["finished"]);
}

fn shields_and_cleanups_hold_a_local_task<P: Place>() {
    let log = Log::default();
    let said = log.clone();
    let exit = P::run(Limits::default(), |scope| async move {
        let held = said.clone();
        let program = Scope::current();
        scope.spawn_local(async move {
            let not_send = Rc::new(());
            shield(async {
                while program.phase() < adjourn::Phase::Cancelling {
                    yields(1).await;
                }
                yields(3).await;
                held.say("shielded section");
            })
            .await;
            yields(1).await;
            held.say("never");
            drop(not_send);
        });
        let not_send = Rc::new(());
        let cleanup = async move {
            yields(3).await;
            said.say("cleaned up");
            drop(not_send);
        };
        scope.spawn_local(pending::<()>().on_cancel(cleanup));
        yields(3).await;
        _ = Scope::current().stop();
        pending::<()>().await;
    });
    clean(&exit);
    let mut said = log.all();
    said.sort();
    assert_eq!(said, ["cleaned up", "shielded section"]);
    assert_eq!(exit.report().total().cancelled, 3, "{}", exit.report());
}

fn a_panic_is_in_the_report_and_with_the_handle<P: Place>() {
    let exit = P::run(Limits::default(), |scope| async move {
        let task = scope.task("worker").spawn_local(async {
            let not_send = Rc::new(());
            yields(1).await;
            blow("in a local task");
            drop(not_send);
        });
        let error = task.await.unwrap_err();
        assert_eq!(error.to_string(), "task panicked: in a local task");
    });
    succeeded(&exit);
    let failures = failures(&exit, FailureKind::TaskPanic);
    assert_eq!(failures[0].messages, ["in a local task"]);
    assert!(failures[0].origin.contains("worker"), "{}", failures[0].origin);
}

fn an_aborted_task_is_dropped_on_its_thread<P: Place>() {
    let log = Log::default();
    let said = log.clone();
    let exit = P::run(Limits::default(), |scope| async move {
        let here = thread::current().id();
        let begun = Rc::new(Cell::new(false));
        let begins = begun.clone();
        struct Here(thread::ThreadId, Log);
        impl Drop for Here {
            fn drop(&mut self) {
                self.1.say(if self.0 == thread::current().id() { "here" } else { "elsewhere" });
            }
        }
        let dropped = Here(here, said);
        let task = scope.spawn_local(async move {
            let _dropped = dropped;
            begins.set(true);
            pending::<()>().await;
        });
        while !begun.get() {
            yields(1).await;
        }
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        let unbegun = scope.spawn_local(async { panic!("it is not entered") });
        unbegun.abort();
        assert!(unbegun.await.is_err_and(|error| error.is_cancelled()));
    });
    clean(&exit);
    log.is(&["here"]);
}

fn a_scope_that_is_over_takes_none<P: Place>() {
    let exit = P::run(Limits::default(), |scope| async move {
        let over = scope.scope("over");
        over.stop().await.unwrap();
        let error = over.spawn_local(async { panic!("it is not entered") }).await;
        let error = error.map(|()| "ran").unwrap_err();
        assert!(error.is_refused() && error.to_string().contains("its scope is ending"));
        assert_eq!(over.totals().refused, 1);
    });
    clean(&exit);
}

fn what_is_cut_off_is_named_and_dropped<P: Place>() {
    let log = Log::default();
    let said = log.clone();
    let exit = P::run(Limits(Some(millis(20))), |scope| async move {
        let dropped = said.on_drop("dropped");
        scope.task("stubborn").spawn_local_shielded(async move {
            let _dropped = (dropped, Rc::new(()));
            pending::<()>().await;
        });
        yields(3).await;
        _ = Scope::current().stop();
        pending::<()>().await;
    });
    exits(&exit, 124);
    assert!(is_straggler(&exit, "stubborn"), "{}", exit.report());
    log.is(&["dropped"]);
}

/// Beside it there may be `main`, where the machine is slow.
fn is_straggler(exit: &Exit, name: &str) -> bool {
    exit.report().stragglers.iter().any(|straggler| straggler.task.name.as_deref() == Some(name))
}

#[test]
fn off_its_thread_it_is_an_error_that_says_so() {
    fn tries<B: SpawnLocal + Send>(scope: Scope<B>) {
        let tries = move || {
            let task = scope.task("astray").spawn_local(async { panic!("it is not entered") });
            let error = futures_lite::future::block_on(task).map(|()| "ran").unwrap_err();
            assert!(error.is_refused() && !error.is_panic());
            assert!(error.to_string().contains("the thread that would run it"), "{error}");
            assert_eq!(scope.totals().spawned, 1, "`main` alone");
            assert_eq!(scope.totals().refused, 0, "it is not the scope that refuses it");
        };
        thread::spawn(tries).join().unwrap();
    }
    clean(&TokioCurrentThread::run(Limits::default(), |scope| async { tries(scope) }));
    clean(&TokioWorkers::run(Limits::default(), |scope| async { tries(scope) }));
    clean(&Simulated::run(Limits::default(), |scope| async { tries(scope) }));
}

/// In a plain task that has been told an error of the stop is kept back. This one is none.
#[test]
fn the_error_comes_in_a_stop_too() {
    let log = Log::default();
    let said = log.clone();
    let exit = TokioWorkers::run(Limits::default(), |scope| async move {
        // On a worker.
        let program = Scope::current();
        let ends = scope.spawn(async move {
            _ = program.stop();
            let astray = {
                let scope = typed::<TokioLocal>();
                let stop = StopToken::current();
                while !stop.peek() {
                    thread::yield_now();
                }
                thread::spawn(move || scope.spawn_local(async {})).join().unwrap()
            };
            said.say(format!("{}", astray.await.is_err_and(|error| error.is_refused())));
        });
        _ = ends.interruptible().await;
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["true"]);
}

/// Runs a program on workers, with a task that blocks the other thread on which it is local.
fn beside_a_stuck_thread(
    name: &'static str,
    runs: impl FnOnce(Scope, mpsc::Sender<()>, mpsc::Receiver<()>) + Send + 'static,
) {
    unless_it_hangs(name, || is_beside_a_stuck_thread(runs));
}

fn is_beside_a_stuck_thread(
    runs: impl FnOnce(Scope, mpsc::Sender<()>, mpsc::Receiver<()>) + Send + 'static,
) {
    let log = Log::default();
    let (stopped, said) = (log.clone(), log.clone());
    let (release, released) = mpsc::channel();
    let mut stuck = None;
    let exit = Program::new(Config::TokioWorkers)
        .cut_off_after(millis(50))
        .on_stopped(move || stopped.say("stopped"))
        .run(async {
            let (begins, begun) = mpsc::channel();
            let scope = Scope::current();
            stuck = Some(thread::spawn(move || runs(scope, begins, released)));
            begun.recv().unwrap();
            _ = Scope::current().stop();
            pending::<()>().await;
        });
    said.say("ended");
    exits(&exit, 124);
    assert!(is_straggler(&exit, "stuck"), "{}", exit.report());
    assert_eq!(exit.report().total().abandoned, 1, "{}", exit.report());
    release.send(()).expect("it is stuck until now");
    stuck.unwrap().join().unwrap();
    log.is(&["stopped", "ended"]);
}

#[test]
fn no_end_waits_for_a_stuck_thread_of_tokio() {
    beside_a_stuck_thread("a stuck thread of tokio", |scope, begins, released| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let set = Rc::new(LocalSet::new());
        let local = TokioLocal::new(Tokio::from(runtime.handle().clone()), &set);
        let task = scope.with_local(local).task("stuck").spawn_local(async move {
            begins.send(()).unwrap();
            released.recv().unwrap();
        });
        let over = runtime.block_on(set.run_until(task));
        assert!(over.is_ok() || over.is_err_and(|error| error.is_abandoned()));
    });
}

#[test]
fn no_end_waits_for_a_stuck_thread_of_smol() {
    beside_a_stuck_thread("a stuck thread of smol", |scope, begins, released| {
        let executor = Rc::new(LocalExecutor::new());
        let local = scope.with_local(SmolLocal::from(&executor));
        let task = local.task("stuck").spawn_local(async move {
            begins.send(()).unwrap();
            released.recv().unwrap();
        });
        let over = async_io::block_on(executor.run(task));
        assert!(over.is_ok() || over.is_err_and(|error| error.is_abandoned()));
    });
}
