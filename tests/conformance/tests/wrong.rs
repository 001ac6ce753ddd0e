//! The kit bites: adapters that are wrong in one thing each, and the scenarios that they fail.
//!
//! Each is a right adapter (Tokio's, on one thread) with one fault. Every scenario is run on it, in
//! a process of its own, since faults may hang or abort; what fails has to be what is listed. On Unix
//! alone: many faults are found by scenarios about signals.
#![cfg(unix)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::env;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use adjourn_conformance::{CountingAllocator, Scenario, Subject, scenarios};
use adjourn_core::rt::{
    AnyBackend, Backend, BlockOn, Executor, Shutdown, SpawnBlocking, Spawner, Threads, Timer,
    Unfinished,
};
use adjourn_core::{ExecutorGone, StartError};
use adjourn_tokio::{Tokio, TokioExecutor, TokioHandle};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Which fault this process's adapter has.
const FAULT: &str = "ADJOURN_WRONG_FAULT";
/// Which scenario this process runs.
const SCENARIO: &str = "ADJOURN_WRONG_SCENARIO";

/// Whether this process's adapter has the fault.
fn is_wrong(fault: &str) -> bool {
    static OWN: OnceLock<Option<String>> = OnceLock::new();
    OWN.get_or_init(|| env::var(FAULT).ok()).as_deref() == Some(fault)
}

/// Makes a test of each fault: its name, what has to fail, what may fail by the threads' timing, and
/// which topics are run where all would take too long.
macro_rules! faults {
    ($(
        $(#[$doc:meta])*
        $fault:ident fails [$($expected:literal),* $(,)?]
            $(, perhaps [$($perhaps:literal),*])? $(, among [$($topic:literal),*])?
    )*) => {
        $(
            $(#[$doc])*
            #[test]
            fn $fault() {
                let (expected, perhaps) = (&[$($expected),*], &[$($($perhaps),*)?]);
                fails_exactly(stringify!($fault), expected, perhaps, &[$($($topic),*)?]);
            }
        )*
    };
}

faults! {
    /// The control: what is listed below is the faults' doing.
    nothing_is_wrong fails []

    /// Dropping the handle of a future that has begun cancels it.
    cancels_on_drop fails ["tasks::drop_is_detach", "first::handle_detaches"]

    /// What awaited a handle that is dropped stays with the task.
    keeps_wakers fails ["tasks::dropped_handle_keeps_no_waker"], among ["tasks"]

    /// A task that panicked looks like one whose executor is gone.
    loses_panics fails [
        "tasks::panic_keeps_its_payload",
        "tasks::destructor_panic_on_abort",
        "blocking::panic_caught",
        "tasks::destructor_panic_at_completion",
    ]

    /// What is left on the executor is leaked. A straggler may be polled, and dropped, just before.
    never_drops fails [
        "executor_end::drop_drops_futures",
        "executor_end::handles_resolve_to_executor_gone",
        "executor_end::spawn_after_the_end_refused",
        "tasks::destructor_panic_at_executor_drop",
    ], perhaps ["stop::shield_bounded_by_the_deadline"]

    /// The end is said to be over before it is.
    ends_too_soon fails ["executor_end::drop_drops_futures"]

    /// A task that is over still counts.
    counts_tasks_that_are_over fails ["executor_end::own_tasks_are_not_untracked"]

    /// Spawning after the end panics.
    panics_on_late_spawns fails ["executor_end::spawn_after_the_end_refused"]

    /// The end waits for what is stuck, for as long as that takes.
    waits_for_ever fails [
        "blocking::stuck_job_does_not_outlast_the_deadline",
        "executor_end::shutdown_keeps_its_time",
    ]

    /// A wake is two polls.
    wakes_twice fails ["stop::each_waiter_woken_once"]

    /// A future is polled once more when it was ready.
    polls_after_ready fails [
        "tasks::late_wake_is_a_no_op",
        "stop::each_waiter_woken_once",
    ]

    /// A future is polled inside `spawn`.
    polls_inside_spawn fails [
        "first::spawn_does_not_poll",
        "threads::worker_count_is_kept",
        "tasks::never_polled_inside_spawn",
        "executor_end::spawn_after_the_end_refused",
        "tasks::abort_acts_only_at_a_yield",
        "tasks::abort_before_the_first_poll_never_enters_the_body",
    ]

    /// What another thread spawns is only noticed at the next spawn of its own.
    sleeps_through_foreign_spawns fails ["tasks::spawn_from_a_foreign_thread"]

    /// A job is started by whoever awaits its handle.
    forgets_jobs fails [
        "blocking::dropped_queued_job_runs",
        "blocking::job_leaves_the_executor_free",
        "executor_end::shutdown_keeps_its_time",
        "blocking::panic_caught",
        "blocking::running_job_reported",
        "blocking::stuck_job_does_not_outlast_the_deadline",
        "stop::spawn_in_each_phase",
    ]

    /// Erased, it has no pool.
    erases_its_pool fails [
        "blocking::dropped_queued_job_runs",
        "blocking::panic_caught",
        "blocking::running_job_reported",
        "blocking::stuck_job_does_not_outlast_the_deadline",
        "stop::spawn_in_each_phase",
    ]

    /// A sleep takes half its time.
    sleeps_half fails ["time::never_early"]

    /// A sleep of no time waits for the next one's end, which never comes.
    sleeps_for_ever_on_zero fails [
        "time::zero_completes",
        "time::never_early",
    ]

    /// The longest sleep overflows, and is over at once.
    overflows fails ["time::duration_max_stays_pending"]

    /// A dropped sleep wakes its task all the same. It does so by a task of its own, which may be alive at
    /// the end.
    wakes_from_dropped_sleeps fails ["time::dropped_sleep_is_inert"],
        perhaps ["executor_end::own_tasks_are_not_untracked"]

    /// A sleep that is polled again panics.
    sleeps_only_once fails ["time::re_poll_after_ready"]

    /// A panic in a destructor is the end of the process.
    aborts_on_a_destructors_panic fails [
        "tasks::destructor_panic_on_abort",
        "tasks::destructor_panic_at_completion",
        "tasks::destructor_panic_at_executor_drop",
    ]

    /// Its end takes all the time that it is given.
    takes_its_time_to_end fails [
        "executor_end::shutdown_keeps_its_time",
        "executor_end::count_reaches_0",
        "executor_end::handle_outlives_the_executor",
        "executor_end::spawn_after_the_end_refused",
    ], among ["executor_end"]

    /// What is stuck at its end keeps it for ever, though nothing blocks.
    never_says_that_it_has_ended fails [
        "executor_end::shutdown_keeps_its_time",
    ], among ["executor_end", "blocking"]

    /// `on_start` is called on none of its threads.
    forgets_on_start fails ["threads::on_start_called_first"]

    /// It says that its wakes wait for nobody. Another thread's waits until no task is polled.
    waits_where_it_wakes fails ["threads::wakes_wait_for_nobody"], among ["threads"]

    /// As above, of one with a worker, whose wakes wait for the calling thread.
    waits_for_the_caller fails ["threads::wakes_wait_for_nobody"], among ["threads"]

    /// As above, of one that polls the task where it is woken.
    polls_where_it_wakes fails ["threads::wakes_wait_for_nobody"], among ["threads"]

    /// As above, of one that only notices another thread's wakes at the next spawn.
    sleeps_through_foreign_wakes fails ["threads::wakes_wait_for_nobody"], among ["threads"]

    /// It has two workers, whatever it is asked for. (Whatever counts on one thread may fail by chance.)
    has_two_workers fails [
        "threads::worker_count_is_kept",
    ], among ["threads"]

    /// A sleep is cut to whole milliseconds.
    sleeps_whole_milliseconds fails ["time::never_early"]

    /// A job is polled as a task.
    jobs_are_tasks fails [
        "blocking::job_leaves_the_executor_free",
        "blocking::stuck_job_does_not_outlast_the_deadline",
        "executor_end::shutdown_keeps_its_time",
    ]

    /// What has woken itself sixteen times in a row is taken to be stuck, and dropped.
    drops_what_yields fails [
        "stop::who_asks_is_told",
        "stop::order_of_scopes",
        "time::deadline_fires_beside_a_sibling_that_is_always_ready",
    ]

    /// What is spawned while many futures are alive is dropped, as by a queue that is full.
    drops_what_is_too_much fails [
        "stop::accepted_is_told_or_refused",
    ], among ["stop"]

    /// As above, of main: it is not polled any more.
    forgets_a_main_that_yields fails [
        "stop::main_may_ask_though_the_stop_came_first",
        "stop::asked_past_adjourn_counts_for_main",
    ], among ["stop"]

    /// It ignores SIGINT for the whole process.
    ignores_sigint fails [
        "processes::sigterm_and_sigint_stop",
        "processes::second_sigint_with_wedged_workers",
    ]

    /// It gives SIGTERM its default action, for the whole process.
    takes_sigterm fails [
        "processes::sigterm_and_sigint_stop",
        "executor_end::stuck_worker_and_the_deadline_still_fires",
        "processes::a_burst_is_one_request",
        "processes::exit_codes",
        "processes::handler_before_the_first_poll",
        "processes::nohups_ignored_sighup_stays_ignored",
        "processes::run_twice",
        "processes::stopped_process_ends_cleanly",
        "processes::two_thousand_sigusr1_then_sigterm_not_lost",
        "processes::a_second_listener_coexists",
    ]
}

/// Runs one scenario on one wrong adapter, as the environment says.
#[test]
#[ignore = "what the other tests run, each time in a process of its own"]
fn case() {
    let Ok(wanted) = env::var(SCENARIO) else { return };
    let scenario = scenarios().iter().find(|scenario| scenario.to_string() == wanted);
    let scenario: &Scenario = scenario.expect("the name of a scenario");
    scenario.run(wrong, "case");
}

/// The first check on one wrong adapter.
#[test]
#[ignore = "what other tests run, in a process of its own"]
fn first() {
    if env::var(FAULT).is_ok() {
        adjourn_conformance::first_check(wrong).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A test as the macro makes it, on one wrong adapter.
#[test]
#[ignore = "what another test runs, in a process of its own"]
fn gated() {
    if env::var(FAULT).is_ok() {
        adjourn_conformance::__run("tasks", "value_returned", wrong, "wrong::gated");
    }
}

fn wrong() -> Subject {
    if is_wrong("waits_for_the_caller") {
        return Subject::owned::<WrongExecutor<true>>().workers(1);
    }
    let at_once = ["waits_where_it_wakes", "polls_where_it_wakes", "sleeps_through_foreign_wakes"];
    if at_once.into_iter().any(is_wrong) {
        return Subject::owned::<WrongExecutor<true>>().workers(0);
    }
    Subject::owned::<WrongExecutor<false>>().workers(0)
}

#[test]
fn the_commonest_mistakes_are_told_at_once() {
    for (fault, name, clause) in [
        ("drives_nothing", "block_on_drives", "what is spawned is driven meanwhile"),
        ("polls_inside_spawn", "spawn_does_not_poll", "never inside `spawn`"),
        ("cancels_on_drop", "handle_detaches", "a handle that is dropped detaches"),
        ("sleeps_for_ever", "sleep_resolves", "a sleep resolves once its time has come"),
    ] {
        let start = Instant::now();
        let (passes, said) = start_anew(fault, "first", &[]);
        assert!(!passes, "{fault} passes:\n{said}");
        assert!(said.contains(&format!("first::{name} is not met by wrong")), "{fault}:\n{said}");
        assert!(said.contains(clause), "{fault}:\n{said}");
        // A second, and far less than the watchdog.
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        let (passes, said) = start_anew(fault, "gated", &[]);
        assert!(!passes, "{fault} passes:\n{said}");
        assert!(said.contains("tasks::value_returned was not run"), "{fault}:\n{said}");
        assert!(said.contains(&format!("first::{name} is not met by wrong")), "{fault}:\n{said}");
    }
    assert!(start_anew("nothing_is_wrong", "first", &[]).0);
    assert!(start_anew("nothing_is_wrong", "gated", &[]).0);
}

/// Runs a scenario on an adapter with a fault; returns whether it passes, and what is said.
fn run(fault: &str, scenario: &str, watchdog: &str) -> (bool, String) {
    let given = [(SCENARIO, scenario), ("ADJOURN_CONFORMANCE_WATCHDOG", watchdog)];
    start_anew(fault, "case", &given)
}

/// Runs a test of this binary in a process of its own, on an adapter with a fault.
fn start_anew(fault: &str, test: &str, given: &[(&str, &str)]) -> (bool, String) {
    let output = Command::new(env::current_exe().expect("the test binary has a path"))
        .args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(FAULT, fault)
        .envs(given.iter().copied())
        .env_remove("RUST_BACKTRACE") // a backtrace allocates, and the allocations are counted
        .stdin(Stdio::null())
        .output()
        .expect("the test binary starts anew");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_failure_says_what_the_contract_wants() {
    let (passes, said) = run("cancels_on_drop", "tasks::drop_is_detach", "15");
    assert!(!passes, "{said}");
    for text in [
        "tasks::drop_is_detach is not met by wrong, workers: 0",
        "the contract: a handle that is dropped detaches: the future goes on (rt, Contract)",
        "found: a handle dropped when the task had begun cancelled its future",
    ] {
        assert!(said.contains(text), "{text:?} is not in {said}");
    }
}

#[test]
fn what_hangs_fails_by_its_name() {
    let stuck = "blocking::stuck_job_does_not_outlast_the_deadline";
    let (passes, said) = run("waits_for_ever", stuck, "3");
    assert!(!passes, "{said}");
    assert!(said.contains(&format!("{stuck} is not met by wrong, workers: 0")), "{said}");
    assert!(said.contains("it hangs: nothing has moved for 3s"), "{said}");
}

#[test]
fn what_moves_takes_as_long_as_it_takes() {
    // More than 20 spawns, each of which opens a gate: 5 s in all.
    let (passes, said) = run("dawdles", "stop::grandchildren_reached", "3");
    assert!(passes, "{said}");
}

#[track_caller]
fn fails_exactly(fault: &str, expected: &[&str], perhaps: &[&str], topics: &[&str]) {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(BTreeSet::new()));
    thread::scope(|threads| {
        // What hangs takes time, not a processor.
        for _ in 0..4 {
            threads.spawn(|| {
                while let Some(scenario) = scenarios().get(next.fetch_add(1, SeqCst)) {
                    let name = scenario.to_string();
                    if !topics.is_empty() && !topics.contains(&scenario.topic()) {
                        continue;
                    }
                    if !run(fault, &name, "15").0 {
                        failed.lock().expect("nobody panics here").insert(name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("nobody panics here");
    let expected: BTreeSet<_> = expected.iter().map(|&name| name.to_owned()).collect();
    let missed: Vec<_> = expected.difference(&failed).collect();
    let beside = failed.difference(&expected).filter(|name| !perhaps.contains(&name.as_str()));
    let beside: Vec<_> = beside.collect();
    assert!(
        missed.is_empty() && beside.is_empty(),
        "{fault}: not noticed by {missed:?}; failed too: {beside:?}"
    );
}

// ---- the adapter: Tokio's, with a fault where `is_wrong` says so

struct WrongExecutor<const WAKES_AT_ONCE: bool> {
    right: ManuallyDrop<TokioExecutor>,
    shared: Arc<Shared>,
}

struct Shared {
    /// The thread that drives everything.
    own: ThreadId,
    ended: AtomicBool,
    /// Counts the futures that are alive.
    alive: Arc<()>,
    /// What other threads have spawned or woken and nobody has noticed.
    unnoticed: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

#[derive(Clone)]
struct Wrong {
    right: Tokio,
    shared: Arc<Shared>,
}

/// A handle, and what it has to do with its future.
struct WrongHandle<T> {
    right: Inner<T>,
    fate: Arc<Fate>,
}

/// Those that awaited a handle.
static KEPT: Mutex<Vec<Waker>> = Mutex::new(Vec::new());

enum Inner<T> {
    Never,
    Gone,
    Right(TokioHandle<T>),
    Ready(Option<Box<T>>),
    Later(Option<Box<dyn FnOnce() -> TokioHandle<T> + Send>>),
    Unnoticed(Arc<Mutex<Slot<T>>>),
}

/// Where the handle of a spawn that waits to be noticed comes to.
enum Slot<T> {
    Empty(Option<Waker>),
    Full(TokioHandle<T>),
}

#[derive(Default)]
struct Fate {
    begun: AtomicBool,
    cancelled: AtomicBool,
    panicked: AtomicBool,
}

/// A future, polled wrongly.
struct WrongFuture<F: Future> {
    future: Option<Pin<Box<F>>>,
    fate: Arc<Fate>,
    extra: bool,
    yields: Yields,
    shared: Arc<Shared>,
    _alive: Arc<()>,
}

/// Held while a task or `main` is polled, by an adapter whose wakes wait for that.
static POLLING: RwLock<()> = RwLock::new(());

thread_local! {
    /// Whether this thread has polled tasks: it is one of the executor's.
    static POLLS: Cell<bool> = const { Cell::new(false) };
}

/// A waker that is wrong about other threads' wakes.
struct WrongWake {
    task: Waker,
    shared: Arc<Shared>,
}

impl Wake for WrongWake {
    fn wake(self: Arc<Self>) {
        if POLLS.get() {
            return self.task.wake_by_ref();
        }
        if is_wrong("sleeps_through_foreign_wakes") {
            let mut unnoticed = self.shared.unnoticed.lock().expect("nobody panics here");
            let task = self.task.clone();
            return unnoticed.push(Box::new(move || task.wake()));
        }
        let _waits = POLLING.write();
        self.task.wake_by_ref();
    }
}

/// A task that is polled by whoever wakes it.
struct InPlace {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    task: Mutex<Option<Waker>>,
}

impl InPlace {
    fn poll(self: &Arc<Self>) {
        let Ok(mut future) = self.future.try_lock() else { return };
        let waker = Waker::from(self.clone());
        let polled = future.as_mut().map(|one| one.as_mut().poll(&mut Context::from_waker(&waker)));
        if polled.is_some_and(|polled| polled.is_ready()) {
            *future = None;
        }
    }
}

impl Wake for InPlace {
    fn wake(self: Arc<Self>) {
        self.poll();
        let task = self.task.lock().expect("nobody panics here").take();
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// How often in a row something woke itself.
#[derive(Default)]
struct Yields {
    own: Arc<OwnWake>,
    count: usize,
}

/// A waker that notes whether it was used in the poll that it was given to.
#[derive(Default)]
struct OwnWake {
    task: Mutex<Option<Waker>>,
    polling: AtomicBool,
    used: AtomicBool,
    /// What is woken in its own poll is lost.
    deaf: AtomicBool,
}

impl Wake for OwnWake {
    fn wake(self: Arc<Self>) {
        if self.polling.load(SeqCst) {
            self.used.store(true, SeqCst);
            if self.deaf.load(SeqCst) {
                return;
            }
        }
        let task = self.task.lock().expect("nobody panics here").clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Yields {
    /// Polls; returns too whether it has woken itself sixteen times in a row.
    fn poll<R>(&mut self, cx: &Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> R) -> (R, bool) {
        *self.own.task.lock().expect("nobody panics here") = Some(cx.waker().clone());
        self.own.polling.store(true, SeqCst);
        self.own.used.store(false, SeqCst);
        let waker = Waker::from(self.own.clone());
        let polled = poll(&mut Context::from_waker(&waker));
        self.own.polling.store(false, SeqCst);
        self.count = if self.own.used.load(SeqCst) { self.count + 1 } else { 0 };
        (polled, self.count >= 16)
    }
}

impl<F: Future> Future for WrongFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.fate.begun.store(true, SeqCst);
        if this.fate.cancelled.load(SeqCst) {
            this.future = None;
        }
        let Some(future) = this.future.as_mut() else { return Poll::Pending };
        if is_wrong("drops_what_yields") {
            let (polled, stuck) = this.yields.poll(cx, |cx| future.as_mut().poll(cx));
            if stuck {
                this.future = None;
            }
            return polled;
        }
        if is_wrong("waits_where_it_wakes") || is_wrong("sleeps_through_foreign_wakes") {
            POLLS.set(true);
            let _polling = POLLING.read();
            let wake = WrongWake { task: cx.waker().clone(), shared: this.shared.clone() };
            return future.as_mut().poll(&mut Context::from_waker(&Arc::new(wake).into()));
        }
        if is_wrong("waits_for_the_caller") {
            POLLS.set(true);
            let wake = WrongWake { task: cx.waker().clone(), shared: this.shared.clone() };
            return future.as_mut().poll(&mut Context::from_waker(&Arc::new(wake).into()));
        }
        let polled = watched(&this.fate, || future.as_mut().poll(cx));
        if polled.is_pending() && is_wrong("wakes_twice") {
            this.extra = !this.extra;
            if this.extra {
                cx.waker().wake_by_ref();
            }
        }
        if polled.is_ready() && is_wrong("polls_after_ready") {
            let again = || _ = future.as_mut().poll(cx).is_ready();
            _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(again));
        }
        polled
    }
}

impl Spawner for Wrong {
    type Handle<T: Send> = WrongHandle<T>;

    fn spawn<F>(&self, future: F) -> WrongHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let fate = Arc::new(Fate::default());
        let handle = |right| WrongHandle { right, fate: fate.clone() };
        let future = WrongFuture {
            future: Some(Box::pin(future)),
            fate: fate.clone(),
            extra: false,
            yields: Yields::default(),
            shared: self.shared.clone(),
            _alive: self.shared.alive.clone(),
        };
        let alive = Arc::strong_count(&self.shared.alive);
        if is_wrong("drops_what_is_too_much") && alive > 40 {
            return handle(Inner::Gone);
        }
        if is_wrong("drives_nothing") {
            std::mem::forget(future);
            return handle(Inner::Never);
        }
        if is_wrong("dawdles") {
            thread::sleep(Duration::from_millis(250));
        }
        if is_wrong("panics_on_late_spawns") && self.shared.ended.load(SeqCst) {
            panic!("the executor is gone");
        }
        if is_wrong("polls_inside_spawn") {
            let mut future = future;
            let polled = Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()));
            return handle(match polled {
                Poll::Ready(output) => Inner::Ready(Some(Box::new(output))),
                Poll::Pending => Inner::Right(self.right.spawn(future)),
            });
        }
        let is_foreign = thread::current().id() != self.shared.own;
        if is_foreign && is_wrong("sleeps_through_foreign_spawns") {
            let slot = Arc::new(Mutex::new(Slot::Empty(None)));
            let (right, filled) = (self.right.clone(), slot.clone());
            let notice = move || {
                let full = Slot::Full(right.spawn(future));
                let mut slot = filled.lock().expect("nobody panics here");
                if let Slot::Empty(Some(waker)) = std::mem::replace(&mut *slot, full) {
                    waker.wake();
                }
            };
            let mut unnoticed = self.shared.unnoticed.lock().expect("nobody panics here");
            unnoticed.push(Box::new(notice));
            return handle(Inner::Unnoticed(slot));
        }
        if is_wrong("polls_where_it_wakes") {
            let output = Arc::new(Mutex::new(None));
            let slot = output.clone();
            let future = Box::pin(async move {
                let value = future.await;
                *slot.lock().expect("nobody panics here") = Some(value);
            });
            let task = InPlace { future: Mutex::new(Some(future)), task: Mutex::default() };
            let task = Arc::new(task);
            return handle(Inner::Right(self.right.spawn(std::future::poll_fn(move |cx| {
                *task.task.lock().expect("nobody panics here") = Some(cx.waker().clone());
                task.poll();
                let output = output.lock().expect("nobody panics here").take();
                output.map_or(Poll::Pending, Poll::Ready)
            }))));
        }
        let unnoticed =
            std::mem::take(&mut *self.shared.unnoticed.lock().expect("nobody panics here"));
        unnoticed.into_iter().for_each(|notice| notice());
        handle(Inner::Right(self.right.spawn(future)))
    }
}

impl SpawnBlocking for Wrong {
    fn spawn_blocking<F, T>(&self, job: F) -> WrongHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let backend = self.right.clone();
        let fate = Arc::new(Fate::default());
        let own = fate.clone();
        let job = move || watched(&own, job);
        let right = if is_wrong("jobs_are_tasks") {
            Inner::Right(backend.spawn(async move { job() }))
        } else if is_wrong("forgets_jobs") {
            Inner::Later(Some(Box::new(move || backend.spawn_blocking(job))))
        } else {
            Inner::Right(backend.spawn_blocking(job))
        };
        WrongHandle { right, fate }
    }
}

impl<T: Send> Future for WrongHandle<T> {
    type Output = Result<T, ExecutorGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if is_wrong("keeps_wakers") {
            KEPT.lock().expect("nobody panics here").push(cx.waker().clone());
        }
        if let Inner::Later(start) = &mut self.right {
            let start = start.take().expect("it is replaced at once");
            self.right = Inner::Right(start());
        }
        let output = match &mut self.right {
            Inner::Ready(output) => Ok(*output.take().expect("it is polled once")),
            Inner::Right(right) => std::task::ready!(Pin::new(right).poll(cx)),
            Inner::Unnoticed(slot) => match &mut *slot.lock().expect("nobody panics here") {
                Slot::Full(right) => std::task::ready!(Pin::new(right).poll(cx)),
                Slot::Empty(waker) => {
                    *waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            },
            Inner::Gone => return Poll::Ready(Err(ExecutorGone)),
            Inner::Later(_) | Inner::Never => return Poll::Pending,
        };
        if self.fate.panicked.load(SeqCst) && is_wrong("loses_panics") {
            return Poll::Ready(Err(ExecutorGone));
        }
        Poll::Ready(output)
    }
}

thread_local! {
    /// How often this thread has panicked, where the hook counts.
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Notes in a fate whether something panicked, though it was caught.
fn watched<T>(fate: &Fate, run: impl FnOnce() -> T) -> T {
    let before = PANICS.get();
    let output = run();
    if PANICS.get() > before {
        fate.panicked.store(true, SeqCst);
    }
    output
}

impl<T> Drop for WrongHandle<T> {
    fn drop(&mut self) {
        if is_wrong("cancels_on_drop") && self.fate.begun.load(SeqCst) {
            self.fate.cancelled.store(true, SeqCst);
        }
    }
}

/// A sleep that is wrong about its end.
struct WrongSleep {
    right: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    /// Whom a dropped sleep wakes.
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Future for WrongSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        *self.waker.lock().expect("nobody panics here") = Some(cx.waker().clone());
        let Some(right) = self.right.as_mut() else { panic!("a sleep was polled again") };
        std::task::ready!(right.as_mut().poll(cx));
        if is_wrong("sleeps_only_once") {
            self.right = None;
        }
        Poll::Ready(())
    }
}

impl Timer for Wrong {
    type Sleep = WrongSleep;

    fn now(&self) -> Instant {
        self.right.now()
    }

    fn sleep(&self, span: Duration) -> WrongSleep {
        let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
        let right: Pin<Box<dyn Future<Output = ()> + Send + Sync>> = match span {
            _ if is_wrong("sleeps_for_ever") => Box::pin(std::future::pending()),
            _ if is_wrong("sleeps_whole_milliseconds") && span < Duration::from_secs(3600) => {
                // Not Tokio's own, which makes up for it: it rounds to the next millisecond.
                let span = Duration::from_millis(span.as_millis() as u64);
                let mut timer = async_io::Timer::after(span);
                Box::pin(std::future::poll_fn(move |cx| Pin::new(&mut timer).poll(cx).map(drop)))
            }
            _ if is_wrong("sleeps_half") => Box::pin(self.right.sleep(span / 2)),
            Duration::ZERO if is_wrong("sleeps_for_ever_on_zero") => {
                Box::pin(std::future::pending())
            }
            Duration::MAX if is_wrong("overflows") => Box::pin(std::future::ready(())),
            _ => Box::pin(self.right.sleep(span)),
        };
        if is_wrong("wakes_from_dropped_sleeps") {
            let (late, wakes) = (self.right.sleep(span), waker.clone());
            drop(self.right.spawn(async move {
                late.await;
                if let Some(waker) = wakes.lock().expect("nobody panics here").take() {
                    waker.wake();
                }
            }));
        }
        WrongSleep { right: Some(right), waker }
    }
}

impl Backend for Wrong {
    fn erase(&self) -> AnyBackend {
        if is_wrong("erases_its_pool") {
            return AnyBackend::new("wrong", self.clone());
        }
        AnyBackend::with_blocking("wrong", self.clone())
    }
}

impl<const WAKES_AT_ONCE: bool> Executor for WrongExecutor<WAKES_AT_ONCE> {
    type Backend = Wrong;

    const NAME: &'static str = "wrong";
    const WAKES_AT_ONCE: bool = WAKES_AT_ONCE;

    fn build(threads: &Threads) -> Result<Self, StartError> {
        if is_wrong("aborts_on_a_destructors_panic") {
            std::panic::set_hook(Box::new(|info| {
                if info.to_string().contains("a destructor's panic") {
                    std::process::abort();
                }
            }));
        }
        if is_wrong("loses_panics") {
            std::panic::set_hook(Box::new(|_| PANICS.set(PANICS.get() + 1)));
        }
        if is_wrong("takes_sigterm") {
            // SAFETY: the default action is no function of this program's.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_DFL) };
        }
        if is_wrong("ignores_sigint") {
            // SAFETY: as above.
            unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
        }
        let shared = Arc::new(Shared {
            own: thread::current().id(),
            ended: AtomicBool::new(false),
            alive: Arc::default(),
            unnoticed: Mutex::default(),
        });
        let mut threads = threads.clone();
        if is_wrong("forgets_on_start") {
            threads.on_start = None;
        }
        if is_wrong("has_two_workers") {
            threads.workers = Some(2);
        }
        Ok(WrongExecutor { right: ManuallyDrop::new(TokioExecutor::build(&threads)?), shared })
    }

    fn backend(&self) -> Wrong {
        Wrong { right: self.right.backend(), shared: self.shared.clone() }
    }

    fn count_tasks(&self, own: usize, within: Duration) -> Option<usize> {
        let over = usize::from(is_wrong("counts_tasks_that_are_over"));
        Some(self.right.count_tasks(own, within)? + over)
    }
}

impl<const WAKES_AT_ONCE: bool> BlockOn for WrongExecutor<WAKES_AT_ONCE> {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        if is_wrong("forgets_a_main_that_yields") {
            let mut yields = Yields::default();
            let mut future = std::pin::pin!(future);
            return self.right.block_on(std::future::poll_fn(|cx| {
                let (polled, stuck) = yields.poll(cx, |cx| future.as_mut().poll(cx));
                yields.own.deaf.store(stuck || yields.count == 15, SeqCst);
                polled
            }));
        }
        if is_wrong("waits_for_the_caller") {
            POLLS.set(true);
            let mut future = std::pin::pin!(future);
            return self.right.block_on(std::future::poll_fn(|cx| {
                let _polling = POLLING.read();
                future.as_mut().poll(cx)
            }));
        }
        self.right.block_on(future)
    }
}

impl<const WAKES_AT_ONCE: bool> Shutdown for WrongExecutor<WAKES_AT_ONCE> {
    async fn shutdown(mut self, within: Duration) -> Result<(), Unfinished> {
        self.shared.ended.store(true, SeqCst);
        if is_wrong("never_drops") {
            return Ok(());
        }
        // SAFETY: it is not used again.
        let right = unsafe { ManuallyDrop::take(&mut self.right) };
        if is_wrong("ends_too_soon") {
            thread::spawn(move || {
                thread::sleep(Duration::from_secs(1));
                drop(right);
            });
            return Ok(());
        }
        if is_wrong("waits_for_ever") {
            drop(right);
            return Ok(());
        }
        if is_wrong("takes_its_time_to_end") {
            let ended = right.shutdown(Duration::from_millis(500).min(within)).await;
            thread::sleep(within);
            return ended;
        }
        if is_wrong("never_says_that_it_has_ended") {
            let ended = right.shutdown(within).await;
            if ended.is_err() {
                std::future::pending::<()>().await;
            }
            return ended;
        }
        right.shutdown(within).await
    }
}
