//! A counting global allocator, and what is counted with it.

#![allow(unsafe_code)] // an allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use adjourn_core::Scope;
use adjourn_core::rt::Spawner;

/// The system's allocator, counting: what the scenarios about allocations need.
///
/// Declare it once in the test binary, and say `allocations: counted` in the call of
/// [`conformance!`](crate::conformance):
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: adjourn_conformance::CountingAllocator = adjourn_conformance::CountingAllocator;
/// ```
///
/// It counts the whole process's allocations, by one relaxed addition each.
#[derive(Debug)]
pub struct CountingAllocator;

/// Allocations so far. Relaxed: only differences of one thread's own reads are looked at, after
/// what was counted has been awaited.
static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: forwards to the system's allocator; counting has no effect on what is returned.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How many tasks are counted at a time.
pub(crate) const TASKS: u64 = 1000;

/// Allocations of [`TASKS`] spawns, each awaited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) bare: u64,
    pub(crate) typed: u64,
    pub(crate) erased: u64,
}

/// Whether the allocator that counts is the program's.
pub(crate) fn is_counting() -> bool {
    COUNT.load(Relaxed) > 0
}

async fn count<H: Future>(mut spawn: impl FnMut() -> H) -> u64 {
    let before = COUNT.load(Relaxed);
    for _ in 0..TASKS {
        spawn().await;
    }
    COUNT.load(Relaxed) - before
}

/// Counts on the backend, on a typed and on an erased scope; calls `moved` after each count.
pub(crate) async fn compare<B: Spawner>(backend: B, scope: Scope, moved: fn()) -> Counted {
    async fn work() -> u32 {
        7
    }
    let typed = scope.with_backend(backend.clone());
    let mut counted = Counted { bare: 0, typed: 0, erased: 0 };
    // The last round counts: by then tables and queues have their size.
    for _ in 0..3 {
        counted.bare = count(|| backend.spawn(work())).await;
        moved();
        counted.typed = count(|| typed.spawn(work())).await;
        moved();
        counted.erased = count(|| scope.spawn(work())).await;
        moved();
    }
    counted
}
