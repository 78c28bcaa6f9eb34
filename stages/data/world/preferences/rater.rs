//! A simulated rater, which says that it is one: it ranks by the gold score, and errs.

use super::{Flag, Prompt};
use crate::data::random::Dice;

/// The share of unequal pairs that the simulated rater puts the wrong way round, in the mean.
pub const NOISE: f64 = 0.1;

/// Gold scores nearer than this are equal: what no person would tell apart.
const EQUAL: f64 = 0.005;

/// Steps of bisection for the noise: each halves an interval of 1.
const STEPS: usize = 50;

/// What a rater made of some answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// For each answer its rank: 0 is the best, and equal answers share a rank.
    pub ranks: Vec<usize>,
    /// For each answer what is wrong with it.
    pub flags: Vec<Vec<Flag>>,
    /// Who ranked: that it was no person, and its noise.
    pub rater: String,
}

/// Ranks answers by their gold scores with noise. It is no person, and its rankings say so.
///
/// Answers of equal gold score are ties, always. The different scores are put in order by the Mallows model: an order
/// with d pairs the wrong way round has a probability proportional to x^d, with x such that in the mean the share
/// [`NOISE`] of all pairs of scores is wrong, however many there are. A reward model that knew the gold score would
/// therefore agree with 90 % of the untied pairs: this is the ceiling. Flags are never wrong.
#[derive(Clone, Debug)]
pub struct SimulatedRater {
    seed: u64,
    noise: f64,
}

impl SimulatedRater {
    /// The rater of a seed with the noise of [`NOISE`].
    pub fn new(seed: u64) -> SimulatedRater {
        SimulatedRater::with_noise(seed, NOISE)
    }

    /// A rater with another noise: from 0 (the gold score itself) to 0.5 (dice).
    pub fn with_noise(seed: u64, noise: f64) -> SimulatedRater {
        assert!((0.0..=0.5).contains(&noise), "a noise of {noise} is no share of pairs between 0 and a half");
        SimulatedRater { seed, noise }
    }

    /// What rankings call it: "simulated rater (10 % noise, seed 1), not a person".
    pub fn name(&self) -> String {
        format!("simulated rater ({:.0} % noise, seed {}), not a person", self.noise * 100.0, self.seed)
    }

    /// The share of untied pairs on which a perfect judge agrees with this rater, in the mean.
    pub fn ceiling(&self) -> f64 {
        1.0 - self.noise
    }

    /// Ranks answers to a prompt; `number` tells one ranking of the seed from another.
    pub fn rank(&self, prompt: &Prompt, answers: &[String], number: u64) -> Ranking {
        let golds: Vec<_> = answers.iter().map(|answer| prompt.gold(answer)).collect();
        let scores: Vec<f64> = golds.iter().map(|gold| gold.overall()).collect();
        Ranking {
            ranks: self.order(&scores, &mut Dice::new(self.seed, number)),
            flags: golds.iter().map(|gold| gold.flags()).collect(),
            rater: self.name(),
        }
    }

    /// Ranks by scores, the highest first, with the rater's noise.
    pub fn order(&self, scores: &[f64], dice: &mut Dice) -> Vec<usize> {
        let mut levels: Vec<f64> = scores.to_vec();
        levels.sort_by(|left, right| right.total_cmp(left));
        levels.dedup_by(|lower, higher| *higher - *lower < EQUAL);
        let spread = spread(levels.len(), self.noise);
        // Repeated insertion: level i passes d of those before it with probability proportional to spread^d.
        let mut order: Vec<usize> = Vec::with_capacity(levels.len());
        for level in 0..levels.len() {
            let weights: Vec<f64> = (0..=level).map(|passed| spread.powi(passed as i32)).collect();
            let mut throw = unit(dice) * weights.iter().sum::<f64>();
            let mut passed = 0;
            while passed < level && throw >= weights[passed] {
                throw -= weights[passed];
                passed += 1;
            }
            order.insert(level - passed, level);
        }
        let level_of = |score: &f64| {
            let below = |level: &&f64| **level - *score >= EQUAL;
            levels.iter().filter(below).count().min(levels.len() - 1)
        };
        let place = |score: &f64| order.iter().position(|level| *level == level_of(score)).unwrap_or(0);
        scores.iter().map(place).collect()
    }
}

/// A number in [0, 1) of 53 random bits.
fn unit(dice: &mut Dice) -> f64 {
    (dice.word() >> 11) as f64 / (1u64 << 53) as f64
}

/// The x of the Mallows model of `count` items whose mean share of wrong pairs is `noise`; by bisection, because the
/// share grows with x.
fn spread(count: usize, noise: f64) -> f64 {
    let pairs = (count * count.saturating_sub(1) / 2) as f64;
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..STEPS {
        let middle = (low + high) / 2.0;
        if wrong_pairs(count, middle) < noise * pairs { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// The mean number of wrong pairs: each inserted item passes d others with probability proportional to x^d.
fn wrong_pairs(count: usize, x: f64) -> f64 {
    let passes = |before: usize| {
        let weights = (0..=before).map(|passed| x.powi(passed as i32));
        let (sum, mean) =
            weights.enumerate().fold((0.0, 0.0), |(sum, mean), (passed, w)| (sum + w, mean + passed as f64 * w));
        mean / sum
    };
    (0..count).map(passes).sum()
}
