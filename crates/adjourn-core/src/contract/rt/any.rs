//! A backend with its type erased, at one allocation a spawn.
//!
//! The one allocation is the box that holds the future. It is also what brings the output back:
//! finished, the box itself is put into a slot that the handle reads, and opened there by whoever
//! knows the output's type. Slots are used again and never freed; each thread keeps some at hand.
//!
//! Invariants of [`Slot`]:
//! 1. It is owned by its letter and its handle together and given back by whichever ends last, as
//!    `Waiting(None)`.
//! 2. Nothing is dropped or woken while its lock is held: what leaves it is returned first.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::{Backend, Host, SpawnBlocking, Spawner, Timer};
use crate::contract::error::{ExecutorGone, Unsupported, drop_quietly};
use crate::sync::{Mutex, MutexGuard};

/// Any backend, its type erased: what [`Scope`](crate::Scope) uses unless told otherwise.
///
/// A spawn costs one allocation more than on the typed backend, so that generics need not spread.
#[derive(Clone)]
pub struct AnyBackend {
    backend: Arc<dyn Erased>,
}

/// Resolves to the output of a future spawned on [`AnyBackend`]. Dropped, it detaches.
pub struct AnyHandle<T> {
    /// None once it is over.
    slot: Option<&'static Slot>,
    output: PhantomData<fn() -> T>,
}

/// A sleep of an [`AnyBackend`].
///
/// One of no time yields once, on every backend.
pub struct AnySleep {
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
    yields: bool,
}

trait Erased: Send + Sync {
    fn name(&self) -> &'static str;
    fn backend(&self) -> &dyn Any;
    fn spawn(&self, letter: Letter);
    fn now(&self) -> Instant;
    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    fn host(&self) -> Option<Arc<dyn Host>>;
    fn can_block(&self) -> Result<(), Unsupported>;
    fn spawn_blocking(&self, job: Box<dyn FnOnce() + Send>);
}

struct Plain<B>(B, &'static str);
struct WithBlocking<B>(B, &'static str);

/// Where a finished box waits for its handle.
struct Slot(Mutex<State>);

enum State {
    /// The future is not over; the handle's waker, once it has been polled.
    Waiting(Option<Waker>),
    /// The future is over and its box is here.
    Arrived(Pin<Box<dyn Parcel>>),
    /// The executor dropped the future.
    Gone,
    /// The handle was dropped first.
    Detached,
}

/// A boxed future that keeps its output until somebody who knows the type opens it.
trait Parcel: Send {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;
    fn open(self: Pin<&mut Self>, into: &mut dyn Any);
}

pin_project! {
    struct Packed<F: Future> {
        #[pin]
        future: Option<F>,
        output: Option<F::Output>,
    }
}

/// What the executor runs: one boxed future on its way to its slot.
struct Letter {
    parcel: Option<Pin<Box<dyn Parcel>>>,
    /// None once it is delivered.
    slot: Option<&'static Slot>,
}

impl AnyBackend {
    /// Erases a backend that has no blocking pool.
    pub fn new<B: Spawner + Timer>(name: &'static str, backend: B) -> AnyBackend {
        AnyBackend { backend: Arc::new(Plain(backend, name)) }
    }

    /// Erases a backend that has a blocking pool.
    pub fn with_blocking<B: SpawnBlocking + Timer>(name: &'static str, backend: B) -> AnyBackend {
        AnyBackend { backend: Arc::new(WithBlocking(backend, name)) }
    }

    /// Returns the backend's name: `"tokio"`.
    pub fn name(&self) -> &'static str {
        self.backend.name()
    }

    /// Returns the backend by its own type, or as this one; `None` if it is of another.
    pub fn downcast_ref<B: Spawner>(&self) -> Option<&B> {
        self.backend.backend().downcast_ref().or_else(|| (self as &dyn Any).downcast_ref())
    }
}

impl Spawner for AnyBackend {
    type Handle<T: Send + 'static> = AnyHandle<T>;

    fn spawn<F>(&self, future: F) -> AnyHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let slot = Some(free::take());
        let handle = AnyHandle { slot, output: PhantomData }; // first: it is the slot's other owner
        let parcel: Pin<Box<dyn Parcel>> = Box::pin(Packed { future: Some(future), output: None });
        self.backend.spawn(Letter { parcel: Some(parcel), slot });
        handle
    }
}

impl SpawnBlocking for AnyBackend {
    fn can_block(&self) -> Result<(), Unsupported> {
        self.backend.can_block()
    }

    /// Where there is no pool, `job` is dropped and the handle resolves to [`ExecutorGone`];
    /// [`can_block`](SpawnBlocking::can_block) asks first.
    fn spawn_blocking<F, T>(&self, job: F) -> AnyHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let slot = Some(free::take());
        let handle = AnyHandle { slot, output: PhantomData };
        let mut letter = Letter { parcel: None, slot };
        self.backend.spawn_blocking(Box::new(move || {
            let output = job();
            let packed = Packed::<std::future::Ready<T>> { future: None, output: Some(output) };
            letter.parcel = Some(Box::pin(packed));
            letter.deliver();
        }));
        handle
    }
}

impl Timer for AnyBackend {
    type Sleep = AnySleep;

    fn now(&self) -> Instant {
        self.backend.now()
    }

    fn sleep(&self, span: Duration) -> AnySleep {
        AnySleep { sleep: self.backend.sleep(span), yields: span.is_zero() }
    }

    fn host(&self) -> Option<Arc<dyn Host>> {
        self.backend.host()
    }
}

impl Backend for AnyBackend {
    fn erase(&self) -> AnyBackend {
        self.clone()
    }
}

impl fmt::Debug for AnyBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyBackend").field(&self.name()).finish()
    }
}

impl Future for AnySleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if mem::take(&mut self.yields) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.sleep.as_mut().poll(cx)
    }
}

impl fmt::Debug for AnySleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnySleep").finish_non_exhaustive()
    }
}

macro_rules! erased_common {
    () => {
        fn name(&self) -> &'static str {
            self.1
        }

        fn backend(&self) -> &dyn Any {
            &self.0
        }

        fn spawn(&self, letter: Letter) {
            drop(self.0.spawn(letter));
        }

        fn now(&self) -> Instant {
            self.0.now()
        }

        fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(self.0.sleep(span))
        }

        fn host(&self) -> Option<Arc<dyn Host>> {
            self.0.host()
        }
    };
}

impl<B: Spawner + Timer> Erased for Plain<B> {
    erased_common!();

    fn can_block(&self) -> Result<(), Unsupported> {
        Err(Unsupported::new(self.1, "blocking pool"))
    }

    fn spawn_blocking(&self, _: Box<dyn FnOnce() + Send>) {}
}

impl<B: SpawnBlocking + Timer> Erased for WithBlocking<B> {
    erased_common!();

    fn can_block(&self) -> Result<(), Unsupported> {
        self.0.can_block()
    }

    fn spawn_blocking(&self, job: Box<dyn FnOnce() + Send>) {
        drop(self.0.spawn_blocking(job));
    }
}

impl Slot {
    fn new() -> Slot {
        Slot(Mutex::new(State::Waiting(None)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the letter's half; what it returns is to be dropped or woken by the caller.
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
        slot.unwrap_or_else(|| Box::leak(Box::new(Slot::new())))
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

impl Letter {
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

impl Future for Letter {
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

impl Drop for Letter {
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

    fn open(self: Pin<&mut Self>, into: &mut dyn Any) {
        if let Some(into) = into.downcast_mut::<Option<F::Output>>() {
            *into = self.project().output.take();
        }
    }
}

impl<T: Send + 'static> Future for AnyHandle<T> {
    type Output = Result<T, ExecutorGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Fused: once it is over it stays pending.
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
        let State::Arrived(mut parcel) = arrived else { return Poll::Ready(Err(ExecutorGone)) };
        let mut output: Option<T> = None;
        parcel.as_mut().open(&mut output);
        Poll::Ready(output.ok_or(ExecutorGone))
    }
}

impl<T> Drop for AnyHandle<T> {
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::tests::nowhere::{Nowhere, Poolless};

    #[test]
    fn a_backend_keeps_what_it_can_do() {
        let plain = AnyBackend::new("nowhere", Nowhere(drop));
        assert_eq!(plain.can_block(), Err(Unsupported::new("nowhere", "blocking pool")));
        let pooled = AnyBackend::with_blocking("poolless", Poolless);
        assert_eq!(pooled.can_block(), Ok(()));
        let again = AnyBackend::with_blocking("again", plain.clone());
        assert_eq!(again.can_block(), plain.can_block());
        assert_eq!(
            format!("{plain:?}, {pooled:?}"),
            "AnyBackend(\"nowhere\"), AnyBackend(\"poolless\")"
        );
    }
}
