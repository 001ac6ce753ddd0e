//! The simulated executor: reproducible, on a clock of its own, and honest about deadlocks.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adjourn_core::rt::{BlockOn, Executor, Spawner, Timer};
use adjourn_core::{
    Event, FailureKind, FutureExt, Inspector, Phase, Report, ResultFutureExt, Scope, Signal,
    SignalSource, StopToken, Until, shield, spawn, spawn_blocking, spawn_graceful, spawn_shielded,
    task,
};
use adjourn_sim::{Fault, Runner, Sim, SimBackend, elapse, fault_point, violations};
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
        let local = Scope::current().typed::<SimBackend>().expect("inside a simulation");
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
                assert_eq!(took, Duration::from_secs(1), "with seed {seed}");
            }
            _ = Scope::current().stop();
        });
        assert_eq!(exit.exit_code(), 0, "{}", exit.report());
    }
}

#[test]
fn what_only_yields_does_not_take_the_time_of_those_that_are_cancelled() {
    let timeout = Duration::from_secs(10);
    for seed in 0..50 {
        let sim = if seed == 0 { Sim::new().fifo() } else { Sim::new().seed(seed) };
        let gap = Duration::from_nanos(1 + seed);
        let limits = Runner::new().timeout(timeout).drain_limit(timeout - gap);
        let exit = sim.run(limits.closing_reserve(Duration::ZERO), async {
            drop(spawn_shielded(async {
                while Scope::current().phase() < Phase::Cancelling {
                    yield_now().await;
                }
            }));
            drop(spawn_graceful(|_| pending::<()>()));
            _ = Scope::current().stop();
        });
        // Cancelled at the drain limit, shortly before the cut-off, and over in that instant.
        let report = exit.report();
        assert!(report.stragglers.is_empty(), "seed {seed}: {report}");
        assert_eq!(sim.elapsed(), timeout - gap, "seed {seed}: {report}");
        assert_eq!(report.total().cancelled, 1, "seed {seed}: {report}");
    }
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
            (
                format!("{:?}", scope.stop()),
                "ScopeStop { node: Node(\"root/http\"), ticket: None }",
            ),
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

#[test]
fn an_observer_is_told_by_the_driver_without_a_thread() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tells = seen.clone();
    let here = std::thread::current().id();
    let runner = Runner::new().observe(move |event: &Event, program: &Inspector| {
        assert_eq!(std::thread::current().id(), here);
        assert!(matches!(event, Event::Ended(_)) || program.phase().is_some());
        if let Event::Phase(span) = event {
            tells.lock().unwrap().push(span.phase);
        }
    });
    let stopper = runner.stopper();
    let exit = runner.run(async move {
        Scope::current().sleep(Duration::from_secs(3600)).await;
        stopper.stop();
        pending::<()>().await;
    });
    assert!(exit.report().is_clean(), "{}", exit.report());
    use Phase::{Cancelling, Closing, Draining, Stopped};
    assert_eq!(*seen.lock().unwrap(), [Draining, Cancelling, Closing, Stopped]);
}
