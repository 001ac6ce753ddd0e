//! Tests of the inside that belong to no one file, and what they run on.

#[cfg(loom)]
mod interleavings;
pub(crate) mod nowhere;
#[cfg(not(loom))]
mod sequences;
