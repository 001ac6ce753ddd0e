//! Medians and quartiles.

/// The quartiles of some rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quartiles {
    /// A quarter of the rounds were below.
    pub low: f64,
    /// Half of them.
    pub median: f64,
    /// Three quarters.
    pub high: f64,
}

impl Quartiles {
    /// Returns the quartiles of `values`; of none, all are NaN.
    pub fn of(mut values: Vec<f64>) -> Quartiles {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = values.len().saturating_sub(1) as f64;
            values.get((share * last).round() as usize).copied().unwrap_or(f64::NAN)
        };
        Quartiles { low: at(0.25), median: at(0.5), high: at(0.75) }
    }

    /// Returns the quartiles of what each round took beside the same round of `base`.
    pub fn of_ratios(values: &[f64], base: &[f64]) -> Quartiles {
        Quartiles::of(values.iter().zip(base).map(|(value, base)| value / base).collect())
    }
}

/// Returns the value that 99 of 100 do not exceed.
pub fn percentile_99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() * 99).div_ceil(100).saturating_sub(1);
    values.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::{Quartiles, percentile_99};

    #[test]
    fn quartiles_of_an_unsorted_five() {
        let all = Quartiles::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(all, Quartiles { low: 2.0, median: 3.0, high: 4.0 });
        assert!(Quartiles::of(Vec::new()).median.is_nan());
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let ratios = Quartiles::of_ratios(&[2.0, 20.0, 4.0], &[1.0, 10.0, 1.0]);
        assert_eq!((ratios.low, ratios.median, ratios.high), (2.0, 2.0, 4.0));
    }

    #[test]
    fn one_of_a_hundred_may_exceed_the_percentile() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile_99(values), 198.0);
        assert_eq!(percentile_99(vec![7.0]), 7.0);
    }
}
