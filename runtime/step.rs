//! The training step: the only training loop there is, read top to bottom.
//!
//! Draw (data) -> Know or Look, Learn (loss, compute) -> Judge (loss) -> Update (optimizer, through it compute) -> Keep
//! (checkpoint) -> Note (journal). Update is the point of no return: what comes before it may be asked again, it itself
//! is applied once per step.

use crate::crew::Crew;
use crate::fault::{Fault, FaultKind};
use crate::progress::Progress;
use crate::stage::Verdict;
use pleach_shaders::spec::Tick;

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

/// One training step from `progress`.
pub fn step(crew: &Crew, progress: &Progress) -> Result<Report, Fault> {
    let step = progress.step + 1;
    // data: rows, a function of the draw
    let window = crew.draw(progress.draw)?;
    let tokens = window.unmasked() as u64;
    // loss: d loss / d numbers, known beforehand or by the numbers of the policy and of models beside it (compute)
    let (window, derivatives) = match crew.know(&window)? {
        Ok(known) => (window, known),
        Err(roles) => {
            let window = crew.beside(&window, &roles)?;
            let derivatives = crew.derive(&window, crew.look(step, &window)?, &progress.memory)?;
            (window, derivatives)
        }
    };
    // compute: forward, loss, backward; the gradient's norm
    let learned = crew.learn(step, &window, &derivatives, tick(progress))?;
    // loss: may this gradient reach the weights?
    let judged = crew.judge(step, &window, &learned, &progress.memory)?;
    let norm = learned.gradient_norm;
    let (progress, learning_rate) = match &judged.verdict {
        // optimizer, through it compute: clip, schedule, AdamW; weights, moments, cursor and memory move together
        Verdict::Apply => crew.update(step, norm, tokens, judged.memory)?,
        // optimizer: the cursor and the guard's note move alone
        Verdict::Skip(_) => (crew.skip(step, judged.memory)?, 0.0),
        Verdict::Finish(_) => (progress.clone(), 0.0),
        Verdict::Halt(why) => return Err(Fault::new(FaultKind::Halted, why.clone())),
    };
    let (verdict, loss, metrics) = (judged.verdict, judged.loss, judged.metrics);
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
