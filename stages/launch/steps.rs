//! How long a stage lasts and how much of it is computed at once: as written, else derived once and frozen.

use super::{Launch, Ready};
use crate::pipeline::Kind;
use crate::pipeline::keys::STEPS;
use crate::pipeline::resolved::{self, Frozen, FrozenStage};
use pleach_runtime::device::Device;
use pleach_runtime::engine::Engine;
use pleach_runtime::engine::layout::{POLICY, RoleId};
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::shaders::spec::Tick;
use pleach_runtime::stage::Numbers;
use std::sync::Arc;
use std::time::Instant;

/// Tokens of a micro-batch where nobody says: enough to keep a device busy.
const MICRO_TOKENS: usize = 8192;

/// Passes over its data that a stage of a kind makes where nobody says.
fn epochs(kind: Kind) -> f64 {
    match kind {
        Kind::Finetune | Kind::Instruct => 3.0,
        _ => 1.0,
    }
}

impl Launch {
    /// Derives what is not said, or takes it from an earlier start.
    pub(super) fn freeze(&mut self, before: Option<Frozen>) -> Result<(), Fault> {
        let before = before.map_or(Vec::new(), |frozen| frozen.stages);
        for at in 0..self.stages.len() {
            let frozen = self.frozen_stage(at, before.get(at))?;
            self.frozen.stages.push(frozen);
        }
        Ok(())
    }

    fn frozen_stage(&self, at: usize, before: Option<&FrozenStage>) -> Result<FrozenStage, Fault> {
        let (stage, choice) = (&self.stages[at], &self.stages[at].choice);
        if stage.recipe().is_none() {
            let from = "derived: it trains nothing".to_string();
            return Ok(FrozenStage { steps: 1, steps_from: from.clone(), micro_rows: 1, micro_from: from });
        }
        let (micro_rows, micro_from) = match (choice.micro_batch, before) {
            (0, Some(frozen)) => (frozen.micro_rows, frozen.micro_from.clone()),
            (0, None) => (self.fitting_rows(stage)?, "derived: as many as fit".to_string()),
            (rows, _) => (rows.min(choice.batch), resolved::TYPED.to_string()),
        };
        countable(stage, micro_rows)?;
        let of_epochs = |epochs: f64| ((stage.epoch as f64 * epochs).round() as u64).max(1);
        let (steps, steps_from) = match (choice.steps, choice.epochs, choice.minutes) {
            (Some(steps), ..) => (steps, resolved::TYPED.to_string()),
            (_, Some(epochs), _) => (of_epochs(epochs), format!("derived: {epochs} epochs")),
            (.., Some(minutes)) => match before {
                Some(frozen) if !self.changed_minutes(at) => (frozen.steps, frozen.steps_from.clone()),
                _ => {
                    let seconds = self.seconds(stage, micro_rows)?;
                    // Evaluation and samples get a tenth.
                    let steps = ((minutes * 60.0 * 0.9 / seconds) as u64).clamp(20, 100_000_000);
                    (steps, format!("derived: {minutes} minutes at the measured speed"))
                }
            },
            _ => match epochs(choice.kind) {
                1.0 => (of_epochs(1.0), "derived: one epoch".to_string()),
                epochs => (of_epochs(epochs), format!("derived: {epochs} epochs")),
            },
        };
        if steps > STEPS {
            let hint = format!("a stage has at most {STEPS} steps: lower epochs, or raise batch");
            return Err(Refusal::new("the run would be too long", format!("{steps} steps, {steps_from}"), hint).into());
        }
        Ok(FrozenStage { steps, steps_from, micro_rows, micro_from })
    }

    fn changed_minutes(&self, at: usize) -> bool {
        let number = format!("[[stage]] {} minutes:", at + 1);
        self.changes.iter().any(|change| change.starts_with("[[stage]] minutes:") || change.starts_with(&number))
    }

    /// Rows of a micro-batch: up to [`MICRO_TOKENS`], halved until the plan fits the device.
    fn fitting_rows(&self, stage: &Ready) -> Result<usize, Fault> {
        let batch = stage.choice.batch;
        let mut rows = (MICRO_TOKENS / stage.config().context).clamp(1, batch);
        rows = batch.div_ceil(batch.div_ceil(rows));
        let device = pleach_runtime::device::choose::open(&self.chosen)?;
        loop {
            match stage.refusal(rows, &*device) {
                None => return Ok(rows),
                Some(refusal) if rows == 1 => return Err(refusal.into()),
                Some(_) => rows = rows.div_ceil(2),
            }
        }
    }

    /// Seconds of a step of a stage, as measured now.
    pub fn step_seconds(&self, at: usize) -> Result<f64, Fault> {
        self.seconds(&self.stages[at], self.frozen.stages[at].micro_rows)
    }

    /// Four steps are made on the device, from random weights; the quickest of the last three counts.
    fn seconds(&self, stage: &Ready, micro_rows: usize) -> Result<f64, Fault> {
        let device: Box<dyn Device> = self.open()?;
        let mut engine = Engine::new(device, &stage.roles, &stage.shapes(micro_rows), &stage.adamw())?;
        for role in 0..stage.roles.len() {
            engine.begin(role, self.pipeline.seed)?;
        }
        let Some(recipe) = stage.recipe() else { return Ok(0.0) };
        if recipe.gather().is_some() {
            return self.round_seconds(stage, &mut engine);
        }
        let (mut data, loss) = (recipe.data()?, recipe.loss());
        let mut times = Vec::new();
        for draw in 0..4 {
            let window = data.window(draw)?;
            let began = Instant::now();
            let derivatives = match loss.known(&window) {
                Some(known) => Arc::new(known),
                // The forward passes are made; which derivatives follow from their numbers costs no time.
                None => {
                    let beside: Vec<RoleId> = loss.beside();
                    for role in beside.into_iter().chain([POLICY]) {
                        engine.evaluate(role, &window)?;
                    }
                    Arc::new(Numbers::from(vec![[1e-3, 0.0, 0.0, 0.0]; window.tokens()]))
                }
            };
            let tick = Tick { step: 1, bias1: 1.0, bias2: 1.0, clip: 1.0, ..Tick::default() };
            engine.learn(POLICY, &window, &derivatives, &tick)?;
            engine.update(POLICY, &tick)?;
            times.push(began.elapsed().as_secs_f64());
        }
        Ok(times[1..].iter().copied().fold(f64::MAX, f64::min))
    }
}

impl Launch {
    /// Seconds of a step of an on-policy stage: a round is written, looked at under every model, and learned.
    fn round_seconds(&self, stage: &Ready, engine: &mut Engine) -> Result<f64, Fault> {
        let Some(mut gather) = stage.recipe().and_then(|recipe| recipe.gather()) else { return Ok(0.0) };
        let began = Instant::now();
        let asked = gather.ask(0)?;
        let written = engine.generate(&asked.prompts, &asked.sampling, &asked.eos, &mut |_, _| true)?;
        let windows = gather.windows(0, &written)?;
        for window in &windows {
            for role in gather.under() {
                engine.evaluate(role, window)?;
            }
        }
        let gathered = began.elapsed().as_secs_f64() / gather.draws() as f64;
        let began = Instant::now();
        let Some(window) = windows.first() else { return Ok(gathered) };
        let derivatives = Arc::new(Numbers::from(vec![[1e-3, 0.0, 0.0, 0.0]; window.tokens()]));
        let tick = Tick { step: 1, bias1: 1.0, bias2: 1.0, clip: 1.0, ..Tick::default() };
        for (role, _) in stage.roles.iter().enumerate().filter(|(_, role)| role.trained) {
            engine.evaluate(role, window)?;
            engine.learn(role, window, &derivatives, &tick)?;
            engine.update(role, &tick)?;
        }
        Ok(gathered + began.elapsed().as_secs_f64())
    }
}

/// Refuses what the kernels cannot count.
fn countable(stage: &Ready, rows: usize) -> Result<(), Refusal> {
    let config = stage.config();
    let widest = config.up_width().max(config.qkv_width()).max(config.width);
    if rows * config.context * widest <= u32::MAX as usize {
        return Ok(());
    }
    let detail = format!("{rows} rows of {} tokens, {widest} channels wide", config.context);
    let hint = "lower micro_batch, or leave it out";
    Err(Refusal::new("a micro-batch has more than 2^32 numbers", detail, hint).with_code(3))
}
