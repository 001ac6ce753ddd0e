//! The driver: performs what the machine decides.
//!
//! A task of the program's own executor, since waking and spawning is cheapest there. Should it not
//! come to run, because every worker is stuck, the thread that called `run` performs the actions in
//! its place: [`perform`] is the same for both.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::contract::error::{drop_quietly, take_message};
use crate::contract::hook::Hook;
use crate::contract::report::{FailureKind, Outcome, TaskKind};
use crate::contract::rt::{AnySleep, SignalSource, Spawner, Timer};
use crate::phase::Action;
use crate::program::untracked::Helper;
use crate::program::{Answer, Program};
use crate::track::context;
use crate::track::node::{Node, Spawn};
use crate::track::task;

pub(crate) struct Driver {
    program: Arc<Program>,
    sources: Vec<Box<dyn SignalSource>>,
    /// The next soft limit, and the sleep until it.
    limit: Option<(Duration, Pin<Box<AnySleep>>)>,
    _helper: Helper,
}

impl Driver {
    pub(crate) fn new(program: &Arc<Program>, sources: Vec<Box<dyn SignalSource>>) -> Driver {
        Driver { program: program.clone(), sources, limit: None, _helper: Helper::new(program) }
    }

    fn hear(&mut self, cx: &mut Context<'_>) {
        let program = &self.program;
        let mut over = Vec::new();
        for (index, source) in self.sources.iter_mut().enumerate() {
            loop {
                let next = || {
                    let signal = source.poll_signal(cx);
                    signal.map(|signal| Some((signal?, source.grace(signal?))))
                };
                match catch_unwind(AssertUnwindSafe(next)) {
                    Ok(Poll::Ready(Some((signal, None)))) => program.hear(signal, 1),
                    Ok(Poll::Ready(Some((signal, Some(left))))) => program.hear_last(signal, left),
                    Ok(Poll::Pending) => break,
                    Ok(Poll::Ready(None)) => {
                        over.push(index);
                        break;
                    }
                    Err(payload) => {
                        let chain = vec![take_message(payload)];
                        program.fail(FailureKind::HookPanic, "signal_source".to_owned(), chain);
                        over.push(index);
                        break;
                    }
                }
            }
        }
        for index in over.into_iter().rev() {
            drop_quietly(self.sources.remove(index));
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The sources are the user's; the executor is not to see their panics.
        for source in self.sources.drain(..) {
            drop_quietly(source);
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.program.set_driver(cx.waker());
        this.hear(cx);
        this.program.tell_heard();
        this.program.react();
        this.program.tell_here();
        loop {
            let next = this.program.drive(perform);
            if this.program.is_finished() {
                return Poll::Ready(());
            }
            let Some(next) = next else {
                this.limit = None;
                return Poll::Pending;
            };
            // A sleep that is over too early is renewed then. So scopes that are stopped one after the
            // other need no timer each. Where a host keeps the time each timer counts: it is exact there.
            let early =
                |limit| if this.program.is_hosted() { limit == next } else { limit <= next };
            if this.limit.as_ref().is_none_or(|(limit, _)| !early(*limit)) {
                let left = next.saturating_sub(this.program.now());
                this.limit = Some((next, Box::pin(this.program.backend.sleep(left))));
            }
            let Some((_, sleep)) = this.limit.as_mut() else { return Poll::Pending };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.limit = None;
        }
    }
}

/// Performs one action.
pub(crate) fn perform(program: &Arc<Program>, action: Action, node: Option<Arc<Node>>) -> Answer {
    let Some(node) = node else {
        match action {
            Action::LameDuck => program.unready(),
            Action::Finish => program.finish(),
            _ => {} // of a scope that has ended
        }
        return Answer::Nothing;
    };
    match action {
        Action::Fire(_) => fire(program, &node),
        Action::Cancel(_) => {
            let overdue = program.note_overdue(&node);
            node.cancel();
            program.tell_overdue(overdue);
        }
        Action::CutOff(_) => {
            program.add_stragglers(node.cut_off());
            return Answer::Nothing;
        }
        Action::Close(_) => {
            close(program, node);
            return Answer::Nothing;
        }
        Action::LameDuck | Action::End(_) | Action::Finish => return Answer::Nothing,
    }
    Answer::Tasks(node)
}

fn fire(program: &Arc<Program>, node: &Arc<Node>) {
    if node.is_root() {
        program.unready();
        for hook in program.take_on_stop() {
            // A graceful task: the drain waits for it. Before the token fires, so that no hook can
            // be late for the first count of graceful tasks.
            let mut spawn = Spawn::new(TaskKind::Graceful, hook.place);
            spawn.name = Some(Box::new("on_stop".into()));
            let key = program.hook_begins("on_stop", hook.place, node, None);
            let (run, inner) =
                (run_hook(program.clone(), node.clone(), "on_stop", hook, false), program.clone());
            let hook = async move {
                let mut runs = OnStop { program: inner, key, outcome: Outcome::Cancelled };
                runs.outcome = run.await;
            };
            drop(task::start(node, &program.backend, spawn, hook));
        }
    }
    node.fire();
}

/// A hook at the stop that runs: a graceful task. Where it is cut off, the report tells of it as of any
/// other; where the end is forced, as of a hook.
struct OnStop {
    program: Arc<Program>,
    key: usize,
    outcome: Outcome,
}

impl Drop for OnStop {
    fn drop(&mut self) {
        if !self.program.is_forced() {
            self.program.hook_ends(self.key, self.outcome.clone());
        }
    }
}

/// Runs the hooks of a scope in which nothing is alive, or all of that is cut off, and those that are
/// registered meanwhile: the last one first.
fn close(program: &Arc<Program>, node: Arc<Node>) {
    let mut hooks = node.take_hooks();
    let apart = program.lock().machine.ends_apart(node.id);
    let hooks = {
        let program = program.clone();
        async move {
            let mut before = None;
            loop {
                let mut new = node.take_hooks();
                let late = !new.is_empty();
                hooks.append(&mut new);
                let Some(hook) = hooks.pop() else {
                    if let Some((key, outcome)) = before.take() {
                        program.hook_ends(key, outcome);
                    }
                    if program.hooks_ran(&node) {
                        return;
                    }
                    continue;
                };
                let key = program.hook_begins("on_stopped", hook.place, &node, before.take());
                if late {
                    // One that registers itself again and again is cut off as one that does not end.
                    program.backend.sleep(Duration::ZERO).await; // a yield
                }
                let run = run_hook(program.clone(), node.clone(), "on_stopped", hook, apart);
                before = Some((key, Privileged(Box::pin(run), node.clone()).await));
            }
        }
    };
    drop(program.backend.spawn(Closing::new(program, hooks)));
}

/// The hooks of one scope. Given up at the program's end; never unwinds into the executor.
struct Closing {
    program: Arc<Program>,
    hooks: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _helper: Helper,
}

impl Future for Closing {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.program.is_finished() {
            self.give_up();
        }
        let Some(hooks) = self.hooks.as_mut() else { return Poll::Ready(()) };
        let polled = hooks.as_mut().poll(cx);
        if polled.is_ready() {
            self.give_up();
        }
        polled
    }
}

impl Closing {
    fn new(program: &Arc<Program>, hooks: impl Future<Output = ()> + Send + 'static) -> Closing {
        let hooks: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(hooks);
        Closing { program: program.clone(), hooks: Some(hooks), _helper: Helper::new(program) }
    }

    fn give_up(&mut self) {
        drop_quietly(self.hooks.take());
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Runs a hook; its error or panic is recorded and goes no further. `apart`: the end of its scope is none of
/// the program's.
async fn run_hook(
    program: Arc<Program>,
    node: Arc<Node>,
    what: &'static str,
    hook: Hook,
    apart: bool,
) -> Outcome {
    let place = hook.place;
    let mut hook = Some(hook);
    let mut future = None;
    let failure = std::future::poll_fn(move |cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| {
            if let Some(hook) = hook.take() {
                future = Some(hook.start());
            }
            match future.as_mut() {
                Some(running) => running.as_mut().poll(cx),
                None => Poll::Ready(Ok(())),
            }
        }));
        let failure = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(()))) => None,
            Ok(Poll::Ready(Err(chain))) => Some((FailureKind::HookError, chain)),
            Err(payload) => Some((FailureKind::HookPanic, vec![take_message(payload)])),
        };
        // Its destructor is the user's too.
        match catch_unwind(AssertUnwindSafe(|| future = None)) {
            Ok(()) => Poll::Ready(failure),
            Err(payload) => {
                let chain = vec![take_message(payload)];
                Poll::Ready(failure.or(Some((FailureKind::HookPanic, chain))))
            }
        }
    })
    .await;
    let Some((kind, chain)) = failure else { return Outcome::Finished };
    let origin = format!("{what} of {}, registered at {place}", node.path());
    program.fail_in_hook(kind, origin, chain, apart);
    if kind == FailureKind::HookError { Outcome::Failed } else { Outcome::Panicked }
}

/// A hook's future in the context of its scope: it may spawn shielded work and jobs.
struct Privileged<F>(Pin<Box<F>>, Arc<Node>);

impl<F: Future> Future for Privileged<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _scope = context::inside_scope(self.1.clone());
        let _shields = context::inside_shield();
        self.0.as_mut().poll(cx)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::future::pending;
    use std::task::Waker;

    use super::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "a destructor");
        }
    }

    #[test]
    fn hooks_that_are_given_up_may_panic_when_they_are_dropped() {
        let program = crate::tests::nowhere::program(false);
        let closing = || {
            let bomb = Bomb;
            let hooks = async move {
                pending::<()>().await;
                drop(bomb);
            };
            Closing::new(&program, hooks)
        };
        let mut cx = Context::from_waker(Waker::noop());
        let mut given_up = Box::pin(closing());
        assert!(given_up.as_mut().poll(&mut cx).is_pending());
        drop(closing()); // by the executor
        program.finish();
        assert!(given_up.as_mut().poll(&mut cx).is_ready());
        program.conclude();
    }
}
