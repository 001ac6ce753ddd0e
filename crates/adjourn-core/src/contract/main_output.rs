//! What `main` may return.

use std::error::Error;

use crate::contract::error::error_chain;
use crate::contract::report::Exit;

/// What a program's main future may return: `()`, `!`, [`Exit`], or a `Result` of one of them with any
/// error that boxes (`E: Into<Box<dyn Error + Send + Sync>>`: a string, `anyhow::Error`, your own).
pub trait MainOutput: sealed::Sealed {
    #[doc(hidden)]
    fn into_end(self) -> MainEnd;
}

/// How `main` ended, for the report.
#[doc(hidden)]
#[derive(Debug)]
pub enum MainEnd {
    /// With the exit code that it asked for, if it did.
    Returned(Option<u8>),
    /// With an error and its causes.
    Failed(Vec<String>),
    /// With an error that a stop request caused.
    Stopped,
}

impl MainOutput for () {
    fn into_end(self) -> MainEnd {
        MainEnd::Returned(None)
    }
}

/// A main future that loops for ever has the type `!`, which has no stable name of its own.
pub(crate) type Never = <fn() -> ! as sealed::Returns>::Output;

impl MainOutput for Never {
    fn into_end(self) -> MainEnd {
        self
    }
}

impl MainOutput for Exit {
    fn into_end(self) -> MainEnd {
        MainEnd::Returned(Some(self.exit_code()))
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> MainOutput for Result<(), E> {
    fn into_end(self) -> MainEnd {
        self.map_or_else(failed, |()| MainEnd::Returned(None))
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> MainOutput for Result<Exit, E> {
    fn into_end(self) -> MainEnd {
        self.map_or_else(failed, MainOutput::into_end)
    }
}

fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> MainEnd {
    match error_chain(&*error.into()) {
        (_, true) => MainEnd::Stopped,
        (chain, false) => MainEnd::Failed(chain),
    }
}

mod sealed {
    /// Names what a function returns.
    pub trait Returns {
        type Output;
    }

    impl<T> Returns for fn() -> T {
        type Output = T;
    }

    pub trait Sealed {}
    impl Sealed for () {}
    impl Sealed for super::Never {}
    impl Sealed for super::Exit {}
    impl<E> Sealed for Result<(), E> {}
    impl<E> Sealed for Result<super::Exit, E> {}
}
