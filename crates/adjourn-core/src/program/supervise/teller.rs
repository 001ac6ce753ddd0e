//! The thread that tells the program what the warden has heard and seen, and does what the executor
//! does not come to. It may be held up by what it runs; the warden is not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::LastWords;
use super::watch::{Inner, Teller, Watch};
use crate::contract::error::forget_payload;
use crate::phase::Event;
use crate::process::signal::Signal;
use crate::program::driver::perform;
use crate::program::narrate::Narration;
use crate::program::{Program, log};

/// How long until the service manager is told again.
pub(super) const AGAIN: Duration = Duration::from_millis(50);

enum Work {
    Heard,
    Limit(usize),
    Stalled,
    Narrate,
    Notice(&'static str),
    TakenOver(Signal),
}

impl Inner {
    pub(super) fn has_work(&self) -> bool {
        self.program.is_some()
            && (self.has_untold()
                || self.due.contains(&true)
                || self.stalled
                || self.narration == [true, false]
                || self.notice.is_some()
                || self.taken_over.is_some())
    }

    /// Takes the next thing to do: what was heard came before the limits that followed from it.
    fn next_work(&mut self) -> Option<(Work, Arc<Program>)> {
        let program = self.program.clone()?;
        let work = if self.has_heard() {
            Work::Heard
        } else if let Some(index) = self.due.iter().position(|due| *due) {
            self.due[index] = false;
            Work::Limit(index)
        } else if std::mem::take(&mut self.stalled) {
            Work::Stalled
        } else if self.narration == [true, false] {
            self.narration[1] = true;
            Work::Narrate
        } else if let Some(signal) = self.taken_over.take() {
            Work::TakenOver(signal)
        } else {
            Work::Notice(self.notice.take()?)
        };
        Some((work, program))
    }
}

/// The teller's life: until `run` returns.
pub(super) fn run(watch: &Arc<Watch>) {
    let mut inner = watch.lock();
    while !inner.over {
        let mut again = false;
        if let Some((work, program)) = inner.next_work() {
            inner.teller = Teller::Busy;
            drop(inner);
            again = !guarded(watch, &program, &work);
            drop(program);
            inner = watch.lock();
            if !again {
                continue;
            }
        }
        inner.teller = Teller::Waiting;
        inner = if again {
            let waited = watch.bell.wait_timeout(inner, AGAIN);
            waited.map_or_else(|poison| poison.into_inner().0, |(inner, _)| inner)
        } else {
            watch.bell.wait(inner).unwrap_or_else(PoisonError::into_inner)
        };
    }
    inner.teller = Teller::Absent;
    drop(inner);
    watch.bell.notify_all();
}

/// Does what there is to do now, once: for the warden where there is no teller. Returns false where
/// some of it has to be tried again.
pub(super) fn tell(watch: &Arc<Watch>) -> bool {
    loop {
        let Some((work, program)) = watch.lock().next_work() else { return true };
        if !guarded(watch, &program, &work) {
            return false;
        }
    }
}

/// Returns false where it has to be tried again.
fn guarded(watch: &Arc<Watch>, program: &Arc<Program>, work: &Work) -> bool {
    program.as_part(|| {
        let done = catch_unwind(AssertUnwindSafe(|| perform_work(watch, program, work)));
        done.unwrap_or_else(|payload| {
            forget_payload(payload);
            true
        })
    })
}

fn perform_work(watch: &Arc<Watch>, program: &Arc<Program>, work: &Work) -> bool {
    match work {
        Work::Heard => {
            if let Some(heard) = program.take_heard() {
                program.tell(heard);
                if heard.forces {
                    render(watch, program, true);
                }
            }
        }
        Work::Limit(index) => {
            match index {
                0 => program.event(Event::CutOff),
                1 => program.expire(),
                _ => program.event(Event::Deadline),
            }
            program.summon();
            render(watch, program, false);
        }
        Work::Stalled => {
            // The thread that called `run` can do it too; whoever comes first does.
            program.summon();
            program.drive(perform);
            program.react();
            if watch.lock().forced.is_some() {
                render(watch, program, true);
            }
        }
        Work::Notice(state) => {
            let mut taken = true;
            program.try_notify(state, || {
                // No nudge: the next try comes by itself.
                let mut inner = watch.lock();
                inner.notice = inner.notice.or(Some(state));
                taken = false;
            });
            return taken;
        }
        Work::Narrate => Narration::start(watch),
        Work::TakenOver(signal) => log::taken_over(*signal, watch),
    }
    true
}

/// Has the warden write what is known now.
fn render(watch: &Watch, program: &Arc<Program>, forced: bool) {
    let mut report = None;
    for _ in 0..20 {
        report = program.peek();
        if report.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    if let Some(report) = report {
        let mut words = LastWords::of(&report, program.raises(&report));
        if let Some(line) = watch.narration.last_line(&report) {
            words.text.insert_str(0, &line);
        }
        watch.set_last_words(forced, words);
    }
}
