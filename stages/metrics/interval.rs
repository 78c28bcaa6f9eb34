//! How far a mean of a sample may be from the truth: 95 % intervals.

use std::collections::BTreeMap;

/// The 97.5 % point of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// A mean with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// What it is over.
    pub count: u64,
    /// Independent groups among them, such as prompts.
    pub clusters: u64,
}

/// Wilson's score interval of a share (Wilson 1927): the shares p for which the seen share is within z standard errors
/// sqrt(p (1 - p) / n). `successes` may be a sum of parts, as where ties count half.
pub fn wilson(successes: f64, count: f64) -> (f64, f64) {
    if count <= 0.0 {
        return (0.0, 1.0);
    }
    let p = successes / count;
    let z2 = Z * Z / count;
    let middle = (p + z2 / 2.0) / (1.0 + z2);
    let half = (z2 * p * (1.0 - p) + z2 * z2 / 4.0).sqrt() / (1.0 + z2);
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

/// The mean of values in 0 to 1 whose groups (by key) are drawn together, with Wilson's interval at the effective
/// number of observations: n* = p (1 - p) / SE^2 with the cluster-robust SE = sqrt(sum over groups of (sum of the
/// group's deviations)^2) / n (Miller 2024, "Adding error bars to evals"), at most n; the number of groups where the
/// deviations of every group cancel. Each value in a group of its own gives Wilson's interval.
pub fn clustered(values: &[(u64, f64)]) -> Interval {
    let count = values.len() as u64;
    if count == 0 {
        return Interval { mean: 0.0, low: 0.0, high: 1.0, count, clusters: 0 };
    }
    let n = count as f64;
    let mean = values.iter().map(|(_, value)| value).sum::<f64>() / n;
    // In the order of the keys, so that the same values give the same bits.
    let mut groups: BTreeMap<u64, f64> = BTreeMap::new();
    values.iter().for_each(|(key, value)| *groups.entry(*key).or_default() += value - mean);
    let clusters = groups.len() as u64;
    let variance = groups.values().map(|sum| sum * sum).sum::<f64>() / (n * n);
    let spread = mean * (1.0 - mean);
    // Sums of deviations that cancel leave rounding.
    let effective = if spread <= 0.0 || variance < 1e-24 { clusters as f64 } else { (spread / variance).min(n) };
    let (low, high) = wilson(mean * effective, effective);
    Interval { mean, low, high, count, clusters }
}
