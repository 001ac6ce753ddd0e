//! Sections of a task in which it is not cancelled, and cleanups that run when it is.
//!
//! A shield or cleanup **holds** the task that last polled it: the task is not dropped while it is
//! held. Cleanups nest: what is inside one holds it too, so that the innermost acts first. No
//! section allocates but a cleanup, whose count of holders is shared.

use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::contract::error::Place;
use crate::contract::report::FailureKind;
use crate::track::above::WAITING;
use crate::track::context::{self, Guard};
use crate::track::node::{Awaited, Node, Ticket};
use crate::track::table::{TaskRef, Word, flag};

/// One section's hold of the task that last polled it, and of the cleanup around it.
struct Hold {
    task: TaskRef,
    guard: Option<Arc<Guard>>,
    /// Whether the task counts it: it counts a million.
    counted: bool,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let guard = self.guard.as_ref();
        let freed = guard.filter(|guard| guard.holds.fetch_sub(1, SeqCst) == 1);
        let left = if self.counted { self.task.release() } else { self.task.live_word() };
        if !left.is_some_and(|left| left.has(flag::CANCEL)) {
            return;
        }
        // In its own poll the task looks by itself; from elsewhere it has to be woken to look. So has
        // the cleanup around this, which another part of the task may poll with a waker of its own.
        if freed.is_some() || context::task() != Some(self.task) {
            Node::wake_released(&self.task, freed.map(|guard| guard.id()));
        }
    }
}

/// What a section that is polled finds around it.
#[derive(Clone, Copy)]
struct Around {
    word: Word,
    shielded: bool,
}

/// Whether a stop that was asked for has yet to be carried out, by a driver that may need this
/// very thread.
fn is_stop_waiting() -> bool {
    if WAITING.load(SeqCst) == 0 || context::is_shielded() {
        return false;
    }
    let node = context::task().and_then(|task| task.node());
    node.is_some_and(|node| node.above().is_waiting())
}

impl Around {
    /// Looks without holding. `None` outside of tasks.
    fn look() -> Option<Around> {
        let task = context::task()?;
        Some(Around { word: task.word(), shielded: context::is_shielded() })
    }

    /// Makes `hold` one of the task and cleanup that poll now.
    fn hold(hold: &mut Option<Hold>) -> Option<Around> {
        let Some(task) = context::task() else {
            drop(hold.take());
            return None;
        };
        let shielded = context::is_shielded();
        let guard = context::guard();
        let same_guard = |other: &Option<Arc<Guard>>| match (&guard, other) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        if hold.as_ref().is_some_and(|held| held.task == task && same_guard(&held.guard)) {
            return Some(Around { word: task.word(), shielded });
        }
        let word = task.hold();
        if word.has(flag::CANCEL) || task.chunk().is_fired() {
            held_in_a_stop();
        }
        if let Some(guard) = &guard {
            guard.holds.fetch_add(1, SeqCst);
        }
        drop(hold.replace(Hold { task, guard, counted: !word.is_full() })); // may wake the task that polled it before
        Some(Around { word, shielded })
    }

    /// Whether the task is to be cancelled and nothing here keeps that from being seen.
    fn is_cancelled(self) -> bool {
        self.word.has(flag::CANCEL) && !self.shielded
    }
}

/// The task that is polled has come to be held, and may be one that is over: what it awaits and was
/// kept pending comes back. Asks for the task again, so that those pay nothing who are in no stop.
#[cold]
fn held_in_a_stop() {
    if let Some(task) = context::task() {
        Node::held(&task);
    }
}

/// Records a section that the future around it dropped half-way.
fn record_dropped(hold: &Option<Hold>, what: &str, place: Place) {
    let Some(hold) = hold else { return };
    // With its own task, and not with another's that it was given to.
    let ends_too = context::is_ending() && context::task() == Some(hold.task);
    if std::thread::panicking() || ends_too {
        return;
    }
    let Some(node) = hold.task.node() else { return };
    let origin = format!("{what} at {place} in {}", node.path());
    let advice = "the future around it (select!, a timeout) dropped it; spawn_shielded such work";
    node.above().failed(
        Some(&hold.task),
        FailureKind::ShieldDropped,
        origin,
        vec![advice.to_owned()],
        false,
    );
}

pin_project! {
    /// A section in which the enclosing task cannot be cancelled. From [`shield`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct Shield<F> {
        #[pin]
        future: F,
        hold: Option<Hold>,
        yielded: bool,
        place: Place,
    }

    impl<F> PinnedDrop for Shield<F> {
        fn drop(this: Pin<&mut Self>) {
            record_dropped(&this.hold, "shield", this.place);
        }
    }
}

/// Returns `future` as a section in which the enclosing task cannot be cancelled.
///
/// It runs in place, so it may borrow. A cancellation that comes meanwhile is seen at the task's
/// first yield after it; entering an outermost shield is itself a yield, so that
/// `loop { shield(..).await }` ends. The deadline bounds it: at the cut-off the section is dropped.
/// What is asked about the stop inside changes nothing: it makes no task graceful.
///
/// A task counts 1,048,575 shields and cleanups at once. Of more than that in one task each is bounded
/// by the counted ones: with those over, it holds the task no longer.
///
/// It defers the cancellation of the task, not the choice of a future around it to drop it
/// (`select!`, a timeout, a client that hangs up): that is recorded with this line in the report.
/// Use [`spawn_shielded`](crate::spawn_shielded) for work that must outlive its caller. Beside it,
/// in the same task, other branches go on.
///
/// # Examples
///
/// ```
/// use adjourn_core::shield;
/// # async fn debit(_: &str) {}
/// # async fn credit(_: &str) {}
///
/// /// A stop between the two steps waits for the second.
/// async fn transfer(from: &str, to: &str) {
///     shield(async {
///         debit(from).await;
///         credit(to).await;
///     })
///     .await;
/// }
/// ```
#[track_caller]
pub fn shield<F: Future>(future: F) -> Shield<F> {
    Shield { future, hold: None, yielded: false, place: Location::caller() }
}

impl<F: Future> Future for Shield<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.hold.is_none()
            && !mem::replace(this.yielded, true)
            && (Around::look().is_some_and(Around::is_cancelled) || is_stop_waiting())
        {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        _ = Around::hold(this.hold);
        let inside = context::inside_shield();
        let polled = this.future.poll(cx);
        drop(inside);
        if polled.is_ready() {
            drop(this.hold.take());
        }
        polled
    }
}

impl<F> fmt::Debug for Shield<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shield").field("place", &self.place).finish_non_exhaustive()
    }
}

/// What the work and the cleanup of one [`OnCancel`] share.
struct Section {
    guard: Arc<Guard>,
    hold: Option<Hold>,
    listening: Option<Listening>,
    place: Place,
}

/// The waiter, and the task and scope that it is in: a section may be polled elsewhere next.
struct Listening {
    task: TaskRef,
    node: Arc<Node>,
    ticket: Ticket,
}

impl Section {
    fn new(place: Place) -> Section {
        Section { guard: Arc::default(), hold: None, listening: None, place }
    }

    /// Polls the work; `Ready(None)` once it has to make way for the cleanup: it is dropped then,
    /// and the hold stays.
    fn poll_work<F: Future>(
        &mut self,
        mut work: Pin<&mut Option<F>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<F::Output>> {
        if self.hold.is_none() && Around::look().is_some_and(Around::is_cancelled) {
            return Poll::Pending; // it has not begun: there is nothing to clean up
        }
        let Some(future) = work.as_mut().as_pin_mut() else { return Poll::Pending };
        let around = Around::hold(&mut self.hold);
        if !self.is_due(around) {
            self.listen(cx);
            let outer = context::guard().map_or(0, |guard| guard.depth.load(SeqCst));
            self.guard.depth.store(outer + 1, SeqCst);
            let inside = context::inside_guard(self.guard.clone());
            let polled = future.poll(cx);
            drop(inside);
            if let Poll::Ready(output) = polled {
                work.set(None);
                self.release();
                return Poll::Ready(Some(output));
            }
            if !self.is_due(Around::look()) {
                return Poll::Pending;
            }
        }
        work.set(None);
        Poll::Ready(None)
    }

    /// Polls the cleanup, shielded; pending for ever once it is over, since the task is dropped.
    fn poll_cleanup<C: Future<Output = ()>>(
        &mut self,
        cleanup: Pin<&mut Option<C>>,
        cx: &mut Context<'_>,
    ) {
        let mut cleanup = cleanup;
        let Some(future) = cleanup.as_mut().as_pin_mut() else { return };
        _ = Around::hold(&mut self.hold);
        let inside = context::inside_shield();
        let polled = future.poll(cx);
        drop(inside);
        if polled.is_ready() {
            cleanup.set(None);
            self.release();
        }
    }

    fn is_due(&self, around: Option<Around>) -> bool {
        around.is_some_and(Around::is_cancelled) && self.guard.holds.load(SeqCst) == 0
    }

    /// A combinator with wakers of its own does not poll this when the task is woken: its waker is
    /// registered. With the task's own nothing is.
    fn listen(&mut self, cx: &mut Context<'_>) {
        let own = context::is_own_waker(cx.waker());
        let task = self.hold.as_ref().filter(|_| !own).map(|hold| hold.task);
        let kept = self.listening.as_ref().is_some_and(|before| Some(before.task) == task);
        if !kept {
            self.unlisten();
        }
        let Some(task) = task else { return };
        let (node, mut ticket) = match self.listening.take() {
            Some(Listening { node, ticket, .. }) => (Some(node), Some(ticket)),
            None => (task.node(), None),
        };
        let Some(node) = node else { return };
        let awaited = Awaited::Cancel(task, self.guard.id());
        _ = node.wait(&mut ticket, awaited, cx.waker().clone(), |_| false);
        self.listening = ticket.map(|ticket| Listening { task, node, ticket });
    }

    fn unlisten(&mut self) {
        if let Some(Listening { task, node, ticket }) = self.listening.take() {
            node.forget(Some(ticket), Awaited::Cancel(task, self.guard.id()));
        }
    }

    fn release(&mut self) {
        self.unlisten();
        drop(self.hold.take());
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        record_dropped(&self.hold, "on_cancel", self.place);
        self.release();
    }
}

pin_project! {
    /// A future with an async cleanup for when the enclosing task is cancelled inside it.
    ///
    /// From [`FutureExt::on_cancel`](crate::FutureExt::on_cancel).
    #[must_use = "futures do nothing unless awaited"]
    pub struct OnCancel<F, C> {
        #[pin]
        work: Option<F>,
        #[pin]
        cleanup: Option<C>,
        section: Section,
        cleaning: bool,
    }
}

impl<F, C> OnCancel<F, C> {
    pub(crate) fn new(work: F, cleanup: C, place: Place) -> OnCancel<F, C> {
        OnCancel {
            work: Some(work),
            cleanup: Some(cleanup),
            section: Section::new(place),
            cleaning: false,
        }
    }
}

impl<F: Future, C: Future<Output = ()>> Future for OnCancel<F, C> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if !*this.cleaning {
            match std::task::ready!(this.section.poll_work(this.work, cx)) {
                Some(output) => return Poll::Ready(output),
                None => *this.cleaning = true,
            }
        }
        this.section.poll_cleanup(this.cleanup, cx);
        Poll::Pending
    }
}

impl<F, C> fmt::Debug for OnCancel<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnCancel").field("cleaning", &self.cleaning).finish_non_exhaustive()
    }
}

/// Runs `work` with a resource and, when the enclosing task is cancelled inside it, `cleanup` with
/// the same resource, shielded, after `work`'s future is dropped.
///
/// For two that need one resource; [`on_cancel`](crate::FutureExt::on_cancel) is shorter where
/// they do not. The same rules hold.
///
/// # Cancel safety
///
/// Dropped by the future around it rather than by the task's cancellation, neither goes on; the
/// report has the line.
///
/// # Examples
///
/// ```
/// use adjourn_core::on_cancel_with;
///
/// # struct Connection;
/// # impl Connection {
/// #     async fn query(&mut self) -> u64 { 7 }
/// #     async fn reset(&mut self) {}
/// # }
/// async fn ask(connection: &mut Connection) -> u64 {
///     let query = async |connection: &mut Connection| connection.query().await;
///     let reset = async |connection: &mut Connection| connection.reset().await;
///     on_cancel_with(connection, query, reset).await
/// }
/// ```
#[track_caller]
pub fn on_cancel_with<R, T>(
    resource: &mut R,
    work: impl AsyncFnOnce(&mut R) -> T,
    cleanup: impl AsyncFnOnce(&mut R),
) -> impl Future<Output = T>
where
    R: ?Sized,
{
    let place = Location::caller();
    async move {
        let mut section = Section::new(place);
        let output = {
            let mut working = std::pin::pin!(Some(work(resource)));
            std::future::poll_fn(|cx| section.poll_work(working.as_mut(), cx)).await
        };
        if let Some(output) = output {
            return output;
        }
        let mut cleaning = std::pin::pin!(Some(cleanup(resource)));
        std::future::poll_fn(|cx| {
            section.poll_cleanup(cleaning.as_mut(), cx);
            Poll::Pending
        })
        .await
    }
}
