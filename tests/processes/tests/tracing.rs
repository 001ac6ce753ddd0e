//! The log lines, through `tracing`: one subscriber for the process, so one test.

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use adjourn::{ResultFutureExt, Signal, SignalSource, spawn, spawn_shielded};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Writes events down; panics on the first, which must change nothing.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").expect("a string takes all");
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "adjourn"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        let mut lines = self.0.lock().expect("no panic while it is held");
        lines.push(text.0);
        let first = lines.len() == 1;
        drop(lines);
        assert!(!first, "a subscriber that panics");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Gives one signal.
struct Once(Option<Signal>);

impl SignalSource for Once {
    fn poll_signal(&mut self, _: &mut Context<'_>) -> Poll<Option<Signal>> {
        self.0.take().map_or(Poll::Pending, |signal| Poll::Ready(Some(signal)))
    }
}

#[test]
fn phases_signals_failures_and_stragglers_are_logged_and_a_subscriber_that_panics_is_no_harm() {
    let lines = Lines::default();
    tracing::subscriber::set_global_default(lines.clone()).expect("the first subscriber");
    let runner = adjourn::tokio::Runner::new().signals([] as [Signal; 0]);
    let runner = runner.signal_source(Once(Some(Signal::HANGUP))).on_signal(|_, _| ());
    let exit = runner.timeout(Duration::from_millis(1_500)).current_thread().run(async {
        spawn_shielded(std::future::pending::<()>());
        spawn(async { Err::<(), _>("it broke") }.or_stop());
    });
    assert_eq!(exit.exit_code(), 124, "{}", exit.report());
    let lines = lines.0.lock().expect("no panic while it is held");
    let has = |level: Level, text: &str| {
        let level = level.to_string();
        lines.iter().any(|line| line.starts_with(&level) && line.contains(text))
    };
    assert!(has(Level::INFO, "program starts backend=\"tokio\" worker_threads=0"), "{lines:#?}");
    assert!(has(Level::INFO, "timeout=1.5s"), "{lines:#?}");
    assert!(has(Level::INFO, "program ended code=124"), "{lines:#?}");
    // The plain tasks are waited for no more; of the shielded one only the line is known.
    assert!(has(Level::WARN, "stop waits names=\"tracing.rs:"), "{lines:#?}");
    assert!(has(Level::INFO, "phase=Draining alive=2"), "{lines:#?}");
    for phase in ["Draining", "Cancelling", "Closing", "Stopped"] {
        assert!(has(Level::INFO, phase), "no {phase} in {lines:#?}");
    }
    assert!(has(Level::INFO, "SIGHUP"), "{lines:#?}");
    assert!(has(Level::ERROR, "it broke"), "{lines:#?}");
    assert!(has(Level::WARN, "tracing.rs"), "{lines:#?}");
}
