//! The simulated executor: reproducible, on a clock of its own, and honest about deadlocks.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adjourn_core::rt::{AnyBackend, Backend, BlockOn, Executor, Host, SpawnLocal, Spawner, Timer};
use adjourn_core::{
    FailureKind, FutureExt, Phase, Report, ResultFutureExt, Scope, Signal, SignalSource, StopToken,
    Until, shield, spawn, spawn_blocking, spawn_graceful, spawn_shielded, task,
};
use adjourn_sim::{Fault, Runner, Sim, SimLocal, elapse, fault_point, violations};
use futures_lite::future::{pending, yield_now};

const HOUR: Duration = Duration::from_secs(3600);

fn sleep(span: Duration) -> impl Future<Output = ()> + Send {
    Scope::current().sleep(span)
}

#[test]
fn hours_of_virtual_time_take_no_time() {
    let start = Instant::now();
    let sim = Sim::new();
    let exit = sim.run(Runner::new().timeout(10 * HOUR), async {
        drop(spawn_graceful(|stop| async move {
            stop.requested().await;
            sleep(5 * HOUR).await;
        }));
        sleep(HOUR).await;
        _ = Scope::current().stop();
        pending::<()>().await;
    });
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
    assert_eq!(sim.elapsed(), 6 * HOUR);
    let phases: Vec<_> = exit.report().phases.iter().map(|p| (p.phase, p.entered)).collect();
    assert_eq!(phases[1..3], [(Phase::Draining, HOUR), (Phase::Cancelling, 6 * HOUR)]);
    assert!(start.elapsed() < Duration::from_secs(30), "in hours of real time this would be wrong");
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

/// Some tasks that race for an order.
fn racing(sim: &Sim) -> (Vec<usize>, String) {
    let order = Arc::new(Mutex::new(Vec::new()));
    let exit = sim.run(Runner::new(), async {
        for number in 0..8 {
            let order = order.clone();
            drop(spawn(async move {
                for _ in 0..3 {
                    yield_now().await;
                    sleep(Duration::from_millis(10)).await;
                }
                order.lock().unwrap().push(number);
                if number == 5 {
                    panic!("five");
                }
            }));
        }
    });
    let order = order.lock().unwrap().clone();
    (order, format!("{:?}", exit.report()))
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let mut orders = Vec::new();
    for seed in 0..20 {
        let (one, other) = (Sim::new().seed(seed).traced(), Sim::new().seed(seed).traced());
        let (first, second) = (racing(&one), racing(&other));
        assert_eq!(first, second, "seed {seed}");
        assert_eq!(one.trace(), other.trace());
        assert_eq!(one.fingerprint(), other.fingerprint());
        orders.push(first.0);
    }
    orders.sort();
    orders.dedup();
    assert!(orders.len() > 10, "seeds explore schedules: {}", orders.len());
}

#[test]
fn fifo_polls_in_the_order_of_the_wakes() {
    assert_eq!(racing(&Sim::new().fifo()).0, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_deadlock_is_an_error_that_names_who_waits() {
    let sim = Sim::new().patience(Duration::ZERO);
    let exit = sim.run(Runner::new(), async {
        let (sender, receiver) = async_channel::bounded::<()>(1);
        let waiter = task("waiter").spawn(async move {
            _ = receiver.recv().await;
        });
        _ = waiter.await;
        drop(sender);
    });
    let failures = &exit.report().failures;
    assert_eq!(exit.report().phases.last().unwrap().phase, Phase::Forced);
    assert_eq!(failures[0].kind, FailureKind::Executor);
    assert!(failures[0].origin.contains("deadlock"), "{}", failures[0].origin);
    let text = failures[0].messages.join("\n");
    assert!(text.contains("\"waiter\"") && text.contains("\"main\""), "{text}");
    assert!(text.contains(file!()), "{text}");
    assert_eq!(exit.exit_code(), 124);
}

#[test]
fn a_thread_of_the_users_own_is_waited_for() {
    let sim = Sim::new().patience(Duration::from_secs(60));
    let runner = Runner::new();
    let stopper = runner.stopper();
    let exit = sim.run(runner, async move {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            stopper.stop();
        });
        pending::<()>().await;
    });
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
}

#[test]
fn what_only_yields_does_not_hold_the_time_still() {
    let sim = Sim::new();
    let exit = sim.run(Runner::new().timeout(Duration::from_secs(5)), async {
        drop(spawn_shielded(async {
            loop {
                yield_now().await;
            }
        }));
        _ = Scope::current().stop();
    });
    assert_eq!(exit.exit_code(), 124);
    assert!(sim.elapsed() < Duration::from_secs(6), "{:?}", sim.elapsed());
    assert!(sim.polls() < 2_000, "{}", sim.polls());
}

#[test]
fn ten_thousand_tasks_in_one_instant_leave_it_one() {
    let sim = Sim::new();
    let exit = sim.run(Runner::new(), async {
        for _ in 0..10_000 {
            drop(spawn(yield_now()));
        }
    });
    assert_eq!(sim.elapsed(), Duration::ZERO);
    assert_eq!(exit.report().total().finished, 10_001);
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

#[test]
fn what_is_left_is_dropped_before_run_returns() {
    struct Count(Arc<AtomicUsize>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let runner = Runner::new().timeout(Duration::from_secs(1));
    let exit = Sim::new().run(runner, async {
        for _ in 0..10 {
            let count = Count(dropped.clone());
            drop(spawn(async move {
                let _count = count;
                shield(pending::<()>()).await;
            }));
        }
        yield_now().await;
        _ = Scope::current().stop();
    });
    assert_eq!(dropped.load(SeqCst), 10);
    assert!(violations(exit.report()).is_empty());
}

#[test]
fn a_blocking_job_runs_and_may_take_long() {
    let sim = Sim::new();
    let exit = sim.run(Runner::new(), async {
        let job = spawn_blocking(|| {
            elapse(HOUR);
            7
        });
        assert_eq!(job.await.unwrap(), 7);
    });
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
    assert_eq!(sim.elapsed(), HOUR);
}

#[test]
fn futures_that_are_not_send_run_beside_the_others() {
    let value = Sim::new().run(Runner::new(), async {
        let local = SimLocal::current().expect("inside a simulation");
        let shared = std::rc::Rc::new(std::cell::Cell::new(1));
        let inner = shared.clone();
        let handle = local.spawn_local(async move {
            yield_now().await;
            inner.set(2);
        });
        handle.await.unwrap();
        assert_eq!(shared.get(), 2);
    });
    assert_eq!(value.exit_code(), 0, "{}", value.report());
}

#[test]
fn an_executor_can_be_driven_by_hand() {
    let executor = Sim::new().build().unwrap();
    let backend = executor.backend();
    let handle = backend.spawn(async { 3 });
    assert_eq!(executor.block_on(handle).unwrap(), 3);
    let start = backend.now();
    executor.block_on(backend.sleep(HOUR));
    assert_eq!(backend.now() - start, HOUR);
    let left = backend.spawn(pending::<()>());
    drop(executor);
    let refused = backend.spawn(async { 4 });
    assert!(futures_lite::future::block_on(left).is_err());
    assert!(futures_lite::future::block_on(refused).is_err());
}

#[test]
fn faults_come_where_they_are_planned() {
    let run = |fault| {
        let sim = Sim::new().fault("hook", 1, fault);
        let runner = Runner::new()
            .timeout(Duration::from_secs(1))
            .on_stopped(async || fault_point("hook").await);
        (sim.run(runner, async {}), sim.elapsed())
    };
    let kind = |fault| run(fault).0.report().failures[0].kind;
    assert_eq!(kind(Fault::Error), FailureKind::HookError);
    assert_eq!(kind(Fault::Panic), FailureKind::HookPanic);
    assert_eq!(kind(Fault::Hang), FailureKind::HookOverdue);
    let (jumped, elapsed) = run(Fault::Jump(HOUR));
    assert_eq!(elapsed, HOUR);
    assert!(violations(jumped.report()).is_empty());
}

#[test]
fn faults_are_drawn_from_the_seed() {
    let failures = |seed| {
        let sim = Sim::new().seed(seed).faults(3);
        let exit = sim.run(Runner::new().timeout(Duration::from_secs(9)), async {
            for _ in 0..20 {
                drop(spawn(async { fault_point("work").await }.until_stop()));
            }
            sleep(HOUR).await;
            _ = Scope::current().stop();
        });
        exit.report().total()
    };
    assert_eq!(failures(1), failures(1));
    assert!((0..10).any(|seed| failures(seed) != failures(1)));
    assert!((0..10).any(|seed| failures(seed).panicked > 0));
}

#[test]
fn a_clock_that_jumps_past_the_deadline_ends_the_program() {
    let sim = Sim::new().fifo().jump(4, HOUR);
    let exit = sim.run(Runner::new().until(Until::Stopped), async {
        drop(spawn_graceful(|stop: StopToken| async move {
            stop.requested().await;
            yield_now().await;
            yield_now().await;
        }));
        _ = Scope::current().stop();
        yield_now().await;
    });
    assert_eq!(sim.elapsed(), HOUR);
    assert!(violations(exit.report()).is_empty(), "{}", exit.report());
}

#[test]
fn no_thread_and_no_signal_handler_is_there() {
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count());
    let before = threads();
    let exit = Sim::new().run(Runner::new(), async move {
        // Other tests' threads may come and go: none of ours has the supervisors' names.
        let names = std::fs::read_dir("/proc/self/task").unwrap();
        let names =
            names.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        let ours: Vec<_> = names.filter(|name| name.starts_with("adjourn")).collect();
        assert!(ours.is_empty(), "{ours:?} of {before}");
    });
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
}

/// An executor that no longer comes to what it runs: the future after the driver's and `main`'s.
#[derive(Clone)]
struct Wedged {
    inner: adjourn_sim::SimBackend,
    spawned: Arc<AtomicUsize>,
}

impl Spawner for Wedged {
    type Handle<T: Send + 'static> = adjourn_sim::SimHandle<T>;

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

#[test]
fn an_attached_program_gives_up_on_what_is_not_dropped_before_the_deadline() {
    let executor = Sim::new().build().unwrap();
    let backend = Wedged { inner: executor.backend(), spawned: Arc::default() };
    let start = backend.now();
    let runner = Runner::new().timeout(HOUR);
    let exit = executor.block_on(runner.attach_to(&backend, async {
        drop(task("wedged").spawn(pending::<()>()));
        yield_now().await;
        _ = Scope::current().stop();
    }));
    assert_eq!(exit.exit_code(), 124, "{}", exit.report());
    assert_eq!(exit.report().total().abandoned, 1, "{}", exit.report());
    // The cut-off comes 2 s before the deadline, the end a little before that.
    assert_eq!(backend.now() - start, HOUR - Duration::from_millis(50));
}

#[test]
fn violations_tells_what_contradicts_itself() {
    let exit = Sim::new().run(Runner::new(), async { drop(spawn(yield_now())) });
    let says = |change: fn(&mut Report), what: &str| {
        let mut report = exit.report().clone();
        assert_eq!(violations(&report), [""; 0]);
        change(&mut report);
        let found = violations(&report).join("; ");
        assert!(found.contains(what), "{what:?} is not in {found:?}");
    };
    says(|report| report.phases.swap(1, 2), "came after");
    says(|report| report.phases[1].left = None, "did not end when");
    says(|report| _ = report.phases.pop(), "the last phase is");
    says(|report| report.reasons.clear(), "without a cause");
    says(|report| report.forced = Some(Signal::INTERRUPT), "forced, but");
    says(|report| report.totals.get_mut("root").unwrap().finished = 1, "accounted for");
    says(|report| report.totals.get_mut("root").unwrap().live = 1, "alive after the end");
}

#[test]
fn what_only_yields_lets_all_others_see_the_time_before_it_moves_on() {
    for seed in 0..200 {
        let sim = Sim::new().seed(seed);
        let exit = sim.run(Runner::new(), async {
            drop(spawn(async {
                loop {
                    yield_now().await;
                }
            }));
            for _ in 0..20 {
                let start = Scope::current().backend().now();
                sleep(Duration::from_secs(1)).await;
                let took = Scope::current().backend().now() - start;
                assert!(took < Duration::from_secs(2), "{took:?} with seed {seed}");
            }
            _ = Scope::current().stop();
        });
        assert_eq!(exit.exit_code(), 0, "{}", exit.report());
    }
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

/// Panics when it is dropped, but not in a panic.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "a bomb");
    }
}

#[test]
fn what_handlers_sources_and_hooks_hold_may_panic_when_it_is_dropped() {
    struct Source(#[allow(dead_code, reason = "dropped with it")] Bomb);
    impl SignalSource for Source {
        fn poll_signal(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Signal>> {
            std::task::Poll::Pending
        }
    }
    let (handler, hook) = (Bomb, Bomb);
    let runner = Runner::new()
        .timeout(HOUR)
        .signal_source(Source(Bomb))
        .on_signal(move |_, _| _ = &handler)
        .on_stopped(async move {
            pending::<()>().await;
            drop(hook);
        });
    let exit = Sim::new().run(runner, async {});
    let kinds: Vec<_> = exit.report().failures.iter().map(|failure| failure.kind).collect();
    assert_eq!(kinds, [FailureKind::HookOverdue], "{}", exit.report());
}

#[test]
fn each_type_says_what_it_is() {
    let runner = Runner::new();
    let stopper = runner.stopper();
    let exit = Sim::new().run(runner, async move {
        let scope = adjourn_core::scope("http");
        let stop = scope.stop_token();
        let handle = scope.spawn(async {});
        for (text, starts) in [
            (format!("{scope:?}"), "Scope(\"root/http\")"),
            (format!("{stop:?}"), "StopToken { scope: \"root/http\", is_requested: false }"),
            (format!("{:?}", stop.requested()), "Requested { scope: \"root/http\", .. }"),
            (format!("{stopper:?}"), "Stopper { .. }"),
            (format!("{handle:?}"), "JoinHandle { is_finished: false }"),
            (format!("{:?}", scope.backend()), "AnyBackend(\"sim\")"),
            (format!("{:?}", scope.sleep(HOUR)), "AnySleep { .. }"),
            (format!("{:?}", scope.backend().spawn(async {})), "AnyHandle { .. }"),
            (format!("{:?}", yield_now().until_stop()), "UntilStop { .. }"),
            (format!("{:?}", yield_now().in_scope(&scope)), "InScope { scope: \"root/http\", .. }"),
            (format!("{:?}", shield(yield_now())), "Shield { place: Location { file"),
            (format!("{:?}", yield_now().on_cancel(async {})), "OnCancel { cleaning: false, .. }"),
            (
                format!("{:?}", async { Err::<(), _>("no") }.or_stop()),
                "OrReport { stop: true, .. }",
            ),
            (format!("{:?}", scope.stop()), "ScopeStop { node: Node(\"root/http\"), key: None }"),
            (
                format!("{:?}", adjourn_core::rt::Threads::default()),
                "Threads { workers: None, blocking: None, .. }",
            ),
        ] {
            assert!(text.starts_with(starts), "{text} is not {starts}");
        }
    });
    assert_eq!(exit.exit_code(), 0, "{}", exit.report());
}
