//! Where a task stands: the line of the innermost `.await` that is not a library's.
//!
//! A future that is about to wait clones its task's waker, or wakes it to be polled again. The stack
//! of that moment has the whole chain of futures, with the line at which each stands. So in a run
//! that is traced each task is polled with a waker that keeps the stack of its last clone. Lines need
//! debug information, which builds for tests have unless their profile says otherwise. Without it the
//! symbols still name the function.

#![allow(unsafe_code)] // a clone of an `Arc` that is a waker cannot be seen: it takes a waker by hand

use std::backtrace::Backtrace;
use std::collections::VecDeque;
use std::env;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

/// How many stacks of a task are kept. The user's may not be the last: the core stores wakers too.
const KEPT: usize = 4;

/// What is known of where one task stands: the last stacks, the newest first. Their lines are read when
/// they are asked for, which takes long.
#[derive(Clone, Default)]
pub(crate) struct Standing(Arc<Mutex<VecDeque<Backtrace>>>);

/// Polls a task's future with a waker that looks where it is cloned.
pub(crate) struct Spy {
    standing: Standing,
    /// The waker around the task's own; made anew when that changes.
    around: Option<Arc<Around>>,
}

struct Around {
    own: Waker,
    standing: Standing,
    /// Whether the task is being polled: what clones the waker elsewhere is not where it stands.
    /// Relaxed: it is read by the thread that wrote it, or does not matter.
    polling: AtomicBool,
}

impl Spy {
    pub(crate) fn new(standing: Standing) -> Spy {
        Spy { standing, around: None }
    }

    /// Polls, by a function that nothing is inlined into: the stack is read up to it.
    #[inline(never)]
    pub(crate) fn poll_spied<R>(
        &mut self,
        own: &Waker,
        poll: impl FnOnce(&mut Context<'_>) -> R,
    ) -> R {
        let known = self.around.take().filter(|around| around.own.will_wake(own));
        let around = known.unwrap_or_else(|| {
            let standing = self.standing.clone();
            Arc::new(Around { own: own.clone(), standing, polling: AtomicBool::new(false) })
        });
        let waker = waker(around.clone());
        around.polling.store(true, Relaxed);
        let polled = poll(&mut Context::from_waker(&waker));
        around.polling.store(false, Relaxed);
        self.around = Some(around);
        polled
    }
}

/// Polls with the spy, if there is one.
pub(crate) fn poll_spied<R>(
    spy: &mut Option<Spy>,
    cx: &mut Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> R,
) -> R {
    match spy {
        None => poll(cx),
        Some(spy) => spy.poll_spied(cx.waker(), poll),
    }
}

impl Around {
    fn note(&self) {
        if self.polling.load(Relaxed) {
            let stack = Backtrace::force_capture();
            let mut stacks = self.standing.lock();
            stacks.truncate(KEPT - 1);
            stacks.push_front(stack);
        }
    }
}

impl Standing {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Backtrace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the line at which the task stands, if it is known.
    pub(crate) fn place(&self) -> Option<String> {
        let here = env::current_dir().unwrap_or_default();
        self.lock().iter().find_map(|stack| place(&stack.to_string(), &here))
    }
}

/// Finds the innermost line of the user's in a stack, above [`Spy::poll_spied`]; where the build has
/// no lines, the innermost function. A stack without that is another thread's. Its paths are relative to
/// `here`.
fn place(stack: &str, here: &Path) -> Option<String> {
    let mut line_found = None;
    let mut functions: Vec<&str> = Vec::new();
    for line in stack.lines().map(str::trim) {
        let Some(place) = line.strip_prefix("at ") else {
            if line.contains("::poll_spied") {
                return line_found.or_else(|| innermost(&functions));
            }
            functions.extend(line.split_once(": ").map(|(_, function)| function));
            continue;
        };
        let file = here.join(place.strip_prefix("./").unwrap_or(place));
        if is_librarys(&file) {
            functions.pop();
        } else if line_found.is_none() {
            line_found = Some(file.strip_prefix(here).unwrap_or(&file).display().to_string());
        }
    }
    None
}

/// Finds the innermost of these functions that is of the user's crate. That is the crate of the outermost
/// one that is no executor's: the task's own body.
fn innermost(functions: &[&str]) -> Option<String> {
    let named = |function: &&str| krate(function).is_some_and(|krate| !is_lower(krate));
    let own = krate(functions.iter().rev().find(|function| named(function))?)?;
    let function = functions.iter().find(|function| krate(function) == Some(own))?;
    let mut name = *function;
    while let Some(outer) = name.strip_suffix('}').and_then(|name| name.rsplit_once("::{")) {
        name = outer.0; // `{{closure}}`, `{closure#0}`: the body of an async function
    }
    Some(format!("{name} (the build has no debug information, which gives the line)"))
}

/// Returns the crate in whose code a function stands, by its symbol.
fn krate(function: &str) -> Option<&str> {
    let path = function.trim_start_matches(['<', '&', '*', '(', '[']);
    let path = path.strip_prefix("mut ").or_else(|| path.strip_prefix("dyn ")).unwrap_or(path);
    let end = path.find(|c: char| c != '_' && !c.is_ascii_alphanumeric())?;
    let (krate, rest) = path.split_at(end);
    (rest.starts_with("::") || rest.starts_with('[')).then_some(krate)
}

/// Whether a crate stands below the user's: std, an executor, combinators, ourselves.
fn is_lower(krate: &str) -> bool {
    let whole = ["std", "core", "alloc", "adjourn", "tokio", "smol", "futures", "event_listener"];
    let families = ["adjourn_", "tokio_", "futures_", "async_"];
    whole.contains(&krate) || families.iter().any(|family| krate.starts_with(family))
}

/// By the file: the names of what is generic have no path.
fn is_librarys(file: &Path) -> bool {
    let file = file.to_string_lossy().replace('\\', "/");
    let parts = [
        "/rustc/",
        "/.cargo/registry/",
        "/.cargo/git/",
        "/adjourn/src/",
        "/adjourn-core/src/",
        "/adjourn-sim/src/",
    ];
    parts.iter().any(|part| file.contains(part))
}

/// Makes a waker that owns one count of `around`.
fn waker(around: Arc<Around>) -> Waker {
    let data = Arc::into_raw(around).cast::<()>();
    // SAFETY: the table's functions keep the contract of a waker: each data pointer comes from
    // `Arc::into_raw` and owns one count, which `clone` adds, and which `wake` and `drop` take. What
    // is behind it is `Send` and `Sync`.
    unsafe { Waker::from_raw(RawWaker::new(data, &TABLE)) }
}

const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Around>();
};

static TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// # Safety
///
/// `data` comes from [`Arc::into_raw`] of an [`Around`], and that count is alive until it is dropped
/// by who calls.
unsafe fn borrowed(data: *const ()) -> ManuallyDrop<Arc<Around>> {
    // SAFETY: as above; the count is not dropped here.
    ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<Around>()) })
}

unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the waker that is cloned owns the count.
    let around = unsafe { borrowed(data) };
    around.note();
    let data = Arc::into_raw(Arc::clone(&around)).cast::<()>();
    RawWaker::new(data, &TABLE)
}

unsafe fn wake(data: *const ()) {
    // SAFETY: the waker is consumed, and its count with it.
    let around = unsafe { Arc::from_raw(data.cast::<Around>()) };
    around.note();
    around.own.wake_by_ref();
}

unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: the waker that is borrowed owns the count.
    let around = unsafe { borrowed(data) };
    around.note();
    around.own.wake_by_ref();
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: the waker is dropped, and its count with it.
    drop(unsafe { Arc::from_raw(data.cast::<Around>()) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_line_of_the_users_is_found() {
        let stack = "   0: std::backtrace::Backtrace::force_capture
             at /rustc/1.85.0/library/std/src/backtrace.rs:331:18
   1: <adjourn_sim::sleep::SimSleep as core::future::future::Future>::poll
             at /home/me/adjourn-sim/src/sleep.rs:12:3
   1: poll<shop::Store>
             at /home/me/adjourn-core/src/contract/rt/any/letter.rs:225:22
   2: shop::store::{{closure}}
             at ./src/shop.rs:31:40
   3: shop::consume::{{closure}}
             at ./src/shop.rs:40:1
   4: adjourn_sim::spy::Spy::poll_spied
             at ./src/spy.rs:1:1";
        let here = Path::new("/home/me/shop");
        assert_eq!(place(stack, here).as_deref(), Some("src/shop.rs:31:40"));
        let (_, below) = stack.split_once("   4:").unwrap();
        let below = format!("   4:{below}\n   5: shop::main\n             at ./src/main.rs:1:1");
        assert_eq!(place(&below, here), None, "what polls the task is not where it stands");
        let (another, _) = stack.split_once("   4:").unwrap();
        assert_eq!(place(another, here), None, "another thread that wakes it is not either");
    }

    #[test]
    fn without_lines_the_innermost_function_is_found() {
        let stack = "   0: <adjourn_sim::spy::Around>::note
             at /home/me/adjourn-sim/src/spy.rs:12:3
   1: <core::pin::Pin<P> as core::future::future::Future>::poll
   2: <pool::Acquire<shop::Store> as core::future::future::Future>::poll
   3: <shop::store::Store as shop::Save>::save::{{closure}}::{{closure}}
   4: <adjourn_core::track::shield::Shield<shop::Store> as core::future::future::Future>::poll
   5: shop::consume::{closure#0}
   6: adjourn_sim::spy::Spy::poll_spied
   7: it::main";
        let found = |stack: &str| place(stack, Path::new("/home/me/shop"));
        let name =
            |stack: &str| found(stack)?.split_once(" (the build").map(|(name, _)| name.to_owned());
        assert_eq!(name(stack).as_deref(), Some("<shop::store::Store as shop::Save>::save"));
        let own = stack.lines().filter(|line| !line.contains("3: ")).collect::<Vec<_>>().join("\n");
        assert_eq!(name(&own).as_deref(), Some("shop::consume"));
        let ours = own.lines().filter(|line| !line.contains("5: ")).collect::<Vec<_>>().join("\n");
        assert_eq!(
            name(&ours).as_deref(),
            Some("<pool::Acquire<shop::Store> as core::future::future::Future>::poll")
        );
        let none = ours.lines().filter(|line| !line.contains("2: ")).collect::<Vec<_>>().join("\n");
        assert_eq!(found(&none), None, "there is nothing of the user's");
    }

    #[test]
    fn a_spied_waker_wakes_and_counts_like_an_arc() {
        struct Flag(AtomicBool);
        impl std::task::Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Relaxed);
            }
        }
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let own = Waker::from(flag.clone());
        let mut spy = Spy::new(Standing::default());
        let kept = spy.poll_spied(&own, |cx| cx.waker().clone());
        let again = spy.poll_spied(&own, |cx| cx.waker().clone());
        assert!(kept.will_wake(&again), "the same task has the same waker");
        kept.wake_by_ref();
        assert!(flag.0.swap(false, Relaxed));
        again.wake();
        assert!(flag.0.load(Relaxed));
        drop((kept, spy, own));
        assert_eq!(Arc::strong_count(&flag), 1, "nothing is left of them");
    }
}
