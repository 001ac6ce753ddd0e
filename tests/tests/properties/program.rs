//! Runs a random program on some backend, and watches what a report does not say.

use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use adjourn::rt::Executor;
use adjourn::{
    Exit, FutureExt, JoinHandle, ResultFutureExt, Scope, StopToken, Totals, shield, spawn,
    spawn_blocking, spawn_shielded,
};
use futures_lite::StreamExt;
use futures_lite::future::yield_now;
use futures_util::stream::FuturesUnordered;

use crate::spec::{Ask, End, Hook, Kind, Quiet, Spec, Task};

pub type Main = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// What came of a run.
pub struct Ran {
    pub exit: Exit,
    /// What went wrong that a report does not say.
    pub problems: Vec<String>,
    /// How each handle resolved, by scope and task; `None` where it was not spawned.
    pub joined: Vec<Vec<Option<Joined>>>,
    pub events: Vec<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    Value,
    Cancelled,
    Panicked,
    Refused,
    Gone,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A task's token has fired.
    Told(usize),
    /// A task's future was dropped.
    Dropped(usize),
    /// A hook of the scope begins: the scope, and which.
    Hook(usize, usize),
    HookOver(usize),
    /// The scope was opened when one that it depends on had been told already: there is no order.
    Late(usize),
}

/// By scope and task.
type Handles = Vec<Vec<Option<JoinHandle<()>>>>;

/// What all parts of one program share.
#[derive(Clone)]
struct Lab {
    spec: Arc<Spec>,
    events: Arc<Mutex<Vec<Event>>>,
    problems: Arc<Mutex<Vec<String>>>,
    /// The same, unless it was cut off, which waits for nothing.
    untold: Arc<Mutex<Vec<String>>>,
    handles: Arc<Mutex<Handles>>,
    scopes: Arc<Mutex<Vec<Scope>>>,
    /// The root's token.
    root: Arc<Mutex<Option<StopToken>>>,
    probes: Arc<AtomicUsize>,
    /// `main` has been polled.
    begun: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

/// Sits in a task's future: dropped once, in its scope's context, before the end of `run`.
struct Probe {
    lab: Lab,
    scope: usize,
}

impl Lab {
    fn say(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    fn wrong(&self, what: impl Into<String>) {
        self.problems.lock().unwrap().push(what.into());
    }

    fn probe(&self, scope: usize) -> Probe {
        self.probes.fetch_add(1, SeqCst);
        Probe { lab: self.clone(), scope }
    }

    /// Checks that a scope's totals add up, as seen at any time.
    fn check_totals(&self, scope: &Scope) {
        let Totals { spawned, live, finished, failed, panicked, cancelled, abandoned, .. } =
            scope.totals();
        let sum = live + finished + failed + panicked + cancelled + abandoned;
        if sum != spawned {
            self.wrong(format!("{}: {:?} do not add up", scope.path(), scope.totals()));
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.lab.probes.fetch_sub(1, SeqCst);
        self.lab.say(Event::Dropped(self.scope));
        match Scope::try_current() {
            Ok(scope) => self.lab.check_totals(&scope),
            Err(_) => self.lab.wrong(format!("dropped outside of scope {}", self.scope)),
        }
        if self.lab.over.load(SeqCst) {
            self.lab.wrong(format!("dropped after the end, in scope {}", self.scope));
        }
    }
}

/// A future that knows when it must not be polled any more, and that is told before it is cancelled.
struct Polled<F> {
    future: Pin<Box<F>>,
    over: bool,
    task: Task,
    token: StopToken,
    /// It was graceful before it was told.
    graceful: bool,
    /// It was polled once it was told.
    told: bool,
    lab: Lab,
}

impl<F> Polled<F> {
    fn new(lab: Lab, scope: &Scope, task: Task, future: F) -> Polled<F> {
        let token = scope.stop_token();
        let graceful = task.kind() == Kind::Graceful;
        Polled { future: Box::pin(future), over: false, task, token, graceful, told: false, lab }
    }
}

impl<F: Future> Future for Polled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.over {
            self.lab.wrong("polled after it was ready");
        }
        self.told |= self.token.peek();
        let polled = self.future.as_mut().poll(cx);
        self.over = polled.is_ready();
        // Its first poll asks.
        self.graceful |= self.task.asks() && !self.token.peek();
        polled
    }
}

impl<F> Drop for Polled<F> {
    fn drop(&mut self) {
        let cancelling =
            Scope::try_current().is_ok_and(|scope| scope.phase() == adjourn::Phase::Cancelling);
        if cancelling && self.graceful && !self.over && !self.told && !thread::panicking() {
            let what = format!("{:?} was cancelled before it was told", self.task);
            self.lab.untold.lock().unwrap().push(what);
        }
    }
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("bomb");
        }
    }
}

async fn yields(count: u8) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// Runs `spec` and checks what holds of every program, wherever it is stopped.
pub fn run<E, R>(spec: &Spec, runner: adjourn_core::Runner<E>, run: R) -> Ran
where
    E: Executor,
    R: FnOnce(adjourn_core::Runner<E>, Main) -> Exit,
{
    let lab = Lab {
        spec: Arc::new(spec.clone()),
        events: Arc::default(),
        problems: Arc::default(),
        untold: Arc::default(),
        handles: Arc::default(),
        scopes: Arc::default(),
        root: Arc::default(),
        probes: Arc::default(),
        begun: Arc::default(),
        over: Arc::default(),
    };
    for scope in &spec.scopes {
        lab.handles.lock().unwrap().push(scope.tasks.iter().map(|_| None).collect());
    }
    let exit = run(runner, Box::pin(main(lab.clone())));
    lab.over.store(true, SeqCst);
    let handles = std::mem::take(&mut *lab.handles.lock().unwrap());
    let joined = handles.into_iter().map(|tasks| tasks.into_iter().map(join).collect()).collect();
    let left = lab.probes.load(SeqCst);
    if left != 0 {
        lab.wrong(format!("{left} futures are not dropped after the end"));
    }
    lab.scopes.lock().unwrap().clear();
    *lab.root.lock().unwrap() = None;
    let events = lab.events.lock().unwrap().clone();
    let mut problems = lab.problems.lock().unwrap().clone();
    let report = exit.report();
    if report.forced.is_none() && report.stragglers.is_empty() {
        if !lab.begun.load(SeqCst) {
            problems.push("main was cancelled before it was polled".to_owned());
        }
        problems.append(&mut lab.untold.lock().unwrap());
    }
    let mut ran = Ran { exit, problems, joined, events };
    check_order(spec, &mut ran);
    ran.problems.extend(adjourn_sim::violations(ran.exit.report()));
    ran
}

/// How a handle resolves after the end of `run`: at once, or where the executor stays (async-std)
/// once its thread has come back from the task.
fn join(handle: Option<JoinHandle<()>>) -> Option<Joined> {
    let mut handle = pin!(handle?);
    let mut joined = Poll::Pending;
    for _ in 0..10_000 {
        joined = handle.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if joined.is_ready() {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Some(match joined {
        Poll::Pending => Joined::Never,
        Poll::Ready(Ok(())) => Joined::Value,
        Poll::Ready(Err(error)) if error.is_panic() => Joined::Panicked,
        Poll::Ready(Err(error)) if error.is_refused() => Joined::Refused,
        Poll::Ready(Err(error)) if error.is_cancelled() => Joined::Cancelled,
        Poll::Ready(Err(_)) => Joined::Gone,
    })
}

/// Invariants 8 and 10: hooks after their scope's tasks, the last registered first, each at most
/// once; a scope that others depend on is not told before they are over, hooks included.
fn check_order(spec: &Spec, ran: &mut Ran) {
    let events = &ran.events;
    let forced = ran.exit.report().forced.is_some();
    // A scope that is opened into the stop has its parent's limits. Where another one holds that up until the
    // cut-off, what is plain in it is cancelled then, and waited for no more.
    let overdue = (0..spec.scopes.len()).any(|scope| spec.may_be_overdue(scope));
    let first = |what: &dyn Fn(&Event) -> bool| events.iter().position(what);
    let last = |what: &dyn Fn(&Event) -> bool| events.iter().rposition(what);
    for (scope, its) in spec.scopes.iter().enumerate() {
        let begun: Vec<usize> = events
            .iter()
            .filter_map(|event| match event {
                Event::Hook(of, which) if *of == scope => Some(*which),
                _ => None,
            })
            .collect();
        if !begun.is_sorted_by(|before, after| before > after) {
            ran.problems.push(format!("hooks of scope {scope} ran as {begun:?}"));
        }
        let hook = first(&|event| matches!(event, Event::Hook(of, _) if *of == scope));
        let dropped = last(&|event| *event == Event::Dropped(scope));
        if let (Some(hook), Some(dropped)) = (hook, dropped) {
            if dropped > hook && !overdue {
                ran.problems.push(format!("a task of scope {scope} was dropped after its hook"));
            }
        }
        for &need in &its.depends_on {
            let late = events.contains(&Event::Late(scope));
            if forced || late || spec.may_be_overdue(scope) {
                continue;
            }
            let told = first(&|event| *event == Event::Told(need));
            let within = |of: &usize| spec.is_within(*of, scope);
            let over = last(&|event| match event {
                Event::Dropped(of) | Event::HookOver(of) => within(of),
                _ => false,
            });
            if let (Some(told), Some(over)) = (told, over) {
                if told < over {
                    let what = format!("scope {need} was told before {scope} was over");
                    ran.problems.push(what);
                }
            }
        }
    }
}

async fn main(lab: Lab) -> Result<(), String> {
    lab.begun.store(true, SeqCst);
    let probe = lab.probe(0);
    let (here, arrived) = async_channel::unbounded();
    let mut scopes = vec![Scope::current()];
    *lab.root.lock().unwrap() = Some(StopToken::current());
    for (index, spec) in lab.spec.scopes.iter().enumerate() {
        if index > 0 {
            let mut scope = scopes[spec.parent].scope(format!("s{index}"));
            for &need in &spec.depends_on {
                if scopes[need].phase() >= adjourn::Phase::Draining {
                    lab.say(Event::Late(index));
                }
                scope = scope.depends_on(&scopes[need]);
            }
            scopes.push(scope);
        }
        for (which, hook) in spec.hooks.iter().enumerate() {
            add_hook(&lab, &scopes[index], (index, which), *hook);
        }
    }
    if lab.spec.keeps_handles {
        lab.scopes.lock().unwrap().extend(scopes.iter().cloned());
    }
    let mut staying = 0;
    for (index, spec) in lab.spec.clone().scopes.iter().enumerate() {
        for (number, &task) in spec.tasks.iter().enumerate() {
            let handle = start(&lab, &scopes[index], (index, number), task, here.clone());
            if task.is_early() {
                let mut handle = handle;
                _ = (&mut handle).await;
            } else {
                staying += 1;
                lab.handles.lock().unwrap()[index][number] = Some(handle);
            }
        }
    }
    for _ in 0..staying {
        _ = arrived.recv().await;
    }
    for scope in &scopes {
        lab.check_totals(scope);
    }
    if lab.spec.end.asks() {
        StopToken::current().is_requested();
    }
    let stop = || drop(scopes[0].stop());
    let ends = match lab.spec.end {
        End::StopsAndReturns => {
            stop();
            Ok(())
        }
        End::AsksAndReturns => {
            stop();
            StopToken::current().requested().await;
            Ok(())
        }
        End::StopsAndStays | End::AsksAndStays => {
            stop();
            pending::<()>().await;
            Ok(())
        }
        End::StopsAndPanics => {
            stop();
            panic!("main")
        }
        End::Fails => Err("main".to_owned()),
        End::Panics => panic!("main"),
        End::Idle => Ok(()),
    };
    drop(probe);
    ends
}

fn add_hook(lab: &Lab, scope: &Scope, (index, which): (usize, usize), hook: Hook) {
    let lab = lab.clone();
    scope.on_stopped(async move || {
        lab.say(Event::Hook(index, which));
        let result = match hook {
            Hook::Returns => Ok(()),
            Hook::Yields => {
                yields(3).await;
                Ok(())
            }
            Hook::Fails => Err("hook"),
            Hook::Panics => panic!("hook"),
            Hook::Spawns => match spawn_shielded(yield_now()).await {
                Ok(()) => Ok(()),
                Err(error) if error.is_refused() => Ok(()), // after the deadline or a force
                Err(_) => Ok(()),
            },
        };
        lab.say(Event::HookOver(index));
        result
    });
}

fn start(
    lab: &Lab,
    scope: &Scope,
    (index, number): (usize, usize),
    task: Task,
    here: async_channel::Sender<()>,
) -> JoinHandle<()> {
    let mut described = scope.task(format!("t{number}"));
    if lab.spec.end == End::Idle && !task.is_early() {
        described = described.background();
    }
    let inner = lab.clone();
    match task.kind() {
        Kind::Blocking => described.spawn_blocking(move || {
            let _probe = inner.probe(index);
            if matches!(task, Task::Panics(_)) {
                panic!("job");
            }
        }),
        Kind::Plain => {
            let future = plain(lab.clone(), (index, number), task, here);
            described.spawn(Polled::new(inner, scope, task, future))
        }
        Kind::Graceful => described.spawn_graceful(|stop| {
            let future = graceful(inner.clone(), index, task, here, stop);
            Polled::new(inner, scope, task, future)
        }),
        Kind::Shielded => {
            let future = shielded(lab.clone(), (index, number), task, here);
            described.spawn_shielded(Polled::new(inner, scope, task, future))
        }
    }
}

async fn fail() {
    _ = async { Err::<(), _>("task") }.or_report().await;
}

async fn early(task: Task) {
    match task {
        Task::Returns(_) => yield_now().await,
        Task::Fails(_) => fail().await,
        _ => panic!("task"),
    }
}

async fn arrive_and_stay(here: async_channel::Sender<()>) {
    _ = here.try_send(());
    pending().await
}

/// Polls `future`, and says that it is here once it has been polled.
async fn then_arrive<F: Future>(future: F, here: async_channel::Sender<()>) -> F::Output {
    let (mut future, mut here) = (pin!(future), Some(here));
    poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        if let Some(here) = here.take() {
            _ = here.try_send(());
        }
        polled
    })
    .await
}

/// Asks about the stop and waits for it.
async fn until_told(lab: &Lab, ask: Ask, here: async_channel::Sender<()>) {
    let requested = || StopToken::current().requested();
    match ask {
        Ask::Requested => then_arrive(requested(), here).await,
        Ask::ByWaker => {
            let mut parts: FuturesUnordered<_> = [requested()].into_iter().collect();
            then_arrive(parts.next(), here).await;
        }
        Ask::UntilStop => _ = then_arrive(pending::<()>().until_stop(), here).await,
        Ask::Looks => {
            StopToken::current().is_requested();
            then_arrive(requested().interruptible(), here).await;
        }
        Ask::Above => {
            let root = lab.root.lock().unwrap().clone().expect("main has set it");
            then_arrive(root.requested(), here).await;
        }
        Ask::InScope => {
            let inner = Scope::current().scope("inner");
            let waits = async { requested().await };
            then_arrive(waits.in_scope(&inner), here).await;
        }
        Ask::Nursery => {
            let waits = async { requested().await };
            then_arrive(Scope::current().scope("inner").run(waits), here).await;
        }
    }
}

/// Spawns a plain task for the running one, which is `t{number}`.
fn spawn_child(
    lab: &Lab,
    scope: &Scope,
    number: usize,
    future: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let mut child = scope.task(format!("of t{number}"));
    if lab.spec.end == End::Idle {
        child = child.background();
    }
    child.spawn(future)
}

/// Does what is not asking about the stop, and stays.
async fn stay_quiet(quiet: Quiet, here: async_channel::Sender<()>) {
    let token = StopToken::current();
    match quiet {
        Quiet::Takes => {
            _ = (format!("{:?}", token.clone()), token.reason(), Scope::current().phase());
            _ = token.time_left();
            drop(token.requested());
        }
        Quiet::Peeks => _ = token.peek(),
        Quiet::Interruptible => {
            let asks = async {
                token.is_requested();
                then_arrive(pending::<()>().until_stop(), here.clone()).await
            };
            _ = asks.interruptible().await;
        }
        Quiet::Shield => {
            let asks = async {
                token.is_requested();
                _ = yields(1).until_stop().await;
            };
            shield(asks).await;
        }
        Quiet::Cleanup => {
            let asks = async {
                token.is_requested();
                token.requested().await;
            };
            return arrive_and_stay(here).on_cancel(asks).await;
        }
        Quiet::Stranger => {
            let stranger = Scope::current().scope("inner");
            stranger.stop_token().is_requested();
        }
    }
    arrive_and_stay(here).await
}

async fn plain(
    lab: Lab,
    (scope, number): (usize, usize),
    task: Task,
    here: async_channel::Sender<()>,
) {
    let probe = lab.probe(scope);
    match task {
        Task::Stays => arrive_and_stay(here).await,
        Task::StaysBomb => {
            let _bomb = Bomb;
            arrive_and_stay(here).await;
        }
        Task::StaysCleanup(count) => arrive_and_stay(here).on_cancel(yields(count)).await,
        Task::StaysCleanupPanics => {
            arrive_and_stay(here).on_cancel(async { panic!("cleanup") }).await;
        }
        Task::StaysCleanupSpawns => {
            let cleanup = async {
                drop(spawn(pending::<()>()));
                _ = spawn_shielded(yield_now()).await;
            };
            arrive_and_stay(here).on_cancel(cleanup).await;
        }
        Task::StaysShielded(count) => {
            shield(async {
                _ = here.try_send(());
                StopToken::current().requested().await;
                yields(count).await;
            })
            .await;
            pending().await
        }
        Task::StaysNested(count) => {
            let inner = arrive_and_stay(here).on_cancel(yields(count));
            inner.on_cancel(yields(1)).await;
        }
        Task::AsksAndLeaves(ask) => {
            until_told(&lab, ask, here).await;
            if ask != Ask::Above {
                lab.say(Event::Told(scope));
            }
        }
        Task::AsksAndStays(ask) => {
            until_told(&lab, ask, here).await;
            pending().await
        }
        Task::AsksAndJoins => {
            StopToken::current().is_requested();
            // Who asked gets the error of what the stop refused, and handles it.
            _ = spawn_child(&lab, &Scope::current(), number, arrive_and_stay(here)).await;
            pending().await
        }
        Task::StaysJoining => {
            // Below, so that it is cancelled first.
            let inner = Scope::current().scope("inner");
            spawn_child(&lab, &inner, number, arrive_and_stay(here)).await.expect("no news");
        }
        Task::StaysQuiet(quiet) => stay_quiet(quiet, here).await,
        task => early(task).await,
    }
    drop(probe);
}

async fn graceful(
    lab: Lab,
    scope: usize,
    task: Task,
    here: async_channel::Sender<()>,
    stop: StopToken,
) {
    let probe = lab.probe(scope);
    if task.is_early() {
        return early(task).await;
    }
    _ = here.try_send(());
    if task == Task::LeavesByUntilStop {
        let waits = async { pending::<()>().until_stop().await };
        _ = waits.or_report().await;
        lab.say(Event::Told(scope));
        return;
    }
    stop.requested().await;
    lab.say(Event::Told(scope));
    match task {
        Task::Leaves(count) => yields(count).await,
        Task::LeavesFailing => fail().await,
        Task::LeavesPanicking => panic!("task"),
        Task::LeavesSpawning => {
            drop(spawn_shielded(yields(2)));
            drop(spawn_blocking(|| ()));
        }
        Task::LeavesJoining => {
            let asks = async { StopToken::current().requested().await };
            let joined = spawn(asks).await;
            // Past its drain limit, or forced, it is cut off meanwhile.
            if joined.is_err() && Scope::current().phase() < adjourn::Phase::Cancelling {
                lab.wrong(format!("{joined:?} before it is cancelled"));
            }
        }
        Task::LeavesOpening => {
            let joined = open_late(&lab).spawn(yields(3)).await;
            if joined.is_err() && Scope::current().phase() < adjourn::Phase::Cancelling {
                let what = format!("{joined:?} before its parent is cancelled");
                lab.untold.lock().unwrap().push(what);
            }
        }
        _ => pending().await,
    }
    drop(probe);
}

/// Opens a scope below one that has been told.
fn open_late(lab: &Lab) -> Scope {
    let late = Scope::current().scope("late");
    if !late.stop_token().peek() {
        lab.wrong("a scope that was opened into a stop was not told");
    }
    late
}

async fn shielded(
    lab: Lab,
    (scope, number): (usize, usize),
    task: Task,
    here: async_channel::Sender<()>,
) {
    let probe = lab.probe(scope);
    if task.is_early() {
        return early(task).await;
    }
    if matches!(task, Task::Lingers | Task::LingersOpening) {
        // Until plain tasks are cancelled. To look again and again would take a poll each time.
        let (kept, gone) = async_channel::bounded::<()>(1);
        spawn_child(&lab, &Scope::current(), number, async move {
            let _kept = kept;
            pending().await
        });
        _ = here.try_send(());
        _ = gone.recv().await;
        if task == Task::LingersOpening {
            let late = open_late(&lab);
            let graceful = late.spawn_graceful(|_| pending::<()>()).await;
            if !graceful.as_ref().is_err_and(adjourn::JoinError::is_refused) {
                lab.wrong(format!("{graceful:?} of what was spawned while all is cancelled"));
            }
            _ = late.spawn_shielded(yield_now()).await;
        }
    } else {
        _ = here.try_send(());
        pending().await
    }
    drop(probe);
}
