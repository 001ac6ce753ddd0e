//! One simulated executor: what is ready, the clock, and the loop that polls.
//!
//! Invariants:
//! 1. One thread polls, the one that is inside [`World::drive`]; any thread may wake or spawn.
//! 2. The next task to poll is a function of the seed and of what was ready: nothing here depends
//!    on addresses, hashes or the system's clock.
//! 3. No waker is woken or dropped, and no future is dropped, while the lock is held.
//! 4. The clock moves by itself only when nothing is ready, or nothing but tasks that only yield,
//!    and never past a timer. So all other tasks see what a timer set off before the next one
//!    fires.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use async_task::{Builder, FallibleTask, Runnable};
use slab::Slab;

use crate::clock::Clock;
use crate::fault::Faults;
use crate::observe::{Observer, TaskId};
use crate::settings::{Schedule, Settings};
use crate::spy::poll_spied;

/// How often a task may be polled in one instant before it counts as one that only yields. Such a
/// task would hold time still, and no deadline would come. So it is set aside until all others
/// wait; then the clock moves on.
const PATIENT_POLLS: u64 = 1_000;
/// By how much the clock moves for such tasks: once this at first, then twice, and so on. So it
/// comes to any deadline soon.
const IMPATIENT_STEP: Duration = Duration::from_millis(1);

pub(crate) struct World {
    /// What the virtual clock's start is as an [`Instant`].
    epoch: Instant,
    pub(crate) observer: Arc<Observer>,
    pub(crate) faults: Faults,
    settings: Settings,
    main_streak: Streak,
    state: Mutex<State>,
    /// Rung when something becomes ready.
    bell: Condvar,
}

struct State {
    clock: Clock,
    ready: VecDeque<Ready>,
    /// Tasks that only yield, until all others wait.
    aside: Vec<Ready>,
    /// Others were polled since those aside were. What these look for may be there by now.
    stirred: bool,
    /// How often the clock was moved for those aside since it last moved for others.
    moves: u32,
    main_ready: bool,
    random: fastrand::Rng,
    /// Wakers of the futures that are alive, to drop them at the end.
    alive: Slab<Waker>,
    next: u64,
    closed: bool,
}

enum Ready {
    Main,
    Task(Runnable<Meta>),
}

pub(crate) type Handle<T> = FallibleTask<T, Meta>;

/// What is known of a task.
#[derive(Debug)]
pub(crate) struct Meta {
    id: TaskId,
    streak: Streak,
}

/// How often something was polled in one instant.
#[derive(Debug, Default)]
struct Streak {
    /// The instant in nanoseconds.
    at: AtomicU64,
    polls: AtomicU64,
}

impl Streak {
    /// Counts a poll at `now`. Returns how many there were in this instant before it.
    fn count(&self, now: Duration) -> u64 {
        if !self.is_at(now) {
            self.set(now, 0);
        }
        // One thread polls: relaxed.
        self.polls.fetch_add(1, Relaxed)
    }

    /// Whether there were too many polls at `now`.
    fn is_over(&self, now: Duration) -> bool {
        self.is_at(now) && self.polls.load(Relaxed) > PATIENT_POLLS
    }

    /// Allows one poll at `now`, and no more.
    fn allow_one(&self, now: Duration) {
        self.set(now, PATIENT_POLLS);
    }

    fn is_at(&self, now: Duration) -> bool {
        self.at.load(Relaxed) == now.as_nanos() as u64
    }

    fn set(&self, now: Duration, polls: u64) {
        self.at.store(now.as_nanos() as u64, Relaxed);
        self.polls.store(polls, Relaxed);
    }
}

thread_local! {
    static CURRENT: RefCell<Vec<Arc<World>>> = const { RefCell::new(Vec::new()) };
}

impl World {
    pub(crate) fn new(observer: Arc<Observer>, settings: Settings) -> Arc<World> {
        Arc::new(World {
            epoch: Instant::now(),
            observer,
            faults: Faults::new(settings.faults.clone(), settings.drawn),
            main_streak: Streak::default(),
            state: Mutex::new(State {
                clock: Clock::default(),
                ready: VecDeque::new(),
                aside: Vec::new(),
                stirred: false,
                moves: 0,
                main_ready: false,
                random: fastrand::Rng::with_seed(settings.seed),
                alive: Slab::new(),
                next: 1,
                closed: false,
            }),
            bell: Condvar::new(),
            settings,
        })
    }

    /// Returns the simulation that polls on this thread.
    pub(crate) fn current() -> Option<Arc<World>> {
        CURRENT.try_with(|current| current.borrow().last().cloned()).ok().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at or changes the clock; `look` must drop and wake nothing.
    pub(crate) fn clock<R>(&self, look: impl FnOnce(&mut Clock) -> R) -> R {
        look(&mut self.lock().clock)
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock(|clock| clock.now())
    }

    pub(crate) fn instant(&self) -> Instant {
        let now = self.now();
        // A clock that went past what an Instant can hold stands still there.
        self.epoch.checked_add(now).unwrap_or(self.epoch)
    }

    /// A number below `limit`, from the seed.
    pub(crate) fn draw(&self, limit: u32) -> u32 {
        self.lock().random.u32(..limit)
    }

    fn make_ready(self: &Arc<World>, ready: Ready) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return drop(ready); // drops the future, as at the end
        }
        if matches!(ready, Ready::Main) && std::mem::replace(&mut state.main_ready, true) {
            return;
        }
        state.ready.push_back(ready);
        drop(state);
        self.bell.notify_one();
    }

    /// Starts a future; `None` when the executor is over.
    pub(crate) fn spawn<F>(self: &Arc<World>, future: F) -> Option<Handle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (meta, key) = self.admit()?;
        let schedule = self.scheduler();
        let future = self.alive(meta.id, key, future);
        let (runnable, task) = Builder::new().metadata(meta).spawn(|_| future, schedule);
        self.start(key, runnable);
        Some(task.fallible())
    }

    /// Starts a future that stays on this thread; `None` when the executor is over.
    pub(crate) fn spawn_local<F>(self: &Arc<World>, future: F) -> Option<Handle<F::Output>>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let (meta, key) = self.admit()?;
        let schedule = self.scheduler();
        let future = self.alive(meta.id, key, future);
        let (runnable, task) = Builder::new().metadata(meta).spawn_local(|_| future, schedule);
        self.start(key, runnable);
        Some(task.fallible())
    }

    /// A future that is forgotten once it is dropped.
    fn alive<F: Future>(
        self: &Arc<World>,
        id: TaskId,
        key: usize,
        future: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let forget = Forget { world: self.clone(), key };
        let mut spy = self.observer.spy(id);
        async move {
            let _forget = forget;
            let mut future = pin!(future);
            poll_fn(move |cx| poll_spied(&mut spy, cx, |cx| future.as_mut().poll(cx))).await
        }
    }

    fn scheduler(self: &Arc<World>) -> impl Fn(Runnable<Meta>) + Send + Sync + 'static {
        let world = self.clone();
        move |runnable| world.make_ready(Ready::Task(runnable))
    }

    fn admit(&self) -> Option<(Meta, usize)> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let id = TaskId(state.next);
        state.next += 1;
        let key = state.alive.insert(Waker::noop().clone());
        drop(state);
        self.observer.spawned(id);
        Some((Meta { id, streak: Streak::default() }, key))
    }

    fn start(&self, key: usize, runnable: Runnable<Meta>) {
        let waker = runnable.waker();
        self.lock().alive[key] = waker;
        runnable.schedule();
    }

    /// Polls `main` to its end, and what is spawned meanwhile.
    pub(crate) fn drive<F: Future>(self: &Arc<World>, main: F) -> F::Output {
        struct MainWaker(Arc<World>);
        impl Wake for MainWaker {
            fn wake(self: Arc<Self>) {
                self.0.make_ready(Ready::Main);
            }
        }
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                let left = CURRENT.with(|current| current.borrow_mut().pop());
                drop(left);
            }
        }
        CURRENT.with(|current| current.borrow_mut().push(self.clone()));
        let _leave = Leave;
        let waker = Waker::from(Arc::new(MainWaker(self.clone())));
        let mut cx = Context::from_waker(&waker);
        let mut spy = self.observer.spy(TaskId::MAIN);
        let mut main = pin!(main);
        self.make_ready(Ready::Main);
        loop {
            match self.next() {
                Ready::Main => {
                    self.before_poll(TaskId::MAIN);
                    let polled = poll_spied(&mut spy, &mut cx, |cx| main.as_mut().poll(cx));
                    self.observer.polled();
                    if let Poll::Ready(output) = polled {
                        let (now, pushed) = self.clock(|clock| (clock.now(), clock.pushed));
                        self.observer.main_over(now, pushed);
                        return output;
                    }
                }
                Ready::Task(runnable) => {
                    self.before_poll(runnable.metadata().id);
                    // What the core spawns never unwinds; what others spawn is theirs to catch.
                    _ = catch_unwind(AssertUnwindSafe(|| runnable.run()));
                    self.observer.polled();
                }
            }
        }
    }

    fn before_poll(&self, id: TaskId) {
        let poll = self.observer.before_poll(id, self.now());
        for (_, by) in self.settings.jumps.iter().filter(|(at, _)| *at == poll) {
            self.clock(|clock| clock.push(*by));
        }
    }

    fn fire_due(&self) {
        loop {
            let due = self.clock(Clock::take_due);
            let Some(waker) = due else { return };
            // A waker that panics must not keep the others from being woken.
            _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    /// Returns what is polled next, moving the clock where nothing is ready.
    fn next(self: &Arc<World>) -> Ready {
        let mut waited = false;
        loop {
            self.fire_due();
            let mut state = self.lock();
            if let Some(ready) = self.take(&mut state) {
                return ready;
            }
            if !state.aside.is_empty() {
                self.take_up_again(&mut state);
                continue;
            }
            state.moves = 0;
            if state.clock.jump() {
                continue;
            }
            let now = state.clock.now();
            drop(state);
            if self.observer.at_rest(now) {
                continue; // it asked for a stop: there is something to do
            }
            if !waited {
                waited = true;
                let state = self.lock();
                let idle = |state: &mut State| state.ready.is_empty();
                drop(self.bell.wait_timeout_while(state, self.settings.patience, idle));
                continue;
            }
            self.observer.deadlocked();
            waited = false;
        }
    }

    /// Takes what is polled next, and sets aside what only yields.
    fn take(&self, state: &mut State) -> Option<Ready> {
        let now = state.clock.now();
        loop {
            let ready = match self.settings.schedule {
                Schedule::Fifo => state.ready.pop_front(),
                Schedule::Drawn => state.draw(),
            }?;
            let streak = self.streak(&ready);
            if streak.is_over(now) {
                state.aside.push(ready);
                continue;
            }
            if streak.count(now) < PATIENT_POLLS {
                state.stirred = true;
            }
            if matches!(ready, Ready::Main) {
                state.main_ready = false;
            }
            return Some(ready);
        }
    }

    /// Takes up those aside, for one poll each. Moves the clock first, unless others were polled
    /// meanwhile: who waits in a loop sees what these did before time goes on.
    fn take_up_again(&self, state: &mut State) {
        if !std::mem::replace(&mut state.stirred, false) {
            state.moves = state.moves.saturating_add(1);
            state.clock.advance(IMPATIENT_STEP.saturating_mul(state.moves));
        }
        let now = state.clock.now();
        for ready in std::mem::take(&mut state.aside) {
            self.streak(&ready).allow_one(now);
            state.ready.push_back(ready);
        }
    }

    fn streak<'a>(&'a self, ready: &'a Ready) -> &'a Streak {
        match ready {
            Ready::Main => &self.main_streak,
            Ready::Task(runnable) => &runnable.metadata().streak,
        }
    }

    /// Drops all that is left; what is spawned from here on is dropped at once.
    pub(crate) fn close(&self) {
        loop {
            let mut state = self.lock();
            state.closed = true;
            let mut ready = std::mem::take(&mut state.ready);
            ready.extend(std::mem::take(&mut state.aside));
            let timers = state.clock.take_all();
            let alive: Vec<_> = state.alive.iter().map(|(_, waker)| waker.clone()).collect();
            drop(state);
            let over = ready.is_empty() && alive.is_empty();
            for ready in ready {
                _ = catch_unwind(AssertUnwindSafe(|| drop(ready)));
            }
            drop(timers);
            if over {
                return;
            }
            for waker in alive {
                // It is made ready, and so dropped, since this is closed.
                _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            }
        }
    }
}

impl State {
    fn draw(&mut self) -> Option<Ready> {
        if self.ready.is_empty() {
            return None;
        }
        let drawn = self.random.usize(..self.ready.len());
        self.ready.swap_remove_back(drawn)
    }
}

struct Forget {
    world: Arc<World>,
    key: usize,
}

impl Drop for Forget {
    fn drop(&mut self) {
        let waker = self.world.lock().alive.try_remove(self.key);
        drop(waker);
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now", &self.now()).finish_non_exhaustive()
    }
}
