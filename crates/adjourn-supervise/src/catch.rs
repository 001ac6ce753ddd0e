//! One run, whatever becomes of it.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use crate::failure::{Ended, RunOutput};

type Payload = Box<dyn Any + Send>;

/// Makes a future and polls it to its end. A panic in either, or in the destructor, is a failure of
/// the run, and the task goes on.
///
/// That is unwind safe, since what has panicked is dropped and never polled again. What it shares with
/// others is the user's to keep whole, as it is beside any task that panics.
pub(crate) async fn catch<F, Fut>(start: &mut F) -> Ended
where
    F: FnMut() -> Fut,
    Fut: Future,
    Fut::Output: RunOutput,
{
    let mut run = pin!(None);
    match catch_unwind(AssertUnwindSafe(start)) {
        Ok(future) => run.set(Some(future)),
        Err(payload) => return Ended::Panicked(message(payload)),
    }
    let ended = poll_fn(|cx| {
        let Some(future) = run.as_mut().as_pin_mut() else { return Poll::Pending };
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx).map(RunOutput::into_ended))) {
            Ok(poll) => poll,
            Err(payload) => Poll::Ready(Ended::Panicked(message(payload))),
        }
    })
    .await;
    match catch_unwind(AssertUnwindSafe(|| run.set(None))) {
        Err(payload) if matches!(ended, Ended::Well) => Ended::Panicked(message(payload)),
        Err(payload) => {
            _ = message(payload);
            ended
        }
        Ok(()) => ended,
    }
}

/// The text of a panic, as the default panic hook prints it.
fn message(payload: Payload) -> String {
    let text = match payload.downcast::<String>() {
        Ok(text) => return *text,
        Err(payload) => payload,
    };
    match text.downcast::<&'static str>() {
        Ok(text) => (*text).to_owned(),
        Err(payload) => {
            // Its destructor is the user's and may panic too; then it is not worth another try.
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(again);
            }
            "(a panic whose payload is not text)".to_owned()
        }
    }
}
