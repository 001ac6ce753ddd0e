//! `main` is polled once, and may ask about the stop, before it is decided what becomes of it.

use std::future::pending;
use std::thread;

use adjourn::{Outcome, StopToken, TaskKind, spawn, spawn_graceful, task};

use crate::harness::*;

scenarios![
    a_main_that_asks_in_its_first_poll_is_told_of_a_stop_before_the_start,
    a_main_that_never_asks_is_polled_once_in_a_stop_before_the_start,
    a_main_that_ends_in_its_first_poll_holds_up_nobody,
    a_main_that_asks_in_the_poll_in_which_it_stops_the_program_is_told,
    a_main_whose_first_poll_outlasts_its_limit_is_not_overdue,
];

fn a_main_that_asks_in_its_first_poll_is_told_of_a_stop_before_the_start(config: Config) {
    for waits in [false, true] {
        let log = Log::default();
        let program = Program::new(config);
        program.stopper().stop();
        let said = log.clone();
        let exit = program.run(async move {
            let stop = StopToken::current();
            if waits {
                assert!(poll_once(&mut stop.requested()).await.is_ready());
            } else {
                assert!(stop.is_requested());
            }
            yields(20).await;
            said.say("last act");
        });
        clean(&exit);
        log.is(&["last act"]);
        assert_eq!(exit.report().main, Some(Outcome::Finished));
    }
}

fn a_main_that_never_asks_is_polled_once_in_a_stop_before_the_start(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    program.stopper().stop();
    let said = log.clone();
    let exit = program.run(async move {
        said.say("polled");
        let _dropped = said.on_drop("dropped");
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["polled", "dropped"]);
    assert_eq!(exit.report().main, Some(Outcome::Cancelled));
}

fn a_main_that_ends_in_its_first_poll_holds_up_nobody(config: Config) {
    for early in [false, true] {
        let program = Program::new(config);
        let stopper = program.stopper();
        if early {
            stopper.stop();
        }
        let exit = program.run(async move {
            spawn(pending::<()>());
            stopper.stop();
        });
        clean(&exit);
        assert_eq!(exit.report().main, Some(Outcome::Finished));
        assert_eq!(exit.report().total().cancelled, 1);
    }
}

fn a_main_that_asks_in_the_poll_in_which_it_stops_the_program_is_told(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        let last = spawn_graceful(|stop| async move { stop.requested().await });
        spawn(pending::<()>());
        stopper.stop();
        // Where others come to it, all that is graceful has ended by then.
        while !config.is_single_threaded() && !last.is_finished() {
            thread::yield_now();
        }
        StopToken::current().requested().await;
        yields(20).await;
        said.say("last act");
    });
    clean(&exit);
    log.is(&["last act"]);
    let main = exit.report().tasks.iter().find(|task| task.task.name.as_deref() == Some("main"));
    assert_eq!(main.map(|main| main.task.kind), Some(TaskKind::Plain), "it was so at the stop");
}

fn a_main_whose_first_poll_outlasts_its_limit_is_not_overdue(config: Config) {
    let program = Program::new(config).drain_limit(millis(1));
    let stopper = program.stopper();
    let exit = program.run(async move {
        let dropped = Gate::new();
        let drops = OpensOnDrop(dropped.clone());
        task("beside").spawn(async move {
            let _drops = drops;
            pending::<()>().await;
        });
        stopper.stop();
        // Plain work is cancelled at the limit, polled or not, whatever `main` does.
        if !config.is_single_threaded() {
            dropped.wait_blocking();
        }
        pending::<()>().await;
    });
    clean(&exit);
    assert!(exit.report().beside_overdue.is_empty(), "{}", exit.report());
}

struct OpensOnDrop(Gate);

impl Drop for OpensOnDrop {
    fn drop(&mut self) {
        self.0.open();
    }
}
