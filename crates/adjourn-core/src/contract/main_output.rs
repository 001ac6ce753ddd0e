//! What `main` may return.

use std::error::Error;

use crate::contract::error::error_chain;
use crate::contract::report::Exit;

/// What a program's main future may return: `()`, `!`, [`Exit`], or a `Result` of `()` or [`Exit`].
///
/// The error of a `Result` may be any that boxes (`E: Into<Box<dyn Error + Send + Sync>>`: a string,
/// `anyhow::Error`, your own), or `Box<dyn Error>` itself, as in a plain `fn main`.
///
/// For any other value there is [`Runner::run_value`](crate::Runner::run_value). `Kind` tells the
/// implementations apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`main` may not return `{Self}`",
    label = "returns `()`, `!`, `Exit`, or a `Result<(), E>` or `Result<Exit, E>`",
    note = "for any other value use `Runner::run_value`, which hands it back beside the `Exit`",
    note = "an error has to implement `std::error::Error`, or convert into `Box<dyn Error + Send + Sync>`, or be \
            `Box<dyn Error>`"
)]
pub trait MainOutput<Kind>: sealed::Sealed<Kind> {
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

// A list of all impls would bury the message above: none is proposed.
#[diagnostic::do_not_recommend]
impl MainOutput<sealed::Value> for () {
    fn into_end(self) -> MainEnd {
        MainEnd::Returned(None)
    }
}

/// A main future that loops for ever has the type `!`, which has no stable name of its own.
pub(crate) type Never = <fn() -> ! as sealed::Returns>::Output;

#[diagnostic::do_not_recommend]
impl MainOutput<sealed::Value> for Never {
    fn into_end(self) -> MainEnd {
        self
    }
}

#[diagnostic::do_not_recommend]
impl MainOutput<sealed::Value> for Exit {
    fn into_end(self) -> MainEnd {
        MainEnd::Returned(Some(self.exit_code()))
    }
}

#[diagnostic::do_not_recommend]
impl<E: Into<Box<dyn Error + Send + Sync>>> MainOutput<sealed::Sends> for Result<(), E> {
    fn into_end(self) -> MainEnd {
        self.map_or_else(failed, |()| MainEnd::Returned(None))
    }
}

#[diagnostic::do_not_recommend]
impl<E: Into<Box<dyn Error + Send + Sync>>> MainOutput<sealed::Sends> for Result<Exit, E> {
    fn into_end(self) -> MainEnd {
        self.map_or_else(failed, MainOutput::into_end)
    }
}

#[diagnostic::do_not_recommend]
impl MainOutput<sealed::Stays> for Result<(), Box<dyn Error>> {
    fn into_end(self) -> MainEnd {
        self.map_or_else(|error| failed_by(&*error), |()| MainEnd::Returned(None))
    }
}

#[diagnostic::do_not_recommend]
impl MainOutput<sealed::Stays> for Result<Exit, Box<dyn Error>> {
    fn into_end(self) -> MainEnd {
        self.map_or_else(|error| failed_by(&*error), MainOutput::into_end)
    }
}

fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> MainEnd {
    failed_by(&*error.into())
}

fn failed_by(error: &(dyn Error + 'static)) -> MainEnd {
    match error_chain(error) {
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

    /// No error.
    #[derive(Debug)]
    pub struct Value;
    /// An error that may be sent to other threads.
    #[derive(Debug)]
    pub struct Sends;
    /// One that may not.
    #[derive(Debug)]
    pub struct Stays;

    pub trait Sealed<Kind> {}
    impl Sealed<Value> for () {}
    impl Sealed<Value> for super::Never {}
    impl Sealed<Value> for super::Exit {}
    impl<E> Sealed<Sends> for Result<(), E> {}
    impl<E> Sealed<Sends> for Result<super::Exit, E> {}
    impl Sealed<Stays> for Result<(), Box<dyn super::Error>> {}
    impl Sealed<Stays> for Result<super::Exit, Box<dyn super::Error>> {}
}
