//! A command-line tool: it ends when its work is done, and at Ctrl-C it removes what it has half written and
//! then dies of the signal, as a shell expects: `cli && deploy` does not deploy. To copy it, these
//! dependencies are enough:
//!
//! ```toml
//! [dependencies]
//! adjourn = "0.1"
//! tokio = { version = "1", features = ["time"] }
//! ```

#![allow(clippy::print_stdout)] // our libraries do not print, but an example does

use std::time::Duration;
use std::{env, fs, io, process};

use adjourn::{Exit, FutureExt, Runner};

fn main() -> Exit {
    Runner::cli().run(async {
        let path = env::temp_dir().join(format!("adjourn-cli-{}", process::id()));
        let writing = async {
            for line in 1..=100 {
                fs::write(&path, format!("{line} lines\n"))?;
                println!("wrote line {line}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok::<(), io::Error>(())
        };
        let half = path.clone();
        let removing = async move {
            println!("removed what was half written: {}", fs::remove_file(half).is_ok());
        };
        writing.on_cancel(removing).await?;
        println!("done");
        fs::remove_file(&path)
    })
}
