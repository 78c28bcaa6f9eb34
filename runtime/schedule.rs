//! The learning rate of each step: warm-up, then constant, cosine, linear, or warm-up-stable-decay.

use serde::{Deserialize, Serialize};

/// How the rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// It does not.
    Constant,
    /// Half a cosine down to the floor.
    Cosine,
    /// A straight line down to the floor.
    Linear,
    /// A plateau, then a straight line over the last share of the steps (warm-up, stable, decay).
    Wsd {
        /// The last share of all steps, in (0, 1].
        share: f64,
    },
}

/// A learning-rate schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The peak.
    pub learning_rate: f64,
    /// The floor, as a share of the peak, in [0, 1].
    pub floor: f64,
    /// Steps of linear warm-up; step s of W runs at s / (W + 1) of the peak (nanoGPT), so no step is wasted at 0.
    pub warmup: u64,
    /// All steps.
    pub steps: u64,
    /// What follows the warm-up.
    pub decay: Decay,
}

impl Schedule {
    /// The rate of optimizer step `step`, counted from 1.
    pub fn rate(&self, step: u64) -> f64 {
        let done = step.saturating_sub(1);
        if done < self.warmup {
            return self.learning_rate * step as f64 / (self.warmup + 1) as f64;
        }
        let span = self.steps.saturating_sub(self.warmup).max(1) as f64;
        let progress = ((done - self.warmup) as f64 / span).min(1.0);
        let factor = match self.decay {
            Decay::Constant => 1.0,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Decay::Linear => 1.0 - progress,
            Decay::Wsd { share } => {
                let from = (1.0 - share * self.steps as f64 / span).max(0.0);
                if progress < from { 1.0 } else { 1.0 - (progress - from) / (1.0 - from).max(1e-12) }
            }
        };
        self.learning_rate * (self.floor + (1.0 - self.floor) * factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_follows_nanogpt() {
        let schedule = Schedule { learning_rate: 1e-3, floor: 0.1, warmup: 100, steps: 2000, decay: Decay::Cosine };
        assert!((schedule.rate(1) - 1e-3 / 101.0).abs() < 1e-12);
        assert!((schedule.rate(101) - 1e-3).abs() < 1e-12);
        let middle = 1e-4 + 0.5 * (1.0 + (std::f64::consts::PI * 0.5).cos()) * 9e-4;
        assert!((schedule.rate(1051) - middle).abs() < 1e-12);
        assert!((schedule.rate(2001) - 1e-4).abs() < 1e-12);
    }

    #[test]
    fn wsd_stays_and_then_falls() {
        let schedule =
            Schedule { learning_rate: 1.0, floor: 0.0, warmup: 10, steps: 110, decay: Decay::Wsd { share: 0.2 } };
        assert_eq!(schedule.rate(11), 1.0);
        assert_eq!(schedule.rate(88), 1.0);
        assert!(schedule.rate(100) < 0.6 && schedule.rate(100) > 0.4);
        assert!(schedule.rate(110) < 0.06);
    }
}
