//! What is promised to users and asked of executors.

pub(crate) mod columns;
pub(crate) mod error;
pub(crate) mod hook;
pub(crate) mod inspect;
pub(crate) mod main_output;
pub(crate) mod options;
pub(crate) mod report;
pub mod rt;
