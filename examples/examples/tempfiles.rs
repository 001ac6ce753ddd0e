//! A command-line tool with temporary files: Ctrl-C leaves none, and ends the shell's loop too.
//!
//! `tempfiles [DIRECTORY] && deploy` does not deploy when it was interrupted, since `Runner::cli()`
//! raises SIGINT again at the end.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adjourn::{Exit, FutureExt, spawn_blocking, task};
use adjourn_examples::{on_backend, sleep};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

async fn remove(path: PathBuf) {
    let shown = path.display().to_string();
    match spawn_blocking(move || fs::remove_file(path)).await {
        Ok(Ok(())) => println!("removed {shown}"),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(Err(error)) => eprintln!("{shown}: {error}"),
        Err(error) => eprintln!("{shown}: {error}"),
    }
}

async fn fill(file: File) -> Result<usize> {
    let file = Arc::new(file);
    let chunk = [b'x'; 1000];
    for _ in 0..20 {
        let file = file.clone();
        spawn_blocking(move || (&*file).write_all(&chunk)).await??;
        sleep(Duration::from_millis(100)).await;
    }
    Ok(20 * chunk.len())
}

/// Works with a temporary file, which is gone when this is over, however it ends.
async fn part(path: PathBuf) -> Result<usize> {
    // The file is created inside of what has the cleanup: what has not begun is not cleaned up.
    let working = async {
        let file = File::create_new(&path)?;
        println!("created {}", path.display());
        let filled = fill(file).await;
        remove(path.clone()).shield().await;
        filled
    };
    working.on_cancel(remove(path.clone())).await
}

async fn tool(directory: PathBuf) -> Result<()> {
    let mut parts = Vec::new();
    for number in 1..=3 {
        let path = directory.join(format!("tempfiles-{}-{number}", std::process::id()));
        parts.push(task(format!("part {number}")).spawn(part(path)));
    }
    let mut bytes = 0;
    for part in parts {
        bytes += part.await??;
    }
    println!("{bytes} bytes, no file left");
    Ok(())
}

fn main() -> Exit {
    let directory = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    on_backend!(Runner => Runner::cli().run(tool(directory)))
}
