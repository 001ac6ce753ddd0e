//! What scenarios prove things with: gates, logs, guards, and futures polled by hand.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use adjourn_core::{Phase, Scope};

use crate::limits::{Stillness, moved, patience};

pub(crate) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that opens once: awaited, it resolves when it is open.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Default)]
struct GateState {
    open: bool,
    wakers: Vec<Waker>,
}

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate::default()
    }

    pub(crate) fn open(&self) {
        let mut state = lock(&self.0.0);
        if !std::mem::replace(&mut state.open, true) {
            moved();
        }
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.0.1.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_open(&self) -> bool {
        lock(&self.0.0).open
    }

    pub(crate) fn wait(&self) -> impl Future<Output = ()> + Send + use<> {
        let gate = self.clone();
        poll_fn(move |cx| {
            let mut state = lock(&gate.0.0);
            if state.open {
                return Poll::Ready(());
            }
            if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.wakers.push(cx.waker().clone());
            }
            Poll::Pending
        })
    }

    pub(crate) fn wait_blocking(&self) {
        let mut state = lock(&self.0.0);
        while !state.open {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn say(&self, what: impl Into<String>) {
        lock(&self.0).push(what.into());
        moved();
    }

    pub(crate) fn all(&self) -> Vec<String> {
        lock(&self.0).clone()
    }

    /// Checks what happened, and empties the log.
    #[track_caller]
    pub(crate) fn was(&self, what: &[&str]) {
        let all = std::mem::take(&mut *lock(&self.0));
        assert_eq!(all, what, "what happened, in order");
    }

    /// Says `what` when it is dropped.
    pub(crate) fn on_drop(&self, what: &str) -> OnDrop<impl FnMut() + Send + use<>> {
        let (log, what) = (self.clone(), what.to_owned());
        OnDrop(move || log.say(what.clone()))
    }
}

/// Calls its closure when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Panics when it is dropped, but not in a panic.
pub(crate) struct Bomb(pub(crate) &'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("{}", self.0);
        }
    }
}

/// A waker that counts how often it is woken.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Sleeps on the timer of the program's backend.
pub(crate) fn sleep(span: Duration) -> impl Future<Output = ()> + Send + 'static {
    Scope::current().sleep(span)
}

/// Yields so many times.
pub(crate) async fn yields(n: usize) {
    for _ in 0..n {
        let mut yielded = false;
        poll_fn(|cx| {
            if yielded {
                return Poll::Ready(());
            }
            yielded = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// Waits until the current scope is in this phase or a later one, without a timer.
pub(crate) async fn until_phase(phase: Phase) {
    let scope = Scope::current();
    while scope.phase() < phase {
        yields(1).await;
    }
}

/// Polls a future once, in place.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx: &mut Context<'_>| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread, outside of any executor.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// Runs a future on this thread, outside of any executor; gives up when nothing has moved for
/// [`patience`].
pub(crate) fn resolves<F: Future>(future: F) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut future, mut still) = (pin!(future), Stillness::new(patience()));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        if still.is_over() {
            return None;
        }
        thread::park_timeout(still.slice());
    }
}

/// Waits on this thread for what happens on others; gives up when nothing has moved for
/// [`patience`].
pub(crate) fn eventually(is_so: impl Fn() -> bool) -> bool {
    let mut still = Stillness::new(patience());
    while !is_so() {
        if still.is_over() {
            return false;
        }
        thread::sleep(millis(1));
    }
    true
}

/// Returns the text of a panic's payload.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text").to_owned()
}
