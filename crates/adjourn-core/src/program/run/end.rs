//! The end of a run: its report, and who is given it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::contract::error::{StartError, error_chain, take_message};
use crate::contract::report::{Exit, Failure, FailureKind, Reason, Report};
use crate::phase::Event;
use crate::process::signal::Signal;
use crate::program::Program;
use crate::program::supervise::Supervision;

pub(super) type ReportSink = Box<dyn FnOnce(&Report) + Send>;

/// A program that has started. Dropped before its end, it ends at once.
pub(super) struct Live {
    pub(super) program: Arc<Program>,
    pub(super) supervision: Supervision,
    pub(super) over: bool,
}

/// A program that has ended.
pub(super) struct Ended {
    report: Report,
    raise: Option<Signal>,
}

impl Live {
    pub(super) fn end(mut self) -> Ended {
        self.over = true;
        self.supervision.stop_listening();
        let report = self.program.conclude();
        let raise = self.program.raises(&report);
        Ended { report, raise }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if !self.over {
            self.program.stop(Reason::Dropped);
            self.program.event(Event::Force); // no scope is opened from here on
            for node in self.program.nodes() {
                _ = node.cut_off();
            }
            self.program.finish();
            _ = self.program.conclude();
        }
    }
}

/// Makes the exit of a program, and gives the report to its sink.
pub(super) fn deliver(
    name: &'static str,
    ended: Result<Ended, StartError>,
    sink: Option<ReportSink>,
) -> Exit {
    let Ended { mut report, raise } = ended.unwrap_or_else(|error| {
        let (chain, _) = error_chain(&error);
        let start_error = Some(chain.join(": "));
        Ended { report: Report { backend: name, start_error, ..Report::default() }, raise: None }
    });
    if let Some(sink) = sink {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| sink(&report))) {
            let at = report.phases.last().map(|span| span.entered).unwrap_or_default();
            report.failures.push(Failure {
                at,
                kind: FailureKind::HookPanic,
                origin: "on_report".to_owned(),
                messages: vec![take_message(payload)],
                fatal: true,
            });
        }
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
