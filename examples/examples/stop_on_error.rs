//! A worker fails: the others are cancelled, and the report on standard error says why, cause by
//! cause. The exit code is 1.

use std::error::Error;
use std::fmt;
use std::num::ParseIntError;
use std::time::Duration;

use adjourn::{Exit, FutureExt, ResultFutureExt, task};
use adjourn_examples::{on_backend, sleep};

/// A row could not be read.
#[derive(Debug)]
struct RowError {
    row: usize,
    source: ParseIntError,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {} cannot be read", self.row)
    }
}

impl Error for RowError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

async fn sum(rows: &[&str]) -> Result<u32, RowError> {
    let mut sum = 0;
    for (row, text) in rows.iter().enumerate() {
        sum += text.parse::<u32>().map_err(|source| RowError { row, source })?;
        println!("adder: {sum} so far");
        sleep(Duration::from_millis(100)).await;
    }
    Ok(sum)
}

async fn watch(name: &'static str) {
    let watching = async {
        loop {
            println!("{name}: watching");
            sleep(Duration::from_millis(200)).await;
        }
    };
    watching.on_cancel(async move { println!("{name}: cancelled") }).await
}

fn main() -> Exit {
    on_backend!(Runner => Runner::new().run(async {
        task("first").spawn(watch("first"));
        task("second").spawn(watch("second"));
        task("adder").spawn(sum(&["1", "20", "three", "4"]).or_stop());
    }))
}
