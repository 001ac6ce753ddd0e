//! Heap allocations of a tracked task, and of a scope with one task, beside those of the bare executor,
//! counted, and a scope's bytes.
//!
//! One test, since the counter is the process's. Each backend runs on the calling thread alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use adjourn::rt::{Executor, Spawner};
use adjourn::{Exit, Scope, Signal, spawn, spawn_graceful, spawn_shielded};

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicI64 = AtomicI64::new(0);

// SAFETY: forwards to the system's allocator; counting has no effect on what is returned.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TASKS: u64 = 1000;

static FIRST: AtomicBool = AtomicBool::new(true);

async fn count<H: Future>(mut spawn: impl FnMut() -> H) -> u64 {
    let before = COUNT.load(Relaxed);
    for _ in 0..TASKS {
        spawn().await;
    }
    COUNT.load(Relaxed) - before
}

/// The same for tasks that are all there at once.
async fn count_at_once<H: Future>(mut spawn: impl FnMut() -> H) -> u64 {
    let mut handles = Vec::with_capacity(TASKS as usize);
    let before = COUNT.load(Relaxed);
    handles.extend((0..TASKS).map(|_| spawn()));
    for handle in handles.drain(..) {
        handle.await;
    }
    COUNT.load(Relaxed) - before
}

/// The bytes of each of so many scopes with so many parked tasks, but for what as many tasks of one scope take.
/// All of it stays there.
fn scope_bytes<B: Spawner>(scopes: u64, tasks: u64, root: &Scope<B>) -> i64 {
    let (above, together) = (root.scope("above"), root.scope("together"));
    let before = BYTES.load(Relaxed);
    for _ in 0..scopes {
        let leaf = above.scope("leaf");
        (0..tasks).for_each(|_| drop(leaf.spawn(pending::<()>())));
    }
    let between = BYTES.load(Relaxed);
    (0..scopes * tasks).for_each(|_| drop(together.spawn(pending::<()>())));
    let after = BYTES.load(Relaxed);
    (2 * between - before - after) / scopes as i64
}

/// Counts for the bare executor, the typed scope, the erased one and the free function.
async fn compare<B: Spawner>(backend: B) -> [u64; 4] {
    async fn work() -> u32 {
        7
    }
    let typed = Scope::current().with_backend(backend.clone());
    let erased = Scope::current();
    if FIRST.swap(false, Relaxed) {
        // Of a process that has no tables yet. What grows by doubling is all but full.
        let root = typed.scope("bytes");
        for (tasks, most) in [(1, 224), (2, 244)] {
            let bytes = scope_bytes(1000, tasks, &root);
            println!("{bytes} bytes a scope with {tasks} parked tasks beside those");
            assert!(bytes <= most, "{bytes} bytes a scope with {tasks} tasks");
        }
        root.stop().await.expect("not from inside");
    }
    // From the first task on: neither tables nor slots have their size, which are made by the block.
    let bare = count_at_once(|| backend.spawn(work())).await;
    // The scope itself, and no table of its own.
    let scopes = count_at_once(|| typed.scope("one").spawn(work())).await;
    println!("{scopes} allocations for {TASKS} scopes with a task each, bare tasks {bare}");
    assert!(scopes <= bare + TASKS + TASKS / 4, "scopes {scopes}, bare {bare}");
    let cold = count_at_once(|| erased.spawn(work())).await;
    assert!(cold <= bare + TASKS + TASKS / 5, "erased and cold {cold}, bare {bare}");
    let free = || spawn(work());
    // Each of the three, a third of them.
    let mut turn = 0;
    let mut free_of_three = || {
        turn += 1;
        match turn % 3 {
            0 => free(),
            1 => spawn_shielded(work()),
            _ => spawn_graceful(|_| work()),
        }
    };
    count_at_once(&mut free_of_three).await;
    // Once before, so that tables and queues have their size.
    for _ in 0..2 {
        count(|| backend.spawn(work())).await;
        count(|| typed.spawn(work())).await;
        count(|| erased.spawn(work())).await;
        count(&mut free_of_three).await;
    }
    let bare = count(|| backend.spawn(work())).await;
    let typed = count(|| typed.spawn(work())).await;
    [bare, typed, count(|| erased.spawn(work())).await, count(free_of_three).await]
}

fn on<E: Executor>(
    runner: adjourn_core::Runner<E>,
    backend: impl FnOnce() -> E::Backend,
) -> [u64; 4] {
    let mut counts = [0; 4];
    let exit: Exit = runner.signals([] as [Signal; 0]).run(async {
        counts = compare(backend()).await;
    });
    assert_eq!(exit.exit_code(), 0);
    counts
}

#[test]
fn a_tracked_task_allocates_what_a_bare_one_does() {
    let tokio = on(adjourn::tokio::Runner::new().current_thread(), || {
        adjourn::tokio::Tokio::current().expect("inside the runtime")
    });
    let async_std = on(adjourn::async_std::Runner::new(), || adjourn::async_std::AsyncStd);
    let executor = std::sync::Arc::new(async_executor::Executor::new());
    let smol = adjourn::smol::Smol::from(&executor);
    let mut counts = [0; 4];
    let main = async { counts = compare(smol.clone()).await };
    let exit = adjourn::smol::Runner::new().attach_to(&smol, main);
    assert_eq!(async_io::block_on(executor.run(exit)).exit_code(), 0);
    for (name, [bare, typed, erased, free]) in
        [("tokio", tokio), ("smol", counts), ("async-std", async_std)]
    {
        println!(
            "{name}: bare {bare}, typed {typed}, erased {erased}, free {free} allocations for {TASKS}"
        );
        // Some slack for the executor's own queues, which grow now and then.
        let slack = TASKS / 50;
        assert!(typed <= bare + slack, "{name}: typed {typed}, bare {bare}");
        assert!(erased <= bare + TASKS + slack, "{name}: erased {erased}, bare {bare}");
        // async-std's handle takes four words, and an erased one keeps two in place.
        let boxed = if name == "async-std" { TASKS } else { 0 };
        assert!(free <= bare + boxed + slack, "{name}: free {free}, bare {bare}");
    }
}
