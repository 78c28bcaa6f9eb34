//! Loss: hosts the stage's objective; says what a gradient may do.

use crate::engine::Learned;
use crate::fault::Fault;
use crate::messages::{Judged, LossMessage, LossReply};
use crate::stage::{Loss, Memory, Numbers, Verdict, Window};
use crate::supervise::Behaviour;
use std::sync::Arc;

/// Steps over which the guard knows what is usual.
const GUARD_WINDOW: usize = 128;
/// Steps before which it does not judge.
const GUARD_ARMED: usize = 64;
/// Deviations above the mean that are a spike (OLMo's rule).
const GUARD_SIGMA: f64 = 6.0;
/// A spike is also at least this share above the mean: a very even curve has a tiny deviation.
const GUARD_SHARE: f64 = 0.25;
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
                let known = self.loss.known(&window).expect("an objective of a one-pass stage knows its derivatives");
                Ok(LossReply::Derivatives(Arc::new(known)))
            }
            LossMessage::Judge { step, window, learned, memory } => {
                Ok(LossReply::Judged(Box::new(self.judge(step, &window, &learned, &memory)?)))
            }
            LossMessage::Evaluate { window, numbers } => Ok(evaluate(&window, &numbers)),
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
        let mut memory = evaluated.memory;
        let why = suspicion(step, evaluated.loss, learned.gradient_norm, &memory);
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
            None => {
                remember(&mut memory, "guard.loss", evaluated.loss);
                remember(&mut memory, "guard.norm", learned.gradient_norm);
                Verdict::Apply
            }
        };
        Ok(Judged { verdict, loss: evaluated.loss, metrics: evaluated.metrics, memory })
    }
}

/// Why a gradient should not be used, if so.
fn suspicion(step: u64, loss: f64, norm: f64, memory: &Memory) -> Option<String> {
    if !loss.is_finite() || !norm.is_finite() {
        return Some(format!("step {step}: loss {loss} and gradient norm {norm} are not both finite"));
    }
    for (key, what, value) in [("guard.loss", "loss", loss), ("guard.norm", "gradient norm", norm)] {
        let past = memory.0.get(key).map_or(&[][..], |list| list);
        if past.len() < GUARD_ARMED {
            continue;
        }
        let mean = past.iter().sum::<f64>() / past.len() as f64;
        let variance = past.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / past.len() as f64;
        let limit = mean + (GUARD_SIGMA * variance.sqrt()).max(GUARD_SHARE * mean.abs());
        if value > limit {
            return Some(format!("step {step}: {what} {value:.4} is a spike (usual {mean:.4}, limit {limit:.4})"));
        }
    }
    None
}

fn remember(memory: &mut Memory, key: &str, value: f64) {
    let list = memory.0.entry(key.into()).or_default();
    list.push(value);
    let from = list.len().saturating_sub(GUARD_WINDOW);
    list.drain(..from);
}

/// Sums over the unmasked targets of evaluation rows: negative log-likelihood, weights, and first choices.
fn evaluate(window: &Window, numbers: &Numbers) -> LossReply {
    let (mut sum, mut count, mut hits) = (0.0, 0.0, 0.0);
    for (row, numbers) in window.rows.iter().zip(numbers.chunks(window.context)) {
        for (&weight, number) in row.weights.iter().zip(numbers) {
            if weight != 0.0 {
                sum -= f64::from(weight) * f64::from(number[0]);
                count += f64::from(weight);
                hits += f64::from(weight) * f64::from(number[3]);
            }
        }
    }
    LossReply::Evaluated { sum, count, hits }
}
