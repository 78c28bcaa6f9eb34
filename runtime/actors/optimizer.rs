//! Optimizer: schedule, clipping, bookkeeping; asks compute to apply, then moves the cursor with the weights.

use crate::fault::{Fault, FaultKind};
use crate::messages::{ComputeMessage, OptimizerMessage, OptimizerReply};
use crate::progress::Progress;
use crate::schedule::Schedule;
use crate::stage::Memory;
use crate::supervise::Behaviour;
use pleach_shaders::spec::Tick;

/// What the optimizer needs to know of the stage.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerConfig {
    /// Learning rate by step.
    pub schedule: Schedule,
    /// First moment's decay.
    pub beta1: f64,
    /// Second moment's decay.
    pub beta2: f64,
    /// Largest global norm of the gradient; 0 = no clipping.
    pub clip: f64,
}

/// Sends a message to compute and waits.
pub type AskCompute = Box<dyn FnMut(ComputeMessage) -> Result<(), Fault> + Send>;

/// The optimizer actor's inside. The moments themselves are buffers of compute's.
pub struct OptimizerActor {
    config: Option<OptimizerConfig>,
    compute: AskCompute,
    progress: Option<Progress>,
}

impl Behaviour for OptimizerActor {
    type Message = OptimizerMessage;
    type Reply = OptimizerReply;

    fn handle(&mut self, message: OptimizerMessage) -> Result<OptimizerReply, Fault> {
        match message {
            OptimizerMessage::Begin(config) => {
                (self.config, self.progress) = (Some(*config), None);
                Ok(OptimizerReply::Begun)
            }
            OptimizerMessage::Restore(progress) => {
                self.progress = Some(*progress.clone());
                Ok(OptimizerReply::Progress(progress))
            }
            OptimizerMessage::Update { step, gradient_norm, tokens, memory } => {
                self.update(step, gradient_norm, tokens, memory)
            }
            OptimizerMessage::Skip { step, next, memory } => {
                let progress = self.expect(step)?;
                progress.draw = next;
                progress.skipped += 1;
                progress.memory = memory;
                let progress = Box::new(progress.clone());
                Ok(OptimizerReply::Updated { progress, learning_rate: 0.0, clip: 0.0 })
            }
        }
    }
}

impl OptimizerActor {
    /// Without a stage until `Begin`, without progress until `Restore`.
    pub fn new(compute: AskCompute) -> OptimizerActor {
        OptimizerActor { config: None, compute, progress: None }
    }

    fn update(&mut self, step: u64, norm: f64, tokens: u64, memory: Memory) -> Result<OptimizerReply, Fault> {
        let Some(config) = &self.config else {
            return Err(Fault::new(FaultKind::Actor, "the optimizer was asked before a stage began"));
        };
        let (beta1, beta2) = (config.beta1, config.beta2);
        let learning_rate = config.schedule.rate(step);
        let clip = clip_factor(config.clip, norm);
        let progress = self.expect(step)?;
        let t = i32::try_from(step).unwrap_or(i32::MAX);
        let seed = progress.seed;
        let draw = progress.draw;
        let tick = Tick {
            step: step as u32,
            seed_lo: seed as u32,
            seed_hi: (seed >> 32) as u32,
            draw: draw as u32,
            learning_rate: learning_rate as f32,
            bias1: (1.0 - beta1.powi(t)) as f32,
            bias2: (1.0 - beta2.powi(t)) as f32,
            clip: clip as f32,
            ..Tick::default()
        };
        (self.compute)(ComputeMessage::Apply { step, tick })?;
        let progress = self.expect(step)?;
        progress.step = step;
        progress.draw += 1;
        progress.tokens += tokens;
        progress.memory = memory;
        Ok(OptimizerReply::Updated { progress: Box::new(progress.clone()), learning_rate, clip })
    }

    /// The progress, if `step` is the one that follows it.
    fn expect(&mut self, step: u64) -> Result<&mut Progress, Fault> {
        let Some(progress) = self.progress.as_mut() else {
            return Err(Fault::new(FaultKind::Actor, "the optimizer was asked before it took over any progress"));
        };
        if progress.step + 1 != step {
            let what = format!("the optimizer stands at step {} and was asked for step {step}", progress.step);
            return Err(Fault::new(FaultKind::Actor, what));
        }
        Ok(progress)
    }
}

/// torch's global-norm clipping: min(1, limit / (norm + 1e-6)).
pub fn clip_factor(limit: f64, norm: f64) -> f64 {
    if limit > 0.0 { (limit / (norm + 1e-6)).min(1.0) } else { 1.0 }
}
