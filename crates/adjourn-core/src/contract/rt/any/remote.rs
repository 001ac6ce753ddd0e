//! How the output of an erased future comes to its handle.
//!
//! The box that holds the future also brings its output: finished, the box itself is what the executor's
//! task returns, and it is opened by whoever knows the output's type. A [`Remote`] is for executors whose
//! tasks return nothing: it puts the box into a slot that the handle reads. Slots are used again and never
//! freed; each thread keeps some at hand.
//!
//! Invariants of [`Slot`]:
//! 1. It is owned by its remote and its handle together and given back by whichever ends last, as
//!    `Waiting(None)`.
//! 2. Nothing is dropped or woken while its lock is held: what leaves it is returned first.

use std::any::Any;
use std::fmt;
use std::future::{Future, Ready};
use std::mem;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use smallbox::space::S2;
use smallbox::{SmallBox, smallbox};
use sync_wrapper::SyncWrapper;

use crate::contract::error::{ExecutorGone, drop_quietly};
use crate::contract::rt::Spawner;
use crate::sync::{Mutex, MutexGuard};

/// Resolves to the output of a future spawned on [`AnyBackend`](crate::AnyBackend). Dropped, it
/// detaches.
///
/// Polled again once it has resolved, it does what the executor's own handle does then: Tokio's panics. A
/// [`JoinHandle`](crate::JoinHandle) stays pending.
pub struct AnyHandle<T>(Source<T>);

/// Where the output comes from.
enum Source<T> {
    /// A box that has it, and who opens that.
    Boxed(Carrier, fn(Carried) -> Option<T>),
    /// A handle of the executor's own. Those of up to two words are kept in place.
    Own(SmallBox<dyn Own<T>, S2>),
}

/// Resolves to the box that was spawned, with the output in it.
pub(super) type Carrier = SmallBox<dyn Own<Carried>, S2>;

/// The future of a spawn, and later its output.
pub(super) type Carried = Pin<Box<dyn Parcel>>;

/// A handle.
pub(super) trait Own<T>:
    Future<Output = Result<T, ExecutorGone>> + Send + Sync + Unpin
{
}

impl<T, H: Future<Output = Result<T, ExecutorGone>> + Send + Sync + Unpin> Own<T> for H {}

/// The handle's half of a slot.
struct Receiver {
    /// None once it is over.
    slot: Option<&'static Slot>,
}

/// What an executor runs of which something comes back: the box itself.
struct Carry(Option<Carried>);

/// A handle that need not be `Sync`: it is only ever reached through `&mut`.
struct Exclusive<H>(SyncWrapper<H>);

impl<H: Future + Unpin> Future for Exclusive<H> {
    type Output = H::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<H::Output> {
        Pin::new(self.0.get_mut()).poll(cx)
    }
}

/// Spawns a box on a backend.
pub(super) fn carry<B: Spawner>(backend: &B, carried: Carried) -> Carrier {
    if size_of::<Exclusive<B::Handle<Carried>>>() <= size_of::<S2>() {
        return smallbox!(Exclusive(SyncWrapper::new(backend.spawn(Carry(Some(carried))))));
    }
    // To keep such a handle would cost an allocation; a slot costs none.
    let (remote, receiver) = Remote::carrying(Some(carried));
    drop(backend.spawn(remote));
    smallbox!(receiver)
}

impl Future for Carry {
    type Output = Carried;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Carried> {
        let polled = self.0.as_mut().map(|carried| carried.as_mut().poll(cx));
        match polled.and_then(|polled| if polled.is_ready() { self.0.take() } else { None }) {
            Some(carried) => Poll::Ready(carried),
            None => Poll::Pending,
        }
    }
}

impl Drop for Carry {
    fn drop(&mut self) {
        if let Some(carried) = self.0.take() {
            drop_quietly(carried); // by the executor, which is not to see its panics
        }
    }
}

impl<T: 'static> AnyHandle<T> {
    /// A handle of an executor's own, as one of any executor's. It must do what a
    /// [`Spawner::Handle`](crate::rt::Spawner::Handle) does.
    ///
    /// One of the size of two pointers at the most costs no allocation.
    #[inline]
    pub fn own<H>(handle: H) -> AnyHandle<T>
    where
        H: Future<Output = Result<T, ExecutorGone>> + Send + Sync + Unpin + 'static,
    {
        AnyHandle(Source::Own(smallbox!(handle)))
    }
}

/// What an executor runs for a spawn: a future that brings its output to a handle.
///
/// For adapters of executors whose own handle cancels when it is dropped, or that have none. It keeps
/// what the contract asks of a handle: dropped, it detaches; and where the executor drops the future
/// it resolves to [`ExecutorGone`]. One allocation.
///
/// # Examples
///
/// ```
/// use adjourn_core::rt::{AnyHandle, Remote, Spawner};
///
/// /// The executor's own `spawn`, of which nothing comes back.
/// fn execute(_: impl Future<Output = ()> + Send + 'static) {}
///
/// #[derive(Clone)]
/// struct Mine;
///
/// impl Spawner for Mine {
///     type Handle<T: Send> = AnyHandle<T>;
///
///     fn spawn<F>(&self, future: F) -> AnyHandle<F::Output>
///     where
///         F: Future + Send + 'static,
///         F::Output: Send + 'static,
///     {
///         let (task, handle) = Remote::new(future);
///         execute(task);
///         handle
///     }
/// }
/// ```
#[must_use = "futures do nothing unless they are polled"]
pub struct Remote {
    parcel: Option<Carried>,
    /// None once it is delivered.
    slot: Option<&'static Slot>,
}

/// Where a finished box waits for its handle.
struct Slot(Mutex<State>);

enum State {
    /// The future is not over; the handle's waker, once it has been polled.
    Waiting(Option<Waker>),
    /// The future is over and its box is here.
    Arrived(Carried),
    /// The executor dropped the future.
    Gone,
    /// The handle was dropped first.
    Detached,
}

/// A boxed future that keeps its output until somebody who knows the type opens it.
pub(super) trait Parcel: Send {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;
    fn open(self: Pin<Box<Self>>, into: &mut dyn Any);
}

/// Boxes a future.
pub(super) fn pack<F>(future: F) -> Carried
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Box::pin(Packed { future: Some(future), output: None })
}

pin_project! {
    struct Packed<F: Future> {
        #[pin]
        future: Option<F>,
        output: Option<F::Output>,
    }
}

impl Slot {
    fn new() -> Slot {
        Slot(Mutex::new(State::Waiting(None)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the remote's half; what it returns is to be dropped or woken by the caller.
    fn deliver(&'static self, end: State) -> (Option<State>, Option<Waker>) {
        let mut state = self.lock();
        match mem::replace(&mut *state, State::Waiting(None)) {
            State::Waiting(waker) => {
                *state = end;
                (None, waker)
            }
            _ => {
                drop(state);
                free::give_back(self);
                (Some(end), None)
            }
        }
    }
}

/// Slots that nobody owns. (Loom's objects belong to one execution: none is used again there.)
mod free {
    use std::cell::RefCell;
    use std::sync::{Mutex, PoisonError};

    use super::Slot;

    /// What a thread keeps at hand at the most.
    const MOST: usize = 128;
    /// So many are made at a time: a spawn has no allocation of its own for its slot.
    const BLOCK: usize = if cfg!(loom) { 1 } else { 16 };

    static REST: Mutex<Vec<&'static Slot>> = Mutex::new(Vec::new());

    #[derive(Default)]
    struct AtHand(Vec<&'static Slot>);

    impl Drop for AtHand {
        fn drop(&mut self) {
            REST.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.0);
        }
    }

    thread_local! {
        static AT_HAND: RefCell<AtHand> = const { RefCell::new(AtHand(Vec::new())) };
    }

    pub(super) fn take() -> &'static Slot {
        let taken = AT_HAND.try_with(|slots| {
            let slots = &mut slots.borrow_mut().0;
            slots.pop().or_else(|| {
                let mut rest = REST.lock().unwrap_or_else(PoisonError::into_inner);
                let some = rest.len().saturating_sub(MOST / 2);
                slots.extend(rest.drain(some..));
                slots.pop()
            })
        });
        // At the thread's end there is nothing at hand.
        let rest = || REST.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let slot = taken.unwrap_or_else(|_| rest());
        slot.unwrap_or_else(make)
    }

    fn make() -> &'static Slot {
        let block: Box<[Slot]> = (0..BLOCK).map(|_| Slot::new()).collect();
        let block: &'static [Slot] = Box::leak(block);
        block[1..].iter().for_each(give_back);
        &block[0]
    }

    pub(super) fn give_back(slot: &'static Slot) {
        if cfg!(loom) {
            return;
        }
        let kept = AT_HAND.try_with(|slots| {
            let slots = &mut slots.borrow_mut().0;
            slots.push(slot);
            if slots.len() > MOST {
                let mut rest = REST.lock().unwrap_or_else(PoisonError::into_inner);
                rest.extend(slots.drain(MOST / 2..));
            }
        });
        if kept.is_err() {
            REST.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        }
    }
}

impl Remote {
    /// Returns what the executor is to run, and the handle to what `future` returns.
    pub fn new<F>(future: F) -> (Remote, AnyHandle<F::Output>)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (remote, receiver) = Remote::carrying(Some(pack(future)));
        (remote, AnyHandle::boxed(smallbox!(receiver)))
    }

    /// Returns what a thread is to call where it may block, and the handle to what `job` returns.
    pub fn job<F, T>(job: F) -> (impl FnOnce() + Send + 'static, AnyHandle<T>)
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (remote, receiver) = Remote::carrying(None);
        (move || remote.send(job()), AnyHandle::boxed(smallbox!(receiver)))
    }

    /// Without a box: somebody else makes the output.
    fn carrying(parcel: Option<Carried>) -> (Remote, Receiver) {
        let slot = Some(free::take());
        (Remote { parcel, slot }, Receiver { slot })
    }

    /// Delivers an output that somebody else has made.
    fn send<T: Send + 'static>(mut self, output: T) {
        let packed = Packed::<Ready<T>> { future: None, output: Some(output) };
        self.parcel = Some(Box::pin(packed));
        self.deliver();
    }

    fn deliver(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let end = match self.parcel.take() {
            Some(parcel) => State::Arrived(parcel),
            None => State::Gone,
        };
        let (rest, waker) = slot.deliver(end);
        if let Some(waker) = waker {
            waker.wake();
        }
        drop(rest);
    }
}

impl Future for Remote {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(parcel) = self.parcel.as_mut() else { return Poll::Ready(()) };
        if parcel.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.deliver();
        Poll::Ready(())
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if self.slot.is_some() {
            // The executor dropped it: its future first, then the handle hears of it.
            drop_quietly(self.parcel.take());
            self.deliver();
        }
    }
}

impl<F> Parcel for Packed<F>
where
    F: Future + Send,
    F::Output: Send + 'static,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        match future.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(output) => {
                *this.output = Some(output);
                this.future.set(None);
                Poll::Ready(())
            }
        }
    }

    fn open(mut self: Pin<Box<Self>>, into: &mut dyn Any) {
        if let Some(into) = into.downcast_mut::<Option<F::Output>>() {
            *into = self.as_mut().project().output.take();
        }
    }
}

impl<T: 'static> AnyHandle<T> {
    pub(super) fn boxed(carrier: Carrier) -> AnyHandle<T> {
        AnyHandle(Source::Boxed(carrier, open))
    }
}

impl<T: Send> Future for AnyHandle<T> {
    type Output = Result<T, ExecutorGone>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Source::Boxed(carrier, open) => {
                Pin::new(&mut **carrier).poll(cx).map(|carried| open(carried?).ok_or(ExecutorGone))
            }
            Source::Own(handle) => Pin::new(&mut **handle).poll(cx),
        }
    }
}

/// Takes the output from its box.
fn open<T: 'static>(carried: Carried) -> Option<T> {
    let mut output: Option<T> = None;
    carried.open(&mut output);
    output
}

impl Future for Receiver {
    type Output = Result<Carried, ExecutorGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(slot) = self.slot else { return Poll::Pending };
        let mut waker; // outlives the lock: its clone and drop are the executor's code
        let mut state = slot.lock();
        if let State::Waiting(stored) = &mut *state {
            if stored.as_ref().is_some_and(|stored| stored.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            drop(state);
            waker = Some(cx.waker().clone());
            state = slot.lock();
            if let State::Waiting(stored) = &mut *state {
                let old = mem::replace(stored, waker.take());
                drop(state);
                drop(old);
                return Poll::Pending;
            }
        }
        let arrived = mem::replace(&mut *state, State::Waiting(None));
        drop(state);
        self.slot = None;
        free::give_back(slot);
        Poll::Ready(match arrived {
            State::Arrived(parcel) => Ok(parcel),
            _ => Err(ExecutorGone),
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        let mut state = slot.lock();
        let rest = match mem::replace(&mut *state, State::Detached) {
            waiting @ State::Waiting(_) => waiting,
            arrived => {
                *state = State::Waiting(None);
                drop(state);
                free::give_back(slot);
                drop(arrived);
                return;
            }
        };
        drop(state);
        drop(rest);
    }
}

impl<T> fmt::Debug for AnyHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyHandle").finish_non_exhaustive()
    }
}
