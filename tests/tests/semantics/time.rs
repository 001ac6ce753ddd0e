//! Limits of time and ticks, by the timer of the backend that runs the program.

use std::future::pending;
use std::task::Poll;
use std::time::Duration;

use adjourn::{Elapsed, FutureExt, Scope, StreamUntilStop, Timer, spawn};
use futures_util::stream::StreamExt;

use crate::harness::*;

scenarios![
    a_future_in_time_gives_its_output,
    a_future_that_takes_too_long_is_dropped,
    an_output_goes_before_the_end_of_the_time,
    a_limit_of_time_asks_nothing,
    ticks_come_at_once_and_then_each_period,
    a_periodic_task_ends_at_the_stop_with_its_work_done,
    ticks_are_a_stream,
];

const LONG: Duration = Duration::from_secs(3600);

fn a_future_in_time_gives_its_output(config: Config) {
    let exit = Program::new(config).run(async {
        let scope = Scope::current();
        assert_eq!(scope.timeout(LONG, async { 1 }).await, Ok(1));
        let later = async {
            sleep(millis(1)).await;
            2
        };
        assert_eq!(scope.timeout(Duration::MAX, later).await, Ok(2));
        assert_eq!(scope.backend().timeout(LONG, async { 3 }).await, Ok(3));
        let mut over = scope.timeout(LONG, std::future::ready(4));
        assert_eq!(poll_once(&mut over).await, Poll::Ready(Ok(4)));
        assert!(poll_once(&mut over).await.is_pending(), "its value is taken");
    });
    clean(&exit);
}

fn a_future_that_takes_too_long_is_dropped(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config).run(async move {
        let scope = Scope::current();
        let dropped = said.on_drop("dropped");
        let waits = async move {
            let _dropped = dropped;
            pending::<()>().await;
        };
        let mut limited = Box::pin(scope.timeout(millis(5), waits));
        let error = limited.as_mut().await.unwrap_err();
        said.say(error.to_string());
        assert!(poll_once(&mut limited).await.is_pending(), "it is told once");
        // One that is always busy has no more time than another.
        let busy = async {
            loop {
                yields(1).await;
            }
        };
        let error: Result<(), Elapsed> = scope.timeout(millis(5), busy).await;
        assert!(error.is_err());
    });
    clean(&exit);
    log.is(&["dropped", "the time for it is over"]);
}

fn an_output_goes_before_the_end_of_the_time(config: Config) {
    let exit = Program::new(config).run(async {
        let scope = Scope::current();
        assert_eq!(scope.timeout(Duration::ZERO, async { 1 }).await, Ok(1));
        assert!(scope.timeout(Duration::ZERO, pending::<()>()).await.is_err());
        let (sends, receives) = async_channel::bounded(1);
        // On a busy machine the time may be over before the first poll: then once more.
        let mut both = loop {
            let mut both = Box::pin(scope.timeout(millis(10), receives.recv()));
            if poll_once(&mut both).await.is_pending() {
                break both;
            }
        };
        sleep(millis(20)).await;
        sends.try_send(2).unwrap();
        assert_eq!(poll_once(&mut both).await, Poll::Ready(Ok(Ok(2))));
    });
    clean(&exit);
}

fn a_limit_of_time_asks_nothing(config: Config) {
    let program = Program::new(config);
    let stopper = program.stopper();
    let exit = program.run(async move {
        let begun = Gate::new();
        let begins = begun.clone();
        spawn(async move {
            let scope = Scope::current();
            begins.open();
            // Plain: cancelled at once, else it would take the whole drain limit.
            _ = scope.timeout(LONG, pending::<()>()).await;
        });
        begun.wait().await;
        stopper.stop();
        pending::<()>().await;
    });
    clean(&exit);
    assert_eq!(exit.report().total().cancelled, 2, "{}", exit.report());
}

fn ticks_come_at_once_and_then_each_period(config: Config) {
    let exit = Program::new(config).run(async {
        let scope = Scope::current();
        let mut ticks = scope.interval(LONG);
        let first = {
            let mut first = Box::pin(ticks.tick());
            let Poll::Ready(due) = poll_once(&mut first).await else { panic!("not at once") };
            due
        };
        assert!(first <= scope.backend().now());
        assert!(poll_once(&mut Box::pin(ticks.tick())).await.is_pending());
        assert_eq!(ticks.period(), LONG);

        let mut ticks = scope.interval(millis(5));
        let first = ticks.tick().await;
        for _ in 0..3 {
            // Dropped where it waits: the tick is not lost.
            _ = poll_once(&mut Box::pin(ticks.tick())).await;
            let due = ticks.tick().await;
            assert!(due > first && scope.backend().now() >= due, "never before");
            let since = (due - first).as_nanos();
            assert_eq!(since % millis(5).as_nanos(), 0, "at a whole period");
        }
    });
    clean(&exit);
}

fn a_periodic_task_ends_at_the_stop_with_its_work_done(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        spawn(async move {
            let mut ticks = Scope::current().interval(millis(1));
            let mut round = 0;
            while ticks.tick().until_stop().await.is_ok() {
                round += 1;
                if round == 3 {
                    stopper.stop();
                }
                yields(10).await;
                said.say(format!("{round}"));
            }
            said.say("over");
        });
        pending::<()>().await;
    });
    clean(&exit);
    let said = log.all();
    assert_eq!(said.last().map(String::as_str), Some("over"));
    assert!(said.starts_with(&["1", "2", "3"].map(str::to_owned)), "{said:?}");
}

fn ticks_are_a_stream(config: Config) {
    let log = Log::default();
    let program = Program::new(config);
    let (stopper, said) = (program.stopper(), log.clone());
    let exit = program.run(async move {
        spawn(async move {
            let three = Scope::current().interval(millis(1)).take(3);
            assert_eq!(three.count().await, 3);
            // An hour is not waited for: the stop ends it.
            let mut ticks = Scope::current().interval(LONG).until_stop();
            for round in 0..10 {
                if ticks.next().await.is_none() {
                    said.say(format!("over in round {round}"));
                    return;
                }
                stopper.stop();
            }
        });
        pending::<()>().await;
    });
    clean(&exit);
    log.is(&["over in round 1"]);
}

#[test]
#[should_panic(expected = "an interval of no time")]
fn an_interval_has_a_period() {
    let runner = adjourn::tokio::Runner::new().signals([]).current_thread();
    let mut panic = None;
    let caught = std::panic::AssertUnwindSafe(|| Scope::current().interval(Duration::ZERO));
    _ = runner.run(async { panic = std::panic::catch_unwind(caught).err() });
    std::panic::resume_unwind(panic.expect("it panics"));
}
