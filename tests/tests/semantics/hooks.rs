//! `on_stop` and `on_stopped`: when they run, in which order, and what their failures do.

use std::future::pending;
use std::task::{Context, Poll};

use adjourn::{
    FailureKind, FutureExt, Phase, Scope, Signal, SignalSource, StopToken, spawn, spawn_blocking,
    spawn_graceful, spawn_shielded,
};

use crate::harness::*;

scenarios![
    on_stop_runs_before_any_cancellation,
    the_drain_waits_for_on_stop,
    on_stopped_runs_last_first_when_tasks_are_gone,
    hooks_are_closures_async_closures_and_futures,
    panics_and_errors_of_hooks_skip_nothing,
    a_hooks_failure_counts_unless_its_scope_was_stopped_before_the_program,
    the_error_of_main_comes_before_those_of_hooks,
    hooks_run_when_the_program_ends_by_itself,
    on_stopped_may_spawn_shielded_work_and_jobs,
    work_that_a_hook_leaves_in_a_scope_is_waited_for,
    a_hook_that_is_registered_by_a_hook_runs_next,
    a_hook_that_work_of_a_hook_registers_runs,
    a_hook_that_does_not_end_is_cut_off,
    a_hook_that_registers_itself_for_ever_is_cut_off,
    what_hooks_and_handlers_hold_may_panic_when_it_is_dropped,
    a_hook_may_be_shielded_and_have_a_cleanup,
    hooks_do_not_run_when_the_start_fails,
    a_hook_of_an_ended_scope_is_dropped,
    a_hook_that_awaits_its_own_scopes_stop_gets_an_error,
];

fn on_stop_runs_before_any_cancellation(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let hook = log.clone();
    let program = Program::new(config).on_stop(async move {
        yields(10).await;
        assert_eq!(Scope::current().phase(), Phase::Draining);
        hook.say("hook");
    });
    let stopper = program.stopper();
    let exit = program.run(async move {
        let begun = Gate::new();
        let begins = begun.clone();
        drop(spawn(async move {
            let _dropped = said.on_drop("task");
            begins.open();
            pending::<()>().await;
        }));
        begun.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["hook", "task"]);
}

fn the_drain_waits_for_on_stop(config: Config) {
    let log = Log::default();
    let (first, second) = (log.clone(), log.clone());
    let (gate, opened) = (Gate::new(), Gate::new());
    let (open_it, opens) = (gate.clone(), opened.clone());
    // Side by side: each waits for the other.
    let program = Program::new(config)
        .on_stop(async move {
            opens.open();
            gate.wait().await;
            first.say("first");
        })
        .on_stop(async move {
            opened.wait().await;
            second.say("second");
            open_it.open();
        });
    program.stopper().stop();
    clean(&program.run_pending());
    log.is(&["second", "first"]);
}

fn on_stopped_runs_last_first_when_tasks_are_gone(config: Config) {
    let log = Log::default();
    let mut program = Program::new(config);
    for name in ["first", "second", "third"] {
        let said = log.clone();
        program = program.on_stopped(async move {
            yields(3).await;
            assert_eq!(Scope::current().phase(), Phase::Closing);
            said.say(name);
        });
    }
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let own = said.clone();
        Scope::current().on_stopped(move || own.say("from main"));
        drop(spawn_graceful(move |stop| async move {
            stop.requested().await;
            yields(5).await;
            said.say("task");
        }));
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    let all = log.all();
    let from_main = all.iter().any(|line| line == "from main"); // it may be cancelled first
    let rest: &[&str] = &["task", "from main", "third", "second", "first"];
    assert_eq!(all, if from_main { rest.to_vec() } else { vec!["third", "second", "first"] });
}

fn hooks_are_closures_async_closures_and_futures(config: Config) {
    let log = Log::default();
    let l: Vec<_> = (0..6).map(|_| log.clone()).collect();
    let [a, b, c, d, e, f] = <[Log; 6]>::try_from(l).ok().unwrap();
    let program = Program::new(config)
        .on_stopped(move || a.say("closure"))
        .on_stopped(async move || {
            yields(1).await;
            b.say("async closure");
        })
        .on_stopped(async move {
            yields(1).await;
            c.say("future");
        })
        .on_stopped(move || -> Result<(), String> {
            d.say("result");
            Ok(())
        })
        .on_stopped(move || async move {
            e.say("closure of a future");
            Ok::<(), AnyError>(())
        })
        .on_stop(move || f.say("on_stop"));
    clean(&program.run(async {}));
    log.is(&["on_stop", "closure of a future", "result", "future", "async closure", "closure"]);
}

fn panics_and_errors_of_hooks_skip_nothing(config: Config) {
    let log = Log::default();
    let (a, b) = (log.clone(), log.clone());
    let program = Program::new(config)
        .on_stop(|| blow("on_stop panics"))
        .on_stop(async { Err::<(), _>("on_stop fails") })
        .on_stopped(move || a.say("first"))
        .on_stopped(async {
            yields(1).await;
            blow("on_stopped panics");
        })
        .on_stopped(async || Err::<(), _>(std::io::Error::other("on_stopped fails")))
        .on_stopped(move || b.say("last"));
    let exit = program.run(async {});
    exits(&exit, 101);
    log.is(&["last", "first"]);
    let said = |kind| -> Vec<_> {
        let mut said: Vec<_> =
            failures(&exit, kind).iter().map(|f| f.messages.join(": ")).collect();
        said.sort();
        said
    };
    assert_eq!(said(FailureKind::HookPanic), ["on_stop panics", "on_stopped panics"]);
    assert_eq!(said(FailureKind::HookError), ["on_stop fails", "on_stopped fails"]);
    let failures = failures(&exit, FailureKind::HookError);
    assert!(failures.iter().all(|failure| failure.origin.contains("tests/semantics/hooks.rs")));

    let exit = Program::new(config).on_stopped(|| Err::<(), _>("fails")).run(async {});
    exits(&exit, 1);
}

/// A stop of its own isolates a scope's hooks, as it isolates its tasks. The program's does not, nor does an end by
/// itself: what `main` closes in its last line ends so, just before the program.
fn a_hooks_failure_counts_unless_its_scope_was_stopped_before_the_program(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let alone = adjourn::scope("alone");
        let below = alone.scope("below");
        below.on_stopped(|| blow("below"));
        alone.on_stopped(async || Err::<(), _>("alone"));
        alone.stop().await.unwrap();
        // Asked to stop before the program is, and closed after that.
        let late = adjourn::scope("late");
        let (begun, root) = (Gate::new(), StopToken::current());
        let begins = begun.clone();
        late.on_stopped(async move {
            begins.open();
            while !root.peek() {
                yields(1).await;
            }
            Err::<(), _>("late")
        });
        drop(late.stop());
        begun.wait().await;
        stopper.stop();
    });
    exits(&exit, 0);
    let mut said: Vec<_> = exit.report().failures.iter().map(|f| f.messages.join(": ")).collect();
    said.sort();
    assert_eq!(said, ["alone", "below", "late"]);
    assert!(exit.report().failures.iter().all(|failure| !failure.fatal), "{}", exit.report());

    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let with_it = adjourn::scope("with it");
        with_it.on_stopped(|| blow("with it"));
        with_it.spawn(pending::<()>());
        stopper.stop();
    });
    exits(&exit, 101);

    let exit = Program::new(config).run(async move {
        adjourn::scope("closes").on_stopped(async || Err::<(), _>("by itself"));
    });
    exits(&exit, 1);
}

fn the_error_of_main_comes_before_those_of_hooks(config: Config) {
    let program = Program::new(config).on_stopped(|| Err::<(), _>("the hook's"));
    let exit = program.run(async { Err::<(), _>("main's") });
    exits(&exit, 1);
    let kinds: Vec<_> = exit.report().failures.iter().map(|failure| failure.kind).collect();
    assert_eq!(kinds, [FailureKind::MainError, FailureKind::HookError]);
}

fn hooks_run_when_the_program_ends_by_itself(config: Config) {
    let log = Log::default();
    let (a, b, said) = (log.clone(), log.clone(), log.clone());
    let program =
        Program::new(config).on_stop(move || a.say("on_stop")).on_stopped(move || b.say("stopped"));
    let exit = program.run(async move {
        drop(spawn(async move {
            yields(5).await;
            said.say("task");
        }));
    });
    clean(&exit);
    log.is(&["task", "on_stop", "stopped"]);
}

fn on_stopped_may_spawn_shielded_work_and_jobs(config: Config) {
    let log = Log::default();
    let (said, hook) = (log.clone(), log.clone());
    let program = Program::new(config).on_stopped(async move {
        assert_eq!(spawn_blocking(|| 1).await.unwrap(), 1);
        assert_eq!(spawn_shielded(async { 2 }).await.unwrap(), 2);
        assert!(spawn(async {}).await.unwrap_err().is_refused());
        hook.say("hook");
    });
    let exit = program.run(async move {
        let scope = adjourn::scope("db");
        scope.on_stopped(async move {
            assert_eq!(spawn_blocking(|| 1).await.unwrap(), 1);
            said.say("scope");
        });
        drop(scope.spawn(yields(3)));
    });
    clean(&exit);
    log.is(&["scope", "hook"]);
}

fn work_that_a_hook_leaves_in_a_scope_is_waited_for(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let scope = adjourn::scope("db");
        scope.on_stopped(async move {
            // The scope ends by itself: nobody has a handle, and its tasks are gone.
            drop(spawn_shielded(async move {
                yields(100).await;
                said.say("work");
            }));
        });
        drop(scope.spawn(yields(3)));
    });
    clean(&exit);
    log.is(&["work"]);
    assert_eq!(exit.report().totals["db"].finished, 2);
}

/// What is opened at its first use is closed too where that is in a hook.
fn a_hook_that_is_registered_by_a_hook_runs_next(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        for scope in [adjourn::scope("db"), Scope::current()] {
            let [first, opens, opened, inner] = [(); 4].map(|()| said.clone());
            scope.on_stopped(move || first.say("registered first"));
            scope.on_stopped(async move {
                let own = Scope::current();
                opens.say("opens");
                own.on_stopped(async move {
                    yields(2).await;
                    opened.say("closes");
                    Scope::current().on_stopped(move || inner.say("closes what that opened"));
                });
                yields(2).await;
                opens.say("uses");
            });
        }
    });
    clean(&exit);
    let each = ["opens", "uses", "closes", "closes what that opened", "registered first"];
    log.is(&[each, each].concat());
    assert_eq!(exit.report().hooks.len(), 8);
}

fn a_hook_that_work_of_a_hook_registers_runs(config: Config) {
    let log = Log::default();
    let [work, closes] = [log.clone(), log.clone()];
    let exit = Program::new(config).run(async move {
        let scope = adjourn::scope("db");
        scope.on_stopped(async move {
            // The hook is over long before it.
            spawn_shielded(async move {
                yields(100).await;
                work.say("opens");
                Scope::current().on_stopped(move || closes.say("closes"));
            });
        });
        scope.spawn(yields(3));
    });
    clean(&exit);
    log.is(&["opens", "closes"]);
}

fn a_hook_that_awaits_its_own_scopes_stop_gets_an_error(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let scope = adjourn::scope("db");
        let other = scope.scope("below");
        scope.on_stopped(async move || {
            let refused = Scope::current().stop().await.is_err();
            said.say(if refused { "refused" } else { "ended" });
            // It has ended by then, and what waits for that has nothing to wait for.
            let ended = other.stop().await.is_ok();
            said.say(if ended { "below ended" } else { "below refused" });
        });
        scope.stop().await.expect("main is not inside");
    });
    clean(&exit);
    log.is(&["refused", "below ended"]);
}

fn a_hook_that_does_not_end_is_cut_off(config: Config) {
    let program = Program::new(config).timeout(millis(200)).on_stopped(pending::<()>());
    let exit = program.run(async {});
    exits(&exit, 124);
    let failures = failures(&exit, FailureKind::HookOverdue);
    assert_eq!(failures.len(), 1);
    assert!(failures[0].origin.contains("tests/semantics/hooks.rs"), "{}", failures[0].origin);
}

fn a_hook_that_registers_itself_for_ever_is_cut_off(config: Config) {
    fn again(scope: &Scope) {
        let own = scope.clone();
        scope.on_stopped(move || again(&own));
    }
    let program = Program::new(config).timeout(millis(200));
    let exit = program.run(async { again(&adjourn::scope("db")) });
    exits(&exit, 124);
    // Nobody else is blamed. One that follows in the instant of the deadline is named too.
    let overdue = failures(&exit, FailureKind::HookOverdue).len();
    assert!(overdue > 0 && overdue == exit.report().failures.len(), "{}", exit.report());
}

fn what_hooks_and_handlers_hold_may_panic_when_it_is_dropped(config: Config) {
    struct Source(#[allow(dead_code, reason = "dropped with it")] Bomb);
    impl SignalSource for Source {
        fn poll_signal(&mut self, _: &mut Context<'_>) -> Poll<Option<Signal>> {
            Poll::Pending
        }
    }
    let (handler, hook) = (Bomb("a handler"), Bomb("a hook"));
    let program = Program::new(config)
        .timeout(millis(200))
        .on_signal(move |_, _| _ = &handler)
        .signal_source(Source(Bomb("a source")))
        .on_stopped(async move {
            pending::<()>().await;
            drop(hook);
        });
    let exit = program.run(async {});
    exits(&exit, 124);
    assert_eq!(failures(&exit, FailureKind::HookOverdue).len(), 1);
    assert_eq!(exit.report().failures.len(), 1, "{}", exit.report());
}

fn a_hook_may_be_shielded_and_have_a_cleanup(config: Config) {
    let log = Log::default();
    let (a, b) = (log.clone(), log.clone());
    let hook = || async {
        yields(2).await;
        async { 1 }.shield().await;
        async { 1 }.on_cancel(async {}).await;
        sleep(millis(2)).await;
    };
    let program = Program::new(config)
        .on_stop(async move {
            hook().await;
            a.say("on_stop");
        })
        .on_stopped(async move {
            hook().await;
            b.say("on_stopped");
        });
    clean(&program.run(async {}));
    log.is(&["on_stop", "on_stopped"]);
}

fn hooks_do_not_run_when_the_start_fails(config: Config) {
    let program = Program::new(config)
        .timeout(std::time::Duration::ZERO)
        .on_stop(|| blow("it did not start"))
        .on_stopped(|| blow("it did not start"));
    let exit = program.run_pending();
    exits(&exit, 1);
    assert!(exit.report().failures.is_empty());
}

fn a_hook_of_an_ended_scope_is_dropped(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let ended = adjourn::scope("ended");
        ended.stop().await.unwrap();
        let dropped = said.on_drop("dropped");
        ended.on_stopped(move || {
            let _dropped = dropped;
            blow("does not run");
        });
        said.say("registered");
    });
    clean(&exit);
    log.is(&["dropped", "registered"]);
}
