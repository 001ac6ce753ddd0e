//! Thousands of real signals of mixed kinds, at random moments, against a real process on each
//! backend: nothing is lost, the exit code is right, and the process ends in order.
//!
//! What "nothing is lost" means here:
//!
//! - a handler that was there before the program counts what the kernel delivers; the core counted
//!   exactly as much of each kind, neither less nor twice (the counts of a listener and of that
//!   handler are compared in the process);
//! - a signal that is sent while nothing of its kind is pending is delivered: each of those that are
//!   sent one after the other, at least one of each kind of a volley, exactly one of each standard
//!   kind that is sent while the process is stopped;
//! - each real-time signal is delivered, since those queue;
//! - each kind that was delivered reaches `on_signal`, and `tokio::signal` beside the program.
//!
//! `ADJOURN_STORM_RUNS=200` runs more seeds, from `ADJOURN_STORM_SEED` on: with one run, that one.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use adjourn_processes::storm::{Act, END, MARKER, Plan, QUEUED, Reraises, kinds};
use fastrand::Rng;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the process has said.
#[derive(Default)]
struct Said {
    heard: BTreeMap<i32, u64>,
    /// Everything but what it heard.
    lines: Vec<String>,
    ended: bool,
}

#[derive(Default)]
struct Reader {
    said: Mutex<Said>,
    more: Condvar,
}

impl Reader {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, lines: impl BufRead) {
        for line in lines.lines().map_while(Result::ok) {
            let mut said = self.lock();
            match line.strip_prefix("heard ").and_then(|line| line.split_once(' ')) {
                Some((kind, count)) => {
                    let kind = kind.parse().unwrap();
                    *said.heard.entry(kind).or_default() += count.parse::<u64>().unwrap();
                }
                None => said.lines.push(line),
            }
            self.more.notify_all();
        }
        self.lock().ended = true;
        self.more.notify_all();
    }

    #[track_caller]
    fn until<T>(&self, what: impl Debug, is_it: impl Fn(&Said) -> Option<T>) -> T {
        let mut said = self.lock();
        loop {
            if let Some(it) = is_it(&said) {
                return it;
            }
            let (again, waited) = self.more.wait_timeout(said, PATIENCE).unwrap();
            said = again;
            let over = waited.timed_out() || said.ended && is_it(&said).is_none();
            assert!(!over, "no {what:?}: {:?}, {:?}", said.heard, said.lines);
        }
    }
}

struct Storm {
    process: Child,
    reader: Arc<Reader>,
    reading: Option<JoinHandle<()>>,
    complaints: Option<JoinHandle<String>>,
    /// How many of each kind must have been delivered, and how many can have been at the most.
    bounds: BTreeMap<i32, (u64, u64)>,
    /// How many of each kind that does not queue may be heard only now, of those before.
    late: BTreeMap<i32, u64>,
}

impl Storm {
    fn start(seed: u64) -> Storm {
        // The dispositions of the test's runner are anybody's; the process sets its own.
        let mut process = Command::new(env!("CARGO_BIN_EXE_storm"))
            .arg(seed.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let reader = Arc::<Reader>::default();
        let (lines, mut errors) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
        let reading = thread::spawn({
            let reader = reader.clone();
            move || reader.read(BufReader::new(lines))
        });
        let complaints = thread::spawn(move || {
            let mut text = String::new();
            _ = errors.read_to_string(&mut text);
            text
        });
        let (reading, complaints) = (Some(reading), Some(complaints));
        let (bounds, late) = Default::default();
        Storm { process, reader, reading, complaints, bounds, late }
    }

    fn send(&self, signal: i32) {
        let process = self.process.id() as i32;
        loop {
            // SAFETY: the process has not been waited for, so the number is its own; a null value
            // is one, sent along with the signal.
            let sent = unsafe {
                match signal >= libc::SIGRTMIN() {
                    true => {
                        let value = libc::sigval { sival_ptr: std::ptr::null_mut() };
                        libc::sigqueue(process, signal, value)
                    }
                    false => libc::kill(process, signal),
                }
            };
            let error = std::io::Error::last_os_error();
            match sent {
                0 => return,
                // As many are queued as one user may have.
                _ if error.raw_os_error() == Some(libc::EAGAIN) => thread::yield_now(),
                _ => panic!("signal {signal} could not be sent: {error}"),
            }
        }
    }

    /// Sends one and waits until it has been heard: nothing of its kind was pending.
    ///
    /// Where it is a kind that threads of the process raise too, one of those may have been heard in
    /// its place; those queue.
    fn send_and_wait(&mut self, signal: i32) {
        let count = |said: &Said| said.heard.get(&signal).copied().unwrap_or_default();
        let before = count(&self.reader.lock());
        self.send(signal);
        self.reader.until(signal, |said| (count(said) > before).then_some(()));
        // One of an earlier volley may have been on its way, in a thread that was kept from running,
        // and be what was heard. Then this one is pending, and may be merged with the next.
        let late = self.late.entry(signal).or_default();
        let merged = u64::from(*late > 0);
        *late = late.saturating_sub(1);
        self.expect(signal, 1 - merged, 1);
    }

    fn expect(&mut self, signal: i32, least: u64, most: u64) {
        let bounds = self.bounds.entry(signal).or_default();
        *bounds = (bounds.0 + least, bounds.1 + most);
    }

    fn act(&mut self, act: &Act, rng: &mut Rng) {
        let signals = act.signals();
        match act {
            Act::Paced(_) => signals.iter().for_each(|&signal| self.send_and_wait(signal)),
            Act::Volley(_) => {
                let (some, others) = signals.split_at(rng.usize(..=signals.len()));
                thread::scope(|scope| {
                    for part in [some, others] {
                        let (storm, mut rng) = (&*self, rng.fork());
                        scope.spawn(move || {
                            for &signal in part {
                                storm.send(signal);
                                if rng.u8(..8) == 0 {
                                    thread::sleep(Duration::from_micros(rng.u64(..300)));
                                }
                            }
                        });
                    }
                });
            }
            Act::Stopped(_) => {
                self.send(libc::SIGSTOP);
                self.wait_until_stopped();
                signals.iter().for_each(|&signal| self.send(signal));
                self.send(libc::SIGCONT);
            }
        }
        if let Act::Paced(_) = act {
            return;
        }
        let mut sent = BTreeMap::<i32, u64>::new();
        signals.iter().for_each(|&signal| *sent.entry(signal).or_default() += 1);
        for (signal, count) in sent {
            let (least, most) = match act {
                _ if QUEUED.contains(&signal) => (count, count),
                Act::Stopped(_) => (1, 1),
                _ => (1, count),
            };
            self.expect(signal, least, most);
            if !QUEUED.contains(&signal) {
                self.late.insert(signal, most);
            }
        }
        self.send_and_wait(MARKER);
    }

    fn wait_until_stopped(&self) {
        let mut status = 0;
        // SAFETY: `status` outlives the call; WUNTRACED does not take the process's end away, since
        // it has none before it goes on.
        let process =
            unsafe { libc::waitpid(self.process.id() as i32, &mut status, libc::WUNTRACED) };
        assert_eq!(process, self.process.id() as i32);
        assert!(libc::WIFSTOPPED(status), "it ended in the storm: {status}");
    }

    fn end(mut self) -> (ExitStatus, Vec<String>, String) {
        self.reading.take().map(JoinHandle::join).unwrap().unwrap();
        let status = self.process.wait().unwrap();
        let lines = std::mem::take(&mut self.reader.lock().lines);
        (status, lines, self.complaints.take().map(JoinHandle::join).unwrap().unwrap())
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// How many SIGINTs have come, at the least and at the most.
fn interrupts(bounds: &BTreeMap<i32, (u64, u64)>) -> (u64, u64) {
    bounds.get(&libc::SIGINT).copied().unwrap_or_default()
}

/// One run; returns how many signals were delivered.
fn weather(seed: u64) -> u64 {
    let plan = Plan::of(seed);
    let mut rng = Rng::with_seed(!seed);
    let mut storm = Storm::start(seed);
    let reader = storm.reader.clone();
    reader.until("ready", |said| said.lines.iter().any(|line| line == "ready").then_some(()));

    // SIGINTs before the program was asked to stop; where the first signal stops it, none.
    let mut before = (0, 0);
    for act in &plan.acts {
        if act.signals() == [END] {
            before = interrupts(&storm.bounds);
        }
        storm.act(act, &mut rng);
        if act.signals() == [END] {
            reader.until("stopping", |said| {
                said.lines.iter().any(|line| line == "stopping").then_some(())
            });
        }
    }
    let (least, most) = interrupts(&storm.bounds);
    let counts = plan.forces && plan.each_interrupt_counts;
    let must_force = counts && least >= 2 && least > before.1;
    let may_force = counts && most >= 2 && most > before.0;

    let must: BTreeMap<i32, u64> = kinds()
        .into_iter()
        .map(|kind| (kind, storm.bounds.get(&kind).map_or(0, |b| b.0)))
        .collect();
    let must = serde_json::to_string(&must).unwrap() + "\n";
    storm.process.stdin.take().unwrap().write_all(must.as_bytes()).unwrap();
    let over = reader.until("the end of the storm", |said| {
        said.lines.iter().find_map(|line| match line.strip_prefix("counts ") {
            None if line.starts_with("never") => panic!("{line}"),
            counts => counts.map(str::to_owned),
        })
    });
    let over: Value = serde_json::from_str(&over).unwrap();
    let mut delivered = 0;
    for kind in kinds() {
        let (least, most) = storm.bounds.get(&kind).copied().unwrap_or_default();
        let count = |of: &str| over[of][kind.to_string()].as_u64().unwrap();
        let (heard, raised) = (count("heard"), count("raised"));
        let right = (least + raised..=most + raised).contains(&heard);
        assert!(right, "signal {kind}: {heard} of {raised} + {least} to {most}: {over}");
        if plan.witness {
            assert_eq!(heard, count("witnessed"), "signal {kind}: {over}");
        }
        assert!(count("told") <= heard, "signal {kind}: {over}");
        delivered += heard;
    }

    // The storm goes on while the program ends: it must not be in the way. SIGINT would force.
    if plan.witness {
        let kinds = [libc::SIGTERM, libc::SIGUSR1, libc::SIGWINCH, QUEUED[0], END];
        while !reader.lock().ended {
            storm.send(rng.choice(kinds).unwrap());
            thread::sleep(Duration::from_micros(rng.u64(..500)));
        }
    }

    let (status, lines, complaints) = storm.end();
    let report: Value = serde_json::from_str(lines.last().unwrap())
        .unwrap_or_else(|_| panic!("{status} without a report: {lines:?}\n{complaints}"));
    let forced = !report["forced"].is_null();
    assert!(forced || !must_force, "a second SIGINT did not force: {report}");
    assert!(!forced || may_force, "forced by nothing: {report}");
    let order = lines[..lines.len() - 1].iter().map(|line| line.split(' ').next().unwrap());
    let order: Vec<&str> = order.filter(|line| *line != "stopping").collect();
    if !forced {
        let all = ["ready", "counts", "drained", "cleaned", "second", "first", "returned"];
        assert_eq!(order, all, "{lines:?}");
        assert_eq!(complaints, "", "an orderly stop prints nothing");
    }
    check_report(&report, forced);

    let reason = &report["reasons"][0]["what"];
    match plan.reacts {
        true => assert!(reason.get("Requested").is_some(), "{reason}"),
        false => assert!(reason.get("Signal").is_some(), "{reason}"),
    }
    let by = |name: &str| {
        name.parse::<adjourn::Signal>().unwrap_or_else(|error| panic!("{error}")).as_raw()
    };
    let first = reason["Signal"].as_str().map(by);
    let raised = report["forced"].as_str().map(by).or(first).filter(|&signal| {
        let harmless = [libc::SIGURG, libc::SIGWINCH].contains(&signal);
        !harmless
            && match plan.reraises {
                Reraises::Never => false,
                Reraises::Interrupt => signal == libc::SIGINT,
                Reraises::Always => true,
            }
    });
    match raised {
        Some(signal) => assert_eq!(status.signal(), Some(signal), "{report}"),
        None => {
            let code = if forced { 128 + libc::SIGINT } else { 0 };
            assert_eq!(status.code(), Some(code), "{status}: {report}");
        }
    }
    delivered
}

/// The phases advance to the end; every task is accounted for, and nothing went wrong.
fn check_report(report: &Value, forced: bool) {
    let phases = report["phases"].as_array().unwrap();
    let rank = |phase: &Value| {
        let all = ["Running", "LameDuck", "Draining", "Cancelling", "Closing", "Stopped", "Forced"];
        let rank = all.iter().position(|name| phase["phase"] == *name);
        rank.unwrap_or_else(|| panic!("{phase}"))
    };
    let ranks: Vec<usize> = phases.iter().map(rank).collect();
    assert!(ranks.is_sorted_by(|a, b| a < b), "{report}");
    assert_eq!(ranks.last().copied(), Some(if forced { 6 } else { 5 }), "{report}");
    for (name, totals) in report["totals"].as_object().unwrap() {
        let count = |what: &str| totals[what].as_u64().unwrap();
        let ended = ["live", "finished", "failed", "panicked", "cancelled", "abandoned"];
        let ended: u64 = ended.into_iter().map(count).sum();
        assert_eq!(count("spawned"), ended, "{name}: {report}");
        assert_eq!(count("failed") + count("panicked"), 0, "{name}: {report}");
    }
    assert_eq!(report["failures"], serde_json::json!([]), "{report}");
    assert!(forced || report["stragglers"] == serde_json::json!([]), "{report}");
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text:?}")))
}

#[test]
fn nothing_is_lost_in_a_storm_of_signals() {
    let start = number("ADJOURN_STORM_SEED").unwrap_or(0);
    let runs = number("ADJOURN_STORM_RUNS").unwrap_or(24);
    let mut delivered = 0;
    for seed in start..start + runs {
        delivered += std::panic::catch_unwind(|| weather(seed)).unwrap_or_else(|_| {
            let again = format!("ADJOURN_STORM_SEED={seed} ADJOURN_STORM_RUNS=1");
            let plan = Plan { acts: Vec::new(), ..Plan::of(seed) };
            panic!("{plan:?}\nto run it again: {again}");
        });
    }
    println!("{runs} runs, {delivered} signals");
}
