//! Scopes: names, handles, ends, nurseries, and what still comes in.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use adjourn::{FailureKind, FutureExt, Phase, Scope, Shutdown, rt, scope, spawn, spawn_blocking};

use crate::harness::*;

scenarios![
    scopes_have_names_and_paths,
    a_scope_is_typed_by_the_backend_that_runs_it,
    a_stop_awaited_from_inside_is_an_error,
    a_scope_ends_by_itself_and_its_totals_fold,
    dropping_a_handle_stops_nothing,
    a_nursery_waits_for_its_tasks,
    a_nursery_of_a_scope_that_one_is_inside_of_panics,
    a_dropped_nursery_stops_its_tasks,
    a_nursery_is_cancelled_with_its_task,
    in_scope_gives_a_scope_to_a_future,
    a_scope_below_an_ended_one_refuses,
    a_scope_is_a_shutdown,
    a_job_that_outlasts_its_scope_spawns_nothing_into_it,
    a_nursery_that_is_dropped_keeps_no_waker,
    many_scopes,
    a_job_that_sees_a_scope_cancelling_spawns_nothing_plain_there,
];

fn scopes_have_names_and_paths(config: Config) {
    let exit = Program::new(config).run(async {
        assert_eq!(Scope::current().path(), "root");
        let http = scope("http");
        let one = http.scope(format!("connection-{}", 1));
        assert_eq!((one.name(), &*one.path()), ("connection-1", "root/http/connection-1"));
        assert_eq!(one.spawn(async { Scope::current().path() }).await.unwrap(), one.path());
        assert_eq!(http.phase(), Phase::Running);
        assert_eq!(one.totals().finished, 1);
        let again = scope("http");
        again.stop().await.unwrap();
        assert_eq!((again.phase(), http.phase()), (Phase::Stopped, Phase::Running));
    });
    clean(&exit);
    assert_eq!(exit.report().totals["connection-1"].finished, 1);
}

fn a_scope_is_typed_by_the_backend_that_runs_it(config: Config) {
    use adjourn::{async_std::AsyncStd, smol::Smol, tokio::Tokio};

    /// Spawns on the backend's own type, if the scope runs on that.
    async fn spawns_on<B: rt::Spawner>(name: &str, scope: &Scope) -> Option<String> {
        let typed = scope.typed::<B>()?;
        assert_eq!(typed.spawn(async { Scope::current().path() }).await.unwrap(), "root/typed");
        Some(name.to_owned())
    }
    let (sent, received) = mpsc::channel();
    let exit = Program::new(config).run(async move {
        let scope = scope("typed");
        let names = [
            spawns_on::<Tokio>("tokio", &scope).await,
            spawns_on::<Smol>("smol", &scope).await,
            spawns_on::<AsyncStd>("async-std", &scope).await,
        ];
        sent.send((names.into_iter().flatten().collect::<Vec<_>>(), scope.totals())).unwrap();
    });
    clean(&exit);
    let (names, totals) = received.recv().unwrap();
    assert_eq!(names, [exit.report().backend]);
    assert_eq!(totals.finished, 1);
}

fn a_stop_awaited_from_inside_is_an_error(config: Config) {
    let exit = Program::new(config).run(async {
        let outer = scope("outer");
        let (here, inner) = (outer.clone(), outer.scope("inner"));
        let handle = inner.spawn_graceful(move |stop| async move {
            let error = here.stop().await.unwrap_err();
            assert!(error.to_string().contains("root/outer"), "{error}");
            stop.requested().await; // it is requested all the same
            7
        });
        assert_eq!(handle.await.unwrap(), 7);
        outer.stop().await.unwrap();
        outer.stop().await.unwrap();
        assert!(Scope::current().stop().await.is_err());
    });
    clean(&exit);
}

fn a_scope_ends_by_itself_and_its_totals_fold(config: Config) {
    let exit = Program::new(config).run(async {
        for _ in 0..100 {
            let scope = scope("connection");
            let handle = scope.spawn(async {});
            let token = scope.stop_token();
            drop(scope);
            handle.await.unwrap();
            assert!(!token.is_requested());
        }
        for _ in 0..10 {
            drop(scope("empty"));
        }
    });
    clean(&exit);
    assert_eq!(exit.report().totals["connection"].spawned, 100);
    assert_eq!(exit.report().totals["connection"].finished, 100);
}

fn dropping_a_handle_stops_nothing(config: Config) {
    let exit = Program::new(config).run(async {
        let (gate, opened) = (Gate::new(), Gate::new());
        let (waits, opens) = (gate.clone(), opened.clone());
        drop(scope("kept").spawn(async move {
            waits.wait().await;
            assert_eq!(spawn(async { 1 }).await.unwrap(), 1);
            opens.open();
        }));
        yields(3).await;
        gate.open();
        opened.wait().await;
    });
    clean(&exit);
}

fn a_nursery_waits_for_its_tasks(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let nursery = scope("nursery");
        let kept = nursery.clone();
        let output = nursery.run(async {
            for _ in 0..5 {
                let said = said.clone();
                drop(spawn(async move {
                    sleep(millis(5)).await;
                    said.say("task");
                }));
            }
            drop(scope("below").spawn(yields(20)));
            said.say("body");
            4
        });
        assert_eq!(output.await, 4);
        said.say("over");
        assert_eq!(kept.phase(), Phase::Stopped);
        assert_eq!(scope("empty").run(async { 1 }).await, 1);
    });
    clean(&exit);
    assert_eq!(log.at("over"), 6);
    assert_eq!(log.at("body"), 0);
    assert_eq!(exit.report().totals["nursery"].finished, 5);
}

fn a_dropped_nursery_stops_its_tasks(config: Config) {
    let exit = Program::new(config).run(async {
        let nursery = scope("nursery");
        let token = nursery.stop_token();
        let (begun, kept) = (Gate::new(), nursery.clone());
        let mut run = Box::pin(nursery.run(async {
            drop(spawn(pending::<()>()));
            begun.open();
            pending::<()>().await;
        }));
        assert!(poll_once(&mut run).await.is_pending());
        assert!(begun.is_open() && !token.is_requested());
        drop(run);
        token.requested().await;
        kept.stop().await.unwrap();
    });
    clean(&exit);
    assert_eq!(exit.report().totals["nursery"].cancelled, 1);
}

fn a_nursery_is_cancelled_with_its_task(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let handle = spawn(scope("nursery").run(async {
            drop(spawn(pending::<()>()));
            pending::<()>().await;
        }));
        yields(3).await;
        stopper.stop();
        _ = handle.await;
        pending::<()>().await;
    });
    clean(&exit);
}

fn a_nursery_of_a_scope_that_one_is_inside_of_panics(config: Config) {
    let exit = Program::new(config).run(async {
        let root = Scope::current();
        assert!(spawn(root.clone().run(async {})).await.is_err_and(|error| error.is_panic()));
        let outer = scope("outer");
        let below = outer.scope("below").spawn(outer.clone().run(async {}));
        assert!(below.await.is_err_and(|error| error.is_panic()));
        // Nothing was asked to stop for it.
        assert_eq!((root.phase(), outer.spawn(async { 1 }).await.unwrap()), (Phase::Running, 1));
        outer.on_stopped(async || Scope::current().run(async {}).await);
        outer.stop().await.unwrap();
        assert_eq!(outer.run(async { 2 }).await, 2, "it is over, and there is nothing to wait for");
    });
    exits(&exit, 0);
    let said: Vec<_> =
        exit.report().failures.iter().map(|f| (f.kind, f.messages.join(""))).collect();
    let kinds: Vec<_> = said.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [FailureKind::TaskPanic, FailureKind::TaskPanic, FailureKind::HookPanic]);
    for ((_, said), scope) in said.iter().zip(["root", "root/outer", "root/outer"]) {
        assert!(said.contains(&format!("{scope:?}, from inside it")), "{said}");
    }
}

fn in_scope_gives_a_scope_to_a_future(config: Config) {
    let exit = Program::new(config).run(async {
        let given = scope("given");
        let work = async {
            assert_eq!(Scope::current().path(), "root/given");
            yields(2).await;
            spawn(async { Scope::current().name().to_owned() }).await.unwrap()
        };
        assert_eq!(work.in_scope(&given).await, "given");
        assert_eq!(Scope::current().path(), "root");
        // A thread that is not the program's.
        let work = async { scope("x").path() }.in_scope(&given);
        let thread = std::thread::spawn(move || futures_lite::future::block_on(work));
        assert_eq!(thread.join().unwrap(), "root/given/x");
    });
    clean(&exit);
}

fn a_scope_below_an_ended_one_refuses(config: Config) {
    let exit = Program::new(config).run(async {
        let ended = scope("ended");
        ended.stop().await.unwrap();
        let below = ended.scope("below");
        assert!(below.spawn(async {}).await.unwrap_err().is_refused());
        assert!(below.spawn_shielded(async {}).await.unwrap_err().is_refused());
        below.stop().await.unwrap();
        assert_eq!(below.phase(), Phase::Stopped);
        let after = scope("after").depends_on(&ended);
        assert_eq!(after.spawn(async { 1 }).await.unwrap(), 1);
    });
    clean(&exit);
}

fn a_scope_is_a_shutdown(config: Config) {
    let exit = Program::new(config).run(async {
        let quick = scope("quick");
        drop(quick.spawn(pending::<()>()));
        assert_eq!(quick.shutdown(Duration::MAX).await, Ok(()));
        let slow = scope("slow");
        let (gate, kept) = (Gate::new(), slow.clone());
        let opened = gate.clone();
        drop(slow.spawn_shielded(async move { opened.wait().await }));
        assert_eq!(slow.shutdown(millis(20)).await, Err(rt::Unfinished));
        gate.open();
        kept.stop().await.unwrap();
    });
    clean(&exit);
}

fn a_job_that_outlasts_its_scope_spawns_nothing_into_it(config: Config) {
    let exit = Program::new(config).cut_off_after(millis(50)).run(async move {
        let scope = scope("jobs");
        let gates = [(); 2].map(|()| (Gate::new(), Gate::new()));
        let jobs = gates.clone().map(|(begun, ended)| {
            let inside = scope.clone();
            scope.spawn_blocking(move || {
                begun.open();
                ended.wait_blocking();
                inside.spawn_shielded(async { panic!("it never runs") })
            })
        });
        for (begun, _) in &gates {
            begun.wait().await;
        }
        scope.stop().await.unwrap(); // at its cut-off
        for ((_, ended), job) in gates.into_iter().zip(jobs) {
            ended.open();
            assert!(job.await.unwrap().await.unwrap_err().is_refused());
        }
    });
    // A scope that was stopped alone: the program isolates it.
    exits(&exit, 0);
    assert_eq!(failures(&exit, FailureKind::CutOff).len(), 2);
    assert!(!exit.report().is_clean());
    let totals = exit.report().totals["jobs"];
    assert_eq!((totals.spawned, totals.finished, totals.refused), (2, 2, 2));
}

fn a_nursery_that_is_dropped_keeps_no_waker(config: Config) {
    let exit = Program::new(config).run(async {
        let scope = scope("nursery");
        let gate = Gate::new();
        let opened = gate.clone();
        drop(scope.spawn_shielded(async move { opened.wait().await }));
        let waker = Arc::new(Counted);
        let mut nursery = Box::pin(scope.run(async {}));
        assert!(waker.clone().poll(&mut nursery).is_pending());
        assert!(Arc::strong_count(&waker) > 1, "it waits for the task");
        drop(nursery);
        assert_eq!(Arc::strong_count(&waker), 1);
        gate.open();
    });
    clean(&exit);
}

fn many_scopes(config: Config) {
    const COUNT: usize = 10_000;
    let count = Arc::new(AtomicUsize::new(0));
    let program = Program::new(config).endless();
    let (stopper, counted) = (program.stopper(), count.clone());
    let exit = program.run(async move {
        for _ in 0..COUNT {
            let counted = counted.clone();
            drop(scope("connection").spawn_graceful(move |stop| async move {
                stop.requested().await;
                counted.fetch_add(1, SeqCst);
                moved();
            }));
            moved();
        }
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(count.load(SeqCst), COUNT);
    assert_eq!(exit.report().totals["connection"].finished, COUNT as u64);
}

fn a_job_that_sees_a_scope_cancelling_spawns_nothing_plain_there(config: Config) {
    if config.is_single_threaded() {
        return; // nothing comes between
    }
    let program = Program::new(config);
    let stopper = program.stopper();
    let (refused, began) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (tell, say) = (refused.clone(), began.clone());
    _ = program.run(async move {
        for _ in 0..20_000 {
            drop(spawn(pending::<()>()));
        }
        let scope = Scope::current();
        drop(spawn_blocking(move || {
            drop(scope.spawn(pending::<()>())); // this thread's chunk is the last
            stopper.stop();
            while scope.phase() < Phase::Cancelling {}
            let handle = scope.spawn(async move { say.store(true, SeqCst) });
            let error = futures_lite::future::block_on(handle);
            tell.store(error.is_err_and(|error| error.is_refused()), SeqCst);
        }));
        pending::<()>().await;
    });
    assert!(refused.load(SeqCst), "taken; it began: {}", began.load(SeqCst));
}
