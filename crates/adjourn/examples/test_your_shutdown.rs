//! A program and the test of its end: `stop_everywhere` asks it to stop before each of its polls, each time
//! anew. `cargo test --example test_your_shutdown` runs the test. To copy it, these dependencies are enough:
//!
//! ```toml
//! [dependencies]
//! adjourn = "0.1"
//!
//! [dev-dependencies]
//! adjourn-sim = "0.1"
//! ```

#![allow(clippy::print_stdout)] // our libraries do not print, but an example does

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use adjourn::{Exit, Scope, run, shield, spawn};

/// What is in two accounts. Between the two steps of a transfer some of it is in neither.
#[derive(Default)]
struct Accounts {
    from: AtomicU32,
    to: AtomicU32,
}

async fn transfer(accounts: &Accounts) {
    // Without the shield a stop between the steps loses money, and the test says where.
    shield(async {
        accounts.from.fetch_sub(1, SeqCst);
        Scope::current().sleep(Duration::from_millis(200)).await;
        accounts.to.fetch_add(1, SeqCst);
    })
    .await;
}

/// The program, which names no executor: it runs on Tokio in `main` and on the simulator in the test.
async fn program(accounts: Arc<Accounts>) {
    accounts.from.store(5, SeqCst);
    spawn(async move {
        while accounts.from.load(SeqCst) > 0 {
            transfer(&accounts).await;
            println!("{} and {}", accounts.from.load(SeqCst), accounts.to.load(SeqCst));
        }
    });
}

fn main() -> Exit {
    run(program(Arc::default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use adjourn_sim::{Runner, stop_everywhere};

    #[test]
    fn a_stop_loses_no_money() {
        stop_everywhere(|sim| {
            let accounts = Arc::<Accounts>::default();
            let exit = sim.run(Runner::new(), program(accounts.clone()));
            let sum = accounts.from.load(SeqCst) + accounts.to.load(SeqCst);
            assert!(sum == 5 || sum == 0, "{sum}: some is in neither account"); // 0: stopped before the start
            assert_eq!(exit.exit_code(), 0);
        });
    }
}
