//! Trees of scopes in a stop: whom it reaches, and in which order.

use std::future::pending;
use std::sync::mpsc;

use adjourn::{FutureExt, Phase, Scope, StopToken, scope, spawn};

use crate::harness::*;

scenarios![
    a_partial_stop_spares_siblings,
    a_stop_reaches_grandchildren,
    a_chain_of_dependencies_stops_in_order,
    stopping_a_dependency_stops_its_dependents,
    tokens_of_a_dependency_fire_after_its_dependents_end,
    children_end_before_their_parents_tasks_are_cancelled,
    on_stopped_of_a_scope_runs_before_its_dependency_stops,
    a_dependency_without_a_handle_or_a_task_stays_while_it_is_used,
    a_graceful_task_of_a_scope_drains_when_it_alone_stops,
    a_graceful_task_that_comes_while_a_child_drains_is_waited_for,
    deep_scopes_stop,
];

fn a_partial_stop_spares_siblings(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let (left, right) = (scope("left"), scope("right"));
        let gate = Gate::new();
        for scope in [&left, &right] {
            let (dropped, opened) = (said.on_drop(scope.name()), gate.clone());
            drop(scope.spawn(async move {
                let _dropped = dropped;
                opened.wait().await;
            }));
        }
        left.stop().await.unwrap();
        said.say("stopped");
        assert_eq!(left.phase(), Phase::Stopped);
        assert!(left.stop_token().is_requested() && !right.stop_token().is_requested());
        assert!(!StopToken::current().is_requested());
        assert!(left.spawn(async {}).await.unwrap_err().is_refused());
        assert_eq!(right.spawn(async { 1 }).await.unwrap(), 1);
        gate.open();
    });
    clean(&exit);
    log.is(&["left", "stopped", "right"]);
    assert_eq!(exit.report().totals["left"].cancelled, 1);
    assert_eq!(exit.report().totals["right"].finished, 2);
}

fn a_stop_reaches_grandchildren(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let top = scope("top");
        let (middle, bottom) = (top.scope("middle"), top.scope("other").scope("bottom"));
        for scope in [&top, &middle, &bottom] {
            let said = said.clone();
            drop(scope.spawn_graceful(move |stop| async move {
                stop.requested().await;
                said.say(Scope::current().name());
            }));
        }
        top.stop().await.unwrap();
        assert!([&top, &middle, &bottom].iter().all(|scope| scope.phase() == Phase::Stopped));
        assert_eq!(said.all().len(), 3);
    });
    clean(&exit);
}

fn a_chain_of_dependencies_stops_in_order(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let mut last = scope("0");
        let mut scopes = vec![last.clone()];
        for number in 1..8 {
            last = scope(number.to_string()).depends_on(&last);
            scopes.push(last.clone());
        }
        for scope in scopes.iter().rev().step_by(2).chain(scopes.iter().step_by(2)) {
            let (name, said, begun) = (scope.name().to_owned(), said.clone(), Gate::new());
            let begins = begun.clone();
            drop(scope.spawn(async move {
                let _dropped = said.on_drop(&name);
                begins.open();
                pending::<()>().await;
            }));
            begun.wait().await;
        }
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["7", "6", "5", "4", "3", "2", "1", "0"]);
}

fn stopping_a_dependency_stops_its_dependents(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let db = scope("db");
        let http = scope("http").depends_on(&db);
        let other = scope("other");
        for scope in [&db, &http] {
            let (said, begun) = (said.clone(), Gate::new());
            let begins = begun.clone();
            drop(scope.spawn(async move {
                let _dropped = said.on_drop(Scope::current().name());
                begins.open();
                pending::<()>().await;
            }));
            begun.wait().await;
        }
        db.stop().await.unwrap();
        assert_eq!(http.phase(), Phase::Stopped);
        assert_eq!(other.phase(), Phase::Running);
    });
    clean(&exit);
    log.is(&["http", "db"]);
}

fn tokens_of_a_dependency_fire_after_its_dependents_end(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let db = scope("db");
        let http = scope("http").depends_on(&db);
        let (says, token) = (said.clone(), db.stop_token());
        drop(http.spawn_graceful(move |stop| async move {
            stop.requested().await;
            yields(10).await;
            assert!(!token.is_requested());
            says.say("http");
        }));
        drop(db.spawn_graceful(move |stop| async move {
            stop.requested().await;
            said.say("db");
        }));
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["http", "db"]);
}

fn children_end_before_their_parents_tasks_are_cancelled(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let begun = Gate::new();
        let (begins, dropped, told) = (begun.clone(), said.on_drop("parent"), said.clone());
        drop(spawn(async move {
            let _dropped = dropped;
            begins.open();
            pending::<()>().await;
        }));
        begun.wait().await;
        drop(scope("child").spawn_graceful(move |stop| async move {
            stop.requested().await;
            yields(10).await;
            said.say("child");
        }));
        drop(spawn(async move {
            StopToken::current().requested().interruptible().await;
            told.say("told");
            pending::<()>().await;
        }));
        yields(1).await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert!(log.at("child") < log.at("parent"));
}

fn on_stopped_of_a_scope_runs_before_its_dependency_stops(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let db = scope("db");
        let http = scope("http").depends_on(&db);
        let (a, b, c, d) = (said.clone(), said.clone(), said.clone(), said.clone());
        let token = db.stop_token();
        http.on_stopped(move || a.say("http first"));
        http.on_stopped(async move {
            yields(5).await;
            assert!(!token.is_requested());
            b.say("http last");
        });
        db.on_stopped(move || c.say("db hook"));
        let dropped = said.on_drop("http task");
        let begun = Gate::new();
        let begins = begun.clone();
        drop(http.spawn(async move {
            let _dropped = dropped;
            begins.open();
            pending::<()>().await;
        }));
        drop(db.spawn_graceful(move |stop| async move {
            stop.requested().await;
            d.say("db told");
        }));
        begun.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["http task", "http last", "http first", "db told", "db hook"]);
}

fn a_dependency_without_a_handle_or_a_task_stays_while_it_is_used(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        // One is used by a task, the second by what is below, the third until its user ends by itself.
        let done = Gate::new();
        for name in ["task", "below", "short"] {
            let db = scope(format!("db of {name}"));
            let http = scope(name).depends_on(&db);
            let http = if name == "below" { http.scope("deeper") } else { http };
            let (told, closed) = (said.clone(), said.clone());
            db.on_stopped(move || closed.say(format!("db of {name} closes")));
            let done = done.clone();
            http.spawn_graceful(move |stop| async move {
                match name {
                    "short" => done.wait().await,
                    _ => stop.requested().await,
                }
                told.say(format!("{name} ends"));
            });
        }
        yields(20).await;
        said.is(&[]);
        done.open();
        while said.all().len() < 2 {
            yields(1).await;
        }
        said.say("stop");
        stopper.stop();
    });
    clean(&exit);
    assert_eq!(log.all()[..3], ["short ends", "db of short closes", "stop"]);
    for name in ["task", "below"] {
        let (ends, closes) = (format!("{name} ends"), format!("db of {name} closes"));
        assert!(log.at(&ends) < log.at(&closes), "{:?}", log.all());
    }
}

fn a_graceful_task_of_a_scope_drains_when_it_alone_stops(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let scope = scope("alone");
        let (says, begun) = (said.clone(), Gate::new());
        let (begins, dropped) = (begun.clone(), said.on_drop("plain"));
        drop(scope.spawn(async move {
            let _dropped = dropped;
            begins.open();
            pending::<()>().await;
        }));
        begun.wait().await;
        drop(scope.spawn_graceful(move |stop| async move {
            stop.requested().await;
            assert_eq!(stop.reason(), None, "the program goes on");
            yields(10).await;
            says.say("graceful");
        }));
        scope.stop().await.unwrap();
        said.say("ended");
    });
    clean(&exit);
    log.is(&["graceful", "plain", "ended"]);
}

fn a_graceful_task_that_comes_while_a_child_drains_is_waited_for(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let parent = scope("parent");
        let child = parent.scope("child");
        let (spawned, drained) = (Gate::new(), Gate::new());
        let (opens, says, over) = (spawned.clone(), said.clone(), drained.clone());
        drop(child.spawn_graceful(move |stop| async move {
            stop.requested().await;
            spawned.wait().await;
            over.open();
        }));
        let spawns = parent.clone();
        drop(parent.spawn(async move {
            spawns.stop_token().requested().interruptible().await;
            drop(spawns.spawn_graceful(move |_| async move {
                opens.open();
                drained.wait().await;
                yields(100).await;
                says.say("late");
            }));
            pending::<()>().await;
        }));
        parent.stop().await.unwrap();
        said.say("ended");
    });
    clean(&exit);
    log.is(&["late", "ended"]);
}

fn deep_scopes_stop(config: Config) {
    // A level has a three-hundredth of the time: with the default's 80 ms a slow machine is late.
    let program = Program::new(config).endless();
    let stopper = program.stopper();
    let (sent, received) = mpsc::channel();
    let exit = program.run(async move {
        let mut deepest = Scope::current();
        for _ in 0..300 {
            deepest = deepest.scope("deep");
            let sent = sent.clone();
            drop(deepest.spawn_graceful(move |stop| async move {
                stop.requested().await;
                sent.send(()).unwrap();
            }));
        }
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(received.iter().count(), 300);
}
