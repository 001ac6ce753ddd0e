//! The flusher on Tokio, on smol, and in the simulator, stopped before each poll.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adjourn::{Exit, Scope, Stopper, spawn};
use adjourn_sim::stop_everywhere;
use flusher::Lines;

const TICK: Duration = Duration::from_millis(10);

/// What the program has pushed, what has been written, and how many writes have begun and not ended.
#[derive(Clone, Default)]
struct Kept {
    begun: Arc<Mutex<i32>>,
    pushed: Arc<Mutex<Vec<String>>>,
    written: Arc<Mutex<Vec<String>>>,
}

impl Kept {
    /// Pushes five lines from a task that never asks about the stop. A write takes longer than a pause.
    async fn program(self, stop: Option<Stopper>) {
        let scope = Scope::current();
        let store = self.clone();
        let lines = Lines::start(&scope, 2 * TICK, move |batch| {
            let store = store.clone();
            async move {
                *store.begun.lock().unwrap() += 1;
                Scope::current().sleep(3 * TICK).await;
                store.written.lock().unwrap().extend(batch);
                *store.begun.lock().unwrap() -= 1;
                Ok(())
            }
        });
        spawn(async move {
            for line in 0..5 {
                let line = line.to_string();
                lines.push(&line);
                self.pushed.lock().unwrap().push(line);
                if let Some(stop) = stop.as_ref().filter(|_| self.pushed.lock().unwrap().len() == 3)
                {
                    stop.stop();
                }
                Scope::current().sleep(TICK).await;
            }
        });
    }

    #[track_caller]
    fn check(&self, exit: &Exit) {
        assert_eq!(exit.exit_code(), 0, "{}", exit.report());
        assert_eq!(*self.begun.lock().unwrap(), 0, "a write was cut off");
        assert_eq!(*self.written.lock().unwrap(), *self.pushed.lock().unwrap());
    }
}

macro_rules! on {
    ($($backend:ident)*) => { $(
        mod $backend {
            use super::*;
            use adjourn::$backend::Runner;

            #[test]
            fn all_is_written_at_the_end() {
                let kept = Kept::default();
                let exit = Runner::new().signals([]).run(kept.clone().program(None));
                kept.check(&exit);
                assert_eq!(kept.written.lock().unwrap().len(), 5);
            }

            #[test]
            fn all_is_written_at_a_stop() {
                let kept = Kept::default();
                let runner = Runner::new().signals([]);
                let stopper = runner.stopper();
                let exit = runner.run(kept.clone().program(Some(stopper)));
                kept.check(&exit);
                assert!(kept.written.lock().unwrap().len() >= 3);
            }
        }
    )* };
}

on! { tokio smol }

#[test]
fn all_is_written_wherever_the_stop_comes() {
    let coverage = stop_everywhere(|sim| {
        let kept = Kept::default();
        let exit = sim.run(adjourn_sim::Runner::new(), kept.clone().program(None));
        kept.check(&exit);
    });
    assert!(coverage.is_complete());
}

#[test]
fn a_write_that_fails_is_told_and_its_lines_are_kept() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let (kept, failed) = (written.clone(), Arc::new(Mutex::new(false)));
    let exit = adjourn_sim::Sim::new().run(adjourn_sim::Runner::new(), async move {
        let lines = Lines::start(&Scope::current(), TICK, move |batch| {
            let first = !std::mem::replace(&mut *failed.lock().unwrap(), true);
            let written = written.clone();
            async move {
                if first {
                    return Err(io::Error::other("the disk is full"));
                }
                written.lock().unwrap().extend(batch);
                Ok(())
            }
        });
        lines.push("kept");
        Scope::current().sleep(2 * TICK).await;
    });
    assert_eq!(exit.exit_code(), 0);
    assert_eq!(exit.report().failures.len(), 1, "{}", exit.report());
    assert_eq!(*kept.lock().unwrap(), ["kept"]);
}
