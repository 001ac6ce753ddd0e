//! The adapter for a pool with worker threads, by the conformance kit.

use adjourn_adapter_examples::pool::PoolExecutor;

#[global_allocator]
static ALLOCATOR: adjourn_conformance::CountingAllocator = adjourn_conformance::CountingAllocator;

mod workers_1 {
    adjourn_conformance::conformance! { super::PoolExecutor, workers: 1, allocations: counted }
}

mod workers_3 {
    adjourn_conformance::conformance! { super::PoolExecutor, workers: 3, allocations: counted }
}
