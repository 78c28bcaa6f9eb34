//! The rounds of an on-policy stage: gathered when the last one is used up, told, and kept before the first of their
//! windows is learned.

use super::Trainer;
use crate::event::Event;
use crate::fault::{Fault, FaultKind};
use crate::stage::{Round, Settled, Verdict};
use crate::step::gather;
use std::sync::Arc;
use std::time::Instant;

impl Trainer {
    /// Sees to the round that the next window is drawn from: gathered, and kept before anything is learned from it.
    /// False where it is not to be learned: it was dropped, or a person wants to stop.
    pub(super) fn gather(&mut self) -> Result<bool, Fault> {
        let Some(recipe) = self.plan.stage.gather() else { return Ok(true) };
        let (draws, under) = (recipe.draws().max(1), recipe.under());
        let number = self.progress.draw / draws;
        if self.round.as_ref().is_some_and(|round| round.number == number) {
            return Ok(true);
        }
        let (began, streams) = (Instant::now(), self.plan.blueprint.shapes.streams);
        let goes_on = || self.control.pass();
        let settled = match gather(&self.crew, number, &self.progress.memory, (&under, streams), &goes_on) {
            Err(fault) if fault.kind == FaultKind::Stopped && self.control.wants_stop() => return Ok(false),
            settled => settled?,
        };
        let step = self.progress.step;
        self.tell(number, draws, &settled, began);
        let Settled { windows, metrics, memory, verdict, .. } = settled;
        let round = Arc::new(Round { number, draws, windows, metrics });
        match verdict {
            Verdict::Halt(why) => return Err(Fault::new(FaultKind::Halted, why)),
            Verdict::Skip(why) | Verdict::NextRound(why) => {
                let progress = self.crew.skip(step + 1, round.end(), memory)?;
                self.crew.note(Event::Skipped { step: step + 1, draw: self.progress.draw, why });
                self.progress = progress;
                return Ok(false);
            }
            Verdict::Apply | Verdict::Finish(_) => {}
        }
        self.progress.memory = memory;
        self.progress = self.crew.take_over(self.progress.clone())?;
        self.round = Some(round);
        // A round of one window is nothing to go on in the midst of: memory is enough.
        if draws > 1 {
            self.save(false, false)?
        } else {
            self.keep()?
        }
        Ok(true)
    }

    /// What people hear of a round: its numbers, what is not as it should be, a few completions.
    fn tell(&self, round: u64, draws: u64, settled: &Settled, began: Instant) {
        let step = self.progress.step;
        self.crew.note(Event::Gathered {
            step,
            round,
            windows: draws,
            completions: settled.windows.iter().map(|window| window.rows.len() as u64).sum(),
            seconds: began.elapsed().as_secs_f64(),
            metrics: settled.metrics.iter().cloned().collect(),
        });
        let then = match settled.verdict {
            Verdict::Apply | Verdict::Finish(_) => "it is learned all the same",
            Verdict::Skip(_) | Verdict::NextRound(_) => "the round is dropped",
            Verdict::Halt(_) => "the run halts",
        };
        for what in settled.alarms.clone() {
            self.crew.note(Event::Trouble { what, then: then.into() });
        }
        for (prompt, text) in settled.shown.clone() {
            self.crew.note(Event::Sample { step, prompt, text });
        }
    }
}
