//! What watches over a program from outside its executor, from `run`'s first instruction to its last.
//!
//! One thread, the **warden**, hears the signals, keeps the cut-off and the deadline, and ends the
//! process when `run` has not returned in time. It must outlast whatever else is stuck, so:
//!
//! 1. It runs nothing of the user's: no waker, subscriber, hook, sink, `Display` or destructor. The one waker
//!    that it wakes is the driver's, on an executor whose adapter says that this runs nothing of the user's
//!    and waits for nobody ([`WAKES_AT_ONCE`](crate::contract::rt::Executor::WAKES_AT_ONCE)).
//! 2. It waits for no lock but [`Watch`]'s, which is held for the copying of a few words and for
//!    system calls that do not wait. Whoever holds it takes no other lock of the program.
//! 3. It arms before it does anything else: the deadline counts from the signal itself.
//! 4. It allocates nothing, but for the start of its successor, once it has armed. That is the one foreign
//!    lock: an allocator that another thread holds up for ever holds up the warden too. (On Windows it
//!    starts a thread for its last words as well: nobody can be asked there whether a write would wait.)
//! 5. At the deadline it writes what was rendered beforehand, else a short text from its stack.
//!
//! What it hears the driver tells the program, on such an executor: it is woken once the warden has armed.
//! So a signal that comes to a program in order takes one turn of the warden and one of the executor.
//! If the driver has not come after 5 ms, on another executor, and where a signal forces the end, it is as
//! with all that runs foreign code:
//!
//! That is another thread's work: the **teller**. With the first limit or
//! stall the warden arms, starts a second warden in its place, and is the teller from there on: it is
//! awake, while a new thread may have to wait for its first turn. It may be held up for ever by what it
//! runs; then the program is not told, and ends by the warden. What it runs, and why that is safe:
//!
//! | foreign code | where it comes from | what is certain before it runs |
//! |---|---|---|
//! | wakers of the executor and of combinators | `settle`, `drive`, `summon` | armed: [`Watch::arm`] comes first in `Program::stop` |
//! | `tracing` subscribers | `log` | armed; wakers are woken first |
//! | `on_signal` | `Program::react` | one at a time; the actions before it are performed |
//! | `on_failure`, a failure's text | `Program::fail*` | the failure is in the report, the stop is armed |
//! | destructors of hooks that never ran | `Rest::finish` | armed, all else is done |
//! | a backend's `spawn` and clock | `drive` | armed |
//!
//! The same code runs on the calling thread and on the executor's threads too, and there it is not
//! the warden's concern either. `on_report` runs on the calling thread while the deadline is kept.
//!
//! Where no successor can be started, the warden does the teller's work: late help is better than none, and
//! it has armed by then. Should that hold it up, nobody ends the process.
//!
//! A program that ends in order has only the warden, and `run` may return before its thread is gone. By then
//! it has nothing to do but to end: the program is not in the [`Watch`] any more, and the signals are given
//! back. What is left of the listener is the warden's until its end, so that nobody else gets its pipe.
//!
//! Where the backend brings a [`Host`](crate::contract::rt::Host) there is no thread. The machine's
//! limits, the hard ones too, are then kept by the driver alone, on the backend's clock.

mod echo;
mod last_words;
mod rules;
mod teller;
mod untold;
mod warden;
mod watch;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::contract::error::drop_quietly;
use crate::contract::report::Report;
use crate::contract::rt::Timer;
use crate::phase::Limits;
use crate::process::signal::{Listener, Signal};
use crate::program::{Program, log};

pub(crate) use self::last_words::LastWords;
pub(crate) use self::rules::{Heard, Rules};
use self::warden::Gone;
pub(crate) use self::watch::Watch;

/// How long after the deadline, or after it was forced, `run` may take to return by itself.
const GRACE: Duration = Duration::from_millis(75);
/// How long before the deadline the executor's own end is given up, so that `run` returns in time.
const MARGIN: Duration = Duration::from_millis(50);
/// How long actions and reactions may lie undone before the teller comes to do them.
const STALL: Duration = Duration::from_millis(5);

/// When `run` gives up on what it cut off, from the stop request: a little before the deadline.
pub(crate) fn near_deadline(limits: &Limits) -> Duration {
    let reserve = limits.deadline.saturating_sub(limits.cut_off);
    limits.deadline.saturating_sub((reserve / 2).min(MARGIN))
}

/// What watches over one program.
pub(crate) struct Supervision {
    pub(crate) watch: Arc<Watch>,
    warden: Option<JoinHandle<()>>,
    program: Option<Arc<Program>>,
}

impl Supervision {
    /// Starts the warden; without a listener, nothing: the backend's host watches.
    ///
    /// `exits`: the process is ended when the calling thread is stuck.
    pub(crate) fn start(
        limits: Limits,
        rules: Rules,
        listener: Option<Listener>,
        exits: bool,
    ) -> io::Result<Supervision> {
        let Some(listener) = listener else {
            let watch = Arc::new(Watch::new(limits, rules));
            return Ok(Supervision { watch, warden: None, program: None });
        };
        let parker = Arc::new(listener.parker());
        let watch = Arc::new(Watch::kept(limits, rules, listener, exits));
        let kept = watch.clone();
        let warden = warden::start(move || {
            let gone = Gone(kept);
            warden::keep(&gone.0, &parker);
        })?;
        Ok(Supervision { watch, warden: Some(warden), program: None })
    }

    /// The program is there: hands it to the backend's host, where there is one.
    pub(crate) fn meet(&mut self, program: &Arc<Program>) {
        self.program = Some(program.clone());
        if self.warden.is_none() {
            if let Some(host) = program.backend.host() {
                host.starts(program.hosted());
            }
        }
    }

    /// The program can be told: its `main` is registered.
    pub(crate) fn open(&self) {
        if let Some(program) = self.program.as_ref().filter(|_| self.warden.is_some()) {
            // What was heard until now is told by this thread, before others may: it is no matter of who
            // comes first whether a stop from before the start has begun when `main` is first polled.
            self.watch.look_for_signals();
            while let Some(heard) = program.take_heard() {
                program.tell(heard);
            }
            self.watch.open(program);
        }
    }

    /// Tells people nothing more of the stop, and takes away what stands on the terminal.
    pub(crate) fn end_narration(&self) {
        self.watch.narration.close();
    }

    /// Tells who has ended the program by a second Ctrl-C what had not finished.
    pub(crate) fn say_last(&self, report: &Report) {
        if let Some(line) = self.watch.narration.last_line(report) {
            log::say(line, &self.watch);
        }
    }

    /// Lets go of the program. What is dropped with it may block.
    pub(crate) fn part(&mut self) {
        self.end_narration();
        drop_quietly((self.watch.part(), self.program.take()));
    }

    /// How much of the time until the deadline is left for the executor's end, a little less than
    /// all of it; `None` where there is no deadline.
    pub(crate) fn left(&self) -> Option<Duration> {
        match &self.program {
            Some(program) if self.warden.is_none() => program.left(),
            _ => self.watch.left(),
        }
    }

    /// Gives back the signals that were not heard in the stop, and tells the program of those that
    /// came until now. A repetition of the others is still swallowed.
    pub(crate) fn give_signals_back(&self) {
        self.watch.give_back();
        self.tell_rest();
    }

    /// Tells the program of every signal that came until now, as far as its report goes.
    pub(crate) fn tell_rest(&self) {
        if let Some(program) = &self.program {
            self.watch.look_for_signals();
            while program.take_heard().is_some() {}
        }
        if let Some(signal) = self.watch.look_for_others() {
            log::taken_over(signal, &self.watch);
        }
    }

    /// Says what is to be written, should `on_report` not return, and keeps the deadline for it
    /// where no stop has begun.
    pub(crate) fn reporting(&self, report: &Report, raise: Option<Signal>) {
        if self.warden.is_some() {
            self.watch.report(report, raise);
        }
    }
}

impl Drop for Supervision {
    fn drop(&mut self) {
        self.part();
        let stays = self.watch.finish();
        let first = self.warden.take();
        let (second, told) = self.watch.threads();
        if second.is_none() && !stays && self.watch.leaving.may_go_alone() {
            return; // it has only to end, for which it has all that it needs
        }
        let (warden, teller) = match second {
            Some(second) => (Some(second), first),
            None => (first, None),
        };
        // A warden that stays swallows repetitions; a teller that is held up may be so for ever.
        let over = [warden.filter(|_| !stays), teller.filter(|_| told)];
        over.into_iter().flatten().for_each(|thread| _ = thread.join());
    }
}

/// Whether this is a thread that supervises.
pub(crate) fn is_here() -> bool {
    std::thread::current().name() == Some(warden::NAME)
}

/// Whether `at` has come, and the earlier of it and `next` if not.
fn is_due(at: Instant, now: Instant, next: &mut Option<Instant>) -> bool {
    if at <= now {
        return true;
    }
    *next = Some(next.map_or(at, |next| next.min(at)));
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(cut_off: u64, deadline: u64) -> Limits {
        let [lame_duck, drain] = [Duration::ZERO; 2];
        let [cut_off, deadline] = [cut_off, deadline].map(Duration::from_millis);
        Limits { lame_duck, drain, cut_off, deadline }
    }

    #[test]
    fn what_was_cut_off_is_waited_for_until_a_little_before_the_deadline() {
        assert_eq!(near_deadline(&limits(23_000, 25_000)), Duration::from_millis(24_950));
        assert_eq!(near_deadline(&limits(24_980, 25_000)), Duration::from_millis(24_990));
        assert_eq!(near_deadline(&limits(25_000, 25_000)), Duration::from_millis(25_000));
    }
}
