//! The conformance kit: tests that an adapter gives Adjourn what it asks of an executor.
//!
//! An adapter implements the traits of [`adjourn_core::rt`]. Their contract, and what programs mean
//! on top of it, is stated here once, as [`scenarios`]; [`conformance!`] makes a test of each. The
//! same tests hold Adjourn's own adapters. How to use it, and which exceptions ours declare, is in
//! the project's `docs/conformance.md`.
//!
//! ```toml
//! [dev-dependencies]
//! adjourn-conformance = "0.1"
//! ```
//!
//! Each scenario has a watchdog, which barks when nothing moves for 30 s; those that could end the
//! process run in one of their own.

#![deny(unsafe_code)] // `allocations` and `sys` alone are allowed it, with a proof at each site

mod allocations;
mod bare;
mod blocking;
mod case;
mod executor_end;
mod limits;
mod list;
mod macros;
mod process;
mod processes;
mod program;
mod scenario;
mod setup;
mod stop;
mod subject;
mod sys;
mod tasks;
mod time;
mod tools;

pub use allocations::CountingAllocator;
#[doc(hidden)]
pub use list::names;
pub use scenario::Scenario;
pub use subject::{Attached, Subject};

/// Returns all scenarios, by topic.
pub fn scenarios() -> &'static [Scenario] {
    list::ALL
}

/// What each test of [`conformance!`] does.
#[doc(hidden)]
pub fn __run(topic: &str, name: &str, subject: fn() -> Subject, path: &str) {
    let is_it = |scenario: &&Scenario| scenario.topic == topic && scenario.name == name;
    let scenario = scenarios().iter().find(is_it).expect("the list makes the tests");
    // libtest's names are paths without the crate's.
    let test = path.split_once("::").map_or(path, |(_, test)| test);
    scenario.run(subject, test);
}
