//! Instruction counts by path and way, the file that keeps them, and what fails beside it.

use std::fmt::Write;

/// Where the baseline is.
pub const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../instructions.toml");

/// How far a count may be from the baseline, as a share of it, either way.
const TOLERANCE: f64 = 0.05;
/// The same for a count so small that a share of it is less than an instruction or two.
const FEW: f64 = 3.0;

/// The ways that are Adjourn's: the others show what the compiler and the peers do.
const OURS: &[&str] = &["free", "typed", "erased", "pinned", "graceful"];

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// The compiler's version.
    pub rustc: String,
    /// Path, way, instructions a turn.
    rows: Vec<(String, String, f64)>,
}

impl Counts {
    /// Adds a count.
    pub fn insert(&mut self, path: &str, way: &str, count: f64) {
        self.rows.push((path.to_owned(), way.to_owned(), count));
    }

    /// Returns the instructions of a turn.
    pub fn count(&self, path: &str, way: &str) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.0 == path && row.1 == way);
        row.map(|row| row.2)
    }

    /// Reads what [`to_toml`](Counts::to_toml) wrote.
    ///
    /// # Errors
    ///
    /// The line that is neither a table's name nor a number under one.
    pub fn from_toml(text: &str) -> Result<Counts, String> {
        let mut counts = Counts::default();
        let mut path = None;
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let unread = || format!("not understood: {line}");
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                path = Some(name);
                continue;
            }
            let (key, value) = line.split_once(" = ").ok_or_else(unread)?;
            match path {
                None if key == "rustc" => value.trim_matches('"').clone_into(&mut counts.rustc),
                None => return Err(unread()),
                Some(path) => {
                    let count = value.parse().map_err(|_| unread())?;
                    counts.insert(path, key.trim_matches('"'), count);
                }
            }
        }
        Ok(counts)
    }

    /// Returns the text of the baseline's file.
    pub fn to_toml(&self) -> String {
        let mut text = String::from(
            "# Instructions a turn, counted by callgrind. Written by ci/instructions.sh --renew.\n",
        );
        _ = writeln!(text, "rustc = \"{}\"", self.rustc);
        let mut last = None;
        for (path, way, count) in &self.rows {
            if last != Some(path) {
                _ = writeln!(text, "\n[{path}]");
                last = Some(path);
            }
            _ = writeln!(text, "\"{way}\" = {count:.0}");
        }
        text
    }

    /// Returns a line for each path of ours that is not as the baseline has it.
    ///
    /// What is expected is the baseline's count, moved by as much as bare Tokio's moved: a count
    /// that a new version of Tokio, of the allocator or of the machine shifts for everybody is no
    /// fault of ours.
    pub fn compare(&self, baseline: &Counts) -> Vec<String> {
        let mut faults = Vec::new();
        for (path, way, count) in &self.rows {
            if !OURS.contains(&way.as_str()) {
                continue;
            }
            let Some(stored) = baseline.count(path, way) else {
                faults.push(format!("{path} ({way}) is not in the baseline"));
                continue;
            };
            let bare = |counts: &Counts| counts.count(path, "bare").unwrap_or(0.0);
            let expected = stored + bare(self) - bare(baseline);
            let off = count - expected;
            if off.abs() > FEW.max(TOLERANCE * expected) {
                let share = 100.0 * off / expected;
                faults.push(format!(
                    "{path} ({way}): {count:.0} instructions, {expected:.0} expected: {share:+.1} %"
                ));
            }
        }
        for (path, way, _) in &baseline.rows {
            if self.count(path, way).is_none() {
                faults.push(format!("{path} ({way}) is in the baseline and was not counted"));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    fn counts(bare: f64, typed: f64) -> Counts {
        let mut counts = Counts { rustc: "rustc 1.0".to_owned(), ..Counts::default() };
        counts.insert("spawn", "bare", bare);
        counts.insert("spawn", "typed", typed);
        counts.insert("poll", "select!", 7.0);
        counts
    }

    #[test]
    fn what_is_written_is_read() {
        let written = counts(700.0, 900.0);
        assert_eq!(Counts::from_toml(&written.to_toml()), Ok(written));
        assert!(Counts::from_toml("spawn = 1").is_err());
        assert!(Counts::from_toml("rustc = \"x\"\n[spawn]\n\"bare\" = many").is_err());
    }

    #[test]
    fn more_than_five_per_cent_either_way_is_a_fault() {
        let baseline = counts(700.0, 900.0);
        for (typed, fails) in [(900.0, 0), (944.0, 0), (946.0, 1), (856.0, 0), (854.0, 1)] {
            let found = counts(700.0, typed).compare(&baseline);
            assert_eq!(found.len(), fails, "{typed}: {found:?}");
        }
    }

    #[test]
    fn what_moves_for_bare_tokio_too_is_none() {
        let baseline = counts(700.0, 900.0);
        assert!(counts(900.0, 1_100.0).compare(&baseline).is_empty());
        assert_eq!(counts(900.0, 900.0).compare(&baseline).len(), 1, "ours lost what bare gained");
    }

    #[test]
    fn what_is_on_one_side_only_is_a_fault() {
        let mut more = counts(700.0, 900.0);
        let baseline = more.clone();
        more.insert("new", "typed", 5.0);
        assert_eq!(more.compare(&baseline).len(), 1);
        assert_eq!(baseline.compare(&more).len(), 1);
    }
}
