//! elegant-departure: one registry for the process, which can be shut down once.

use std::process::Command;
use std::time::Duration;

use futures_lite::future::or;

use crate::body::{asked, parked, since_asked, until_parked};
use crate::host::Host;

/// Rounds of it, each a process of its own.
#[derive(Debug)]
pub struct Elegant;

impl Elegant {
    /// Its name in the tables.
    pub const NAME: &'static str = "elegant-departure";

    /// Returns the time of a round in a new process.
    ///
    /// # Panics
    ///
    /// When that process fails.
    pub fn cancel(host: &str, count: usize) -> Duration {
        let exe = std::env::current_exe().expect("the path of this program");
        let output = Command::new(exe)
            .args(["--child", "elegant", host, &count.to_string()])
            .output()
            .expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        Duration::from_nanos(text.trim().parse().expect("nanoseconds"))
    }
}

/// The round itself: parks `count` tasks, shuts down, and returns how long that took.
pub async fn cancel_once<H: Host>(host: H, count: usize) -> Duration {
    let cancellable = || {
        let guard = elegant_departure::get_shutdown_guard();
        async move { or(guard.wait(), parked()).await }
    };
    let tasks: Vec<_> = (0..count).map(|_| host.spawn(cancellable())).collect();
    until_parked(count).await;
    asked();
    elegant_departure::shutdown().await;
    for task in tasks {
        task.await;
    }
    since_asked()
}
