//! How long a scenario may take.

use std::env;
use std::time::Duration;

/// How long a scenario may take: 30 s, or `ADJOURN_CONFORMANCE_WATCHDOG` in seconds.
pub(crate) fn watchdog() -> Duration {
    let asked = env::var("ADJOURN_CONFORMANCE_WATCHDOG").ok();
    let seconds = asked.and_then(|seconds| seconds.parse().ok()).unwrap_or(30);
    Duration::from_secs(seconds)
}

/// How long a scenario waits for what has to come, before it says that it did not: far above what
/// a loaded machine takes, and below the watchdog, so that the message is the scenario's own.
pub(crate) fn patience() -> Duration {
    watchdog() / 3
}
