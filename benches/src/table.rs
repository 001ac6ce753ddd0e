//! Tables, as Markdown: what the terminal shows and docs/performance.md keeps.

use std::fmt::Write;

use crate::stats::Quartiles;

/// A budget, and what is held against it.
#[derive(Clone, Copy, Debug)]
pub enum Budget {
    /// At the most so many times what the row is measured beside.
    Base(f64),
    /// At the most so many times the best peer of the row.
    Peer(f64),
}

/// One thing measured in several ways.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is measured.
    pub title: String,
    /// The figure of what the others are measured beside, with its unit.
    pub base: String,
    /// For each other way its name and its ratio to that.
    pub ratios: Vec<(&'static str, Quartiles)>,
    /// What columns of ours are held against, by the name of the column.
    pub budgets: Vec<(&'static str, Budget)>,
}

/// Rows over the same executor.
#[derive(Clone, Debug)]
pub struct Ratios {
    /// The executor, or what the rows have in common.
    pub title: String,
    /// The ways, one for each column. The first is what the others are measured beside.
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

    /// Returns the budget of a column in words, and whether it is met. `None` without a figure.
    fn verdict(&self, column: &str, budget: Budget) -> Option<String> {
        let (limit, words) = match budget {
            Budget::Base(limit) => (limit, format!("{limit:.2}x")),
            Budget::Peer(share) => (share * self.best_peer()?, format!("{share:.2}x best peer")),
        };
        let met = if self.ratio(column)?.median <= limit { "met" } else { "**missed**" };
        let column = column.strip_prefix("Adjourn, ").unwrap_or(column);
        Some(format!("{column} {words}: {met}"))
    }
}

impl Ratios {
    /// Makes a table, with no column for a way of which no row has a figure.
    pub fn new(title: String, ways: &[&'static str], rows: Vec<Row>) -> Ratios {
        let (base, others) = ways.split_first().expect("what the others are measured beside");
        let measured = |way: &&&'static str| rows.iter().any(|row| row.ratio(way).is_some());
        let columns = [base].into_iter().chain(others.iter().filter(measured)).copied().collect();
        Ratios { title, columns, rows }
    }

    /// Returns the table; a dash where a way cannot do what the row measures.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("| {} |", self.title);
        for column in &self.columns {
            _ = write!(text, " {column} |");
        }
        _ = writeln!(text, " budget |\n|{}", "---|".repeat(self.columns.len() + 2));
        for row in &self.rows {
            _ = write!(text, "| {} | {} |", row.title, row.base);
            for column in self.columns.iter().skip(1) {
                match row.ratio(column) {
                    Some(Quartiles { low, median, high }) => {
                        _ = write!(text, " {median:.2}x ({low:.2}–{high:.2}) |");
                    }
                    None => text.push_str(" – |"),
                }
            }
            let budgets = row.budgets.iter();
            let verdicts = budgets.filter_map(|(column, budget)| row.verdict(column, *budget));
            _ = writeln!(text, " {} |", verdicts.collect::<Vec<_>>().join("; "));
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
            vec![("Adjourn, typed", all(ours)), ("Adjourn, x", all(0.1)), ("a", a), ("b", b)];
        let row = Row { title: String::new(), base: String::new(), ratios, budgets: Vec::new() };
        row.verdict("Adjourn, typed", budget).expect("there is a figure")
    }

    #[test]
    fn a_budget_is_held_against_the_base_or_the_best_peer() {
        assert_eq!(verdict(1.25, [9.0, 9.0], Budget::Base(1.25)), "typed 1.25x: met");
        assert!(verdict(1.26, [9.0, 9.0], Budget::Base(1.25)).contains("missed"));
        assert!(verdict(1.5, [9.0, 1.5], Budget::Peer(1.0)).contains("met"));
        assert!(verdict(1.6, [9.0, 1.5], Budget::Peer(1.0)).contains("missed"));
    }

    #[test]
    fn a_way_that_cannot_has_a_dash() {
        let row = Row {
            title: "spawn".to_owned(),
            base: "1 ns".to_owned(),
            ratios: vec![("Adjourn", all(2.0))],
            budgets: vec![("Adjourn", Budget::Base(2.0)), ("peer", Budget::Base(2.0))],
        };
        let other = Row { ratios: vec![("peer", all(3.0))], ..row.clone() };
        let ways = ["bare", "Adjourn", "peer", "never"];
        let table = Ratios::new("x".to_owned(), &ways, vec![row, other]);
        let line = "| spawn | 1 ns | 2.00x (2.00–2.00) | – | Adjourn 2.00x: met |";
        assert_eq!(table.columns, ["bare", "Adjourn", "peer"]);
        assert_eq!(table.to_markdown().lines().nth(2), Some(line));
    }

    #[test]
    fn units_follow_the_size() {
        let texts = [12.0, 1_500.0, 2_500_000.0, 3e9].map(time);
        assert_eq!(texts, ["12 ns", "1.5 µs", "2.50 ms", "3.00 s"]);
    }
}
