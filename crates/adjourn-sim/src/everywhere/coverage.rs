//! What a check covered.

use std::fmt;

/// What was covered: from [`Everywhere::check`](crate::Everywhere::check).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coverage {
    /// Seeds, each with runs of its own.
    pub seeds: u64,
    /// Runs of the program, all together.
    pub runs: u64,
    /// Points at which one stop was injected, of all seeds together.
    pub stops: u64,
    /// How many such points there are: every poll. More than were run when a limit cut.
    pub stops_of: u64,
    /// Pairs at which a stop and a second signal were injected.
    pub pairs: u64,
    /// How many pairs there are, for the stops that were run; more than were run when they were
    /// sampled.
    pub pairs_of: u64,
    /// Runs in which the second signal forced the end.
    pub forced: u64,
    /// Seeds with which the program did not end by itself: what it does after the limit of polls is
    /// not among the points.
    pub cut: u64,
    /// Whether the limit of time came before all points were run.
    pub out_of_time: bool,
    /// Seeds with which two runs without a stop differed: the program depends on something other
    /// than the simulation, and a failure may not come again when it is replayed.
    pub unsteady: u64,
}

impl Coverage {
    /// Returns whether every poll and every pair was covered.
    pub fn is_complete(&self) -> bool {
        self.stops == self.stops_of
            && self.pairs == self.pairs_of
            && self.cut == 0
            && !self.out_of_time
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} runs: stopped at ", self.runs)?;
        sampled(f, self.stops, self.stops_of, "polls")?;
        f.write_str(" and ")?;
        sampled(f, self.pairs, self.pairs_of, "pairs")?;
        if self.seeds > 1 {
            write!(f, ", with {} seeds", self.seeds)?;
        }
        if self.out_of_time {
            f.write_str("; cut short by the limit of time")?;
        }
        if self.cut > 0 {
            write!(f, "; {} not to their end, for the limit of polls", self.cut)?;
        }
        if self.unsteady > 0 {
            write!(f, "; {} not the same when run again", self.unsteady)?;
        }
        Ok(())
    }
}

fn sampled(f: &mut fmt::Formatter<'_>, run: u64, of: u64, what: &str) -> fmt::Result {
    if run >= of {
        return write!(f, "{run} {what}");
    }
    let percent = u128::from(run) * 100 / u128::from(of);
    write!(f, "{run} of {of} {what} ({percent} %, sampled)")
}
