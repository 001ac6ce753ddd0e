//! Being told of a stop, and what asking about it means.
//!
//! A task asks about the stop when it waits for it or looks at it, at the token of its own scope, of
//! one above, or of the scope that `in_scope` or a nursery gives. From then on it is graceful:
//! [`Node::asked`]. Nothing is asked where [`context::asker`] says so, and nothing at the token of a
//! scope that has nothing to do with the task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use crate::contract::error::NoScope;
use crate::contract::report::Reason;
use crate::track::bell::Bell;
use crate::track::context;
use crate::track::node::{Awaited, Node, Ticket};
use crate::track::table::{Chunk, Mark, TaskRef, flag};

/// Says whether a scope has been asked to stop.
///
/// Level-triggered: who asks late is told at once. Cheap to clone, `'static`, and free to drop
/// unread.
///
/// # Who asks is graceful
///
/// A task that never asks about the stop is cancelled at its next yield once its scope stops. A task
/// that has asked is graceful from then on: it is told, and has until the drain limit to end by
/// itself. To ask is to wait ([`requested`](StopToken::requested),
/// [`until_stop`](crate::FutureExt::until_stop)) or to look ([`is_requested`](StopToken::is_requested),
/// [`wait_timeout`](StopToken::wait_timeout)), at a token of the task's own scope, of one above, or of
/// the scope that [`in_scope`](crate::FutureExt::in_scope) or a nursery gives. `main` is a task like
/// any other, but that it is always polled once before it is cancelled, and may ask in that poll.
///
/// It is not asking to take, clone, hand on or print a token, to [`peek`](StopToken::peek), or to read
/// the [`reason`](StopToken::reason) or the [`time_left`](StopToken::time_left). Nothing changes by what is asked inside a shield, a cleanup, a
/// hook or an [`interruptible`](crate::FutureExt::interruptible) future, by shielded
/// tasks and blocking jobs, or once it is decided that the task is cancelled: the answer is true, and
/// there is no more time.
///
/// A token of a scope above tells a task of its own scope's stop too: no task is graceful in a stop
/// that never tells it.
///
/// # Examples
///
/// ```
/// use adjourn_core::StopToken;
///
/// /// Goes on until the stop, and then says goodbye.
/// async fn greet() {
///     let stop = StopToken::current();
///     println!("hello");
///     stop.requested().await;
///     println!("goodbye, for this reason: {:?}", stop.reason());
/// }
/// ```
#[derive(Clone)]
pub struct StopToken {
    node: Arc<Node>,
    /// For whom it counts what is waited for outside of tasks, where no task called `requested`.
    taker: Counts,
}

/// For whom it counts what is waited for outside of tasks.
#[derive(Clone, Copy)]
enum Counts {
    /// For `main`.
    Main,
    /// For this task; the scope that was around it then was one that it may ask about, or not.
    Task(TaskRef, bool),
    /// For nobody: the token was given to a task that is graceful already, by this one.
    Given(Option<TaskRef>),
}

impl Counts {
    /// For the task that runs now, if there is one.
    fn here(node: &Arc<Node>) -> Option<Counts> {
        context::task().map(|task| Counts::Task(task, is_given(node)))
    }
}

impl StopToken {
    pub(crate) fn new(node: Arc<Node>) -> StopToken {
        let taker = Counts::here(&node).unwrap_or(Counts::Main);
        StopToken { node, taker }
    }

    /// The token that a graceful task is given when it is spawned.
    pub(crate) fn for_graceful(node: Arc<Node>) -> StopToken {
        StopToken { node, taker: Counts::Given(context::task()) }
    }

    /// Returns the token of the current scope.
    ///
    /// # Panics
    ///
    /// Outside of a program; [`try_current`](StopToken::try_current) asks first.
    #[track_caller]
    pub fn current() -> StopToken {
        match StopToken::try_current() {
            Ok(token) => token,
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns the token of the current scope.
    ///
    /// # Errors
    ///
    /// [`NoScope`] outside of a program.
    pub fn try_current() -> Result<StopToken, NoScope> {
        context::scope().map(StopToken::new).ok_or(NoScope)
    }

    /// Returns whether the scope has been asked to stop. The task that calls it is graceful from then
    /// on: [who asks](StopToken#who-asks-is-graceful).
    pub fn is_requested(&self) -> bool {
        ask(&self.node);
        self.peek()
    }

    /// Returns whether the scope has been asked to stop, without asking: the task that calls it stays
    /// what it is. For code that runs in the tasks of others, as a library's does.
    pub fn peek(&self) -> bool {
        self.node.is_fired() || is_own_fired(&self.node)
    }

    /// Returns a future that resolves once the scope has been asked to stop. The task that polls it is
    /// graceful from then on: [who asks](StopToken#who-asks-is-graceful).
    ///
    /// Polled outside of every task, by a framework that spawns it on the executor by itself, it counts
    /// for the task that called `requested`, else for the one that took the token, and for `main` where
    /// no task did either.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing: another one resolves at once.
    pub fn requested(&self) -> Requested {
        // In the closure that makes a graceful task its spawner runs.
        let giver = matches!(self.taker, Counts::Given(giver) if giver == context::task());
        let here = if giver { None } else { Counts::here(&self.node) };
        let maker = here.unwrap_or(self.taker);
        Requested { node: self.node.clone(), ticket: None, own: None, maker }
    }

    /// Returns the first cause of the program's stop; `None` before it, and when only this scope
    /// was asked to stop.
    pub fn reason(&self) -> Option<Reason> {
        if !self.peek() {
            return None;
        }
        self.node.above().reason()
    }

    /// Returns how much time is left until graceful work of this scope is cut off, by the program's
    /// clock. `None` before the stop and where nothing limits it. It does not ask.
    ///
    /// While scopes below this one have not ended its own share of the time is not known yet: then it is
    /// the time until the program's drain limit, which may turn out to be more than its share.
    pub fn time_left(&self) -> Option<Duration> {
        self.node.above().drain_left(&self.node)
    }

    /// Blocks the calling thread until the scope has been asked to stop, or `span` is over; returns
    /// whether it has. For blocking jobs and threads of one's own. In a task it asks, as
    /// [`is_requested`](StopToken::is_requested) does.
    ///
    /// Do not call it in async code: it blocks. [`requested`](StopToken::requested) is for that.
    pub fn wait_timeout(&self, span: Duration) -> bool {
        ask(&self.node);
        let start = Instant::now();
        let bell = Bell::new();
        let waker = Waker::from(bell.clone());
        let mut requested = self.requested();
        while !requested.is_told(&Context::from_waker(&waker)) {
            let left = span.saturating_sub(start.elapsed());
            if left.is_zero() {
                return false;
            }
            // A wait of years would overflow some clocks.
            bell.wait(left.min(Duration::from_secs(3600)));
        }
        true
    }
}

impl fmt::Debug for StopToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopToken")
            .field("scope", &self.node.path())
            .field("is_requested", &self.node.is_fired())
            .finish()
    }
}

/// Resolves once a scope has been asked to stop. From [`StopToken::requested`].
///
/// Polled by a task of the scope with the task's own waker, it registers nothing: the stop wakes
/// the task. Polled through a combinator that brings its own waker, it registers that.
#[must_use = "futures do nothing unless awaited"]
pub struct Requested {
    node: Arc<Node>,
    ticket: Option<Ticket>,
    /// The scope of the task that polls it, where that is below `node`.
    own: Option<Own>,
    /// For whom it counts where no task polls it.
    maker: Counts,
}

/// The scope of the task that polls a token of a scope above.
struct Own {
    node: Arc<Node>,
    ticket: Option<Ticket>,
}

impl Requested {
    /// Makes `own` the scope of the task that polls this, if that is below the token's.
    fn find_own(&mut self) {
        let Some((_, chunk)) = context::place() else { return };
        let known = self.own.as_ref().map_or(self.node.uid, |own| own.node.uid);
        if chunk.belongs_to(known) {
            return;
        }
        // Or where `in_scope` gives such a scope: there the task may ask too, so it is told.
        let own = context::task_node();
        let own = own.filter(|own| own.is_within(&self.node) || is_given(&self.node));
        self.forget_own();
        self.own = own.map(|node| Own { node, ticket: None });
    }

    fn forget_own(&mut self) {
        if let Some(Own { node, ticket }) = self.own.take() {
            node.forget(ticket, Awaited::Stop);
        }
    }

    /// Whether the scope has been asked to stop, or that of the task that polls this; if not, the waker
    /// is woken when it is.
    fn is_told(&mut self, cx: &Context<'_>) -> bool {
        self.find_own();
        if self.node.is_fired() {
            return true;
        }
        if let Some(Own { node, ticket }) = &mut self.own {
            if is_told(node, ticket, cx) {
                return true;
            }
        }
        is_told(&self.node, &mut self.ticket, cx)
    }
}

impl Future for Requested {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        match context::place() {
            // The task's own scope, and mostly its own waker: nothing is registered.
            Some((mark, chunk)) if chunk.belongs_to(this.node.uid) => {
                ask_own(mark, chunk);
                if chunk.is_fired() {
                    return Poll::Ready(());
                }
                match watch(mark, chunk, cx) {
                    Some(true) => return Poll::Ready(()),
                    Some(false) => return Poll::Pending,
                    None => {}
                }
            }
            Some(_) => ask(&this.node),
            None if context::is_quiet() => {}
            None => ask_for(this.maker, &this.node),
        }
        if this.is_told(cx) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Whether the scope has been asked to stop; if not, the task that is polled is woken when it is.
fn is_told(node: &Arc<Node>, ticket: &mut Option<Ticket>, cx: &Context<'_>) -> bool {
    let own = context::place().filter(|(_, chunk)| chunk.belongs_to(node.uid));
    if own.is_some_and(|(mark, chunk)| watch(mark, chunk, cx).is_some()) {
        return node.is_fired();
    }
    !node.wait(ticket, Awaited::Stop, cx.waker().clone(), |_| node.is_fired())
}

/// The running code asks about the stop of `node`.
#[inline]
fn ask(node: &Arc<Node>) {
    if let Some((mark, chunk)) = context::asker() {
        if !mark.load().has(flag::PAST_ASKING) {
            ask_first(TaskRef::running(mark, chunk), node);
        }
    }
}

/// The running code, of the task that is at this place, asks about the stop of its own scope.
#[inline]
pub(super) fn ask_own(mark: &'static Mark, chunk: &'static Chunk) {
    if !mark.load().has(flag::PAST_ASKING) {
        ask_own_first(mark, chunk);
    }
}

#[cold]
fn ask_own_first(mark: &'static Mark, chunk: &'static Chunk) {
    if context::asker().is_some() {
        Node::asked(&TaskRef::running(mark, chunk));
    }
}

/// The task's first ask.
#[cold]
fn ask_first(task: TaskRef, node: &Arc<Node>) {
    if concerns(&task, node) || is_given(node) {
        Node::asked(&task);
    }
}

/// Something that was spawned past Adjourn waits for the stop: it counts for the task that had it
/// wait, or for `main`.
#[cold]
fn ask_for(maker: Counts, node: &Arc<Node>) {
    match maker {
        Counts::Task(task, given) if given || concerns(&task, node) => Node::asked(&task),
        Counts::Task(..) | Counts::Given(_) => {}
        Counts::Main => {
            if let Some(main) = node.above().main() {
                Node::asked(&main);
            }
        }
    }
}

/// Whether the task is in this scope or in one below it.
fn concerns(task: &TaskRef, node: &Arc<Node>) -> bool {
    task.chunk().belongs_to(node.uid) || task.node().is_some_and(|own| own.is_within(node))
}

/// Whether `in_scope` or a nursery gives this scope, or one below it, to what is polled.
fn is_given(node: &Arc<Node>) -> bool {
    context::is_in_scope() && context::scope().is_some_and(|given| given.is_within(node))
}

/// Whether the task that is polled may ask here and is in a scope that has been asked to stop alone.
fn is_own_fired(node: &Arc<Node>) -> bool {
    let told = context::place().is_some_and(|(_, chunk)| chunk.is_fired());
    told && context::task_node().is_some_and(|own| own.is_within(node) || is_given(node))
}

/// Notes on the task that is polled, if the waker is its own, that it is to be woken when its scope is
/// asked to stop. Returns whether it has been by now; `None` if nothing is noted.
#[inline]
pub(super) fn watch(mark: &Mark, chunk: &Chunk, cx: &Context<'_>) -> Option<bool> {
    if !context::is_own_waker(cx.waker()) {
        return None;
    }
    // Set before the token is looked at: the stop fires first and collects then.
    mark.note(flag::WATCH);
    Some(chunk.is_fired())
}

impl Drop for Requested {
    fn drop(&mut self) {
        self.forget_own();
        self.node.forget(self.ticket, Awaited::Stop);
    }
}

impl fmt::Debug for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requested").field("scope", &self.node.path()).finish_non_exhaustive()
    }
}

/// Returns whether the current scope was asked to stop, by a token of it made at the first call.
#[cold]
pub(super) fn poll_stop(stop: &mut Option<Requested>, cx: &mut Context<'_>) -> bool {
    if stop.is_none() {
        *stop = StopToken::try_current().ok().map(|token| token.requested());
    }
    match stop {
        Some(stop) => Pin::new(stop).poll(cx).is_ready(),
        // Outside of a program nobody can ask: it waits for the future alone.
        None => false,
    }
}

pin_project! {
    /// A future in which asking about the stop changes nothing.
    ///
    /// From [`FutureExt::interruptible`](crate::FutureExt::interruptible).
    #[must_use = "futures do nothing unless awaited"]
    pub struct Interruptible<F> {
        #[pin]
        future: F,
    }
}

impl<F> Interruptible<F> {
    pub(crate) fn new(future: F) -> Interruptible<F> {
        Interruptible { future }
    }
}

impl<F: Future> Future for Interruptible<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _quiet = context::inside_quiet();
        self.project().future.poll(cx)
    }
}

impl<F> fmt::Debug for Interruptible<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interruptible").finish_non_exhaustive()
    }
}
