//! Those who look on: what they are told, and that they delay nobody.

use std::error::Error;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adjourn::{
    Event, Exit, FailureKind, Inspector, Observer, Outcome, Phase, Reason, ResultFutureExt, Scope,
    Stopper, ready, spawn, spawn_shielded, task,
};

use crate::harness::*;

scenarios![
    events_are_told_in_their_order,
    an_observer_is_part_of_the_program,
    an_observer_of_what_is_over_finds_a_scope_that_refuses,
    an_observer_that_blocks_delays_nobody_and_is_named,
    an_observer_that_panics_is_told_no_more_and_is_named,
    nothing_of_the_program_is_alive_when_run_has_returned,
    an_observer_that_lags_is_told_how_much_it_missed,
    one_that_cannot_start_keeps_the_program_from_starting,
    one_that_panics_at_its_start_keeps_the_program_from_starting,
    a_stop_asked_for_at_the_start_comes_at_once,
    an_observer_is_called_again_after_its_time,
    the_inspector_reads_a_running_program,
];

/// An event in a word.
fn word(event: &Event) -> String {
    match event {
        Event::Started => "started".to_owned(),
        Event::Ready => "ready".to_owned(),
        Event::Signal(signal, count) => format!("{signal} x{count}"),
        Event::Stopping(reason) => format!("stopping: {reason}"),
        Event::Phase(span) => span.phase.to_string(),
        Event::Failure(failure) => failure.to_string(),
        Event::Again => "again".to_owned(),
        Event::Lost(count) => format!("lost {count}"),
        Event::Ended(report) => format!("ended with {}", report.exit_code()),
        _ => "something new".to_owned(),
    }
}

fn writes(log: &Log) -> impl FnMut(&Event, &Inspector) + Send + use<> {
    let log = log.clone();
    move |event, _| log.say(word(event))
}

fn events_are_told_in_their_order(config: Config) {
    let log = Log::default();
    let program = Program::new(config).lame_duck(millis(1)).observe(writes(&log));
    let stopper = program.stopper();
    let exit = program.run(async move {
        ready();
        ready();
        _ = spawn(async { Err::<(), _>("it broke") }.or_report()).await;
        stopper.stop_because("enough");
        stopper.stop_because("more than enough");
        pending::<()>().await;
    });
    succeeded(&exit);
    let failed = log.all().into_iter().find(|said| said.contains("it broke")).expect("it is told");
    log.is(&[
        "started",
        "ready",
        &failed,
        "stopping: a request: enough",
        "LameDuck",
        "Draining",
        "Cancelling",
        "Closing",
        "Stopped",
        "ended with 0",
    ]);
}

fn an_observer_is_part_of_the_program(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let program = Program::new(config).observe(move |event: &Event, inspector: &Inspector| {
        if let Event::Started = event {
            assert_eq!(inspector.phase(), Some(Phase::Running));
            let task = task("of the observer").spawn(async {});
            drop(task);
            said.say(Scope::current().name());
        }
    });
    let stopper = program.stopper();
    let exit = program.run(async move {
        while Scope::current().totals().spawned < 2 {
            sleep(millis(1)).await;
        }
        stopper.stop();
    });
    clean(&exit);
    log.is(&["root"]);
}

/// A short program may be over before its observer is told that it started.
fn an_observer_of_what_is_over_finds_a_scope_that_refuses(config: Config) {
    let log = Log::default();
    let said = log.clone();
    let exit = Program::new(config)
        .observe(move |event: &Event, _: &Inspector| {
            if let Event::Ended(_) = event {
                let ran = said.clone();
                drop(task("late").spawn(async move { ran.say("it runs") }));
                said.say(Scope::current().name());
            }
        })
        .run(async {});
    clean(&exit);
    log.is(&["root"]);
}

/// Blocks when it is told of this, until the gate is open.
fn blocks(at: &'static str, gate: &Gate) -> impl FnMut(&Event, &Inspector) + Send + use<> {
    let gate = gate.clone();
    move |event, _| {
        if word(event) == at {
            gate.wait_blocking();
        }
    }
}

struct Named<F>(&'static str, F);

impl<F: FnMut(&Event, &Inspector) + Send + 'static> Observer for Named<F> {
    fn name(&self) -> String {
        self.0.to_owned()
    }

    fn observe(&mut self, event: &Event, program: &Inspector) -> Option<Duration> {
        (self.1)(event, program);
        None
    }
}

/// Panics with a text, and prints none.
fn fails(why: &'static str) {
    std::panic::resume_unwind(Box::new(why));
}

/// What the report says of observers.
fn named(exit: &Exit) -> Vec<String> {
    failures(exit, FailureKind::Observer).iter().map(ToString::to_string).collect()
}

fn an_observer_that_blocks_delays_nobody_and_is_named(config: Config) {
    let (log, gate) = (Log::default(), Gate::new());
    let exit = Program::new(config)
        .observe(Named("stuck", blocks("started", &gate)))
        .observe(writes(&log))
        .run(async { ready() });
    gate.open();
    exits(&exit, 0);
    log.is(&[
        "started",
        "ready",
        "stopping: nothing left to do",
        "Draining",
        "Cancelling",
        "Closing",
        "Stopped",
        "ended with 0",
    ]);
    let why = "it was not done with the end in time, and is left to itself";
    assert_eq!(named(&exit), [format!("observer: stuck: {why}")]);
    assert!(!exit.report().is_clean(), "it is worth a look");
}

fn an_observer_that_panics_is_told_no_more_and_is_named(config: Config) {
    let (log, late) = (Log::default(), Log::default());
    let (said, says) = (log.clone(), late.clone());
    let exit = Program::new(config)
        .observe(Named("hurt", move |event: &Event, _: &Inspector| {
            said.say(word(event));
            fails("it was not");
        }))
        .observe(Named("hurt last", move |event: &Event, _: &Inspector| {
            if let Event::Ended(_) = event {
                says.say("the end");
                fails("so late");
            }
        }))
        .run(async { ready() });
    exits(&exit, 0);
    assert_eq!(
        named(&exit),
        ["observer: hurt: it panicked: it was not", "observer: hurt last: it panicked: so late"]
    );
    log.is(&["started"]);
    late.is(&["the end"]);
}

fn nothing_of_the_program_is_alive_when_run_has_returned(config: Config) {
    /// Takes its time to be dropped.
    struct Slow(Log);
    impl Observer for Slow {
        fn observe(&mut self, _: &Event, _: &Inspector) -> Option<Duration> {
            None
        }
    }
    impl Drop for Slow {
        fn drop(&mut self) {
            std::thread::sleep(millis(20));
            self.0.say("dropped");
        }
    }
    for _ in 0..20 {
        let (log, used) = (Log::default(), Arc::new(()));
        let uses = used.clone();
        let exit = Program::new(config)
            .observe(Slow(log.clone()))
            .observe(|_: &Event, _: &Inspector| ())
            .on_failure(move |_| _ = &uses)
            .run(async {});
        clean(&exit);
        log.is(&["dropped"]);
        assert_eq!(Arc::strong_count(&used), 1, "what the program was given is dropped with it");
    }
}

fn an_observer_that_lags_is_told_how_much_it_missed(config: Config) {
    let (log, gate) = (Log::default(), Gate::new());
    let (said, opens) = (log.clone(), gate.clone());
    let mut held = blocks("started", &gate);
    let program = Program::new(config).observe(move |event: &Event, inspector: &Inspector| {
        held(event, inspector);
        if !matches!(event, Event::Failure(_)) {
            said.say(word(event));
        }
    });
    let exit = program.run(async move {
        for _ in 0..1_100 {
            _ = spawn(async { Err::<(), _>("again") }.or_report()).await;
        }
        opens.open();
    });
    succeeded(&exit);
    let lost = log.all().into_iter().find(|said| said.starts_with("lost")).expect("some were");
    assert!(log.at(&lost) > log.at("started") && log.at(&lost) < log.at("ended with 0"));
}

/// Fails to start, in one way or another.
struct Fails(Log, fn() -> Result<(), Box<dyn Error + Send + Sync>>);

impl Observer for Fails {
    fn name(&self) -> String {
        "the port".to_owned()
    }

    fn start(
        &mut self,
        program: &Inspector,
        _: &Stopper,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        assert!(program.phase().is_none() && program.status().is_none());
        self.0.say("start");
        self.1()
    }

    fn observe(&mut self, event: &Event, _: &Inspector) -> Option<Duration> {
        self.0.say(word(event));
        None
    }
}

fn start_fails(config: Config, fails: fn() -> Result<(), Box<dyn Error + Send + Sync>>, why: &str) {
    let log = Log::default();
    let (polled, seen) = (Arc::new(AtomicBool::new(false)), log.clone());
    let main = polled.clone();
    let exit = Program::new(config)
        .observe(Fails(log, fails))
        .observe(writes(&seen))
        .run(async move { main.store(true, SeqCst) });
    assert_eq!(exit.exit_code(), 1);
    let said = exit.report().start_error.clone().expect("it says why");
    assert_eq!(said, format!("the port could not start: {why}"));
    assert!(!polled.load(SeqCst), "main is never polled");
    seen.is(&["start"]);
}

fn one_that_cannot_start_keeps_the_program_from_starting(config: Config) {
    start_fails(config, || Err("it is taken".into()), "it is taken");
}

fn one_that_panics_at_its_start_keeps_the_program_from_starting(config: Config) {
    let panics = || {
        fails("oh no");
        Ok(())
    };
    start_fails(config, panics, "it panicked: oh no");
}

fn a_stop_asked_for_at_the_start_comes_at_once(config: Config) {
    struct Asks;
    impl Observer for Asks {
        fn start(
            &mut self,
            _: &Inspector,
            stopper: &Stopper,
        ) -> Result<(), Box<dyn Error + Send + Sync>> {
            stopper.stop_because("before it began");
            Ok(())
        }
        fn observe(&mut self, _: &Event, _: &Inspector) -> Option<Duration> {
            None
        }
    }
    let exit = Program::new(config).observe(Asks).run(pending::<()>());
    clean(&exit);
    assert_eq!(exit.report().reason(), Some(&Reason::Requested(Some("before it began".into()))));
    assert_eq!(exit.report().main, Some(Outcome::Cancelled));
}

fn an_observer_is_called_again_after_its_time(config: Config) {
    struct Ticks(u32, Option<Stopper>);
    impl Observer for Ticks {
        fn start(
            &mut self,
            _: &Inspector,
            stopper: &Stopper,
        ) -> Result<(), Box<dyn Error + Send + Sync>> {
            self.1 = Some(stopper.clone());
            Ok(())
        }
        fn observe(&mut self, event: &Event, _: &Inspector) -> Option<Duration> {
            match event {
                Event::Again => self.0 += 1,
                Event::Started => {}
                _ => return None,
            }
            if self.0 == 3 {
                self.1.take()?.stop_because("three times");
                return None;
            }
            Some(millis(1))
        }
    }
    let exit = Program::new(config).observe(Ticks(0, None)).run(pending::<()>());
    clean(&exit);
    assert_eq!(exit.report().reason(), Some(&Reason::Requested(Some("three times".into()))));
}

fn the_inspector_reads_a_running_program(config: Config) {
    let program = Program::new(config);
    let (inspector, stopper) = (program.inspector(), program.stopper());
    assert!(inspector.status().is_none() && !inspector.is_ready());
    let reads = inspector.clone();
    // Handles keep what they need of a program: it is over all the same.
    let kept = Arc::new(Mutex::new(None));
    let keeps = kept.clone();
    let exit = program.run(async move {
        *keeps.lock().unwrap() = Some((Scope::current(), adjourn::scope("kept")));
        let gate = Gate::new();
        let waits = gate.clone();
        let jobs = adjourn::scope("jobs");
        jobs.task("job").spawn_shielded(async move { waits.wait().await });
        let status = reads.status().expect("it runs");
        assert_eq!((status.phase, status.ready, status.totals.live), (Phase::Running, false, 2));
        assert!(status.backend == config.backend() && status.reason.is_none());
        ready();
        assert!(reads.is_ready());
        assert_eq!(reads.alive(1).len(), 1);
        assert!(reads.alive(10).iter().any(|task| task.task.name.as_deref() == Some("job")));
        assert_eq!(reads.deadline(), None);
        _ = spawn_shielded(async { Err::<(), _>("it broke") }.or_report()).await;
        stopper.stop_because("enough");
        assert!(!reads.is_ready());
        let status = reads.status().expect("it runs");
        assert_eq!(status.reason, Some(Reason::Requested(Some("enough".into()))));
        assert_eq!((status.failures, status.totals.failed), (1, 1));
        assert!(status.time_left.is_some_and(|left| !left.is_zero()));
        let text = status.to_string();
        assert!(text.contains("2 alive, 1 failed, stops: a request: enough, at most"), "{text}");
        let report = reads.report().expect("it runs");
        assert_eq!(report.total().abandoned, 2, "those that are alive");
        gate.open();
    });
    succeeded(&exit);
    assert!(inspector.phase().is_none() && inspector.report().is_none());
    assert!(
        inspector.status().is_none() && !inspector.is_ready() && inspector.deadline().is_none()
    );
    assert!(inspector.alive(10).is_empty() && kept.lock().unwrap().is_some());
}
