//! What is measured, by topic.

pub mod aiorun;
pub mod build;
pub mod child;
pub mod contention;
pub mod effort;
pub mod in_child;
pub mod instructions;
pub mod machine;
pub mod memory;
pub mod process;
pub mod scopes;
pub mod tasks;
pub mod trees;
pub mod turns;
pub mod ways;
