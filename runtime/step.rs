//! The training step: the only training loop there is, read top to bottom.
//!
//! [Gather] -> Draw (data) -> Know or Look, Learn (loss, compute) -> Judge (loss) -> Update (optimizer, through it
//! compute) -> Keep (checkpoint) -> Note (journal). Update is the point of no return: what comes before it may be asked
//! again, it itself is applied once per step. Gather is the phase before Draw of an on-policy stage, once for all
//! windows of a round ([`gather`]); what it gives is kept before the first of them is drawn.

use crate::crew::Crew;
use crate::engine::layout::{POLICY, RoleId};
use crate::fault::{Fault, FaultKind};
use crate::progress::Progress;
use crate::stage::{Memory, Round, Settled, Verdict};
use pleach_shaders::spec::Tick;
use std::sync::Arc;

/// What a step did.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Where the run stands after it.
    pub progress: Progress,
    /// What the loss decided.
    pub verdict: Verdict,
    /// Loss of the window in nats per target.
    pub loss: f64,
    /// Norm of the gradient, before clipping.
    pub gradient_norm: f64,
    /// Learning rate used; 0 where nothing was applied.
    pub learning_rate: f64,
    /// Targets in the window.
    pub tokens: u64,
    /// What the objective reports.
    pub metrics: Vec<(String, f64)>,
}

/// Gathers round number `number` from the policy of now. `at_once` prompts are continued at a time, and the numbers
/// under the models `under` are taken of the rows; between these parts `goes_on` may say no, which is a fault of kind
/// `Stopped`. Nothing changes by it.
pub fn gather(
    crew: &Crew,
    number: u64,
    memory: &Memory,
    (under, at_once): (&[RoleId], usize),
    goes_on: &dyn Fn() -> bool,
) -> Result<Settled, Fault> {
    let on = || match goes_on() {
        true => Ok(()),
        false => Err(Fault::new(FaultKind::Stopped, "stopped while a round was gathered")),
    };
    // data: prompts and sampling, a function of the round
    let asked = crew.ask(number)?;
    // compute: completions, each a function of the sampling's seed and its number
    let mut written = Vec::with_capacity(asked.prompts.len());
    for prompts in asked.prompts.chunks(at_once.max(1)) {
        on()?;
        written.extend(crew.generate(written.len(), prompts.to_vec(), asked.sampling.clone(), asked.eos.clone())?);
    }
    let written = Arc::new(written);
    // data, compute: their rows, and what the policy and the models beside it say of them
    let mut windows = crew.rows(number, &written)?;
    for window in &mut windows {
        on()?;
        *window = crew.beside(window, under)?;
    }
    // data: rewards, advantages, alarms
    crew.settle(number, &written, windows, memory)
}

/// One training step from `progress`, in an on-policy stage on a window of `round`.
pub fn step(crew: &Crew, progress: &Progress, round: Option<&Arc<Round>>) -> Result<Report, Fault> {
    let step = progress.step + 1;
    // data: rows, a function of the draw, or of the round and the draw
    let window = match round {
        Some(round) => crew.draw_from(round, progress.draw)?,
        None => crew.draw(progress.draw)?,
    };
    let tokens = window.unmasked() as u64;
    // loss: d loss / d numbers, known beforehand or by the numbers of the policy and of models beside it (compute)
    let (window, derivatives) = match crew.know(&window)? {
        Ok(known) => (window, vec![(POLICY, known)]),
        Err(roles) => {
            let window = crew.beside(&window, &roles)?;
            let derivatives = crew.derive(&window, crew.look(step, &window)?, &progress.memory)?;
            (window, derivatives)
        }
    };
    // compute: forward, loss, backward; the gradient's norm
    let learned = crew.learn(step, &window, derivatives, tick(progress))?;
    // loss: may this gradient reach the weights?
    let judged = crew.judge(step, &window, &learned, &progress.memory)?;
    let norm = learned.gradient_norm;
    let (progress, learning_rate) = match &judged.verdict {
        // optimizer, through it compute: clip, schedule, AdamW; weights, moments, cursor and memory move together
        Verdict::Apply => crew.update(step, norm, tokens, judged.memory)?,
        // optimizer: the cursor and the guard's note move alone
        Verdict::Skip(_) => (crew.skip(step, progress.draw + 1, judged.memory)?, 0.0),
        Verdict::NextRound(_) => {
            let next = round.map_or(progress.draw + 1, |round| round.end());
            (crew.skip(step, next, judged.memory)?, 0.0)
        }
        Verdict::Finish(_) => (progress.clone(), 0.0),
        Verdict::Halt(why) => return Err(Fault::new(FaultKind::Halted, why.clone())),
    };
    let (verdict, loss, mut metrics) = (judged.verdict, judged.loss, judged.metrics);
    metrics.extend(round.iter().flat_map(|round| round.metrics.iter().cloned()));
    Ok(Report { progress, verdict, loss, gradient_norm: norm, learning_rate, tokens, metrics })
}

/// The numbers that noise is keyed by while a window is learned.
fn tick(progress: &Progress) -> Tick {
    Tick {
        step: progress.step as u32 + 1,
        seed_lo: progress.seed as u32,
        seed_hi: (progress.seed >> 32) as u32,
        draw: progress.draw as u32,
        ..Tick::default()
    }
}
