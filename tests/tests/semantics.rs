//! What a program means, stated once and tested on every backend configuration.
//!
//! A scenario is a function of a [`Config`]; `scenarios!` makes a test of it for each of them. Order
//! is proved by channels, logs and counters; time is real only where a limit is what is tested.

#![allow(missing_docs, missing_debug_implementations, unreachable_pub)] // a test has no API

#[macro_use]
#[path = "semantics/harness.rs"]
mod harness;

#[path = "semantics/accepting.rs"]
mod accepting;
#[path = "semantics/asking.rs"]
mod asking;
#[path = "semantics/beginning.rs"]
mod beginning;
#[path = "semantics/blocking.rs"]
mod blocking;
#[path = "semantics/cleanup.rs"]
mod cleanup;
#[path = "semantics/elsewhere.rs"]
mod elsewhere;
#[path = "semantics/hooks.rs"]
mod hooks;
#[path = "semantics/joining.rs"]
mod joining;
#[path = "semantics/local.rs"]
mod local;
#[path = "semantics/observing.rs"]
mod observing;
#[path = "semantics/opening.rs"]
mod opening;
#[path = "semantics/order.rs"]
mod order;
#[path = "semantics/overdue.rs"]
mod overdue;
#[path = "semantics/programs.rs"]
mod programs;
#[path = "semantics/report.rs"]
mod report;
#[path = "semantics/scopes.rs"]
mod scopes;
#[path = "semantics/shield.rs"]
mod shield;
#[path = "semantics/stop.rs"]
mod stop;
#[path = "semantics/supervising.rs"]
mod supervising;
#[path = "semantics/tasks.rs"]
mod tasks;
#[path = "semantics/time.rs"]
mod time;
#[path = "semantics/tokens.rs"]
mod tokens;
#[path = "semantics/until.rs"]
mod until;
#[path = "semantics/watchdog.rs"]
mod watchdog;
