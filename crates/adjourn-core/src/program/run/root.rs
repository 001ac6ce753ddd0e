//! What the calling thread runs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::begin::begin_stop;
use crate::contract::error::{JoinError, Place, take_message};
use crate::contract::main_output::{MainEnd, MainOutput};
use crate::contract::options::Until;
use crate::contract::report::{FailureKind, Outcome, Reason, TaskKind};
use crate::contract::rt::{AnySleep, Timer};
use crate::program::Program;
use crate::program::driver::perform;
use crate::track::context;
use crate::track::node::{Node, Spawn};
use crate::track::stop::StopToken;
use crate::track::table::flag;
use crate::track::task::Tracked;

pin_project! {
    /// What the calling thread runs: `main`, and the driver's work where the driver cannot.
    pub(super) struct Root<F: Future> {
        #[pin]
        main: Option<Tracked<F>>,
        // The root, where `main` is plain and its first poll is not over.
        unpolled: Option<Arc<Node>>,
        program: Arc<Program>,
        // The executor goes on: what was cut off is waited for, since no end of it drops that.
        stays: bool,
        // Until when, where no thread tells that the deadline is near.
        patience: Option<(Duration, AnySleep)>,
    }

    impl<F: Future> PinnedDrop for Root<F> {
        fn drop(this: Pin<&mut Self>) {
            // Before the program's end it is its owner who drops `main`, and no stop.
            let this = this.project();
            let main = this.program.main.get().filter(|_| this.main.is_some());
            if let Some(main) = main.filter(|_| !this.program.is_finished()) {
                main.set(flag::ABORTED);
            }
        }
    }
}

impl Root<std::future::Ready<MainEnd>> {
    pub(super) fn new<M, F, K>(
        program: &Arc<Program>,
        kind: TaskKind,
        place: Place,
        stays: bool,
        main: M,
    ) -> Root<impl Future<Output = MainEnd>>
    where
        M: FnOnce(StopToken) -> F,
        F: Future,
        F::Output: MainOutput<K>,
    {
        let node = program.root();
        let mut spawn = Spawn::new(kind, place);
        spawn.name = Some(Box::new("main".into()));
        let task = node.register(spawn);
        if let Some(task) = &task {
            program.set_main(task);
        }
        // A stop that is asked for before the first poll finds it there, and tells it, if it asks.
        let unpolled = task.filter(|_| kind == TaskKind::Plain).map(|task| {
            node.begins(&task);
            node.clone()
        });
        let token = StopToken::new(node);
        let main = task.map(|task| {
            Tracked::new(task, async move {
                let end = main(token).await.into_end();
                let mark = match &end {
                    MainEnd::Returned(_) => 0,
                    MainEnd::Failed(_) => flag::FAILED,
                    MainEnd::Stopped => flag::STOPPED,
                };
                if let Some(task) = context::task().filter(|_| mark != 0) {
                    task.set(mark);
                }
                end
            })
        });
        Root { main, unpolled, program: program.clone(), stays, patience: None }
    }
}

impl<F: Future<Output = MainEnd>> Future for Root<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        this.program.set_root_waker(cx.waker());
        if this.program.is_summoned() {
            this.program.drive(perform);
        }
        if let Some(main) = this.main.as_mut().as_pin_mut() {
            let polled = main.poll(cx);
            if let Some(root) = this.unpolled.take() {
                root.has_begun();
            }
            if let Poll::Ready(end) = polled {
                this.main.set(None);
                main_ended(this.program, end.take());
            }
        }
        if !this.program.is_finished() {
            return Poll::Pending;
        }
        if !*this.stays || !this.program.awaits_drops() {
            return Poll::Ready(());
        }
        if !this.program.is_hosted() {
            return Poll::Pending;
        }
        let program = &*this.program;
        let until = program.near_deadline();
        if this.patience.as_ref().is_none_or(|(old, _)| *old != until) {
            let left = until.saturating_sub(program.now());
            *this.patience = Some((until, program.backend.sleep(left)));
        }
        let Some((_, sleep)) = this.patience else { return Poll::Pending };
        Pin::new(sleep).poll(cx)
    }
}

fn main_ended(program: &Arc<Program>, end: Result<MainEnd, JoinError>) {
    let failed = |kind, chain: Vec<String>| {
        let why = chain.join(": ");
        program.fail_and_stop(kind, "main".to_owned(), chain, Reason::MainFailed(why));
    };
    match end {
        Ok(MainEnd::Returned(code)) => program.main_ended(Outcome::Finished, code),
        Ok(MainEnd::Stopped) => program.main_ended(Outcome::Cancelled, None),
        Ok(MainEnd::Failed(chain)) => {
            program.main_ended(Outcome::Failed, None);
            failed(FailureKind::MainError, chain);
        }
        Err(error) => match error.try_into_panic() {
            Ok(payload) => {
                program.main_ended(Outcome::Panicked, None);
                failed(FailureKind::MainPanic, vec![take_message(payload)]);
            }
            Err(_) => program.main_ended(Outcome::Cancelled, None),
        },
    }
    match program.options.until {
        Until::MainReturns => program.stop(Reason::MainReturned),
        Until::Idle => {
            if program.idle() {
                // What is to end is mostly nothing: done here, `run` waits for no other thread's turn.
                begin_stop(program);
            }
        }
        Until::Stopped => {}
    }
}
