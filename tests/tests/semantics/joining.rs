//! What is over does not come back: awaiting the handle of what the stop refused or cancelled.

use std::borrow::Cow;
use std::error::Error;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use adjourn::{
    FutureExt, JoinHandle, Outcome, Scope, StopToken, scope, shield, spawn, spawn_graceful,
    spawn_shielded,
};
use futures_util::future::join;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::harness::*;

scenarios![
    a_task_may_await_one_whose_output_has_a_lifetime_in_its_type,
    a_plain_task_does_not_come_back_from_what_the_stop_cancelled,
    a_loop_that_awaits_what_it_spawns_ends_in_order,
    the_error_is_kept_for_who_polls_next,
    who_asked_gets_the_error,
    who_is_not_to_be_cancelled_gets_the_error,
    who_asks_after_the_await_was_kept_pending_gets_the_error,
    whom_a_shield_comes_to_hold_gets_the_error,
    a_stop_of_another_scope_is_news,
    a_stop_of_another_program_is_news,
    an_abort_while_the_program_drains_is_told_apart,
];

/// It compiles: whether a task is `Send` is checked with all lifetimes erased.
fn a_task_may_await_one_whose_output_has_a_lifetime_in_its_type(config: Config) {
    type Parsed = Result<u32, Box<dyn Error + Send + Sync>>;
    async fn parse(text: &str) -> Parsed {
        Ok(text.parse()?)
    }
    async fn all_of<B>(scope: Scope<B>) -> u32
    where
        B: adjourn::rt::SpawnBlocking + adjourn::rt::Backend,
    {
        let outer = scope.clone();
        let all = outer.spawn(async move {
            let parsed = scope.spawn(parse("1")).await.unwrap().unwrap();
            let text: &'static str = scope.spawn(async { "two" }).await.unwrap();
            let job = scope.spawn_blocking(|| -> Parsed { Ok("3".parse()?) });
            parsed + text.len() as u32 + job.await.unwrap().unwrap()
        });
        all.await.unwrap()
    }
    let exit = Program::new(config).run(async {
        let all = spawn(async {
            let parsed = spawn(parse("1")).await.unwrap().unwrap();
            let no_number = spawn_shielded(parse("x")).await.unwrap().unwrap_err();
            assert!(no_number.to_string().contains("invalid digit"), "{no_number}");
            let text: Cow<'static, str> = spawn(async { "two".into() }).await.unwrap();
            let job = adjourn::spawn_blocking(|| -> Parsed { Ok("3".parse()?) });
            parsed + text.len() as u32 + job.await.unwrap().unwrap()
        });
        assert_eq!(all.await.unwrap(), 7);
        assert_eq!(all_of(Scope::current()).await, 7);
    });
    clean(&exit);
}

/// A task that stays, in a scope below the current one. Once the stop has cancelled it, another goes on
/// for a while, so that nothing of the current scope is cancelled yet.
async fn cancelled_first() -> JoinHandle<()> {
    let (there, told, gone) = (Gate::new(), Gate::new(), Gate::new());
    let (begins, waits, ends) = (there.clone(), told.clone(), gone.clone());
    scope("beside").spawn_graceful(|stop| async move {
        waits.open();
        stop.requested().await;
        ends.wait().await;
        yields(200).await;
    });
    let handle = scope("below").spawn(async move {
        let _open = OpenOnDrop(gone);
        begins.open();
        pending::<()>().await;
    });
    there.wait().await;
    told.wait().await;
    handle
}

/// Has the program drain until the gate is open: so long nothing of the current scope is cancelled.
async fn drains_until(done: &Gate) {
    let (there, done) = (Gate::new(), done.clone());
    let waits = there.clone();
    scope("beside").spawn_graceful(|stop| async move {
        waits.open();
        stop.requested().await;
        done.wait().await;
    });
    there.wait().await;
}

struct OpenOnDrop(Gate);

impl Drop for OpenOnDrop {
    fn drop(&mut self) {
        self.0.open();
    }
}

fn a_plain_task_does_not_come_back_from_what_the_stop_cancelled(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let handle = cancelled_first().await;
        stopper.stop();
        handle.await.unwrap();
    });
    clean(&exit);
    assert_eq!(exit.report().main, Some(Outcome::Cancelled));
}

fn a_loop_that_awaits_what_it_spawns_ends_in_order(config: Config) {
    for round in 0..20 {
        let program = Program::new(config);
        let stopper = program.stopper();
        let exit = program.run(async move {
            for turn in 0_u64.. {
                if turn == round {
                    let stopper = stopper.clone();
                    thread::spawn(move || stopper.stop());
                }
                // As a task does that computes.
                thread::sleep(millis(1));
                match turn % 3 {
                    0 => spawn(async {}).await.unwrap(),
                    1 => spawn_shielded(async {}).await.unwrap(),
                    _ => spawn_graceful(|_| async {}).await.unwrap(),
                }
            }
        });
        clean(&exit);
        assert_eq!(exit.report().main, Some(Outcome::Cancelled));
    }
}

fn the_error_is_kept_for_who_polls_next(config: Config) {
    let kept: Arc<Mutex<Option<JoinHandle<()>>>> = Arc::default();
    let program = Program::new(config);
    let (stopper, keeps) = (program.stopper(), kept.clone());
    let exit = program.run(async move {
        let handle = cancelled_first().await;
        *keeps.lock().unwrap() = Some(handle);
        stopper.stop();
        let come_back: Result<(), adjourn::JoinError> = std::future::poll_fn(|cx| {
            let mut handle = keeps.lock().unwrap();
            pin!(handle.as_mut().unwrap()).poll(cx)
        })
        .await;
        panic!("{come_back:?} is news to nobody");
    });
    clean(&exit);
    let handle = kept.lock().unwrap().take().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    // On async-std the executor goes on, and tells the handle when it comes to it.
    let mut handle = pin!(handle);
    let error = loop {
        match handle.as_mut().poll(&mut cx) {
            Poll::Ready(result) => break result.unwrap_err(),
            Poll::Pending => thread::sleep(millis(1)),
        }
    };
    assert!(error.is_cancelled() && !error.is_refused(), "{error}");
    assert!(handle.as_mut().poll(&mut cx).is_pending(), "it is told once");
}

fn who_asked_gets_the_error(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        assert!(!StopToken::current().is_requested());
        let (below, there) = (scope("below"), Gate::new());
        let begins = there.clone();
        let handle = below.spawn(async move {
            begins.open();
            pending::<()>().await;
        });
        there.wait().await;
        stopper.stop();
        let error = handle.await.unwrap_err();
        assert!(error.is_cancelled() && !error.is_refused(), "{error}");
        // It is over by now, and takes no more.
        _ = below.stop().await;
        let error = below.spawn(async {}).await.unwrap_err();
        assert!(error.is_refused(), "{error}");
        said.say("handled");
    });
    clean(&exit);
    log.is(&["handled"]);
    assert_eq!(exit.report().main, Some(Outcome::Finished));
}

fn who_is_not_to_be_cancelled_gets_the_error(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let stopper = program.stopper();
    let [in_shield, in_task, in_cleanup, in_hook] = [(); 4].map(|()| log.clone());
    let exit = program
        .on_stopped(async move || {
            let error = spawn(async {}).await.unwrap_err();
            assert!(error.is_refused(), "{error}");
            in_hook.say("hook");
        })
        .run(async move {
            let (below, gates) = (scope("below"), [(); 3].map(|()| Gate::new()));
            let stays = |there: &Gate| {
                let there = there.clone();
                below.spawn(async move {
                    there.open();
                    pending::<()>().await;
                })
            };
            let [first, second, third] = [0, 1, 2].map(|which: usize| stays(&gates[which]));
            spawn(async move {
                shield(async {
                    assert!(first.await.unwrap_err().is_cancelled());
                    in_shield.say("shield");
                })
                .await;
                pending::<()>().await;
            });
            spawn_shielded(async move {
                assert!(second.await.unwrap_err().is_cancelled());
                in_task.say("task");
            });
            let begun = Gate::new();
            let begins = begun.clone();
            let work = async move {
                begins.open();
                pending::<()>().await;
            };
            spawn(work.on_cancel(async move {
                assert!(third.await.unwrap_err().is_cancelled());
                in_cleanup.say("cleanup");
            }));
            begun.wait().await;
            for there in gates {
                there.wait().await;
            }
            yields(3).await;
            stopper.stop();
            pending::<()>().await;
        });
    succeeded(&exit);
    for who in ["shield", "task", "cleanup", "hook"] {
        log.at(who);
    }
}

/// A plain main in which one part awaits what the stop has cancelled, and another comes to keep the
/// task and waits for the first. `combine` polls both.
fn comes_back<F>(config: Config, keeps: fn(Gate) -> Moved, combine: impl FnOnce(Moved, Moved) -> F)
where
    F: Future<Output = ()>,
{
    let log = Log::default();
    let program = Program::new(config).endless();
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let (there, gone, done) = (Gate::new(), Gate::new(), Gate::new());
        let (begins, leaves) = (there.clone(), gone.clone());
        drains_until(&done).await;
        let handle = scope("below").spawn(async move {
            let _open = OpenOnDrop(leaves);
            begins.open();
            pending::<()>().await;
        });
        there.wait().await;
        stopper.stop();
        let back = done.clone();
        let first = async move {
            assert!(handle.await.unwrap_err().is_cancelled());
            said.say("came back");
            back.open();
        };
        let second = async move {
            gone.wait().await;
            yields(50).await; // the handle has been told by then
            keeps(done).await;
        };
        combine(Box::pin(first), Box::pin(second)).await;
    });
    clean(&exit);
    log.is(&["came back"]);
}

/// Polls those parts alone that were woken.
async fn by_wakers(first: Moved, second: Moved) {
    let mut parts: FuturesUnordered<_> = [first, second].into_iter().collect();
    while parts.next().await.is_some() {}
}

/// Polls both parts by the task's own waker, and that alone.
async fn together(first: Moved, second: Moved) {
    join(first, second).await;
}

fn who_asks_after_the_await_was_kept_pending_gets_the_error(config: Config) {
    let asks = |done: Gate| -> Moved {
        Box::pin(async move {
            assert!(StopToken::current().is_requested());
            done.wait().interruptible().await;
        })
    };
    comes_back(config, asks, by_wakers);
    comes_back(config, asks, together);
}

fn whom_a_shield_comes_to_hold_gets_the_error(config: Config) {
    let shields = |done: Gate| -> Moved { Box::pin(shield(async move { done.wait().await })) };
    comes_back(config, shields, by_wakers);
    comes_back(config, shields, together);
}

fn a_stop_of_another_scope_is_news(config: Config) {
    let exit = Program::new(config).run(async {
        let (other, there) = (scope("other"), Gate::new());
        let begins = there.clone();
        let handle = other.spawn(async move {
            begins.open();
            pending::<()>().await;
        });
        there.wait().await;
        _ = other.stop().await;
        // Main is plain and has not been told of a stop.
        assert!(handle.await.unwrap_err().is_cancelled());
        assert!(other.spawn(async {}).await.unwrap_err().is_refused());
    });
    clean(&exit);
    assert_eq!(exit.report().main, Some(Outcome::Finished));
}

fn a_stop_of_another_program_is_news(config: Config) {
    let (log, other) = (Log::default(), Arc::new(Mutex::new(None)));
    let keeps = other.clone();
    let program = Program::new(config);
    let stopper = program.stopper();
    clean(&program.run(async move {
        let there = Gate::new();
        let begins = there.clone();
        let handle = spawn(async move {
            begins.open();
            pending::<()>().await;
        });
        there.wait().await;
        *keeps.lock().unwrap() = Some(handle);
        stopper.stop();
    }));
    let program = Program::new(config).endless();
    let (stopper, said) = (program.stopper(), log.clone());
    clean(&program.run(async move {
        let done = Gate::new();
        drains_until(&done).await;
        stopper.stop();
        let handle = other.lock().unwrap().take().unwrap();
        while !StopToken::current().peek() {
            yields(1).await; // it has to be told first
        }
        assert!(handle.await.unwrap_err().is_cancelled());
        said.say("came back");
        done.open();
    }));
    log.is(&["came back"]);
}

fn an_abort_while_the_program_drains_is_told_apart(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let (there, told, back) = (Gate::new(), Gate::new(), Gate::new());
        let (begins, tells, waits) = (there.clone(), told.clone(), back.clone());
        spawn_graceful(|stop| async move {
            begins.open();
            stop.requested().await;
            tells.open();
            waits.wait().await; // so long nobody is cancelled by the stop
        });
        spawn(async move {
            told.wait().await;
            let aborted = spawn(pending::<()>());
            aborted.abort();
            // Plain, and told; yet this is not the stop's doing.
            assert!(aborted.await.unwrap_err().is_cancelled());
            said.say("came back");
            back.open();
        });
        there.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["came back"]);
}
