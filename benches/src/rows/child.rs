//! What has to be measured in a process of its own: it ends the process, or can be done once.

use std::process::Command;

use adjourn::{async_std, tokio};

use super::process;
use crate::host::{self, Config, OnAsyncStd, OnSmol, OnTokio};
use crate::way::cancel_once;

/// Runs this program again to do `args` and returns what it printed and its exit code.
///
/// # Panics
///
/// When it does not start.
pub fn start(args: &[&str]) -> (String, Option<i32>) {
    let exe = std::env::current_exe().expect("the path of this program");
    let output = Command::new(exe).arg("--child").args(args).output().expect("it starts");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

/// Does what [`start`] asked for.
///
/// # Panics
///
/// When it does not know that.
pub fn run(args: &[String]) {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["elegant", host, count] => elegant(host, count.parse().expect("a number")),
        ["wedged", host] => process::wedged(config(host)),
        ["signal", count] => process::signal_with(count.parse().expect("a number")),
        _ => panic!("no such child: {args:?}"),
    }
}

fn config(name: &str) -> Config {
    let found = Config::ALL.into_iter().find(|config| config.name() == name);
    found.expect("the name of a configuration")
}

fn elegant(host: &str, count: usize) {
    let took = match config(host) {
        Config::TokioCurrentThread => {
            host::run(tokio::Runner::new().current_thread(), async |_| {
                cancel_once(OnTokio::current(), count).await
            })
        }
        Config::TokioMultiThread => {
            host::run(tokio::Runner::new(), async |_| cancel_once(OnTokio::current(), count).await)
        }
        Config::Smol => OnSmol::run(async |host, _| cancel_once(host, count).await),
        Config::AsyncStd => {
            host::run(async_std::Runner::new(), async |_| cancel_once(OnAsyncStd, count).await)
        }
    };
    println!("{}", took.as_nanos());
}
