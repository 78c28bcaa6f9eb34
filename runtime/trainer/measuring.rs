//! What is measured between steps: the evaluation rows, what is watched beside them, how long nothing became better.

use super::Trainer;
use crate::event::Event;
use crate::fault::Fault;

impl Trainer {
    /// Measures the evaluation rows; is the state the best so far?
    pub(super) fn evaluate(&mut self) -> Result<bool, Fault> {
        let step = self.progress.step;
        if self.evaluated == Some(step) {
            return Ok(false);
        }
        let results = self.crew.evaluate(&*self.plan.stage, self.plan.blueprint.shapes.micro_rows)?;
        let Some((_, judged)) = results.first() else { return Ok(false) };
        self.evaluated = Some(step);
        // What the stage was entered with is what it is compared with, and nothing that it reached.
        let best = step > 0 && judged.loss.is_finite() && self.progress.best.is_none_or(|(loss, _)| judged.loss < loss);
        let mut moved = best;
        if best {
            self.progress.best = Some((judged.loss, step));
        }
        for (index, (set, result)) in results.iter().enumerate() {
            let (set, watched) = (set.clone(), index > 0);
            self.crew.note(Event::Evaluated {
                watched,
                step,
                eval_loss: result.loss,
                bits_per_byte: result.bits_per_byte,
                accuracy: result.accuracy,
                tokens: result.tokens,
                best: best && !watched,
                metrics: result.metrics.iter().cloned().collect(),
                set,
            });
        }
        for (set, result) in &results[1..] {
            moved |= self.watch(set, result.loss);
        }
        if moved {
            self.progress = self.crew.take_over(self.progress.clone())?;
        }
        Ok(best)
    }

    /// Compares a watched set's loss with that of the beginning; was this the beginning?
    pub(super) fn watch(&mut self, set: &str, loss: f64) -> bool {
        let (step, limit, key) = (self.progress.step, self.plan.timing.forgetting, format!("watched.{set}"));
        let Some(&[first]) = self.progress.memory.0.get(&key).map(Vec::as_slice) else {
            self.progress.memory.0.insert(key, vec![loss]);
            return true;
        };
        if limit > 0.0 && loss > first * (1.0 + limit) {
            let grown = 100.0 * (loss / first - 1.0);
            let what = format!(
                "the model forgets: its loss on the {set} text grew by {grown:.1} % since the stage began (the limit \
                 is {:.1} %); a larger replay share or a lower learning rate holds it",
                100.0 * limit
            );
            self.crew.note(Event::Alarm { step, what });
        }
        false
    }

    /// Has the stage gone on for too long without becoming better?
    pub(super) fn impatient(&mut self) -> bool {
        let (patience, every) = (self.plan.timing.patience, self.plan.timing.eval_every);
        let Some((loss, best)) = self.progress.best.filter(|_| patience > 0 && every > 0) else { return false };
        let waited = (self.progress.step - best) / every;
        if waited < patience {
            return false;
        }
        self.why = format!("no evaluation after step {best} was better than its {loss:.4}, {waited} in a row");
        true
    }
}
