//! The programs, each with its bug and mended.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adjourn_core::{FutureExt, Scope, StopToken, shield, spawn, spawn_graceful, task};
use adjourn_sim::{Runner, Sim};

use super::Version::{self, Buggy, Mended};

/// A round trip to somewhere.
async fn round_trip() {
    Scope::current().sleep(Duration::from_millis(5)).await;
}

/// A counter that tasks share.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU32>);

impl Count {
    fn up(&self) {
        self.0.fetch_add(1, SeqCst);
    }

    fn get(&self) -> u32 {
        self.0.load(SeqCst)
    }
}

/// A flag that tasks share.
#[derive(Clone, Default)]
struct Flag(Arc<AtomicBool>);

impl Flag {
    fn set(&self, to: bool) {
        self.0.store(to, SeqCst);
    }

    fn get(&self) -> bool {
        self.0.load(SeqCst)
    }
}

/// What is taken from the queue and not yet stored is lost where the consumer is cancelled.
pub(super) fn lost_message(sim: &Sim, version: Version) {
    let queue = Arc::new(Mutex::new(VecDeque::from([1, 2, 3])));
    let (stored, takes) = (Count::default(), queue.clone());
    let counts = stored.clone();
    _ = sim.run(Runner::new(), async move {
        task("consumer").spawn(async move {
            loop {
                let one = async {
                    takes.lock().unwrap().pop_front()?;
                    round_trip().await;
                    counts.up();
                    Some(())
                };
                let done = if version == Buggy { one.await } else { shield(one).await };
                if done.is_none() {
                    return;
                }
            }
        });
    });
    let left = queue.lock().unwrap().len() as u32;
    assert_eq!(left + stored.get(), 3, "a message was lost");
}

/// The cleanup acknowledges what the work has acknowledged already.
pub(super) fn double_ack(sim: &Sim, version: Version) {
    let (acks, counts) = (Count::default(), Count::default());
    let cleans = acks.clone();
    let works = acks.clone();
    let begun = counts.clone();
    _ = sim.run(Runner::new(), async move {
        let acked = Flag::default();
        let knows = acked.clone();
        let work = async move {
            begun.up();
            round_trip().await;
            works.up();
            acked.set(true);
            round_trip().await; // tells somebody that it is done
        };
        let cleanup = async move {
            if version == Buggy || !knows.get() {
                cleans.up();
            }
        };
        task("worker").spawn(work.on_cancel(cleanup));
    });
    assert_eq!(acks.get(), counts.get(), "each message is acknowledged once");
}

/// A lock that is given back by the last line is not given back where that is not reached.
pub(super) fn leaked_lock(sim: &Sim, version: Version) {
    struct Unlocks(Flag);
    impl Drop for Unlocks {
        fn drop(&mut self) {
            self.0.set(false);
        }
    }
    let locked = Flag::default();
    let locks = locked.clone();
    _ = sim.run(Runner::new(), async move {
        task("job").spawn(async move {
            locks.set(true);
            let _guard = (version == Mended).then(|| Unlocks(locks.clone()));
            round_trip().await;
            locks.set(false);
        });
    });
    assert!(!locked.get(), "the lock is held after the end");
}

/// The second half is written after an await.
pub(super) fn half_written_file(sim: &Sim, version: Version) {
    let file = Arc::new(Mutex::new(String::new()));
    let writes = file.clone();
    _ = sim.run(Runner::new(), async move {
        task("writer").spawn(async move {
            let mut whole = String::new();
            for half in ["begin ", "end"] {
                if version == Buggy {
                    writes.lock().unwrap().push_str(half);
                }
                whole.push_str(half);
                round_trip().await;
            }
            // As by a rename of what was written beside it.
            *writes.lock().unwrap() = whole;
        });
    });
    let file = file.lock().unwrap().clone();
    assert!(["", "begin end"].contains(&file.as_str()), "the file is {file:?}");
}

/// Whoever waits for a child is cancelled, and the child goes on.
pub(super) fn orphaned_child(sim: &Sim, version: Version) {
    let running = Flag::default();
    let (starts, kills) = (running.clone(), running.clone());
    _ = sim.run(Runner::new(), async move {
        let supervise = async move {
            starts.set(true);
            round_trip().await; // the child works
            starts.set(false);
        };
        let kill = async move {
            round_trip().await; // it takes a moment to end
            kills.set(false);
        };
        let parent = task("parent");
        match version {
            Buggy => parent.spawn(supervise),
            Mended => parent.spawn(supervise.on_cancel(kill)),
        };
    });
    assert!(!running.get(), "the child is left running");
}

/// Main closes the pool in its last lines, and is cancelled before them.
pub(super) fn unclosed_pool(sim: &Sim, version: Version) {
    let open = Flag::default();
    let pool = open.clone();
    _ = sim.run(Runner::new(), async move {
        pool.set(true);
        let close = {
            let pool = pool.clone();
            async move {
                round_trip().await;
                pool.set(false);
            }
        };
        if version == Mended {
            Scope::current().on_stopped(close);
            round_trip().await; // serves
        } else {
            round_trip().await;
            close.await;
        }
    });
    assert!(!open.get(), "the pool is open after the end");
}

/// What was written since the last tick is never flushed.
pub(super) fn missed_last_flush(sim: &Sim, version: Version) {
    let (written, flushed) = (Count::default(), Count::default());
    let (writes, flushes) = (written.clone(), flushed.clone());
    _ = sim.run(Runner::new(), async move {
        let flush = {
            let (written, flushed) = (writes.clone(), flushes.clone());
            move || flushed.0.store(written.get(), SeqCst)
        };
        if version == Mended {
            Scope::current().on_stopped({
                let flush = flush.clone();
                async move { flush() }
            });
        }
        task("flusher").background().spawn(async move {
            loop {
                Scope::current().sleep(Duration::from_secs(1)).await;
                flush();
            }
        });
        for _ in 0..3 {
            Scope::current().sleep(Duration::from_millis(700)).await;
            writes.up();
        }
        // The program is over with the last tick.
        Scope::current().sleep(Duration::from_secs(1)).await;
    });
    assert_eq!(flushed.get(), written.get(), "the last lines were not flushed");
}

/// Main waits for a worker that never asks about the stop.
pub(super) fn stuck_join(sim: &Sim, version: Version) {
    let exit = sim.run(Runner::new(), async move {
        let worker = task("worker").spawn(async move {
            match version {
                Buggy => pending().await,
                Mended => StopToken::current().requested().await,
            }
        });
        // Main asks, so it has until the drain limit. The worker does not, and is cancelled after it.
        StopToken::current().requested().await;
        _ = worker.await;
    });
    assert!(exit.report().is_clean(), "{}", exit.report());
}

/// A guard spawns its cleanup, and a stop takes no more plain tasks.
pub(super) fn refused_cleanup(sim: &Sim, version: Version) {
    struct Undoes(Flag);
    impl Drop for Undoes {
        fn drop(&mut self) {
            let undone = self.0.clone();
            spawn(async move { undone.set(true) });
        }
    }
    let (done, undone) = (Flag::default(), Flag::default());
    let (does, undoes) = (done.clone(), undone.clone());
    _ = sim.run(Runner::new(), async move {
        let transaction = task("transaction");
        let work = async move {
            does.set(true);
            round_trip().await;
        };
        match version {
            Buggy => transaction.spawn(async move {
                let _guard = Undoes(undoes);
                work.await;
            }),
            Mended => {
                let finished = undoes.clone();
                transaction.spawn(
                    async move {
                        work.await;
                        finished.set(true);
                    }
                    .on_cancel(async move { undoes.set(true) }),
                )
            }
        };
    });
    assert_eq!(done.get(), undone.get(), "what was begun is undone");
}

/// Main says how much was done, while the workers still finish what is in their hands.
pub(super) fn early_exit(sim: &Sim, version: Version) {
    let (done, said) = (Count::default(), Count::default());
    let (counts, says) = (done.clone(), said.clone());
    _ = sim.run_graceful(Runner::new(), |stop| async move {
        let counted = counts.clone();
        let worker = spawn_graceful(move |stop| async move {
            for _ in 0..3 {
                if stop.is_requested() {
                    return;
                }
                round_trip().await;
                counted.up();
            }
        });
        if version == Mended {
            _ = worker.await;
        } else {
            // Whichever comes first, as by a select.
            let ended = async { _ = worker.await };
            futures_lite::future::or(ended, stop.requested()).await;
        }
        says.0.store(counts.get(), SeqCst);
    });
    if said.get() > 0 || done.get() > 0 {
        assert_eq!(said.get(), done.get(), "main said less than was done");
    }
}
