//! What a person sees of a stop that takes a while: whom it waits for, and for how long at most.
//!
//! Until a stop has lasted 300 ms there is nothing of this: no thread, no memory, no look at the terminal.
//! Then the teller starts one thread, the **narrator**. It reads the program as any inspector does, and
//! writes to descriptor 2 without std's lock and within a time, so it goes on while every worker is stuck.
//!
//! 1. It delays nothing: the end waits for it no longer than a write to a terminal takes that is ready,
//!    or [`PATIENCE`] where that is not.
//! 2. Nothing is written after the end, nor into its lines: `Line` is closed before the report is given
//!    to anybody, by whoever ends the program, the warden too. A line that stands there is erased then.
//! 3. What it reads is linear in the number of tasks. It does so at most a twentieth of the time.

mod text;

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use self::text::Waiting;
use super::supervise::Watch;
use super::{Program, log};
use crate::contract::inspect::Inspected;
use crate::contract::options::Narrate;
use crate::contract::report::Report;
use crate::process::signal::{self, Signal};
use crate::process::terminal::{Terminal, erases};

/// A stop that is over by then has nothing to tell.
pub(super) const FIRST: Duration = Duration::from_millis(300);
/// How often the line is renewed.
const RENEWED: Duration = Duration::from_millis(250);
/// So many times as long as a look took nothing is looked at.
const PAUSE: u32 = 20;
/// How long a write may take, and how long the end waits for one.
const PATIENCE: Duration = Duration::from_millis(50);

/// What the narrator shares with whoever ends the program.
pub(crate) struct Narration {
    mode: Mode,
    line: Line,
    inner: Mutex<Inner>,
    bell: Condvar,
}

/// Who is told what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    /// Standard error is told: always, or where nobody listens to `tracing` or it is a terminal.
    narrate: Narrate,
}

#[derive(Default)]
struct Inner {
    /// There is a narrator, or it is just being started.
    begun: bool,
    over: bool,
    /// It holds the program, or runs a subscriber's code.
    busy: bool,
    thread: Option<JoinHandle<()>>,
}

impl Mode {
    /// `owned`: the process is the program's own. An attached one writes nothing unless it is asked to.
    pub(crate) fn new(narrate: Narrate, owned: bool) -> Mode {
        let quiet = narrate == Narrate::Automatic && !owned;
        Mode { narrate: if quiet { Narrate::Never } else { narrate } }
    }

    pub(crate) const SILENT: Mode = Mode { narrate: Narrate::Never };

    /// Whether there is anybody to tell.
    fn tells(self) -> bool {
        self.narrate != Narrate::Never || log::may_be_heard()
    }

    /// The terminal on which the line is shown, if there is one.
    fn terminal(self) -> Option<Terminal> {
        Terminal::of_stderr().filter(|_| self.narrate != Narrate::Never)
    }

    /// Whether standard error is told where it is no terminal.
    fn logs(self) -> bool {
        self.narrate == Narrate::Always || self.narrate == Narrate::Automatic && !log::is_heard()
    }
}

impl Narration {
    pub(crate) fn new(mode: Mode) -> Narration {
        Narration { mode, line: Line::default(), inner: Mutex::default(), bell: Condvar::new() }
    }

    /// How long after the stop request there is something to tell, if there ever is.
    pub(crate) fn begins(&self) -> Option<Duration> {
        self.mode.tells().then_some(FIRST)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the narrator; without a thread to be had nothing is told.
    pub(crate) fn start(watch: &Arc<Watch>) {
        let narrates = watch.clone();
        watch.narration.lock().begun = true;
        let narrator = thread::Builder::new().name("adjourn-narrator".to_owned());
        let narrator = narrator.spawn(move || keep(&narrates)).ok();
        watch.narration.lock().thread = narrator;
    }

    /// Waits until then, or until the end; returns false at the end.
    fn wait(&self, span: Duration) -> bool {
        let mut inner = self.lock();
        inner.busy = false;
        self.bell.notify_all();
        let goes_on = |inner: &mut Inner| !inner.over;
        let mut inner = match self.bell.wait_timeout_while(inner, span, goes_on) {
            Ok((inner, _)) => inner,
            Err(poison) => poison.into_inner().0,
        };
        inner.busy = !inner.over;
        !inner.over
    }

    /// Tells nothing more and erases the line, if one stands there.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.over = true;
        if inner.begun {
            self.bell.notify_all(); // to wake nobody is a system call as well
        }
        let busy = |inner: &mut Inner| inner.busy && inner.thread.is_some();
        let mut inner = match self.bell.wait_timeout_while(inner, PATIENCE, busy) {
            Ok((inner, _)) => inner,
            Err(poison) => poison.into_inner().0,
        };
        let thread = inner.thread.take().filter(|_| !inner.busy);
        drop(inner);
        _ = thread.map(JoinHandle::join); // it has nothing left to do
        self.erase();
    }

    /// The same for the warden, which waits for no lock.
    pub(crate) fn erase(&self) {
        if let Some(width) = self.line.close() {
            signal::write_stderr(erases(width).as_bytes(), PATIENCE);
        }
    }

    /// Has `write` write whole lines to standard error. The line that stands there goes, and comes again
    /// below them when it is renewed.
    /// `patient`: it waits a little for the narrator, which may be writing.
    pub(crate) fn beside(&self, mut lines: String, patient: bool, write: impl FnOnce(&str)) {
        let taken = self.line.take(patient);
        if let Taken::Shown(width) = taken {
            lines.insert_str(0, &erases(width));
        }
        write(&lines);
        if !matches!(taken, Taken::Not) {
            self.line.give_back();
        }
    }

    /// What a person is told who has ended the program by a second Ctrl-C, as a line.
    pub(crate) fn last_line(&self, report: &Report) -> Option<String> {
        report.forced.filter(|signal| *signal == Signal::INTERRUPT)?;
        let terminal = self.mode.terminal()?;
        Some(terminal.colored(&text::of_the_end(report, terminal.width), text::ENDED) + "\n")
    }
}

/// Whether a line stands on the terminal. Whoever writes there has it for as long as that takes.
#[derive(Default)]
struct Line {
    state: AtomicU8,
    /// How wide the terminal was.
    width: AtomicUsize,
}

impl Line {
    const NONE: u8 = 0;
    const SHOWN: u8 = 1;
    const WRITING: u8 = 2;
    /// Other lines are written.
    const OTHERS: u8 = 3;
    const CLOSED: u8 = 4;

    /// Calls `write`, unless the end has come.
    fn write(&self, width: usize, write: impl FnOnce()) {
        let state = &self.state;
        let begin = |from| state.compare_exchange(from, Line::WRITING, SeqCst, SeqCst).is_ok();
        if begin(Line::NONE) || begin(Line::SHOWN) {
            self.width.store(width, SeqCst);
            write();
            // Whoever did not want to wait has closed it meanwhile.
            _ = state.compare_exchange(Line::WRITING, Line::SHOWN, SeqCst, SeqCst);
        }
    }

    /// Takes the terminal for other lines. Nobody waits for others that are written: those are whole lines
    /// too, and whoever reads them may be slow.
    fn take(&self, patient: bool) -> Taken {
        let end = Instant::now() + if patient { PATIENCE } else { Duration::ZERO };
        let take = |from, to| self.state.compare_exchange(from, to, SeqCst, SeqCst).is_ok();
        loop {
            if take(Line::NONE, Line::OTHERS) {
                return Taken::Empty;
            }
            if take(Line::SHOWN, Line::OTHERS) {
                return Taken::Shown(self.width.load(SeqCst));
            }
            let state = self.state.load(SeqCst);
            if matches!(state, Line::CLOSED | Line::OTHERS) || Instant::now() >= end {
                return Taken::Not;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Nothing stands there.
    fn give_back(&self) {
        _ = self.state.compare_exchange(Line::OTHERS, Line::NONE, SeqCst, SeqCst);
    }

    /// Nothing is written any more; returns the terminal's width where a line stands there.
    fn close(&self) -> Option<usize> {
        let end = Instant::now() + PATIENCE;
        while self.state.load(SeqCst) == Line::WRITING && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        let stands = matches!(self.state.swap(Line::CLOSED, SeqCst), Line::SHOWN | Line::WRITING);
        stands.then(|| self.width.load(SeqCst))
    }
}

/// The terminal, for other lines than the narrator's.
enum Taken {
    /// A line stands there, on a terminal so wide.
    Shown(usize),
    Empty,
    /// The end has come, others write lines, or the narrator does not come to an end.
    Not,
}

/// The life of the narrator: from 300 ms after the stop request to the end.
fn keep(watch: &Arc<Watch>) {
    let narration = &watch.narration;
    let mut told = 0;
    let mut span = Duration::ZERO;
    while narration.wait(span) {
        let begun = Instant::now();
        let Some(program) = watch.program() else { break };
        let Some((since, left)) = watch.times() else { break };
        // Half of the time is over, three quarters.
        let parts = left.map_or(0, |left| quarters(since, left)).min(3);
        let terminal = narration.mode.terminal();
        if parts > told && parts >= 2 {
            let waiting = Waiting::of(&program, since, left, watch.interrupt_hint());
            log::waiting(&waiting.names(), since, left);
            if terminal.is_none() && narration.mode.logs() {
                log::say(waiting.log_line(), watch);
            }
            told = parts;
        }
        if let Some(terminal) = &terminal {
            let waiting = Waiting::of(&program, since, left, watch.interrupt_hint());
            let line = terminal.colored(&waiting.line(terminal.width), text::STOPPING);
            let line = format!("{}{line}", erases(terminal.width));
            narration.line.write(terminal.width, || {
                signal::write_stderr(line.as_bytes(), PATIENCE);
            });
        }
        drop(program);
        let next = if terminal.is_some() { RENEWED } else { until_next(since, left) };
        span = next.max(begun.elapsed() * PAUSE);
    }
    narration.lock().busy = false;
    narration.bell.notify_all();
}

/// How many quarters of the time are over.
fn quarters(since: Duration, left: Duration) -> u32 {
    let whole = since.saturating_add(left).as_nanos().max(1);
    (since.as_nanos() * 4 / whole) as u32
}

/// How long until the next quarter is over; the limits may come nearer meanwhile.
fn until_next(since: Duration, left: Option<Duration>) -> Duration {
    const SOON: Duration = Duration::from_secs(1);
    let Some(left) = left else { return SOON };
    let next = (since.saturating_add(left) / 4).saturating_mul(quarters(since, left).max(1) + 1);
    next.saturating_sub(since).clamp(Duration::from_millis(1), SOON)
}

impl Waiting {
    fn of(
        program: &Program,
        since: Duration,
        left: Option<Duration>,
        hint: Option<&'static str>,
    ) -> Waiting {
        let status = Inspected::status(program);
        let alive = program.alive(MOST_LOOKED_AT);
        Waiting::new(&status, alive, program.running_hooks(), since, left, hint)
    }
}

/// So many tasks are asked for.
const MOST_LOOKED_AT: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_time_and_each_quarter_after() {
        let ms = Duration::from_millis;
        assert_eq!(
            [0, 250, 499, 500, 750, 999].map(|at| quarters(ms(at), ms(1_000 - at))),
            [0, 1, 1, 2, 3, 3]
        );
        assert_eq!(quarters(ms(1), ms(0)), 4);
        assert_eq!(quarters(ms(300), Duration::MAX - ms(300)), 0);
        assert_eq!(until_next(ms(300), Some(ms(700))), ms(200));
        assert_eq!(until_next(ms(500), Some(ms(500))), ms(250));
        assert_eq!(until_next(ms(300), Some(ms(24_700))), ms(1_000));
    }

    #[test]
    fn a_line_is_erased_once_and_never_written_after_that() {
        let line = Line::default();
        assert_eq!(line.close(), None, "there was none");
        line.write(80, || panic!("it is closed"));
        let line = Line::default();
        line.write(70, || ());
        assert_eq!([line.close(), line.close()], [Some(70), None]);
        let line = Line::default();
        // Whoever ends the program does not wait for a terminal that takes nothing.
        line.write(60, || assert_eq!(line.close(), Some(60), "something of it may be there"));
        assert_eq!(line.close(), None);
    }

    #[test]
    fn other_lines_take_the_place_of_the_line_that_stands_there() {
        let narration = Narration::new(Mode::SILENT);
        let erased = format!("{}failure\n", erases(70));
        narration.beside("early\n".to_owned(), true, |text| assert_eq!(text, "early\n"));
        let ended = Narration::new(Mode::SILENT);
        ended.beside("early\n".to_owned(), true, |_| {
            assert_eq!(
                ended.line.close(),
                None,
                "there is nothing to erase, and this may be a file"
            );
        });
        narration.line.write(70, || ());
        narration.beside("failure\n".to_owned(), true, |text| {
            assert_eq!(text, erased);
            narration.line.write(70, || panic!("somebody else writes"));
            // Nobody waits for long.
            narration.beside("other\n".to_owned(), true, |text| assert_eq!(text, "other\n"));
        });
        assert_eq!(narration.line.close(), None, "it is gone");
        narration.beside("late\n".to_owned(), true, |text| assert_eq!(text, "late\n"));
        narration.line.write(70, || panic!("it is closed"));
    }

    #[test]
    fn a_line_that_comes_again_is_erased_again() {
        let narration = Narration::new(Mode::SILENT);
        narration.line.write(70, || ());
        narration.beside("failure\n".to_owned(), true, |_| ());
        narration.line.write(60, || ());
        assert_eq!(narration.line.close(), Some(60));
    }

    #[test]
    fn an_attached_program_writes_only_when_it_is_asked_to() {
        for (narrate, owned, expected) in [
            (Narrate::Automatic, true, Narrate::Automatic),
            (Narrate::Automatic, false, Narrate::Never),
            (Narrate::Always, false, Narrate::Always),
            (Narrate::Never, true, Narrate::Never),
        ] {
            assert_eq!(Mode::new(narrate, owned).narrate, expected);
        }
    }
}
