//! What can go wrong, one error an operation.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Mutex;

/// The payload of a panic, as [`std::panic::catch_unwind`] gives it.
pub type Payload = Box<dyn Any + Send + 'static>;

/// Why a [`JoinHandle`](crate::JoinHandle) has no value to give.
///
/// `Send + Sync + 'static`, so `?` carries it into `anyhow` and its kin.
pub struct JoinError {
    /// None for the usual one, a task that a stop cancelled, so that a stop of many tasks allocates
    /// nothing. One word, so that what each poll returns fits into registers.
    kind: Option<Box<JoinErrorKind>>,
}

enum JoinErrorKind {
    Panic {
        message: String,
        payload: Mutex<Payload>,
    },
    /// By `abort`, or by its executor's end.
    Aborted,
    Abandoned,
    ExecutorGone,
    Refused,
    Unsupported(Unsupported),
}

impl JoinError {
    fn new(kind: JoinErrorKind) -> JoinError {
        JoinError { kind: Some(Box::new(kind)) }
    }

    pub(crate) fn panic(payload: Payload) -> JoinError {
        let message = panic_message(&*payload);
        JoinError::new(JoinErrorKind::Panic { message, payload: Mutex::new(payload) })
    }

    /// A task that ended before its value; whether by a stop, not by `abort`.
    pub(crate) fn cancelled(stop: bool) -> JoinError {
        if stop { JoinError { kind: None } } else { JoinError::new(JoinErrorKind::Aborted) }
    }

    pub(crate) fn abandoned() -> JoinError {
        JoinError::new(JoinErrorKind::Abandoned)
    }

    pub(crate) fn executor_gone() -> JoinError {
        JoinError::new(JoinErrorKind::ExecutorGone)
    }

    pub(crate) fn unsupported(unsupported: Unsupported) -> JoinError {
        JoinError::new(JoinErrorKind::Unsupported(unsupported))
    }

    pub(crate) fn refused() -> JoinError {
        JoinError::new(JoinErrorKind::Refused)
    }

    /// Whether the stop refused the task, or cancelled it.
    pub(crate) fn is_by_stop(&self) -> bool {
        self.kind.is_none() || self.is_refused()
    }

    /// Returns whether the task ended without its value because something stopped it.
    ///
    /// True for a cancelled, an abandoned and a refused task and for one whose executor is gone,
    /// so that `if e.is_cancelled() { return }` means what it means with Tokio.
    pub fn is_cancelled(&self) -> bool {
        !self.is_panic()
    }

    /// Returns whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.kind.as_deref(), Some(JoinErrorKind::Panic { .. }))
    }

    /// Returns whether the task was still alive when `run` ended and could not be dropped then.
    pub fn is_abandoned(&self) -> bool {
        matches!(self.kind.as_deref(), Some(JoinErrorKind::Abandoned))
    }

    /// Returns whether the executor went away with the task on it.
    pub fn is_executor_gone(&self) -> bool {
        matches!(self.kind.as_deref(), Some(JoinErrorKind::ExecutorGone))
    }

    /// Returns whether it never ran: the scope took no more tasks of its kind when it was spawned,
    /// or the backend lacks what it needs.
    pub fn is_refused(&self) -> bool {
        let kind = self.kind.as_deref();
        matches!(kind, Some(JoinErrorKind::Refused | JoinErrorKind::Unsupported(_)))
    }

    /// Returns the panic's payload.
    ///
    /// # Panics
    ///
    /// If the task did not panic; [`try_into_panic`](JoinError::try_into_panic) asks first.
    #[track_caller]
    pub fn into_panic(self) -> Payload {
        self.try_into_panic()
            .expect("JoinError::into_panic: the task did not panic; ask is_panic() first")
    }

    /// Returns the panic's payload, or the error itself when the task did not panic.
    ///
    /// # Errors
    ///
    /// The unchanged error, when the task was cancelled, abandoned or refused.
    pub fn try_into_panic(self) -> Result<Payload, JoinError> {
        match self.kind.map(|kind| *kind) {
            Some(JoinErrorKind::Panic { payload, .. }) => {
                Ok(payload.into_inner().unwrap_or_else(|poison| poison.into_inner()))
            }
            kind => Err(JoinError { kind: kind.map(Box::new) }),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(kind) = self.kind.as_deref() else { return f.write_str("task was cancelled") };
        match kind {
            JoinErrorKind::Panic { message, .. } => write!(f, "task panicked: {message}"),
            JoinErrorKind::Aborted => f.write_str("task was cancelled"),
            JoinErrorKind::Abandoned => {
                f.write_str("task was abandoned: it was still alive when the program ended")
            }
            JoinErrorKind::ExecutorGone => {
                f.write_str("task was dropped with its executor, which is gone")
            }
            JoinErrorKind::Refused => {
                f.write_str("task was refused: its scope is ending and takes no more of its kind")
            }
            JoinErrorKind::Unsupported(unsupported) => unsupported.fmt(f),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl Error for JoinError {
    /// A stop request, where it was one that cancelled or refused the task: an `Err` that a task or
    /// `main` returns for that reason counts as cancelled, not as failed.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self.kind.as_deref() {
            None | Some(JoinErrorKind::Refused) => Some(&StopRequested),
            _ => None,
        }
    }
}

/// The executor went away before the future finished.
///
/// What a [`Spawner`](crate::Spawner)'s handle resolves to when its executor dropped the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ExecutorGone;

impl fmt::Display for ExecutorGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the executor is gone; spawn and await before `run` returns")
    }
}

impl Error for ExecutorGone {}

/// A stop was requested before the work was done.
///
/// [`until_stop`](crate::FutureExt::until_stop) gives it. Wherever it is found in the chain of an
/// error that a task or `main` returns, that task counts as cancelled, not as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StopRequested;

impl fmt::Display for StopRequested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stop was requested")
    }
}

impl Error for StopRequested {}

/// The error has been written in the report; nothing else is left to do with it.
///
/// What [`or_stop`](crate::ResultFutureExt::or_stop) and
/// [`or_report`](crate::ResultFutureExt::or_report) return in place of the error that they took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Reported;

impl fmt::Display for Reported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed; the report has the error")
    }
}

impl Error for Reported {}

/// The backend lacks an optional capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    backend: &'static str,
    what: &'static str,
}

impl Unsupported {
    /// Says that `backend` has no `what`, where `what` names the capability: "blocking pool".
    pub fn new(backend: &'static str, what: &'static str) -> Unsupported {
        Unsupported { backend, what }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} backend has no {}", self.backend, self.what)
    }
}

impl Error for Unsupported {}

/// There is no scope here: the caller is on no thread and in no task of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NoScope;

impl fmt::Display for NoScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no scope here: this is outside `adjourn::run` (or its `attach`), or on a thread that \
             is not the program's. Call it from a task, wrap a framework's future in \
             `.in_scope(&scope)`, or carry a `Scope` to this thread and call `scope.spawn(..)`",
        )
    }
}

impl Error for NoScope {}

/// Why a scope's end could not be awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopError {
    pub(crate) scope: String,
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the end of scope {:?} was awaited from inside it, which would wait for itself; the \
             stop is requested all the same: drop the future, or await it in a task outside",
            self.scope
        )
    }
}

impl Error for StopError {}

/// Why a program did not start: `main` was never polled.
#[derive(Debug)]
pub struct StartError {
    kind: StartErrorKind,
}

#[derive(Debug)]
enum StartErrorKind {
    Options(String),
    Nested(String),
    Executor { what: String, source: Option<Box<dyn Error + Send + Sync>> },
    Signal(crate::process::signal::SignalError),
    Threads(std::io::Error),
}

impl StartError {
    /// Says that two options make no sense together, and what to do.
    pub fn options(advice: impl Into<String>) -> StartError {
        StartError { kind: StartErrorKind::Options(advice.into()) }
    }

    /// Says that the calling thread already runs an executor, and what to call instead.
    pub fn nested(advice: impl Into<String>) -> StartError {
        StartError { kind: StartErrorKind::Nested(advice.into()) }
    }

    /// Says that the executor cannot be built as asked, with the cause where there is one.
    pub fn executor(
        what: impl Into<String>,
        source: Option<Box<dyn Error + Send + Sync>>,
    ) -> StartError {
        StartError { kind: StartErrorKind::Executor { what: what.into(), source } }
    }

    pub(crate) fn threads(error: std::io::Error) -> StartError {
        StartError { kind: StartErrorKind::Threads(error) }
    }

    /// Returns whether the options contradict each other or the backend.
    pub fn is_options(&self) -> bool {
        matches!(self.kind, StartErrorKind::Options(_))
    }

    /// Returns whether the caller is inside an executor already.
    pub fn is_nested(&self) -> bool {
        matches!(self.kind, StartErrorKind::Nested(_))
    }

    /// Returns whether a signal could not be listened to.
    pub fn is_signal(&self) -> bool {
        matches!(self.kind, StartErrorKind::Signal(_))
    }
}

impl From<crate::process::signal::SignalError> for StartError {
    fn from(error: crate::process::signal::SignalError) -> StartError {
        StartError { kind: StartErrorKind::Signal(error) }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            StartErrorKind::Options(advice) | StartErrorKind::Nested(advice) => f.write_str(advice),
            StartErrorKind::Executor { what, .. } => f.write_str(what),
            StartErrorKind::Signal(_) => f.write_str("the signals could not be listened to"),
            StartErrorKind::Threads(_) => f.write_str("a supervising thread could not be started"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            StartErrorKind::Executor { source, .. } => {
                source.as_deref().map(|e| e as &(dyn Error + 'static))
            }
            StartErrorKind::Signal(e) => Some(e),
            StartErrorKind::Threads(e) => Some(e),
            StartErrorKind::Options(_) | StartErrorKind::Nested(_) => None,
        }
    }
}

/// Drops a value of the user's; a destructor that panics skips no later step.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        forget_payload(payload);
    }
}

/// Drops a payload that nobody will see. Its destructor is the user's and may panic too.
pub(crate) fn forget_payload(mut payload: Payload) {
    for _ in 0..8 {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    std::mem::forget(payload); // a payload whose destructor panics for ever is not worth more
}

/// Returns the text of a panic whose payload is not wanted.
pub(crate) fn take_message(payload: Payload) -> String {
    let message = panic_message(&*payload);
    forget_payload(payload);
    message
}

/// Returns the text of a panic's payload, as the default panic hook prints it.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "(a panic whose payload is not text)".to_owned()
    }
}

/// An error and its causes as text, outermost first; whether a stop request is among them.
pub(crate) fn error_chain(error: &(dyn Error + 'static)) -> (Vec<String>, bool) {
    let mut texts = Vec::new();
    let mut stop = false;
    let mut next = Some(error);
    while let Some(error) = next {
        stop |= error.is::<StopRequested>();
        if texts.len() < 32 {
            texts.push(error.to_string());
        }
        next = error.source();
    }
    (texts, stop)
}

/// Where in the source something was spawned, registered or declared.
pub(crate) type Place = &'static Location<'static>;

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics when it is dropped.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a destructor");
        }
    }

    #[derive(Debug)]
    struct Link(Option<Box<dyn Error + Send + Sync>>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a link")
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.0.as_deref().map(|error| error as _)
        }
    }

    #[test]
    fn a_join_error_is_of_one_kind_and_says_which() {
        let unsupported = Unsupported::new("some", "blocking pool");
        for (error, [panic, abandoned, gone, refused], source, text) in [
            (JoinError::cancelled(true), [false; 4], true, "task was cancelled"),
            (JoinError::cancelled(false), [false; 4], false, "task was cancelled"),
            (
                JoinError::panic(Box::new("of a kind")),
                [true, false, false, false],
                false,
                "task panicked: of a kind",
            ),
            (
                JoinError::abandoned(),
                [false, true, false, false],
                false,
                "task was abandoned: it was still alive when the program ended",
            ),
            (
                JoinError::executor_gone(),
                [false, false, true, false],
                false,
                "task was dropped with its executor, which is gone",
            ),
            (
                JoinError::refused(),
                [false, false, false, true],
                true,
                "task was refused: its scope is ending and takes no more of its kind",
            ),
            (
                JoinError::unsupported(unsupported),
                [false, false, false, true],
                false,
                "the some backend has no blocking pool",
            ),
        ] {
            assert_eq!(error.to_string(), text);
            assert_eq!(format!("{error:?}"), format!("JoinError({text})"));
            assert_eq!(error.is_panic(), panic, "{text}");
            assert_eq!(error.is_cancelled(), !panic, "{text}");
            assert_eq!(error.is_abandoned(), abandoned, "{text}");
            assert_eq!(error.is_executor_gone(), gone, "{text}");
            assert_eq!(error.is_refused(), refused, "{text}");
            let requested = error.source().is_some_and(|source| source.is::<StopRequested>());
            assert_eq!(requested, source, "{text}");
            assert_eq!(error.try_into_panic().is_ok(), panic, "{text}");
        }
    }

    #[test]
    fn a_start_error_is_of_one_kind_and_says_which() {
        let threads = || std::io::Error::other("none left");
        let kill = crate::Signal::from_raw(9).unwrap(); // everywhere what nobody can listen for
        let refusal = || crate::process::signal::Listener::new(&[kill]).unwrap_err();
        let source: Box<dyn Error + Send + Sync> = "the cause".into();
        for (error, kinds, text, source) in [
            (StartError::options("one"), [true, false, false], "one", None),
            (StartError::nested("two"), [false, true, false], "two", None),
            (StartError::executor("three", None), [false; 3], "three", None),
            (
                StartError::executor("four", Some(source)),
                [false; 3],
                "four",
                Some("the cause".to_owned()),
            ),
            (
                StartError::threads(threads()),
                [false; 3],
                "a supervising thread could not be started",
                Some(threads().to_string()),
            ),
            (
                refusal().into(),
                [false, false, true],
                "the signals could not be listened to",
                Some(refusal().to_string()),
            ),
        ] {
            assert_eq!(error.to_string(), text);
            assert_eq!([error.is_options(), error.is_nested(), error.is_signal()], kinds, "{text}");
            assert_eq!(error.source().map(|source| source.to_string()), source, "{text}");
        }
    }

    #[test]
    fn texts_say_what_went_wrong() {
        let stop = StopError { scope: "http".to_owned() };
        for (error, part) in [
            (&StopRequested as &dyn Error, "a stop was requested"),
            (&Reported, "the report has the error"),
            (&ExecutorGone, "the executor is gone"),
            (&NoScope, "no scope here"),
            (&stop, "the end of scope \"http\" was awaited from inside it"),
            (&crate::contract::rt::Unfinished, "not over when its time was"),
        ] {
            assert!(error.to_string().contains(part), "{part:?} is not in {error}");
        }
    }

    #[test]
    fn a_destructor_that_panics_goes_nowhere() {
        drop_quietly(Bomb);
        drop_quietly(Some(vec![Bomb]));
        forget_payload(Box::new(Bomb));
        assert_eq!(take_message(Box::new(Bomb)), "(a panic whose payload is not text)");
    }

    #[test]
    fn a_chain_is_bounded_and_a_stop_request_is_found_past_that() {
        let mut error = Link(Some(Box::new(StopRequested)));
        for _ in 0..40 {
            error = Link(Some(Box::new(error)));
        }
        assert_eq!(error_chain(&error), (vec!["a link".to_owned(); 32], true));
        let error = Link(Some("the cause".into()));
        assert_eq!(error_chain(&error), (vec!["a link".to_owned(), "the cause".to_owned()], false));
    }
}
