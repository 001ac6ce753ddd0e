//! What a scenario asks of a program, whichever executor it is for.

use std::time::Duration;

use adjourn_core::{Runner, Signal, Stopper};

/// What a scenario asks of a runner, whichever executor it is for.
pub(crate) struct Setup {
    pub(crate) timeout: Option<Duration>,
    pub(crate) drain_limit: Option<Duration>,
    pub(crate) debounce: Option<Duration>,
    pub(crate) signals: Vec<Signal>,
    pub(crate) exit_when_stuck: bool,
    pub(crate) stop_on_panic: bool,
    pub(crate) on_signal: Option<SignalHandler>,
    pub(crate) on_stopped: Option<Box<dyn FnOnce() + Send>>,
}

type SignalHandler = Box<dyn FnMut(Signal, &Stopper) + Send>;

impl Setup {
    /// For scenarios in the test's own process, which they leave alone.
    pub(crate) fn new() -> Setup {
        Setup {
            timeout: None,
            drain_limit: None,
            debounce: None,
            signals: Vec::new(),
            exit_when_stuck: false,
            stop_on_panic: false,
            on_signal: None,
            on_stopped: None,
        }
    }

    /// For scenarios in a process of their own: as `run`'s defaults, attached too.
    pub(crate) fn process() -> Setup {
        Setup {
            signals: vec![Signal::INTERRUPT, Signal::TERMINATE],
            exit_when_stuck: true,
            ..Setup::new()
        }
    }

    pub(crate) fn timeout(mut self, millis: u64) -> Setup {
        self.timeout = Some(Duration::from_millis(millis));
        self
    }

    pub(crate) fn apply<E>(self, mut runner: Runner<E>) -> Runner<E> {
        runner = runner.signals(self.signals).exit_when_stuck(self.exit_when_stuck);
        runner = runner.stop_on_panic(self.stop_on_panic);
        if let Some(timeout) = self.timeout {
            runner = runner.timeout(timeout);
        }
        if let Some(limit) = self.drain_limit {
            runner = runner.drain_limit(limit);
        }
        if let Some(debounce) = self.debounce {
            runner = runner.debounce(debounce);
        }
        if let Some(handler) = self.on_signal {
            runner = runner.on_signal(handler);
        }
        if let Some(hook) = self.on_stopped {
            runner = runner.on_stopped(hook);
        }
        runner
    }
}
