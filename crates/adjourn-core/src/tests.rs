//! Tests of the inside that belong to no one file, and what they run on.

#[cfg(not(loom))]
mod ends;
#[cfg(loom)]
mod interleavings;
#[cfg(not(loom))]
mod kept;
#[cfg(not(loom))]
mod leaves;
pub(crate) mod nowhere;
#[cfg(not(loom))]
mod opened;
// Not in `phase.rs`: the fuzz target compiles that file too, and would have its tests.
#[cfg(not(loom))]
mod phase;
#[cfg(not(loom))]
mod polls;
#[cfg(not(loom))]
mod sequences;
#[cfg(not(loom))]
mod wakers;
mod wakeups;
