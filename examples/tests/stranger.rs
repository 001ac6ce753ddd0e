//! The example's adapter, by the conformance kit: what a third party writes.

#[allow(dead_code, unreachable_pub)] // it is a program too
#[path = "../examples/stranger.rs"]
mod stranger;

#[global_allocator]
static ALLOCATOR: adjourn_conformance::CountingAllocator = adjourn_conformance::CountingAllocator;

adjourn_conformance::conformance! { stranger::PoolExecutor, allocations: counted }
