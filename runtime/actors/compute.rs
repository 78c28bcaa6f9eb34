//! Compute: owns the device, the programs, the weights, gradients and moments. Its own thread.

use super::opening::Opening;
use crate::engine::Engine;
use crate::engine::layout::POLICY;
use crate::engine::layout::RoleId;
use crate::fault::{Fault, FaultKind};
use crate::messages::{Blueprint, ComputeMessage, ComputeReply, Derivatives};
use crate::stage::Window;
use crate::supervise::Behaviour;
use pleach_shaders::spec::Tick;
use std::sync::Arc;

/// The compute actor's inside.
pub struct ComputeActor {
    opening: Opening,
    built: Option<(Blueprint, Engine)>,
    /// The step that the weights stand at; `None` until they are begun or restored.
    applied: Option<u64>,
    /// The step whose gradients lie in the sums, and of which roles.
    learned: Option<(u64, Vec<RoleId>)>,
}

impl Behaviour for ComputeActor {
    type Message = ComputeMessage;
    type Reply = ComputeReply;

    fn handle(&mut self, message: ComputeMessage) -> Result<ComputeReply, Fault> {
        self.answer(message)
    }

    /// A fault that takes the device with it: the actor is replaced, and with it the device.
    fn fatal(&self, fault: &Fault) -> bool {
        fault.kind == FaultKind::DeviceLost
    }
}

impl ComputeActor {
    /// Without a device until `Begin`.
    pub fn new(opening: Opening) -> ComputeActor {
        ComputeActor { opening, built: None, applied: None, learned: None }
    }

    fn answer(&mut self, message: ComputeMessage) -> Result<ComputeReply, Fault> {
        match message {
            ComputeMessage::Begin(blueprint) => self.begin(*blueprint),
            ComputeMessage::Seed(seed) => {
                self.engine()?.begin(POLICY, seed)?;
                (self.applied, self.learned) = (Some(0), None);
                Ok(ComputeReply::Done)
            }
            ComputeMessage::Restore { role, state, step } => {
                self.engine()?.restore(role, &state)?;
                if role == POLICY {
                    (self.applied, self.learned) = (Some(step), None);
                }
                Ok(ComputeReply::Done)
            }
            ComputeMessage::Look { step, window } => {
                self.stands_before(step)?;
                Ok(ComputeReply::Numbers(Arc::new(self.engine()?.look(POLICY, &window)?)))
            }
            ComputeMessage::Learn { step, window, derivatives, tick } => {
                self.stands_before(step)?;
                self.learn(step, &window, &derivatives, &tick)
            }
            ComputeMessage::Apply { step, tick } => self.apply(step, &tick),
            ComputeMessage::Evaluate { role, window } => {
                Ok(ComputeReply::Numbers(Arc::new(self.engine()?.evaluate(role, &window)?)))
            }
            ComputeMessage::Generate { first, prompts, sampling, eos } => {
                let out = self.engine()?.generate_from(first, &prompts, &sampling, &eos, &mut |_, _| true)?;
                Ok(ComputeReply::Generated(out))
            }
            ComputeMessage::State { role, step } => {
                if self.applied != Some(step) {
                    let what = format!("the weights stand at {:?}, not at step {step}", self.applied);
                    return Err(Fault::new(FaultKind::Actor, what));
                }
                Ok(ComputeReply::State(Arc::new(self.engine()?.state(role)?)))
            }
        }
    }

    /// Builds, unless the same is built already.
    fn begin(&mut self, blueprint: Blueprint) -> Result<ComputeReply, Fault> {
        if self.built.as_ref().is_none_or(|(built, _)| *built != blueprint) {
            self.built = None;
            let engine = self.opening.engine(&blueprint)?;
            self.built = Some((blueprint, engine));
        }
        (self.applied, self.learned) = (None, None);
        let engine = self.engine()?;
        Ok(ComputeReply::Begun { facts: engine.device().facts().clone(), held: engine.held() })
    }

    /// Each role's gradient is summed apart; their norm is taken as one, as of one model.
    fn learn(
        &mut self,
        step: u64,
        window: &Window,
        derivatives: &Derivatives,
        tick: &Tick,
    ) -> Result<ComputeReply, Fault> {
        self.learned = None;
        let Some(((role, policy), beside)) = derivatives.split_first() else {
            return Err(Fault::new(FaultKind::Actor, "there is nothing to learn by"));
        };
        let mut learned = self.engine()?.learn(*role, window, policy, tick)?;
        for (role, derivatives) in beside {
            let norm = self.engine()?.learn(*role, window, derivatives, tick)?.gradient_norm;
            learned.gradient_norm = learned.gradient_norm.hypot(norm);
        }
        self.learned = Some((step, derivatives.iter().map(|(role, _)| *role).collect()));
        Ok(ComputeReply::Learned(Arc::new(learned)))
    }

    /// Idempotent: a step that is applied already is refused, so that it can never be applied twice.
    fn apply(&mut self, step: u64, tick: &Tick) -> Result<ComputeReply, Fault> {
        self.stands_before(step)?;
        let Some((_, roles)) = self.learned.take_if(|(learned, _)| *learned == step) else {
            let what = format!("step {step} was not learned: the sums hold {:?}", self.learned);
            return Err(Fault::new(FaultKind::Actor, what));
        };
        // Where one role's update fails, the weights stand at no step: all roles are put back from one kept state.
        self.applied = None;
        for role in roles {
            self.engine()?.update(role, tick)?;
        }
        self.applied = Some(step);
        Ok(ComputeReply::Done)
    }

    fn stands_before(&self, step: u64) -> Result<(), Fault> {
        if self.applied.map(|applied| applied + 1) == Some(step) {
            return Ok(());
        }
        let what = format!("the weights stand at {:?} and step {step} was asked for", self.applied);
        Err(Fault::new(FaultKind::Actor, what))
    }

    fn engine(&mut self) -> Result<&mut Engine, Fault> {
        match self.built.as_mut() {
            Some((_, engine)) => Ok(engine),
            None => Err(Fault::new(FaultKind::Actor, "compute was asked before anything was built")),
        }
    }
}
