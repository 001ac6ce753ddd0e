//! Tables, as Markdown: what the terminal shows and docs/performance.md keeps.

use std::fmt::Write;

use crate::stats::Quartiles;

/// A budget, and what is held against it.
#[derive(Clone, Copy, Debug)]
pub enum Budget {
    /// At the most so many times the bare executor.
    Bare(f64),
    /// At the most so many times the best peer of the row.
    Peer(f64),
}

/// One thing measured in several ways.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is measured.
    pub title: String,
    /// The bare executor's own figure, with its unit.
    pub bare: String,
    /// For each way but the bare one its name and its ratio to it.
    pub ratios: Vec<(&'static str, Quartiles)>,
    /// What ours is held against.
    pub budget: Option<Budget>,
}

/// Rows over the same executor.
#[derive(Clone, Debug)]
pub struct Ratios {
    /// The executor.
    pub title: String,
    /// The ways, the columns after the bare one; the first is ours.
    pub columns: Vec<&'static str>,
    /// What was measured.
    pub rows: Vec<Row>,
}

impl Row {
    fn ratio(&self, column: &str) -> Option<Quartiles> {
        self.ratios.iter().find(|(name, _)| *name == column).map(|(_, ratio)| *ratio)
    }

    fn best_peer(&self) -> Option<f64> {
        let peers = self.ratios.iter().filter(|(name, _)| !name.starts_with("Adjourn"));
        peers.map(|(_, ratio)| ratio.median).min_by(f64::total_cmp)
    }

    /// Returns the budget in words, and whether it is met.
    fn verdict(&self, ours: &str) -> String {
        let (Some(budget), Some(ratio)) = (self.budget, self.ratio(ours)) else {
            return String::new();
        };
        let (limit, words) = match budget {
            Budget::Bare(limit) => (Some(limit), format!("{limit:.2}x bare")),
            Budget::Peer(share) => {
                (self.best_peer().map(|best| share * best), format!("{share:.2}x best peer"))
            }
        };
        match limit {
            Some(limit) if ratio.median <= limit => format!("{words}: met"),
            Some(_) => format!("{words}: **missed**"),
            None => String::new(),
        }
    }
}

impl Ratios {
    /// Returns the table; a dash where a way cannot do what the row measures.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("| {} | bare |", self.title);
        let mut rule = "|---|---|".to_owned();
        for column in &self.columns {
            _ = write!(text, " {column} |");
            rule.push_str("---|");
        }
        _ = writeln!(text, " budget |\n{rule}---|");
        for row in &self.rows {
            _ = write!(text, "| {} | {} |", row.title, row.bare);
            for column in &self.columns {
                match row.ratio(column) {
                    Some(Quartiles { low, median, high }) => {
                        _ = write!(text, " {median:.2}x ({low:.2}–{high:.2}) |");
                    }
                    None => text.push_str(" – |"),
                }
            }
            let ours = self.columns.first().copied().unwrap_or_default();
            _ = writeln!(text, " {} |", row.verdict(ours));
        }
        text
    }
}

/// Returns a table of text cells, the first line its head.
pub fn plain(lines: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        _ = writeln!(text, "| {} |", line.join(" | "));
        if index == 0 {
            _ = writeln!(text, "|{}", "---|".repeat(line.len()));
        }
    }
    text
}

/// Returns a time in the unit that shows it best, from nanoseconds.
pub fn time(nanos: f64) -> String {
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.1} µs", n / 1e3),
        n if n < 1e9 => format!("{:.2} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Ratios, Row, time};
    use crate::stats::Quartiles;

    fn all(ratio: f64) -> Quartiles {
        Quartiles { low: ratio, median: ratio, high: ratio }
    }

    fn verdict(ours: f64, peers: [f64; 2], budget: Budget) -> String {
        let [a, b] = peers.map(all);
        let ratios =
            vec![("Adjourn", all(ours)), ("Adjourn, erased", all(0.1)), ("a", a), ("b", b)];
        let row = Row { title: String::new(), bare: String::new(), ratios, budget: Some(budget) };
        row.verdict("Adjourn")
    }

    #[test]
    fn a_budget_is_held_against_bare_or_the_best_peer() {
        assert_eq!(verdict(1.25, [9.0, 9.0], Budget::Bare(1.25)), "1.25x bare: met");
        assert!(verdict(1.26, [9.0, 9.0], Budget::Bare(1.25)).contains("missed"));
        assert!(verdict(1.5, [9.0, 1.5], Budget::Peer(1.0)).contains("met"));
        assert!(verdict(1.6, [9.0, 1.5], Budget::Peer(1.0)).contains("missed"));
    }

    #[test]
    fn a_way_that_cannot_has_a_dash() {
        let row = Row {
            title: "spawn".to_owned(),
            bare: "1 ns".to_owned(),
            ratios: vec![("Adjourn", all(2.0))],
            budget: None,
        };
        let table =
            Ratios { title: "x".to_owned(), columns: vec!["Adjourn", "peer"], rows: vec![row] };
        let line = "| spawn | 1 ns | 2.00x (2.00–2.00) | – |  |";
        assert_eq!(table.to_markdown().lines().nth(2), Some(line));
    }

    #[test]
    fn units_follow_the_size() {
        let texts = [12.0, 1_500.0, 2_500_000.0, 3e9].map(time);
        assert_eq!(texts, ["12 ns", "1.5 µs", "2.50 ms", "3.00 s"]);
    }
}
