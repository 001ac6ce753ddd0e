//! Models of what threads share, each tried by loom in every interleaving (up to a number of
//! preemptions that `ci/loom.sh` sets).
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p adjourn-core --lib --release interleavings`

mod asking;
mod ends;
mod spawns;
mod wakers;

use std::panic::Location;
use std::sync::Arc;

use crate::contract::report::TaskKind;
use crate::program::Program;
use crate::tests::nowhere;
use crate::track::node::{Node, Spawn};
use crate::track::table::TaskRef;

fn program() -> Arc<Program> {
    nowhere::program(false)
}

/// A scope with a handle, below the root.
fn scope(program: &Arc<Program>) -> Arc<Node> {
    program.open(&program.root(), "scope".into(), &[])
}

fn spawn(node: &Arc<Node>, kind: TaskKind) -> Option<TaskRef> {
    node.register(Spawn::new(kind, Location::caller()))
}

fn end(program: &Arc<Program>) {
    _ = program.conclude(); // its scopes refer to it
}

/// The driver's part of a cancellation.
fn cancel(node: &Arc<Node>) {
    node.fire();
    node.cancel();
}
