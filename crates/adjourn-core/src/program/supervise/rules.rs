//! What a signal means: the rules that say so, and what came of one.

use std::time::{Duration, Instant};

use crate::contract::options::{Options, Reraise, SecondInterrupt};
use crate::process::signal::Signal;
use crate::program::narrate::Mode;

/// What the options say about signals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(super) second_interrupt: SecondInterrupt,
    pub(super) debounce: Duration,
    reraise: Reraise,
    /// Signals are the user's handler's: they ask for nothing by themselves.
    pub(crate) hands_over: bool,
    /// The driver is asked first to tell the program of signals: to wake it holds up nobody.
    pub(crate) asks_driver: bool,
    /// SIGINT is heard: what the next one does can be said.
    pub(crate) hears_interrupt: bool,
    /// The set of those that print what is alive, and do nothing else.
    pub(crate) dumps: u64,
    /// What people are told.
    pub(crate) mode: Mode,
}

impl Rules {
    pub(crate) fn new(options: &Options, hands_over: bool) -> Rules {
        Rules {
            second_interrupt: options.second_interrupt,
            debounce: options.debounce,
            reraise: options.reraise,
            hands_over,
            asks_driver: false,
            hears_interrupt: false,
            dumps: options.dump_on.iter().fold(0, |set, signal| set | signal.bit()),
            mode: Mode::SILENT,
        }
    }

    /// Which signal is raised again once the report is written, if `signal` was the first cause or
    /// forced the end.
    pub(crate) fn raises(&self, signal: Option<Signal>) -> Option<Signal> {
        match self.reraise {
            Reraise::Never => None,
            Reraise::Interrupt => signal.filter(|signal| *signal == Signal::INTERRUPT),
            Reraise::Always => signal,
        }
    }
}

/// A signal, and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) signal: Signal,
    /// How often it came.
    pub(crate) count: u64,
    /// How often it is no repetition.
    pub(crate) fresh: u64,
    /// It asks for the stop.
    pub(crate) stops: bool,
    /// It forces the end.
    pub(crate) forces: bool,
    /// When the system ends the process for it.
    pub(crate) ends: Option<Instant>,
}
