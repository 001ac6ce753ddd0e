//! What the servers share with their tests: how they say where they listen.

/// The start of the line that a server prints once it is ready; its address follows.
pub const LISTENING: &str = "listening on ";
