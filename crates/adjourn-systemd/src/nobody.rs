//! Where there is no systemd.

use std::io;
use std::time::Duration;

/// The service manager: there is none on this system.
#[derive(Clone, Debug)]
pub struct Manager(std::convert::Infallible);

impl Manager {
    /// None on this system.
    pub fn from_env() -> Option<Manager> {
        None
    }

    /// Tells it this: variables, one a line.
    pub fn send(&self, _: &str) -> io::Result<()> {
        match self.0 {}
    }

    /// Tells it which process the service is from now on.
    pub fn main_pid(&self, _: u32) -> io::Result<()> {
        match self.0 {}
    }

    /// Waits until it has taken all that was sent before.
    pub fn barrier(&self, _: Duration) -> io::Result<()> {
        match self.0 {}
    }
}

pub(crate) fn watchdog_period() -> Option<Duration> {
    None
}

pub(crate) fn monotonic_micros() -> u128 {
    0
}
