//! Shares with confidence intervals, also where several judgements belong to one prompt.

use serde::Serialize;

/// The quantile of the normal distribution for 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// A share with its interval of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// The mean, from 0 to 1.
    pub share: f64,
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
    /// Judgements.
    pub count: usize,
    /// Prompts that they belong to.
    pub clusters: usize,
}

/// Wilson's interval of 95 % of a share seen in `count` independent judgements; `count` need not be whole.
///
/// Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
pub fn wilson(share: f64, count: f64) -> (f64, f64) {
    let z2 = Z * Z / count;
    let middle = (share + z2 / 2.0) / (1.0 + z2);
    let half = Z / (1.0 + z2) * (share * (1.0 - share) / count + z2 / (4.0 * count)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

/// The share of judgements of 0 to 1 (a half is a tie), each with its cluster; `None` where there is none.
///
/// Judgements of one cluster are not independent: the interval is Wilson's for the effective count n / d, where d is
/// the cluster-robust variance of the mean divided by p (1 - p) / n (Kish's design effect; Korn and Graubard 1998),
/// never below 1. Where all agree the variance tells nothing, and the clusters are counted. Where each cluster has one
/// judgement it is Wilson's interval itself.
pub fn rate(judgements: &[(usize, f64)]) -> Option<Rate> {
    let count = judgements.len();
    if count == 0 {
        return None;
    }
    let share = judgements.iter().map(|(_, value)| value).sum::<f64>() / count as f64;
    let mut residuals = std::collections::BTreeMap::new();
    for (cluster, value) in judgements {
        *residuals.entry(*cluster).or_insert(0.0) += value - share;
    }
    let clusters = residuals.len();
    let simple = share * (1.0 - share) / count as f64;
    let effective = match simple > 0.0 && clusters > 1 {
        _ if clusters == count => count as f64,
        false => clusters as f64,
        true => {
            let squares: f64 = residuals.values().map(|residual: &f64| residual * residual).sum();
            let small = clusters as f64 / (clusters as f64 - 1.0);
            let robust = small * squares / (count as f64 * count as f64);
            count as f64 / (robust / simple).max(1.0)
        }
    };
    let (low, high) = wilson(share, effective);
    Some(Rate { share, low, high, count, clusters })
}
