//! Limits that the core keeps, exact to the instant: the clock is a virtual one.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adjourn_core::rt::{AnyBackend, Backend, BlockOn, Executor, Host, Spawner, Timer};
use adjourn_core::{
    Phase, Scope, Signal, SignalSource, StopToken, shield, spawn, spawn_graceful, spawn_shielded,
    task,
};
use adjourn_sim::{Runner, Sim};
use futures_lite::future::{pending, yield_now};

const HOUR: Duration = Duration::from_secs(3600);

fn sleep(span: Duration) -> impl Future<Output = ()> + Send {
    Scope::current().sleep(span)
}

#[test]
fn the_deadline_is_kept_by_the_virtual_clock() {
    let sim = Sim::new();
    let runner = Runner::new().timeout(HOUR);
    let exit = sim.run(runner, async {
        drop(task("stubborn").spawn_shielded(pending::<()>()));
        _ = Scope::current().stop();
    });
    assert_eq!(exit.exit_code(), 124, "{}", exit.report());
    assert_eq!(exit.report().stragglers[0].task.name.as_deref(), Some("stubborn"));
    assert_eq!(exit.report().stragglers[0].age, Some(HOUR - Duration::from_secs(2)));
    assert_eq!(sim.elapsed(), HOUR - Duration::from_secs(2));
}

#[test]
fn a_signal_within_the_debounce_is_the_same_and_a_later_one_forces() {
    let twice = |apart: Duration| {
        Sim::new().run(Runner::new().signal_source(Interrupts::new(apart)), async {
            drop(spawn_shielded(pending::<()>()));
            pending::<()>().await;
        })
    };
    let same = twice(Duration::from_millis(249));
    assert_eq!(same.exit_code(), 124, "{}", same.report());
    assert_eq!(same.report().signals.len(), 2);
    let later = twice(Duration::from_millis(250));
    assert_eq!(later.exit_code(), 130, "{}", later.report());
}

/// Two SIGINTs, the second so much later.
struct Interrupts {
    apart: Duration,
    sleep: Option<adjourn_core::rt::AnySleep>,
    backend: Arc<Mutex<Option<AnyBackend>>>,
    sent: usize,
}

impl Interrupts {
    fn new(apart: Duration) -> Interrupts {
        Interrupts { apart, sleep: None, backend: Arc::default(), sent: 0 }
    }
}

impl SignalSource for Interrupts {
    fn poll_signal(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Signal>> {
        use std::task::Poll;
        if self.sent == 2 {
            return Poll::Pending;
        }
        if self.sent == 1 {
            let sleep = self.sleep.get_or_insert_with(|| {
                let backend = self.backend.lock().unwrap().clone();
                backend.expect("it was given").sleep(self.apart)
            });
            std::task::ready!(std::pin::Pin::new(sleep).poll(cx));
        }
        self.sent += 1;
        if self.sent == 1 {
            // The thread is the program's: its root is the scope.
            *self.backend.lock().unwrap() =
                Some(Scope::try_current().expect("a scope").backend().clone());
        }
        Poll::Ready(Some(Signal::INTERRUPT))
    }
}

/// An executor that no longer comes to what it runs: the future after the driver's and `main`'s.
#[derive(Clone)]
struct Wedged {
    inner: adjourn_sim::SimBackend,
    spawned: Arc<AtomicUsize>,
}

impl Spawner for Wedged {
    type Handle<T: Send> = adjourn_sim::SimHandle<T>;

    fn spawn<F>(&self, future: F) -> adjourn_sim::SimHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let wedges = self.spawned.fetch_add(1, SeqCst) == 1;
        let mut future = Box::pin(future);
        let mut polls = 0;
        self.inner.spawn(std::future::poll_fn(move |cx| {
            polls += 1;
            if wedges && polls > 1 { std::task::Poll::Pending } else { future.as_mut().poll(cx) }
        }))
    }
}

impl Timer for Wedged {
    type Sleep = adjourn_sim::SimSleep;

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn sleep(&self, span: Duration) -> adjourn_sim::SimSleep {
        self.inner.sleep(span)
    }

    fn host(&self) -> Option<Arc<dyn Host>> {
        self.inner.host()
    }
}

impl Backend for Wedged {
    fn erase(&self) -> AnyBackend {
        AnyBackend::new("wedged", self.clone())
    }
}

/// Spawns a task that is pending for ever, and waits until it is.
async fn wedge() {
    let polled = Arc::new(AtomicUsize::new(0));
    let notes = polled.clone();
    task("wedged").spawn(async move {
        notes.store(1, SeqCst);
        pending::<()>().await;
    });
    while polled.load(SeqCst) == 0 {
        yield_now().await;
    }
}

#[test]
fn an_attached_program_gives_up_on_what_is_not_dropped_before_the_deadline() {
    let executor = Sim::new().build().unwrap();
    let backend = Wedged { inner: executor.backend(), spawned: Arc::default() };
    let start = backend.now();
    let runner = Runner::new().timeout(HOUR);
    let exit = executor.block_on(runner.attach_to(&backend, async {
        wedge().await;
        _ = Scope::current().stop();
    }));
    assert_eq!(exit.exit_code(), 124, "{}", exit.report());
    assert_eq!(exit.report().total().abandoned, 1, "{}", exit.report());
    // The cut-off comes 2 s before the deadline, the end a little before that.
    assert_eq!(backend.now() - start, HOUR - Duration::from_millis(50));
}

#[test]
fn each_phase_of_the_report_has_its_limit() {
    let limits = |timeout: Duration| {
        let runner = Runner::new()
            .timeout(timeout)
            .lame_duck(HOUR)
            .drain_limit(2 * HOUR)
            .closing_reserve(HOUR);
        let exit = Sim::new().run(runner, async {
            sleep(HOUR).await;
            drop(spawn_shielded(sleep(3 * HOUR)));
            _ = Scope::current().stop();
            pending::<()>().await;
        });
        let phases = exit.report().phases.iter().map(|span| (span.phase, span.limit));
        phases.collect::<Vec<_>>()
    };
    assert_eq!(
        limits(6 * HOUR),
        [
            (Phase::Running, None),
            (Phase::LameDuck, Some(2 * HOUR)),
            (Phase::Draining, Some(3 * HOUR)),
            (Phase::Cancelling, Some(6 * HOUR)),
            (Phase::Closing, Some(7 * HOUR)),
            (Phase::Stopped, None),
        ]
    );
    let endless = limits(Duration::MAX);
    assert_eq!(endless[2], (Phase::Draining, Some(3 * HOUR)));
    assert_eq!(endless[3..5], [(Phase::Cancelling, None), (Phase::Closing, None)]);
}

#[test]
fn a_process_that_is_ended_sooner_has_exact_limits() {
    let secs = Duration::from_secs;
    // By the drain limit of the default's timeout it would be 21 s.
    for (within, end) in [(5, secs(6)), (10, secs(10)), (60, secs(21))] {
        let sim = Sim::new();
        let runner = Runner::new();
        let stopper = runner.stopper();
        let exit = sim.run_graceful(runner, |_| async move {
            sleep(secs(1)).await;
            stopper.stop();
            sleep(secs(1)).await;
            StopToken::current().requested().await;
            stopper.stop_within(secs(within));
            pending::<()>().await;
        });
        assert_eq!(exit.exit_code(), 124, "{}", exit.report());
        let draining = exit.report().phases.iter().find(|span| span.phase == Phase::Draining);
        let draining = draining.expect("it drained");
        assert_eq!((draining.limit, draining.left), (Some(end), Some(end)), "{}", exit.report());
    }
}

#[test]
fn a_signal_that_says_when_the_process_ends_stops_whatever_reacts_to_it() {
    /// SIGTERM, after a second.
    struct Last(Option<adjourn_core::rt::AnySleep>, bool);

    impl SignalSource for Last {
        fn poll_signal(
            &mut self,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Signal>> {
            let sleep = || Scope::try_current().expect("a scope").backend().clone();
            let sleep = self.0.get_or_insert_with(|| sleep().sleep(Duration::from_secs(1)));
            if self.1 || std::pin::Pin::new(sleep).poll(cx).is_pending() {
                return std::task::Poll::Pending;
            }
            self.1 = true;
            std::task::Poll::Ready(Some(Signal::TERMINATE))
        }

        fn grace(&self, signal: Signal) -> Option<Duration> {
            (signal == Signal::TERMINATE).then_some(Duration::from_secs(5))
        }
    }

    let sim = Sim::new();
    let reacted = Arc::new(AtomicUsize::new(0));
    let reacts = reacted.clone();
    let runner = Runner::new().signal_source(Last(None, false));
    let runner = runner.on_signal(move |_, _| _ = reacts.fetch_add(1, SeqCst));
    let exit = sim.run_graceful(runner, |_| pending::<()>());
    assert_eq!(exit.exit_code(), 124, "{}", exit.report());
    assert_eq!(sim.elapsed(), Duration::from_secs(5), "{}", exit.report());
    assert_eq!(reacted.load(SeqCst), 1, "it is told all the same");
}

#[test]
fn what_is_not_dropped_is_waited_for_no_longer_than_the_process_lives() {
    let executor = Sim::new().build().unwrap();
    let bare = executor.backend();
    let backend = Wedged { inner: bare.clone(), spawned: Arc::default() };
    let start = backend.now();
    let runner = Runner::new().timeout(HOUR);
    let (stopper, sleep) = (runner.stopper(), bare.sleep(HOUR - Duration::from_secs(1)));
    // In the two seconds between the cut-off and the deadline.
    drop(bare.spawn(async move {
        sleep.await;
        stopper.stop_within(Duration::from_millis(500));
    }));
    let exit = executor.block_on(runner.attach_to(&backend, async {
        wedge().await;
        _ = Scope::current().stop();
    }));
    assert_eq!(exit.report().total().abandoned, 1, "{}", exit.report());
    assert_eq!(backend.now() - start, HOUR - Duration::from_millis(550));
}

#[test]
fn an_attached_program_is_over_once_what_it_cut_off_is_dropped() {
    let executor = Sim::new().build().unwrap();
    let backend = executor.backend();
    let start = backend.now();
    let exit = executor.block_on(Runner::new().timeout(HOUR).attach_to(&backend, async {
        for _ in 0..300 {
            drop(spawn_shielded(pending::<()>()));
        }
        yield_now().await;
        _ = Scope::current().stop();
    }));
    assert_eq!(exit.exit_code(), 124, "{}", exit.report());
    let total = exit.report().total();
    assert_eq!((total.cancelled, total.abandoned), (300, 0), "{}", exit.report());
    assert_eq!(backend.now() - start, HOUR - Duration::from_secs(2), "at the cut-off");
}

#[test]
fn an_attached_program_awaits_the_last_graceful_task_that_it_cut_off() {
    let executor = Sim::new().fifo().build().unwrap();
    let backend = executor.backend();
    let start = backend.now();
    _ = executor.block_on(Runner::new().timeout(HOUR).attach_to(&backend, async {
        drop(spawn_graceful(|_| shield(pending::<()>())));
        drop(spawn_shielded(pending::<()>()));
        yield_now().await;
        _ = Scope::current().stop();
    }));
    assert_eq!(backend.now() - start, HOUR - Duration::from_secs(2), "at the cut-off");
}

#[test]
fn a_limit_that_comes_to_be_earlier_is_kept() {
    let sim = Sim::new();
    let ends = Arc::new(Mutex::new(Vec::new()));
    let tells = ends.clone();
    let exit = sim.run(Runner::new().timeout(100 * HOUR).drain_limit(80 * HOUR), async move {
        struct Tells(&'static str, Instant, Arc<Mutex<Vec<(&'static str, Duration)>>>);
        impl Drop for Tells {
            fn drop(&mut self) {
                let now = Scope::current().backend().now();
                self.2.lock().unwrap().push((self.0, now - self.1));
            }
        }
        let start = Scope::current().backend().now();
        let work = |name| {
            let tells = Tells(name, start, tells.clone());
            move |_: StopToken| async move {
                let _tells = tells;
                pending::<()>().await;
            }
        };
        let (long, needed) = (adjourn_core::scope("long"), adjourn_core::scope("needed"));
        let needs = adjourn_core::scope("needs").depends_on(&needed);
        drop(long.spawn_graceful(work("long")));
        drop(needs.spawn_graceful(work("needs")));
        sleep(HOUR).await;
        drop(long.stop()); // alone it has all of the drain limit
        sleep(HOUR).await;
        needed.stop().await.unwrap(); // one of two levels has half of it
        pending::<()>().await;
    });
    _ = exit;
    let ends = ends.lock().unwrap().clone();
    assert_eq!(ends[0].0, "needs", "{ends:?}");
    assert!(ends[0].1 < 50 * HOUR, "{ends:?}");
    assert_eq!(ends[1], ("long", 81 * HOUR));
}

#[test]
fn a_hold_that_is_released_elsewhere_wakes_the_task_that_it_held() {
    let sim = Sim::new();
    let exit = sim.run(Runner::new(), async {
        let (send, receive) = std::sync::mpsc::channel();
        drop(spawn(async move {
            let mut section = Box::pin(shield(pending::<()>()));
            assert!(futures_lite::future::poll_once(&mut section).await.is_none());
            send.send(section).unwrap();
            pending::<()>().await;
        }));
        drop(spawn_shielded(async move {
            yield_now().await;
            let section = loop {
                match receive.try_recv() {
                    Ok(section) => break section,
                    Err(_) => yield_now().await,
                }
            };
            let scope = Scope::current();
            _ = scope.stop();
            while scope.phase() < Phase::Cancelling {
                yield_now().await;
            }
            for _ in 0..10 {
                yield_now().await;
            }
            drop(section);
        }));
    });
    assert!(exit.report().stragglers.is_empty(), "{}", exit.report());
    assert!(sim.elapsed() < Duration::from_secs(1), "{:?}", sim.elapsed());
}

#[test]
fn what_a_hook_leaves_is_dropped_when_its_scope_is_given_up() {
    let sim = Sim::new();
    let dropped = Arc::new(Mutex::new(None));
    let tells = dropped.clone();
    let exit = sim.run(Runner::new().timeout(HOUR), async move {
        struct Tells(Instant, Arc<Mutex<Option<Duration>>>);
        impl Drop for Tells {
            fn drop(&mut self) {
                let now = Scope::current().backend().now();
                *self.1.lock().unwrap() = Some(now - self.0);
            }
        }
        let tells = Tells(Scope::current().backend().now(), tells);
        let scope = adjourn_core::scope("db");
        scope.on_stopped(async move {
            let left = async move {
                let _tells = tells;
                pending::<()>().await;
            };
            _ = spawn_shielded(left).await;
        });
        drop(scope.spawn_shielded(pending::<()>()));
        yield_now().await;
        scope.stop().await.unwrap();
        sleep(HOUR).await;
    });
    assert_eq!(*dropped.lock().unwrap(), Some(HOUR), "{}", exit.report());
    assert_eq!(exit.report().totals["db"].cancelled, 2);
}

#[test]
fn a_straggler_is_as_old_as_its_first_poll() {
    let exit = Sim::new().run(Runner::new().timeout(HOUR), async {
        sleep(HOUR).await;
        drop(task("stubborn").spawn_shielded(pending::<()>()));
        sleep(HOUR).await;
        _ = Scope::current().stop();
        pending::<()>().await;
    });
    assert_eq!(exit.report().stragglers[0].age, Some(2 * HOUR - Duration::from_secs(2)));
}
