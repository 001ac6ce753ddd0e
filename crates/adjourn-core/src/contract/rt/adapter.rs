//! What adapters need again and again, for executors that do not bring it: a queue that other threads
//! put into, and a sleep that may be polled again. The handle is [`Remote`](super::Remote)'s.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::sync::{Mutex, MutexGuard};

/// What an executor of one thread is given to run, from any thread. Clones are the same queue.
///
/// The executor's thread takes what comes with [`next`](Queue::next), in a loop, and starts it there.
/// At the executor's end it calls [`close`](Queue::close): what is in the queue, and what comes later,
/// is dropped.
///
/// # Examples
///
/// With any executor whose `spawn` is for its own thread alone:
///
/// ```
/// use adjourn_core::rt::{Queue, Remote};
/// # fn spawn_here(_: impl Future<Output = ()>) {}
///
/// let queue = Queue::new();
/// let backend = queue.clone(); // may go to any thread
/// let take_in = async move {
///     while let Some(task) = queue.next().await {
///         spawn_here(task);
///     }
/// };
/// # _ = take_in;
///
/// let (task, handle) = Remote::new(async { 7 });
/// backend.push(task);
/// backend.close();
/// assert!(futures_lite::future::block_on(handle).is_err(), "dropped, so its handle resolves");
/// ```
pub struct Queue<T>(Arc<Mutex<Waiting<T>>>);

struct Waiting<T> {
    queued: VecDeque<T>,
    /// Of who waits for the next.
    waker: Option<Waker>,
    closed: bool,
}

impl<T> Queue<T> {
    /// An empty queue.
    pub fn new() -> Queue<T> {
        let waiting = Waiting { queued: VecDeque::new(), waker: None, closed: false };
        Queue(Arc::new(Mutex::new(waiting)))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `item` at the end and wakes who waits; drops it if the queue is closed.
    pub fn push(&self, item: T) {
        let mut waiting = self.lock();
        if waiting.closed {
            drop(waiting);
            return drop(item); // not under the lock: it is the user's code
        }
        waiting.queued.push_back(item);
        let waker = waiting.waker.take();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Returns the next item, or `None` when the queue is closed. One waits at a time: a second one
    /// takes the first one's place.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped.
    pub fn next(&self) -> impl Future<Output = Option<T>> + use<'_, T> {
        poll_fn(|cx| {
            let waker = cx.waker().clone(); // not under the lock
            let mut waiting = self.lock();
            if let Some(item) = waiting.queued.pop_front() {
                return Poll::Ready(Some(item));
            }
            if waiting.closed {
                return Poll::Ready(None);
            }
            let old = waiting.waker.replace(waker);
            drop(waiting);
            drop(old);
            Poll::Pending
        })
    }

    /// Drops what is in the queue and all that comes later, and wakes who waits.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let (queued, waker) = (std::mem::take(&mut waiting.queued), waiting.waker.take());
        drop(waiting);
        drop(queued);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Queue<T> {
        Queue(self.0.clone())
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue::new()
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.lock();
        let mut debug = f.debug_struct("Queue");
        debug.field("len", &waiting.queued.len()).field("closed", &waiting.closed).finish()
    }
}

pin_project! {
    /// A sleep that may be polled again when it is over, as [`Timer::Sleep`](super::Timer::Sleep) has
    /// to: it is dropped then, and stays over. What the executor's own sleep returns is dropped too.
    #[must_use = "futures do nothing unless awaited"]
    pub struct Fused<S> {
        // None once it is over.
        #[pin]
        sleep: Option<S>,
    }
}

impl<S> Fused<S> {
    /// Around the executor's own sleep.
    pub fn new(sleep: S) -> Fused<S> {
        Fused { sleep: Some(sleep) }
    }
}

impl<S: Future> Future for Fused<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
            _ = std::task::ready!(sleep.poll(cx));
            this.sleep.set(None);
        }
        Poll::Ready(())
    }
}

impl<S> fmt::Debug for Fused<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fused").field("over", &self.sleep.is_none()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::pin::pin;

    use super::super::Remote;
    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_queue_gives_what_is_pushed_in_order_until_it_is_closed() {
        let queue = Queue::new();
        let other = queue.clone();
        std::thread::spawn(move || (1..=3).for_each(|number| other.push(number)))
            .join()
            .expect("it does not panic");
        for number in 1..=2 {
            assert_eq!(poll(pin!(queue.next())), Poll::Ready(Some(number)));
        }
        let alive = Arc::new(());
        let closing = Queue::new();
        closing.push(alive.clone());
        closing.close();
        closing.push(alive.clone());
        assert_eq!(Arc::strong_count(&alive), 1, "both are dropped");
        assert_eq!(poll(pin!(closing.next())), Poll::Ready(None));
    }

    #[test]
    fn a_push_and_a_close_wake_who_waits() {
        struct Count(std::sync::atomic::AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        }
        let count = Arc::new(Count(0.into()));
        let waker = Waker::from(count.clone());
        let queue = Queue::new();
        for wakes in 1..=2 {
            let mut next = pin!(queue.next());
            let polled = next.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            if wakes == 1 {
                queue.push(0)
            } else {
                queue.close()
            }
            assert_eq!(count.0.load(std::sync::atomic::Ordering::SeqCst), wakes);
            assert!(poll(next).is_ready());
        }
    }

    #[test]
    fn a_remote_runs_where_it_is_polled_and_its_handle_has_the_output() {
        let (task, handle) = Remote::new(async { 7 });
        let mut handle = pin!(handle);
        assert!(poll(handle.as_mut()).is_pending());
        assert!(poll(pin!(task)).is_ready());
        assert_eq!(poll(handle), Poll::Ready(Ok(7)));
        let (job, handle) = Remote::job(|| 8);
        job();
        assert_eq!(poll(pin!(handle)), Poll::Ready(Ok(8)));
        let (job, handle) = Remote::job(|| 9);
        drop(job);
        assert!(matches!(poll(pin!(handle)), Poll::Ready(Err(_))), "the executor is gone");
        let (task, handle) = Remote::new(async { 10 });
        drop(handle);
        assert!(poll(pin!(task)).is_ready(), "a dropped handle detaches");
    }

    #[test]
    fn a_fused_sleep_stays_over() {
        let mut sleep = pin!(Fused::new(std::future::ready("an instant")));
        for _ in 0..3 {
            assert!(poll(sleep.as_mut()).is_ready());
        }
        assert!(poll(pin!(Fused::new(std::future::pending::<()>()))).is_pending());
    }
}
