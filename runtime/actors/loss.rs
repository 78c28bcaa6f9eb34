//! Loss: hosts the stage's objective; says what a gradient may do.

use crate::engine::Learned;
use crate::engine::layout::POLICY;
use crate::fault::Fault;
use crate::messages::{Judged, LossMessage, LossReply};
use crate::stage::{Loss, Memory, Verdict, Window};
use crate::supervise::Behaviour;
use std::sync::Arc;

/// Steps over which the guard knows what is usual.
const GUARD_WINDOW: usize = 128;
/// Steps before which it does not judge.
const GUARD_ARMED: usize = 64;
/// Deviations above the mean that are a spike (OLMo's rule).
const GUARD_SIGMA: f64 = 6.0;
/// A spike is also above the mean by at least this share: a very even curve has a tiny deviation. Clipping bounds what
/// a
/// gradient can do, and the norms of small windows have long tails, so the norm has more room than the loss.
const GUARD_SHARES: [(&str, &str, f64); 2] = [("guard.loss", "loss", 0.5), ("guard.norm", "gradient norm", 9.0)];
/// Skips among the last [`HALT_AMONG`] windows that halt the run.
const HALT_SKIPS: usize = 3;
/// See [`HALT_SKIPS`].
const HALT_AMONG: usize = 20;

/// The loss actor's inside: the objective and the guard. It holds no state; what is remembered travels in [`Memory`].
pub struct LossActor {
    loss: Box<dyn Loss>,
}

impl Behaviour for LossActor {
    type Message = LossMessage;
    type Reply = LossReply;

    fn handle(&mut self, message: LossMessage) -> Result<LossReply, Fault> {
        match message {
            LossMessage::Know { window } => {
                Ok(LossReply::Known(self.loss.known(&window).map(Arc::new).ok_or_else(|| self.loss.beside())))
            }
            LossMessage::Derive { window, numbers, memory } => {
                let evaluated = self.loss.evaluate(&window, &numbers, &memory)?;
                let beside = evaluated.beside.into_iter().map(|(role, numbers)| (role, Arc::new(numbers)));
                let policy = (POLICY, Arc::new(evaluated.derivatives));
                Ok(LossReply::Derivatives(std::iter::once(policy).chain(beside).collect()))
            }
            LossMessage::Judge { step, window, learned, memory } => {
                Ok(LossReply::Judged(Box::new(self.judge(step, &window, &learned, &memory)?)))
            }
            LossMessage::Evaluate { window, numbers } => {
                Ok(LossReply::Evaluated(Box::new(self.loss.measure(&window, &numbers)?)))
            }
            LossMessage::Report { total } => Ok(LossReply::Reported(self.loss.report(&total))),
        }
    }
}

impl LossActor {
    /// Around an objective.
    pub fn new(loss: Box<dyn Loss>) -> LossActor {
        LossActor { loss }
    }

    fn judge(&self, step: u64, window: &Window, learned: &Learned, memory: &Memory) -> Result<Judged, Fault> {
        let evaluated = self.loss.evaluate(window, &learned.numbers, memory)?;
        let why = suspicion(step, evaluated.loss, learned.gradient_norm, memory);
        let own = self.loss.verdict(&evaluated);
        // The objective remembers applied updates only; the guard remembers skips too, or it could never halt.
        let applies = why.is_none() && own == Verdict::Apply;
        let mut memory = if applies { evaluated.memory } else { memory.clone() };
        let skips = memory.0.entry("guard.skips".into()).or_default();
        skips.push(f64::from(u8::from(why.is_some())));
        let from = skips.len().saturating_sub(HALT_AMONG);
        skips.drain(..from);
        let count = skips.iter().filter(|&&skip| skip == 1.0).count();
        let verdict = match why {
            Some(why) if count >= HALT_SKIPS => {
                Verdict::Halt(format!("{count} of the last {} windows gave no usable gradient: {why}", skips.len()))
            }
            Some(why) => Verdict::Skip(why),
            None => own,
        };
        remember(&mut memory, "guard.loss", evaluated.loss);
        remember(&mut memory, "guard.norm", learned.gradient_norm);
        Ok(Judged { verdict, loss: evaluated.loss, metrics: evaluated.metrics, memory })
    }
}

/// Why a gradient should not be used, if so.
fn suspicion(step: u64, loss: f64, norm: f64, memory: &Memory) -> Option<String> {
    if !loss.is_finite() || !norm.is_finite() {
        return Some(format!("step {step}: loss {loss} and gradient norm {norm} are not both finite"));
    }
    for ((key, what, _), value) in GUARD_SHARES.into_iter().zip([loss, norm]) {
        let Some((mean, limit)) = usual(key, memory) else { continue };
        if value > limit {
            return Some(format!("step {step}: {what} {value:.4} is a spike (usual {mean:.4}, limit {limit:.4})"));
        }
    }
    None
}

/// Mean and limit of what is remembered under a key, once the guard is armed.
fn usual(key: &str, memory: &Memory) -> Option<(f64, f64)> {
    let past = memory.0.get(key).filter(|past| past.len() >= GUARD_ARMED)?;
    let (_, _, share) = GUARD_SHARES.into_iter().find(|(known, ..)| *known == key)?;
    let mean = past.iter().sum::<f64>() / past.len() as f64;
    let variance = past.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / past.len() as f64;
    Some((mean, mean + (GUARD_SIGMA * variance.sqrt()).max(share * mean.abs())))
}

/// A value joins what is usual, a spike only up to the limit: so a lasting change becomes usual in the end.
fn remember(memory: &mut Memory, key: &str, value: f64) {
    if !value.is_finite() {
        return;
    }
    let value = usual(key, memory).map_or(value, |(_, limit)| value.min(limit));
    let list = memory.0.entry(key.into()).or_default();
    list.push(value);
    let from = list.len().saturating_sub(GUARD_WINDOW);
    list.drain(..from);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::stage::{Evaluated, Measured, Numbers, Row};

    /// An objective that counts its steps and whose loss is the first number.
    struct Counting;

    impl Loss for Counting {
        fn known(&self, _: &Window) -> Option<Numbers> {
            None
        }
        fn evaluate(&self, _: &Window, numbers: &Numbers, memory: &Memory) -> Result<Evaluated, Fault> {
            let mut memory = memory.clone();
            memory.0.entry("steps".into()).or_insert(vec![0.0])[0] += 1.0;
            let loss = f64::from(numbers[0][0]);
            Ok(Evaluated { loss, derivatives: Numbers::new(), metrics: Vec::new(), memory, beside: Vec::new() })
        }
    }

    fn judge(loss: f32, memory: &Memory) -> Judged {
        let row = Row { tokens: vec![0, 0], weights: vec![1.0], segments: vec![0], key: 0 };
        let window = Window::new(1, vec![row]);
        let learned = Learned { numbers: vec![[loss, 0.0, 0.0, 0.0]], gradient_norm: 1.0 };
        LossActor::new(Box::new(Counting)).judge(1, &window, &learned, memory).unwrap()
    }

    #[test]
    fn the_third_skip_among_twenty_halts_and_skips_leave_the_objective_alone() {
        let mut memory = Memory::default();
        for (loss, steps) in [(1.0, 1.0), (f32::NAN, 1.0), (1.0, 2.0), (f32::INFINITY, 2.0), (1.0, 3.0)] {
            let judged = judge(loss, &memory);
            assert_eq!(judged.verdict == Verdict::Apply, loss == 1.0, "{:?}", judged.verdict);
            assert!(!matches!(judged.verdict, Verdict::Halt(_)));
            memory = judged.memory;
            assert_eq!(memory.0["steps"], [steps]);
        }
        assert!(matches!(judge(f32::NAN, &memory).verdict, Verdict::Halt(_)));
    }

    #[test]
    fn rows_of_any_length_are_evaluated_by_their_own_numbers() {
        let row = |weights: &[f32]| {
            let n = weights.len();
            Row { tokens: vec![0; n + 1], weights: weights.to_vec(), segments: vec![0; n], key: 0 }
        };
        let window = Window::new(3, vec![row(&[1.0]), row(&[1.0, 0.0, 1.0]), row(&[0.0, 1.0])]);
        let numbers = (1..=6u8).map(|i| [-f32::from(i), 0.0, 0.0, f32::from(i % 2)]).collect();
        let found = Measured::targets(&window, &numbers);
        assert_eq!((found.sum, found.count, found.hits), (1.0 + 2.0 + 4.0 + 6.0, 4.0, 1.0));
    }

    #[test]
    fn a_spike_is_skipped_once_the_guard_knows_what_is_usual() {
        let mut memory = Memory::default();
        assert_eq!(judge(100.0, &memory).verdict, Verdict::Apply);
        for _ in 0..GUARD_ARMED {
            memory = judge(2.0, &memory).memory;
        }
        assert_eq!(judge(2.4, &memory).verdict, Verdict::Apply);
        assert!(matches!(judge(4.0, &memory).verdict, Verdict::Skip(_)));
    }
}
