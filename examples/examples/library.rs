//! A library that names no executor, and an application that calls it on each one compiled in.

use std::error::Error;
use std::time::{Duration, Instant};

use adjourn::rt::{Executor, Threads};

/// What would be a crate of its own: it depends on `adjourn-core`, which has no executor in it.
mod library {
    use std::time::Duration;

    use adjourn_core::{ExecutorGone, Spawner, Timer};

    /// Starts the jobs `pause` apart, runs them side by side, and returns their outputs in order.
    ///
    /// # Errors
    ///
    /// [`ExecutorGone`], when the executor ends before all of them.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it starts no more jobs; those that it has started go on.
    pub(crate) async fn staggered<B, J>(
        backend: &B,
        pause: Duration,
        jobs: impl IntoIterator<Item = J>,
    ) -> Result<Vec<J::Output>, ExecutorGone>
    where
        B: Spawner + Timer,
        J: Future<Output: Send + 'static> + Send + 'static,
    {
        let mut started = Vec::new();
        for job in jobs {
            if !started.is_empty() {
                backend.sleep(pause).await;
            }
            started.push(backend.spawn(job));
        }
        let mut outputs = Vec::new();
        for handle in started {
            outputs.push(handle.await?);
        }
        Ok(outputs)
    }
}

/// The application: here the choice is made.
fn squares_on<E: Executor>() -> Result<(), Box<dyn Error>> {
    let executor = E::build(&Threads::default())?;
    let backend = executor.backend();
    let start = Instant::now();
    let squares = (1..=5).map(|n| async move { n * n });
    let pause = Duration::from_millis(20);
    let squares = executor.block_on(library::staggered(&backend, pause, squares))?;
    assert!(start.elapsed() >= 4 * pause);
    println!("{}: {squares:?}", E::NAME);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    #[cfg(feature = "tokio")]
    squares_on::<adjourn::tokio::TokioExecutor>()?;
    #[cfg(feature = "smol")]
    squares_on::<adjourn::smol::SmolExecutor>()?;
    #[cfg(feature = "async-std")]
    squares_on::<adjourn::async_std::AsyncStdExecutor>()?;
    Ok(())
}
