//! Lines that are written in batches, in the background, and a last time when the program stops.
//!
//! A template: it names no executor and depends on `adjourn-core` alone. `docs/library.md` explains it.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adjourn_core::{FutureExt, ResultFutureExt, Scope};

/// Lines on their way to where they are kept. Clones are handles of the same buffer.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Starts to write with `write`, each `period`, and once more when the tasks of `scope` are gone.
    ///
    /// Every line that a task of `scope`, or of a scope that depends on it, has pushed is written, also
    /// at a stop. The root of the program is the simplest choice: `Scope::current()` in `main`. A line
    /// is written once; it is written again where a write failed, or was cut off at the drain limit.
    ///
    /// The task of the flusher does not keep the program alive. In the report it is `flusher`.
    ///
    /// # Errors
    ///
    /// A write that fails is recorded in the report, and its lines are kept for the next one. Where the
    /// last one fails the exit code is 1.
    pub fn start<W, F>(scope: &Scope, period: Duration, write: W) -> Lines
    where
        W: Fn(Vec<String>) -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let lines = Lines::default();
        let write = Arc::new(write);
        // The last flush is a hook and no part of the task: when the hook runs, nobody pushes any more.
        let (last, last_write) = (lines.clone(), write.clone());
        scope.on_stopped(async move { last.flush(&*last_write).await });
        let (flushed, mut ticks) = (lines.clone(), scope.interval(period));
        // Graceful from the start, so that no write is cut in the middle: at the stop the task finishes
        // the one that it is in, and ends.
        scope.task("flusher").background().spawn_graceful(|_| async move {
            while ticks.tick().until_stop().await.is_ok() {
                _ = flushed.flush(&*write).or_report().await;
            }
        });
        lines
    }

    /// Adds a line. It waits for nothing.
    pub fn push(&self, line: impl Into<String>) {
        self.buffer().push(line.into());
    }

    /// Lines leave the buffer only when they are written.
    async fn flush<W, F>(&self, write: &W) -> io::Result<()>
    where
        W: Fn(Vec<String>) -> F,
        F: Future<Output = io::Result<()>>,
    {
        let batch = self.buffer().clone();
        let count = batch.len();
        if count > 0 {
            write(batch).await?;
            self.buffer().drain(..count);
        }
        Ok(())
    }

    fn buffer(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
