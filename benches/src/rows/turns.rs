//! Rounds in which every way has its turn, in another order each time.

use std::future::Future;
use std::time::Instant;

use crate::stats::Quartiles;
use crate::table::{Budget, Row, time};
use crate::way::{Boxed, Way};

/// The ways that are measured beside each other.
pub type Ways = Vec<Box<dyn Way + Send + Sync>>;

/// The rounds of one way, in nanoseconds; none where it cannot do what is measured.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// The way.
    pub way: &'static str,
    /// A value for each round, the same round of every way at the same index.
    pub nanos: Vec<f64>,
}

/// One turn of one way, in nanoseconds.
pub type Round<'a> = Boxed<'a, f64>;

/// Measures `round` in every way, turn by turn, after one turn each that does not count.
pub async fn turns<'a>(
    ways: &'a Ways,
    rounds: usize,
    round: impl Fn(&'a dyn Way) -> Option<Round<'a>>,
) -> Vec<Rounds> {
    let mut all: Vec<Rounds> =
        ways.iter().map(|way| Rounds { way: way.name(), nanos: Vec::new() }).collect();
    let warm = usize::from(rounds > 3); // what takes long is long enough to be warm
    for number in 0..rounds + warm {
        for turn in 0..ways.len() {
            let index = (turn + number) % ways.len();
            let Some(round) = round(&*ways[index]) else { continue };
            let nanos = round.await;
            if number >= warm {
                all[index].nanos.push(nanos);
            }
        }
    }
    all.retain(|rounds| !rounds.nanos.is_empty());
    all
}

/// The same where each turn is a process of its own, which measures `N` things at once. NaN stands for
/// what the way cannot do.
pub fn separate_turns<const N: usize>(
    ways: &[&'static str],
    rounds: usize,
    round: impl Fn(&str) -> Option<[f64; N]>,
) -> [Vec<Rounds>; N] {
    let none = || ways.iter().map(|way| Rounds { way, nanos: Vec::new() }).collect();
    let mut all: [Vec<Rounds>; N] = std::array::from_fn(|_| none());
    for number in 0..rounds {
        for turn in 0..ways.len() {
            let index = (turn + number) % ways.len();
            let Some(figures) = round(ways[index]) else { continue };
            for (all, figure) in all.iter_mut().zip(figures) {
                if !figure.is_nan() {
                    all[index].nanos.push(figure);
                }
            }
        }
    }
    all.iter_mut().for_each(|all| all.retain(|rounds| !rounds.nanos.is_empty()));
    all
}

/// Returns the nanoseconds that a future takes.
pub async fn timed(work: impl Future<Output = ()>) -> f64 {
    let start = Instant::now();
    work.await;
    start.elapsed().as_nanos() as f64
}

/// Makes a row of rounds, beside those of the first way; `units` of work are in each, of which the
/// first way's figure is told for one.
pub fn row(
    title: &str,
    rounds: &[Rounds],
    units: usize,
    budgets: &[(&'static str, Budget)],
) -> Row {
    let (base, others) = rounds.split_first().expect("what the others are measured beside");
    let ratio = |of: &Rounds| (of.way, Quartiles::of_ratios(&of.nanos, &base.nanos));
    Row {
        title: title.to_owned(),
        base: time(Quartiles::of(base.nanos.clone()).median / units as f64),
        ratios: others.iter().map(ratio).collect(),
        budgets: budgets.to_vec(),
    }
}
