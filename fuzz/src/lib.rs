//! Bytes as a program's life: what a fuzzer makes up is read as limits, scopes, events and times.
//!
//! The first byte decides which driver is made of the rest: one that tells the truth, whose checks
//! are the order and the times that the machine promises, or one that says anything. The checks are
//! the model's, which the machine's own tests use too. Missing bytes are zeros, so every input has a
//! meaning and a shorter one means something simpler.

use std::collections::BTreeSet;
use std::time::Duration;

/// The machine is no public part of the core, so its source is compiled here once more.
#[path = "../../crates/adjourn-core/src"]
#[allow(dead_code, reason = "the core uses all of it")]
mod source {
    pub(crate) mod few;
    pub(crate) mod phase;
}
#[path = "../../crates/adjourn-core/src/tests/phase/model.rs"]
#[allow(dead_code, reason = "the machine's own tests use all of it")]
mod model;
pub mod stable;

use model::{Load, NEVER, Nonsense, Plan, Sim, Step, ms};
use phase::{Action, Event, Limits};
use source::{few, phase}; // where they are looked for: `crate::few`, `crate::phase`

/// More scopes than this make one input slow, and show nothing that fewer do not.
const MOST_SCOPES: usize = 40;

/// What was seen on the way: pairs of an action and the one before, with the driver's own steps.
///
/// A fuzzer without the coverage of the code keeps the inputs that show something new here.
pub type Seen = BTreeSet<u32>;

/// Lives the life that the bytes describe; panics where the machine breaks a promise.
pub fn fuzz_one(bytes: &[u8]) -> Seen {
    let mut bytes = Bytes(bytes);
    match bytes.one() % 2 {
        0 => truth(bytes),
        _ => nonsense(bytes),
    }
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn one(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// Milliseconds: short ones, each up to a quarter of a second, a few long ones, never.
    fn span(&mut self) -> u64 {
        match self.one() {
            255 => NEVER,
            254 => 10_000,
            253 => u64::from(self.one()) << 32,
            short => short.into(),
        }
    }

    fn at(&mut self) -> usize {
        self.one().into()
    }

    /// Zero, short, or one that hangs.
    fn hanging(&mut self) -> u64 {
        match self.one() {
            short @ 0..160 => u64::from(short) / 4,
            160..224 => 0,
            _ => NEVER,
        }
    }

    fn load(&mut self) -> Load {
        let bits = self.one();
        let (plain, kept) = (bits % 2 == 1, bits & 2 != 0);
        let (graceful, cleanup, hooks) = (self.hanging(), self.hanging(), self.hanging());
        Load { graceful, plain, cleanup, hooks, kept }
    }

    fn plan(&mut self) -> Plan {
        let (parent, count) = (self.at(), self.one() % 4);
        (parent, (0..count).map(|_| self.at()).collect(), self.load())
    }

    fn step(&mut self) -> Step {
        match self.one() % 16 {
            0..5 => Step::Wait((self.one() / 4).into()),
            5..8 => Step::Stop(self.at()),
            8..10 => Step::Left(self.at()),
            10..14 => Step::Open(self.plan()),
            14 => Step::Spawn(self.at(), (self.one() / 4).into()),
            _ => match self.one() % 8 {
                0 => Step::Deadline,
                1 => Step::Force,
                2 => Step::CutOff,
                3 => Step::EndsWithin((self.one() / 4).into()),
                _ => Step::Stop(0),
            },
        }
    }
}

fn truth(mut bytes: Bytes<'_>) -> Seen {
    let mut spans = [bytes.span(), bytes.span(), bytes.span(), bytes.span()];
    // The deadline at least comes; the machine has limits in this order.
    spans[3] = spans[3].min(10_000);
    spans.sort_unstable();
    spans[3] = spans[3].min(10_000);
    let [lame_duck, drain, cut_off, deadline] = spans.map(ms);
    let [drain, cut_off] = [drain, cut_off].map(|span| span.min(deadline));
    let lame_duck = if bytes.one() % 4 == 0 { lame_duck.min(drain) } else { Duration::ZERO };
    let root = bytes.load();
    let mut sim = Sim::new(Limits { lame_duck, drain, cut_off, deadline }, root);
    let mut seen = Seen::new();
    while !bytes.is_over() {
        let step = bytes.step();
        if !matches!(step, Step::Open(_)) || sim.scopes.len() < MOST_SCOPES {
            sim.step(&step);
        }
    }
    sim.run_to_the_end();
    let mut before = 0;
    for (index, (at, action)) in sim.log.iter().enumerate() {
        let same = index > 0 && sim.log[index - 1].0 == *at;
        let scope = |id| sim.by_id.get(&id).map_or(0, |&index| index.min(3) as u32);
        let (rank, scope) = match *action {
            Action::LameDuck => (1, 0),
            Action::Fire(id) => (2, scope(id)),
            Action::Cancel(id) => (3, scope(id)),
            Action::CutOff(id) => (4, scope(id)),
            Action::Close(id) => (5, scope(id)),
            Action::End(id) => (6, scope(id)),
            Action::Finish => (7, 0),
        };
        let now = rank | scope << 3 | u32::from(same) << 5 | u32::from(!sim.ordered) << 6;
        seen.insert(before << 7 | now);
        before = now;
    }
    seen
}

fn nonsense(mut bytes: Bytes<'_>) -> Seen {
    let [lame_duck, drain, cut_off, deadline] =
        [bytes.span(), bytes.span(), bytes.span(), bytes.span()].map(ms);
    let mut driver = Nonsense::new(Limits { lame_duck, drain, cut_off, deadline });
    let lag = usize::from(bytes.one() % 4);
    let mut seen = Seen::new();
    let mut before = 0;
    while !bytes.is_over() {
        let what = bytes.one() % 16;
        // Clocks jump, forward and back.
        let now = ms(bytes.span());
        let a = driver.ids[bytes.at() % driver.ids.len()];
        let event = match what {
            0..3 if driver.ids.len() < MOST_SCOPES => {
                let b = driver.ids[bytes.at() % driver.ids.len()];
                driver.open(now, a, &[b, a, b]);
                Event::Tick
            }
            3 | 4 => Event::Stop(a),
            5 => model::graceful(a, bytes.one() % 2 == 0),
            6 | 7 => model::live(a, bytes.one() % 3 == 0),
            8 | 9 => Event::Closed(a),
            10 | 11 => {
                if what == 11 {
                    driver.retire(now, a, true);
                }
                model::left(a)
            }
            12 => Event::CutOff,
            13 => match bytes.one() % 8 {
                0 => Event::Deadline,
                1 => Event::EndsWithin(ms(bytes.span())),
                _ => Event::Tick,
            },
            14 if bytes.one() % 8 == 0 => Event::Force,
            15 => {
                // Of a scope that may be alive: the driver is wrong, or early.
                driver.machine.ended(a);
                Event::Tick
            }
            _ => Event::Tick,
        };
        driver.say(now, event);
        driver.take(if lag == 0 { usize::MAX } else { lag });
        let phase = driver.machine.phase(a) as u32;
        let now = 1 << 31 | u32::from(what) << 3 | phase;
        seen.insert(now | before << 7);
        before = u32::from(what) << 3 | phase;
    }
    driver.run_to_the_end(ms(1 << 50));
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each input that was found to be interesting, once: so the tests say so when one of them
    /// comes to fail.
    #[test]
    fn the_corpus_is_lived() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/machine");
        let inputs = std::fs::read_dir(corpus).expect("there is a corpus");
        let lived = inputs.map(|input| {
            fuzz_one(&std::fs::read(input.expect("it is listed").path()).expect("it is a file"))
        });
        assert!(lived.count() > 50);
    }
}
