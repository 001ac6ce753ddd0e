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
    OffThread,
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

    /// What is not `Send` was to be spawned from another thread than the one that would run it.
    pub(crate) fn off_thread() -> JoinError {
        JoinError::new(JoinErrorKind::OffThread)
    }

    pub(crate) fn refused() -> JoinError {
        JoinError::new(JoinErrorKind::Refused)
    }

    /// Whether the stop refused the task, or cancelled it.
    pub(crate) fn is_by_stop(&self) -> bool {
        matches!(self.kind.as_deref(), None | Some(JoinErrorKind::Refused))
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
    /// the backend lacks what it needs, or a local task was spawned from another thread than its own.
    pub fn is_refused(&self) -> bool {
        use JoinErrorKind::{OffThread, Refused, Unsupported};
        matches!(self.kind.as_deref(), Some(Refused | Unsupported(_) | OffThread))
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
            JoinErrorKind::OffThread => f.write_str(
                "task was refused: it need not be `Send`, and this is not the thread that would run \
                 it. Spawn it from there (the thread that called `run`: from `main` or another \
                 local task), or spawn one that is `Send` with `spawn`",
            ),
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

/// The time was over before the work was done.
///
/// [`timeout`](crate::Scope::timeout) gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Elapsed(());

impl Elapsed {
    pub(crate) fn new() -> Elapsed {
        Elapsed(())
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time for it is over")
    }
}

impl Error for Elapsed {}

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
    Observer { name: String, error: Box<dyn Error + Send + Sync> },
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

    pub(crate) fn observer(name: String, error: Box<dyn Error + Send + Sync>) -> StartError {
        StartError { kind: StartErrorKind::Observer { name, error } }
    }

    /// Returns whether the options contradict each other or the backend.
    pub fn is_options(&self) -> bool {
        matches!(self.kind, StartErrorKind::Options(_))
    }

    /// Returns whether the caller is inside an executor already.
    pub fn is_nested(&self) -> bool {
        matches!(self.kind, StartErrorKind::Nested(_))
    }

    /// Returns whether an [`Observer`](crate::Observer) could not make ready.
    pub fn is_observer(&self) -> bool {
        matches!(self.kind, StartErrorKind::Observer { .. })
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
            StartErrorKind::Observer { name, .. } => write!(f, "{name} could not start"),
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
            StartErrorKind::Observer { error, .. } => Some(&**error),
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

/// The most causes of an error that are told.
const MOST_TOLD: usize = 32;
/// The most that are looked at: an error may be a cause of itself.
const MOST_CAUSES: usize = 1_000;

/// An error and its causes as text, outermost first; whether a stop request is among them.
pub(crate) fn error_chain(error: &(dyn Error + 'static)) -> (Vec<String>, bool) {
    let mut texts = Vec::new();
    let mut stop = false;
    let mut next = Some(error);
    let mut seen = 0;
    while let Some(error) = next.filter(|_| seen < MOST_CAUSES) {
        seen += 1;
        stop |= error.is::<StopRequested>();
        if seen <= MOST_TOLD {
            texts.push(error.to_string());
        }
        next = error.source();
    }
    if seen > MOST_TOLD {
        let least = if next.is_some() { "at least " } else { "" };
        texts.push(format!("… ({least}{} causes more)", seen - MOST_TOLD));
    }
    (texts, stop)
}

/// Where in the source something was spawned, registered or declared.
pub(crate) type Place = &'static Location<'static>;

#[cfg(test)]
mod tests;
