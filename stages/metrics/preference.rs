//! Scores of better and worse answers: accuracy, margin, calibration, win rate.

use super::interval::{Interval, clustered};

/// Bars of the calibration: confidences from 0.5 to 1.
const BARS: usize = 10;

/// A better and a worse answer's score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Key of the prompt; pairs of one prompt are not independent.
    pub prompt: u64,
    /// The better answer's.
    pub chosen: f64,
    /// The worse answer's.
    pub rejected: f64,
}

/// One bar of a calibration.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Bar {
    /// Pairs in it.
    pub count: u64,
    /// Mean confidence of the model in the answer that it prefers.
    pub confidence: f64,
    /// How often that answer is the better one.
    pub accuracy: f64,
}

/// How a scorer does on pairs.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Preferred {
    /// Share of the pairs whose better answer scores higher, ties half, with an interval clustered by prompt.
    pub accuracy: Interval,
    /// Pairs with two equal scores.
    pub ties: u64,
    /// Mean of chosen - rejected.
    pub margin: f64,
    /// Mean of -ln sigmoid(chosen - rejected): the pairwise loss; 0.6931 for a scorer that knows nothing.
    pub loss: f64,
    /// Expected calibration error.
    pub calibration_error: f64,
    /// The bars behind it, of the confidences 0.5 to 1.
    pub bars: Vec<Bar>,
}

/// Accuracy, margin and calibration of pairs. Scores are taken as Bradley and Terry's: the model believes with
/// sigmoid(|chosen - rejected|) in the answer that it prefers. The expected calibration error is the mean over the
/// pairs of |accuracy - confidence| of their bar, of ten equal ones from 0.5 to 1 (Guo et al. 2017).
pub fn preferred(pairs: &[Scored]) -> Preferred {
    let n = pairs.len().max(1) as f64;
    let mean = |value: &dyn Fn(&Scored) -> f64| pairs.iter().map(value).sum::<f64>() / n;
    let mut bars = vec![Bar::default(); BARS];
    for pair in pairs {
        let margin = pair.chosen - pair.rejected;
        let confidence = sigmoid(margin.abs());
        let bar = (((confidence - 0.5) * 2.0 * BARS as f64) as usize).min(BARS - 1);
        bars[bar].count += 1;
        bars[bar].confidence += confidence;
        bars[bar].accuracy += win(pair.chosen, pair.rejected);
    }
    let error: f64 = bars.iter().map(|bar| (bar.accuracy - bar.confidence).abs()).sum();
    for bar in bars.iter_mut().filter(|bar| bar.count > 0) {
        bar.confidence /= bar.count as f64;
        bar.accuracy /= bar.count as f64;
    }
    Preferred {
        accuracy: accuracy(pairs),
        ties: pairs.iter().filter(|pair| pair.chosen == pair.rejected).count() as u64,
        margin: mean(&|pair| pair.chosen - pair.rejected),
        loss: mean(&|pair| softplus(pair.rejected - pair.chosen)),
        calibration_error: error / n,
        bars,
    }
}

/// Share of the pairs whose better answer scores higher, ties half.
pub fn accuracy(pairs: &[Scored]) -> Interval {
    let values: Vec<(u64, f64)> = pairs.iter().map(|pair| (pair.prompt, win(pair.chosen, pair.rejected))).collect();
    clustered(&values)
}

/// How often the first model's answer scores higher than the second one's, ties half: (prompt's key, first, second).
pub fn win_rate(scores: &[(u64, f64, f64)]) -> Interval {
    clustered(&scores.iter().map(|&(prompt, first, second)| (prompt, win(first, second))).collect::<Vec<_>>())
}

/// 1 for a win, 0 for a defeat, a half for a tie.
fn win(first: f64, second: f64) -> f64 {
    match first.partial_cmp(&second) {
        Some(std::cmp::Ordering::Greater) => 1.0,
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 0.0,
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// ln(1 + e^x), without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
