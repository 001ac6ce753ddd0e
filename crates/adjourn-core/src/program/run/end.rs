//! The end of a run: its report, and who is given it.

use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::contract::error::{Payload, StartError, drop_quietly, error_chain, take_message};
use crate::contract::report::{Exit, Failure, FailureKind, Reason, Report, bound};
use crate::phase::Event;
use crate::program::Program;
use crate::program::observe::Observing;
use crate::program::supervise::Supervision;
use crate::track::node::Node;

pub(super) type ReportSink = Box<dyn FnOnce(&Report) + Send>;

/// A program that has started. Dropped before its end, it ends at once.
pub(super) struct Live {
    pub(super) program: Arc<Program>,
    observing: Observing,
    over: bool,
}

/// A program that is over, but for its report.
pub(super) struct Ended {
    program: Arc<Program>,
    observing: Observing,
    /// Where `on_report` runs.
    root: Arc<Node>,
}

impl Live {
    pub(super) fn new(program: Arc<Program>, observing: Observing) -> Live {
        Live { program, observing, over: false }
    }

    pub(super) fn end(mut self) -> Ended {
        self.over = true;
        let observing = mem::take(&mut self.observing);
        Ended { program: self.program.clone(), observing, root: self.program.root() }
    }

    /// The executor itself has panicked, and nothing runs any more.
    pub(super) fn executor_failed(&self, name: &str, payload: Payload) {
        let (what, why) = (format!("the {name} executor panicked"), vec![take_message(payload)]);
        let reason = Reason::MainFailed(what.clone());
        self.program.fail_and_stop(FailureKind::Executor, what, why, reason);
        self.abandon();
    }

    fn abandon(&self) {
        self.program.event(Event::Force); // no scope is opened from here on
        for node in self.program.nodes() {
            _ = node.cut_off();
        }
        self.program.finish();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if !self.over {
            self.program.stop(Reason::Dropped);
            self.abandon();
            _ = self.program.conclude();
            self.program.tell_late(Some(Duration::ZERO));
            self.program.let_go();
        }
    }
}

/// Makes the exit of a program, and gives the report to its sink. The deadline is kept until all of
/// that is over.
pub(super) fn deliver(
    name: &'static str,
    ended: Result<Ended, StartError>,
    sink: Option<ReportSink>,
    supervision: Option<Supervision>,
) -> Exit {
    // Whatever was heard until the report is made is in it. With a sink or an observer, which may block,
    // the signals are kept: a second SIGINT still ends it.
    if let Some(supervision) = &supervision {
        supervision.end_narration();
    }
    let others = |ended: &Ended| !ended.observing.is_empty() || ended.program.has_failure_sink();
    let foreign = sink.is_some() || ended.as_ref().is_ok_and(others);
    match &supervision {
        Some(supervision) if !foreign => supervision.give_signals_back(),
        Some(supervision) => supervision.tell_rest(),
        None => {}
    }
    let (mut report, raise, ended) = match ended {
        Ok(mut ended) => {
            let mut report = ended.program.conclude();
            let within = supervision.as_ref().and_then(Supervision::left);
            mem::take(&mut ended.observing).end(&ended.program, &mut report, within);
            ended.program.tell_late(supervision.as_ref().and_then(Supervision::left));
            ended.program.add_belated(&mut report);
            let raise = ended.program.raises(&report);
            (report, raise, Some(ended))
        }
        Err(error) => {
            let mut start_error = error_chain(&error).0.join(": ");
            bound::shorten(&mut start_error, bound::MESSAGE);
            let start_error = Some(start_error);
            (Report { backend: name, start_error, ..Report::default() }, None, None)
        }
    };
    if let Some(supervision) = &supervision {
        supervision.say_last(&report);
    }
    super::log::ended(&report);
    if let Some(sink) = sink {
        if let Some(supervision) = &supervision {
            supervision.reporting(&report, raise);
        }
        let give = || catch_unwind(AssertUnwindSafe(|| sink(&report)));
        let given = match &ended {
            Some(ended) => Program::within(ended.root.clone(), give),
            None => give(),
        };
        if let Err(payload) = given {
            let at = report.phases.last().map(|span| span.entered).unwrap_or_default();
            let (kind, origin) = (FailureKind::HookPanic, "on_report".to_owned());
            let messages = vec![take_message(payload)];
            let failure = Failure { at, kind, origin, messages, fatal: true }.bounded();
            match &ended {
                Some(ended) => {
                    ended.program.fail_late(&mut report, failure);
                    ended.program.tell_late(supervision.as_ref().and_then(Supervision::left));
                    ended.program.add_belated(&mut report);
                }
                None => report.failures.push(failure),
            }
        }
    }
    if let (true, Some(supervision), Some(ended)) = (foreign, &supervision, &ended) {
        supervision.give_signals_back();
        ended.program.add_late_signals(&mut report);
    }
    if let Some(ended) = &ended {
        // Under the deadline too: what is dropped is the user's.
        ended.program.let_go();
    }
    drop_quietly(ended);
    if let Some(mut supervision) = supervision {
        supervision.part();
    }
    Exit::new(report, raise)
}

/// Waits for a future on this thread, outside of any executor, for so long at the most.
pub(super) fn wait_for<F: Future>(future: F, within: Option<Duration>) -> Option<F::Output> {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let end = within.and_then(|within| Instant::now().checked_add(within));
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        match end.map(|end| end.saturating_duration_since(Instant::now())) {
            Some(left) if left.is_zero() => return None,
            Some(left) => std::thread::park_timeout(left),
            None => std::thread::park(),
        }
    }
}
