//! Stops an Adjourn program where no signal comes: in a container without a shell, from another user's
//! script, on Windows, over a tunnel.
//!
//! ```no_run
//! use adjourn_triggers::Triggers;
//! # fn run(runner: adjourn_core::Runner<()>) -> adjourn_core::Runner<()> {
//! runner.observe(Triggers::new().file("/run/app/stop").socket("/run/app/control"))
//! # }
//! ```
//!
//! | trigger | stops the program | by hand |
//! |---|---|---|
//! | [`File`] | when the file is there | `touch /run/app/stop` |
//! | `Socket` (Unix) | at the line `stop` | `echo stop \| nc -U /run/app/control` |
//! | `Pipe` (Windows) | at the line `stop` | `echo stop> \\.\pipe\app-control` |
//! | [`Port`] | at a secret and `stop` | `echo "$(cat /run/app/secret) stop" \| nc 127.0.0.1 7777` |
//! | [`Stdin`] | at the end of standard input | whoever started the program closes the pipe |
//!
//! All triggers of a program share one thread, which is none of the executor's: they work when every
//! worker is stuck. The report names the trigger, once: `a request: the file /run/app/stop`. No trigger forces the end; that is for who may send a signal.
//!
//! A trigger that cannot be set up keeps the program from starting: exit code 1 and an error that says
//! what to do.

#![deny(unsafe_code)] // `sys` and `pipe::sys` alone are allowed it, with a proof at each site

mod command;
mod file;
#[cfg(windows)]
mod pipe;
mod place;
mod port;
#[cfg(unix)]
mod socket;
mod stdin;
#[cfg(unix)]
mod sys;

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use adjourn_core::{Event, Inspector, Observer, Stopper};

pub use self::file::File;
#[cfg(windows)]
pub use self::pipe::Pipe;
pub use self::port::Port;
#[cfg(unix)]
pub use self::socket::Socket;
pub use self::stdin::Stdin;

/// Why a trigger could not be set up.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Something that stops a program. Looked at again and again, by a thread that all triggers of the
/// program share.
pub trait Trigger: Send + 'static {
    /// What the report calls it: `the file /run/app/stop`.
    fn name(&self) -> String;

    /// Sets it up. Called once, before the program starts.
    ///
    /// # Errors
    ///
    /// With an error the program does not start. It says what is wrong and what to do.
    fn open(&mut self) -> Result<(), BoxError>;

    /// Looks whether the program has to stop. Must not block: other triggers wait for it.
    fn look(&mut self, program: &Inspector) -> Look;
}

/// What a [`Trigger`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Look {
    /// The program has to stop. Only the first time counts.
    pub stop: bool,
    /// When to look again.
    pub again: Duration,
}

impl Look {
    /// The program has to stop, if `stop`; else it is looked again `again` later.
    ///
    /// ```
    /// use adjourn_core::Inspector;
    /// use adjourn_triggers::{BoxError, Look, Trigger};
    /// use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    /// use std::time::Duration;
    ///
    /// /// Stops the program once a switch is on.
    /// struct Switch(&'static AtomicBool);
    ///
    /// impl Trigger for Switch {
    ///     fn name(&self) -> String {
    ///         "the switch".to_owned()
    ///     }
    ///
    ///     fn open(&mut self) -> Result<(), BoxError> {
    ///         Ok(())
    ///     }
    ///
    ///     fn look(&mut self, _: &Inspector) -> Look {
    ///         Look::new(self.0.load(SeqCst), Duration::from_millis(100))
    ///     }
    /// }
    /// ```
    pub const fn new(stop: bool, again: Duration) -> Look {
        Look { stop, again }
    }

    /// Nothing will come.
    pub(crate) const NEVER: Look = Look { stop: false, again: Duration::MAX };
}

/// The triggers of a program: an [`Observer`].
///
/// ```no_run
/// # use adjourn_triggers::{File, Triggers};
/// # fn run(runner: adjourn_core::Runner<()>) -> adjourn_core::Runner<()> {
/// runner.observe(Triggers::new().on(File::new("/run/app/stop").remove_old()).stdin())
/// # }
/// ```
#[derive(Default)]
pub struct Triggers {
    triggers: Vec<Added>,
    stopper: Option<Stopper>,
}

struct Added {
    trigger: Box<dyn Trigger>,
    /// It has asked for the stop. A file that is there asks again at each look.
    asked: bool,
}

impl Triggers {
    /// None.
    pub fn new() -> Triggers {
        Triggers::default()
    }

    /// Adds one.
    pub fn on(mut self, trigger: impl Trigger) -> Triggers {
        self.triggers.push(Added { trigger: Box::new(trigger), asked: false });
        self
    }

    /// Adds a [`File`].
    pub fn file(self, path: impl Into<PathBuf>) -> Triggers {
        self.on(File::new(path))
    }

    /// Adds a [`Socket`].
    #[cfg(unix)]
    pub fn socket(self, path: impl Into<PathBuf>) -> Triggers {
        self.on(Socket::new(path))
    }

    /// Adds a [`Pipe`].
    #[cfg(windows)]
    pub fn pipe(self, name: impl Into<std::ffi::OsString>) -> Triggers {
        self.on(Pipe::new(name))
    }

    /// Adds a [`Port`].
    pub fn port(self, port: u16, secret: impl Into<PathBuf>) -> Triggers {
        self.on(Port::new(port, secret))
    }

    /// Adds [`Stdin`].
    pub fn stdin(self) -> Triggers {
        self.on(Stdin::new())
    }
}

impl Observer for Triggers {
    fn name(&self) -> String {
        match &*self.triggers {
            [one] => one.trigger.name(),
            _ => "triggers".to_owned(),
        }
    }

    fn start(&mut self, _: &Inspector, stopper: &Stopper) -> Result<(), BoxError> {
        for Added { trigger, .. } in &mut self.triggers {
            trigger.open().map_err(|error| format!("{}: {error}", trigger.name()))?;
        }
        self.stopper = Some(stopper.clone());
        Ok(())
    }

    fn observe(&mut self, event: &Event, program: &Inspector) -> Option<Duration> {
        if let Event::Ended(_) = event {
            self.triggers.clear(); // a socket's file goes with it
            return None;
        }
        let mut next = None;
        for Added { trigger, asked } in &mut self.triggers {
            let Look { stop, again } = trigger.look(program);
            if stop && !std::mem::replace(asked, true) {
                if let Some(stopper) = &self.stopper {
                    stopper.stop_because(trigger.name());
                }
            }
            next = Some(next.map_or(again, |next: Duration| next.min(again)));
        }
        next
    }
}

impl fmt::Debug for Triggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.triggers.iter().map(|added| added.trigger.name())).finish()
    }
}
