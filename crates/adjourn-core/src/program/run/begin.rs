//! What the start of a run takes of the executor, and a stop that was asked for before it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::contract::error::{StartError, take_message};
use crate::contract::rt::Backend;
use crate::program::Program;
use crate::program::driver::perform;
use crate::track::above::Above;

/// A stop that was asked for before the start, by a stopper or a signal, has begun before anything is
/// polled: that its token says so to `main` is no matter of who comes first.
pub(super) fn begin_stop(program: &Arc<Program>) {
    if program.is_waiting() {
        program.drive(perform);
    }
}

/// Tries whether the executor has a timer, which an attached one may lack: each stop needs one.
pub(super) fn try_timer<B: Backend>(backend: &B) -> Result<(), StartError> {
    if backend.host().is_some() {
        return Ok(());
    }
    let tried = catch_unwind(AssertUnwindSafe(|| drop(backend.sleep(Duration::ZERO))));
    tried.map_err(|payload| {
        let why = take_message(payload);
        let name = backend.erase().name();
        StartError::executor(
            format!(
                "the {name} executor keeps no time, which a stop needs: enable its timer where it is \
                 built (Tokio's `enable_time` or `enable_all`); it said: {why}"
            ),
            None,
        )
    })
}

/// Does something of the executor's, which may panic: where threads or descriptors have run out,
/// executors do.
pub(super) fn caught<T>(name: &str, work: impl FnOnce() -> T) -> Result<T, StartError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let why = take_message(payload);
        StartError::executor(
            format!("the {name} executor could not be built: it panicked: {why}"),
            None,
        )
    })
}
