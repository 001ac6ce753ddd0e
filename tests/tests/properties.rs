//! Random programs: the invariants hold wherever they are stopped, a reference model says how they
//! end, and every backend reports the same.
//!
//! `ADJOURN_CASES` is the number of programs for each property that is simulated (default 300, and
//! 4,000 beside the model); `ADJOURN_STOPPED_CASES` for those that are stopped everywhere, some
//! hundred runs each (default 100); `ADJOURN_REAL_CASES` for those that run on real executors too,
//! in real time (default 24). Small programs come first. A failure prints the program, shrunk, as
//! the `Spec` that it is.

#![allow(missing_docs, missing_debug_implementations, unreachable_pub)] // a test has no API

#[path = "properties/ends.rs"]
mod ends;
#[path = "properties/model.rs"]
mod model;
#[path = "properties/program.rs"]
mod program;
#[path = "properties/spec.rs"]
mod spec;
#[path = "properties/times.rs"]
mod times;
