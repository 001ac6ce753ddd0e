//! A backend with its type erased, at one allocation a spawn.
//!
//! The one allocation is the box that holds the future. It is also what brings the output back:
//! finished, the box itself is posted in a slot that the handle reads, and opened there by whoever
//! knows the output's type.
//!
//! Invariants of [`Post`]:
//! 1. A slot is owned by its letter and its handle together and freed by whichever ends last.
//! 2. Nothing is dropped or woken while the lock is held: what leaves a slot is returned first.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use slab::Slab;

use super::{Backend, Host, SpawnBlocking, Spawner, Timer};
use crate::error::{ExecutorGone, Unsupported};

/// Any backend, its type erased: what [`Scope`](crate::Scope) uses unless told otherwise.
///
/// A spawn costs one allocation more than on the typed backend, so that generics need not spread.
#[derive(Clone)]
pub struct AnyBackend {
    backend: Arc<dyn Erased>,
    post: Arc<Post>,
}

/// Resolves to the output of a future spawned on [`AnyBackend`]. Dropped, it detaches.
pub struct AnyHandle<T> {
    post: Arc<Post>,
    key: usize,
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
    fn spawn(&self, letter: Letter);
    fn now(&self) -> Instant;
    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    fn host(&self) -> Option<Arc<dyn Host>>;
    fn can_block(&self) -> Result<(), Unsupported>;
    fn spawn_blocking(&self, job: Box<dyn FnOnce() + Send>);
}

struct Plain<B>(B, &'static str);
struct WithBlocking<B>(B, &'static str);

/// The slots in which finished boxes wait for their handles.
struct Post {
    slots: Mutex<Slab<Slot>>,
}

enum Slot {
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
    post: Arc<Post>,
    key: usize,
}

impl AnyBackend {
    /// Erases a backend that has no blocking pool.
    pub fn new<B: Spawner + Timer>(name: &'static str, backend: B) -> AnyBackend {
        AnyBackend::from_erased(Arc::new(Plain(backend, name)))
    }

    /// Erases a backend that has a blocking pool.
    pub fn with_blocking<B: SpawnBlocking + Timer>(name: &'static str, backend: B) -> AnyBackend {
        AnyBackend::from_erased(Arc::new(WithBlocking(backend, name)))
    }

    fn from_erased(backend: Arc<dyn Erased>) -> AnyBackend {
        AnyBackend { backend, post: Arc::new(Post { slots: Mutex::new(Slab::new()) }) }
    }

    /// Returns the backend's name: `"tokio"`.
    pub fn name(&self) -> &'static str {
        self.backend.name()
    }

    fn handle<T>(&self) -> AnyHandle<T> {
        let key = self.post.lock().insert(Slot::Waiting(None));
        AnyHandle { post: self.post.clone(), key, output: PhantomData }
    }
}

impl Spawner for AnyBackend {
    type Handle<T: Send + 'static> = AnyHandle<T>;

    fn spawn<F>(&self, future: F) -> AnyHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let handle = self.handle();
        let parcel: Pin<Box<dyn Parcel>> = Box::pin(Packed { future: Some(future), output: None });
        self.backend.spawn(Letter {
            parcel: Some(parcel),
            post: self.post.clone(),
            key: handle.key,
        });
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
        let handle = self.handle();
        let mut letter = Letter { parcel: None, post: self.post.clone(), key: handle.key };
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

impl Post {
    fn lock(&self) -> MutexGuard<'_, Slab<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a letter's half of a slot; what it returns is to be dropped or woken by the caller.
    fn settle(&self, key: usize, end: Slot) -> (Option<Slot>, Option<Waker>) {
        let mut slots = self.lock();
        match mem::replace(&mut slots[key], end) {
            Slot::Waiting(waker) => (None, waker),
            Slot::Detached => (Some(slots.remove(key)), None),
            slot @ (Slot::Arrived(_) | Slot::Gone) => (Some(slot), None),
        }
    }
}

impl Letter {
    fn deliver(&mut self) {
        let end = match self.parcel.take() {
            Some(parcel) => Slot::Arrived(parcel),
            None => Slot::Gone,
        };
        let (rest, waker) = self.post.settle(self.key, end);
        self.key = usize::MAX;
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
        if self.key != usize::MAX {
            // The executor dropped it: its future first, then the handle hears of it.
            drop(self.parcel.take());
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
        if self.key == usize::MAX {
            return Poll::Pending; // taken already; as a fused future
        }
        let waker = cx.waker().clone();
        let mut slots = self.post.lock();
        match &mut slots[self.key] {
            Slot::Waiting(stored) => {
                let old = stored.replace(waker);
                drop(slots);
                drop(old);
                return Poll::Pending;
            }
            Slot::Arrived(_) | Slot::Gone | Slot::Detached => {}
        }
        let slot = slots.remove(self.key);
        drop(slots);
        self.key = usize::MAX;
        let Slot::Arrived(mut parcel) = slot else { return Poll::Ready(Err(ExecutorGone)) };
        let mut output: Option<T> = None;
        parcel.as_mut().open(&mut output);
        Poll::Ready(output.ok_or(ExecutorGone))
    }
}

impl<T> Drop for AnyHandle<T> {
    fn drop(&mut self) {
        if self.key == usize::MAX {
            return;
        }
        let mut slots = self.post.lock();
        let rest = match mem::replace(&mut slots[self.key], Slot::Detached) {
            waiting @ Slot::Waiting(_) => waiting,
            slot @ (Slot::Arrived(_) | Slot::Gone | Slot::Detached) => {
                slots.remove(self.key);
                slot
            }
        };
        drop(slots);
        drop(rest);
    }
}

impl<T> fmt::Debug for AnyHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyHandle").finish_non_exhaustive()
    }
}
