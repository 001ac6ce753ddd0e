//! How a run ends, and what the report is told of it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::Supervisor;

/// What a supervised run may return: `()`, `!`, or a `Result<(), E>` with any error that boxes.
#[diagnostic::on_unimplemented(
    message = "a supervised run may not return `{Self}`",
    label = "returns `()`, `!` or a `Result<(), E>`",
    note = "an error has to convert into `Box<dyn Error + Send + Sync>`"
)]
pub trait RunOutput: sealed::Output {
    #[doc(hidden)]
    fn into_ended(self) -> Ended;
}

/// How a run ended.
#[doc(hidden)]
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    Well,
    Failed(Box<dyn Error + Send + Sync>),
    Panicked(String),
}

impl RunOutput for () {
    fn into_ended(self) -> Ended {
        Ended::Well
    }
}

impl RunOutput for Never {
    fn into_ended(self) -> Ended {
        self
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> RunOutput for Result<(), E> {
    fn into_ended(self) -> Ended {
        match self {
            Ok(()) => Ended::Well,
            Err(error) => Ended::Failed(error.into()),
        }
    }
}

/// A run that loops for ever has the type `!`, which has no stable name of its own.
type Never = <fn() -> ! as sealed::Returns>::Output;

mod sealed {
    pub trait Returns {
        type Output;
    }
    impl<T> Returns for fn() -> T {
        type Output = T;
    }

    pub trait Output {}
    impl Output for () {}
    impl Output for super::Never {}
    impl<E> Output for Result<(), E> {}
}

/// A failure as the report has it: what follows from it, and the run's error behind.
#[derive(Debug)]
pub(crate) struct Told {
    text: String,
    error: Option<Box<dyn Error + Send + Sync>>,
}

impl Told {
    /// Of a run after which another one begins.
    pub(crate) fn restart(ended: Ended, nth: u64, delay: Duration) -> Option<Told> {
        let next = format!("the next one begins in {delay:?}");
        Some(match ended {
            Ended::Well => return None,
            Ended::Failed(error) => {
                Told { text: format!("run {nth} failed; {next}"), error: Some(error) }
            }
            Ended::Panicked(message) => {
                Told { text: format!("run {nth} panicked: {message}; {next}"), error: None }
            }
        })
    }

    /// Of a run that no other one follows, as the policy or the stop wants it.
    pub(crate) fn last(ended: Ended) -> Option<Told> {
        match ended {
            Ended::Well => None,
            Ended::Failed(error) => {
                Some(Told { text: "the last run failed".to_owned(), error: Some(error) })
            }
            Ended::Panicked(message) => {
                Some(Told { text: format!("the last run panicked: {message}"), error: None })
            }
        }
    }

    /// Of a run that no other one follows, since there were too many.
    pub(crate) fn gave_up(ended: Ended, options: &Supervisor) -> Told {
        let (most, window) = options.limit.unwrap_or_default();
        let gave_up = format!("gave up, after {most} restarts in {window:?}: the last run");
        match ended {
            Ended::Well => Told { text: format!("{gave_up} ended too"), error: None },
            Ended::Failed(error) => Told { text: format!("{gave_up} failed"), error: Some(error) },
            Ended::Panicked(message) => {
                Told { text: format!("{gave_up} panicked: {message}"), error: None }
            }
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Told {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.as_deref().map(|error| error as &(dyn Error + 'static))
    }
}
