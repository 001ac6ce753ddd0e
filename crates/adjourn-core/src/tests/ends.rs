//! What comes before a task's end can be seen, and what holds it up.

use std::future::{Future, Pending, Ready, pending, poll_fn, ready};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::contract::error::ExecutorGone;
use crate::contract::report::TaskKind;
use crate::contract::rt::{AnyBackend, Remote, Spawner, Timer};
use crate::tests::nowhere::program;
use crate::track::context;
use crate::track::node::{Node, Spawn};
use crate::track::shield::shield;
use crate::track::table::TaskRef;
use crate::track::task::Tracked;

fn spawn(node: &Arc<Node>) -> TaskRef {
    node.register(Spawn::new(TaskKind::Plain, Location::caller())).unwrap()
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Calls a function when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_future_is_dropped_in_its_task_before_the_result_is_given() {
    enum Way {
        Returns,
        Panics,
        IsAbortedBefore,
        IsAbortedMeanwhile,
    }
    for way in [Way::Returns, Way::Panics, Way::IsAbortedBefore, Way::IsAbortedMeanwhile] {
        let program = program(false);
        let task = spawn(&program.root());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let tell = seen.clone();
        let dropped = OnDrop(move || {
            let inside = context::task() == Some(task) && context::is_ending();
            tell.lock().unwrap().push((inside, task.live_word().is_some()));
        });
        if matches!(way, Way::IsAbortedBefore) {
            Node::abort(&task);
        }
        // What a future owns is dropped with it, not at its end.
        let mut tracked = Box::pin(Tracked::new(
            task,
            poll_fn(move |_| {
                _ = &dropped;
                match way {
                    Way::Returns => Poll::Ready(()),
                    Way::Panics => panic!("in a poll"),
                    Way::IsAbortedBefore => unreachable!("cancelled before its first poll"),
                    Way::IsAbortedMeanwhile => {
                        Node::abort(&task);
                        Poll::Pending
                    }
                }
            }),
        ));
        // From here on the executor tells the handle.
        let Poll::Ready(given) = poll(tracked.as_mut()) else { panic!("it is not over") };
        let dropped = seen.lock().unwrap().clone();
        assert_eq!(dropped, [(true, true)], "dropped inside its task, while tracked");
        assert!(task.live_word().is_none(), "and tracked no more");
        drop((given, tracked));
        assert_eq!(seen.lock().unwrap().len(), 1);
        _ = program.conclude();
    }
}

#[test]
fn a_future_that_the_executor_drops_is_dropped_in_its_task() {
    let program = program(false);
    let task = spawn(&program.root());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tell = seen.clone();
    let dropped = OnDrop(move || {
        let inside = context::task() == Some(task) && context::is_ending();
        tell.lock().unwrap().push((inside, task.live_word().is_some()));
    });
    let mut tracked = Box::pin(Tracked::new(task, async move {
        pending::<()>().await;
        drop(dropped);
    }));
    assert!(poll(tracked.as_mut()).is_pending());
    drop(tracked);
    assert_eq!(*seen.lock().unwrap(), [(true, true)]);
    assert!(task.live_word().is_none());
    _ = program.conclude();
}

/// Polls what it is to spawn once; its handle has what came of that.
#[derive(Clone)]
struct Once;

impl Spawner for Once {
    type Handle<T: Send> = Ready<Result<T, ExecutorGone>>;

    fn spawn<F>(&self, future: F) -> Self::Handle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let polled = poll(Box::pin(future).as_mut());
        ready(if let Poll::Ready(output) = polled { Ok(output) } else { Err(ExecutorGone) })
    }
}

impl Timer for Once {
    type Sleep = Pending<()>;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, _: Duration) -> Pending<()> {
        pending()
    }
}

#[test]
fn an_erased_future_is_dropped_before_its_handle_is_told() {
    for own_handle in [true, false] {
        let drops = Arc::new(AtomicUsize::new(0));
        let count = drops.clone();
        let dropped = OnDrop(move || _ = count.fetch_add(1, SeqCst));
        let future = poll_fn(move |_| {
            _ = &dropped;
            Poll::Ready(7)
        });
        let mut handle = if own_handle {
            AnyBackend::new("once", Once).spawn(future)
        } else {
            let (remote, handle) = Remote::new(future);
            assert!(poll(pin!(remote)).is_ready());
            handle
        };
        assert_eq!(drops.load(SeqCst), 1, "its output waits for the handle, and it does not");
        assert_eq!(poll(Pin::new(&mut handle)), Poll::Ready(Ok(7)));
        assert!(poll(Pin::new(&mut handle)).is_pending(), "it is there once");
    }
}

#[test]
fn what_drops_an_erased_future_has_none_of_its_panics() {
    let bomb = OnDrop(|| panic!("a destructor"));
    let future = poll_fn(move |_| {
        _ = &bomb;
        Poll::<()>::Pending
    });
    let mut handle = AnyBackend::new("once", Once).spawn(future);
    assert_eq!(poll(Pin::new(&mut handle)), Poll::Ready(Err(ExecutorGone)));
}

#[test]
fn shields_that_a_task_cannot_count_neither_cancel_it_nor_let_it_go() {
    const FLAGS: u64 = (u32::MAX as u64) >> 20 << 20;
    let program = program(false);
    let task = spawn(&program.root());
    // All but two of those that it counts, without a future for each.
    let mut others = 0;
    while !task.word().is_full() {
        task.hold();
        others += 1;
    }
    for _ in 0..2 {
        _ = task.release();
        others -= 1;
    }
    // Two that are counted and three that are not: those from this one on are over.
    let open_from = Arc::new(AtomicUsize::new(5));
    let mut shields: Vec<_> = (0..5)
        .map(|number| {
            let open_from = open_from.clone();
            let open = move || open_from.load(SeqCst) <= number;
            shield(poll_fn(move |_| if open() { Poll::Ready(()) } else { Poll::Pending }))
        })
        .collect();
    let mut tracked = Box::pin(Tracked::new(
        task,
        poll_fn(move |cx| {
            shields.retain_mut(|shield| Pin::new(shield).poll(cx).is_pending());
            Poll::<()>::Pending
        }),
    ));
    assert!(poll(tracked.as_mut()).is_pending());
    assert!(task.word().is_full() && !task.word().has(FLAGS), "the count ran into a flag");
    Node::abort(&task);
    open_from.store(2, SeqCst);
    assert!(poll(tracked.as_mut()).is_pending());
    assert!(task.word().is_full(), "what was not counted is not counted off");
    for _ in 0..others {
        _ = task.release();
    }
    open_from.store(1, SeqCst);
    assert!(poll(tracked.as_mut()).is_pending(), "one that was counted is there");
    assert_eq!(task.word().holds(), 1);
    open_from.store(0, SeqCst);
    assert!(poll(tracked.as_mut()).is_ready());
    _ = program.conclude();
}
