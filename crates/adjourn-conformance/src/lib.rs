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
//! Four short scenarios come first. Where an adapter does not meet them, the others are not run.
//!
//! Each scenario has a watchdog, which barks when nothing moves for 30 s; those that could end the
//! process run in one of their own.

#![deny(unsafe_code)] // `allocations` and `sys` alone are allowed it, with a proof at each site

mod allocations;
mod bare;
mod blocking;
mod case;
mod executor_end;
mod first;
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
mod threads;
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

/// Runs the four scenarios of the topic `first`, which all else stands on: `block_on` drives, `spawn`
/// does not poll, a handle detaches, a sleep resolves. They are over in an instant, or have failed in a
/// second, where other scenarios run into their watchdogs. Run once in a process for each subject.
///
/// Each test of [`conformance!`] does this by itself.
///
/// # Errors
///
/// What the contract says, and what was found instead.
pub fn first_check(subject: fn() -> Subject) -> Result<(), String> {
    first::check(scenarios(), subject)
}

/// What each test of [`conformance!`] does.
#[doc(hidden)]
pub fn __run(topic: &str, name: &str, subject: fn() -> Subject, path: &str) {
    let is_it = |scenario: &&Scenario| scenario.topic == topic && scenario.name == name;
    let scenario = scenarios().iter().find(is_it).expect("the list makes the tests");
    if topic != first::TOPIC && !process::is_part() {
        if let Err(error) = first_check(subject) {
            panic!("{scenario} was not run, for what comes first is not met:\n{error}");
        }
    }
    // libtest's names are paths without the crate's.
    let test = path.split_once("::").map_or(path, |(_, test)| test);
    scenario.run(subject, test);
}
